//! Making volumes, also on devices that are too small, not blank, or cut off.

use crate::common::device::{Op, TestDevice};
use crate::common::header;
use crate::common::vaults::{Lie, LyingVault, MemoryVault};
use crate::common::volumes::{DATA, SIZE, holds_plain, image, look, options, plain};
use atrest::key::{DekAlgorithm, MAX_CONTEXT};
use atrest::{
    Credential, Error, FormatOptions, KeyRefusal, MemoryDevice, OpenOptions, Protector, SectorSize, TooSmall, Volume,
};

fn format(size: usize, options: &FormatOptions) -> atrest::Result<Volume<TestDevice>> {
    Volume::format(TestDevice::new(vec![0; size]), Protector::Vault(&MemoryVault::new("memory:one"), "disks"), options)
}

#[test]
fn a_header_says_what_was_asked_for() {
    // Behaviour 73
    let vault = MemoryVault::new("memory:one");
    let options = options()
        .sector_size(SectorSize::B4096)
        .dek_algorithm(DekAlgorithm::Aes128Xts)
        .uuid([0x5A; 16])
        .label("payroll")
        .subsystem("disks")
        .context(b"disk-17");
    let volume =
        Volume::format(TestDevice::new(vec![0; DATA + SIZE]), Protector::Vault(&vault, "disks"), &options).unwrap();
    assert_eq!((volume.size(), volume.data_offset()), (SIZE as u64, DATA as u64));
    assert_eq!(volume.uuid(), "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
    assert_eq!(volume.keks()[0].to_string(), "memory:one/keys/disks/1");

    let image = volume.device().bytes();
    assert!(header::is_whole(&image));
    let block = header::copy(&image, 0);
    assert_eq!(&block[24..32], b"payroll\0");
    assert_eq!(&block[168..205], b"5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a\0");
    assert_eq!(&block[208..214], b"disks\0");
    // Each copy has a salt of its own (section 2.1).
    assert_ne!(header::copy(&image, 0)[104..168], header::copy(&image, 1)[104..168]);
    let json = header::json(&image, 1);
    let segment = &json["segments"]["0"];
    assert_eq!(segment["type"], "crypt");
    assert_eq!(segment["encryption"], "aes-xts-plain64");
    assert_eq!((&segment["sector_size"], &segment["offset"]), (&4096.into(), &"1048576".into()));
    assert_eq!((&segment["iv_tweak"], &segment["size"]), (&"0".into(), &"dynamic".into()));
    assert_eq!(json["config"]["json_size"], "12288");
    let token = &json["tokens"]["0"];
    assert_eq!((&token["type"], &token["key_size"]), (&"atrest".into(), &32.into()));
    assert_eq!((&token["key_url"], &token["algorithm"]), (&"memory:one/keys/disks/1".into(), &"A256KW".into()));
    assert_eq!((&token["context"], &token["data_size"]), (&"ZGlzay0xNw==".into(), &"16384".into()));
    assert_eq!(token["encryption_type"], "customer-key");
}

#[test]
fn options_out_of_bounds_are_refused() {
    for (bad, says) in [
        (options().data_offset(0), "data offset"),
        (options().data_offset(DATA as u64 + 4096), "data offset"),
        (options().data_offset(129 << 20), "data offset"),
        (options().label(&"x".repeat(48)), "label"),
        (options().label("a\0b"), "label"),
        (options().subsystem(&"x".repeat(48)), "subsystem"),
    ] {
        let error = format(DATA + SIZE, &bad).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains(says)), "{error:?}");
    }
    for size in [520, 8192, 65_536, 513] {
        let bad = options().sector_size(SectorSize::new(size).unwrap());
        let error = format(DATA + SIZE, &bad).unwrap_err();
        assert!(matches!(error, Error::SectorSize { size: s } if s == u64::from(size)));
    }
    let error = format(DATA + SIZE, &options().context(&[1; MAX_CONTEXT + 1])).unwrap_err();
    assert!(matches!(error, Error::ContextLength { len: 1025 }));
    format(DATA + SIZE, &options().context(&[1; MAX_CONTEXT]).label(&"x".repeat(47))).unwrap();
}

