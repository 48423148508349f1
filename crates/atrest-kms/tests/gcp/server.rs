//! The fake. It keeps all in memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atrest_http::{Client, Deadline, Hidden, HttpOptions, Method, Request};
use atrest_kms::{GcpKms, GcpOptions, GoogleIdentity};

use crate::peers;
use crate::proxy::Fate;

pub const RING: &str = "projects/fleet/locations/europe-west3/keyRings/disks";
pub const ID: &str = "gcpkms://projects/fleet/locations/europe-west3/keyRings/disks";

pub struct Fake {
    pub port: u16,
    child: Child,
    http: HttpOptions,
    scheme: &'static str,
}

impl Fake {
    /// A new one with a key `disks`; `None` if Python has no pyca/cryptography.
    pub fn start() -> Option<Self> {
        Self::start_with(&[], HttpOptions::new(), "http")
    }

    /// One that speaks TLS by a certificate and a key in these files, which `http` trusts.
    pub fn start_tls(files: [&str; 2], http: HttpOptions) -> Option<Self> {
        Self::start_with(&files, http, "https")
    }

    fn start_with(arguments: &[&str], http: HttpOptions, scheme: &'static str) -> Option<Self> {
        let python = peers::python("cryptography")?;
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gcp/fake.py")).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let fake = Fake { port: line.trim().parse().expect("the fake's port"), child, http, scheme };
        fake.rotate();
        Some(fake)
    }

    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub fn vault(&self) -> GcpKms {
        GcpKms::new(&options(self.port)).unwrap()
    }

    /// Tells the fake something. Returns what it says of itself.
    pub fn tell(&self, order: &str) -> String {
        let client = Client::new(&self.http).unwrap();
        let url = format!("{}/test", self.address());
        let request = Request::new(Method::Post, url, 1 << 20).body(order.as_bytes());
        let answer = client.send(Deadline::after(Duration::from_secs(60)), &request).unwrap();
        assert_eq!(answer.status, 200, "{order}");
        String::from_utf8(answer.body).unwrap()
    }

    /// A new primary version of the key.
    pub fn rotate(&self) {
        self.tell(r#"{"op":"new","key":"disks"}"#);
    }

    pub fn set(&self, at: usize, state: &str) {
        self.tell(&format!(r#"{{"op":"set","key":"disks","at":{at},"state":"{state}"}}"#));
    }

    /// The service account's credentials, as Google's console writes them.
    pub fn account(&self) -> String {
        let said = self.tell(r#"{"op":""}"#);
        said.split_once("\"account\": ").unwrap().1.strip_suffix('}').unwrap().to_owned()
    }

    /// How many tokens it gave.
    pub fn logins(&self) -> u32 {
        let said = self.tell(r#"{"op":""}"#);
        let rest = said.split_once("\"logins\": ").unwrap().1;
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // One that was killed says nothing.
        let there = !std::thread::panicking() && self.child.try_wait().unwrap().is_none();
        let said = there.then(|| self.tell(r#"{"op":""}"#));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let silent = said.as_ref().is_none_or(|said| said.contains("\"complaints\": []"));
        assert!(silent, "requests aren't of the documented form: {said:?}");
    }
}

/// Options of patient calls to a server at this port, as the service account of its metadata server.
pub fn options(port: u16) -> GcpOptions {
    with_identity(port, GoogleIdentity::machine(Some(&format!("http://127.0.0.1:{port}"))))
}

pub fn with_identity(port: u16, identity: GoogleIdentity) -> GcpOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_secs(5));
    let http = http.waits(Duration::from_millis(5), Duration::from_millis(50));
    GcpOptions::new(RING, identity).endpoint(format!("http://127.0.0.1:{port}")).http(http)
}

/// Options of calls that end soon.
pub fn hasty(port: u16) -> GcpOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(150));
    let http = http.waits(Duration::from_millis(50), Duration::from_millis(50));
    options(port).http(http).deadline(Duration::from_millis(400))
}

pub fn identity(json: &str) -> GoogleIdentity {
    GoogleIdentity::from_json(&Hidden::new(json)).unwrap()
}

/// Options of HTTP by which a call has one attempt: a second one would begin after its deadline.
pub fn once(http: HttpOptions) -> HttpOptions {
    http.waits(Duration::from_secs(600), Duration::from_secs(600))
}

pub fn answer(status: &str, body: &str) -> Fate {
    let head = format!("content-length: {}\r\nconnection: close", body.len());
    Fate::Answer(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}"))
}

/// An error, as Google's APIs answer it.
pub fn error(code: &str, status: &str, reason: &str, text: &str) -> Fate {
    let detail = match reason {
        "" => String::new(),
        reason => format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#),
    };
    let number = &code[..3];
    let error = format!(r#""code":{number},"message":"{text}","status":"{status}","details":[{detail}]"#);
    answer(code, &format!(r#"{{"error":{{{error}}}}}"#))
}

/// Whether a request is one for a token.
pub fn is_login(head: &crate::proxy::Head) -> bool {
    head.target.ends_with("/token")
}
