//! Ways to log in, on the fakes of Google's token services and of a metadata server.

use atrest::{Error, KeyVault};
use atrest_kms::{GcpKms, GoogleIdentity};

use crate::conformance::{self, dek};
use crate::fake::answer;
use crate::proxy::{Fate, Proxy};
use crate::server::{Fake, identity, is_login, options, with_identity};

/// Wraps and unwraps, with so many logins.
fn works(fake: &Fake, identity: GoogleIdentity, logins: u32) {
    let vault = GcpKms::new(&with_identity(fake.port, identity)).unwrap();
    let before = fake.logins();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    assert_eq!(fake.logins() - before, logins, "a token is kept");
}

fn fails(fake: &Fake, identity: GoogleIdentity) -> Error {
    let vault = GcpKms::new(&with_identity(fake.port, identity)).unwrap();
    vault.wrap("disks", &dek()).unwrap_err()
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::KeyRefused { reason, .. } if reason.name() == "access-denied")
}

/// The assertion is checked by pyca/cryptography.
#[test]
fn a_service_account_signs_its_assertion() {
    let Some(fake) = Fake::start() else { return };
    let (account, other) = (fake.account(), Fake::start().unwrap().account());
    works(&fake, identity(&account), 1);
    // Another account's key, with this one's address.
    let key = |json: &str| json.split_once("\"private_key\": \"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let error = fails(&fake, identity(&account.replace(&key(&account), &key(&other))));
    assert!(is_denied(&error) && error.to_string().contains("JWT Signature"), "{error}");
    let error = fails(&fake, identity(&account.replace("disks@fleet", "gone@fleet")));
    assert!(is_denied(&error) && error.to_string().contains("gone@fleet"), "{error}");
    // This clock is two hours behind or ahead: that is this machine's trouble, and no refusal.
    for skew in [7200, -7200] {
        fake.tell(&format!(r#"{{"op":"state","skew":{skew}}}"#));
        let error = fails(&fake, identity(&account));
        let shown = format!("{error:#}");
        assert!(matches!(error, Error::Vault(_)) && shown.contains("clock"), "{shown}");
    }
}

#[test]
fn a_file_of_the_environment_is_read() {
    let Some(fake) = Fake::start() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, fake.account()).unwrap();
    works(&fake, GoogleIdentity::from_file(file.path()).unwrap(), 1);
    std::fs::write(&file, "{}").unwrap();
    let error = GoogleIdentity::from_file(file.path()).unwrap_err();
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    assert!(GoogleIdentity::from_file("/nonexistent").is_err());
}

#[test]
fn a_user_has_a_refresh_token() {
    let Some(fake) = Fake::start() else { return };
    let user = |secret: &str, token: &str| {
        let address = fake.address();
        let names = format!(r#""client_id":"client","client_secret":"{secret}","refresh_token":"{token}""#);
        identity(&format!(r#"{{"type":"authorized_user",{names},"token_uri":"{address}/token"}}"#))
    };
    works(&fake, user("client-secret-of-a-test", "refresh-token-of-a-test"), 1);
    let error = fails(&fake, user("client-secret-of-a-test", "revoked-token-of-a-test"));
    assert!(is_denied(&error) && !conformance::shown(&error).contains("revoked-token"), "{error}");
    assert!(matches!(fails(&fake, user("another", "refresh-token-of-a-test")), Error::Vault(_)));
}

#[test]
fn a_workload_exchanges_the_token_of_its_file_and_acts_as_an_account() {
    let Some(fake) = Fake::start() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let external = |format: &str, impersonated: bool| {
        let (address, file) = (fake.address(), file.path().display());
        let pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/aks";
        let kind = "urn:ietf:params:oauth:token-type:jwt";
        let account = "disks@fleet.iam.gserviceaccount.com:generateAccessToken";
        let url =
            format!(r#","service_account_impersonation_url":"{address}/v1/projects/-/serviceAccounts/{account}""#);
        let source = format!(r#""credential_source":{{"file":"{file}"{format}}}"#);
        let names = format!(r#""audience":"{pool}","subject_token_type":"{kind}","token_url":"{address}/v1/token""#);
        identity(&format!(r#"{{"type":"external_account",{names},{source}{}}}"#, if impersonated { &url } else { "" }))
    };
    let json = r#","format":{"type":"json","subject_token_field_name":"id_token"}"#;
    std::fs::write(&file, "a.subject.token\n").unwrap();
    works(&fake, external("", false), 1);
    works(&fake, external("", true), 2);
    std::fs::write(&file, r#"{"id_token":"a.subject.token","other":1}"#).unwrap();
    works(&fake, external(json, false), 1);
    for text in ["{}", "a.subject.token", r#"{"id_token":1}"#] {
        std::fs::write(&file, text).unwrap();
        let error = fails(&fake, external(json, false));
        assert!(matches!(error, Error::Vault(_)) && !conformance::shown(&error).contains("a.subject"), "{error}");
    }
    std::fs::write(&file, "another.subject.token").unwrap();
    let error = fails(&fake, external("", false));
    assert!(matches!(error, Error::Vault(_)) && !conformance::shown(&error).contains("another.subject"), "{error}");
    std::fs::write(&file, "a.subject.token").unwrap();
    fake.tell(r#"{"op":"state","impersonate":false}"#);
    assert!(is_denied(&fails(&fake, external("", true))));
}

/// A portal of a network answers anything that is asked without TLS.
#[test]
fn only_a_metadata_server_is_believed() {
    let Some(fake) = Fake::start() else { return };
    works(&fake, GoogleIdentity::machine(Some(&fake.address())), 1);
    let portal = Proxy::before(fake.port);
    portal.rule(|_| answer("200 OK", r#"{"access_token":"a","expires_in":3599}"#));
    let error = fails(&fake, GoogleIdentity::machine(Some(&format!("http://127.0.0.1:{}", portal.port))));
    assert!(matches!(error, Error::Vault(_)) && format!("{error:#}").contains("metadata server"), "{error:#}");
}

#[test]
fn a_program_gives_its_own_tokens() {
    let Some(fake) = Fake::start() else { return };
    let failing = GoogleIdentity::provider(|| Err(std::io::Error::other("no token today")));
    let error = fails(&fake, failing);
    assert!(matches!(error, Error::Vault(_)) && format!("{error:#}").contains("no token today"), "{error:#}");
}

/// A token ends in the middle: one more login, and one more request.
#[test]
fn a_token_that_ended_is_got_again_once() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let before = fake.logins();
    fake.tell(r#"{"op":"expire"}"#);
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(fake.logins() - before, 1);
    let proxy = Proxy::before(fake.port);
    let vault = GcpKms::new(&options(proxy.port)).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    let before = proxy.requests();
    proxy.rule(|head| match is_login(head) {
        true => Fate::Forward,
        false => answer("401 Unauthorized", r#"{"error":{"code":401,"message":"","status":"UNAUTHENTICATED"}}"#),
    });
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(proxy.requests() - before, 3);
}
