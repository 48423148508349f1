//! Sources of access keys: STS of moto, and fake metadata services.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::{Error, KeyVault};
use atrest_kms::{AccessKey, AwsCredentials, AwsKms, AwsOptions, Hidden};

use crate::conformance::{self, dek};
use crate::proxy::{Fate, Proxy};
use crate::server::{Moto, answer, error};

/// The ids of the access keys that sign requests to KMS.
type Seen = Arc<Mutex<Vec<String>>>;

fn watched(moto: &Moto) -> (Proxy, Seen) {
    let (proxy, seen) = (Proxy::before(moto.port), Seen::default());
    let keep = seen.clone();
    proxy.rule(move |head| {
        let signed = head.header("authorization").unwrap();
        keep.lock().unwrap().push(signed.split(['=', '/']).nth(1).unwrap().to_owned());
        Fate::Forward
    });
    (proxy, seen)
}

fn vault(port: u16, credentials: AwsCredentials) -> AwsKms {
    let mut with = atrest_kms::AwsOptions::new("us-east-1", credentials).endpoint(format!("http://127.0.0.1:{port}"));
    with = with.deadline(std::time::Duration::from_secs(5));
    AwsKms::new(&with).unwrap()
}

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"AKROLE","SecretAccessKey":"s","Token":"t","Expiration":"2100-01-01T00:00:00Z"}"#;

#[test]
fn a_web_identity_logs_in_at_sts() {
    let Some(moto) = Moto::start() else { return };
    let (proxy, seen) = watched(&moto);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "a.web.token\n").unwrap();
    let sts = format!("http://127.0.0.1:{}", moto.port);
    let role = "arn:aws:iam::123456789012:role/disks";
    let vault = vault(proxy.port, AwsCredentials::web_identity(role, file.path(), Some(&sts)));
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 2 && seen[0].starts_with("ASIA") && seen[0] == seen[1], "{seen:?}");
}

#[test]
fn a_role_that_sts_denies_is_denied_and_a_silent_sts_is_an_outage() {
    let Some(moto) = Moto::start() else { return };
    let wrapped = moto.vault().wrap("disks", &dek()).unwrap();
    let sts = Proxy::before(moto.port);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "a.web.token").unwrap();
    let url = format!("http://127.0.0.1:{}", sts.port);
    let vault = vault(moto.port, AwsCredentials::web_identity("role", file.path(), Some(&url)));
    sts.rule(|_| answer("403 Forbidden", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"));
    conformance::refuses(&vault, &wrapped, "access-denied");
    let expired = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>a.web.token</Message></Error></ErrorResponse>";
    sts.rule(move |_| answer("400 Bad Request", expired));
    let error = vault.unwrap(&wrapped).unwrap_err();
    let shown = conformance::shown(&error);
    assert!(
        matches!(error, Error::Vault(_)) && shown.contains("ExpiredToken") && !shown.contains("a.web.token"),
        "{shown}"
    );
}

#[test]
fn an_instance_has_a_role() {
    let Some(moto) = Moto::start() else { return };
    let (proxy, seen) = watched(&moto);
    let metadata = Proxy::before(moto.port);
    metadata.rule(|head| {
        let with_token = head.header("x-aws-ec2-metadata-token") == Some("metadata-token");
        match (&head.method[..], &head.target[..]) {
            ("PUT", "/latest/api/token") => answer("200 OK", "metadata-token"),
            ("GET", "/latest/meta-data/iam/security-credentials/") if with_token => answer("200 OK", "disks\n"),
            ("GET", "/latest/meta-data/iam/security-credentials/disks") if with_token => answer("200 OK", KEYS),
            _ => answer("401 Unauthorized", ""),
        }
    });
    let url = format!("http://127.0.0.1:{}", metadata.port);
    let vault = vault(proxy.port, AwsCredentials::instance(Some(&url)));
    vault.describe("disks", None).unwrap();
    vault.describe("disks", None).unwrap();
    assert_eq!((&seen.lock().unwrap()[..], metadata.requests()), (&["AKROLE".to_owned(), "AKROLE".into()][..], 3));
}

/// Runs itself again with a proxy that isn't there. What comes without TLS would show its keys to a proxy.
#[test]
fn metadata_is_asked_without_the_proxy_of_the_environment() {
    const INNER: &str = "ATREST_TEST_AWS_METADATA";
    if let Ok(url) = std::env::var(INNER) {
        for source in [AwsCredentials::instance(Some(&url)), AwsCredentials::container(format!("{url}/keys"), None)] {
            let options = AwsOptions::new("us-east-1", source).endpoint("http://127.0.0.1:1");
            let vault = AwsKms::new(&options.deadline(Duration::from_secs(1))).unwrap();
            vault.describe("disks", None).unwrap_err();
        }
        return;
    }
    let metadata = Proxy::before(1);
    metadata.rule(|head| match (&head.method[..], &head.target[..]) {
        ("PUT", "/latest/api/token") => answer("200 OK", "metadata-token"),
        ("GET", "/latest/meta-data/iam/security-credentials/") => answer("200 OK", "disks\n"),
        ("GET", _) => answer("200 OK", KEYS),
        _ => answer("401 Unauthorized", ""),
    });
    let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", "credentials::metadata_is_asked_without_the_proxy_of_the_environment"]);
    inner.env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy"] {
        inner.env(name, "http://127.0.0.1:1");
    }
    let inner = inner.env(INNER, format!("http://127.0.0.1:{}", metadata.port)).output().unwrap();
    assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stdout));
    assert_eq!(metadata.requests(), 4);
}

