//! NSS as the token: a library of another origin, whose mechanisms have the same numbers and do other things.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::Arc;

use atrest::key::{KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyVault};
use atrest_pkcs11::{Pkcs11Options, Pkcs11Vault};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use common::library;
use common::peers::{peer, run};
use conformance::forgeries;

/// The bytes of a version of the key, known here.
fn kek(id: u8) -> [u8; 32] {
    let mut kek = *b"32 bytes of a key known to tests";
    kek[0] = id;
    kek
}

/// NSS without a database: its keys are session objects, which last as long as the session that made them.
#[test]
fn nss_without_a_database() {
    let folders = ["/usr/lib/x86_64-linux-gnu/nss", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/nss"];
    let Some(path) = library(&["libsoftokn3.so"], &folders) else {
        peer("libsoftokn3.so", &[]);
        return;
    };
    let options = Pkcs11Options::new(&path)
        .manufacturer("Mozilla Foundation")
        .token("NSS Generic Crypto Services")
        .module_parameters("configdir='' certPrefix='' keyPrefix='' secmod='' flags=noCertDB,noModDB,readOnly")
        .id("nss");
    let vault = Pkcs11Vault::new(options.clone()).unwrap();
    let error = vault.wrap("disks", &conformance::dek()).unwrap_err();
    assert!(matches!(error, Error::KeyRefused { .. }), "{error:?}");

    // The library is initialised now. The test makes keys by a client of its own.
    let client = Pkcs11::new(&path).unwrap();
    let slots = client.get_slots_with_token().unwrap();
    let label = |slot| client.get_token_info(slot).unwrap().label().trim_end().to_owned();
    let slot = slots.into_iter().find(|slot| label(*slot) == "NSS Generic Crypto Services").unwrap();
    let session = client.open_rw_session(slot).unwrap();
    let aes = |id: u8, may: &[Attribute]| {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(false),
            Attribute::Label(b"disks".into()),
            Attribute::Id(vec![id]),
            Attribute::Value(kek(id).into()),
        ];
        session.create_object(&[&template, may].concat()).unwrap();
    };
    aes(1, &[Attribute::Wrap(true), Attribute::Unwrap(true)]);
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let mut room = [0; 72];
    assert_eq!(wrapped.algorithm, WrapAlgorithm::Aes256Kw);
    assert_eq!(wrapped.bytes, wrap::aes_kw_wrap(&kek(1), conformance::DEK, &mut room).unwrap());
    conformance::wraps_and_unwraps(&vault, "disks");
    let of = |options: Pkcs11Options| move || Arc::new(Pkcs11Vault::new(options.clone()).unwrap()) as Arc<dyn KeyVault>;
    forgeries::delay_no_honest_disk(&of(options.clone()), "disks", &[]);
    conformance::serves_a_volume(&vault, "disks", &|| aes(2, &[Attribute::Wrap(true), Attribute::Unwrap(true)]));

    // By C_Encrypt, which NSS has for AES key wrap too.
    let options = options.encrypt_mechanisms(true);
    let vault = Pkcs11Vault::new(options.clone()).unwrap();
    aes(3, &[Attribute::Encrypt(true), Attribute::Decrypt(true), Attribute::Wrap(false), Attribute::Unwrap(false)]);
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!((wrapped.kek.version(), wrapped.algorithm), ("03", WrapAlgorithm::Aes256Kw));
    assert_eq!(wrapped.bytes, wrap::aes_kw_wrap(&kek(3), conformance::DEK, &mut room).unwrap());
    conformance::wraps_and_unwraps(&vault, "disks");

    // RSA-OAEP with SHA-256.
    let public = [
        Attribute::Token(false),
        Attribute::Label(b"rsa".into()),
        Attribute::Id(vec![1]),
        Attribute::Encrypt(true),
        Attribute::ModulusBits(3072.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ];
    let private = [
        Attribute::Token(false),
        Attribute::Label(b"rsa".into()),
        Attribute::Id(vec![1]),
        Attribute::Decrypt(true),
        Attribute::Private(false),
        Attribute::Sensitive(true),
    ];
    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private).unwrap();
    let wrapped = vault.wrap("rsa", &conformance::dek()).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::RsaOaep256, 384));
    assert_eq!(vault.describe("rsa", None).unwrap().unwrap().kind, KeyKind::Rsa3072);
    conformance::wraps_and_unwraps(&vault, "rsa");
    let others = [("disks", "01"), ("disks", "03")].map(|(key, id)| KeyId::new("nss", key, id).unwrap());
    forgeries::delay_no_honest_disk(&of(options.clone()), "rsa", &others);
    forgeries::delay_no_honest_disk(&of(options), "disks", &[KeyId::new("nss", "rsa", "01").unwrap()]);

    // OpenSSL wraps with the public half, and the token unwraps.
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let class = [Attribute::Label(b"rsa".into()), Attribute::Class(ObjectClass::PUBLIC_KEY)];
    let public = session.find_objects(&class).unwrap()[0];
    let modulus = session.get_attributes(public, &[AttributeType::Modulus]).unwrap();
    let [Attribute::Modulus(modulus)] = &modulus[..] else { panic!("no modulus") };
    let modulus: String = modulus.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (conf, public, dek, out) = (at("conf"), at("public.der"), at("dek"), at("wrapped"));
    std::fs::write(&conf, format!("asn1=SEQUENCE:key\n[key]\nn=INTEGER:0x{modulus}\ne=INTEGER:65537\n")).unwrap();
    std::fs::write(&dek, conformance::DEK).unwrap();
    run(&openssl, &["asn1parse", "-genconf", &conf, "-noout", "-out", &at("pkcs1.der")]);
    let convert = ["rsa", "-RSAPublicKey_in", "-inform", "DER", "-in", &at("pkcs1.der"), "-pubout", "-outform", "DER"];
    run(&openssl, &[&convert[..], &["-out", &public]].concat());
    let oaep =
        ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"];
    let encrypt = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", &public, "-in", &dek, "-out", &out];
    run(&openssl, &[&encrypt[..], &oaep].concat());
    let wrapped = WrappedDek::new(wrapped.kek, wrapped.algorithm, std::fs::read(&out).unwrap());
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
}
