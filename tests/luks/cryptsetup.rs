//! Our volumes, checked by the reference implementation of LUKS2.

use crate::common::device::reopen;
use crate::common::{cryptsetup, run, run_any, text, vault_at};

use atrest::key::DekAlgorithm;
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume, hazmat};

#[test]
fn cryptsetup_accepts_what_we_write() {
    // Behaviour 64
    let Some(cryptsetup) = cryptsetup() else { return };
    for (sector_size, algorithm, bits) in [
        (SectorSize::B512, DekAlgorithm::Aes256Xts, "512"),
        (SectorSize::B4096, DekAlgorithm::Aes256Xts, "512"),
        (SectorSize::B512, DekAlgorithm::Aes128Xts, "256"),
        (SectorSize::B4096, DekAlgorithm::Aes128Xts, "256"),
        (SectorSize::B4096, DekAlgorithm::Aes256Hctr2, "256"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault_at(&folder.path().join("keys.vault"));
        let (image, key, wrong) = (folder.path().join("image"), folder.path().join("key"), folder.path().join("wrong"));
        let (image, key, wrong) = (text(&image), text(&key), text(&wrong));
        let device = FileDevice::create(image, 20 << 20).unwrap();
        let options = FormatOptions::new()
            .sector_size(sector_size)
            .dek_algorithm(algorithm)
            .label("payroll")
            .subsystem("disks")
            .uuid([0x5a; 16]);
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap();
        let cipher = volume.cipher().name();
        assert_eq!(cipher.contains("hctr2"), algorithm == DekAlgorithm::Aes256Hctr2);
        let dek = hazmat::dek_bytes(&volume.dek());
        std::fs::write(key, dek.expose()).unwrap();
        std::fs::write(wrong, vec![0x77; dek.len()]).unwrap();
        drop(volume);

        run(&cryptsetup, &["isLuks", "--type", "luks2", image]);
        assert_eq!(run(&cryptsetup, &["luksUUID", image]).trim(), "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
        let dump = run(&cryptsetup, &["luksDump", image]);
        for line in [
            "Label:         \tpayroll".to_owned(),
            "Subsystem:     \tdisks".to_owned(),
            format!("cipher: {cipher}"),
            format!("sector: {} [bytes]", sector_size.bytes()),
            "0: atrest".to_owned(),
        ] {
            assert!(dump.contains(line.trim()) || dump.replace('\t', " ").contains(&line), "no {line:?} in {dump}");
        }
        let token = run(&cryptsetup, &["token", "export", "--token-id", "0", image]);
        assert!(token.contains("\"type\":\"atrest\""), "{token}");
        let open = |key| {
            run_any(&cryptsetup, &["open", "--test-passphrase", "--volume-key-file", key, "--key-size", bits, image])
        };
        let right = open(key);
        assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
        assert!(!open(wrong).status.success(), "cryptsetup takes a wrong key");

        // A rotation gives a header that cryptsetup accepts too, and we keep its additions to a header of ours.
        vault.rotate_key("disks").unwrap();
        let volume =
            Volume::open(reopen(|| FileDevice::open(image)).unwrap(), Credential::Vault(&vault), &OpenOptions::new())
                .unwrap();
        assert_eq!(volume.rotate_kek(&vault).unwrap().version(), "2");
        drop(volume);
        assert!(open(key).status.success());
    }
}
