//! Ways to log in, on the fakes of Entra ID and of the services of managed identities.

use atrest::{Error, KeyVault};
use atrest_http::{Hidden, HttpOptions};
use atrest_kms::{AzureIdentity, AzureKeyVault};

use crate::conformance::{self, dek};
use crate::fake::{answer, certificate, once};
use crate::peers::peer;
use crate::proxy::{Fate, Proxy};
use crate::server::{CLIENT, Fake, SECRET, TENANT, is_login, options, with_identity};

fn works(fake: &Fake, identity: AzureIdentity) {
    let vault = AzureKeyVault::new(&with_identity(fake.port, identity)).unwrap();
    let before = fake.logins();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    assert_eq!(fake.logins() - before, 1, "a token is kept");
}

fn refused(fake: &Fake, identity: AzureIdentity) {
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let vault = AzureKeyVault::new(&with_identity(fake.port, identity)).unwrap();
    conformance::refuses(&vault, &wrapped, "access-denied");
}

#[test]
fn an_application_shows_its_secret() {
    let Some(fake) = Fake::start() else { return };
    let of = |tenant, client, secret| {
        AzureIdentity::client_secret(tenant, client, Hidden::new(secret)).authority(fake.address())
    };
    works(&fake, of(TENANT, CLIENT, SECRET));
    refused(&fake, of(TENANT, CLIENT, "another secret"));
    refused(&fake, of(TENANT, "00000000-0000-0000-0000-000000000000", SECRET));
    refused(&fake, of("fabrikam.example", CLIENT, SECRET));
}

