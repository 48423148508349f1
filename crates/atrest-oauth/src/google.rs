//! [`GoogleIdentity`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use atrest_http::{
    Client, Deadline, Environment, Hidden, HttpOptions, Method, Request, Response, check_address, invalid, is_loopback,
    read_secret, told,
};
use rustls::SignatureScheme;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exchange::{LONGEST_ANSWER, form, get, granted, own, post, refusal, unexpected};
use crate::jwt::{Signer, now};
use crate::tokens::{Granted, Source, TokenError, Tokens};

/// The metadata server of a virtual machine.
const METADATA: &str = "http://metadata.google.internal";

/// How long an assertion and an impersonation's token are good, in seconds: the longest that Google takes.
const LIFE: u64 = 3600;

/// The scope for impersonating a service account, as Google's own library requests it.
const IAM: &str = "https://www.googleapis.com/auth/iam";

type Provider = dyn Fn() -> io::Result<Hidden> + Send + Sync;

/// An identity of Google Cloud that gets tokens for itself. Its roles decide its permissions.
///
/// Files with credentials name addresses. Secrets and tokens go only to those below `googleapis.com`, and to this machine.
#[derive(Clone)]
pub struct GoogleIdentity(Way);

#[derive(Clone)]
enum Way {
    Account { email: String, key_id: Option<String>, signer: Signer, url: String },
    User { client: String, secret: Hidden, refresh: Hidden, url: String },
    External(Arc<External>),
    Machine { endpoint: String, account: String },
    Provider(Arc<Provider>),
}

/// A token of another issuer in a file, which Google's token service exchanges.
struct External {
    audience: String,
    kind: String,
    url: String,
    file: PathBuf,
    /// The name of the token in a file of JSON.
    field: Option<String>,
    impersonated: Option<String>,
}

/// A file with credentials.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<Wiped>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Wiped>,
    refresh_token: Option<Wiped>,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    credential_source: Option<FileSource>,
    service_account_impersonation_url: Option<String>,
}

/// A text that is wiped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Wiped(Hidden);

impl From<String> for Wiped {
    fn from(text: String) -> Self {
        Wiped(Hidden::new(text))
    }
}

#[derive(Deserialize)]
struct FileSource {
    file: Option<PathBuf>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

impl GoogleIdentity {
    /// Credentials in JSON, as Google's console and `gcloud` write them: a service account with its key, a user
    /// (`authorized_user`), or an external account with a token in a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for other credentials, and for addresses that aren't Google's.
    pub fn from_json(json: &Hidden) -> io::Result<Self> {
        let why = || invalid("the credentials aren't JSON with a type that is known");
        let file: File = serde_json::from_str(json.expose()).map_err(|_| why())?;
        match file.kind.as_str() {
            "service_account" => {
                let why = || invalid("a service account's credentials have client_email, private_key and token_uri");
                let Wiped(key) = file.private_key.ok_or_else(why)?;
                let signer = Signer::new(key.expose(), SignatureScheme::RSA_PKCS1_SHA256)?;
                let (email, url) = (file.client_email.ok_or_else(why)?, file.token_uri.ok_or_else(why)?);
                check_google(&url)?;
                Ok(GoogleIdentity(Way::Account { email, key_id: file.private_key_id, signer, url }))
            }
            "authorized_user" => {
                let why = || invalid("a user's credentials have client_id, client_secret and refresh_token");
                let Wiped(secret) = file.client_secret.ok_or_else(why)?;
                let Wiped(refresh) = file.refresh_token.ok_or_else(why)?;
                let url = file.token_uri.unwrap_or_else(|| "https://oauth2.googleapis.com/token".into());
                check_google(&url)?;
                Ok(GoogleIdentity(Way::User { client: file.client_id.ok_or_else(why)?, secret, refresh, url }))
            }
            "external_account" => external(file).map(|external| GoogleIdentity(Way::External(Arc::new(external)))),
            _ => Err(why()),
        }
    }

    /// Credentials in a file, as [`from_json`](Self::from_json).
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and those of reading.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        Self::from_json(&read_secret(path)?).map_err(named)
    }

