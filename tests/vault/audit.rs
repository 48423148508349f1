//! The audit log of a vault file: its content, and which attacks on it are detected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common::{PASSPHRASE, peer, pipe, python, text, vault_at};
use atrest::key::KeyVault;
use atrest::vault::{AuditEntry, AuditHead, FileVault, KeyOperation, Unlock, VersionChange};
use atrest::{Error, ManualClock, Result, Secret};

const VAULT: &str = "ATREST_TEST_AUDIT_VAULT";

struct Fixture {
    folder: tempfile::TempDir,
    vault: FileVault,
}

/// A vault and a log of 8 entries: 3 changes (the key, a grant, a version), then 5 uses.
fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    vault.grant("set-1", &[KeyOperation::Get, KeyOperation::WrapKey]).unwrap();
    vault.rotate_key("disks").unwrap();
    let set = vault.as_identity("set-1");
    let wrapped = set.wrap("disks", &dek()).unwrap();
    set.describe("disks", Some("1")).unwrap();
    set.unwrap(&wrapped).unwrap_err();
    vault.unwrap(&wrapped).unwrap().unwrap();
    vault.wrap("tapes", &dek()).unwrap_err();
    Fixture { folder, vault }
}

impl Fixture {
    fn log(&self) -> PathBuf {
        self.folder.path().join("keys.vault.audit")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap().split_inclusive('\n').map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        fs::write(self.log(), lines.concat()).unwrap();
    }

    fn open(&self) -> FileVault {
        FileVault::open(self.vault.path(), Unlock::Passphrase(PASSPHRASE)).unwrap()
    }

    fn read(&self) -> Result<Vec<AuditEntry>> {
        self.open().audit()?.collect()
    }

