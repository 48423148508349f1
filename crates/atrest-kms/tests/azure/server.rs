//! The fake. It keeps all in memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atrest_http::{Client, Deadline, Hidden, HttpOptions, Method, Request};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions};

use crate::peers;
use crate::proxy::Fate;

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
pub const SECRET: &str = "client~secret.of.a.test";
pub const ID: &str = "https://contoso.vault.azure.net";

pub struct Fake {
    pub port: u16,
    child: Child,
    http: HttpOptions,
    scheme: &'static str,
}

impl Fake {
    /// A new one with a key `disks`; `None` if Python has no pyca/cryptography.
    pub fn start() -> Option<Self> {
        let fake = Self::start_with(&[], HttpOptions::new(), "http")?;
        fake.tell(r#"{"op":"new","key":"disks"}"#);
        Some(fake)
    }

    /// One that speaks TLS by a certificate and a key in these files, which `http` trusts.
    pub fn start_tls(files: [&str; 2], http: HttpOptions) -> Option<Self> {
        let fake = Self::start_with(&files, http, "https")?;
        fake.tell(r#"{"op":"new","key":"disks"}"#);
        Some(fake)
    }

    fn start_with(arguments: &[&str], http: HttpOptions, scheme: &'static str) -> Option<Self> {
        let python = peers::python("cryptography")?;
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../atrest-kms/tests/azure/fake.py")).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the fake's port");
        Some(Fake { port, child, http, scheme })
    }

    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub fn vault(&self) -> AzureKeyVault {
        AzureKeyVault::new(&options(self.port)).unwrap()
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

    /// A new version of a key.
    pub fn rotate(&self) {
        self.tell(r#"{"op":"new","key":"disks"}"#);
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
        if !std::thread::panicking() && self.child.try_wait().unwrap().is_none() {
            let said = self.tell(r#"{"op":""}"#);
            assert!(said.contains("\"complaints\": []"), "requests aren't of the documented form: {said}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An application with a secret that logs in at the fake.
pub fn application(address: &str) -> AzureIdentity {
    AzureIdentity::client_secret(TENANT, CLIENT, Hidden::new(SECRET)).authority(address)
}

/// Options of patient calls to a server at this port.
pub fn options(port: u16) -> AzureOptions {
    with_identity(port, application(&format!("http://127.0.0.1:{port}")))
}

pub fn with_identity(port: u16, identity: AzureIdentity) -> AzureOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_secs(5));
    let http = http.waits(Duration::from_millis(5), Duration::from_millis(50));
    AzureOptions::new(ID, identity).endpoint(format!("http://127.0.0.1:{port}")).http(http)
}

/// Options of calls that end soon.
pub fn hasty(port: u16) -> AzureOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(150));
    let http = http.waits(Duration::from_millis(50), Duration::from_millis(50));
    options(port).http(http).deadline(Duration::from_millis(400))
}

/// Options of HTTP by which a call has one attempt: a second one would begin after its deadline.
pub fn once(http: HttpOptions) -> HttpOptions {
    http.waits(Duration::from_secs(600), Duration::from_secs(600))
}

pub fn answer(status: &str, body: &str) -> Fate {
    let head = format!("content-length: {}\r\nconnection: close", body.len());
    Fate::Answer(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}"))
}

/// An error, as Key Vault answers it.
pub fn error(status: &str, code: &str, inner: &str, text: &str) -> Fate {
    let inner = if inner.is_empty() { "null".into() } else { format!(r#"{{"code":"{inner}"}}"#) };
    answer(status, &format!(r#"{{"error":{{"code":"{code}","message":"{text}","innererror":{inner}}}}}"#))
}
