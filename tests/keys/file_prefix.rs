//! The prefix of an encrypted file: it opens to the right key, nothing else opens, and no crash loses it.

use std::sync::atomic::Ordering;

use crate::common::device::{Call, TestDevice, crash_images};
use crate::common::vault_at;
use crate::common::vaults::{Lie, LyingVault, MemoryVault};
use atrest::key::{KeyVault, MAX_CONTEXT};
use atrest::{
    Dek, DekAlgorithm, Envelope, Error, FileDevice, FilePrefix, KeyRefusal, SectorSize, SectorUnit, StreamCipher,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const CONTEXT: &[u8] = b"db-7";
const LEN: usize = FilePrefix::LEN;
const SLOT: usize = LEN / 2;
const DATA: usize = 1000;

/// A file under version 1 of the vault's key. Its data are zeros, so the stored bytes are the keystream.
fn file(vault: &MemoryVault) -> Vec<u8> {
    let (prefix, cipher) = FilePrefix::create(vault, "disks", CONTEXT).unwrap();
    let mut file = prefix.to_bytes();
    assert_eq!(file.len(), LEN);
    file.extend(keystream(&cipher));
    file
}

fn keystream(cipher: &StreamCipher) -> Vec<u8> {
    let mut data = vec![0; DATA];
    cipher.apply(0, &mut data).unwrap();
    data
}

/// Opens a file, and checks that its data are unchanged.
fn open(file: &[u8], vault: &dyn KeyVault) -> atrest::Result<FilePrefix> {
    let prefix = FilePrefix::from_bytes(&file[..LEN])?;
    let cipher = prefix.open(vault, CONTEXT)?;
    assert!(keystream(&cipher) == file[LEN..LEN + DATA], "another key or nonce");
    Ok(prefix)
}

/// A slot with a right checksum after any edit.
fn with_checksum(slot: &mut [u8]) {
    let checksum = Sha256::digest(&slot[..SLOT - 32]);
    slot[SLOT - 32..].copy_from_slice(&checksum);
}

#[test]
fn a_file_opens_by_its_prefix() {
    let vault = MemoryVault::new("memory:one");
    let file = file(&vault);
    let prefix = open(&file, &vault).unwrap();
    assert_eq!(prefix.kek().to_string(), "memory:one/keys/disks/1");
    assert_eq!(prefix.context(), CONTEXT);
    assert_eq!(prefix.to_bytes(), file[..LEN]);
    assert_eq!(file[..SLOT], file[SLOT..LEN]);
}

#[test]
fn every_file_has_a_key_and_nonce_of_its_own() {
    // Behaviour 5
    let vault = MemoryVault::new("memory:one");
    let (one, two) = (file(&vault), file(&vault));
    let wrapped = 36 + 20 + "memory:one/keys/disks/1".len();
    assert_ne!(one[20..36], two[20..36]);
    assert_ne!(one[wrapped..wrapped + 40], two[wrapped..wrapped + 40]);
    assert_ne!(one[LEN..], two[LEN..]);
}

#[test]
fn one_damaged_copy_is_no_harm_and_two_are_refused() {
    let vault = MemoryVault::new("memory:one");
    let mut file = file(&vault);
    for at in (0..SLOT).filter(|at| *at < 300 || at % 61 == 0 || *at > SLOT - 40) {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            open(&file, &vault).unwrap();
            file[SLOT + at] ^= 1 << bit;
            assert!(matches!(open(&file, &vault), Err(Error::InvalidPrefix(_))), "bit {bit} of byte {at}");
            file[at] ^= 1 << bit;
            open(&file, &vault).unwrap();
            file[SLOT + at] ^= 1 << bit;
        }
    }
    let said = FilePrefix::from_bytes(&[0; LEN]).unwrap_err().to_string();
    // A defect of both is reported once.
    assert!(
        said.matches("atrestFP").count() == 1 && said.matches("prefix of an encrypted file").count() == 1,
        "{said}"
    );
    let mut bytes = FilePrefix::create(&vault, "disks", b"").unwrap().0.to_bytes();
    bytes[0] ^= 1;
    bytes[SLOT + 100] ^= 1;
    let said = FilePrefix::from_bytes(&bytes).unwrap_err().to_string();
    assert!(said.contains("atrestFP") && said.contains("and of the copy, its checksum"), "{said}");
    assert_eq!(said.matches("prefix of an encrypted file").count(), 1, "{said}");
}

