//! The meaning of errors, by the REST reference, and servers that are away or hostile.

use std::time::Duration;

use atrest::{Error, KeyVault};
use atrest_kms::AzureKeyVault;

use crate::conformance::{self, dek};
use crate::fake::{answer, throttled};
use crate::proxy::{Fate, Proxy};
use crate::server::{Fake, SECRET, error, hasty, is_login, options};

/// Far above what the calls take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn refusals_are_told_apart() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for (status, code, inner, reason) in [
        ("403 Forbidden", "Forbidden", "KeyDisabled", "key-disabled"),
        ("403 Forbidden", "Forbidden", "KeyExpired", "key-expired"),
        ("403 Forbidden", "Forbidden", "KeyNotYetValid", "key-not-yet-valid"),
        ("403 Forbidden", "Forbidden", "AccessDenied", "access-denied"),
        ("403 Forbidden", "Forbidden", "ForbiddenByRbac", "access-denied"),
        ("403 Forbidden", "Forbidden", "", "access-denied"),
        ("404 Not Found", "KeyNotFound", "", "no-such-key"),
        ("409 Conflict", "Conflict", "ObjectIsDeletedButRecoverable", "key-deleted"),
        ("409 Conflict", "Conflict", "ObjectIsBeingDeleted", "key-deleted"),
    ] {
        let fate = error(status, code, inner, "text");
        proxy.rule(move |head| if is_login(head) { Fate::Forward } else { fate.clone() });
        conformance::refuses(&vault, &wrapped, reason);
    }
    // The vault is another tenant's: behaviour 43.
    let text =
        "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/x/, found https://sts.windows.net/y/.";
    let fate = error("401 Unauthorized", "Unauthorized", "", text);
    proxy.rule(move |head| if is_login(head) { Fate::Forward } else { fate.clone() });
    conformance::refuses(&vault, &wrapped, "access-denied");
    let fate = error("400 Bad Request", "BadParameter", "", "The parameter is incorrect.");
    proxy.rule(move |_| fate.clone());
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
    assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))));
    assert!(matches!(vault.describe("disks", None), Err(Error::Vault(_))));
}

#[test]
fn answers_that_say_nothing_of_the_key_are_outages() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let vault = AzureKeyVault::new(&hasty(proxy.port)).unwrap();
    let huge = format!("{{\"value\":\"{}\"}}", "A".repeat(1 << 20));
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
        answer("200 OK", ""),
        answer("200 OK", "{}"),
        answer("200 OK", "null"),
        answer("200 OK", "<html>please log in</html>"),
        answer("200 OK", &huge),
        answer("200 OK", &"[".repeat(200_000)),
        answer("403 Forbidden", "<html>KeyDisabled</html>"),
        answer("403 Forbidden", r#"{"error":"AccessDenied"}"#),
        answer("404 Not Found", r#"{"error":{"code":""}}"#),
        answer("404 Not Found", "<html>KeyNotFound</html>"),
        answer("307 Temporary Redirect", r#"{"error":{"code":"Forbidden","innererror":{"code":"KeyDisabled"}}}"#),
        answer("500 Internal Server Error", r#"{"error":{"code":"Forbidden"}}"#),
        error("403 Forbidden", "Forbidden", "ForbiddenByFirewall", "Client address is not authorized"),
        error("403 Forbidden", "Forbidden", "ForbiddenByConnection", "Public network access is disabled"),
        error("404 Not Found", "VaultNotFound", "", "no such vault"),
        error("401 Unauthorized", "Unauthorized", "", "AKV10022: Invalid audience."),
        error("429 Too Many Requests", "Throttled", "", "Request was not processed"),
        error("503 Service Unavailable", "ServiceUnavailable", "", ""),
    ] {
        println!("{}", format!("{fate:?}").chars().take(80).collect::<String>());
        proxy.rule(move |_| fate.clone());
        conformance::is_away(&vault, &wrapped, LIMIT);
    }
    // The same with a token that is there already.
    let patient = AzureKeyVault::new(&options(proxy.port).deadline(Duration::from_secs(1))).unwrap();
    proxy.rule(|_| Fate::Forward);
    assert!(patient.unwrap(&wrapped).unwrap().is_some());
    for fate in [
        Fate::Reset,
        answer("200 OK", "{}"),
        answer("403 Forbidden", "<html>KeyDisabled</html>"),
        error("403 Forbidden", "Forbidden", "ForbiddenByFirewall", "Client address is not authorized"),
        error("404 Not Found", "VaultNotFound", "", "no such vault"),
        error("429 Too Many Requests", "Throttled", "", "Request was not processed"),
        error("418 I'm a teapot", "Teapot", "KeyDisabled", "short and stout"),
    ] {
        proxy.rule(move |head| if is_login(head) { Fate::Forward } else { fate.clone() });
        conformance::is_away(&patient, &wrapped, LIMIT);
    }
}

#[test]
fn what_passes_is_waited_out_and_a_late_retry_is_none() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for fate in [throttled(1), Fate::Reset, Fate::Cut(40), answer("500 Internal Server Error", "")] {
        let before = proxy.requests();
        proxy.first(1, fate, |_| true);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        assert_eq!(proxy.requests() - before, 2);
    }
    // Beyond the deadline: one request, and no wait.
    let (before, fate) = (proxy.requests(), throttled(3000));
    proxy.rule(move |_| fate.clone());
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("429"), "{error}");
    assert_eq!(proxy.requests() - before, 1);
}