    /// The line that is named as the first that doesn't fit.
    fn fault(&self) -> String {
        match self.read() {
            Err(Error::DamagedVault(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn dek() -> Secret {
    Secret::copy_from(&[0x5a; 64])
}

#[test]
fn every_use_is_in_the_log_with_what_came_of_it() {
    // Behaviour 42
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(5000));
    let vault = vault_at(&folder.path().join("keys.vault")).with_clock(clock.clone());
    let id = vault.rotate_key("disks").unwrap();
    vault.grant("set-1", &[KeyOperation::WrapKey]).unwrap();
    clock.set(6000);
    let set = vault.as_identity("set-1");
    let wrapped = set.wrap("disks", &dek()).unwrap();
    set.unwrap(&wrapped).unwrap_err();
    vault.set_version(&id, VersionChange::new().enabled(false)).unwrap();
    vault.unwrap(&wrapped).unwrap_err();
    vault.set_version(&id, VersionChange::new().enabled(true)).unwrap();
    let mut torn = wrapped.clone();
    torn.bytes[0] ^= 1;
    vault.unwrap(&torn).unwrap_err();
    vault.describe("disks", None).unwrap();
    vault.describe("disks", Some("9")).unwrap_err();
    vault.revoke("set-1").unwrap();
    set.wrap("disks", &dek()).unwrap_err();
    vault.delete_key("disks").unwrap();
    vault.hazmat_purge_key("tapes").unwrap_err();
    // A wrapped key of another vault is no use of this one.
    let mut foreign = wrapped.clone();
    foreign.kek = "urn:uuid:0/keys/disks/1".parse().unwrap();
    assert!(vault.unwrap(&foreign).unwrap().is_none());

    let entries: Vec<AuditEntry> = vault.audit().unwrap().collect::<Result<_>>().unwrap();
    let shown: Vec<String> = entries
        .iter()
        .map(|e| {
            let text = |text: &Option<String>| text.clone().unwrap_or("-".into());
            let (who, key, version, subject) = (text(&e.identity), text(&e.key), text(&e.version), text(&e.subject));
            format!("{} {who} {} {key} {version} {subject} {}", e.seq, e.operation, e.outcome)
        })
        .collect();
    let wanted = [
        "1 - create disks 1 - ok",
        "2 - rotate disks 2 - ok",
        "3 - grant - - set-1 ok",
        "4 set-1 wrapKey disks 2 - ok",
        "5 set-1 unwrapKey disks - - access-denied",
        "6 - setVersion disks 2 - ok",
        "7 - unwrapKey disks 2 - key-disabled",
        "8 - setVersion disks 2 - ok",
        "9 - unwrapKey disks 2 - unwrap-failed",
        "10 - get disks 2 - ok",
        "11 - get disks 9 - no-such-key",
        "12 - revoke - - set-1 ok",
        "13 set-1 wrapKey disks - - access-denied",
        "14 - delete disks - - ok",
        "15 - purge tapes - - no-such-key",
    ];
    assert_eq!(shown, wanted);
    assert_eq!((entries[2].time, entries[3].time), (5000, 6000));
    assert!(entries.iter().all(|entry| entry.torn.is_none()));
}

#[test]
fn no_changed_byte_goes_unseen_and_its_line_is_named() {
    let fixture = fixture();
    let lines = fixture.lines();
    assert_eq!(lines.len(), 8);
    for n in 0..lines.len() {
        for (at, byte) in lines[n].bytes().enumerate() {
            let mut text = fs::read(fixture.log()).unwrap();
            let offset: usize = lines[..n].iter().map(String::len).sum::<usize>() + at;
            text[offset] = byte ^ 1;
            fs::write(fixture.log(), &text).unwrap();
            if n == lines.len() - 1 && byte == b'\n' {
                // The last line without its end is torn. That is the same as a truncation.
                assert_eq!(fixture.read().unwrap().len(), 7);
            } else {
                let fault = fixture.fault();
                assert!(fault.contains(&format!("line {} ", n + 1)), "line {} at {at}: {fault}", n + 1);
            }
            fixture.write(&lines);
        }
    }
}

#[test]
fn a_line_that_is_gone_or_elsewhere_is_missed() {
    let fixture = fixture();
    let lines = fixture.lines();
    for n in 0..lines.len() - 1 {
        let mut edited = lines.clone();
        edited.remove(n);
        fixture.write(&edited);
        assert!(fixture.fault().contains(&format!("line {} ", n + 1)));
        let mut edited = lines.clone();
        edited.swap(n, n + 1);
        fixture.write(&edited);
        assert!(fixture.fault().contains(&format!("line {} ", n + 1)));
        let mut edited = lines.clone();
        edited.insert(n + 1, lines[n].clone());
        fixture.write(&edited);
        assert!(fixture.fault().contains(&format!("line {} ", n + 2)));
    }
    // The log of another vault.
    let other = self::fixture();
    fixture.write(&other.lines());
    assert!(fixture.fault().contains("line 1 "));
}

#[test]
fn a_missing_end_shows_against_the_vault_file_and_against_a_head_kept_elsewhere() {
    let fixture = fixture();
    let lines = fixture.lines();
    let head: AuditHead = fixture.vault.audit_head().unwrap().to_string().parse().unwrap();
    assert_eq!((head, head.seq()), (fixture.open().audit_head().unwrap(), 8));
    for len in 0..8 {
        fixture.write(&lines[..len]);
        match fixture.read() {
            // The vault changed last at the third entry.
            Ok(entries) => assert!(entries.len() == len && len >= 3),
            Err(e) => {
                let named = if len == 2 { "entry 3 is missing".into() } else { format!("entries {} to 3", len + 1) };
                assert!(len < 3 && e.to_string().contains(&named), "{e}");
            }
        }
        let error = fixture.open().audit().unwrap().including(head).find_map(Result::err).unwrap();
        let from = len + 1;
        let named = match len {
            7 => "entry 8 is missing".into(),
            _ => format!("entries {from} to 8"),
        };
        assert!(error.to_string().contains(&named), "{error}");
    }
    fs::remove_file(fixture.log()).unwrap();
    assert!(fixture.fault().contains("entries 1 to 3"));
    // An end that was cut off and grew again is another one.
    fixture.write(&lines[..5]);
    for _ in 0..5 {
        fixture.open().describe("disks", None).unwrap();
    }
    assert_eq!(fixture.read().unwrap().len(), 10);
    let error = fixture.open().audit().unwrap().including(head).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("entry 8 is not"), "{error}");
    fixture.write(&lines);
    assert_eq!(fixture.open().audit().unwrap().including(head).map(Result::unwrap).count(), 8);
    for text in ["", "8", "8:", "x:AAAA", &head.to_string()[..20]] {
        assert!(text.parse::<AuditHead>().is_err(), "{text}");
    }
}

#[test]
fn a_log_that_lost_entries_does_not_stop_the_vault_and_still_shows_it() {
    let fixture = fixture();
    let lines = fixture.lines();
    for (cut, used_before) in [(0, false), (2, false), (2, true)] {
        fixture.write(&lines);
        let vault = fixture.open();
        if used_before {
            vault.describe("disks", None).unwrap();
        }
        fixture.write(&lines[..cut]);
        vault.describe("disks", None).unwrap();
        vault.describe("disks", None).unwrap();
        assert!(fixture.fault().contains(&format!("line {} does not follow from entry {cut}", cut + 1)));
    }
}

#[test]
fn a_torn_line_is_tolerated_and_noted() {
    let fixture = fixture();
    let lines = fixture.lines();
    for len in 1..lines[7].len() - 1 {
        let torn = [&lines[..7], &[lines[7][..len].to_owned()]].concat();
        fixture.write(&torn);
        let vault = fixture.open();
        let mut log = vault.audit().unwrap();
        assert_eq!(log.by_ref().map(Result::unwrap).count(), 7);
        assert_eq!(log.torn_end(), Some(len as u64));
        if len % 16 != 1 {
            continue;
        }
        vault.describe("disks", None).unwrap();
        vault.describe("disks", None).unwrap();
        let entries = fixture.read().unwrap();
        let noted: Vec<_> = entries.iter().map(|entry| entry.torn).collect();
        // With its ending, ` torn`.
        assert_eq!(noted[7..], [Some(len as u64 + 5), None]);
        assert!(noted[..7].iter().all(Option::is_none));
        // The remains of the torn line are part of the evidence.
        let mut text = fs::read(fixture.log()).unwrap();
        let at = lines[..7].iter().map(String::len).sum::<usize>();
        text[at] ^= 1;
        fs::write(fixture.log(), &text).unwrap();
        assert!(fixture.fault().contains("line 8 "));
        text.drain(at..at + len + 6);
        fs::write(fixture.log(), &text).unwrap();
        assert!(fixture.fault().contains("line 8 "));
    }
    // A whole line that doesn't fit is not treated as a torn one, even when the log goes on behind it.
    let mut changed = lines.clone();
    changed[7] = changed[7].replace("no-such-key", "ok");
    fixture.write(&changed);
    fixture.open().describe("disks", None).unwrap();
    assert!(fixture.fault().contains("line 8 "));
}

#[test]
fn a_log_that_lost_only_its_last_line_feed_goes_on_and_is_sound() {
    let fixture = fixture();
    let lines = fixture.lines();
    let torn = lines.concat().strip_suffix('\n').unwrap().to_owned();
    fs::write(fixture.log(), &torn).unwrap();
    let before = fixture.read().unwrap().len();
    fixture.open().describe("disks", None).unwrap();
    fixture.open().describe("disks", None).unwrap();
    let entries = fixture.read().unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=entries.len() as u64));
    // The writer chooses whether a line without an answered use counts.
    assert!((2..=3).contains(&(entries.len() - before)), "{} entries after {before}", entries.len());
    assert!(fs::read_to_string(fixture.log()).unwrap().starts_with(&torn));
}

#[test]
fn garbage_of_any_length_is_refused_in_bounded_memory_and_the_vault_goes_on() {
    let fixture = fixture();
    let lines = fixture.lines();
    for garbage in [vec![b'x'; 200_000], vec![0; 200_000], b"\n".repeat(100_000), b"{}\n".repeat(50_000)] {
        fs::write(fixture.log(), [lines.concat().as_bytes(), &garbage].concat()).unwrap();
        let vault = fixture.open();
        vault.describe("disks", None).unwrap();
        vault.describe("disks", None).unwrap();
        assert!(fixture.fault().contains("line 9 "), "{}", fixture.fault());
    }
    fs::remove_file(fixture.log()).unwrap();
    fs::File::create(fixture.log()).unwrap().set_len(1 << 36).unwrap();
    fixture.vault.describe("disks", None).unwrap();
    assert!(fixture.fault().contains("line 1 "));
}

#[test]
fn a_long_log_goes_on_from_its_end() {
    let fixture = fixture();
    for _ in 0..600 {
        fixture.vault.describe("disks", None).unwrap();
    }
    assert!(fs::metadata(fixture.log()).unwrap().len() > 80_000);
    // Another handle finds the end without reading it all, and a torn line there too.
    let text = fs::read(fixture.log()).unwrap();
    fs::write(fixture.log(), [&text[..], b"{\"seq\":609"].concat()).unwrap();
    fixture.open().describe("disks", None).unwrap();
    let entries = fixture.read().unwrap();
    assert_eq!((entries.len(), entries[608].torn), (609, Some(15)));
}

#[test]
fn many_threads_and_processes_write_one_log() {
    let this = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    // Under an emulator this program can't start another of its kind.
    let other = peer(this.to_str().unwrap(), &["--list"]).map(|this| {
        let mut command = Command::new(this);
        command.args(["--exact", "audit::the_second_process", "--nocapture"]).env(VAULT, &path).stdout(Stdio::null());
        command.spawn().unwrap()
    });
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| use_it(&path));
        }
    });
    let processes = if let Some(mut other) = other {
        assert!(other.wait().unwrap().success());
        4
    } else {
        3
    };
    let entries: Vec<AuditEntry> = vault.audit().unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(entries.len(), 1 + processes * 60);
    assert!(entries.iter().all(|entry| entry.torn.is_none()));
}

