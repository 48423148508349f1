//! `Volume::header`: the snapshot doesn't change, no lock is held, and changes apply to the current header.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::keyslots::cost;
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{image_with, open, options, shared};
use atrest::volume::Priority;
use atrest::volume::ProtectorId;
use atrest::{Error, MemoryDevice, Protector, Volume};

fn volume() -> (MemoryVault, Volume<MemoryDevice>) {
    let (vault, image) = image_with(&options().label("blue").uuid([7; 16]));
    let volume = open(MemoryDevice::from_bytes(image), &vault).unwrap();
    (vault, volume)
}

/// Fails a test that would hang.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has failed");
}

#[test]
fn two_headers_in_one_expression_and_the_volume_besides() {
    in_time(|| {
        let (vault, volume) = volume();
        let text = format!("{} {}", volume.header().label(), volume.header().uuid());
        assert_eq!(text, "blue 07070707-0707-0707-0707-070707070707");
        // While one exists, everything else goes on.
        let mut header = volume.header();
        vault.rotate();
        volume.rotate_kek(&vault).unwrap();
        volume.add_protector(Protector::Passphrase(b"second"), &cost()).unwrap();
        volume.header().set_label("red", "").unwrap();
        assert_eq!((&*header.label(), header.keyslots().len()), ("blue", 0));
        // A change through it is made to what there is now, and it says that from then on.
        header.set_label(&format!("{}ish", volume.header().label()), "").unwrap();
        assert_eq!((&*header.label(), header.keyslots().len(), &*volume.header().label()), ("redish", 1, "redish"));
        let backup = header.backup().unwrap();
        assert_eq!(backup.len() as u64, header.size());
    });
}

#[test]
fn a_number_that_names_something_else_by_now_is_not_taken() {
    let (vault, volume) = volume();
    volume.add_protector(Protector::Passphrase(b"first"), &cost()).unwrap();
    let mut old = volume.header();
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    assert_eq!(volume.add_protector(Protector::Passphrase(b"another"), &cost()).unwrap(), ProtectorId::Keyslot(0));
    assert!(matches!(old.remove_protector(ProtectorId::Keyslot(0)), Err(Error::Busy { .. })));
    assert!(matches!(old.set_priority(0, Priority::Ignore), Err(Error::Busy { .. })));
    vault.rotate();
    volume.rotate_kek(&vault).unwrap();
    assert!(matches!(old.remove_protector(ProtectorId::Token(0)), Err(Error::Busy { .. })));
    assert_eq!(volume.header().keyslots().len(), 1);
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    assert!(matches!(volume.header().remove_protector(ProtectorId::Keyslot(9)), Err(Error::NoSuchProtector(_))));
}

#[test]
fn changes_by_many_threads_are_all_made() {
    let (vault, image) = image_with(&options());
    let volume = open(shared(image), &vault).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let volume = &volume;
            scope.spawn(move || {
                let token = format!(r#"{{"type":"thread-{n}","keyslots":[]}}"#);
                let id = volume.header().import_token(&token).unwrap();
                assert!(volume.header().tokens().iter().any(|token| token.id == id));
                if n % 2 == 1 {
                    volume.header().remove_protector(ProtectorId::Token(id)).unwrap();
                }
            });
        }
    });
    let kinds = |volume: &Volume<_>| {
        let mut kinds: Vec<String> = volume.header().tokens().into_iter().map(|token| token.kind).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&volume), ["atrest", "thread-0", "thread-2", "thread-4", "thread-6"]);
    let again = open(volume.device().clone(), &vault).unwrap();
    assert_eq!(kinds(&again), kinds(&volume));
}
