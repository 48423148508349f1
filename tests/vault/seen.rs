//! What a handle that holds a vault's body does when the file changes: by another process, by a copy, or by damage.
//!
//! A file is read at each use for a tenth of a second after it was written. The tests that must meet a handle which trusts
//! what it holds wait for longer first.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::common::{PASSPHRASE, peer, vault_at};
use atrest::key::{KeyId, KeyVault, WrappedDek};
use atrest::vault::{FileVault, KeyOperation, Unlock, VersionChange};
use atrest::{Error, KeyRefusal, Result, Secret};

const VAULT: &str = "ATREST_TEST_SEEN_VAULT";
const USER: &str = "disk-set-1";
/// Longer than a handle takes to trust a file: see `src/vault/held.rs`.
const SETTLED: Duration = Duration::from_millis(150);

fn open(path: &Path) -> FileVault {
    FileVault::open(path, Unlock::Passphrase(PASSPHRASE)).unwrap()
}

/// A change that another process makes, and the answer to the use after it.
type Change = (&'static str, fn(&FileVault, &KeyId) -> Result<()>, fn(&Result<Option<Secret>>) -> bool);

fn opens(answer: &Result<Option<Secret>>) -> bool {
    matches!(answer, Ok(Some(_)))
}

fn refused(answer: &Result<Option<Secret>>) -> Option<&KeyRefusal> {
    match answer {
        Err(Error::KeyRefused { reason, .. }) => Some(reason),
        _ => None,
    }
}

const CHANGES: [Change; 10] = [
    (
        "disable",
        |vault, id| vault.set_version(id, VersionChange::new().enabled(false)),
        |answer| refused(answer) == Some(&KeyRefusal::Disabled),
    ),
    ("enable", |vault, id| vault.set_version(id, VersionChange::new().enabled(true)), opens),
    (
        "not before",
        |vault, id| vault.set_version(id, VersionChange::new().not_before(Some(u64::MAX))),
        |answer| refused(answer) == Some(&KeyRefusal::NotYetValid),
    ),
    ("at any time", |vault, id| vault.set_version(id, VersionChange::new().not_before(None)), opens),
    ("delete", |vault, id| vault.delete_key(id.key()), |answer| refused(answer) == Some(&KeyRefusal::Deleted)),
    ("recover", |vault, id| vault.recover_key(id.key()), opens),
    (
        "revoke",
        |vault, _| vault.revoke_operations(USER, &[KeyOperation::UnwrapKey]),
        |answer| matches!(refused(answer), Some(KeyRefusal::AccessDenied { .. })),
    ),
    ("grant", |vault, _| vault.grant(USER, &KeyOperation::ALL), opens),
    ("rotate", |vault, id| vault.rotate_key(id.key()).map(drop), opens),
    ("create", |vault, _| vault.create_key(&uuid()).map(drop), opens),
];

/// A name that no key has.
fn uuid() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("key-{}", now.as_nanos())
}

/// Another process that makes the changes that it is told, and says when one is done.
struct Other {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Other {
    fn start(path: &Path) -> Option<Self> {
        let this = std::env::current_exe().unwrap();
        // Under an emulator this program can't start another of its kind.
        let this = peer(this.to_str().unwrap(), &["--list"])?;
        let mut command = Command::new(this);
        command.args(["--exact", "seen::the_other_process", "--nocapture"]).env(VAULT, path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Other { child, answers })
    }