    /// The service account of this virtual machine, pod or Cloud Run service: by its metadata server, at
    /// `http://metadata.google.internal` unless it is elsewhere, such as `http://127.0.0.1:8080`.
    pub fn machine(endpoint: Option<&str>) -> Self {
        let endpoint = endpoint.unwrap_or(METADATA).trim_end_matches('/').to_owned();
        GoogleIdentity(Way::Machine { endpoint, account: "default".into() })
    }

    /// A function that returns a token which is valid now, for the service that is used. It is called for each request, by many
    /// threads; it keeps the token until shortly before it expires, and then gets another.
    pub fn provider(token: impl Fn() -> io::Result<Hidden> + Send + Sync + 'static) -> Self {
        GoogleIdentity(Way::Provider(Arc::new(token)))
    }

    /// The first available of these, as in Google's libraries: the file of `GOOGLE_APPLICATION_CREDENTIALS`; the file
    /// `application_default_credentials.json` in `CLOUDSDK_CONFIG` or `~/.config/gcloud`; the metadata server, whose host
    /// `GCE_METADATA_HOST` can replace.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_environment() -> io::Result<Self> {
        Self::from_variables(&Environment::process())
    }

    /// As [`from_environment`](Self::from_environment), with variables that the caller gives.
    ///
    /// # Errors
    /// As there; errors of the caller's function.
    pub fn from_variables(of: &Environment) -> io::Result<Self> {
        if let Some(file) = of.get("GOOGLE_APPLICATION_CREDENTIALS")? {
            return Self::from_file(file);
        }
        let folder = match of.get("CLOUDSDK_CONFIG")? {
            Some(folder) => Some(PathBuf::from(folder)),
            None => of.get("HOME")?.map(|home| Path::new(&home).join(".config/gcloud")),
        };
        let file = folder.map(|folder| folder.join("application_default_credentials.json"));
        if let Some(file) = file.filter(|file| file.is_file()) {
            return Self::from_file(file);
        }
        let host = of.get("GCE_METADATA_HOST")?.map(|host| format!("http://{host}"));
        Ok(Self::machine(host.as_deref()))
    }

    /// Its tokens for a scope, such as `https://www.googleapis.com/auth/cloudkms`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an invalid address of a metadata server, and for options of HTTP that aren't well formed.
    pub fn tokens(&self, scope: &str, http: &HttpOptions) -> io::Result<Tokens> {
        let mut http = http.clone();
        if let Way::Machine { endpoint, .. } = &self.0 {
            // Its tokens come without TLS.
            http = http.without_proxy();
            let host = endpoint.strip_prefix("http://").unwrap_or_default();
            let known = ["metadata.google.internal", "169.254.169.254"].contains(&host);
            if !known && check_address(endpoint).is_err() {
                return Err(invalid("a metadata server is at http://metadata.google.internal, or at this machine"));
            }
        }
        let source = GoogleSource { identity: self.clone(), scope: scope.to_owned() };
        Ok(Tokens::new(Arc::new(source), Client::new(&http)?))
    }

    /// A name of the identity, for errors: never a secret.
    pub fn name(&self) -> String {
        match &self.0 {
            Way::Account { email, .. } => format!("the service account {email}"),
            Way::User { client, .. } => format!("the user of the client {client}"),
            Way::External(external) => format!("the holder of the token in {}", external.file.display()),
            Way::Machine { account, .. } => format!("the {account} service account of this machine"),
            Way::Provider(_) => "the holder of the program's token".into(),
        }
    }
}

impl fmt::Debug for GoogleIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleIdentity({})", self.name())
    }
}

fn external(file: File) -> io::Result<External> {
    let why = || {
        invalid("an external account's credentials have audience, subject_token_type, token_url, and a file as source")
    };
    let source = file.credential_source.ok_or_else(why)?;
    let format = source.format.unwrap_or(Format { kind: None, subject_token_field_name: None });
    let field = match (format.kind.as_deref(), format.subject_token_field_name) {
        (None | Some("text"), _) => None,
        (Some("json"), Some(field)) => Some(field),
        _ => return Err(why()),
    };
    let url = file.token_url.ok_or_else(why)?;
    check_google(&url)?;
    if let Some(url) = &file.service_account_impersonation_url {
        check_google(url)?;
    }
    Ok(External {
        audience: file.audience.ok_or_else(why)?,
        kind: file.subject_token_type.ok_or_else(why)?,
        url,
        file: source.file.ok_or_else(why)?,
        field,
        impersonated: file.service_account_impersonation_url,
    })
}

