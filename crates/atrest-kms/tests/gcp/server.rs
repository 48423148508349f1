//! The fake of Google Cloud, and options for it.

use std::ops::Deref;
use std::time::Duration;

use atrest_http::{Hidden, HttpOptions};
use atrest_kms::{GcpKms, GcpOptions, GoogleIdentity};

use crate::fake::{self, answer};
use crate::proxy::Fate;

pub const RING: &str = "projects/fleet/locations/europe-west3/keyRings/disks";
pub const ID: &str = "gcpkms://projects/fleet/locations/europe-west3/keyRings/disks";

pub struct Fake(fake::Fake);

impl Deref for Fake {
    type Target = fake::Fake;

    fn deref(&self) -> &fake::Fake {
        &self.0
    }
}

impl Fake {
    /// A new one with a key `disks`; `None` if Python has no pyca/cryptography.
    pub fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// One that speaks TLS by a certificate and a key in these files.
    pub fn start_tls(files: [&str; 2]) -> Option<Self> {
        Self::start_with(Some((files, fake::trusting(files[0]))))
    }

    fn start_with(tls: Option<([&str; 2], HttpOptions)>) -> Option<Self> {
        let fake = Fake(fake::Fake::run(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gcp/fake.py"), tls)?);
        fake.rotate();
        Some(fake)
    }

    pub fn vault(&self) -> GcpKms {
        GcpKms::new(&options(self.port)).unwrap()
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

    pub fn kill(&mut self) {
        self.0.kill();
    }
}

/// Options of patient calls to a server at this port, as the service account of its metadata server.
pub fn options(port: u16) -> GcpOptions {
    with_identity(port, GoogleIdentity::machine(Some(&format!("http://127.0.0.1:{port}"))))
}

pub fn with_identity(port: u16, identity: GoogleIdentity) -> GcpOptions {
    GcpOptions::new(RING, identity).endpoint(format!("http://127.0.0.1:{port}")).http(fake::patient())
}

/// Options of calls that end soon.
pub fn hasty(port: u16) -> GcpOptions {
    options(port).http(fake::hasty()).deadline(Duration::from_millis(400))
}

pub fn identity(json: &str) -> GoogleIdentity {
    GoogleIdentity::from_json(&Hidden::new(json)).unwrap()
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
