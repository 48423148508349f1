//! moto, an emulator of AWS. It keeps all in memory.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atrest_http::{Client, Deadline, Hidden, HttpOptions, Method, Request};
use atrest_s3::{AccessKey, Credential, S3Backend, S3Device, S3Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::peers;

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
        assert!(moto.request(Method::Put, "/disks").is_success());
        Some(moto)
    }

    /// A new one without a bucket, with variables of its environment.
    pub fn start_with(variables: &[(&str, &str)]) -> Option<Self> {
        let program = peers::peer("moto_server", &["--help"])?;
        // Between here and its start somebody else may take the port: then another is taken.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = run(&program, variables, port) {
                return Some(Moto { port, child });
            }
        }
        panic!("moto_server doesn't start");
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

fn run(program: &str, variables: &[(&str, &str)], port: u16) -> Option<Child> {
    let mut command = Command::new(program);
    command.envs(variables.iter().copied());
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
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
