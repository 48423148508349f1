//! The files of a vault, with foreign objects in their place, an odd umask, or a full disk.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crate::common::{PASSPHRASE, vault_at};
use atrest::key::KeyVault;
use atrest::vault::{FileVault, KdfCost, Unlock, VersionChange};
use atrest::{Credential, Error, FileDevice, KeyRefusal, OpenOptions, Secret, Volume};

const FOLDER: &str = "ATREST_TEST_VAULT_FILES";

/// Runs code that might hang, and ends the test if it does.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    result.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has panicked")
}

fn said(error: &Error) -> String {
    format!("{error} {error:?}")
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn open(path: &Path) -> atrest::Result<FileVault> {
    FileVault::open(path, Unlock::Passphrase(PASSPHRASE))
}

#[test]
fn a_handle_answers_nothing_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let handle = vault_at(&path);
    let id = handle.keys().unwrap()[0].versions[0].id.clone();
    let wrapped = handle.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    let other_vault = folder.path().join("other.vault");
    vault_at(&other_vault);

    // Elsewhere the version is disabled and the key deleted; then the file is damaged, swapped or taken away.
    let elsewhere = open(&path).unwrap();
    elsewhere.set_version(&id, VersionChange::new().enabled(false)).unwrap();
    elsewhere.delete_key("disks").unwrap();
    let sound = fs::read(&path).unwrap();
    let damages: [(&str, &dyn Fn()); 5] = [
        ("damaged", &|| fs::write(&path, &sound[..sound.len() / 2]).unwrap()),
        ("empty", &|| fs::write(&path, b"").unwrap()),
        ("another", &|| assert!(fs::copy(&other_vault, &path).unwrap() > 0)),
        ("missing", &|| fs::remove_file(&path).unwrap()),
        ("a FIFO", &|| {
            fs::remove_file(&path).unwrap();
            mkfifo(&path);
        }),
    ];
    for (what, damage) in damages {
        damage();
        let (handle, wrapped) = (handle.clone(), wrapped.clone());
        let result = in_time(move || handle.unwrap(&wrapped).map(drop));
        assert!(matches!(result, Err(Error::DamagedVault(_) | Error::Io { .. })), "{what}: {result:?}");
        let _ = fs::remove_file(&path);
        fs::write(&path, &sound).unwrap();
    }
    assert!(matches!(handle.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Deleted, .. })));
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    for suffix in ["", ".lock", ".audit"] {
        for (what, make) in [
            ("FIFO", (&|path: &Path| mkfifo(path)) as &dyn Fn(&Path)),
            ("folder", &|path| fs::create_dir(path).unwrap()),
            ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
            ("link", &|path| symlink("/dev/zero", path).unwrap()),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("keys.vault");
            drop(vault_at(&path));
            let victim = beside(&path, suffix);
            fs::remove_file(&victim).unwrap();
            make(&victim);
            let error = in_time(move || open(&path).and_then(|vault| vault.create_key("tapes")).unwrap_err());
            let text = said(&error);
            // A link to a vault is followed; here it leads to a device.
            let named = if what == "link" && suffix.is_empty() { "device" } else { what };
            assert!(text.contains(named), "{what} at {suffix}: {text}");
        }
    }
}

