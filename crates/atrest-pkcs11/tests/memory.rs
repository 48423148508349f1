//! No copy of a DEK stays in this process, but for those that the library makes.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Seek, SeekFrom};

use atrest::{KeyVault, Secret};
use atrest_pkcs11::Pkcs11Vault;
use common::softhsm;
use cryptoki::object::Attribute;

/// How often the bytes lie in memory that this process can write. `inverted` are the bytes with all bits inverted, so that
/// the search doesn't find itself.
fn copies(inverted: &[u8; 32]) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    // Its own buffers are found by nobody: they are wiped before the next region is read.
    let mut bytes = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').unwrap();
        let to = rest.split(' ').next().unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        if to - from > 256 << 20 || memory.seek(SeekFrom::Start(from)).is_err() {
            continue;
        }
        bytes.clear();
        bytes.resize((to - from) as usize, 0);
        if memory.read_exact(&mut bytes).is_ok() {
            let own = bytes.as_ptr() as u64;
            let hits =
                bytes.windows(32).enumerate().filter(|(_, window)| window.iter().zip(inverted).all(|(a, b)| *a == !b));
            found += hits.filter(|(at, _)| !(own..own + bytes.len() as u64).contains(&(from + *at as u64))).count();
        }
        bytes.fill(0);
    }
    found
}

#[test]
fn no_copy_of_a_dek_stays() {
    let Some(hsm) = softhsm("no_copy_of_a_dek_stays") else { return };
    hsm.token("t").aes("t", "disks", "01");
    hsm.aes("t", "gcm", "01");
    hsm.admin("t").set("gcm", 1, &[Attribute::Wrap(false), Attribute::Unwrap(false)]);
    hsm.tool("t", &["--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt", "--label", "rsa", "--id", "01"]);
    let vault = Pkcs11Vault::new(hsm.options("t").encrypt_mechanisms(true).allow_sha1(true)).unwrap();
    for key in ["disks", "gcm", "rsa"] {
        let dek = Secret::random(32).unwrap();
        let inverted: [u8; 32] = std::array::from_fn(|i| !dek.expose()[i]);
        assert_eq!(copies(&inverted), 1, "the search finds what is there");
        let wrapped = vault.wrap(key, &dek).unwrap();
        let again = vault.unwrap(&wrapped).unwrap().unwrap();
        assert!(again == dek);
        assert_eq!(copies(&inverted), 2, "{key}: the two that this test has");
        drop((dek, again));
        assert_eq!(copies(&inverted), 0, "{key}");
    }
}
