//! Data without a header, opened by key, cipher and place. The guest's tests have the kernel read and write such data.

use atrest::cipher::{CipherSpec, DmCipher};
use atrest::volume::{HeaderFormat, PlainOptions};
use atrest::{DekAlgorithm, Error, MemoryDevice, Protector, SectorSize, Volume, hazmat};

const KEY: [u8; 64] = {
    let mut key = [0; 64];
    let mut i = 0;
    while i < 64 {
        key[i] = (i * 3 + 1) as u8;
        i += 1;
    }
    key
};

#[test]
fn the_place_the_number_and_the_size_are_those_that_were_said() {
    let dek = hazmat::dek_from_bytes(&KEY).unwrap();
    for (cipher, size, offset, first) in [
        (CipherSpec::AesXtsPlain64, 512, 0, 0),
        (CipherSpec::AesXtsPlain, 512, 1536, 0xffff_ffff),
        (CipherSpec::AesXtsPlain64Large, 4096, 4096, 16),
        (CipherSpec::AesXtsUpperHalf, 4096, 512, 8),
        (CipherSpec::AesXtsUpperHalf, 512, 0, 3),
    ] {
        let sector_size = SectorSize::new(size).unwrap();
        let options = PlainOptions::new(cipher).sector_size(sector_size).offset(offset).first_number(first);
        let volume = Volume::hazmat_open_plain(MemoryDevice::new(1 << 20), &dek, &options.size(64 << 10)).unwrap();
        assert_eq!((volume.size(), volume.data_offset(), volume.sector_size()), (64 << 10, offset, sector_size));
        let plain: Vec<u8> = (0..8192).map(|i| ((i * 7) >> 3) as u8).collect();
        volume.write_at(4096, &plain).unwrap();
        let mut read = vec![0; 8192];
        volume.read_at(4096, &mut read).unwrap();
        assert!(read == plain);
        // The cipher by itself agrees with OpenSSL's, by the engine's tests.
        let mut expected = plain;
        DmCipher::boxed(cipher, &KEY, sector_size).unwrap().encrypt(first + 8, &mut expected).unwrap();
        let image = volume.into_device().into_bytes();
        let at = offset as usize + 4096;
        assert!(image[at..at + 8192] == expected, "{}", cipher.name());
        assert!(image[..at].iter().chain(&image[at + 8192..]).all(|byte| *byte == 0));
    }
}

#[test]
fn what_needs_a_header_is_refused_and_what_makes_no_sense_too() {
    let dek = hazmat::dek_from_bytes(&KEY).unwrap();
    let open = |options: &PlainOptions| Volume::hazmat_open_plain(MemoryDevice::new(1 << 20), &dek, options);
    let volume = open(&PlainOptions::new(CipherSpec::AesXtsPlain64)).unwrap();
    assert_eq!(volume.header().format(), HeaderFormat::Plain);
    let added = volume.add_protector(Protector::Passphrase(b"pw"), &atrest::volume::KeyslotOptions::new());
    assert!(matches!(added, Err(Error::UnsupportedHeader(_))), "{added:?}");
    assert!(matches!(volume.header().backup(), Err(Error::UnsupportedHeader(_))));
    assert!(matches!(volume.header().erase(), Err(Error::UnsupportedHeader(_))));
    assert!(matches!(volume.header().convert_to_luks2(), Err(Error::UnsupportedHeader(_))));

    let xts = || PlainOptions::new(CipherSpec::AesXtsPlain64);
    let large = PlainOptions::new(CipherSpec::AesXtsUpperHalf).sector_size(SectorSize::B4096);
    for bad in [
        xts().offset(100),
        xts().size(0),
        xts().size(1000),
        xts().sector_size(SectorSize::new(1536).unwrap()),
        xts().sector_size(SectorSize::new(8192).unwrap()),
        large.first_number(4),
    ] {
        assert!(matches!(open(&bad), Err(Error::InvalidOption(_))), "{bad:?}");
    }
    assert!(matches!(open(&xts().offset(1 << 20)), Err(Error::DeviceTooSmall { .. })));
    assert!(matches!(open(&xts().size(2 << 20)), Err(Error::DeviceTooSmall { .. })));
    assert!(matches!(open(&xts().offset(u64::MAX - 511)), Err(Error::DeviceTooSmall { .. })));
    assert!(matches!(open(&xts().first_number(u64::MAX)), Err(Error::SectorOverflow { .. })));
    assert!(matches!(open(&PlainOptions::new(CipherSpec::AesCbcPlain)), Err(Error::UnsupportedAlgorithm(_))));

    let ecb = hazmat::dek_from_bytes_for(DekAlgorithm::Aes256Ecb, &KEY[..32]).unwrap();
    let ecb = Volume::hazmat_open_plain(MemoryDevice::new(4096), &ecb, &PlainOptions::new(CipherSpec::AesEcb)).unwrap();
    assert!(matches!(ecb.write_at(0, &[0; 512]), Err(Error::ReadOnly)));
    let looked = open(&xts().read_only(true)).unwrap();
    assert!(matches!(looked.write_at(0, &[0; 512]), Err(Error::ReadOnly)));
}