#[test]
fn a_key_for_cbc_makes_no_volume_and_destroys_none() {
    let vault = MemoryVault::new("memory:one");
    let device = std::sync::Arc::new(TestDevice::new(vec![1; DATA + SIZE]));
    // AES-256-CBC is among them. Its key is as long as one for XTS.
    for algorithm in [DekAlgorithm::Aes128Cbc, DekAlgorithm::Aes192Cbc, DekAlgorithm::Aes256Cbc] {
        let options = options().overwrite(true).dek_algorithm(algorithm);
        let error = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains("CBC")), "{error:?}");
    }
    assert!(device.take_log().iter().all(|op| matches!(op, Op::Read { .. })));
}

#[test]
fn a_device_without_room_for_one_sector_is_refused() {
    for (sector_size, least) in [(SectorSize::B512, DATA + 512), (SectorSize::B4096, DATA + 4096)] {
        let options = options().sector_size(sector_size);
        for size in [0, 512, 32 << 10, DATA, least - 1] {
            let error = format(size, &options).unwrap_err();
            let right = |n, s| (n, s) == (least as u64, size as u64);
            assert!(matches!(error, Error::DeviceTooSmall { needed, size, .. } if right(needed, size)), "{error:?}");
            assert!(error.to_string().contains(&least.to_string()), "{error}");
        }
        assert_eq!(format(least, &options).unwrap().size(), u64::from(sector_size.bytes()));
    }
}

#[test]
fn what_a_device_holds_is_named_before_it_is_destroyed() {
    // The magic of ext2 to ext4 is at byte 56 of the superblock, which begins at 1024.
    let vault = MemoryVault::new("memory:one");
    let mut bytes = vec![0; DATA + SIZE];
    bytes[1080..1082].copy_from_slice(&[0x53, 0xEF]);
    let error = Volume::format(TestDevice::new(bytes), Protector::Vault(&vault, "disks"), &options()).unwrap_err();
    assert!(error.to_string().contains("ext4 file system"), "{error}");
}

#[test]
fn a_device_that_is_not_blank_is_refused_and_left_alone() {
    let vault = MemoryVault::new("memory:one");
    for at in [0, 1, 4095, 20_000, DATA - 1] {
        let mut bytes = vec![0; DATA + SIZE];
        bytes[at] = 1;
        let device = std::sync::Arc::new(TestDevice::new(bytes.clone()));
        let error = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options()).unwrap_err();
        assert!(matches!(error, Error::DeviceNotBlank { offset, .. } if offset == at as u64), "{error:?}");
        assert!(error.to_string().contains(&format!("byte {at})")) && error.to_string().contains("overwrite"));
        assert!(device.bytes() == bytes && device.take_log().iter().all(|op| matches!(op, Op::Read { .. })));
        // On request it wipes the room of the header, and no more.
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options().overwrite(true)).unwrap();
        let image = volume.device().bytes();
        assert!(header::is_whole(&image) && image[2 * header::COPY..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn nothing_is_written_when_the_vault_fails_or_lies() {
    let vault = MemoryVault::new("memory:one");
    let device = std::sync::Arc::new(TestDevice::new(vec![0; DATA + SIZE]));
    for lie in [
        Lie::AnotherKey,
        Lie::KeyOfLength(32),
        Lie::EqualHalves,
        Lie::NotMine,
        Lie::AnotherName,
        Lie::AnotherVault,
        Lie::WrappedOfLength(0),
        Lie::WrappedOfLength(1025),
    ] {
        let error = Volume::format(device.clone(), Protector::Vault(&LyingVault(&vault, lie), "disks"), &options())
            .unwrap_err();
        assert!(matches!(error, Error::Vault(_) | Error::EqualKeyHalves), "{lie:?}: {error:?}");
    }
    let error = Volume::format(device.clone(), Protector::Vault(&vault, "tapes"), &options()).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { key, reason: KeyRefusal::Missing } if key == "tapes"));
    assert!(device.take_log().iter().all(|op| matches!(op, Op::Read { .. })));
}

