//! Tokens of SoftHSM in folders of their own.

#![allow(dead_code)] // each test file uses its part

#[path = "../../../../tests/common/peers.rs"]
pub mod peers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use atrest_pkcs11::{Pin, Pkcs11Options, Pkcs11Vault};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use peers::{peer, run};

pub const PIN: &str = "48151623";

/// Finds a library where Debian, Fedora and Homebrew put it.
pub fn library(names: &[&str], folders: &[&str]) -> Option<PathBuf> {
    let places = folders.iter().flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
    places.into_iter().find(|path| path.exists())
}

pub fn softhsm_library() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib64/pkcs11", "/opt/homebrew/lib/softhsm"];
    library(&["libsofthsm2.so"], &folders)
}

/// Runs a test again in a process of its own, with the environment that SoftHSM needs: it reads its configuration from
/// there, and a process has threads by the time that a test runs. `None`: this is the parent, and the test is done.
pub fn softhsm(test: &str) -> Option<SoftHsm> {
    if let Some(folder) = std::env::var_os("ATREST_PKCS11_FOLDER") {
        let _ = log::set_logger(&LOGS).map(|()| log::set_max_level(log::LevelFilter::Trace));
        return Some(SoftHsm { folder: folder.into(), library: softhsm_library().expect("checked by the parent") });
    }
    peer("softhsm2-util", &["--version"])?;
    peer("sh", &["-c", "command -v pkcs11-tool"])?;
    if softhsm_library().is_none() {
        return peer("libsofthsm2.so", &[]).map(|_| unreachable!());
    }
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = folder.path().join("softhsm2.conf");
    std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    std::fs::write(folder.path().join("pin"), format!("{PIN}\n")).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SOFTHSM2_CONF", conf)
        .env("ATREST_PKCS11_FOLDER", folder.path())
        .env("FAULTY_REAL", softhsm_library().unwrap())
        .env("FAULTY_CONTROL", folder.path().join("control"))
        .env("FAULTY_LOG", folder.path().join("log"))
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process ({status}): see above");
    None
}

pub struct SoftHsm {
    pub folder: PathBuf,
    pub library: PathBuf,
}

impl SoftHsm {
    /// Makes a token.
    pub fn token(&self, label: &str) -> &Self {
        run("softhsm2-util", &["--init-token", "--free", "--label", label, "--so-pin", "1234567", "--pin", PIN]);
        self
    }

    /// Runs pkcs11-tool as the token's user.
    pub fn tool(&self, token: &str, args: &[&str]) -> String {
        let library = self.library.to_str().unwrap();
        let login = ["--module", library, "--token-label", token, "--login", "--pin", PIN];
        run("pkcs11-tool", &[&login, args].concat())
    }

    /// Makes an AES-256 key that wraps and unwraps.
    pub fn aes(&self, token: &str, label: &str, id: &str) {
        self.make_aes(token, label, id, &["--private"]);
    }

    /// Makes one that is no private object. SoftHSM 2.6 can't read the dates of private objects: it decrypts what it
    /// hasn't encrypted.
    pub fn aes_with_dates(&self, token: &str, label: &str, id: &str) {
        self.make_aes(token, label, id, &[]);
    }

    fn make_aes(&self, token: &str, label: &str, id: &str, more: &[&str]) {
        let make = ["--keygen", "--key-type", "AES:32", "--usage-wrap", "--sensitive", "--label", label, "--id", id];
        self.tool(token, &[&make, more].concat());
    }

    pub fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    pub fn options(&self, token: &str) -> Pkcs11Options {
        Pkcs11Options::new(&self.library).token(token).pin(Pin::File(self.pin_file()))
    }

    pub fn vault(&self, token: &str) -> Pkcs11Vault {
        Pkcs11Vault::new(self.options(token)).unwrap()
    }
}

impl SoftHsm {
    /// The library with faults, which [`fault`](Self::fault) sets.
    pub fn faulty(&self, token: &str) -> Pkcs11Options {
        let library = self.folder.join("faulty.so");
        if !library.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/faulty.c");
            let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
            run(&cc, &["-shared", "-fPIC", "-o", library.to_str().unwrap(), source.to_str().unwrap(), "-ldl"]);
        }
        Pkcs11Options::new(&library).token(token).pin(Pin::File(self.pin_file()))
    }

    /// From now on, functions give these answers: see `faulty.c`.
    pub fn fault(&self, lines: &str) {
        let path = self.folder.join("control");
        // Whole at once, since another thread may read it.
        std::fs::write(self.folder.join("control.new"), format!("{lines}\n")).unwrap();
        std::fs::rename(self.folder.join("control.new"), path).unwrap();
    }

    /// How often someone tried to log in through the faulty library.
    pub fn logins(&self) -> usize {
        std::fs::read_to_string(self.folder.join("log")).map_or(0, |text| text.lines().count())
    }

    pub fn set_pin(&self, pin: &str) {
        std::fs::write(self.pin_file(), pin).unwrap();
    }

    /// Another client in this process: the crate cryptoki, which shares the library, and so the login.
    pub fn admin(&self, token: &str) -> Admin {
        let library = Pkcs11::new(&self.library).unwrap();
        let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slots = library.get_slots_with_token().unwrap();
        let slot = slots.into_iter().find(|slot| library.get_token_info(*slot).unwrap().label() == token).unwrap();
        let session = library.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
        Admin { library, session }
    }
}

pub struct Admin {
    pub library: Pkcs11,
    pub session: Session,
}

impl Admin {
    pub fn objects(&self, label: &str, id: u8) -> Vec<ObjectHandle> {
        self.session.find_objects(&[Attribute::Label(label.into()), Attribute::Id(vec![id])]).unwrap()
    }

    pub fn set(&self, label: &str, id: u8, attributes: &[Attribute]) {
        let objects = self.objects(label, id);
        assert!(!objects.is_empty());
        objects.into_iter().for_each(|object| self.session.update_attributes(object, attributes).unwrap());
    }
}

/// All that is logged in this process.
pub static LOGS: Logs = Logs(Mutex::new(String::new()));

pub struct Logs(Mutex<String>);

impl Logs {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl log::Log for Logs {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut text = self.0.lock().unwrap();
        text.push_str(&format!("{} {}\n", record.level(), record.args()));
    }

    fn flush(&self) {}
}
