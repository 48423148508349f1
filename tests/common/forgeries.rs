//! Wrapped keys that the writer of a header can put in place of an honest one, for every vault outside of the crate.
//!
//! The defect of one wrapped key must not look like an outage of its vault, or like a key that may not be used: the vault's honest
//! users would wait or stop for it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::key::{KeyId, MAX_WRAPPED, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};

/// A wrapped key that its vault hasn't wrapped, by the name of its defect.
pub type Forgery = (String, WrappedDek);

const ALGORITHMS: [WrapAlgorithm; 7] = [
    WrapAlgorithm::Aes256Kw,
    WrapAlgorithm::Aes256Kwp,
    WrapAlgorithm::RsaOaep256,
    WrapAlgorithm::RsaOaep,
    WrapAlgorithm::Rsa15,
    WrapAlgorithm::Opaque,
    WrapAlgorithm::RsaOaep256Hs256,
];

/// The lengths of wrapped keys, of RSA's and of some that nothing has.
const LENGTHS: [usize; 16] = [1, 7, 8, 15, 16, 17, 24, 40, 71, 72, 96, 128, 256, 288, 384, 512];

/// Forged bytes and algorithms in place of a wrapped key. The first `kept` bytes, which name the key to the server, stay.
pub fn of_bytes(wrapped: &WrappedDek, kept: usize) -> Vec<Forgery> {
    let mut all = Vec::new();
    let mut add = |name: String, algorithm, bytes: Vec<u8>| {
        let mut bytes = bytes;
        bytes.iter_mut().zip(&wrapped.bytes[..kept]).for_each(|(byte, kept)| *byte = *kept);
        if (algorithm, &bytes) != (wrapped.algorithm, &wrapped.bytes) {
            all.push((name, WrappedDek::new(wrapped.kek.clone(), algorithm, bytes)));
        }
    };
    let (own, honest) = (wrapped.algorithm, &wrapped.bytes);
    let noise = |len: usize| Secret::random(len).unwrap().expose().to_vec();

    for cut in [1, 8, 16, honest.len() / 2] {
        add(format!("{cut} bytes less"), own, honest[..honest.len() - cut].to_vec());
        add(format!("{cut} bytes less at the start"), own, honest[cut..].to_vec());
    }
    for more in [1, 8, 16, honest.len()] {
        add(format!("{more} bytes more"), own, [&honest[..], &noise(more)].concat());
    }
    for at in (0..honest.len()).step_by(5).chain([honest.len() - 1]) {
        let mut flipped = honest.clone();
        flipped[at] ^= 1 << (at % 8);
        add(format!("byte {at} flipped"), own, flipped);
    }
    for len in [0, honest.len(), MAX_WRAPPED] {
        add(format!("{len} zeros"), own, vec![0; len]);
    }
    for algorithm in ALGORITHMS {
        add(format!("the same as {}", algorithm.name()), algorithm, honest.clone());
        for len in LENGTHS.into_iter().chain([honest.len(), MAX_WRAPPED, MAX_WRAPPED + 1, 1 << 20]) {
            add(format!("{len} random bytes as {}", algorithm.name()), algorithm, noise(len));
        }
    }
    let mut as_what = vec![own, WrapAlgorithm::Opaque, WrapAlgorithm::Aes256Kw];
    as_what.dedup();
    for (name, bytes) in of_other_vaults(wrapped.kek.version()) {
        for algorithm in &as_what {
            add(format!("{name} as {}", algorithm.name()), *algorithm, bytes.clone());
        }
    }
    all
}