#[test]
fn a_container_shows_its_token() {
    let Some(moto) = Moto::start() else { return };
    let (proxy, seen) = watched(&moto);
    let metadata = Proxy::before(moto.port);
    metadata.rule(|head| match head.header("authorization") {
        Some("container-token") => answer("200 OK", KEYS),
        _ => answer("401 Unauthorized", ""),
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "container-token").unwrap();
    let url = format!("http://127.0.0.1:{}/v1/credentials", metadata.port);
    vault(proxy.port, AwsCredentials::container(&url, Some(file.path()))).describe("disks", None).unwrap();
    assert_eq!(&seen.lock().unwrap()[..], ["AKROLE"]);
    let without = vault(proxy.port, AwsCredentials::container(&url, None)).describe("disks", None);
    assert!(matches!(without, Err(Error::Vault(_))), "{without:?}");
}

#[test]
fn a_profile_is_read_again_when_its_key_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let file = tempfile::NamedTempFile::new().unwrap();
    let write =
        |id| std::fs::write(&file, format!("[fleet]\naws_access_key_id={id}\naws_secret_access_key=s\n")).unwrap();
    write("AKOLD");
    let vault = vault(proxy.port, AwsCredentials::profile(file.path(), "fleet"));
    vault.describe("disks", None).unwrap();
    proxy.rule(|head| match head.header("authorization").unwrap().contains("AKOLD") {
        true => error("UnrecognizedClientException", "The security token included in the request is invalid."),
        false => Fate::Forward,
    });
    assert!(matches!(vault.describe("disks", None), Err(Error::KeyRefused { .. })));
    write("AKNEW");
    vault.describe("disks", None).unwrap();
}