#[test]
fn what_is_changed_together_with_its_checksum_is_refused_by_the_mac() {
    let vault = MemoryVault::new("memory:one");
    (0..8).for_each(|_| vault.rotate());
    let whole = file(&vault);
    let envelope_len = u16::from_be_bytes([whole[10], whole[11]]) as usize;
    let mac = 36 + envelope_len;
    for at in 0..SLOT - 32 {
        let mut file = whole.clone();
        file[at] ^= 1;
        with_checksum(&mut file[..SLOT]);
        file.copy_within(..SLOT, SLOT);
        let error = open(&file, &vault).unwrap_err();
        let right = match at {
            46..48 => matches!(error, Error::UnsupportedAlgorithm(_)),
            48..50 => matches!(error, Error::UnsupportedAlgorithm(_) | Error::InvalidEnvelope(_)),
            10..12 => matches!(error, Error::InvalidEnvelope(_) | Error::InvalidPrefix(_)),
            _ if at < 36 => matches!(error, Error::InvalidPrefix(_)),
            _ if at < mac => matches!(
                error,
                Error::InvalidEnvelope(_)
                    | Error::InvalidPrefix(_)
                    | Error::NotThisVault { .. }
                    | Error::KeyRefused { reason: KeyRefusal::Missing, .. }
                    | Error::UnwrapFailed
                    | Error::ContextMismatch
            ),
            _ => matches!(error, Error::InvalidPrefix(_)),
        };
        assert!(right, "byte {at}: {error:?}");
    }
}

#[test]
fn what_is_refused() {
    let vault = MemoryVault::new("memory:one");
    let file = file(&vault);
    for len in [0, 1, SLOT, LEN - 1, LEN + 1] {
        let error = FilePrefix::from_bytes(&file[..len]).unwrap_err();
        assert!(matches!(&error, Error::InvalidPrefix(text) if text.contains(&len.to_string())), "{error}");
    }
    let prefix = FilePrefix::from_bytes(&file[..LEN]).unwrap();
    let asked = vault.asked.load(Ordering::Relaxed);
    for context in [&b""[..], b"db-", b"db-8", b"db-7\0"] {
        assert!(matches!(prefix.open(&vault, context), Err(Error::ContextMismatch)));
    }
    assert_eq!(vault.asked.load(Ordering::Relaxed), asked);
    let other = MemoryVault::new("memory:two");
    assert!(matches!(prefix.open(&other, CONTEXT), Err(Error::NotThisVault { .. })));
    let imposter = LyingVault(&vault, Lie::AnotherKey);
    assert!(matches!(prefix.open(&imposter, CONTEXT), Err(Error::InvalidEnvelope(_))));
    assert!(matches!(FilePrefix::create(&imposter, "disks", CONTEXT), Err(Error::Vault(_))));
    assert!(matches!(
        FilePrefix::create(&vault, "tapes", CONTEXT),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    let long = FilePrefix::create(&vault, "disks", &[1; MAX_CONTEXT + 1]);
    assert!(matches!(long, Err(Error::ContextLength { len: 1025 })));
    let (longest, _) = FilePrefix::create(&vault, "disks", &[1; MAX_CONTEXT]).unwrap();
    FilePrefix::from_bytes(&longest.to_bytes()).unwrap().open(&vault, &[1; MAX_CONTEXT]).unwrap();
}

#[test]
fn a_key_for_no_sort_of_file_is_refused() {
    let vault = MemoryVault::new("memory:one");
    let dek = Dek::generate(DekAlgorithm::Aes128Xts).unwrap();
    let envelope = Envelope::seal(&dek, &vault, "disks", CONTEXT).unwrap().to_bytes();
    let mut slot = [&file(&vault)[..36], &envelope[..]].concat();
    slot[10..12].copy_from_slice(&(envelope.len() as u16).to_be_bytes());
    slot.resize(SLOT, 0);
    with_checksum(&mut slot);
    assert!(matches!(FilePrefix::from_bytes(&slot.repeat(2)), Err(Error::UnsupportedAlgorithm(_))));
}

#[test]
fn a_file_of_sectors_is_made_rotated_and_opened() {
    let vault = MemoryVault::new("memory:one");
    let plain: Vec<u8> = (0..8192u32).map(|i| (i / 5) as u8).collect();
    for (size, unit) in [(SectorSize::B512, SectorUnit::Bytes512), (SectorSize::B4096, SectorUnit::Sector)] {
        let (prefix, cipher) = FilePrefix::create_sectors(&vault, "disks", CONTEXT, size, unit).unwrap();
        let mut data = plain.clone();
        cipher.encrypt(1 << 40, &mut data).unwrap();
        assert_ne!(data, plain);
        let device = TestDevice::new([prefix.to_bytes(), data].concat());
        vault.rotate();
        let kek = FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
        let mut file = device.bytes();
        let prefix = FilePrefix::from_bytes(&file[..LEN]).unwrap();
        assert_eq!((prefix.kek(), prefix.context()), (&kek, CONTEXT));
        let cipher = prefix.open_sectors(&vault, CONTEXT, size, unit).unwrap();
        cipher.decrypt(1 << 40, &mut file[LEN..]).unwrap();
        assert_eq!(file[LEN..], plain);
    }
}

#[test]
fn one_sort_of_file_does_not_open_as_the_other() {
    let vault = MemoryVault::new("memory:one");
    let (size, unit) = (SectorSize::B512, SectorUnit::Bytes512);
    let (sectors, _) = FilePrefix::create_sectors(&vault, "disks", CONTEXT, size, unit).unwrap();
    let (stream, _) = FilePrefix::create(&vault, "disks", CONTEXT).unwrap();
    let asked = vault.asked.load(Ordering::Relaxed);
    let error = sectors.open(&vault, CONTEXT).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedAlgorithm(what) if what == "a stream in a file under AES-256-XTS"));
    let error = stream.open_sectors(&vault, CONTEXT, size, unit).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedAlgorithm(what) if what == "sectors in a file under AES-256-CTR"));
    assert_eq!(vault.asked.load(Ordering::Relaxed), asked, "the vault was asked for nothing");
    // Nor when its prefix is made to say that it is of the other sort.
    for (prefix, other) in [(&sectors, DekAlgorithm::Aes256Ctr), (&stream, DekAlgorithm::Aes256Xts)] {
        let mut slot = prefix.to_bytes()[..SLOT].to_vec();
        slot[46..48].copy_from_slice(&other.code().to_be_bytes());
        with_checksum(&mut slot);
        let forged = FilePrefix::from_bytes(&slot.repeat(2)).unwrap();
        let refused = match other {
            DekAlgorithm::Aes256Ctr => forged.open(&vault, CONTEXT).map(|_| ()),
            _ => forged.open_sectors(&vault, CONTEXT, size, unit).map(|_| ()),
        };
        assert!(matches!(refused, Err(Error::InvalidEnvelope(_))), "a DEK of another length: {refused:?}");
    }
    let odd = SectorSize::new(520).unwrap();
    assert!(matches!(sectors.open_sectors(&vault, CONTEXT, odd, unit), Err(Error::SectorSize { size: 520 })));
    let asked = vault.asked.load(Ordering::Relaxed);
    let refused = FilePrefix::create_sectors(&vault, "disks", CONTEXT, odd, unit);
    assert!(matches!(refused, Err(Error::SectorSize { size: 520 })));
    assert_eq!(vault.asked.load(Ordering::Relaxed), asked, "the vault was asked for nothing");
}

