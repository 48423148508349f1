//! Writers and archives of the audit log that are killed: no entry is lost, and the log stays sound.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::audit_edges::{Fixture, seqs};
use crate::common::{peer, text};
use atrest::key::KeyVault;
use atrest::vault::{AuditEntry, FileVault, Unlock};
use atrest::{Error, Result};

#[test]
fn an_archive_that_was_killed_leaves_a_sound_log() {
    for damaged in [false, true] {
        let fixture = Fixture::new(9);
        if damaged {
            fixture.put(&[&fixture.log()[..], &[b'x'; 300]].concat());
        }
        let handle = fixture.open();
        handle.describe("disks", None).unwrap();
        fixture.open().archive_audit(fixture.path("old.audit")).unwrap();
        let old = fs::read(fixture.path("old.audit")).unwrap();
        // As it is when the process is killed after the vault's file was written, and before the log was emptied.
        fixture.put(&old);
        assert!(fixture.read().is_empty());
        assert_eq!(fixture.open().audit_head().unwrap().seq(), 12);
        let damage = handle.audit().unwrap().filter_map(Result::err).count();
        assert_eq!(damage, 0, "a handle that has seen the log before");
        for by in [&handle, &fixture.open()] {
            fixture.put(&old);
            by.describe("disks", None).unwrap();
            assert_eq!(seqs(&fixture.read()), [13]);
        }
        fixture.put(&old);
        fixture.open().rotate_key("disks").unwrap();
        fixture.use_it();
        assert_eq!(seqs(&fixture.read()), [13, 14]);
        assert_eq!(fs::read(fixture.path("old.audit")).unwrap(), old);
        // Later it is an older log like any other.
        fixture.put(&old);
        let (_, damage) = fixture.past_damage();
        assert!(damage.iter().any(|text| text.contains("entry 12") || text.contains("entries 13 to 13")), "{damage:?}");
    }
}

const KILLED: &str = "ATREST_TEST_AUDIT_KILLED";

/// The work of another process in the test below, until it is killed. Run on its own, it does nothing.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(KILLED).map(PathBuf::from) else { return };
    let vault = FileVault::open(folder.join("keys.vault"), Unlock::KeyFile(&folder.join("root.key"))).unwrap();
    println!("ready");
    for n in 0.. {
        vault.describe("disks", None).unwrap();
        vault.grant(&format!("set-{}", n % 5), &[atrest::vault::KeyOperation::Get]).unwrap();
        vault.archive_audit(folder.join(format!("{:010}.old", vault.audit_head().unwrap().seq()))).unwrap();
    }
}

#[test]
fn no_entry_is_lost_by_kills_in_the_middle_of_archives() {
    let Some(this) = peer(text(&std::env::current_exe().unwrap()), &["--list"]) else { return };
    let fixture = Fixture::new(3);
    let mut archived = 0;
    for round in 0..40 {
        let mut child = Command::new(&this)
            .args(["--exact", "audit_kills::the_process_that_is_killed", "--nocapture"])
            .env(KILLED, fixture.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        std::thread::sleep(Duration::from_micros(round * 1500));
        child.kill().unwrap();
        child.wait().unwrap();

        let entries = fixture.read();
        fixture.use_it();
        let mut all: Vec<u64> = Vec::new();
        let mut names: Vec<_> =
            fs::read_dir(fixture.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|suffix| suffix == "old"));
        names.sort();
        for name in &names {
            let text = fs::read_to_string(name).unwrap();
            // A copy by a killed process is a prefix of the content that still exists elsewhere.
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with("\"}\n"));
            let seqs = whole.map(|line| serde_json::from_str::<AuditEntry>(line).unwrap().seq);
            let new: Vec<u64> = seqs.filter(|seq| all.last().is_none_or(|last| seq > last)).collect();
            all.extend(new);
        }
        archived = names.len();
        let last = all.last().copied().unwrap_or(0);
        all.extend(seqs(&entries).into_iter().filter(|&seq| seq > last));
        assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "round {round}");
        let now = fixture.read();
        assert_eq!(now.last().unwrap().seq, all.len() as u64 + 1, "round {round}");
    }
    assert!(archived > 5, "{archived}");
}

#[test]
fn an_archive_that_was_killed_while_it_copied_has_put_nothing_aside() {
    let fixture = Fixture::new(5);
    let before = (fixture.log(), fs::read(fixture.path("keys.vault")).unwrap());
    fs::write(fixture.path("old.audit"), &before.0[..100]).unwrap();
    assert!(matches!(fixture.open().archive_audit(fixture.path("old.audit")), Err(Error::AlreadyExists { .. })));
    assert_eq!(fs::read(fixture.path("old.audit")).unwrap(), &before.0[..100], "what was there is not ours to remove");
    assert_eq!((fixture.log(), fs::read(fixture.path("keys.vault")).unwrap()), before);
    fixture.open().archive_audit(fixture.path("older.audit")).unwrap();
    assert!(fs::read(fixture.path("older.audit")).unwrap().starts_with(&before.0));
}

#[test]
fn writers_that_were_killed_in_a_row_leave_a_sound_log() {
    let fixture = Fixture::new(2);
    let sound = fixture.log();
    let writes = |before: &[u8]| {
        fixture.put(before);
        fixture.use_it();
        fixture.log()[before.len()..].to_vec()
    };
    let first = writes(&sound);
    // The second and third are killed anywhere, mostly in the bytes that end the line before theirs.
    for torn in [1, 2, 40, first.len() - 2, first.len() - 1] {
        let once = [&sound[..], &first[..torn]].concat();
        let second = writes(&once);
        for torn in [1, 2, 3, 4, 5, 6, 7, 60, second.len() - 2, second.len() - 1] {
            let twice = [&once[..], &second[..torn]].concat();
            fixture.put(&twice);
            let vault = fixture.open();
            let mut log = vault.audit().unwrap();
            assert_eq!(log.by_ref().map(Result::unwrap).count(), 3);
            assert_eq!(log.torn_end(), Some((twice.len() - sound.len()) as u64));
            let third = writes(&twice);
            let thrice = [&twice[..], &third[..third.len() - 30]].concat();
            for log in [twice, thrice] {
                fixture.put(&log);
                fixture.use_it();
                fixture.use_it();
                let entries = fixture.read();
                assert_eq!(seqs(&entries), [1, 2, 3, 4, 5]);
                assert!(entries[3].torn.unwrap() >= (log.len() - sound.len()) as u64 - 1);
                assert!(entries.iter().all(|entry| entry.after.is_none()));
                // The remains of the torn lines are part of the evidence.
                let mut changed = fixture.log();
                changed[sound.len()] ^= 1;
                fixture.put(&changed);
                assert_eq!(fixture.past_damage().1.len(), 1);
            }
        }
    }
}

#[test]
fn a_log_that_is_put_aside_while_it_is_read_is_not_called_damaged() {
    let fixture = Fixture::new(400);
    let vault = fixture.open();
    let mut log = vault.audit().unwrap();
    log.next().unwrap().unwrap();
    fixture.open().archive_audit(fixture.path("old.audit")).unwrap();
    let error = log.find_map(Result::err).unwrap();
    assert!(matches!(&error, Error::Io { .. }) && format!("{error:?}").contains("read it again"), "{error:?}");
}