/// The work of another process in the test above. Run on its own, it does nothing.
#[test]
fn the_second_process() {
    if let Some(path) = std::env::var_os(VAULT) {
        use_it(Path::new(&path));
    }
}

fn use_it(path: &Path) {
    let vault = FileVault::open(path, Unlock::Passphrase(PASSPHRASE)).unwrap();
    for n in 0..30 {
        let wrapped = vault.wrap("disks", &dek()).unwrap();
        if n % 10 == 0 {
            vault.rotate_key("disks").unwrap();
        } else {
            vault.unwrap(&wrapped).unwrap().unwrap();
        }
    }
}

#[test]
fn a_log_is_put_aside_and_goes_on_in_a_new_file() {
    let fixture = fixture();
    let (head, old) = (fixture.vault.audit_head().unwrap(), fixture.folder.path().join("old.audit"));
    let lines = fixture.lines();
    let before = fixture.open();
    before.describe("disks", None).unwrap();
    fixture.vault.archive_audit(&old).unwrap();
    assert!(
        matches!(fixture.vault.archive_audit(&old), Err(Error::AlreadyExists { .. })),
        "an archive was overwritten"
    );
    before.describe("disks", None).unwrap();
    let entries = fixture.read().unwrap();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.seq, entry.operation.as_str())).collect();
    assert_eq!(shown, [(11, "get")]);
    let archived = fs::read_to_string(&old).unwrap();
    assert!(archived.starts_with(&lines.concat()));
    assert!(archived.lines().last().unwrap().contains("{\"seq\":10,") && archived.contains("archiveAudit"));
    // A head of the old log is not expected in the new one.
    assert_eq!(fixture.vault.audit().unwrap().including(head).map(Result::unwrap).count(), 1);
    // A damaged log is put aside unchanged, and the new one is sound.
    fixture.write(&["garbage\n".to_owned()]);
    assert!(fixture.read().is_err());
    fixture.open().archive_audit(fixture.folder.path().join("older.audit")).unwrap();
    assert_eq!(fixture.read().unwrap().len(), 0);
    fixture.vault.clone().with_synced_uses(true).describe("disks", None).unwrap();
    assert_eq!(fixture.read().unwrap().len(), 1);
}

