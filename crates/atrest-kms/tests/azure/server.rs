//! The fake of Azure, and options for it.

use std::ops::Deref;
use std::time::Duration;

use atrest_http::{Hidden, HttpOptions};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions};

use crate::fake::{self, answer};
use crate::proxy::Fate;

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
pub const SECRET: &str = "client~secret.of.a.test";
pub const ID: &str = "https://contoso.vault.azure.net";

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
        let fake =
            Fake(fake::Fake::run(concat!(env!("CARGO_MANIFEST_DIR"), "/../atrest-kms/tests/azure/fake.py"), tls)?);
        fake.rotate();
        Some(fake)
    }

    pub fn vault(&self) -> AzureKeyVault {
        AzureKeyVault::new(&options(self.port)).unwrap()
    }

    /// A new version of a key.
    pub fn rotate(&self) {
        self.tell(r#"{"op":"new","key":"disks"}"#);
    }

    pub fn kill(&mut self) {
        self.0.kill();
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
    AzureOptions::new(ID, identity).endpoint(format!("http://127.0.0.1:{port}")).http(fake::patient())
}

/// Options of calls that end soon.
pub fn hasty(port: u16) -> AzureOptions {
    options(port).http(fake::hasty()).deadline(Duration::from_millis(400))
}

/// An error, as Key Vault answers it.
pub fn error(status: &str, code: &str, inner: &str, text: &str) -> Fate {
    let inner = if inner.is_empty() { "null".into() } else { format!(r#"{{"code":"{inner}"}}"#) };
    answer(status, &format!(r#"{{"error":{{"code":"{code}","message":"{text}","innererror":{inner}}}}}"#))
}

/// Whether a request is one for a token.
pub fn is_login(head: &crate::proxy::Head) -> bool {
    head.target.ends_with("/oauth2/v2.0/token")
}