    fn make(&mut self, change: usize) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{change}").unwrap();
        let mut line = String::new();
        while !line.contains("DONE") {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the other process has ended");
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The other process in the test below. Run on its own, it does nothing.
#[test]
fn the_other_process() {
    let Some(path) = std::env::var_os(VAULT).map(PathBuf::from) else { return };
    let vault = open(&path);
    let id = KeyId::new(vault.id(), "disks", "1").unwrap();
    for line in std::io::stdin().lines() {
        let (_, change, _) = CHANGES[line.unwrap().parse::<usize>().unwrap()];
        change(&vault, &id).unwrap();
        println!("DONE");
    }
}

#[test]
fn each_change_by_another_process_is_seen_by_the_next_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    vault.grant(USER, &KeyOperation::ALL).unwrap();
    let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    let user = vault.as_identity(USER);
    let Some(mut other) = Other::start(&path) else { return };
    let mut rotations = 1;
    for round in 0..30 {
        for (at, (name, _, is_right)) in CHANGES.iter().enumerate() {
            if round < 2 {
                sleep(SETTLED);
                let _ = user.unwrap(&wrapped);
            }
            other.make(at);
            let answer = user.unwrap(&wrapped);
            assert!(is_right(&answer), "{round} {name}: {answer:?}");
            // Nor does an answer change where nothing has.
            assert!(is_right(&user.unwrap(&wrapped)), "{round} {name}");
            rotations += u32::from(*name == "rotate");
            if opens(&answer) {
                let now = user.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
                assert_eq!(now.kek.version(), rotations.to_string(), "{round} {name}");
            }
        }
    }
}

/// A handle that trusts the file which it has read, with what it wrapped.
fn trusting() -> (tempfile::TempDir, PathBuf, FileVault, WrappedDek) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    sleep(SETTLED);
    for _ in 0..3 {
        vault.unwrap(&wrapped).unwrap().unwrap();
    }
    (folder, path, vault, wrapped)
}

/// Restores the time of the last write, as `touch -r` does.
fn with_its_time(path: &Path, act: impl FnOnce()) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    act();
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn no_damage_is_missed_by_a_handle_that_trusts_what_it_holds() {
    let (_folder, path, vault, wrapped) = trusting();
    let sound = fs::read(&path).unwrap();
    let write_at = |bytes: &[u8], at: u64| {
        with_its_time(&path, || File::options().write(true).open(&path).unwrap().write_all_at(bytes, at).unwrap());
    };
    let renamed = |bytes: &[u8]| {
        let new = path.with_extension("new");
        with_its_time(&path, || {
            fs::write(&new, bytes).unwrap();
            fs::rename(&new, &path).unwrap();
        });
    };
    let mut altered = sound.clone();
    altered[40] ^= 1;
    let end = sound.len() as u64;
    let damages: [(&str, &dyn Fn()); 8] = [
        ("a byte in place", &|| write_at(&altered[40..41], 40)),
        ("a byte of the last line in place", &|| write_at(b"x", end - 20)),
        ("a byte in another file of the same length", &|| renamed(&altered)),
        ("the end cut off", &|| {
            with_its_time(&path, || File::options().write(true).open(&path).unwrap().set_len(end - 1).unwrap())
        }),
        ("more at the end", &|| write_at(b"\n", end)),
        ("the first half", &|| renamed(&sound[..sound.len() / 2])),
        ("nothing", &|| renamed(b"")),
        ("no file", &|| fs::remove_file(&path).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        for _ in 0..3 {
            let answer = vault.unwrap(&wrapped);
            assert!(matches!(answer, Err(Error::DamagedVault(_))), "{what}: {answer:?}");
        }
        fs::write(&path, &sound).unwrap();
        vault.unwrap(&wrapped).unwrap().unwrap();
        sleep(SETTLED);
        vault.unwrap(&wrapped).unwrap().unwrap();
    }
}

#[test]
fn an_older_file_is_refused_by_a_handle_that_trusts_the_newer_one() {
    let (folder, path, vault, wrapped) = trusting();
    // Another name of the same file, and a copy of it.
    let (link, copy) = (folder.path().join("link"), folder.path().join("copy"));
    fs::hard_link(&path, &link).unwrap();
    fs::copy(&path, &copy).unwrap();
    open(&path).set_version(&wrapped.kek, VersionChange::new().enabled(false)).unwrap();
    let newer = fs::read(&path).unwrap();
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    sleep(SETTLED);
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    for older in [link, copy] {
        fs::rename(&older, &path).unwrap();
        for _ in 0..3 {
            let answer = vault.unwrap(&wrapped);
            assert!(matches!(&answer, Err(Error::DamagedVault(what)) if what.contains("older")), "{answer:?}");
            sleep(SETTLED);
        }
        fs::write(&path, &newer).unwrap();
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    }
}

#[test]
fn another_passphrase_shuts_out_a_handle_that_trusts_the_file() {
    let (_folder, path, vault, wrapped) = trusting();
    let clone = vault.clone();
    let elsewhere = open(&path);
    sleep(SETTLED);
    elsewhere.unwrap(&wrapped).unwrap().unwrap();
    vault.change_unlock(Unlock::Passphrase(b"another passphrase"), None).unwrap();
    let answer = elsewhere.unwrap(&wrapped);
    assert!(matches!(answer, Err(Error::DamagedVault(_))), "{answer:?}");
    clone.unwrap(&wrapped).unwrap().unwrap();
}

#[test]
fn threads_that_log_together_leave_one_entry_for_each_use() {
    let (_folder, path, vault, wrapped) = trusting();
    let before = vault.audit().unwrap().map(Result::unwrap).count();
    const USES: usize = 40;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let vault = if thread % 2 == 0 { vault.clone() } else { open(&path) };
            let vault = vault.with_synced_uses(thread % 3 == 0);
            let wrapped = &wrapped;
            scope.spawn(move || {
                for _ in 0..USES {
                    vault.unwrap(wrapped).unwrap().unwrap();
                }
            });
        }
    });
    let entries: Vec<_> = vault.audit().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), before + 8 * USES);
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
}
