//! The key that wraps: behaviours 3 and 11 to 15.

use std::path::Path;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::managed::ResourceName;
use atrest::{Error, KeyVault, Secret};
use atrest_http::base64url;

use super::world::{World, reads};
use crate::conformance::{DEK, dek};
use crate::peers::{peer, pipe, run, text};
use crate::proxy::Proxy;
use crate::server::ID;

#[test]
fn the_vault_wraps_and_unwraps_and_the_kek_never_leaves_it() {
    // Behaviour 3
    let proxy = std::cell::OnceCell::new();
    let before = |fake: &crate::server::Fake| proxy.get_or_init(|| Proxy::before(fake.port)).port;
    let Some(mut world) = World::at(ID, "https://vault.azure.net", before) else { return };
    let proxy = proxy.get().unwrap();
    proxy.record();
    world.set("set", "disks");
    world.disk("disk", Some("set"));
    world.restart();
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
    let said = String::from_utf8_lossy(&proxy.recorded()).into_owned();
    // A request's first line may follow the end of an answer.
    let asked = said.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1")?.rsplit_once(' '));
    let mut kinds: Vec<&str> = asked
        .map(|(before, path)| match path.split('?').next().unwrap() {
            path if path.ends_with("/wrapkey") => "wrapkey",
            path if path.ends_with("/unwrapkey") => "unwrapkey",
            path if path.starts_with("/keys/disks") && before.ends_with("GET") => "get",
            path if path.ends_with("/oauth2/v2.0/token") => "login",
            path => panic!("asked for {path}"),
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["get", "login", "unwrapkey", "wrapkey"]);
    // RFC 7517 and 7518: the members of a private RSA key and of a symmetric one.
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_hsm"] {
        assert!(!said.contains(&format!("\"{member}\":")), "{member}");
    }
    // The DEK is on the disk only as the vault wrapped it.
    let bytes = world.bytes(&ResourceName::disk("disk"));
    let token = world.token(&ResourceName::disk("disk"));
    let unwrapped = said.rmatch_indices("\"value\": \"").map(|(at, found)| &said[at + found.len()..]);
    let deks: Vec<_> = unwrapped
        .filter_map(|rest| atrest_http::base64url_decode(rest.split('"').next().unwrap()))
        .filter(|value| value.len() <= 128)
        .collect();
    assert!(!deks.is_empty(), "{token}");
    for dek in deks {
        assert!(!bytes.windows(32).any(|window| window == &dek[..32]));
    }
}

