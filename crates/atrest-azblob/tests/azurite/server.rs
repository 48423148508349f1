//! Azurite, Microsoft's emulator of the blob service, in a folder of its own.

use std::process::{Child, Command};
use std::time::Duration;

use atrest_azblob::{Credential, Lease, PageBlobBackend, PageBlobDevice, PageBlobOptions};
use atrest_http::{Client, Deadline, HttpOptions, Method, Request, base64, base64_decode, encode_query, hmac_sha256};
use rustix::process::{Pid, Signal, kill_process};

pub use crate::emulators::{ACCOUNT, KEY};
use crate::{emulators, peers};

pub struct Azurite {
    more: Vec<String>,
    /// The root that signed the server's certificate, with TLS.
    root: Option<Vec<u8>>,
    folder: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

impl Azurite {
    /// A new one, with a container `disks`; `None` if it isn't installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[], None)
    }

    /// A new one with more arguments.
    pub fn start_with(more: &[&str], root: Option<Vec<u8>>) -> Option<Self> {
        let more: Vec<_> = more.iter().map(|argument| (*argument).to_owned()).collect();
        peers::peer("azurite-blob", &["--version"])?;
        let folder = tempfile::tempdir().unwrap();
        let (port, child) = emulators::start(|port| command(&more, folder.path(), port));
        let azurite = Azurite { more, root, folder, port, child };
        azurite.make_container("disks");
        Some(azurite)
    }

    /// The URL of the container, or of another server that stands before it.
    pub fn url_at(port: u16) -> String {
        format!("azblob:http://127.0.0.1:{port}/{ACCOUNT}/disks/vm")
    }

    pub fn url(&self) -> String {
        Self::url_at(self.port)
    }

    pub fn backend(&self) -> PageBlobBackend {
        PageBlobBackend::new(&self.url(), options()).unwrap()
    }

    /// A new blob that is open by a server that stands before this one, with calls that end soon.
    pub fn impatient(&self, port: u16, name: &str, deadline: Duration) -> PageBlobDevice {
        drop(self.backend().create_blob(name, 1 << 20).unwrap());
        let backend = PageBlobBackend::new(&Self::url_at(port), options().deadline(deadline)).unwrap();
        // On a busy machine soon may be too soon. A lease whose answer came too late runs out.
        for _ in 0..300 {
            if let Ok(device) = backend.open_blob(name) {
                return device;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the blob can't be opened");
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it, or lets it end by itself, and starts it again over what it has stored.
    pub fn restart(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().unwrap();
        for _ in 0..50 {
            if let Some(child) =
                emulators::listening(&mut command(&self.more, self.folder.path(), self.port), self.port)
            {
                self.child = child;
                return;
            }
        }
        panic!("azurite-blob doesn't start again");
    }

    /// Sends a request by a SAS, for what the crate doesn't do itself.
    pub fn request(&self, method: Method, path: &str, query: &str, headers: &[(&str, &str)]) -> atrest_http::Response {
        let (scheme, http) = match &self.root {
            Some(root) => ("https", HttpOptions::new().root_certificates(root.clone())),
            None => ("http", HttpOptions::new()),
        };
        let client = Client::new(&http).unwrap();
        let url = format!("{scheme}://127.0.0.1:{}/{ACCOUNT}/{path}?{query}&{}", self.port, sas("rwdlac"));
        let mut request = Request::new(method, url, 64 << 20).header("x-ms-version", "2022-11-02");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send(Deadline::after(Duration::from_secs(30)), &request).unwrap()
    }

    fn make_container(&self, name: &str) {
        let made = self.request(Method::Put, name, "restype=container", &[]);
        assert!(made.is_success(), "{}", String::from_utf8_lossy(&made.body));
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its command, with more arguments.
fn command(more: &[String], folder: &std::path::Path, port: u16) -> Command {
    let mut command = emulators::azurite(folder, port);
    command.args(more);
    command
}

pub fn credential() -> Credential {
    Credential::shared_key(KEY).unwrap()
}

/// Options that give up after 20 s, and ask a silent server again after 1 s.
pub fn options() -> PageBlobOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_secs(1));
    let http = http.waits(Duration::from_millis(5), Duration::from_millis(100));
    PageBlobOptions::new(credential()).http(http).deadline(Duration::from_secs(20)).lease(Lease::Renewed(15))
}

/// A SAS of the account ("Create an account SAS") for containers and blobs, with these permissions.
pub fn sas(permissions: &str) -> String {
    let (version, start, expiry) = ("2020-08-04", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let signed = format!("{ACCOUNT}\n{permissions}\nb\nsco\n{start}\n{expiry}\n\nhttps,http\n{version}\n");
    let signature = base64(hmac_sha256(&base64_decode(KEY).unwrap(), signed.as_bytes()).unwrap().expose());
    format!(
        "sv={version}&ss=b&srt=sco&sp={permissions}&st={}&se={}&spr=https%2Chttp&sig={}",
        encode_query(start),
        encode_query(expiry),
        encode_query(&signature)
    )
}