#[test]
fn a_secret_is_read_from_a_plain_file_only_and_no_more_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    mkfifo(&path("pipe"));
    fs::create_dir(path("folder")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path("socket")).unwrap());
    symlink("/dev/zero", path("device")).unwrap();
    symlink(path("pipe"), path("link")).unwrap();
    for (name, what) in
        [("pipe", "pipe"), ("folder", "folder"), ("socket", "socket"), ("device", "device"), ("link", "pipe")]
    {
        let victim = path(name);
        let error = in_time(move || Secret::read_file(victim, 100).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&format!("it is a {what}")), "{error}");
    }
    assert_eq!(Secret::read_file(path("none"), 100).unwrap_err().kind(), ErrorKind::NotFound);

    // Kubernetes mounts a secret by two links.
    fs::create_dir(path("..2026")).unwrap();
    symlink("..2026", path("..data")).unwrap();
    symlink("..data/token", path("token")).unwrap();
    for len in [0, 1, 99, 100] {
        fs::write(path("..2026/token"), vec![7; len]).unwrap();
        assert_eq!(Secret::read_file(path("token"), 100).unwrap().expose(), vec![7; len]);
    }
    fs::write(path("..2026/token"), [7; 101]).unwrap();
    let error = Secret::read_file(path("token"), 100).unwrap_err();
    assert!(error.kind() == ErrorKind::FileTooLarge && error.to_string().contains("100 bytes"), "{error}");
    // Its length says nothing of what it holds.
    fs::File::create(path("sparse")).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(Secret::read_file(path("sparse"), 100).unwrap_err().kind(), ErrorKind::FileTooLarge);
    if cfg!(target_os = "linux") {
        let text = fs::read("/proc/self/limits").unwrap();
        assert!(fs::metadata("/proc/self/limits").unwrap().len() == 0 && text.len() > 100);
        assert_eq!(Secret::read_file("/proc/self/limits", text.len()).unwrap().expose(), text);
        assert_eq!(Secret::read_file("/proc/self/limits", 100).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}

#[test]
fn no_link_beside_a_vault_is_followed() {
    for suffix in [".lock", ".audit", ".bak", ".new", ".bak.new"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.vault");
        drop(vault_at(&path));
        let victim = folder.path().join("victim");
        fs::write(&victim, b"not yours").unwrap();
        let _ = fs::remove_file(beside(&path, suffix));
        symlink(&victim, beside(&path, suffix)).unwrap();
        let _ = open(&path).unwrap().create_key("tapes");
        let _ = open(&path).unwrap().archive_audit(folder.path().join("old.audit"));
        assert_eq!(fs::read(&victim).unwrap(), b"not yours", "{suffix}");

        // Nor is a file made where a link leads.
        let nowhere = folder.path().join("nowhere");
        let _ = fs::remove_file(beside(&path, suffix));
        symlink(&nowhere, beside(&path, suffix)).unwrap();
        let _ = open(&path).unwrap().create_key("more");
        assert!(!nowhere.exists(), "{suffix}");
    }
}

#[test]
fn a_fifo_as_key_file_or_device_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mkfifo(&fifo);
    let path = folder.path().join("keys.vault");
    let device = folder.path().join("disk");
    in_time(move || {
        assert!(matches!(FileVault::create(&path, Unlock::KeyFile(&fifo)), Err(Error::Io { .. })));
        assert!(matches!(FileVault::generate_key_file(&fifo), Err(Error::AlreadyExists { .. })));
        for error in [FileDevice::open(&fifo).unwrap_err(), FileDevice::open_read_only(&fifo).unwrap_err()] {
            assert!(said(&error).contains("FIFO"), "{error:?}");
        }
        let device = FileDevice::create(&device, 32 << 20).unwrap();
        Volume::open(device, Credential::KeyFile(&fifo), &OpenOptions::new()).map(drop).unwrap_err();
    });
}

#[test]
fn names_that_are_steps_in_a_url_are_no_names_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    for name in [".", ".."] {
        assert!(matches!(vault.create_key(name), Err(Error::InvalidName(_))), "{name}");
        for url in [format!("v/keys/{name}/1"), format!("v/keys/disks/{name}")] {
            assert!(matches!(url.parse::<atrest::key::KeyId>(), Err(Error::InvalidName(_))), "{url}");
        }
    }
    vault.create_key("...").unwrap();
    vault.create_key(".a").unwrap();
}

#[test]
fn another_file_is_told_as_no_vault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for content in ["a line\nanother\n", "a line", "{\"a\": 1}\n", "[1]\n{}\n"] {
        fs::write(&path, content).unwrap();
        let text = said(&open(&path).unwrap_err());
        assert!(text.contains("not a vault file") && !text.contains("cut off"), "{content:?}: {text}");
    }
}

