//! Certificates, and what else needs them.

use std::path::Path;

use atrest::{Error, KeyVault};
use atrest_http::{Hidden, base64};
use atrest_kms::{HttpOptions, TransitAuth, TransitOptions, TransitVault};

use crate::conformance::{self, dek};
use crate::peers::{peer, run, text};
use crate::proxy::{Fate, Proxy};
use crate::server::{Bao, ROOT, options};

/// Makes a certificate that signs itself, and its key. Returns both in PEM.
fn certificate(openssl: &str, folder: &Path, name: &str) -> (String, String) {
    let [key, certificate] = ["key", "pem"].map(|end| folder.join(format!("{name}.{end}")));
    let subject = format!("/CN={name}");
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let more = ["-subj", &subject, "-keyout", text(&key), "-out", text(&certificate)];
    run(openssl, &[&request[..], &more[..]].concat());
    (std::fs::read_to_string(certificate).unwrap(), std::fs::read_to_string(key).unwrap())
}

fn one_line(pem: &str) -> String {
    pem.replace('\n', "\\n")
}

#[test]
fn a_server_of_another_ca_is_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(bao) = Bao::start_tls(folder.path()) else { return };
    let within = |http: HttpOptions, deadline| {
        let options = TransitOptions::new(bao.address(), TransitAuth::token(ROOT)).http(http);
        TransitVault::new(&options.deadline(deadline)).unwrap()
    };
    let vault = |http| within(http, std::time::Duration::from_secs(20));
    let wrapped = vault(bao.http()).wrap("disks", &dek()).unwrap();
    assert_eq!(vault(bao.http()).unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    let (other, _) = certificate(&openssl, folder.path(), "other");
    for http in [HttpOptions::new(), HttpOptions::new().root_certificates(other)] {
        for (call, error) in
            conformance::failures(&within(http.clone(), std::time::Duration::from_millis(300)), &wrapped)
        {
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
            let shown = format!("{error:#}");
            assert!(shown.contains("trust the root of its certificate"), "{shown}");
        }
    }
}

#[test]
fn a_certificate_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(bao) = Bao::start_tls(folder.path()) else { return };
    let (certificate_of_host, key) = certificate(&openssl, folder.path(), "host");
    bao.policy("disks");
    bao.post("sys/auth/cert", r#"{"type":"cert"}"#);
    let role = format!(r#"{{"certificate":"{}","token_policies":"disks"}}"#, one_line(&certificate_of_host));
    bao.post("auth/cert/certs/host", &role);
    let vault = |role, (chain, key): (String, String)| {
        let http = bao.http().client_certificate(chain, Hidden::new(key));
        assert!(!format!("{http:?}").contains("PRIVATE KEY"));
        TransitVault::new(&TransitOptions::new(bao.address(), TransitAuth::certificate(role)).http(http)).unwrap()
    };
    let host = (certificate_of_host, key);
    let wrapped = vault(None, host.clone()).wrap("disks", &dek()).unwrap();
    assert!(vault(Some("host"), host.clone()).unwrap(&wrapped).unwrap().is_some());
    conformance::refuses(&vault(Some("nobody"), host), &wrapped, "access-denied");
    let other = certificate(&openssl, folder.path(), "other");
    conformance::refuses(&vault(None, other), &wrapped, "access-denied");
}

/// The server asks Kubernetes whether a token is good. Here, a proxy answers for Kubernetes.
#[test]
fn a_service_account_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(bao) = Bao::start() else { return };
    let kubernetes = Proxy::before(1);
    let review = |user: &str| {
        let status = format!(r#"{{"authenticated":true,"user":{{"username":"{user}","uid":"u","groups":["all"]}}}}"#);
        let body = format!(r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{status}}}"#);
        let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        Fate::Answer(format!("HTTP/1.1 201 Created\r\n{head}\r\nconnection: close\r\n\r\n{body}"))
    };
    let good = review("system:serviceaccount:vms:disks");
    kubernetes.rule(move |_| good.clone());
    let (ca, _) = certificate(&openssl, folder.path(), "ca");
    bao.policy("disks");
    bao.post("sys/auth/kubernetes", r#"{"type":"kubernetes"}"#);
    bao.post(
        "auth/kubernetes/config",
        &format!(
            r#"{{"kubernetes_host":"http://127.0.0.1:{}","kubernetes_ca_cert":"{}","token_reviewer_jwt":"a.b.c","disable_local_ca_jwt":true}}"#,
            kubernetes.port,
            one_line(&ca)
        ),
    );
    let role =
        r#"{"bound_service_account_names":"disks","bound_service_account_namespaces":"vms","token_policies":"disks"}"#;
    bao.post("auth/kubernetes/role/disks", role);
    let part = |json: &str| base64(json.as_bytes()).replace('+', "-").replace('/', "_").replace('=', "");
    let claims = r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"vms","kubernetes.io/serviceaccount/service-account.name":"disks","kubernetes.io/serviceaccount/service-account.uid":"u","sub":"system:serviceaccount:vms:disks"}"#;
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{}.{}.AAAA\n", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(claims))).unwrap();
    let vault =
        |role: &str| TransitVault::new(&options(&bao.address(), TransitAuth::kubernetes_file(role, &file))).unwrap();
    let wrapped = vault("disks").wrap("disks", &dek()).unwrap();
    assert!(vault("disks").unwrap(&wrapped).unwrap().is_some());
    conformance::refuses(&vault("tapes"), &wrapped, "access-denied");
    let other = review("system:serviceaccount:vms:tapes");
    kubernetes.rule(move |_| other.clone());
    let error = vault("disks").unwrap(&wrapped).unwrap_err();
    assert!(matches!(error, Error::KeyRefused { .. } | Error::Vault(_)), "{error:?}");
}
