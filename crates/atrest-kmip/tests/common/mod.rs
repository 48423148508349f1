//! Servers of KMIP, their owners' clients, and the certificates of both sides.

#![allow(dead_code)] // each test file uses its part

#[path = "../../../../tests/common/listening.rs"]
mod listening;
#[path = "../../../../tests/common/peers.rs"]
pub mod peers;

pub mod answers;
pub mod cosmian;
pub mod fake;
mod owner;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use atrest_kmip::{KmipOptions, KmipVault};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use owner::Owner;

/// Writes `ca.pem`, and a certificate and a key for `server`, `client` and `other`, each signed by it; `stranger` is signed by
/// another one, which `stranger-ca.pem` has.
pub fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let authority = |file: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, file);
        let key = KeyPair::generate().unwrap();
        write(file, params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    };
    let issue = |name: &str, purpose: ExtendedKeyUsagePurpose, issuer: &Issuer<'_, KeyPair>| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    };
    let (ca, stranger) = (authority("ca.pem"), authority("stranger-ca.pem"));
    issue("server", ExtendedKeyUsagePurpose::ServerAuth, &ca);
    issue("client", ExtendedKeyUsagePurpose::ClientAuth, &ca);
    issue("other", ExtendedKeyUsagePurpose::ClientAuth, &ca);
    issue("stranger", ExtendedKeyUsagePurpose::ClientAuth, &stranger);
}

/// The options of a client of this name.
pub fn options(folder: &Path, port: u16, name: &str) -> KmipOptions {
    let file = |name: &str| folder.join(name);
    KmipOptions::new("127.0.0.1", file("ca.pem"), file(&format!("{name}.pem")), file(&format!("{name}.key")))
        .port(port)
        .deadline(Duration::from_secs(60))
}

/// A server of PyKMIP: `pip install pykmip`. Its keys are in a file, so that they are there again after [`start`](Self::start).
pub struct PyKmip {
    pub folder: TempDir,
    pub port: u16,
    /// The operations that it refuses as not supported, by their names in PyKMIP, with blanks between them.
    without: &'static str,
    server: Mutex<Option<Child>>,
    owner: Owner,
}

impl PyKmip {
    /// A new one; `None` if it isn't installed.
    pub fn new() -> Option<Self> {
        Self::without("")
    }

    /// A new one, which lacks some operations.
    pub fn without(without: &'static str) -> Option<Self> {
        peers::python("kmip.services.server")?;
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        // Between here and its start somebody else may take the port: then another is taken.
        for _ in 0..10 {
            let port = listening::ports::free_port();
            if let Some(server) = serve(folder.path(), port, without) {
                let owner = Owner::new("pykmip.py", folder.path(), port);
                return Some(PyKmip { folder, port, without, server: Mutex::new(Some(server)), owner });
            }
        }
        panic!("PyKMIP doesn't start: {}", std::fs::read_to_string(folder.path().join("out")).unwrap());
    }

    pub fn options(&self, name: &str) -> KmipOptions {
        options(self.folder.path(), self.port, name)
    }

    pub fn vault(&self) -> KmipVault {
        KmipVault::new(self.options("client")).unwrap()
    }

    /// Has the owner of the keys do something: see `pykmip.py`.
    pub fn owner(&self, line: &str) -> String {
        self.owner.ask(line)
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) {
        if let Some(child) = self.server.lock().unwrap().take() {
            end(child);
        }
    }

    pub fn start(&self) {
        let server = serve(self.folder.path(), self.port, self.without);
        *self.server.lock().unwrap() = Some(server.expect("it starts again"));
    }
}

impl Drop for PyKmip {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a process with its children, which would outlive it.
fn end(mut child: Child) {
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().unwrap();
}

fn serve(folder: &Path, port: u16, without: &str) -> Option<Child> {
    let policies = folder.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let conf: PathBuf = folder.join("server.conf");
    let lines = [
        "[server]".into(),
        "hostname=127.0.0.1".into(),
        format!("port={port}"),
        format!("certificate_path={}", path("server.pem")),
        format!("key_path={}", path("server.key")),
        format!("ca_path={}", path("ca.pem")),
        "auth_suite=TLS1.2".into(),
        format!("policy_path={}", policies.display()),
        "enable_tls_client_auth=True".into(),
        "logging_level=WARNING".into(),
        format!("database_path={}", path("db")),
    ];
    std::fs::write(&conf, lines.join("\n")).unwrap();
    let main = "import sys\n\
        from kmip.core import exceptions\n\
        from kmip.services.server import engine, server\n\
        without, whole = sys.argv.pop().split(), engine.KmipEngine._process_operation\n\
        def process(self, operation, payload):\n    \
            if operation.name in without: raise exceptions.OperationNotSupported(operation.name + ' is not supported.')\n    \
            return whole(self, operation, payload)\n\
        engine.KmipEngine._process_operation = process\n\
        sys.exit(server.main())";
    let mut command = Command::new("python3");
    command.args(["-W", "ignore", "-c", main, "-f", conf.to_str().unwrap(), "-l", &path("log"), without]);
    let out = std::fs::File::create(folder.join("out")).unwrap();
    let command = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
    listening::until_it_listens(command.spawn().unwrap(), port)
}