/// Runs the test `the_child` in a shell that has set a limit.
fn child(limit: &str, job: &str, folder: &Path) {
    let test = std::env::current_exe().unwrap();
    let script = format!("{limit}; exec {:?} --exact files::the_child --nocapture", test);
    let mut command = Command::new("sh");
    let done = command.args(["-c", &script]).env(FOLDER, folder).env("JOB", job).output().unwrap();
    assert!(done.status.success(), "{limit}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The work of another process in the tests below. Run on its own, it does nothing.
#[test]
fn the_child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let path = folder.join("keys.vault");
    let key = folder.join("root.key");
    match std::env::var("JOB").unwrap().as_str() {
        "make" => {
            FileVault::generate_key_file(&key).unwrap();
            vault_at(&path).archive_audit(folder.join("old.audit")).unwrap();
            FileDevice::create(folder.join("disk"), 4096).unwrap();
        }
        // No file can have a byte.
        "full" => {
            FileVault::generate_key_file(&key).unwrap_err();
            assert!(!key.exists());
            let cost = KdfCost::new(64, 1, 1);
            FileVault::create_with_cost(&path, Unlock::Passphrase(PASSPHRASE), cost).unwrap_err();
            let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["keys.vault.lock"]);
        }
        // The log has no room: at every use a piece of its line is written.
        "uses" => {
            let vault = open(&path).unwrap();
            for _ in 0..3 {
                assert!(vault.wrap("disks", &Secret::copy_from(&[7; 32])).is_err());
                assert!(vault.create_key("tapes").is_err());
            }
        }
        // As above, from many threads: an answer has its entry, and what failed has none.
        "crowd" => {
            let vault = open(&path).unwrap();
            let before = vault.audit().unwrap().map(Result::unwrap).count();
            let uses = || (0..40).filter(|_| vault.wrap("disks", &Secret::copy_from(&[7; 32])).is_ok()).count();
            let answered: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(uses)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert!((1..8 * 40).contains(&answered), "{answered}");
            assert_eq!(vault.audit().unwrap().map(Result::unwrap).count(), before + answered);
        }
        "archive" => {
            open(&path).unwrap().archive_audit(folder.join("old.audit")).unwrap_err();
            assert!(!folder.join("old.audit").exists());
        }
        job => panic!("{job}"),
    }
}

#[test]
fn every_file_is_its_owners_only_whatever_the_umask() {
    for umask in ["umask 0", "umask 777", "umask 277"] {
        let folder = tempfile::tempdir().unwrap();
        child(umask, "make", folder.path());
        let mut files = 0;
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{umask} {entry:?}");
            files += 1;
        }
        assert_eq!(files, 7, "{umask}");
    }
}

#[test]
fn files_that_others_may_read_are_taken_from_them_by_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    drop(vault_at(&path));
    let files = ["", ".bak", ".lock", ".audit"].map(|suffix| beside(&path, suffix));
    for mode in [0o644, 0o660, 0o666, 0o4755] {
        for file in &files {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        }
        open(&path).unwrap().rotate_key("disks").unwrap();
        for file in &files {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600, "{mode:o} {}", file.display());
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    child("trap '' XFSZ; ulimit -f 0", "full", folder.path());
    child("true", "make", folder.path());
}

#[test]
fn a_log_without_room_stays_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    // Nearly as long as the limit of 16 KiB: no whole line fits.
    let log = beside(&path, ".audit");
    let dek = Secret::copy_from(&[7; 32]);
    let mut name = "x".to_owned();
    let len = || fs::metadata(&log).unwrap().len();
    while len() < 16384 - 600 {
        vault.wrap("disks", &dek).unwrap();
    }
    let before = len();
    vault.wrap(&name, &dek).unwrap_err();
    let short = len() - before;
    while len() + 2 * short < 16384 - 60 {
        vault.wrap(&name, &dek).unwrap_err();
    }
    let fill = 16384 - 60 - len() - short;
    name.push_str(&"x".repeat(fill.min(100) as usize));
    vault.wrap(&name, &dek).unwrap_err();
    assert!((16300..16384).contains(&len()), "{}", len());
    let entries = vault.audit().unwrap().map(Result::unwrap).count();

    child("trap '' XFSZ; ulimit -f 32", "uses", folder.path());
    child("trap '' XFSZ; ulimit -f 8", "archive", folder.path());
    let again = open(&path).unwrap();
    again.wrap("disks", &dek).unwrap();
    assert!(entries > 50);
    assert_eq!(again.audit().unwrap().map(Result::unwrap).count(), entries + 1);
    again.archive_audit(folder.path().join("old.audit")).unwrap();
}

#[test]
fn threads_that_log_together_without_room_answer_what_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    // Room for some dozens of entries more.
    while fs::metadata(beside(&path, ".audit")).unwrap().len() < 8 << 10 {
        vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    }
    child("trap '' XFSZ; ulimit -f 32", "crowd", folder.path());
    open(&path).unwrap().create_key("tapes").unwrap();
}
