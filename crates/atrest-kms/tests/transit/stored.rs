//! A server of OpenBao that keeps its keys in files, and is sealed when it starts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use atrest_http::{Client, Deadline, HttpOptions, Method, Request};

use crate::listening::listening;
use crate::listening::ports::free_port;
use crate::server::{address, field};

pub struct Stored {
    pub port: u16,
    config: PathBuf,
    child: Child,
}

impl Stored {
    /// A new one, in this folder.
    pub fn start(program: &str, folder: &Path) -> Option<Self> {
        for _ in 0..10 {
            let [port, cluster] = [(); 2].map(|()| free_port());
            let (config, data) = (folder.join("config.hcl"), folder.join("data"));
            std::fs::create_dir_all(&data).unwrap();
            let raft = "node_id = \"one\"\n performance_multiplier = 1";
            let storage = format!("storage \"raft\" {{\n path = \"{}\"\n {raft}\n}}", data.display());
            let listener = format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}");
            let addresses = format!("api_addr = \"{}\"\ncluster_addr = \"{}\"", address(port), address(cluster));
            let text = format!("{storage}\n{listener}\n{addresses}\n");
            std::fs::write(&config, text).unwrap();
            if let Some(child) = run(program, &config, port) {
                return Some(Stored { port, config, child });
            }
        }
        None
    }

    /// Makes its keys. Returns the one that unseals it, and the root token.
    pub fn init(&self) -> (String, String) {
        let answer = self.post("", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#);
        let keys = answer.split_once("\"keys\":[\"").unwrap().1;
        (keys.split_once('"').unwrap().0.to_owned(), field(&answer, "root_token"))
    }

    /// Unseals it, and waits until it serves.
    pub fn unseal(&self, key: &str) {
        self.post("", "sys/unseal", &format!(r#"{{"key":"{key}"}}"#));
        while self.ask(Method::Get, "", "sys/health", "").0 != 200 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn post(&self, token: &str, path: &str, body: &str) -> String {
        let (status, answer) = self.ask(Method::Post, token, path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    fn ask(&self, method: Method, token: &str, path: &str, body: &str) -> (u16, String) {
        // Its first election takes a while.
        let http = HttpOptions::new().attempt_timeout(Duration::from_secs(60));
        let client = Client::new(&http).unwrap();
        let mut request = Request::new(method, format!("{}/v1/{path}", address(self.port)), 1 << 20);
        if method == Method::Post {
            request = request.body(body.as_bytes());
        }
        if !token.is_empty() {
            request = request.header("x-vault-token", token);
        }
        let answer = client.send(Deadline::after(Duration::from_secs(60)), &request).unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self, program: &str) {
        self.child = run(program, &self.config, self.port).expect("it starts again");
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, config: &Path, port: u16) -> Option<Child> {
    let mut command = Command::new(program);
    command.arg("server").arg(format!("-config={}", config.display()));
    listening(&mut command, port)
}