#[test]
fn a_device_without_a_header_is_not_luks() {
    let vault = MemoryVault::new("memory:one");
    for bytes in [vec![0; 4 << 20], vec![0xA5; 4 << 20]] {
        assert!(matches!(look(bytes, &vault), Err(Error::NotLuks { .. })));
    }
    let mut luks1 = vec![0; 4 << 20];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    let error = look(luks1, &vault).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedHeader(text) if text.contains("LUKS1")), "{error:?}");
}

#[test]
fn an_image_that_was_cut_off_is_refused_at_every_length() {
    let (vault, image) = image();
    let header = (0..=4096).chain((4096..48 << 10).step_by(512));
    let data = (48 << 10..DATA + 512).step_by(16 << 10);
    let lengths = header.chain(data).chain([DATA + 511, DATA + 512, image.len() - 512, image.len() - 1]);
    for len in lengths {
        let error = look(image[..len].to_vec(), &vault).unwrap_err();
        let text = error.to_string();
        let Error::DeviceTooSmall { what, needed, size } = error else { panic!("{len} bytes: {text}") };
        assert_eq!(size, len as u64);
        // Only what is left of the data can be opened all the same.
        let (least, of, helps) = if len < 2 * header::COPY {
            (2 * header::COPY, TooSmall::Header, false)
        } else if len < DATA + 512 {
            (DATA + 512, TooSmall::Data, false)
        } else {
            (image.len(), TooSmall::Volume, true)
        };
        assert_eq!((needed, what), (least as u64, of), "{len} bytes");
        assert_eq!(text.contains("hazmat_allow_truncated"), helps, "{text}");
    }
    assert!(holds_plain(&look(image, &vault).unwrap()));
}

#[test]
fn a_header_of_which_only_the_beginning_was_written_is_refused_or_opens() {
    let (vault, image) = image();
    for len in (0..2 * header::COPY).step_by(512).chain(0..512) {
        let mut torn = image.clone();
        torn[len..2 * header::COPY].fill(0);
        let whole = header::is_intact(&torn, 0) || header::is_intact(&torn, 1);
        match look(torn, &vault) {
            Ok(volume) => assert!(whole && holds_plain(&volume), "{len}"),
            Err(Error::NotLuks { .. }) => assert!(!whole && len < 6, "{len}"),
            Err(Error::InvalidHeader(text)) => assert!(!whole && text.contains("primary copy"), "{len}: {text}"),
            Err(error) => panic!("{len}: {error:?}"),
        }
    }
}

#[test]
fn a_truncated_image_opens_for_who_insists() {
    let (vault, image) = image();
    let device = MemoryDevice::from_bytes(image[..image.len() - 4096].to_vec());
    let insist = OpenOptions::new().hazmat_allow_truncated(true);
    let volume = Volume::open(device, Credential::Vault(&vault), &insist).unwrap();
    assert_eq!(volume.size(), SIZE as u64 - 4096);
    let mut bytes = vec![0; SIZE - 4096];
    volume.read_at(0, &mut bytes).unwrap();
    assert!(bytes == plain()[..SIZE - 4096]);
    assert!(matches!(volume.read_at(SIZE as u64 - 4096, &mut [0; 512]), Err(Error::OutOfBounds { .. })));
}

#[test]
fn a_device_that_has_grown_shows_more() {
    let (vault, mut image) = image();
    image.resize(DATA + SIZE + 4096 + 100, 0);
    let volume = look(image, &vault).unwrap();
    assert_eq!(volume.size(), SIZE as u64 + 4096);
    assert!(holds_plain(&volume));
}