/// An identity, and the scope its tokens are for.
struct GoogleSource {
    identity: GoogleIdentity,
    scope: String,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

#[derive(Serialize)]
struct Impersonate<'a> {
    scope: [&'a str; 1],
    lifetime: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated<'a> {
    #[serde(borrow)]
    access_token: std::borrow::Cow<'a, str>,
}

impl Source for GoogleSource {
    fn name(&self) -> String {
        self.identity.name()
    }

    fn get(&self, client: &Client, deadline: Deadline) -> Result<Granted, TokenError> {
        match &self.identity.0 {
            // "Using OAuth 2.0 for server to server applications".
            Way::Account { email, key_id, signer, url } => {
                let header = Header { alg: "RS256", typ: "JWT", kid: key_id.as_deref() };
                let now = now();
                let claims = Claims { iss: email, scope: &self.scope, aud: url, iat: now, exp: now + LIFE };
                let assertion = signer.sign(&header, &claims).map_err(own)?;
                let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let pairs = [("grant_type", kind), ("assertion", assertion.expose())];
                self.granted(post(client, deadline, url, &form(&pairs)?)?, &[assertion.expose()])
            }
            Way::User { client: id, secret, refresh, url } => {
                let pairs = [
                    ("grant_type", "refresh_token"),
                    ("client_id", id),
                    ("client_secret", secret.expose()),
                    ("refresh_token", refresh.expose()),
                ];
                let answer = post(client, deadline, url, &form(&pairs)?)?;
                self.granted(answer, &[secret.expose(), refresh.expose()])
            }
            Way::External(external) => self.external(client, deadline, external),
            Way::Machine { endpoint, account } => {
                let url = format!("{endpoint}/computeMetadata/v1/instance/service-accounts/{account}/token");
                let answer = get(client, deadline, &url, ("metadata-flavor", "Google"), &[])?;
                // A server between, such as a network's captive portal, doesn't send it.
                if answer.header("metadata-flavor") != Some("Google") {
                    return Err(TokenError::failed(format!("{} isn't a metadata server of Google", answer.what())));
                }
                match answer.status {
                    200 => granted(answer),
                    _ => Err(unexpected(&answer, &[], "; give this machine a service account")),
                }
            }
            Way::Provider(provider) => Ok(Granted { token: provider().map_err(own)?, life: None }),
        }
    }
}

impl GoogleSource {
    fn granted(&self, answer: Response, secrets: &[&str]) -> Result<Granted, TokenError> {
        if answer.status == 200 {
            return granted(answer);
        }
        let Some(refused) = refusal(&answer) else { return Err(unexpected(&answer, secrets, "")) };
        let says = |words: &str| refused.error_description.contains(words);
        // Not that an assertion is early or late, which is the clock of this machine.
        let gone = says("account not found") || says("JWT Signature") || says("expired or revoked");
        let denied = matches!(refused.error.as_str(), "deleted_client" | "disabled_client" | "unauthorized_client");
        if denied || (refused.error == "invalid_grant" && gone) {
            let why = told(&format!("{} {}", refused.error, refused.error_description), secrets);
            return Err(TokenError::Denied(format!("{}: {why}", self.identity.name())));
        }
        let hint = if says("timeframe") { "; look at this machine's clock" } else { "" };
        Err(unexpected(&answer, secrets, hint))
    }

