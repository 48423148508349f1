//! [`AzureIdentity`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use atrest_http::{
    Client, Deadline, Environment, Hidden, HttpOptions, Response, base64url, check_address, encode_query, invalid,
    is_loopback, read_secret, sha256, told,
};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use crate::exchange::{form, get, granted, own, post, refusal, unexpected};
use crate::jwt::{Signer, now};
use crate::tokens::{Granted, Source, TokenError, Tokens};

/// Entra ID of Azure's public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// The metadata service of a virtual machine.
const METADATA: &str = "http://169.254.169.254";

/// How long an assertion is good, in seconds. Microsoft advises five to ten minutes.
const ASSERTION_LIFE: u64 = 600;

/// Errors of Entra ID that mean an identity or a secret which there isn't, or no longer: an application that the tenant doesn't know
/// or that is disabled, one without a service principal, a wrong secret or certificate, a missing tenant.
const DENIED: [u64; 7] = [700_016, 7_000_112, 7_000_229, 7_000_215, 700_027, 90_002, 700_213];

/// A secret or a certificate that has expired, and an assertion that isn't valid yet or any more: trouble of this machine.
const EXPIRED: [u64; 3] = [7_000_222, 700_024, 700_021];

type Provider = dyn Fn() -> io::Result<Hidden> + Send + Sync;

/// An identity of Microsoft Entra ID that gets tokens for itself. Its roles decide its permissions.
///
/// Tokens of managed identities are requested without a proxy, even if the environment names one: they come without TLS.
#[derive(Clone)]
pub struct AzureIdentity {
    way: Way,
    authority: String,
}

#[derive(Clone)]
enum Way {
    Secret { tenant: String, client: String, secret: Hidden },
    Certificate { tenant: String, client: String, thumbprint: String, signer: Signer },
    Workload { tenant: String, client: String, file: PathBuf },
    Machine { endpoint: String, client: Option<String> },
    AppService { endpoint: String, header: Hidden, client: Option<String> },
    Provider(Arc<Provider>),
}

impl AzureIdentity {
    /// An application with a client secret.
    pub fn client_secret(tenant: impl Into<String>, client: impl Into<String>, secret: Hidden) -> Self {
        Self::of(Way::Secret { tenant: tenant.into(), client: client.into(), secret })
    }

