//! The meaning of KMS's errors, by its reference ("Common errors", and the errors of each action), and servers that are away.

use std::time::Duration;

use atrest::{Error, KeyVault};
use atrest_kms::AwsKms;

use crate::conformance::{self, dek};
use crate::proxy::{Fate, Proxy};
use crate::server::{Moto, SECRET, answer, error, hasty, options};

/// Far above what the calls take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn refusals_are_told_apart() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let vault = AwsKms::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for (code, text, reason) in [
        ("NotFoundException", "Key 'x' does not exist", "no-such-key"),
        ("com.amazonaws.kms#DisabledException", "arn is disabled.", "key-disabled"),
        ("KMSInvalidStateException", "arn is pending deletion.", "key-deleted"),
        ("KMSInvalidStateException", "arn is pending import.", "key-disabled"),
        ("AccessDeniedException", "User: arn is not authorized to perform: kms:Decrypt", "access-denied"),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", "access-denied"),
        // Another account's key: its state is denied too.
        (
            "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist",
            "access-denied",
        ),
    ] {
        let fate = error(code, text);
        let denied = error("AccessDeniedException", "not authorized to perform: kms:DescribeKey");
        proxy.rule(move |head| match head.header("x-amz-target") {
            Some("TrentService.DescribeKey") if text.starts_with("The ciphertext") => denied.clone(),
            _ => fate.clone(),
        });
        println!("{code} {text}");
        match text.starts_with("The ciphertext") {
            true => {
                let found = vault.unwrap(&wrapped);
                assert!(matches!(found, Err(Error::KeyRefused { .. })), "{found:?}");
            }
            false => conformance::refuses(&vault, &wrapped, reason),
        }
    }
    // Bytes that name another key, while this one may be used.
    proxy.rule(|head| match head.header("x-amz-target") {
        Some("TrentService.DescribeKey") => Fate::Forward,
        _ => error("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist"),
    });
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
    // The last is its answer where the header names a key of RSA, for one.
    for code in ["InvalidCiphertextException", "IncorrectKeyException", "InvalidKeyUsageException"] {
        let fate = error(code, "");
        proxy.rule(move |_| fate.clone());
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)), "{code}");
    }
}

#[test]
fn answers_that_say_nothing_of_the_key_are_outages() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let wrapped = AwsKms::new(&options(proxy.port)).unwrap().wrap("disks", &dek()).unwrap();
    let vault = AwsKms::new(&hasty(proxy.port)).unwrap();
    let huge = format!("{{\"Plaintext\":\"{}\"}}", "A".repeat(1 << 20));
    for fate in [
        Fate::Reset,
        Fate::ResetAfter,
        Fate::Silence,
        Fate::Cut(150),
        Fate::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n{".into()),
        answer("200 OK", ""),
        answer("200 OK", "{}"),
        answer("200 OK", &huge),
        answer("200 OK", &"[".repeat(60_000)),
        answer("403 Forbidden", "<html>AccessDeniedException</html>"),
        answer("307 Temporary Redirect", r#"{"__type":"AccessDeniedException"}"#),
        answer("500 Internal Server Error", r#"{"__type":"KMSInternalException"}"#),
        answer("503 Service Unavailable", ""),
        error("ThrottlingException", "Rate exceeded"),
        error("KeyUnavailableException", ""),
        error("DependencyTimeoutException", ""),
        error("KMSInvalidStateException", "arn is unavailable."),
        error("ExpiredTokenException", "The security token included in the request is expired"),
        error("InvalidSignatureException", "Signature expired: 20200101T000000Z is now earlier than"),
        error("x y\\u0000", ""),
        error("", ""),
    ] {
        println!("{}", format!("{fate:?}").chars().take(80).collect::<String>());
        proxy.rule(move |_| fate.clone());
        conformance::is_away(&vault, &wrapped, LIMIT);
    }
}

#[test]
fn throttling_is_waited_out() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let vault = AwsKms::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for fate in [error("ThrottlingException", "Rate exceeded"), Fate::Reset, Fate::Cut(40), answer("503 Busy", "")] {
        let before = proxy.requests();
        proxy.first(1, fate, |_| true);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        assert_eq!(proxy.requests() - before, 2);
    }
}

#[test]
fn a_server_that_was_killed_is_away() {
    let Some(mut moto) = Moto::start() else { return };
    let wrapped = moto.vault().wrap("disks", &dek()).unwrap();
    moto.kill();
    conformance::is_away(&AwsKms::new(&hasty(moto.port)).unwrap(), &wrapped, LIMIT);
}

#[test]
fn a_key_that_was_not_asked_for_is_not_believed() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let vault = AwsKms::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for body in [
        r#"{"Plaintext":"AAAA","KeyId":"arn:aws:kms:us-east-1:1:key/00000000-0000-0000-0000-000000000000"}"#,
        r#"{"Plaintext":"AAAA","KeyId":"x"}"#,
        r#"{"CiphertextBlob":"AAAA","KeyId":"x"}"#,
        r#"{"CiphertextBlob":"","KeyId":"arn:aws:kms:us-east-1:1:key/00000000-0000-0000-0000-000000000000"}"#,
        r#"{"CiphertextBlob":"?","KeyId":"arn:aws:kms:us-east-1:1:key/00000000-0000-0000-0000-000000000000"}"#,
    ] {
        proxy.rule(move |_| answer("200 OK", body));
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))), "{body}");
        assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))), "{body}");
    }
}

#[test]
fn a_description_of_another_key_is_not_believed() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let vault = AwsKms::new(&options(proxy.port)).unwrap();
    let version = vault.describe("disks", None).unwrap().unwrap().id.version().to_owned();
    assert_eq!(vault.describe("disks", Some(&version)).unwrap().unwrap().id.version(), version);
    let other = "11111111-2222-3333-4444-555555555555";
    let body = format!(r#"{{"KeyMetadata":{{"KeyId":"{other}","KeyState":"Enabled"}}}}"#);
    proxy.rule(move |_| answer("200 OK", &body));
    let found = vault.describe("disks", Some(&version));
    assert!(matches!(found, Err(Error::Vault(_))), "{found:?}");
    // The alias may point to any.
    assert_eq!(vault.describe("disks", None).unwrap().unwrap().id.version(), other);
}

#[test]
fn a_server_that_repeats_a_secret_is_not_repeated() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let vault = AwsKms::new(&options(proxy.port)).unwrap();
    for text in [&atrest_http::base64(conformance::DEK), "session-token"] {
        let fate = error("ValidationException", &format!("bad {text}"));
        proxy.rule(move |_| fate.clone());
        let found = vault.wrap("disks", &dek()).unwrap_err();
        assert!(matches!(found, Error::Vault(_)) && !conformance::shown(&found).contains(text), "{found}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let vault = AwsKms::new(&options(1)).unwrap();
    let shown = format!("{vault:?} {:?}", options(1));
    assert!(!shown.contains(SECRET) && !shown.contains("session-token"), "{shown}");
}
