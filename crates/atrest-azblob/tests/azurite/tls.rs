//! TLS, and the bearer tokens that Azurite takes only by it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atrest::BlockDevice;
use atrest_azblob::{Credential, PageBlobBackend, PageBlobOptions};
use atrest_http::{Hidden, HttpOptions, base64};

use crate::peers::{peer, text};
use crate::server::{ACCOUNT, Azurite, credential};

/// A root of trust with a server's certificate. By OpenSSL.
fn certificates(folder: &Path) {
    let openssl = |args: &[&str]| {
        let done = std::process::Command::new("openssl").args(args).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let new_key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    openssl(&[&new_key[..], &["-subj", "/CN=root", "-keyout", "ca.key", "-out", "ca.pem"]].concat());
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"];
    let to = ["-subj", "/CN=server", "-keyout", "server.key", "-out", "server.pem"];
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    openssl(&[&new_key[..], &signed, &leaf, &to].concat());
}

/// A token as Entra ID issues them. Azurite looks at all but its signature.
fn token(valid: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let encode = |json: String| base64(json.as_bytes()).replace('+', "-").replace('/', "_").replace('=', "");
    let header = encode("{\"typ\":\"JWT\",\"alg\":\"RS256\"}".into());
    let payload = encode(format!(
        "{{\"aud\":\"https://storage.azure.com\",\"iss\":\"https://sts.windows.net/tenant/\",\"nbf\":{},\"iat\":{},\"exp\":{}}}",
        now - 600,
        now - 600,
        (now - 300) + valid.as_secs()
    ));
    format!("{header}.{payload}.c2lnbmF0dXJl")
}

#[test]
fn tls_with_a_root_of_ones_own_and_bearer_tokens() {
    let Some(_) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let root = std::fs::read(path("ca.pem")).unwrap();
    let more = ["--oauth", "basic", "--cert", &path("server.pem"), "--key", &path("server.key")];
    let Some(azurite) = Azurite::start_with(&more, Some(root.clone())) else { return };
    let url = format!("azblob:https://127.0.0.1:{}/{ACCOUNT}/disks", azurite.port);
    let with = |credential, roots: Option<&[u8]>| {
        let http = match roots {
            Some(roots) => HttpOptions::new().root_certificates(roots),
            None => HttpOptions::new(),
        };
        PageBlobBackend::new(&url, PageBlobOptions::new(credential).http(http).deadline(Duration::from_secs(5)))
            .unwrap()
    };
    let device = with(credential(), Some(&root)).create_blob("tls", 1 << 20).unwrap();
    device.write_at(0, &[4; 4096]).unwrap();
    drop(device);

    let valid = Credential::bearer(|| Ok(Hidden::new(token(Duration::from_secs(3600)))));
    let device = with(valid, Some(&root)).open_blob("tls").unwrap();
    let mut found = vec![0; 4096];
    device.read_at(0, &mut found).unwrap();
    assert_eq!(found, [4; 4096]);
    device.write_at(0, &[5; 512]).unwrap();
    drop(device);
    let expired = Credential::bearer(|| Ok(Hidden::new(token(Duration::ZERO))));
    let error = with(expired, Some(&root)).open_blob("tls").err().unwrap();
    assert!(format!("{error:#}").contains("403") || format!("{error:#}").contains("401"), "{error:#}");

    // A server whose certificate nobody vouches for gets no request.
    let error = with(credential(), None).open_blob("tls").err().unwrap();
    assert!(format!("{error:#}").contains("trust the root"), "{error:#}");
    let bad = HttpOptions::new().root_certificates("no certificate");
    assert!(PageBlobBackend::new(&url, PageBlobOptions::new(credential()).http(bad)).is_err());
}
