//! moto, an emulator of AWS. It keeps all in memory.

use std::process::Child;
use std::time::Duration;

use atrest_http::{Client, Deadline, Hidden, HttpOptions, Method, Request};
use atrest_s3::{AccessKey, Credential, S3Backend, S3Device, S3Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::{emulators, peers};

pub const ID: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01";
pub const OTHER: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a02";

pub struct Moto {
    pub port: u16,
    child: Child,
}

impl Moto {
    /// A new one, with a bucket `disks`; `None` if it isn't installed.
    pub fn start() -> Option<Self> {
        let moto = Self::start_with(&[])?;
        emulators::make_bucket(moto.port, "disks");
        Some(moto)
    }

    /// A new one without a bucket, with variables of its environment.
    pub fn start_with(variables: &[(&str, &str)]) -> Option<Self> {
        peers::peer("moto_server", &["--help"])?;
        let (port, child) = emulators::start(|port| {
            let mut command = emulators::moto(port);
            command.envs(variables.iter().copied());
            command
        });
        Some(Moto { port, child })
    }

    /// The URL of the bucket, or of another server that stands before it.
    pub fn url_at(port: u16) -> String {
        format!("s3:http://127.0.0.1:{port}/disks/vm?region=us-east-1")
    }

    pub fn url(&self) -> String {
        Self::url_at(self.port)
    }

    pub fn backend(&self) -> S3Backend {
        S3Backend::new(&self.url(), options()).unwrap()
    }

    /// A disk that is open by a server that stands before this one, with calls that end soon.
    pub fn impatient(&self, port: u16, deadline: Duration) -> S3Device {
        drop(self.backend().create_disk(ID, 1 << 20).unwrap());
        let backend = S3Backend::new(&Self::url_at(port), options().deadline(deadline).take_over(true)).unwrap();
        // On a busy machine soon may be too soon.
        for _ in 0..50 {
            if let Ok(device) = backend.open_disk(ID) {
                return device;
            }
        }
        panic!("the disk can't be opened");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a request with a signature that is none: moto looks only whether there is one.
    pub fn request(&self, method: Method, path: &str) -> atrest_http::Response {
        let client = Client::new(&HttpOptions::new()).unwrap();
        let request = Request::new(method, format!("http://127.0.0.1:{}{path}", self.port), 64 << 20);
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let request = request.header("authorization", signed);
        client.send(Deadline::after(Duration::from_secs(30)), &request).unwrap()
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<String> {
        let answer = self.request(Method::Get, "/disks?list-type=2&max-keys=1000");
        let mut keys = Vec::new();
        let read = atrest_http::xml_elements(&answer.body, |path, text| {
            if path.last() == Some(&"Key") {
                keys.push(text.to_owned());
            }
        });
        read.unwrap();
        keys
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn credential() -> Credential {
    Credential::access_key(AccessKey::new("AKID", Hidden::new("SECRET")))
}

/// Options with small chunks, that give up after 20 s, and ask a silent server again after half a second.
pub fn options() -> S3Options {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(500));
    let http = http.waits(Duration::from_millis(5), Duration::from_millis(100));
    S3Options::new(credential()).http(http).deadline(Duration::from_secs(20)).chunk_size(64 << 10)
}
