//! Tokens, tags and secrets of somebody who means harm.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use atrest::volume::StartupKey;
use atrest::{Error, OpenOptions, Secret};
use atrest_ade::{AdeToken, Disk, Kek, KeyEncryptionKeys, SecretStore, Source, Tags, TokenPassphrase, Vaults};
use atrest_ade::{generate_passphrase, open, seal};
use serde_json::{Value, json};

use crate::memory::{MemoryKek, MemorySecrets};
use crate::opens::source;
use crate::volumes::{KEK, holds_content, small, token};

#[test]
fn tokens_that_are_not_sound_are_refused_and_not_repeated() {
    let text = "c2VjcmV0IHBhc3NwaHJhc2U=";
    let sound = token(TokenPassphrase::Plain(Secret::copy_from(text.as_bytes())));
    let sound: Value = serde_json::from_slice(&sound.to_json()).unwrap();
    let read = AdeToken::read(sound.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read.to_json()).unwrap(), sound);
    assert!(!format!("{read:?}").contains(text), "{read:?}");
    let edits: [(&str, Value); 9] = [
        ("type", json!("luks2-keyring")),
        ("type", json!(null)),
        ("version", json!("2.0")),
        ("version", json!(1.0)),
        ("Passphrase", json!("")),
        ("Passphrase", json!([text])),
        ("Passphrase", json!("x".repeat(3000))),
        ("KeyEncryptionKeyURL", json!({"x": text})),
        ("AttestationURL", json!("x".repeat(3000))),
    ];
    for (name, value) in edits {
        let mut token = sound.clone();
        token[name] = value;
        let found = AdeToken::read(token.to_string().as_bytes());
        let Err(Error::InvalidHeader(e)) = found else { panic!("{name}: {found:?}") };
        assert!(!e.contains(text), "{e}");
    }
    let mut wrapped = sound.clone();
    wrapped["PassphraseName"] = json!("LUKSPasswordProtector");
    wrapped["Passphrase"] = json!("not base64!");
    assert!(AdeToken::read(wrapped.to_string().as_bytes()).is_err());
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for bytes in [&b""[..], b"{", b"\xff\xfe", b"[]", nested.as_bytes(), &vec![b' '; 40 << 10]] {
        assert!(AdeToken::read(bytes).is_err());
    }
    // Any cut and any flipped byte is read or refused, and nothing panics.
    let bytes = sound.to_string().into_bytes();
    for at in 0..bytes.len() {
        let _ = AdeToken::read(&bytes[..at]);
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x15;
        let _ = AdeToken::read(&flipped);
    }
}

#[test]
fn hostile_tokens_beside_a_sound_one_cost_little_and_hide_nothing() {
    let passphrase = generate_passphrase().unwrap();
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
    let mut elsewhere = token(TokenPassphrase::Wrapped(wrapped.clone()));
    elsewhere.kek_url = Some("https://evil.example/keys/disks/1".into());
    let garbage = token(TokenPassphrase::Wrapped(vec![9; 300]));
    // By a KEK, whoever has its public half wraps what he likes.
    let startup_key = MemoryKek.wrap(&kek.id, kek.algorithm, &StartupKey::generate().unwrap().bytes()).unwrap();
    let startup_key = token(TokenPassphrase::Wrapped(startup_key));
    let sound = token(TokenPassphrase::Wrapped(wrapped));
    let tokens = [elsewhere.to_json(), garbage.to_json(), startup_key.to_json(), sound.to_json()];
    let vaults = Vaults { secrets: &[], keks: &[&MemoryKek] };
    let disk = Disk::new(small(&passphrase, &tokens));
    assert!(holds_content(&open(&disk, &Source::Token, vaults, &OpenOptions::new()).unwrap()));
    let disk = Disk::new(small(&passphrase, &tokens[..1]));
    let refused = open(&disk, &Source::Token, vaults, &OpenOptions::new()).err();
    assert!(matches!(&refused, Some(Error::NotThisVault { wanted }) if wanted.contains("evil")), "{refused:?}");
    let disk = Disk::new(small(&passphrase, &tokens[1..2]));
    assert!(matches!(open(&disk, &Source::Token, vaults, &OpenOptions::new()), Err(Error::UnwrapFailed)));
}

#[test]
fn hostile_secrets_and_tags_are_refused_and_not_repeated() {
    let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
    let disk = Disk::new(small(&passphrase, &[]));
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let kek = Kek::new(KEK, "RSA-OAEP").unwrap();
    let sealed = seal(&passphrase, Some(&kek), &[&MemoryKek]).unwrap();
    let tags = |url: &str, algorithm: &str| {
        let mut tags = Tags::new(Some(kek.clone()), "x", "y").to_map();
        tags.insert("DiskEncryptionKeyEncryptionKeyURL".into(), url.into());
        tags.insert("DiskEncryptionKeyEncryptionAlgorithm".into(), algorithm.into());
        tags
    };
    let long = Secret::copy_from(&[b'A'; 25 << 10]);
    let cases: [(&Secret, BTreeMap<String, String>); 8] = [
        (&sealed, tags("https://evil.example/keys/disks/1", "RSA-OAEP")),
        (&sealed, tags("http://contoso.vault.azure.net/keys/disks/1", "RSA-OAEP")),
        (&sealed, tags(KEK, "none")),
        (&sealed, tags(KEK, "A256KW")),
        (&sealed, tags(KEK, "RSA1_5")),
        (&passphrase, tags(KEK, "RSA-OAEP")),
        (&long, tags(KEK, "RSA-OAEP")),
        (&long, BTreeMap::new()),
    ];
    for (value, tags) in cases {
        secrets.set("disk-1", value, &tags).unwrap();
        let asked = secrets.asked.load(Relaxed);
        let e = open(&disk, &source(None, None), vaults, &OpenOptions::new()).err().unwrap();
        assert_eq!(secrets.asked.load(Relaxed), asked + 1);
        let (shown, start) = (format!("{e} {e:?}"), &passphrase.expose()[..20]);
        assert!(!shown.contains(std::str::from_utf8(start).unwrap()) && !shown.contains("AAAAAAAA"), "{shown}");
    }
}