    /// An application with a certificate: its PEM, which holds the certificate first and its RSA key. Assertions are signed by PS256
    /// and name the certificate by `x5t#S256`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there isn't both in the PEM.
    pub fn client_certificate(tenant: impl Into<String>, client: impl Into<String>, pem: &Hidden) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.expose().as_bytes());
        let certificate = certificate.map_err(|_| invalid("the client's certificate isn't one in PEM"))?;
        let signer = Signer::new(pem.expose(), SignatureScheme::RSA_PSS_SHA256)?;
        let thumbprint = base64url(&sha256(&certificate)?);
        Ok(Self::of(Way::Certificate { tenant: tenant.into(), client: client.into(), thumbprint, signer }))
    }

    /// An application that trusts another issuer's token, which is in a file, as pods of AKS have it. The file is read for each login.
    pub fn workload(tenant: impl Into<String>, client: impl Into<String>, token: impl Into<PathBuf>) -> Self {
        Self::of(Way::Workload { tenant: tenant.into(), client: client.into(), file: token.into() })
    }

    /// The managed identity of this virtual machine, or of this App Service, container or function where `IDENTITY_ENDPOINT` and
    /// `IDENTITY_HEADER` are set. `client` is the client id of one that a user assigned. Azure Arc isn't supported.
    pub fn managed(client: Option<&str>) -> Self {
        // The process's own environment has no failures.
        Self::managed_by(&Environment::process(), client).unwrap_or_else(|_| Self::machine(METADATA, client))
    }

    /// As [`managed`](Self::managed), with variables that the caller gives.
    ///
    /// # Errors
    /// Errors of the caller's function.
    pub fn managed_by(of: &Environment, client: Option<&str>) -> io::Result<Self> {
        Ok(match (of.get("IDENTITY_ENDPOINT")?, of.secret("IDENTITY_HEADER")?) {
            (Some(endpoint), Some(header)) => Self::app_service(endpoint, header, client),
            _ => Self::machine(METADATA, client),
        })
    }

    /// The managed identity of a virtual machine whose metadata service is elsewhere, such as `http://127.0.0.1:8080`.
    pub fn machine(endpoint: impl Into<String>, client: Option<&str>) -> Self {
        let endpoint: String = endpoint.into();
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Self::of(Way::Machine { endpoint, client: client.map(str::to_owned) })
    }

    /// The managed identity of an App Service, by the values of `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    pub fn app_service(endpoint: impl Into<String>, header: Hidden, client: Option<&str>) -> Self {
        Self::of(Way::AppService { endpoint: endpoint.into(), header, client: client.map(str::to_owned) })
    }

    /// A function that returns a token which is valid now, for the service that is used. It is called for each request, by many
    /// threads; it keeps the token until shortly before it expires, and then gets another.
    pub fn provider(token: impl Fn() -> io::Result<Hidden> + Send + Sync + 'static) -> Self {
        Self::of(Way::Provider(Arc::new(token)))
    }

    /// The first available of these, by the variables of Microsoft's libraries: with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`,
    /// the secret of `AZURE_CLIENT_SECRET`, the file `AZURE_CLIENT_CERTIFICATE_PATH`, or `AZURE_FEDERATED_TOKEN_FILE`;
    /// otherwise the managed identity, of which `AZURE_CLIENT_ID` chooses one. `AZURE_AUTHORITY_HOST` is the authority.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an invalid certificate; other errors if its file can't be read.
    pub fn from_environment() -> io::Result<Self> {
        Self::from_variables(&Environment::process())
    }

    /// As [`from_environment`](Self::from_environment), with variables that the caller gives.
    ///
    /// # Errors
    /// As there; errors of the caller's function.
    pub fn from_variables(of: &Environment) -> io::Result<Self> {
        let client = of.get("AZURE_CLIENT_ID")?;
        let found = match (of.get("AZURE_TENANT_ID")?, &client) {
            (Some(tenant), Some(client)) => {
                if let Some(secret) = of.secret("AZURE_CLIENT_SECRET")? {
                    Some(Self::client_secret(tenant, client, secret))
                } else if let Some(file) = of.get("AZURE_CLIENT_CERTIFICATE_PATH")? {
                    Some(Self::client_certificate(tenant, client, &read_secret(Path::new(&file))?)?)
                } else {
                    of.get("AZURE_FEDERATED_TOKEN_FILE")?.map(|file| Self::workload(tenant, client, file))
                }
            }
            _ => None,
        };
        let found = match found {
            Some(found) => found,
            None => Self::managed_by(of, client.as_deref())?,
        };
        Ok(match of.get("AZURE_AUTHORITY_HOST")? {
            Some(authority) => found.authority(authority),
            None => found,
        })
    }

    /// Sets the authority that applications log in at: `https://login.microsoftonline.com` unless it is another cloud's.
    pub fn authority(mut self, address: impl Into<String>) -> Self {
        let address: String = address.into();
        self.authority = address.trim_end_matches('/').to_owned();
        self
    }

    /// Its tokens for a service, such as `https://vault.azure.net` or `https://storage.azure.com`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a tenant, a client id, an authority or an endpoint that isn't well formed, and for options
    /// of HTTP that aren't.
    pub fn tokens(&self, service: &str, http: &HttpOptions) -> io::Result<Tokens> {
        let plain = |text: &str| {
            (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        match &self.way {
            Way::Secret { tenant, client, .. }
            | Way::Certificate { tenant, client, .. }
            | Way::Workload { tenant, client, .. } => {
                if !plain(tenant) || !plain(client) {
                    return Err(invalid("a tenant and a client id are GUIDs; a tenant may be a domain's name too"));
                }
                check_address(&self.authority)?;
            }
            Way::Machine { endpoint, client } | Way::AppService { endpoint, client, .. } => {
                if client.as_deref().is_some_and(|client| !plain(client)) {
                    return Err(invalid("a client id is a GUID"));
                }
                check_local(endpoint)?;
            }
            Way::Provider(_) => {}
        }
        let client = match &self.way {
            Way::Machine { .. } | Way::AppService { .. } => Client::new(&http.clone().without_proxy())?,
            _ => Client::new(http)?,
        };
        let source = AzureSource { identity: self.clone(), service: service.trim_end_matches('/').to_owned() };
        Ok(Tokens::new(Arc::new(source), client))
    }

    /// A name of the identity, for errors: never a secret.
    pub fn name(&self) -> String {
        let managed = |client: &Option<String>| match client {
            Some(client) => format!("the managed identity {client}"),
            None => "the managed identity".into(),
        };
        match &self.way {
            Way::Secret { tenant, client, .. }
            | Way::Certificate { tenant, client, .. }
            | Way::Workload { tenant, client, .. } => format!("the application {client} of the tenant {tenant}"),
            Way::Machine { client, .. } | Way::AppService { client, .. } => managed(client),
            Way::Provider(_) => "the holder of the program's token".into(),
        }
    }

    fn of(way: Way) -> Self {
        AzureIdentity { way, authority: AUTHORITY.into() }
    }
}

impl fmt::Debug for AzureIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureIdentity({})", self.name())
    }
}