/// The keys of one profile assume the role of another, and those that it gets that of a third: moto's STS gives temporary keys.
#[test]
fn a_profile_assumes_a_role_by_the_keys_of_another() {
    let Some(moto) = Moto::start() else { return };
    let ((proxy, seen), (sts, asked)) = (watched(&moto), watched(&moto));
    let folder = tempfile::tempdir().unwrap();
    let [credentials, config] = ["credentials", "config"].map(|name| folder.path().join(name));
    std::fs::write(&credentials, "[base]\naws_access_key_id=AKBASE\naws_secret_access_key=s\n").unwrap();
    let role = |name, source| {
        format!(
            "[profile {name}]\nrole_arn = arn:aws:iam::123456789012:role/{name}\nsource_profile = {source}\nregion = here\n"
        )
    };
    let text =
        [role("disks", "base"), role("far", "disks"), role("one", "two"), role("two", "one"), role("self", "self")];
    std::fs::write(&config, text.concat()).unwrap();
    let files = [credentials, config];
    let endpoint = format!("http://127.0.0.1:{}", sts.port);
    let of = |name| vault(proxy.port, AwsCredentials::profile_of(&files, name, Some(&endpoint)));
    sts.record();
    let disks = of("disks");
    let wrapped = disks.wrap("disks", &dek()).unwrap();
    assert!(disks.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(&asked.lock().unwrap()[..], ["AKBASE"], "the role is assumed once");
    let sent = String::from_utf8_lossy(&sts.recorded()).into_owned();
    assert!(sent.contains("/us-east-1/sts/aws4_request"));
    assert!(sent.contains("Action=AssumeRole&Version=2011-06-15&RoleSessionName=atrest&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdisks"));
    assert!(of("far").unwrap(&wrapped).unwrap().is_some());
    {
        let (seen, asked) = (seen.lock().unwrap(), asked.lock().unwrap());
        assert!(seen.iter().all(|id| id.starts_with("ASIA")), "{seen:?}");
        assert!(asked[1] == "AKBASE" && asked[2].starts_with("ASIA") && asked.len() == 3, "{asked:?}");
    }
    for (name, words) in
        [("one", "more than 5 roles"), ("self", "no aws_access_key_id"), ("nobody", "no aws_access_key_id")]
    {
        let error = of(name).describe("disks", None).unwrap_err();
        let shown = conformance::shown(&error);
        assert!(matches!(error, Error::Vault(_)) && shown.contains(words), "{shown}");
    }
    // STS says no: that is no outage.
    sts.rule(|_| answer("403 Forbidden", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"));
    conformance::refuses(&of("disks"), &wrapped, "access-denied");
}

#[test]
fn a_profile_that_logs_in_otherwise_is_told_what_to_do_instead() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\nsso_session = fleet\nsso_account_id = 1\nregion = us-east-1\n").unwrap();
    let (no_credentials, config) =
        (folder.path().join("credentials").display().to_string(), config.display().to_string());
    let given = |no_default: bool| {
        let (credentials, config) = (no_credentials.clone(), config.clone());
        atrest_kms::Environment::with(move |name| {
            Ok(match name {
                "AWS_SHARED_CREDENTIALS_FILE" => Some(Hidden::new(credentials.clone())),
                "AWS_CONFIG_FILE" if no_default => Some(Hidden::new(credentials.clone())),
                "AWS_CONFIG_FILE" => Some(Hidden::new(config.clone())),
                "AWS_EC2_METADATA_SERVICE_ENDPOINT" => Some(Hidden::new("http://127.0.0.1:1")),
                _ => Some(Hidden::new("")),
            })
        })
    };
    // It was taken for none, and the instance's metadata were asked until the deadline.
    let found = AwsCredentials::from_variables(&given(false)).unwrap();
    let error = vault(1, found).describe("disks", None).unwrap_err();
    let shown = conformance::shown(&error);
    assert!(
        shown.contains("logs in by SSO") && shown.contains("aws configure export-credentials --profile default"),
        "{shown}"
    );
    let other = format!("{:?}", AwsCredentials::from_variables(&given(true)).unwrap());
    assert!(other.contains("the instance"), "{other}");
}

#[test]
fn keys_that_have_ended_are_got_again() {
    let Some(moto) = Moto::start() else { return };
    let (proxy, seen) = watched(&moto);
    let metadata = Proxy::before(moto.port);
    // It ended long ago: each call gets another.
    metadata.rule(|_| answer("200 OK", &KEYS.replace("2100", "2001")));
    let url = format!("http://127.0.0.1:{}/", metadata.port);
    let ended = vault(proxy.port, AwsCredentials::container(&url, None));
    ended.describe("disks", None).unwrap();
    ended.describe("disks", None).unwrap();
    assert_eq!((metadata.requests(), seen.lock().unwrap().len()), (2, 2));
    metadata.rule(|_| answer("401 Unauthorized", ""));
    assert!(matches!(ended.describe("disks", None), Err(Error::Vault(_))));
}

#[test]
fn a_provider_is_asked_for_each_request() {
    let Some(moto) = Moto::start() else { return };
    let (proxy, seen) = watched(&moto);
    let count = Mutex::new(0);
    let provider = AwsCredentials::provider(move || {
        *count.lock().unwrap() += 1;
        Ok(AccessKey::new(format!("AK{}", count.lock().unwrap()), Hidden::new("s")))
    });
    let vault = vault(proxy.port, provider);
    vault.describe("disks", None).unwrap();
    vault.describe("disks", None).unwrap();
    assert_eq!(&seen.lock().unwrap()[..], ["AK1", "AK2"]);
}
