//! In these tests a file is trusted as soon as it is read (`TRUST_AT_ONCE`): its last line alone then tells each change.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Attributes, Stamp};
use crate::key::{KeyVault, WrappedDek};
use crate::vault::body::Body;
use crate::vault::{FileVault, KdfCost, Unlock};
use crate::{Error, KeyRefusal, Secret};

const PASSPHRASE: &[u8] = b"correct horse";
/// A time at which the version is valid, and one at which it isn't yet. Both have as many digits.
const NOT_BEFORE: [u64; 2] = [1_000_000_000, 9_999_999_999];

fn vault_at(path: &Path) -> (FileVault, WrappedDek) {
    let cost = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
    let vault = FileVault::create_with_cost(path, Unlock::Passphrase(PASSPHRASE), cost).unwrap();
    vault.create_key("disks").unwrap();
    let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    (vault, wrapped)
}

/// The text of the file of a generation. All are of one length.
fn text(vault: &FileVault, body: &Body, generation: u64) -> Vec<u8> {
    let mut body = Body { generation: 1_000_000_000 + generation, ..body.clone() };
    body.keys[0].versions[0].not_before = Some(NOT_BEFORE[(generation % 2) as usize]);
    body.seal(&vault.root())
}

fn is_trusted(vault: &FileVault) -> bool {
    vault.body().stamp.as_ref().is_some_and(|stamp| stamp.is_of(vault.path()))
}

#[test]
fn a_sound_file_of_the_same_length_is_seen_by_the_next_use_however_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let (vault, wrapped) = vault_at(&path);
    let body = vault.read_verified().unwrap();
    fs::write(&path, text(&vault, &body, 0)).unwrap();
    vault.unwrap(&wrapped).unwrap().unwrap();
    let mut same_inode = 0;
    for generation in 1..4000 {
        assert!(is_trusted(&vault), "{generation}");
        let (text, new) = (text(&vault, &body, generation), folder.path().join("new"));
        if generation % 3 == 0 {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let times = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&text, 0).unwrap();
            // As a tool that copies a file with its times does.
            file.set_modified(times).unwrap();
            same_inode += 1;
        } else {
            fs::write(&new, &text).unwrap();
            fs::rename(&new, &path).unwrap();
        }
        match vault.unwrap(&wrapped) {
            Ok(Some(_)) => assert_eq!(generation % 2, 0, "{generation}"),
            Err(Error::KeyRefused { reason: KeyRefusal::NotYetValid, .. }) => assert_eq!(generation % 2, 1),
            other => panic!("{generation}: {other:?}"),
        }
        // As often as not nothing changes between two uses.
        assert_eq!(vault.unwrap(&wrapped).is_ok(), generation % 2 == 0, "{generation}");
    }
    assert!(same_inode > 1000);
}

#[test]
fn readers_in_a_race_with_a_writer_never_answer_by_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let (vault, _) = vault_at(&path);
    let body = vault.read_verified().unwrap();
    let (published, new) = (AtomicU64::new(0), folder.path().join("new"));
    let last = 5000;
    std::thread::scope(|scope| {
        let read = || {
            let (mut seen, mut uses) = (0, 0);
            while seen < last {
                let before = published.load(Ordering::SeqCst);
                vault.reload().unwrap();
                seen = vault.body().generation.saturating_sub(1_000_000_000);
                assert!(seen >= before, "{seen} was read after {before} was there");
                uses += 1;
            }
            uses
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for generation in 1..=last {
            fs::write(&new, text(&vault, &body, generation)).unwrap();
            fs::rename(&new, &path).unwrap();
            published.store(generation, Ordering::SeqCst);
        }
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
}

#[test]
fn an_older_file_is_refused_though_its_attributes_are_those_of_the_one_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let (vault, wrapped) = vault_at(&path);
    let body = vault.read_verified().unwrap();
    let [old, new] = [2, 4].map(|generation| text(&vault, &body, generation));
    assert_eq!(old.len(), new.len());
    fs::write(&path, &new).unwrap();
    vault.unwrap(&wrapped).unwrap().unwrap();
    assert!(is_trusted(&vault));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for _ in 0..500 {
        file.write_all_at(&old, 0).unwrap();
        let refused = vault.unwrap(&wrapped);
        assert!(matches!(&refused, Err(Error::DamagedVault(what)) if what.contains("older")), "{refused:?}");
        file.write_all_at(&new, 0).unwrap();
        vault.unwrap(&wrapped).unwrap().unwrap();
    }
}

/// As on a file system that keeps its times in ticks, where a file was copied over within one.
#[test]
fn the_last_line_tells_two_files_whose_attributes_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let (vault, wrapped) = vault_at(&path);
    let body = vault.read_verified().unwrap();
    fs::write(&path, text(&vault, &body, 2)).unwrap();
    vault.unwrap(&wrapped).unwrap().unwrap();
    fs::write(&path, text(&vault, &body, 3)).unwrap();
    let attributes = Attributes::of(&fs::metadata(&path).unwrap()).unwrap();
    let stamp = |end: &[u8]| Stamp { attributes, end: end.to_vec() };
    let before = vault.body().stamp.as_ref().unwrap().end.clone();
    let now = fs::read(&path).unwrap();
    assert!(stamp(&now[now.len() - before.len()..]).is_of(&path));
    assert!(!stamp(&before).is_of(&path));
    // So the handle reads it.
    vault.store.held.write().unwrap().stamp = Some(Arc::new(stamp(&before)));
    let answer = vault.unwrap(&wrapped);
    assert!(matches!(answer, Err(Error::KeyRefused { reason: KeyRefusal::NotYetValid, .. })), "{answer:?}");
}

#[test]
fn keys_and_versions_are_found_by_the_index_as_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, _) = vault_at(&folder.path().join("keys.vault"));
    let mut body = vault.read_verified().unwrap();
    let record = body.keys[0].clone();
    let names = ["b", "a", "disks-2", "Z", "0", "b", "dis", "~"];
    body.keys.extend(names.map(|name| crate::vault::body::KeyRecord { name: name.into(), ..record.clone() }));
    // The second `b` differs from the first, which counts.
    body.keys[6].next_version = 99;
    let mut indexed = body.clone();
    indexed.index();
    for name in names.iter().chain(&["disks", "", "disk", "zz", "c"]) {
        let place = |body: &Body| body.key(name).map(|key| (key.name.clone(), key.next_version));
        assert_eq!(place(&body), place(&indexed), "{name}");
    }
    // After a key was added the index isn't used.
    indexed.keys.push(crate::vault::body::KeyRecord { name: "new".into(), ..record });
    assert!(indexed.key("new").is_some());

    let versions = &mut body.keys[0].versions;
    for number in [2, 5, 11] {
        versions.push(crate::vault::body::VersionRecord { version: number, ..versions[0].clone() });
    }
    for order in 0..2 {
        for told in ["1", "2", "5", "11"] {
            let id = crate::key::KeyId::new(&body.id, "disks", told).unwrap();
            assert_eq!(body.version(&id).unwrap().version.to_string(), told, "{order}");
        }
        for told in ["3", "01", "+1", "12", "4294967297"] {
            let id = crate::key::KeyId::new(&body.id, "disks", told);
            assert!(id.is_err() || body.version(&id.unwrap()).is_err(), "{told}");
        }
        body.keys[0].versions.reverse();
    }
}
