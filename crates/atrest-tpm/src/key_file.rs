//! Files of sealed KEKs: one for each version of a key, in one folder.
//!
//! ```text
//! atrest-tpm 1
//! created: 1795910400
//! auth: yes
//! pcrs: sha256:0,7
//! parent: 0023000b…
//! public: 0008000b…
//! private: 0020…
//! ```
//!
//! `parent`, `public` and `private` are the contents of a TPM2B_PUBLIC, a TPM2B_PUBLIC and a TPM2B_PRIVATE, without their lengths.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use atrest::{Error, Result, Secret, VaultFailure};

use crate::pcr::PcrSelection;
use crate::public;
use crate::tpm::Policy;

/// The longest file in bytes.
const LONGEST: usize = 16 << 10;

/// The longest part of it, as bytes: two of them fit into a command.
const LONGEST_PART: usize = 1536;

const HEAD: &str = "atrest-tpm 1";

/// The end of a version's file, and what is added to it while the version is disabled.
const END: &str = ".tpm";
const DISABLED: &str = ".disabled";

/// A sealed KEK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// Seconds since 1970-01-01 UTC.
    pub(crate) created: u64,
    /// Whether it takes an authorisation value; with PCRs, its policy demands both.
    pub(crate) auth: bool,
    pub(crate) pcrs: Option<PcrSelection>,
    pub(crate) parent: Vec<u8>,
    pub(crate) public: Vec<u8>,
    pub(crate) private: Vec<u8>,
}

impl KeyFile {
    pub(crate) fn policy(&self) -> Option<Policy> {
        self.pcrs.map(|pcrs| Policy { pcrs, auth: self.auth })
    }

    fn text(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let auth = if self.auth { "yes" } else { "no" };
        let pcrs = self.pcrs.map_or("none".into(), |pcrs| pcrs.to_string());
        format!(
            "{HEAD}\ncreated: {}\nauth: {auth}\npcrs: {pcrs}\nparent: {}\npublic: {}\nprivate: {}\n",
            self.created,
            hex(&self.parent),
            hex(&self.public),
            hex(&self.private),
        )
    }

    /// `Err` holds the reason.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err("it doesn't begin with the line 'atrest-tpm 1'");
        }
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.ok_or("a line is missing, or not where it belongs")
        };
        let created = value("created")?.parse().map_err(|_| "the time of creation is no number")?;
        let auth = match value("auth")? {
            "no" => false,
            "yes" => true,
            _ => return Err("auth is yes or no"),
        };
        let pcrs = match value("pcrs")? {
            "none" => None,
            text => Some(text.parse().map_err(|_| "the PCRs are none, or such as sha256:0,7")?),
        };
        let [parent, public, private] = [value("parent")?, value("public")?, value("private")?]
            .map(|text| unhex(text).ok_or("a part isn't in hexadecimal"));
        if lines.next().is_some() {
            return Err("there are more lines than there should be");
        }
        let file = KeyFile { created, auth, pcrs, parent: parent?, public: public?, private: private? };
        public::point(&file.parent).map_err(|malformed| malformed.0)?;
        public::check_sealed(&file.public).map_err(|malformed| malformed.0)?;
        Ok(file)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    let pairs = text.as_bytes().chunks(2);
    if text.len() > 2 * LONGEST_PART || text.is_empty() {
        return None;
    }
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

/// The folder with the files.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) PathBuf);

/// One version of a key, as the folder shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) enabled: bool,
}

impl Folder {
    fn path(&self, key: &str, version: Version) -> PathBuf {
        let disabled = if version.enabled { "" } else { DISABLED };
        self.0.join(format!("{key}@{}{END}{disabled}", version.number))
    }

    /// The versions of a key, the oldest first.
    pub(crate) fn versions(&self, key: &str) -> Result<Vec<Version>> {
        let failed = |e| failed(&self.0, "reading the folder of keys", e);
        let mut versions = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            versions.extend(name.to_str().and_then(|name| version_of(name, key)));
        }
        versions.sort_unstable();
        // A version with both files counts as disabled: it was enabled by mistake.
        versions.dedup_by_key(|version| version.number);
        Ok(versions)
    }

    /// Reads the file of a version; `None` if it was removed.
    pub(crate) fn read(&self, key: &str, version: Version) -> Result<Option<KeyFile>> {
        let path = self.path(key, version);
        let failed = |e| failed(&path, "reading a sealed key", e);
        let bad = |why| failed(io::Error::new(io::ErrorKind::InvalidData, why));
        let text = match Secret::read_file(&path, LONGEST) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(failed)?,
        };
        let text = str::from_utf8(text.expose()).map_err(|_| bad("it isn't text in UTF-8"))?;
        KeyFile::parse(text).map(Some).map_err(bad)
    }

    /// Writes the file of a new version, whole or not at all, and never over another.
    pub(crate) fn write(&self, key: &str, number: u32, file: &KeyFile) -> Result<()> {
        let path = self.path(key, Version { number, enabled: true });
        let failed = |e| failed(&path, "writing a sealed key", e);
        let part = self.0.join(format!(".{key}@{number}.{}.new", std::process::id()));
        // A killed call may have left it. It is never opened: anyone may have put a link there.
        let _ = fs::remove_file(&part);
        let written = (|| {
            let mut new = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
            new.write_all(file.text().as_bytes())?;
            new.sync_all()?;
            // A link fails where the name is taken.
            fs::hard_link(&part, &path)
        })();
        let removed = fs::remove_file(&part);
        written.and(removed).and_then(|()| File::open(&self.0)?.sync_all()).map_err(failed)
    }

    /// Disables a version, or enables it again.
    pub(crate) fn set_enabled(&self, key: &str, number: u32, enabled: bool) -> Result<()> {
        let [from, to] = [!enabled, enabled].map(|enabled| self.path(key, Version { number, enabled }));
        let done = fs::rename(&from, &to).and_then(|()| File::open(&self.0)?.sync_all());
        done.map_err(|e| failed(&from, "renaming a sealed key", e))
    }
}

