//! A server of Cosmian KMS, which speaks KMIP 2.1, and its owner's client.
//!
//! `cargo install cosmian_kms_server --version 5.28.0 --locked --no-default-features --debug` makes it, as `cosmian_kms`. Its licence
//! (BUSL-1.1) lets anybody run it for tests; nothing of it is shipped.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use atrest_kmip::{KmipOptions, KmipVault, KmipVersion};
use tempfile::TempDir;

use super::owner::Owner;
use super::{certificates, end, listening, options, peers};

/// It demands a provider of OpenSSL that is validated by FIPS 140, which few systems have. This has another one load by that name, so
/// that ciphers come from the provider `default`.
const OPENSSL: &str = "openssl_conf = init\n[init]\nproviders = all\n[all]\ndefault = usual\nfips = legacy\n[usual]\nactivate = 1\n\
                       [legacy]\nmodule = FILE\nactivate = 1\n";

pub struct Cosmian {
    pub folder: TempDir,
    pub port: u16,
    /// That of its API in JSON.
    http: u16,
    server: Mutex<Option<Child>>,
    owner: Owner,
}

impl Cosmian {
    /// A new one; `None` if it isn't installed.
    pub fn new() -> Option<Self> {
        peers::peer("cosmian_kms", &["--version"])?;
        peers::python("cryptography")?;
        let modules = peers::run(&peers::peer("openssl", &["version", "-m"])?, &["version", "-m"]);
        let modules = modules.split('"').nth(1).unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let conf = OPENSSL.replace("FILE", &format!("{modules}/legacy.so"));
        std::fs::write(folder.path().join("openssl.cnf"), conf).unwrap();
        // Between here and its start somebody else may take a port: then others are taken.
        for _ in 0..10 {
            let [port, http] = [0; 2].map(|_| listening::ports::free_port());
            if let Some(server) = serve(folder.path(), port, http) {
                let server = Mutex::new(Some(server));
                let owner = Owner::new("cosmian.py", folder.path(), http);
                return Some(Cosmian { folder, port, http, server, owner });
            }
        }
        panic!("Cosmian KMS doesn't start: {}", std::fs::read_to_string(folder.path().join("out")).unwrap());
    }

    pub fn options(&self, name: &str) -> KmipOptions {
        options(self.folder.path(), self.port, name).version(KmipVersion::V2_1)
    }

    pub fn vault(&self) -> KmipVault {
        KmipVault::new(self.options("client")).unwrap()
    }

    /// Has the owner of the keys do something: see `cosmian.py`.
    pub fn owner(&self, line: &str) -> String {
        self.owner.ask(line)
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) {
        if let Some(child) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            end(child);
        }
    }

    /// Starts it again, with the keys that it had.
    pub fn start(&self) {
        let server = serve(self.folder.path(), self.port, self.http);
        *self.server.lock().unwrap() = Some(server.expect("it starts again"));
    }
}

impl Drop for Cosmian {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(folder: &Path, port: u16, http: u16) -> Option<Child> {
    let mut command = Command::new("cosmian_kms");
    command.current_dir(folder).env("OPENSSL_CONF", folder.join("openssl.cnf"));
    command.args(["--database-type", "sqlite", "--sqlite-path", "db", "--root-data-path", "data", "--tmp-path", "tmp"]);
    command.args(["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--clients-ca-cert-file", "ca.pem"]);
    command.args(["--hostname", "127.0.0.1", "--port", &http.to_string(), "--socket-server-start"]);
    command.args(["--socket-server-hostname", "127.0.0.1", "--socket-server-port", &port.to_string()]);
    command.args(["--rust-log", "warn"]);
    let out = std::fs::File::create(folder.join("out")).unwrap();
    let command = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
    let child = listening::until_it_listens(command.spawn().unwrap(), port)?;
    listening::until_it_listens(child, http)
}