/// Bytes in the forms that vaults have of their own, none of them wrapped by anybody.
fn of_other_vaults(version: &str) -> Vec<(String, Vec<u8>)> {
    let noise = |len: usize| Secret::random(len).unwrap().expose().to_vec();
    let mut all = Vec::new();
    // PKCS#11: a mark, and how it was made. 1 is AES-GCM by its nonce, text and tag; 2 is C_WrapKey by the mechanism's number.
    for (kind, len) in [(0, 72), (1, 0), (1, 11), (1, 12), (1, 28), (1, 29), (1, 60), (1, 92), (1, 1700), (3, 72)] {
        all.push((format!("{len} bytes of PKCS#11's kind {kind}"), [b"P11\x01", &[kind][..], &noise(len)].concat()));
    }
    for mechanism in [0_u32, 9, 0x1085, 0x1087, 0x2109, 0x210A, 0x210B, u32::MAX] {
        for len in [0, 24, 72] {
            let bytes = [b"P11\x01\x02", &mechanism.to_be_bytes()[..], &noise(len)].concat();
            all.push((format!("{len} bytes by the mechanism {mechanism:#x}"), bytes));
        }
    }
    // KMIP: a mark, a nonce, a tag and a ciphertext.
    for len in [0, 12, 27, 28, 29, 60, 92, 1700] {
        all.push((format!("{len} bytes of KMIP's form"), [b"KMI\x01", &noise(len)[..]].concat()));
        all.push((format!("{len} bytes of another version of KMIP's form"), [b"KMI\x02", &noise(len)[..]].concat()));
    }
    // Transit: a text that names the version.
    let text = "QUJD".repeat(23);
    for (version, base64) in
        [(version, &*text), (version, ""), (version, "AA=="), (version, "!"), ("0", &text), ("99", &text), ("", &text)]
    {
        all.push((
            format!("transit's {base64:.4} of version {version:?}"),
            format!("vault:v{version}:{base64}").into(),
        ));
    }
    all.push(("transit's longest".into(), format!("vault:v{version}:{}", "QUJD".repeat(420)).into()));
    // A quorum: how many parts of how many, and a salt.
    for counts in [[2, 2], [0, 0], [1, 1], [16, 16], [255, 255]] {
        let bytes = [b"ATRQ\x01", &counts[..], &noise(200)].concat();
        all.push((format!("a quorum of {} of {}", counts[0], counts[1]), bytes));
    }
    all
}

/// Forged names for an honest wrapped key. `others` are names of things that are there and are no keys of DEKs, or other keys.
pub fn of_names(wrapped: &WrappedDek, others: &[KeyId]) -> Vec<Forgery> {
    let kek = &wrapped.kek;
    let long = "a".repeat(127);
    let (key, version) = (kek.key(), kek.version());
    let versions =
        ["0", "2", "999", "00", "01", "none", "latest", "-1", "ffff", "current", &long, "..", "18446744073709551616"];
    let uuids = ["00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000"];
    let names = versions.iter().chain(&uuids).map(|version| (key, *version));
    let names = names.chain([("no-such-key", version), (&*long, version), ("..", version), ("x..y", version)]);
    let names = names.filter_map(|(key, version)| KeyId::new(kek.vault(), key, version).ok());
    let all = names.chain(others.iter().cloned()).filter(|other| other != kek);
    all.map(|kek| (format!("the name {kek}"), WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes.clone()))).collect()
}

/// Has vaults unwrap each forgery, and an honest wrapped key after it. `vault` gives a vault on the same keys that hasn't unwrapped
/// anything yet: it can't know yet that its key works. Another one has. `others` are as in [`of_names`].
pub fn delay_no_honest_disk(vault: &dyn Fn() -> Arc<dyn KeyVault>, key: &str, others: &[KeyId]) {
    let made = vault();
    let honest = made.wrap(key, &super::dek()).unwrap();
    delay_none(&made, vault, &honest, of_bytes(&honest, 0), of_names(&honest, others));
}

/// As [`delay_no_honest_disk`] for a wrapped key that was made before, and these forgeries of its bytes and of its name.
pub fn delay_none(
    known: &Arc<dyn KeyVault>,
    vault: &dyn Fn() -> Arc<dyn KeyVault>,
    honest: &WrappedDek,
    of_bytes: Vec<Forgery>,
    of_names: Vec<Forgery>,
) {
    let unwraps = |vault: &dyn KeyVault| {
        let found = vault.unwrap(honest);
        matches!(&found, Ok(Some(dek)) if *dek == super::dek()).then_some(()).ok_or(found)
    };
    let wrong = RefCell::new(Vec::new());
    let judge = |name: &str, found: Result<Option<Secret>>, of_name: bool, took: Duration| {
        let right = match &found {
            Err(Error::UnwrapFailed | Error::UnsupportedAlgorithm(_) | Error::WrapLength { .. }) => true,
            Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. }) => of_name,
            _ => false,
        };
        // Far above the deadlines of vaults: tests don't measure time.
        if !right || took > Duration::from_secs(120) {
            wrong.borrow_mut().push(format!("{name}: {found:?} after {took:?}"));
        }
    };
    let of_bytes = of_bytes.into_iter().map(|forgery| (false, forgery));
    let of_names = of_names.into_iter().map(|forgery| (true, forgery));
    for (of_name, (name, forged)) in of_bytes.chain(of_names) {
        let new = vault();
        for vault in [&new, known] {
            let began = Instant::now();
            let found = vault.unwrap(&forged);
            judge(&name, found, of_name, began.elapsed());
        }
        if let Err(found) = unwraps(&*new) {
            wrong.borrow_mut().push(format!("the honest one after {name}: {found:?}"));
        }
    }
    let wrong = wrong.into_inner();
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
}
