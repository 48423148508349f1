//! Ways to log in.

use atrest::{Error, KeyRefusal, KeyVault};
use atrest_http::Method;
use atrest_kms::{TransitAuth, TransitVault};

use crate::conformance::{self, dek};
use crate::server::{Bao, ROOT, options};

fn vault(bao: &Bao, auth: TransitAuth) -> TransitVault {
    TransitVault::new(&options(&bao.address(), auth)).unwrap()
}

/// An AppRole whose tokens live so long.
fn app_role(bao: &Bao, ttl: &str, max: &str) -> TransitAuth {
    bao.policy("disks");
    if bao.ask(Method::Post, "auth/approle/role/host", "{}").0 == 404 {
        bao.post("sys/auth/approle", r#"{"type":"approle"}"#);
    }
    let role = format!(r#"{{"token_policies":"disks","token_ttl":"{ttl}","token_max_ttl":"{max}"}}"#);
    bao.post("auth/approle/role/host", &role);
    bao.post("auth/approle/role/host/role-id", r#"{"role_id":"the-role"}"#);
    bao.post("auth/approle/role/host/custom-secret-id", r#"{"secret_id":"the-secret-id"}"#);
    TransitAuth::app_role("the-role", "the-secret-id")
}

#[test]
fn tokens_with_the_least_rights_suffice_and_other_keys_are_denied() {
    let Some(bao) = Bao::start() else { return };
    bao.policy("disks");
    bao.post("transit/keys/others", "{}");
    let least = vault(&bao, TransitAuth::token(bao.token("disks", "")));
    let wrapped = least.wrap("disks", &dek()).unwrap();
    assert!(least.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(least.rewrap(&wrapped).unwrap().kek, wrapped.kek);
    let others = bao.vault().wrap("others", &dek()).unwrap();
    conformance::refuses(&least, &others, "access-denied");
}

#[test]
fn an_identity_that_only_decrypts_logs_in_once() {
    let Some(bao) = Bao::start() else { return };
    let wrapped = bao.vault().wrap("disks", &dek()).unwrap();
    let vault = vault(&bao, app_role(&bao, "1h", "1h"));
    bao.post(
        "sys/policies/acl/disks",
        r#"{"policy":"path \"transit/decrypt/disks\" { capabilities = [\"update\"] }"}"#,
    );
    let tokens = || bao.ask(Method::Get, "auth/token/accessors?list=true", "").1.matches('"').count();
    let mut after = Vec::new();
    for _ in 0..5 {
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        after.push(tokens());
    }
    assert!(after.iter().all(|count| *count == after[0]), "{after:?}");
}

#[test]
fn a_token_that_was_revoked_is_denied_and_not_shown() {
    let Some(bao) = Bao::start() else { return };
    let token = bao.token("root", "");
    let vault = vault(&bao, TransitAuth::token(&token));
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    bao.post("auth/token/revoke", &format!(r#"{{"token":"{token}"}}"#));
    conformance::refuses(&vault, &wrapped, "access-denied");
    for (_, error) in conformance::failures(&vault, &wrapped) {
        assert!(!conformance::shown(&error).contains(&token));
    }
    assert!(!format!("{vault:?} {:?}", options("https://a.example", TransitAuth::token(&token))).contains(&token));
}

#[test]
fn a_token_file_is_read_again_when_its_token_is_refused() {
    let Some(bao) = Bao::start() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = bao.token("root", "");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let vault = vault(&bao, TransitAuth::token_file(file.path()));
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    bao.post("auth/token/revoke", &format!(r#"{{"token":"{token}"}}"#));
    std::fs::write(&file, ROOT).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
}

#[test]
fn an_app_role_logs_in_again_once_when_its_token_is_revoked() {
    let Some(bao) = Bao::start() else { return };
    let vault = vault(&bao, app_role(&bao, "1h", "1h"));
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let accessors = bao.ask(Method::Get, "auth/token/accessors?list=true", "").1;
    bao.post("sys/leases/revoke-prefix/auth/approle", "{}");
    assert_ne!(bao.ask(Method::Get, "auth/token/accessors?list=true", "").1, accessors);
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    // The owner takes the rights away: a new login doesn't help.
    assert_eq!(bao.ask(Method::Delete, "sys/policies/acl/disks", "").0, 204);
    conformance::refuses(&vault, &wrapped, "access-denied");
    bao.policy("disks");
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    // The owner takes the role away.
    bao.post("sys/leases/revoke-prefix/auth/approle", "{}");
    assert_eq!(bao.ask(Method::Delete, "auth/approle/role/host", "").0, 204);
    conformance::refuses(&vault, &wrapped, "access-denied");
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(error.to_string().contains("AppRole the-role") && !error.to_string().contains("the-secret-id"), "{error}");
}

#[test]
fn tokens_are_renewed_and_replaced_before_they_end() {
    let Some(bao) = Bao::start() else { return };
    let vault = vault(&bao, app_role(&bao, "2s", "4s"));
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let start = std::time::Instant::now();
    // Beyond the end of two tokens' lives, by whatever the machine takes.
    while start.elapsed() < std::time::Duration::from_secs(9) {
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_login_that_cannot_be_is_an_outage() {
    let Some(bao) = Bao::start() else { return };
    let wrapped = bao.vault().wrap("disks", &dek()).unwrap();
    // The server says the same of a method that isn't there and of a caller who may not: permission denied.
    conformance::refuses(&vault(&bao, TransitAuth::app_role("role", "secret-id")), &wrapped, "access-denied");
    for auth in
        [TransitAuth::token_file("/nonexistent/token"), TransitAuth::kubernetes_file("role", "/nonexistent/token")]
    {
        for (call, error) in conformance::failures(&vault(&bao, auth), &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
        }
    }
}

#[test]
fn denials_name_who_was_denied_what() {
    let Some(bao) = Bao::start() else { return };
    let wrapped = bao.vault().wrap("disks", &dek()).unwrap();
    let vault = vault(&bao, app_role(&bao, "1h", "1h"));
    bao.post("sys/policies/acl/disks", r#"{"policy":"path \"transit/keys/disks\" { capabilities = [\"read\"] }"}"#);
    let denied = |error: Error| match error {
        Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity, operation }, .. } => (identity, operation),
        other => panic!("{other:?}"),
    };
    assert_eq!(denied(vault.unwrap(&wrapped).unwrap_err()), ("AppRole the-role".into(), "unwrapKey".into()));
    assert_eq!(denied(vault.wrap("disks", &dek()).unwrap_err()), ("AppRole the-role".into(), "wrapKey".into()));
    assert!(vault.describe("disks", None).unwrap().is_some());
}