/// An identity, and the service its tokens are for.
struct AzureSource {
    identity: AzureIdentity,
    service: String,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(rename = "x5t#S256")]
    thumbprint: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: u64,
    iat: u64,
    exp: u64,
}

impl Source for AzureSource {
    fn name(&self) -> String {
        self.identity.name()
    }

    fn get(&self, client: &Client, deadline: Deadline) -> Result<Granted, TokenError> {
        match &self.identity.way {
            Way::Secret { tenant, client: id, secret } => {
                self.login(client, deadline, tenant, id, &[("client_secret", secret.expose())])
            }
            Way::Certificate { tenant, client: id, thumbprint, signer } => {
                let now = now();
                let claims = Claims {
                    aud: &self.login_url(tenant),
                    iss: id,
                    sub: id,
                    jti: random_id().map_err(own)?,
                    nbf: now,
                    iat: now,
                    exp: now + ASSERTION_LIFE,
                };
                let header = Header { alg: "PS256", typ: "JWT", thumbprint };
                let assertion = signer.sign(&header, &claims).map_err(own)?;
                self.assert(client, deadline, tenant, id, &assertion)
            }
            Way::Workload { tenant, client: id, file } => {
                let token = read_secret(file).map_err(own)?;
                self.assert(client, deadline, tenant, id, &token)
            }
            Way::Machine { endpoint, client: id } => {
                let url = format!("{endpoint}/metadata/identity/oauth2/token?api-version=2018-02-01");
                // So its documentation has it: these pass, while the service is updated.
                let answer = get(client, deadline, &self.query(url, id), ("metadata", "true"), &[404, 410])?;
                self.managed(answer, &[])
            }
            Way::AppService { endpoint, header, client: id } => {
                let url = format!("{endpoint}?api-version=2019-08-01");
                let shown = ("x-identity-header", header.expose());
                self.managed(get(client, deadline, &self.query(url, id), shown, &[])?, &[header.expose()])
            }
            Way::Provider(provider) => Ok(Granted { token: provider().map_err(own)?, life: None }),
        }
    }
}