#[test]
fn rsa_of_three_sizes_in_software_or_hsm_serves_disks_and_no_other_key() {
    // Behaviour 11
    let Some(world) = World::empty() else { return };
    for kind in ["RSA2048", "RSA3072", "RSA4096", "RSA2048-HSM", "RSA3072-HSM"] {
        world.fake.tell(&format!(r#"{{"op":"new","key":"{kind}","kind":"{kind}"}}"#));
        world.set(kind, kind);
        world.disk(kind, Some(kind));
        assert!(reads(&world.open(kind).unwrap(), kind).unwrap(), "{kind}");
    }
    for kind in ["EC", "RSA1024"] {
        world.fake.tell(&format!(r#"{{"op":"new","key":"{kind}","kind":"{kind}"}}"#));
        world.set(kind, kind);
        let error = world.service().create_disk(&super::world::new_disk(kind, Some(kind))).unwrap_err();
        assert!(matches!(&error, Error::Vault(_)) && error.to_string().contains("make one of RSA"), "{error}");
        assert!(world.service().resource(&ResourceName::disk(kind)).is_err());
    }
}

#[test]
fn a_managed_hsm_has_aes_keys_too() {
    // Behaviours 11, 14
    let (name, service) = ("https://contoso.managedhsm.azure.net", "https://managedhsm.azure.net");
    let Some(mut world) = World::at(name, service, |fake| fake.port) else { return };
    world.fake.tell(r#"{"op":"new","key":"aes","kind":"AES"}"#);
    world.set("set", "aes");
    world.disk("disk", Some("set"));
    world.restart();
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
    let token = world.token(&ResourceName::disk("disk"));
    assert_eq!(token["algorithm"], WrapAlgorithm::Aes256Kw.name());
    assert_eq!(token["key_url"], world.newest("aes").to_string());
}

/// An RSA key of OpenSSL's, in PKCS#8, and its public half.
fn made_outside(openssl: &str, folder: &Path, bits: u32) -> (String, [std::path::PathBuf; 2]) {
    let [key, public] = ["key", "public"].map(|name| folder.join(name));
    let size = format!("rsa_keygen_bits:{bits}");
    run(openssl, &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &size, "-out", text(&key)]);
    run(openssl, &["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]);
    (std::fs::read_to_string(&key).unwrap(), [key, public])
}

/// The output of OpenSSL for some bytes under a key: `options` are those of its padding.
fn pkeyutl(openssl: &str, action: &str, key: &Path, options: &[&str], input: &[u8]) -> Vec<u8> {
    let side = if action == "-encrypt" { &["-pubin"][..] } else { &[] };
    let options: Vec<&str> = options.iter().flat_map(|option| ["-pkeyopt", option]).collect();
    pipe(openssl, &[&["pkeyutl", action, "-inkey", text(key)], side, &options].concat(), input)
}

const OAEP_256: [&str; 3] = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"];

#[test]
fn keys_are_made_in_the_vault_or_imported() {
    // Behaviour 13: the key's owner has the private half too, and OpenSSL unwraps what the vault wrapped.
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(mut world) = World::empty() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (pem, [key, _]) = made_outside(&openssl, folder.path(), 3072);
    let pem = pem.replace('\n', "\\n");
    world.fake.tell(&format!(r#"{{"op":"import","key":"imported","pem":"{pem}"}}"#));
    for (set, name) in [("made", "disks"), ("brought", "imported")] {
        world.set(set, name);
        world.disk(set, Some(set));
        world.restart();
        assert!(reads(&world.open(set).unwrap(), set).unwrap());
    }
    let wrapped = world.fake.vault().wrap("imported", &dek()).unwrap();
    assert_eq!(wrapped.algorithm, WrapAlgorithm::RsaOaep256);
    assert_eq!(pkeyutl(&openssl, "-decrypt", &key, &OAEP_256, &wrapped.bytes), DEK);
}

#[test]
fn new_deks_are_wrapped_by_oaep_with_sha_256_and_old_records_unwrap() {
    // Behaviour 14: AES-GCM isn't used, AES keys wrap by A256KW.
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(world) = World::new() else { return };
    assert_eq!(world.token(&ResourceName::disk("disk"))["algorithm"], WrapAlgorithm::RsaOaep256.name());
    let folder = tempfile::tempdir().unwrap();
    let (pem, [_, public]) = made_outside(&openssl, folder.path(), 2048);
    world.fake.tell(&format!(r#"{{"op":"import","key":"imported","pem":"{}"}}"#, pem.replace('\n', "\\n")));
    let vault = world.fake.vault();
    for (algorithm, options) in [
        (WrapAlgorithm::RsaOaep256, &OAEP_256[..]),
        (WrapAlgorithm::RsaOaep, &["rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"]),
        (WrapAlgorithm::Rsa15, &["rsa_padding_mode:pkcs1"]),
    ] {
        let bytes = pkeyutl(&openssl, "-encrypt", &public, options, DEK);
        let wrapped = WrappedDek::new(world.newest("imported"), algorithm, bytes);
        assert_eq!(vault.unwrap_foreign(&wrapped).unwrap().unwrap().expose(), DEK, "{}", algorithm.name());
        let as_a_dek = vault.unwrap(&wrapped).map(|found| found.map(|dek: Secret| dek.expose() == DEK));
        if algorithm == WrapAlgorithm::Rsa15 {
            // Otherwise the writer of a header could have the vault try one ciphertext after another.
            assert!(matches!(as_a_dek, Err(Error::UnwrapFailed)), "{as_a_dek:?}");
        } else {
            assert_eq!(as_a_dek.unwrap(), Some(true), "{}", algorithm.name());
        }
    }
}

#[test]
fn a_key_is_named_by_azures_own_url_with_its_version() {
    // Behaviour 15: also where the set follows new versions by itself.
    let Some(world) = World::new() else { return };
    let version = world.newest("disks");
    let url = format!("https://contoso.vault.azure.net/keys/disks/{}", version.version());
    assert_eq!(version.version().len(), 32);
    let set = world.service().encryption_set("set").unwrap();
    assert!(set.auto_rotation);
    assert_eq!((set.active_key.to_string(), world.key_of(&ResourceName::disk("disk"))), (url.clone(), url.clone()));
    assert_eq!(url.parse::<KeyId>().unwrap(), version);
    // The URL of the key without a version names no KEK.
    for short in ["https://contoso.vault.azure.net/keys/disks", "https://contoso.vault.azure.net/keys/disks/"] {
        assert!(short.parse::<KeyId>().is_err(), "{short}");
    }
    // Nor is what is wrapped told by its version alone.
    let shown = format!("{:?}", world.service().encryption_set("set").unwrap());
    assert!(!shown.contains(&base64url(DEK)));
}
