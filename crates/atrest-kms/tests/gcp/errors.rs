//! The meaning of errors, by the REST reference, and servers that are away or hostile.

use std::time::Duration;

use atrest::{Error, KeyVault};
use atrest_http::{HttpOptions, base64};
use atrest_kms::{GcpKms, GcpOptions, GoogleIdentity};

use crate::conformance::{self, dek};
use crate::fake::{answer, certificate, once, throttled, trusting};
use crate::peers::peer;
use crate::proxy::{Fate, Proxy};
use crate::server::{Fake, RING, error, hasty, is_login, options};

/// Far above what the calls take.
const LIMIT: Duration = Duration::from_secs(120);

const DENIED: &str = "Permission 'cloudkms.cryptoKeyVersions.useToDecrypt' denied on resource (or it may not exist).";

#[test]
fn refusals_are_told_apart() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for (code, status, reason, text, expected) in [
        ("404 Not Found", "NOT_FOUND", "", "CryptoKey not found.", "no-such-key"),
        ("403 Forbidden", "PERMISSION_DENIED", "", DENIED, "access-denied"),
        ("403 Forbidden", "PERMISSION_DENIED", "IAM_PERMISSION_DENIED", DENIED, "access-denied"),
    ] {
        let fate = error(code, status, reason, text);
        proxy.rule(move |head| if is_login(head) { Fate::Forward } else { fate.clone() });
        conformance::refuses(&vault, &wrapped, expected);
    }
    let failed = "Decryption failed: the ciphertext is invalid.";
    let fate = error("400 Bad Request", "INVALID_ARGUMENT", "", failed);
    proxy.rule(move |_| fate.clone());
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
}

#[test]
fn answers_that_say_nothing_of_the_key_are_outages() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let vault = GcpKms::new(&hasty(proxy.port)).unwrap();
    let huge = format!("{{\"plaintext\":\"{}\"}}", "A".repeat(1 << 20));
    for fate in [
        Fate::Reset,
        Fate::ResetAfter,
        Fate::Silence,
        Fate::SilenceAfter,
        Fate::Cut(1),
        Fate::Cut(150),
        Fate::Answer(String::new()),
        Fate::Answer("not HTTP\r\n\r\n".into()),
        Fate::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n{".into()),
    ] {
        println!("{}", format!("{fate:?}").chars().take(80).collect::<String>());
        proxy.rule(move |_| fate.clone());
        conformance::is_away(&vault, &wrapped, LIMIT);
    }
    proxy.rule(|_| Fate::Forward);
    let patient = GcpKms::new(&options(proxy.port).deadline(Duration::from_millis(500))).unwrap();
    assert!(patient.unwrap(&wrapped).unwrap().is_some());
    for fate in [
        Fate::Reset,
        Fate::Cut(150),
        answer("200 OK", ""),
        answer("200 OK", "{}"),
        answer("200 OK", "null"),
        answer("200 OK", "<html>please log in</html>"),
        answer("200 OK", &huge),
        answer("200 OK", &"[".repeat(100_000)),
        answer("403 Forbidden", "<html>PERMISSION_DENIED</html>"),
        answer("403 Forbidden", r#"{"error":"PERMISSION_DENIED"}"#),
        answer("404 Not Found", "<html>NOT_FOUND</html>"),
        answer("307 Temporary Redirect", r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#),
        error("403 Forbidden", "PERMISSION_DENIED", "SERVICE_DISABLED", "Cloud KMS API has not been used"),
        error("403 Forbidden", "PERMISSION_DENIED", "SECURITY_POLICY_VIOLATED", "Request is prohibited"),
        error("404 Not Found", "PERMISSION_DENIED", "", ""),
        error("401 Unauthorized", "UNAUTHENTICATED", "", "Request had invalid authentication credentials."),
        error("400 Bad Request", "INVALID_ARGUMENT", "", "Invalid field"),
        error("400 Bad Request", "FAILED_PRECONDITION", "", "an external key manager is away"),
        error("429 Too Many Requests", "RESOURCE_EXHAUSTED", "", "Quota exceeded"),
        error("500 Oops", "INTERNAL", "", ""),
        error("503 Service Unavailable", "UNAVAILABLE", "", ""),
    ] {
        println!("{}", format!("{fate:?}").chars().take(120).collect::<String>());
        proxy.rule(move |head| if is_login(head) { Fate::Forward } else { fate.clone() });
        conformance::is_away(&patient, &wrapped, LIMIT);
    }
}

#[test]
fn what_passes_is_waited_out_and_a_late_retry_is_none() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for fate in [throttled(1), Fate::Reset, Fate::Cut(40), answer("500 Internal Server Error", "")] {
        let before = proxy.requests();
        proxy.first(1, fate, |_| true);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        assert_eq!(proxy.requests() - before, 2);
    }
    let (before, fate) = (proxy.requests(), throttled(3000));
    proxy.rule(move |_| fate.clone());
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(proxy.requests() - before, 1);
}

#[test]
fn a_server_that_was_killed_in_a_call_is_away() {
    let Some(mut fake) = Fake::start() else { return };
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port).deadline(Duration::from_secs(2))).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    let before = proxy.requests();
    proxy.first(1, Fate::SilenceAfter, |_| true);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| vault.unwrap(&wrapped));
        while proxy.requests() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        fake.kill();
        assert!(matches!(call.join().unwrap(), Err(Error::Vault(_))));
    });
    conformance::is_away(&vault, &wrapped, LIMIT);
}