/// The version that a file of this name has of a key.
fn version_of(name: &str, key: &str) -> Option<Version> {
    let rest = name.strip_prefix(key)?.strip_prefix('@')?;
    let (rest, enabled) = rest.strip_suffix(DISABLED).map_or((rest, true), |rest| (rest, false));
    Some(Version { number: number_of(rest.strip_suffix(END)?)?, enabled })
}

/// The number of a version, without zeros before it.
pub(crate) fn number_of(text: &str) -> Option<u32> {
    let sound = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    sound.then(|| text.parse().ok()).flatten()
}

fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    Error::Vault(VaultFailure::new(format!("{what}, {}", path.display())).caused_by(error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> KeyFile {
        let mut parent = public::parent_template();
        parent.truncate(parent.len() - 4);
        parent.extend([0, 1, 7, 0, 1, 9]);
        KeyFile {
            created: 1_795_910_400,
            auth: true,
            pcrs: Some("sha256:0,7".parse().unwrap()),
            parent,
            public: public::sealed_template(None, true),
            private: vec![0xAB; 200],
        }
    }

    #[test]
    fn no_link_is_written_through_and_no_pipe_is_waited_for() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder(temporary.path().into());
        let other = temporary.path().join("other");
        fs::write(&other, "of somebody else").unwrap();
        symlink(&other, temporary.path().join(format!(".disks@1.{}.new", std::process::id()))).unwrap();
        folder.write("disks", 1, &file()).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"of somebody else");
        let made = fs::symlink_metadata(temporary.path().join("disks@1.tpm")).unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o777 == 0o600);
        let pipe = temporary.path().join("disks@2.tpm");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success() && fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(folder.read("disks", Version { number: 2, enabled: true }).is_err());
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder(folder.path().into());
        assert_eq!(folder.versions("disks").unwrap(), []);
        for (number, auth) in [(1, true), (2, true), (3, false)] {
            let file = KeyFile { auth, ..file() };
            folder.write("disks", number, &file).unwrap();
            assert_eq!(folder.read("disks", Version { number, enabled: true }).unwrap(), Some(file.clone()));
            assert!(folder.write("disks", number, &file).is_err(), "a version is never written over");
        }
        folder.write("disks.2", 10, &KeyFile { pcrs: None, ..file() }).unwrap();
        folder.set_enabled("disks", 2, false).unwrap();
        let seen = |key: &str| folder.versions(key).unwrap().iter().map(|v| (v.number, v.enabled)).collect::<Vec<_>>();
        assert_eq!(seen("disks"), [(1, true), (2, false), (3, true)]);
        assert_eq!(seen("disks.2"), [(10, true)]);
        assert_eq!(seen("disk"), []);
        fs::copy(folder.0.join("disks@1.tpm"), folder.0.join("disks@1.tpm.disabled")).unwrap();
        assert_eq!(seen("disks")[0], (1, false));
        let left = fs::read_dir(&folder.0)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
        assert_eq!(left.count(), 0);
        assert!(matches!(folder.read("disks", Version { number: 9, enabled: true }), Ok(None)));
        assert!(matches!(Folder("/nonexistent".into()).versions("disks"), Err(Error::Vault(_))));
    }

    #[test]
    fn names_of_files() {
        for name in [
            "disks@0.tpm",
            "disks@01.tpm",
            "disks@+1.tpm",
            "disks@1",
            "disks@1.tpm.new",
            "disks@4294967296.tpm",
            "disks@.tpm",
            "disks1.tpm",
            "xdisks@1.tpm",
        ] {
            assert_eq!(version_of(name, "disks"), None, "{name}");
        }
    }

    #[test]
    fn files_that_are_none() {
        let text = file().text();
        assert_eq!(KeyFile::parse(&text), Ok(file()));
        for (from, to) in [
            ("atrest-tpm 1", "atrest-tpm 2"),
            ("created: 1", "created: -1"),
            ("auth: yes", "auth: Yes"),
            ("sha256", "sha1"),
            ("abab\n", "aba\n"),
            ("abab\n", "abAB\n"),
            ("abab\n", "abab\n\n"),
            ("private: ", "secret: "),
            ("public: 0008", "public: 0001"),
            ("parent: 0023", "parent: 0001"),
        ] {
            let altered = text.replacen(from, to, 1);
            assert_ne!(altered, text);
            assert!(KeyFile::parse(&altered).is_err(), "{altered}");
        }
        assert!(unhex(&"ab".repeat(LONGEST_PART + 1)).is_none());
    }

    proptest! {
        #[test]
        fn altered_files_are_read_without_a_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..0x80), 1..6),
        ) {
            let mut text = file().text().into_bytes();
            for (at, byte) in changes {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let _ = KeyFile::parse(core::str::from_utf8(&text).unwrap());
        }
    }
}