#[test]
fn a_server_that_was_killed_in_a_call_is_away() {
    let Some(mut fake) = Fake::start() else { return };
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let proxy = Proxy::before(fake.port);
    let vault = AzureKeyVault::new(&options(proxy.port).deadline(Duration::from_secs(2))).unwrap();
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
    let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let version = wrapped.kek.version().to_owned();
    let (here, other) = ("https://contoso.vault.azure.net/keys/disks", "0123456789abcdef0123456789abcdef");
    for (kid, value) in [
        (format!("{here}/{other}"), "AAAA"),
        (format!("https://evil.vault.azure.net/keys/disks/{version}"), "AAAA"),
        (format!("https://contoso.vault.azure.net/keys/tapes/{version}"), "AAAA"),
        (format!("{here}/{version}"), "?"),
        (String::new(), "AAAA"),
    ] {
        let body = format!(r#"{{"kid":"{kid}","value":"{value}"}}"#);
        proxy.rule(move |head| if head.method == "POST" { answer("200 OK", &body) } else { Fate::Forward });
        let wrapping = [vault.wrap("disks", &dek()), vault.wrap_version(&wrapped.kek, &dek())];
        let errors = wrapping.map(|found| found.unwrap_err()).into_iter().chain(vault.unwrap(&wrapped).err());
        for error in errors {
            assert!(matches!(error, Error::Vault(_)), "{kid} {value}: {error:?}");
        }
    }
    // A wrapped key of nothing, or of too much.
    for value in [String::new(), "A".repeat(100_000)] {
        let body = format!(r#"{{"kid":"{here}/{version}","value":"{value}"}}"#);
        proxy.rule(move |head| if head.method == "POST" { answer("200 OK", &body) } else { Fate::Forward });
        assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))));
    }
    // A list of versions without an end.
    fake.tell(r#"{"op":"set","key":"disks","enabled":false}"#);
    let page = r#"{"value":[],"nextLink":"https://contoso.vault.azure.net/keys/disks/versions?$skiptoken=again"}"#;
    proxy.rule(|head| if head.target.contains("/versions") { answer("200 OK", page) } else { Fate::Forward });
    let before = proxy.requests();
    let error = vault.describe("disks", None).unwrap_err();
    assert!(error.to_string().contains("more than 1,000 versions"), "{error}");
    assert!(proxy.requests() - before < 50);
}

#[test]
fn secrets_are_neither_repeated_nor_shown() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
    vault.wrap("disks", &dek()).unwrap();
    let text = atrest_http::base64url(conformance::DEK);
    let fate = error("400 Bad Request", "BadParameter", "", &format!("bad {text}"));
    proxy.rule(move |head| if head.method == "POST" { fate.clone() } else { Fate::Forward });
    let found = vault.wrap("disks", &dek()).unwrap_err();
    assert!(matches!(found, Error::Vault(_)) && !conformance::shown(&found).contains(&text), "{found}");
    let body = format!(r#"{{"error":"invalid_client","error_description":"bad {SECRET}","error_codes":[1]}}"#);
    proxy.rule(move |_| answer("400 Bad Request", &body));
    let fresh = AzureKeyVault::new(&options(proxy.port)).unwrap();
    let found = fresh.wrap("disks", &dek()).unwrap_err();
    assert!(matches!(found, Error::Vault(_)) && !conformance::shown(&found).contains(SECRET), "{found:?}");
    let shown = format!("{fresh:?} {:?}", options(1));
    assert!(!shown.contains(SECRET) && shown.contains("the application"), "{shown}");
}