#[test]
fn what_was_not_asked_for_is_not_believed() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port)).unwrap();
    let version = |key: &str, number: &str| format!("{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}");
    for name in [version("disks", "2"), version("tapes", "1"), version("disks", ""), String::new()] {
        let crc = atrest_http::crc32c(&[0; 60]);
        let verified = r#""verifiedPlaintextCrc32c":true,"verifiedAdditionalAuthenticatedDataCrc32c":true"#;
        let wrapped = base64(&[0; 60]);
        let body = format!(r#"{{"name":"{name}","ciphertext":"{wrapped}","ciphertextCrc32c":"{crc}",{verified}}}"#);
        proxy.rule(move |head| if head.method == "POST" { answer("200 OK", &body) } else { Fate::Forward });
        assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))), "{name}");
        let primary = format!(r#"{{"purpose":"ENCRYPT_DECRYPT","primary":{{"name":"{name}","state":"ENABLED"}}}}"#);
        proxy.rule(move |head| if is_login(head) { Fate::Forward } else { answer("200 OK", &primary) });
        if name != version("disks", "2") {
            assert!(matches!(vault.describe("disks", None), Err(Error::Vault(_))), "{name}");
        }
    }
}

#[test]
fn secrets_are_neither_repeated_nor_shown() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port)).unwrap();
    vault.wrap("disks", &dek()).unwrap();
    let text = base64(conformance::DEK);
    let fate = error("400 Bad Request", "INVALID_ARGUMENT", "", &format!("bad {text}"));
    proxy.rule(move |head| if head.method == "POST" { fate.clone() } else { Fate::Forward });
    let found = vault.wrap("disks", &dek()).unwrap_err();
    assert!(matches!(found, Error::Vault(_)) && !conformance::shown(&found).contains(&text), "{found}");
    let account = crate::server::identity(&fake.account());
    let shown = format!("{account:?} {:?}", GcpOptions::new(RING, account.clone()));
    assert!(!shown.contains("PRIVATE") && shown.contains("the service account disks@fleet"), "{shown}");
}

#[test]
fn a_server_of_another_ca_is_an_outage() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [files, other] = ["fake", "other"].map(|name| certificate(&openssl, folder.path(), name));
    let Some(fake) = Fake::start_tls([&files[0], &files[1]]) else { return };
    let vault = |http| {
        let options = GcpOptions::new(RING, GoogleIdentity::machine(Some(&fake.address()))).endpoint(fake.address());
        GcpKms::new(&options.http(http)).unwrap()
    };
    let good = vault(trusting(&files[0]));
    let wrapped = good.wrap("disks", &dek()).unwrap();
    for http in [HttpOptions::new(), trusting(&other[0])] {
        for (call, error) in conformance::failures(&vault(once(http.clone())), &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
            let shown = format!("{error:#}");
            assert!(shown.contains("trust the root of its certificate"), "{shown}");
        }
    }
}
