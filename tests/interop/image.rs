//! Images that both sides open in turn. We open them without a lock: a child process that another test starts at that
//! time would inherit the lock until its exec.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::{Header, KeyslotOptions};
use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Protector, Result, Volume};
use atrest::{Dek, hazmat};

use crate::common::{cryptsetup, run, run_any, text};

/// Options of `cryptsetup` for a cheap keyslot.
pub const CHEAP_ARGON2: [&str; 6] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32", "--pbkdf-parallel", "1"];
pub const CHEAP_PBKDF2: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

pub fn cheap_argon2() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 32, passes: 4, lanes: 1 })
}

pub fn cheap_pbkdf2() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

/// Noise that has no period, so that no two sectors are alike.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(step).collect()
}

/// A folder with an image, the keys that open it, and its header if that is detached.
pub struct Image {
    folder: tempfile::TempDir,
    pub detached: bool,
}

/// A file without a lock. Syncing does nothing here.
pub struct Unlocked(File);

impl Unlocked {
    fn open(path: &str) -> Self {
        Unlocked(File::options().read(true).write(true).open(path).unwrap())
    }
}

impl BlockDevice for Unlocked {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An image as we have it open.
pub type Open = Volume<Unlocked>;

impl Image {
    /// An image of zeros.
    pub fn blank(size: u64) -> Self {
        let image = Image { folder: tempfile::tempdir().unwrap(), detached: false };
        File::create(image.path()).unwrap().set_len(size).unwrap();
        image
    }

    /// One of 4 MiB of data, and 16 MiB of header beside it or in front.
    pub fn with_header(detached: bool) -> Self {
        let mut image = Self::blank(if detached { 4 << 20 } else { 20 << 20 });
        image.detached = detached;
        if detached {
            File::create(image.header()).unwrap().set_len(16 << 20).unwrap();
        }
        image
    }

    pub fn file(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    pub fn path(&self) -> String {
        self.file("image")
    }

    /// The file that the header is in.
    pub fn header(&self) -> String {
        self.file(if self.detached { "header" } else { "image" })
    }

    /// A file whose bytes are the passphrase.
    pub fn key(&self, passphrase: &str) -> String {
        let path = self.file(&format!("key-{passphrase}"));
        fs::write(&path, passphrase).unwrap();
        path
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    pub fn header_bytes(&self) -> Vec<u8> {
        fs::read(self.header()).unwrap()
    }

    /// Edits the bytes of an image that has its header in front.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes();
        edit(&mut bytes);
        fs::write(self.path(), bytes).unwrap();
    }

    /// The output of a `cryptsetup` command about the header.
    pub fn cryptsetup(&self, args: &[&str]) -> String {
        run("cryptsetup", args)
    }

    /// Whether `cryptsetup` takes a passphrase.
    pub fn theirs(&self, passphrase: &str) -> bool {
        let (key, header) = (self.key(passphrase), self.header());
        run_any("cryptsetup", &["open", "--test-passphrase", "--key-file", &key, &header]).status.success()
    }

    /// The volume key, as `cryptsetup` gets it by a passphrase.
    pub fn their_dek(&self, passphrase: &str) -> Vec<u8> {
        let (key, header, out) = (self.key(passphrase), self.header(), self.file("dek"));
        let _ = fs::remove_file(&out);
        let dump = ["luksDump", "-q", "--dump-volume-key", "--volume-key-file", &out, "--key-file", &key, &header];
        self.cryptsetup(&dump);
        fs::read(&out).unwrap()
    }

    /// Opens the volume by a credential and does something with it.
    pub fn ours_by<R>(
        &self,
        credential: Credential<'_>,
        options: OpenOptions,
        f: impl FnOnce(&Open) -> R,
    ) -> Result<R> {
        let options = if self.detached { options.header(self.header_device()) } else { options };
        Volume::open(Unlocked::open(&self.path()), credential, &options).map(|volume| f(&volume))
    }

    fn header_device(&self) -> Arc<dyn BlockDevice> {
        self.device("header")
    }

    /// A file of the folder.
    pub fn device(&self, name: &str) -> Arc<dyn BlockDevice> {
        Arc::new(Unlocked::open(&self.file(name)))
    }

    pub fn ours<R>(&self, passphrase: &str, f: impl FnOnce(&Open) -> R) -> R {
        let opened = self.ours_by(Credential::Passphrase(passphrase.as_bytes()), OpenOptions::new(), f);
        opened.unwrap_or_else(|e| panic!("{passphrase}: {e}"))
    }

    /// Whether we take a passphrase.
    pub fn opens(&self, passphrase: &str) -> bool {
        match self.ours_by(Credential::Passphrase(passphrase.as_bytes()), OpenOptions::new(), |_| ()) {
            Ok(()) => true,
            Err(Error::WrongPassphrase) => false,
            Err(e) => panic!("{passphrase}: {e}"),
        }
    }

    /// Why we don't open it.
    pub fn refused(&self, passphrase: &str, options: OpenOptions) -> Error {
        let (before, header) = (self.bytes(), self.header_bytes());
        let credential = Credential::Passphrase(passphrase.as_bytes());
        let error = self.ours_by(credential, options, |_| ()).expect_err("a volume that is to be refused");
        assert!(self.bytes() == before && self.header_bytes() == header, "what was refused was changed: {error}");
        error
    }

    /// Makes a volume on the image, and returns its key.
    pub fn format(&self, passphrase: &str, options: FormatOptions) -> Vec<u8> {
        let options = if self.detached { options.header(self.header_device()) } else { options };
        let protector = Protector::Passphrase(passphrase.as_bytes());
        dek(&Volume::format(Unlocked::open(&self.path()), protector, &options).unwrap().dek())
    }

    /// Does something with the header, without a key.
    pub fn with_our_header<R>(&self, f: impl FnOnce(&mut Header<'_>) -> R) -> R {
        f(&mut Header::load(&Unlocked::open(&self.header())).unwrap())
    }

    /// The keyslot that a passphrase opens.
    pub fn keyslot_of(&self, passphrase: &str) -> u32 {
        let ids: Vec<u32> = self.with_our_header(|header| header.keyslots().iter().map(|keyslot| keyslot.id).collect());
        let opens = |id: &u32| {
            let options = OpenOptions::new().keyslot(*id);
            self.ours_by(Credential::Passphrase(passphrase.as_bytes()), options, |_| ()).is_ok()
        };
        ids.into_iter().find(opens).unwrap_or_else(|| panic!("{passphrase} opens none"))
    }

    /// The UUID, as `cryptsetup` reads it.
    pub fn uuid(&self) -> String {
        self.cryptsetup(&["luksUUID", &self.header()]).trim().to_owned()
    }
}

/// The bytes of a volume's key.
pub fn dek(dek: &Dek) -> Vec<u8> {
    hazmat::dek_bytes(dek).expose().to_vec()
}

/// Whether the tests of this file can be done.
pub fn have_cryptsetup() -> bool {
    cryptsetup().is_some()
}
