//! A cluster of a test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use atrest_http::{Client, Deadline, Method, Request};
use atrest_store_etcd::{EtcdOptions, EtcdStore, HttpOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::peers;
use crate::ports::free_port;

pub struct Etcd {
    pub members: Vec<Member>,
    pub scheme: &'static str,
    folder: tempfile::TempDir,
    more: Vec<String>,
    http: HttpOptions,
}

pub struct Member {
    pub port: u16,
    peers: u16,
    child: Mutex<Child>,
}

impl Etcd {
    /// A new cluster of so many members; `None` if it isn't installed.
    pub fn start(members: usize) -> Option<Self> {
        Self::start_with(members, "http", HttpOptions::new(), &[])
    }

    /// One with more arguments for each member. `http` is for asking whether it is up.
    pub fn start_with(members: usize, scheme: &'static str, http: HttpOptions, more: &[String]) -> Option<Self> {
        peers::peer("etcd", &["--version"])?;
        // Between here and its start somebody else may take a port: then others are taken.
        for _ in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let ports: Vec<(u16, u16)> = (0..members).map(|_| (free_port(), free_port())).collect();
            let start = |number| {
                let child = spawn(folder.path(), scheme, &ports, number, "new", more);
                let (port, peers) = ports[number];
                Member { port, peers, child: Mutex::new(child) }
            };
            let members = (0..members).map(start).collect();
            let etcd = Etcd { members, scheme, folder, more: more.to_vec(), http: http.clone() };
            if etcd.is_up() {
                return Some(etcd);
            }
        }
        panic!("etcd doesn't start");
    }

    /// The addresses, beginning with that of a member.
    pub fn endpoints(&self, first: usize) -> Vec<String> {
        let count = self.members.len();
        let address = |at: usize| format!("{}://127.0.0.1:{}", self.scheme, self.members[(first + at) % count].port);
        (0..count).map(address).collect()
    }

    pub fn options(&self, first: usize) -> EtcdOptions {
        EtcdOptions::new(self.endpoints(first)).deadline(Duration::from_secs(16))
    }

    pub fn store(&self, first: usize) -> EtcdStore {
        EtcdStore::open(&self.options(first)).unwrap()
    }

    /// Asks a member something, and returns its answer.
    pub fn ask(&self, member: usize, path: &str, body: &str) -> Option<String> {
        let url = format!("{}/v3/{path}", self.endpoints(member)[0]);
        let client = Client::new(&self.http).unwrap();
        let request = Request::new(Method::Post, url, 1 << 20).body(body.as_bytes());
        let answer = client.send(Deadline::after(Duration::from_secs(2)), &request).ok()?;
        (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
    }

    /// How many keys there are, those of sessions among them.
    pub fn keys(&self) -> u64 {
        let all = r#"{"key":"AA==","range_end":"AA==","count_only":true}"#;
        field(&self.ask(0, "kv/range", all).unwrap(), "count").map_or(0, |count| count.parse().unwrap())
    }

    /// The number of the leader.
    pub fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for member in 0..self.members.len() {
                let status = self.ask(member, "maintenance/status", "{}").unwrap_or_default();
                if let Some(leader) = field(&status, "leader")
                    && field(&status, "member_id").as_ref() == Some(&leader)
                {
                    return member;
                }
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nobody leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn freeze(&self, member: usize) {
        kill_process(self.pid(member), Signal::STOP).unwrap();
    }

    pub fn thaw(&self, member: usize) {
        kill_process(self.pid(member), Signal::CONT).unwrap();
    }

    pub fn kill(&self, member: usize) {
        let mut child = self.members[member].child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a member again that was killed.
    pub fn start_again(&self, member: usize) {
        let ports: Vec<(u16, u16)> = self.members.iter().map(|member| (member.port, member.peers)).collect();
        let child = spawn(self.folder.path(), self.scheme, &ports, member, "existing", &self.more);
        *self.members[member].child.lock().unwrap() = child;
    }

    pub fn is_up(&self) -> bool {
        let read = r#"{"key":"YQ=="}"#;
        let start = Instant::now();
        (0..self.members.len()).all(|member| {
            // If users have to log in, the answer says so.
            while self.ask(member, "kv/range", read).is_none() {
                let ended = self.members[member].child.lock().unwrap().try_wait().unwrap().is_some();
                if ended || start.elapsed() > Duration::from_secs(60) {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(30));
            }
            true
        })
    }

    fn pid(&self, member: usize) -> Pid {
        Pid::from_raw(self.members[member].child.lock().unwrap().id() as i32).unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &self.members {
            let mut child = member.child.lock().unwrap();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A number of an answer.
pub fn field(answer: &str, name: &str) -> Option<String> {
    let rest = answer.split_once(&format!("\"{name}\":\""))?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

fn spawn(folder: &Path, scheme: &str, ports: &[(u16, u16)], number: usize, state: &str, more: &[String]) -> Child {
    let (port, peers) = ports[number];
    let (client, peer) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let all: Vec<String> =
        (ports.iter().enumerate()).map(|(number, (_, peers))| format!("m{number}=http://127.0.0.1:{peers}")).collect();
    let log = std::fs::File::create(folder.join(format!("log{number}"))).unwrap();
    let mut command = Command::new("etcd");
    command.args(["--name", &format!("m{number}"), "--data-dir"]).arg(folder.join(format!("m{number}")));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", state, "--logger", "zap"]);
    command.args(["--log-level", "warn"]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}