    /// The exchange of RFC 8693, and then perhaps the token of a service account.
    fn external(&self, client: &Client, deadline: Deadline, external: &External) -> Result<Granted, TokenError> {
        let subject = read_secret(&external.file).map_err(own)?;
        let subject = match &external.field {
            Some(field) => self.field(&subject, field, &external.file)?,
            None => subject,
        };
        let scope = if external.impersonated.is_some() { IAM } else { &self.scope };
        let pairs = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &external.audience),
            ("scope", scope),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", subject.expose()),
            ("subject_token_type", &external.kind),
        ];
        let answer = post(client, deadline, &external.url, &form(&pairs)?)?;
        let exchanged = self.granted(answer, &[subject.expose()])?;
        let Some(url) = &external.impersonated else { return Ok(exchanged) };
        let body = Impersonate { scope: [&self.scope], lifetime: format!("{LIFE}s") };
        let body = serde_json::to_vec(&body).map_err(|e| own(e.into()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", exchanged.token.expose()));
        let request = || {
            let request = Request::new(Method::Post, url, LONGEST_ANSWER).header("content-type", "application/json");
            Ok(request.header("authorization", bearer.as_str()).body(&body))
        };
        let answer = client.call(deadline, request).answer.map_err(|e| TokenError::Failed(e.into()))?;
        let (status, what, body) = (answer.status, answer.what().to_owned(), Zeroizing::new(answer.body));
        match status {
            200 => {
                let found: Impersonated<'_> = serde_json::from_slice(&body)
                    .map_err(|_| TokenError::failed(format!("the answer of {what} is no token")))?;
                // Only a date gives its end, and this machine's clock may be wrong. Its life is the requested one.
                let life = Some(Duration::from_secs(LIFE));
                Granted::new(found.access_token.into_owned(), life, &what)
            }
            403 if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() => {
                Err(TokenError::Denied(format!("{}, who may not act as its service account", self.identity.name())))
            }
            _ => Err(TokenError::failed(format!("{what} was answered by {status}"))),
        }
    }

    /// A field of a file of JSON.
    fn field(&self, json: &Hidden, name: &str, file: &Path) -> Result<Hidden, TokenError> {
        let found: serde_json::Result<std::collections::BTreeMap<String, serde_json::Value>> =
            serde_json::from_str(json.expose());
        let text = found.ok().and_then(|mut found| match found.remove(name) {
            Some(serde_json::Value::String(text)) => Some(Hidden::new(text)),
            _ => None,
        });
        text.ok_or_else(|| TokenError::failed(format!("{} has no text {name:?}", file.display())))
    }
}

/// Checks that an address is Google's, or this machine's.
fn check_google(url: &str) -> io::Result<()> {
    let why = || invalid("the addresses in credentials are https:// below googleapis.com, or http:// to this machine");
    let (scheme, rest) = url.split_once("://").ok_or_else(why)?;
    let host = rest.split('/').next().unwrap_or_default();
    let sound = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]/@%".contains(&b)) && !host.contains('@');
    let google = host.strip_suffix(".googleapis.com").is_some_and(|name| !name.is_empty() && !name.contains(':'));
    if sound && ((scheme == "https" && (google || is_loopback(host))) || (scheme == "http" && is_loopback(host))) {
        return Ok(());
    }
    Err(why())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_google_alone() {
        for good in [
            "https://oauth2.googleapis.com/token",
            "https://sts.googleapis.com/v1/token",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.example:generateAccessToken",
            "http://127.0.0.1:8080/token",
        ] {
            check_google(good).unwrap();
        }
        for bad in [
            "https://evil.example/token",
            "https://googleapis.com.evil.example/",
            "https://evilgoogleapis.com/",
            "https://sts.googleapis.com@evil.example/",
            "https://sts.googleapis.com:x@evil.example/",
            "http://sts.googleapis.com/",
            "sts.googleapis.com",
            "",
        ] {
            assert!(check_google(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_that_are_not_whole_are_refused_and_not_shown() {
        for json in [
            "SECRET",
            r#"{"type":"SECRET"}"#,
            r#"{"type":"service_account","client_email":"a","private_key":"SECRET","token_uri":"https://oauth2.googleapis.com/token"}"#,
            r#"{"type":"authorized_user","client_id":"a","client_secret":"SECRET"}"#,
            r#"{"type":"authorized_user","client_id":"a","client_secret":"SECRET","refresh_token":"b","token_uri":"https://evil.example"}"#,
            r#"{"type":"external_account","audience":"SECRET","credential_source":{"url":"http://x"}}"#,
        ] {
            let error = GoogleIdentity::from_json(&Hidden::new(json)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
        let user = r#"{"type":"authorized_user","client_id":"a","client_secret":"SECRET","refresh_token":"SECRET"}"#;
        let user = GoogleIdentity::from_json(&Hidden::new(user)).unwrap();
        assert_eq!(format!("{user:?}"), "GoogleIdentity(the user of the client a)");
        for bad in ["http://10.0.0.1", "http://metadata.google.internal.evil.example", "x"] {
            assert!(GoogleIdentity::machine(Some(bad)).tokens("s", &HttpOptions::new()).is_err(), "{bad}");
        }
        GoogleIdentity::machine(None).tokens("s", &HttpOptions::new()).unwrap();
    }
}