/// The assertion is checked by pyca/cryptography against the certificate.
#[test]
fn an_application_shows_its_certificate() {
    let Some(fake) = Fake::start() else { return };
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let [certificate, key] =
            certificate(&openssl, folder.path(), name).map(|file| std::fs::read_to_string(file).unwrap());
        let both = Hidden::new(format!("{certificate}{key}"));
        (certificate, both)
    };
    let ((certificate, pem), (_, other)) = (make("one"), make("two"));
    fake.tell(&format!(r#"{{"op":"state","certificate":"{}"}}"#, certificate.replace('\n', "\\n")));
    let of = |pem| AzureIdentity::client_certificate(TENANT, CLIENT, pem).unwrap().authority(fake.address());
    works(&fake, of(&pem));
    refused(&fake, of(&other));
    assert!(!format!("{:?}", of(&pem)).contains("PRIVATE"));
    // This clock is an hour behind or ahead: that is this machine's trouble, and no refusal.
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    for skew in [3600, -3600] {
        fake.tell(&format!(r#"{{"op":"state","skew":{skew}}}"#));
        let vault = AzureKeyVault::new(&with_identity(fake.port, of(&pem))).unwrap();
        let error = vault.unwrap(&wrapped).unwrap_err();
        let shown = format!("{error:#}");
        assert!(matches!(error, Error::Vault(_)) && shown.contains("clock"), "{shown}");
    }
}

#[test]
fn a_workload_shows_the_token_of_its_file() {
    let Some(fake) = Fake::start() else { return };
    fake.tell(r#"{"op":"state","federated":"a.federated.token"}"#);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "a.federated.token\n").unwrap();
    let identity = || AzureIdentity::workload(TENANT, CLIENT, file.path()).authority(fake.address());
    works(&fake, identity());
    std::fs::write(&file, "another.token").unwrap();
    refused(&fake, identity());
    let nowhere = AzureIdentity::workload(TENANT, CLIENT, "/nonexistent/token").authority(fake.address());
    let error = AzureKeyVault::new(&with_identity(fake.port, nowhere)).unwrap().wrap("disks", &dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && format!("{error:#}").contains("/nonexistent/token"), "{error:#}");
}

#[test]
fn a_machine_and_an_app_service_have_managed_identities() {
    let Some(fake) = Fake::start() else { return };
    for client in [None, Some(CLIENT)] {
        works(&fake, AzureIdentity::machine(fake.address(), client));
        let endpoint = format!("{}/msi/token", fake.address());
        works(&fake, AzureIdentity::app_service(endpoint, Hidden::new("header-of-a-test"), client));
    }
    // A machine without this identity: an outage, which ends the lease, since the vault has said nothing.
    let other = AzureIdentity::machine(fake.address(), Some("00000000-0000-0000-0000-000000000000"));
    let error = AzureKeyVault::new(&with_identity(fake.port, other)).unwrap().wrap("disks", &dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && format!("{error:#}").contains("managed identity"), "{error:#}");
}

/// The metadata service answers 404, 410 and 5xx while it is updated.
#[test]
fn a_metadata_service_that_is_updated_is_waited_for() {
    let Some(fake) = Fake::start() else { return };
    let metadata = Proxy::before(fake.port);
    let address = format!("http://127.0.0.1:{}", metadata.port);
    for fate in [answer("404 Not Found", ""), answer("410 Gone", ""), answer("500 Oops", ""), Fate::Reset] {
        metadata.first(1, fate, |_| true);
        works(&fake, AzureIdentity::machine(address.clone(), None));
    }
}

#[test]
fn a_program_gives_its_own_tokens() {
    let Some(fake) = Fake::start() else { return };
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let proxy = Proxy::before(fake.port);
    let keep = seen.clone();
    proxy.rule(move |head| {
        keep.lock().unwrap().push(head.header("authorization").unwrap().to_owned());
        answer("503 Busy", "")
    });
    let count = std::sync::Mutex::new(0);
    let provider = AzureIdentity::provider(move || {
        *count.lock().unwrap() += 1;
        Ok(Hidden::new(format!("token-{}", count.lock().unwrap())))
    });
    let vault = AzureKeyVault::new(&with_identity(proxy.port, provider).http(once(HttpOptions::new()))).unwrap();
    assert!(vault.describe("disks", None).is_err() && vault.describe("disks", None).is_err());
    let mut seen = seen.lock().unwrap().clone();
    seen.dedup();
    assert_eq!(seen, ["Bearer token-1", "Bearer token-2"]);
}

/// A source that has no other token isn't asked in vain: there is one request.
#[test]
fn a_token_that_is_refused_is_not_shown_again() {
    let Some(fake) = Fake::start() else { return };
    let proxy = Proxy::before(fake.port);
    let identity = AzureIdentity::provider(|| Ok(Hidden::new("the same")));
    let vault = AzureKeyVault::new(&with_identity(proxy.port, identity)).unwrap();
    assert!(matches!(vault.describe("disks", None), Err(Error::Vault(_))));
    assert_eq!(proxy.requests(), 1);
}

/// A token ends in the middle: one more login, and one more request. The vault's challenge names another authority and another service,
/// which the fake would complain of.
#[test]
fn a_token_that_ended_is_got_again_once() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let before = fake.logins();
    fake.tell(r#"{"op":"expire"}"#);
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(fake.logins() - before, 1);
    // Tokens that the vault never takes: two requests, and no more.
    let proxy = Proxy::before(fake.port);
    let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    let before = proxy.requests();
    proxy.rule(|head| match is_login(head) {
        true => Fate::Forward,
        false => answer("401 Unauthorized", r#"{"error":{"code":"Unauthorized","message":"AKV10015"}}"#),
    });
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(proxy.requests() - before, 3);
}

#[test]
fn a_token_without_a_life_is_got_for_each_call() {
    let Some(fake) = Fake::start() else { return };
    fake.tell(r#"{"op":"state","life":0}"#);
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let before = fake.logins();
    assert!(vault.unwrap(&wrapped).unwrap().is_some() && vault.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(fake.logins() - before, 2);
}

#[test]
fn one_login_is_for_all_threads() {
    let Some(fake) = Fake::start() else { return };
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let (vault, before) = (fake.vault(), fake.logins());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(vault.unwrap(&wrapped).unwrap().is_some()));
        }
    });
    assert_eq!(fake.logins() - before, 1);
}

#[test]
fn answers_of_a_login_that_make_no_sense_are_outages() {
    let Some(fake) = Fake::start() else { return };
    let wrapped = fake.vault().wrap("disks", &dek()).unwrap();
    let proxy = Proxy::before(fake.port);
    for body in [
        "",
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":"a b","expires_in":3599}"#,
        r#"{"access_token":"a\r\nx: y","expires_in":3599}"#,
        r#"{"access_token":"a","expires_in":"soon"}"#,
        r#"{"access_token":"a","token_type":"pop","expires_in":3599}"#,
    ] {
        let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
        proxy.rule(move |_| answer("200 OK", body));
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))), "{body}");
    }
    for body in [
        r#"{"error":"invalid_client","error_codes":[7000222],"error_description":"AADSTS7000222: expired"}"#,
        r#"{"error":"temporarily_unavailable","error_codes":[90033]}"#,
        "<html>7000215</html>",
    ] {
        let vault = AzureKeyVault::new(&options(proxy.port)).unwrap();
        proxy.rule(move |_| answer("400 Bad Request", body));
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))), "{body}");
    }
}