#[test]
fn without_its_log_a_use_is_not_answered() {
    let fixture = fixture();
    let wrapped = fixture.vault.wrap("disks", &dek()).unwrap();
    let before = fs::read(fixture.vault.path()).unwrap();
    fs::remove_file(fixture.log()).unwrap();
    fs::create_dir(fixture.log()).unwrap();
    assert!(matches!(fixture.vault.unwrap(&wrapped), Err(Error::Io { .. })));
    assert!(matches!(fixture.vault.wrap("disks", &dek()), Err(Error::Io { .. })));
    let error = fixture.vault.rotate_key("disks").unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("audit"), "{error}");
    assert_eq!(fs::read(fixture.vault.path()).unwrap(), before, "a change that isn't in the log");
}

#[test]
fn names_that_strangers_choose_fill_no_disk_and_forge_no_line() {
    let fixture = fixture();
    for name in ["x".repeat(1 << 20), "a\nb\"},{\u{1F511}".into()] {
        fixture.vault.as_identity(&name).wrap(&name, &dek()).unwrap_err();
        let lines = fixture.lines();
        assert!(lines.last().unwrap().len() < 2000);
    }
    assert_eq!(fixture.read().unwrap().len(), 10);
}

#[test]
fn python_verifies_the_chain() {
    let Some(python) = python("cryptography") else { return };
    // Written from docs/formats/vault.md.
    const SCRIPT: &str = "
import base64, hashlib, hmac, json, sys
vault, log, key = (open(name, 'rb').read() for name in sys.argv[1:])
body = json.loads(vault[:vault.rindex(b'\\n', 0, -1) + 1])
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
root = sha(base64.b64decode(body['root']['salt']), key)
chain_key = sha(root, b'atrest vault audit v1\\x01')
seq, mac = body['audit']['start'].split(':')
seq, mac, torn = int(seq), base64.b64decode(mac), b''
for line in log.split(b'\\n')[:-1]:
    covered, _, rest = line.rpartition(b',\"mac\":\"')
    wanted = sha(chain_key, mac + torn + covered)
    if base64.b64encode(wanted) + b'\"}' == rest:
        entry = json.loads(line)
        seq += 1
        assert entry['seq'] == seq and entry.get('torn', 0) == max(len(torn) - 1, 0)
        mac, torn = wanted, b''
        print(seq, entry['operation'], entry['outcome'])
        if seq == int(body['audit']['anchor'].split(':')[0]):
            assert body['audit']['anchor'] == f'{seq}:{base64.b64encode(mac).decode()}'
            print('anchor')
    else:
        assert not torn
        torn = line + b'\\n'
assert not torn
";
    let folder = tempfile::tempdir().unwrap();
    let (path, key_file) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
    FileVault::generate_key_file(&key_file).unwrap();
    let vault = FileVault::create(&path, Unlock::KeyFile(&key_file)).unwrap();
    vault.create_key("disks").unwrap();
    vault.wrap("disks", &dek()).unwrap();
    let log = folder.path().join("keys.vault.audit");
    fs::write(&log, [fs::read(&log).unwrap(), b"{\"seq\":3,".to_vec()].concat()).unwrap();
    vault.wrap("tapes", &dek()).unwrap_err();
    vault.delete_key("disks").unwrap();
    vault.describe("disks", None).unwrap_err();
    let printed = pipe(&python, &["-c", SCRIPT, text(&path), text(&log), text(&key_file)], b"");
    let wanted = "1 create ok\n2 wrapKey ok\n3 wrapKey no-such-key\n4 delete ok\nanchor\n5 get key-deleted\n";
    assert_eq!(String::from_utf8(printed).unwrap(), wanted);
}
