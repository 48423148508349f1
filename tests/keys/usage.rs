//! The usage of a key is counted, reported, and limited.

use crate::common::vault_at;
use atrest::cipher::{CipherSpec, DmCipher};
use atrest::{
    BlockDevice, Credential, Dek, DekAlgorithm, Error, FormatOptions, KeyUsage, MemoryDevice, OpenOptions, Protector,
    SectorCipher, SectorSize, SectorUnit, Volume,
};

const KEY: [u8; 64] = {
    let mut key = [1; 64];
    key[0] = 2;
    key
};

fn exhausted<T>(result: atrest::Result<T>) {
    match result {
        Err(e @ Error::KeyExhausted { .. }) => assert!(e.to_string().contains("2^48 (4 PiB)"), "{e}"),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it isn't refused"),
    }
}

fn sector_cipher(used: u64) -> SectorCipher {
    let cipher = SectorCipher::new(&KEY, SectorSize::B512, SectorUnit::Sector).unwrap();
    cipher.count_in(used);
    cipher
}

#[test]
fn every_encryption_of_a_sector_cipher_counts_and_no_decryption() {
    let [mut a, mut b] = [[7u8; 2048]; 2];
    type Encrypt<'a> = &'a dyn Fn(&SectorCipher, &mut [u8], &mut [u8]) -> atrest::Result<()>;
    let encrypt: [(u64, Encrypt<'_>); 7] = [
        (128, &|cipher, a, _| cipher.encrypt(0, a)),
        (128, &|cipher, a, b| cipher.encrypt_to(0, a, b)),
        (128, &|cipher, a, b| cipher.encrypt_streaming(0, a, b)),
        // The last block takes part in ciphertext stealing: 3 blocks, one of them partial.
        (3, &|cipher, a, _| cipher.encrypt_unit([1; 16], &mut a[..33])),
        (3, &|cipher, a, b| cipher.encrypt_unit_to([1; 16], &a[..33], &mut b[..33])),
        (128, &|cipher, a, _| cipher.encrypt_segments(0, &mut a.chunks_mut(512).collect::<Vec<_>>())),
        (128, &|cipher, a, b| {
            let (a, mut b): (Vec<_>, Vec<_>) = (a.chunks(1024).collect(), b.chunks_mut(512).collect());
            cipher.encrypt_segments_to(0, &a, &mut b)
        }),
    ];
    for (at, (blocks, encrypt)) in encrypt.iter().enumerate() {
        let cipher = sector_cipher(0);
        encrypt(&cipher, &mut a, &mut b).unwrap();
        let counted = cipher.usage().blocks();
        assert!((*blocks..=2 * blocks).contains(&counted), "{at}: {counted}");
        // Exactly as much as is left, and not one block more.
        encrypt(&sector_cipher(KeyUsage::MAX - blocks), &mut a, &mut b).unwrap();
        let (was_a, was_b) = (a, b);
        exhausted(encrypt(&sector_cipher(KeyUsage::MAX - blocks + 1), &mut a, &mut b));
        assert_eq!((a, b), (was_a, was_b), "{at}");
    }
    let cipher = sector_cipher(KeyUsage::MAX);
    cipher.decrypt(0, &mut a).unwrap();
    cipher.decrypt_to(0, &a, &mut b).unwrap();
    cipher.decrypt_streaming(0, &a, &mut b).unwrap();
    cipher.decrypt_unit([1; 16], &mut a[..33]).unwrap();
    cipher.decrypt_unit_to([1; 16], &a[..33], &mut b[..33]).unwrap();
    cipher.decrypt_segments(0, &mut a.chunks_mut(512).collect::<Vec<_>>()).unwrap();
    assert_eq!(cipher.usage().blocks(), KeyUsage::MAX);
    // A call that is refused for another reason doesn't count.
    let cipher = sector_cipher(0);
    assert!(cipher.encrypt(0, &mut a[..100]).is_err() && cipher.encrypt_unit([0; 16], &mut a[..15]).is_err());
    assert_eq!(cipher.usage(), KeyUsage::default());
}

#[test]
fn every_cipher_of_volumes_counts() {
    for (spec, key) in [
        (CipherSpec::AesXtsPlain64, &KEY[..]),
        (CipherSpec::AesXtsPlain, &KEY),
        (CipherSpec::AesCbcEssivSha256, &KEY[..32]),
        (CipherSpec::AesHctr2Plain64, &KEY[..32]),
    ] {
        let cipher = DmCipher::boxed(spec, key, SectorSize::B512).unwrap();
        let mut sectors = [7; 2048];
        cipher.encrypt(u64::from(u32::MAX) - 1, &mut sectors).unwrap();
        cipher.decrypt(0, &mut sectors).unwrap();
        assert_eq!(cipher.usage().blocks(), 128, "{spec:?}");
        cipher.encrypt_to(0, &[1; 1024], &mut sectors[..1024]).unwrap();
        assert!((192..=128 * 3).contains(&cipher.usage().blocks()), "{spec:?}");
    }
}

#[test]
fn a_stream_counts_as_far_as_it_reaches() {
    let dek = Dek::generate(DekAlgorithm::Aes256Ctr).unwrap();
    let cipher = dek.stream_cipher([0; 16]).unwrap();
    for (offset, blocks) in [(1 << 20, (1 << 16) + 64), (0, (1 << 16) + 64), ((1 << 52) - 1024, 1 << 48)] {
        cipher.apply(offset, &mut [0; 1024]).unwrap();
        assert_eq!(cipher.usage().blocks(), blocks);
    }
    assert!(cipher.usage().is_exhausted());
    let mut data = [7; 16];
    exhausted(cipher.apply(1 << 52, &mut data));
    exhausted(cipher.apply_to(u64::MAX - 15, &[1; 16], &mut data));
    assert_eq!(data, [7; 16]);
    // All that it may have encrypted is still read.
    cipher.apply((1 << 52) - 16, &mut data).unwrap();
}

#[test]
fn a_volume_goes_on_from_the_count_that_was_kept() {
    // Behaviour 10
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let options = FormatOptions::new().data_offset(1 << 20);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(&vault, "disks"), &options).unwrap();
    assert_eq!(volume.usage(), KeyUsage::default());
    volume.write_at(0, &[7; 512 << 10]).unwrap();
    volume.read_at(0, &mut [0; 512 << 10]).unwrap();
    let usage = volume.usage();
    assert!((32 << 10..=36 << 10).contains(&usage.blocks()) && !usage.is_due(), "{usage:?}");

    let mut device = volume.into_device();
    for (used, due) in [(usage.blocks(), false), (KeyUsage::DUE, true), (KeyUsage::MAX - 64, true)] {
        let options = OpenOptions::new().used_blocks(used);
        let volume = Volume::open(device, Credential::Vault(&vault), &options).unwrap();
        assert_eq!((volume.usage().blocks(), volume.usage().is_due()), (used, due));
        volume.write_at(4096, &[8; 1024]).unwrap();
        assert!(volume.usage().blocks() >= used + 64 && volume.usage().blocks() <= used + 128);
        device = volume.into_device();
    }
    let options = OpenOptions::new().used_blocks(KeyUsage::MAX - 64);
    let volume = Volume::open(device, Credential::Vault(&vault), &options).unwrap();
    let mut before = [0; 2048];
    volume.device().read_at(1 << 20, &mut before).unwrap();
    exhausted(volume.write_at(0, &[9; 1536]));
    let mut after = [0; 2048];
    volume.device().read_at(1 << 20, &mut after).unwrap();
    assert_eq!(before, after, "a part of it was written");
    volume.write_at(0, &[9; 1024]).unwrap();
    exhausted(volume.write_at(0, &[9; 512]));
    let mut sectors = [0; 1024];
    volume.read_at(0, &mut sectors).unwrap();
    assert_eq!(sectors, [9; 1024]);
    assert_eq!(volume.usage().remaining(), 0);
}