#[test]
fn a_rotation_leaves_nothing_of_the_old_version_and_touches_no_data() {
    let vault = MemoryVault::new("memory:one");
    let before = file(&vault);
    let device = TestDevice::new(before.clone());
    vault.rotate();
    let kek = FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
    assert_eq!(kek.to_string(), "memory:one/keys/disks/2");
    let after = device.bytes();
    assert!(after[LEN..] == before[LEN..]);
    assert_eq!(after[..SLOT], after[SLOT..LEN]);
    assert_eq!(open(&after, &vault).unwrap().kek(), &kek);
    let wrapped = &before[36 + 20 + "memory:one/keys/disks/1".len()..][..40];
    assert!(!after.windows(40).any(|window| window == wrapped), "the old wrapped key is still there");
    vault.destroy(1);
    open(&after, &vault).unwrap();
    assert!(matches!(open(&before, &vault), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
}

#[test]
fn a_rotation_that_is_refused_writes_nothing() {
    let vault = MemoryVault::new("memory:one");
    let before = file(&vault);
    let device = TestDevice::new(before.clone());
    let rotate = |vault: &dyn KeyVault, context: &[u8]| FilePrefix::rotate_kek(&device, vault, context);
    assert!(matches!(rotate(&vault, b"db-8"), Err(Error::ContextMismatch)));
    assert!(matches!(rotate(&MemoryVault::new("memory:two"), CONTEXT), Err(Error::NotThisVault { .. })));
    assert!(matches!(rotate(&LyingVault(&vault, Lie::AnotherKey), CONTEXT), Err(Error::InvalidEnvelope(_))));
    assert!(matches!(rotate(&LyingVault(&vault, Lie::AnotherName), CONTEXT), Err(Error::Vault(_))));
    assert!(device.bytes() == before);
    let short = TestDevice::new(before[..LEN - 1].to_vec());
    let error = FilePrefix::rotate_kek(&short, &vault, CONTEXT).unwrap_err();
    assert!(matches!(error, Error::DeviceTooSmall { needed: 8192, size: 8191, .. }));
    assert!(error.to_string().contains("prefix") && !error.to_string().contains("data_offset"), "{error}");
    // A slot with the last generation of all: no next one is made.
    let mut last = before.clone();
    last[12..20].fill(0xFF);
    with_checksum(&mut last[..SLOT]);
    let refused = FilePrefix::rotate_kek(&TestDevice::new(last), &vault, CONTEXT).unwrap_err();
    assert!(matches!(refused, Error::InvalidPrefix(_)), "{refused}");
}

#[test]
fn no_crash_of_a_rotation_loses_a_file() {
    let vault = MemoryVault::new("memory:one");
    let whole = file(&vault);
    vault.rotate();
    // From a whole prefix, and from those left by a crash of a rotation: the first or the second copy is torn.
    let mut starts = vec![whole.clone()];
    let device = TestDevice::new(whole.clone());
    FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
    for torn in [0..SLOT, SLOT..LEN] {
        let mut half = device.bytes();
        half[torn.start + SLOT / 2..torn.end].fill(0xEE);
        starts.push(half);
    }
    let mut count = 0;
    for start in starts {
        let device = TestDevice::new(start.clone());
        FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
        count += crash_images(&start, &device.take_log(), 8, |what, image| {
            open(&image, &vault).unwrap_or_else(|e| panic!("{what}: {e}"));
            let device = TestDevice::new(image);
            FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
            let again = device.bytes();
            assert!(again[..SLOT] == again[SLOT..LEN], "{what}");
            assert_eq!(open(&again, &vault).unwrap().kek().version(), "2");
        });
    }
    println!("{count} crash points survived");
    assert!(count > 150, "only {count} crash points");
}

#[test]
fn no_fault_of_a_device_loses_a_file() {
    let vault = MemoryVault::new("memory:one");
    let whole = file(&vault);
    vault.rotate();
    let mut injected = 0;
    for (call, lose) in [(Call::Read, false), (Call::Write, false), (Call::Sync, false), (Call::Sync, true)] {
        for before in 0.. {
            let device = TestDevice::new(whole.clone());
            device.fail(call, before, lose);
            let rotated = FilePrefix::rotate_kek(&device, &vault, CONTEXT);
            if device.heal() {
                rotated.unwrap();
                break;
            }
            assert!(matches!(rotated, Err(Error::Io { .. })), "{call:?} {before}");
            open(&device.bytes(), &vault).unwrap();
            FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap();
            assert_eq!(open(&device.bytes(), &vault).unwrap().kek().version(), "2");
            injected += 1;
        }
    }
    assert_eq!(injected, 3 + 2 + 2 + 2);
}

#[test]
fn a_file_on_a_disk_is_rotated_under_a_file_vault() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let path = folder.path().join("000001.sst");
    let (prefix, cipher) = FilePrefix::create(&vault, "disks", CONTEXT).unwrap();
    std::fs::write(&path, [prefix.to_bytes(), keystream(&cipher)].concat()).unwrap();
    vault.rotate_key("disks").unwrap();
    let device = FileDevice::open(&path).unwrap();
    assert_eq!(FilePrefix::rotate_kek(&device, &vault, CONTEXT).unwrap().version(), "2");
    assert_eq!(open(&std::fs::read(&path).unwrap(), &vault).unwrap().kek().version(), "2");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(
        changes in proptest::collection::vec((0..SLOT - 32, any::<u8>()), 0..12),
        swap in any::<bool>(),
    ) {
        let vault = MemoryVault::new("memory:one");
        let mut file = file(&vault);
        for (at, byte) in changes {
            file[at] = byte;
        }
        with_checksum(&mut file[..SLOT]);
        if swap {
            file.copy_within(..SLOT, SLOT);
        }
        if let Ok(prefix) = FilePrefix::from_bytes(&file[..LEN]) {
            let _ = prefix.open(&vault, CONTEXT);
            let _ = FilePrefix::rotate_kek(&TestDevice::new(file), &vault, CONTEXT);
        }
    }
}
