//! Headers changed by an attacker without keys, with a correct checksum. cryptsetup accepts most of them.

use std::time::Duration;

use crate::common::device::TestDevice;
use crate::common::header;
use crate::common::spent::spent;
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{holds_plain, image, image_with, look, options};
use atrest::key::EncryptionType;
use atrest::{Credential, Dek, Error, OpenOptions, Protector, Volume};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

/// The expected refusal of a header: by a vault, and by the DEK itself.
#[derive(Clone, Copy, Debug)]
enum As {
    /// `TamperedHeader`, for every credential.
    Tampered,
    /// `UnsupportedHeader` whose text contains this, for every credential.
    Unsupported(&'static str),
    /// `InvalidHeader` whose text contains this, for every credential.
    Invalid(&'static str),
    /// `WrongKey` for the DEK. For the vault `TamperedHeader`, since the MAC is checked first.
    WrongKey,
    /// `TamperedHeader` for the DEK; for the vault an error whose text contains this.
    TamperedOr(&'static str),
}

fn is(error: &Error, wanted: As, by_vault: bool) -> bool {
    match wanted {
        As::Tampered => matches!(error, Error::TamperedHeader),
        As::Unsupported(says) => matches!(error, Error::UnsupportedHeader(text) if text.contains(says)),
        As::Invalid(says) => matches!(error, Error::InvalidHeader(text) if text.contains(says)),
        As::WrongKey if by_vault => matches!(error, Error::TamperedHeader),
        As::WrongKey => matches!(error, Error::WrongKey),
        As::TamperedOr(says) if by_vault => error.to_string().contains(says),
        As::TamperedOr(_) => matches!(error, Error::TamperedHeader),
    }
}

/// Opens an image by a vault and by the DEK; both must be refused, and soon.
fn refused(name: &str, image: &[u8], vault: &MemoryVault, dek: &Dek, wanted: As) {
    let start = spent();
    for (by_vault, credential) in [(true, Credential::Vault(vault)), (false, Credential::Dek(dek))] {
        let error = Volume::open(TestDevice::new(image.to_vec()), credential, &OpenOptions::new()).unwrap_err();
        assert!(is(&error, wanted, by_vault), "{name}: {error:?} is not {wanted:?}");
    }
    let took = spent() - start;
    assert!(took < Duration::from_secs(5), "{name} took {took:?}");
}

fn dek(image: &[u8], vault: &MemoryVault) -> Dek {
    (*look(image.to_vec(), vault).unwrap().dek()).clone()
}

fn bytes64(len: usize) -> Value {
    Base64::encode_string(&vec![0x5A; len]).into()
}

#[test]
fn an_edited_segment_is_refused() {
    let (vault, image) = image();
    let dek = dek(&image, &vault);
    let cases: [(&str, Value, As); 18] = [
        ("encryption", json!("cipher_null-ecb"), As::Unsupported("cipher_null-ecb")),
        ("encryption", json!("serpent-xts-plain64"), As::Unsupported("serpent-xts-plain64")),
        ("encryption", json!("aes-cbc-essiv:sha256"), As::Tampered),
        ("encryption", json!("aes-xts-plain"), As::Tampered),
        ("sector_size", json!(4096), As::Tampered),
        ("sector_size", json!(8192), As::Invalid("8192")),
        ("sector_size", json!(0), As::Invalid("0 bytes")),
        ("offset", json!("1052672"), As::Tampered),
        ("offset", json!("32768"), As::Invalid("within the header")),
        ("offset", json!("16384"), As::Invalid("16384")),
        ("offset", json!("1048577"), As::Invalid("1048577")),
        ("size", json!("4096"), As::Tampered),
        ("size", json!("0"), As::Invalid("size")),
        ("iv_tweak", json!("8"), As::Tampered),
        ("iv_tweak", json!("-1"), As::Invalid("iv_tweak")),
        ("type", json!("linear"), As::Unsupported("linear")),
        ("flags", json!(["backup-final"]), As::Unsupported("backup-final")),
        ("integrity", json!({"type": "none"}), As::Unsupported("integrity")),
    ];
    for (field, value, wanted) in cases {
        let mut edited = image.clone();
        header::edit_json(&mut edited, |json| json["segments"]["0"][field] = value.clone());
        refused(&format!("{field} {value}"), &edited, &vault, &dek, wanted);
    }
    let mut edited = image.clone();
    header::edit_json(&mut edited, |json| json["segments"]["1"] = json["segments"]["0"].clone());
    refused("two segments", &edited, &vault, &dek, As::Invalid("not the last"));
    header::edit_json(&mut edited, |json| json["segments"] = json!({}));
    refused("no segment", &edited, &vault, &dek, As::Invalid("segments"));
}

#[test]
fn an_edited_digest_is_refused() {
    let (vault, image) = image();
    let dek = dek(&image, &vault);
    let cases: [(&str, Value, As); 11] = [
        ("digest", bytes64(32), As::WrongKey),
        ("digest", bytes64(4), As::Invalid("digest")),
        ("salt", bytes64(32), As::WrongKey),
        ("iterations", json!(1001), As::WrongKey),
        ("iterations", json!(0), As::Invalid("iterations")),
        ("iterations", json!(4_294_967_295u32), As::Unsupported("4294967295")),
        ("hash", json!("sha512"), As::WrongKey),
        ("hash", json!("md5"), As::Unsupported("md5")),
        // PBKDF2 would take a multiple of the work: one pass for each length of the hash.
        ("digest", bytes64(33), As::Unsupported("33 bytes")),
        ("digest", bytes64(1023), As::Unsupported("1023 bytes")),
        ("type", json!("argon2id"), As::Unsupported("digest")),
    ];
    for (field, value, wanted) in cases {
        let mut edited = image.clone();
        header::edit_json(&mut edited, |json| json["digests"]["0"][field] = value.clone());
        refused(&format!("{field} {value}"), &edited, &vault, &dek, wanted);
    }
    let mut edited = image.clone();
    header::edit_json(&mut edited, |json| json["digests"]["0"]["segments"] = json!([]));
    refused("no segment", &edited, &vault, &dek, As::Invalid("digest"));
    let mut edited = image.clone();
    header::edit_json(&mut edited, |json| json["digests"]["1"] = json["digests"]["0"].clone());
    refused("two digests", &edited, &vault, &dek, As::Tampered);
}

#[test]
fn an_edited_token_is_refused() {
    let (vault, image) = image();
    vault.rotate();
    let dek = dek(&image, &vault);
    let cases: [(&str, Value, As); 17] = [
        ("encryption_type", json!("platform-key"), As::Tampered),
        ("encryption_type", json!("no-key"), As::Invalid("no-key")),
        ("key_size", json!(32), As::Tampered),
        ("key_size", json!(40), As::Invalid("40")),
        ("key_url", json!("memory:one/keys/disks/2"), As::TamperedOr("integrity check")),
        ("key_url", json!("memory:one/keys/disks/3"), As::TamperedOr("memory:one/keys/disks/3")),
        ("key_url", json!("memory:two/keys/disks/1"), As::TamperedOr("memory:two/keys/disks/1")),
        ("key_url", json!("memory:one"), As::Invalid("URL")),
        ("algorithm", json!("A256KWP"), As::TamperedOr("A256KWP")),
        ("algorithm", json!("ROT13"), As::Invalid("ROT13")),
        ("wrapped_dek", bytes64(72), As::TamperedOr("integrity check")),
        ("wrapped_dek", json!(""), As::Invalid("0 bytes")),
        ("context", bytes64(7), As::Tampered),
        ("data_size", json!("0"), As::Tampered),
        ("mac", bytes64(32), As::Tampered),
        ("mac", bytes64(16), As::Invalid("mac")),
        ("version", json!(2), As::Invalid("version is 2")),
    ];
    for (field, value, wanted) in cases {
        let mut edited = image.clone();
        header::edit_json(&mut edited, |json| json["tokens"]["0"][field] = value.clone());
        refused(&format!("{field} {value}"), &edited, &vault, &dek, wanted);
    }
    let mut edited = image.clone();
    header::edit_json(&mut edited, |json| json["tokens"] = json!({}));
    let error = look(edited, &vault).unwrap_err();
    assert!(matches!(&error, Error::NotThisVault { wanted } if wanted.contains("no vault")), "{error:?}");
}

#[test]
fn an_edited_uuid_or_requirement_is_refused() {
    let (vault, image) = image();
    let dek = dek(&image, &vault);
    let mut edited = image.clone();
    for which in 0..2 {
        header::edit_copy(&mut edited, which, |copy| copy[168..176].copy_from_slice(b"00000000"));
    }
    refused("uuid", &edited, &vault, &dek, As::Tampered);
    let online = json!({"mandatory": ["online-reencrypt-v2"]});
    for requirements in [online, json!(["online-reencrypt-v2"])] {
        let mut edited = image.clone();
        header::edit_json(&mut edited, |json| json["config"]["requirements"] = requirements.clone());
        refused("requirement", &edited, &vault, &dek, As::Unsupported("online-reencrypt-v2"));
    }
}

#[test]
fn a_header_of_another_volume_is_refused_by_who_expects_a_context() {
    let (vault, mine) = image_with(&options().context(b"disk-17"));
    // The same vault, so that the other header opens by itself.
    let device = TestDevice::new(vec![0; mine.len()]);
    let other = Volume::format(device, Protector::Vault(&vault, "disks"), &options().context(b"disk-18"))
        .unwrap()
        .into_device()
        .bytes();
    let mut swapped = mine.clone();
    swapped[..2 * header::COPY].copy_from_slice(&other[..2 * header::COPY]);
    let open = |image: &[u8], context: &[u8]| {
        let options = OpenOptions::new().context(context);
        Volume::open(TestDevice::new(image.to_vec()), Credential::Vault(&vault), &options)
    };
    assert!(holds_plain(&open(&mine, b"disk-17").unwrap()));
    for context in [&b"disk-17"[..], b"", b"disk-1"] {
        let error = open(&swapped, context).unwrap_err();
        assert!(matches!(error, Error::ContextMismatch), "{error:?}");
    }
    // Without an expected context, the reader gets noise, as `OpenOptions::context` says.
    assert!(!holds_plain(&look(swapped, &vault).unwrap()));
    // A volume without a token of ours is bound to no context, so it can't match the expected one.
    let dek = dek(&mine, &vault);
    let mut stripped = mine.clone();
    header::edit_json(&mut stripped, |json| json["tokens"] = json!({}));
    let options = OpenOptions::new().context(b"disk-17");
    let result = Volume::open(TestDevice::new(stripped), Credential::Dek(&dek), &options);
    assert!(matches!(result, Err(Error::ContextMismatch)));
}

#[test]
fn a_wrong_key_and_a_wrong_vault_are_refused() {
    let (vault, image) = image();
    let error = look(image.clone(), &MemoryVault::new("memory:two")).unwrap_err();
    assert!(matches!(&error, Error::NotThisVault { wanted } if wanted == "memory:one/keys/disks/1"), "{error:?}");
    let by_dek = |dek: &Dek| Volume::open(TestDevice::new(image.clone()), Credential::Dek(dek), &OpenOptions::new());
    for algorithm in [atrest::DekAlgorithm::Aes128Xts, atrest::DekAlgorithm::Aes256Xts] {
        assert!(matches!(by_dek(&Dek::generate(algorithm).unwrap()), Err(Error::WrongKey)));
    }
    assert!(holds_plain(&by_dek(&dek(&image, &vault)).unwrap()));
}

#[test]
fn a_token_of_somebody_else_does_not_shut_the_owner_out() {
    let (vault, image) = image();
    let mut edited = image.clone();
    header::edit_json(&mut edited, |json| {
        let mut foreign = json["tokens"]["0"].clone();
        foreign["key_url"] = json!("memory:two/keys/disks/1");
        json["tokens"]["1"] = json["tokens"]["0"].take();
        json["tokens"]["0"] = foreign;
        json["tokens"]["2"] = json!({"type": "systemd-tpm2", "keyslots": [], "tpm2-blob": "AA=="});
    });
    assert!(holds_plain(&look(edited, &vault).unwrap()));
}

#[test]
fn the_kind_of_encryption_is_part_of_what_is_proven() {
    let (vault, image) = image_with(&options().encryption_type(EncryptionType::PlatformAndCustomerKeys));
    assert_eq!(header::json(&image, 0)["tokens"]["0"]["encryption_type"], "platform-and-customer-keys");
    let dek = dek(&image, &vault);
    for kind in ["platform-key", "customer-key"] {
        let mut edited = image.clone();
        header::edit_json(&mut edited, |json| json["tokens"]["0"]["encryption_type"] = json!(kind));
        refused(kind, &edited, &vault, &dek, As::Tampered);
    }
}