impl AzureSource {
    fn login_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.identity.authority)
    }

    fn query(&self, url: String, client: &Option<String>) -> String {
        let url = format!("{url}&resource={}", encode_query(&self.service));
        match client {
            Some(client) => format!("{url}&client_id={}", encode_query(client)),
            None => url,
        }
    }

    /// Logs in by an assertion (RFC 7523, section 2.2).
    fn assert(
        &self,
        client: &Client,
        deadline: Deadline,
        tenant: &str,
        id: &str,
        assertion: &Hidden,
    ) -> Result<Granted, TokenError> {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let shown = [("client_assertion_type", kind), ("client_assertion", assertion.expose())];
        self.login(client, deadline, tenant, id, &shown)
    }

    /// The grant of client credentials (RFC 6749, section 4.4).
    fn login(
        &self,
        client: &Client,
        deadline: Deadline,
        tenant: &str,
        id: &str,
        shown: &[(&str, &str)],
    ) -> Result<Granted, TokenError> {
        let scope = format!("{}/.default", self.service);
        let pairs = [("grant_type", "client_credentials"), ("client_id", id), ("scope", &scope)];
        let body = form(&[&pairs[..], shown].concat())?;
        let answer = post(client, deadline, &self.login_url(tenant), &body)?;
        if answer.status == 200 {
            return granted(answer);
        }
        let secrets: Vec<_> = shown.iter().map(|(_, value)| *value).filter(|value| value.len() >= 8).collect();
        let Some(refused) = refusal(&answer) else { return Err(unexpected(&answer, &secrets, "")) };
        if refused.error_codes.iter().any(|code| EXPIRED.contains(code)) {
            let hint = "; renew the secret or the certificate, and look at this machine's clock";
            return Err(unexpected(&answer, &secrets, hint));
        }
        if refused.error_codes.iter().any(|code| DENIED.contains(code)) {
            let why = told(&refused.error_description, &secrets);
            return Err(TokenError::Denied(format!("{}: {why}", self.identity.name())));
        }
        Err(unexpected(&answer, &secrets, ""))
    }

    fn managed(&self, answer: Response, secrets: &[&str]) -> Result<Granted, TokenError> {
        if answer.status == 200 {
            return granted(answer);
        }
        let hint = "; give this machine a managed identity, or name the one that it has";
        Err(unexpected(&answer, secrets, hint))
    }
}

/// A random UUID of version 4 (RFC 9562, section 5.4).
fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = atrest_http::hex(&bytes);
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

/// Tokens of managed identities come without TLS, from this machine or from a link-local address that Azure answers.
fn check_local(endpoint: &str) -> io::Result<()> {
    let why = || invalid("a managed identity's endpoint is at https://, at this machine, or at 169.254.0.0/16");
    let (scheme, rest) = endpoint.split_once("://").ok_or_else(why)?;
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let link_local = name.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_link_local());
    let sound = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]/".contains(&b)) && !host.is_empty();
    if sound && (scheme == "https" || (scheme == "http" && (link_local || is_loopback(host)))) {
        return Ok(());
    }
    Err(why())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_without_tls_are_near() {
        for good in
            ["http://169.254.169.254", "http://169.254.129.3:8081/msi/token", "http://localhost:42356/msi/token"]
        {
            check_local(good).unwrap();
        }
        for bad in ["http://10.0.0.1", "http://169.254.169.254@a.example/", "ftp://localhost", "http://", "localhost"] {
            assert!(check_local(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown_and_names_are_checked() {
        let identity = AzureIdentity::client_secret("contoso.example", "app", Hidden::new("SECRET"));
        let tokens = identity.tokens("https://vault.azure.net", &HttpOptions::new()).unwrap();
        assert!(!format!("{identity:?} {tokens:?}").contains("SECRET"));
        for (tenant, client, authority) in
            [("", "c", AUTHORITY), ("a/b", "c", AUTHORITY), ("t", "c d", AUTHORITY), ("t", "c", "http://a.example")]
        {
            let identity = AzureIdentity::client_secret(tenant, client, Hidden::new("s")).authority(authority);
            assert!(identity.tokens("https://vault.azure.net", &HttpOptions::new()).is_err(), "{tenant} {client}");
        }
        assert!(AzureIdentity::client_certificate("t", "c", &Hidden::new("SECRET")).is_err());
    }

    #[test]
    fn ids_are_of_the_version_4() {
        let id = random_id().unwrap();
        assert_eq!((id.len(), &id[14..15], id.split('-').count()), (36, "4", 5));
    }
}
