//! A PostgreSQL server of a test, and its standbys.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use atrest_store_postgres::{PostgresOptions, PostgresStore};
use rustix::process::{Pid, Signal, kill_process};

use crate::peers;
use crate::ports::free_port;

pub struct Postgres {
    pub port: u16,
    bin: PathBuf,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    child: Mutex<Child>,
}

/// The user that runs the server, which refuses root.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag| peers::run("id", &[flag, "postgres"]).trim().parse().unwrap();
    Some((id("-u"), id("-g")))
}

fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).current_dir("/").env("LC_ALL", "C");
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(program: &Path, args: &[&str]) {
    let output = command(program, args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {args:?}: {said}", program.display());
}

/// The folder of the newest server's programs; `None` if there is none.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.map(|version| version.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    let bin = found.pop().unwrap_or_default();
    peers::peer(bin.join("postgres").to_str().unwrap(), &["--version"])?;
    Some(bin)
}

impl Postgres {
    /// A new one; `None` if it isn't installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// One with more settings.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let bin = programs()?;
        let folder = folder();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        fs::write(&password, "secret").unwrap();
        own(&password);
        let (data, file) = (peers::text(&data), peers::text(&password));
        let args = ["-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", file, "--no-sync", "-E", "UTF8"];
        run(&bin.join("initdb"), &args);
        Some(Self::over(bin, folder, settings.iter().map(|setting| (*setting).to_owned()).collect()))
    }

    /// A standby of this one, which replicates synchronously once it is asked to.
    pub fn standby(&self) -> Self {
        self.standby_with(&[])
    }

    /// One with more settings, which count once it is promoted.
    pub fn standby_with(&self, settings: &[&str]) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        let from = format!("postgresql://postgres:secret@127.0.0.1:{}/postgres", self.port);
        run(
            &self.bin.join("pg_basebackup"),
            &["-d", &from, "-D", peers::text(&data), "-R", "-X", "stream", "-c", "fast", "--no-sync"],
        );
        Self::over(self.bin.clone(), folder, settings.iter().map(|setting| (*setting).to_owned()).collect())
    }

    fn over(bin: PathBuf, folder: tempfile::TempDir, settings: Vec<String>) -> Self {
        // Between here and its start somebody else may take the port: then another is taken.
        for _ in 0..10 {
            let port = free_port();
            let mut child = spawn(&bin, folder.path(), port, &settings);
            if is_up(&mut child, port) {
                return Postgres { port, bin, folder, settings, child: Mutex::new(child) };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL doesn't start: {log}");
    }

    pub fn address(&self) -> String {
        address(self.port)
    }

    /// Options of a store on it, which need no standby.
    pub fn options(&self) -> PostgresOptions {
        options(&self.address())
    }

    pub fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.options()).unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs SQL as its administrator, and returns what it says.
    pub fn sql(&self, sql: &str) -> String {
        peers::run(
            self.bin.join("psql").to_str().unwrap(),
            &["-X", "-v", "ON_ERROR_STOP=1", "-At", "-d", &self.address(), "-c", sql],
        )
    }

    /// Waits until a standby replicates synchronously.
    pub fn wait_for_standby(&self) {
        let start = Instant::now();
        while self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").trim() != "1" {
            assert!(start.elapsed() < Duration::from_secs(60), "the standby doesn't replicate");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The server's first process, and all others of it.
    fn processes(&self) -> Vec<Pid> {
        let first = self.child.lock().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        let others = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
        std::iter::once(first).chain(others).map(|pid| Pid::from_raw(pid as i32).unwrap()).collect()
    }

    /// Stops all of it, as `kill -STOP` does.
    pub fn freeze(&self) {
        // The first one starts no others once it has stopped.
        for _ in 0..2 {
            self.processes().into_iter().for_each(|pid| kill(pid, Signal::STOP));
        }
    }

    pub fn thaw(&self) {
        self.processes().into_iter().for_each(|pid| kill(pid, Signal::CONT));
    }

    /// Kills all of it, as `kill -9` does.
    pub fn kill(&self) {
        self.processes().into_iter().for_each(|pid| kill(pid, Signal::KILL));
        self.child.lock().unwrap().wait().unwrap();
    }

    /// Starts it again after it was killed.
    pub fn start_again(&self) {
        let mut child = spawn(&self.bin, self.folder.path(), self.port, &self.settings);
        assert!(is_up(&mut child, self.port), "PostgreSQL doesn't start again");
        *self.child.lock().unwrap() = child;
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        run(&self.bin.join("pg_ctl"), &["-D", peers::text(&self.folder.path().join("data")), "promote", "-w"]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let running = self.child.lock().unwrap().try_wait().unwrap().is_none();
        if running {
            self.kill();
        }
    }
}

pub fn address(port: u16) -> String {
    format!("postgresql://postgres:secret@127.0.0.1:{port}/postgres")
}

/// The address of a pair, of which either may be the primary.
pub fn both(ports: [u16; 2]) -> String {
    format!("postgresql://postgres:secret@127.0.0.1:{},127.0.0.1:{}/postgres", ports[0], ports[1])
}

pub fn options(address: &str) -> PostgresOptions {
    PostgresOptions::new(address).unwrap().without_standby().deadline(Duration::from_secs(20))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    own(folder.path());
    folder
}

/// One that has ended meanwhile needs no signal.
fn kill(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// Gives a file to who runs the server.
pub fn own(path: &Path) {
    if let Some((uid, gid)) = user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn spawn(bin: &Path, folder: &Path, port: u16, settings: &[String]) -> Child {
    let (data, port) = (folder.join("data"), port.to_string());
    let sockets = format!("unix_socket_directories={}", folder.display());
    let mut args = vec!["-D", peers::text(&data), "-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", &sockets];
    settings.iter().for_each(|setting| args.extend(["-c", setting]));
    let log = fs::File::create(folder.join("log")).unwrap();
    command(&bin.join("postgres"), &args).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Whether it comes to take connections.
fn is_up(child: &mut Child, port: u16) -> bool {
    let port = port.to_string();
    while child.try_wait().unwrap().is_none() {
        let asked = Command::new("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap();
        if asked.success() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    false
}
