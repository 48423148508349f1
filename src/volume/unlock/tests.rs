//! The proofs of a DEK that a vault has unwrapped.

use std::sync::{Arc, Mutex};

use crate::cipher::CipherSpec;
use crate::key::{DekAlgorithm, EncryptionType, HashAlgorithm, Kdf, KeyId, KeyVault, WrapAlgorithm, WrappedDek};
use crate::ondisk::luks::{HEADER_SIZES, LuksVersion, Token};
use crate::volume::KeyslotOptions;
use crate::volume::headers::{self, FirstProtector, NewHeader};
use crate::{
    BlockDevice, Credential, Dek, Error, MemoryDevice, OpenOptions, Protector, Result, Secret, SectorSize, Volume,
};

/// A vault that answers every question for a DEK with the same.
struct Answers(Mutex<Secret>);

impl Answers {
    fn with(dek: &Dek) -> Self {
        Answers(Mutex::new(dek.secret().clone()))
    }
}

impl KeyVault for Answers {
    fn id(&self) -> &str {
        "memory:one"
    }

    fn wrap(&self, key: &str, _: &Secret) -> Result<WrappedDek> {
        Ok(WrappedDek { kek: KeyId::new(self.id(), key, "1")?, algorithm: WrapAlgorithm::Opaque, bytes: vec![1] })
    }

    fn unwrap(&self, _: &WrappedDek) -> Result<Option<Secret>> {
        Ok(Some(self.0.lock().unwrap().clone()))
    }
}

/// A volume whose token is of one DEK, and whose digest is of another.
fn volume(of_token: &Dek, of_digest: &Dek) -> Arc<MemoryDevice> {
    let new = NewHeader {
        key: of_digest.secret(),
        cipher: CipherSpec::AesXtsPlain64,
        sector_size: SectorSize::B512,
        data_offset: Some(1 << 20),
        detached: false,
        metadata_size: HEADER_SIZES[0],
        uuid: "2c7d3e0e-9a55-4bfb-8f7a-0c1f5a6c9d10".into(),
        label: "",
        subsystem: "",
        written: None,
    };
    let device = Arc::new(MemoryDevice::new(2 << 20));
    let wrapped = Answers::with(of_token).wrap("disks", of_token.secret()).unwrap();
    let token = Token::new(EncryptionType::CustomerKey, of_token, wrapped, Vec::new(), 1 << 20);
    let mut header = headers::create(LuksVersion::Luks2, &new).unwrap();
    header.store_new(&device, of_token, FirstProtector::Token(token)).unwrap();
    device
}

#[test]
fn the_mac_of_a_token_proves_the_dek_and_no_other_passes() {
    let [dek, other] = [(); 2].map(|()| Dek::generate(DekAlgorithm::Aes256Xts).unwrap());
    let device = volume(&dek, &dek);
    let open =
        |answer: &Dek| Volume::open(device.clone(), Credential::Vault(&Answers::with(answer)), &OpenOptions::new());
    assert!(*open(&dek).unwrap().dek() == dek);
    assert!(matches!(open(&other), Err(Error::TamperedHeader)));
    // Nor one that differs by a bit, in either half.
    for at in [0, 63] {
        let mut key = dek.secret().clone();
        key.expose_mut()[at] ^= 1;
        let close = Dek::from_secret(DekAlgorithm::Aes256Xts, key).unwrap();
        assert!(matches!(open(&close), Err(Error::TamperedHeader)));
    }
    // Where no token vouches for it, the digest does.
    assert!(matches!(Volume::open(device.clone(), Credential::Dek(&other), &OpenOptions::new()), Err(Error::WrongKey)));
}

#[test]
fn a_digest_of_another_dek_takes_no_keyslot() {
    let [dek, other] = [(); 2].map(|()| Dek::generate(DekAlgorithm::Aes256Xts).unwrap());
    let device = volume(&dek, &other);
    let all = || {
        let mut bytes = vec![0; 2 << 20];
        device.read_at(0, &mut bytes).map(|()| bytes).unwrap()
    };
    let before = all();
    let volume = Volume::open(device.clone(), Credential::Vault(&Answers::with(&dek)), &OpenOptions::new()).unwrap();
    let cheap = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
    let added = volume.add_protector(Protector::Passphrase(b"correct horse"), &cheap);
    assert!(matches!(added, Err(Error::WrongKey)), "{added:?}");
    drop(volume);
    assert!(all() == before);
    for key in [&dek, &other] {
        let opened = Volume::open(device.clone(), Credential::Dek(key), &OpenOptions::new());
        assert!(matches!(opened, Err(Error::WrongKey | Error::TamperedHeader)));
    }
}

#[test]
fn a_keyslot_with_a_key_that_the_cipher_does_not_take_is_named_and_no_wrong_passphrase() {
    let options = crate::FormatOptions::new()
        .keyslot(KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 }));
    let device = MemoryDevice::new(20 << 20);
    let volume = Volume::format(device, Protector::Passphrase(b"pw"), &options).unwrap();
    let header = volume.header();
    let json = std::str::from_utf8(header.metadata_json().unwrap()).unwrap();
    let told = |bytes: u32| {
        let json = json.replacen("\"key_size\":64", &format!("\"key_size\":{bytes}"), 1);
        let header = headers::read_metadata(json.as_bytes(), header.uuid()).unwrap();
        let locked = super::Locked {
            header: &*header,
            device: volume.header_device(),
            cipher: CipherSpec::AesXtsPlain64,
            keyslot: None,
            budget: &super::Budget::new(crate::key::KdfLimits::default()),
            key: None,
            ignore_tokens: false,
        };
        locked.unlock(Credential::Passphrase(b"pw")).map(drop).unwrap_err().to_string()
    };
    assert!(told(40).contains("keyslot 0: its key has 320 bits, which aes-xts-plain64 doesn't take"), "{}", told(40));
    assert_eq!(told(48).contains("the feature `legacy` opens it"), !cfg!(feature = "legacy"), "{}", told(48));
}
