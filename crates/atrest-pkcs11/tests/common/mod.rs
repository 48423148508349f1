//! Tokens of SoftHSM in folders of their own.

#![allow(dead_code)] // each test file uses its part

#[path = "../../../../tests/common/peers.rs"]
pub mod peers;

use std::path::{Path, PathBuf};
use std::process::Command;

use atrest_pkcs11::{Pin, Pkcs11Options, Pkcs11Vault};

use peers::{peer, run};

pub const PIN: &str = "48151623";

/// Where Debian, Fedora and Homebrew put a library.
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
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process: see above");
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
        let make = ["--keygen", "--key-type", "AES:32", "--usage-wrap", "--sensitive", "--label", label, "--id", id];
        self.tool(token, &make);
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
