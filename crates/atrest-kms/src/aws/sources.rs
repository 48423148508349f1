//! Gets access keys from their sources.

use std::io;
use std::path::PathBuf;

use atrest::VaultFailure;
use atrest_http::{Client, Deadline, Hidden, Method, Request, encode_query, invalid, is_loopback, read_secret};
use serde::{Deserialize, Deserializer};

use super::credentials::{AwsCredentials, Source, Token};
use super::profiles::{self, Origin};
use super::session::{LONGEST_ANSWER, Session, ask};
use super::sts::Sts;
use crate::input::parse;
use crate::trouble::Trouble;

/// The most roles that profiles assume, each by the keys of another.
const MOST_ROLES: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    access_key_id: String,
    #[serde(deserialize_with = "hidden")]
    secret_access_key: Hidden,
    #[serde(alias = "SessionToken", default, deserialize_with = "maybe_hidden")]
    token: Option<Hidden>,
    expiration: Option<String>,
}

fn hidden<'de, D: Deserializer<'de>>(from: D) -> Result<Hidden, D::Error> {
    String::deserialize(from).map(Hidden::new)
}

fn maybe_hidden<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hidden>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Hidden::new))
}

/// The HTTP clients for getting credentials.
pub(crate) struct Clients {
    pub usual: Client,
    /// For services on this machine or its own network, without TLS or a proxy.
    pub near: Client,
}

/// Gets a new key. While the old one is good and the source is away, it is the old one.
pub(crate) fn renew(
    clients: &Clients,
    credentials: &AwsCredentials,
    region: &str,
    deadline: Deadline,
    old: Option<&Session>,
) -> Result<Session, Trouble> {
    match (get(clients, credentials, region, deadline), old) {
        (Err(Trouble::Failed(_)), Some(old)) if !old.has_ended() => Ok(old.again()),
        (got, _) => got,
    }
}

fn get(clients: &Clients, credentials: &AwsCredentials, region: &str, deadline: Deadline) -> Result<Session, Trouble> {
    let own = |e: io::Error| Trouble::Failed(VaultFailure::new("getting AWS credentials").caused_by(e));
    match &credentials.0 {
        Source::Fixed(key) => Ok(Session::new(key.clone(), None)),
        Source::Provider(provider) => {
            // Asked for each request: it knows when its keys end.
            Ok(Session::of_one_request(provider().map_err(own)?))
        }
        Source::Profile { files, name, endpoint } => {
            let sts = Sts { client: &clients.usual, deadline, region, endpoint: endpoint.as_deref() };
            profile(&sts, files, name, MOST_ROLES).map_err(|e| denied(e, &credentials.name()))
        }
        Source::WebIdentity { role, file, endpoint } => {
            let sts = Sts { client: &clients.usual, deadline, region, endpoint: endpoint.as_deref() };
            sts.web_identity(role, file).map_err(|e| denied(e, &credentials.name()))
        }
        Source::Container { url, token } => {
            check_container(url).map_err(own)?;
            let token = match token {
                Some(Token::Text(token)) => Some(token.clone()),
                Some(Token::File(file)) => Some(read_secret(file).map_err(own)?),
                None => None,
            };
            let client = if url.starts_with("https://") { &clients.usual } else { &clients.near };
            let answer = ask(client, deadline, || {
                let request = Request::new(Method::Get, url, LONGEST_ANSWER);
                Ok(match &token {
                    Some(token) => request.header("authorization", token.expose()),
                    None => request,
                })
            })?;
            answered(&answer)
        }
        Source::Instance { endpoint } => instance(&clients.near, deadline, endpoint),
    }
}

/// IMDSv2: "Use the Instance Metadata Service", user guide of EC2.
fn instance(client: &Client, deadline: Deadline, endpoint: &str) -> Result<Session, Trouble> {
    let token = ask(client, deadline, || {
        let request = Request::new(Method::Put, format!("{endpoint}/latest/api/token"), LONGEST_ANSWER);
        Ok(request.header("x-aws-ec2-metadata-token-ttl-seconds", "60"))
    })?;
    let token = visible(&token).ok_or_else(|| Trouble::failed("the instance's metadata gave no token"))?;
    let roles = format!("{endpoint}/latest/meta-data/iam/security-credentials/");
    let get = |url: &str| {
        ask(client, deadline, || {
            Ok(Request::new(Method::Get, url, LONGEST_ANSWER).header("x-aws-ec2-metadata-token", token))
        })
    };
    let role = get(&roles)?;
    let role = visible(&role).and_then(|text| text.lines().next());
    let role = role.ok_or_else(|| Trouble::failed("the instance has no role; attach one to it"))?;
    answered(&get(&format!("{roles}{}", encode_query(role)))?)
}

fn visible(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b'\n')).then_some(text)
}

fn answered(body: &[u8]) -> Result<Session, Trouble> {
    let found: Answered = parse(body, "the source of credentials")?;
    Session::of(found.access_key_id, found.secret_access_key, found.token, found.expiration.as_deref())
}

/// The keys of a profile. At most `roles` roles are assumed, each by the keys of the one before.
fn profile(sts: &Sts<'_>, files: &[PathBuf], name: &str, roles: usize) -> Result<Session, Trouble> {
    match profiles::read(files, name, false)? {
        Origin::Keys(key) => Ok(Session::new(key, None)),
        Origin::WebIdentity { role, file } => sts.web_identity(&role, &file),
        Origin::Role(_) if roles == 0 => {
            Err(Trouble::failed(format!("profiles of AWS assume more than {MOST_ROLES} roles one after another")))
        }
        Origin::Role(role) if role.source == name => match profiles::read(files, name, true)? {
            Origin::Keys(key) => sts.assume(&role, &key),
            _ => Err(Trouble::failed(format!("the AWS profile {name:?} assumes its role by itself"))),
        },
        Origin::Role(role) => {
            let source = profile(sts, files, &role.source, roles - 1)?;
            sts.assume(&role, &source.key)
        }
    }
}

/// STS says that the role isn't for this token.
fn denied(trouble: Trouble, name: &str) -> Trouble {
    match trouble {
        Trouble::Denied(_) => Trouble::Denied(format!("{name}, whose login is refused")),
        other => other,
    }
}

/// The endpoint of a container is on this machine, a link-local address of AWS, or speaks TLS: as the SDKs of AWS have it.
fn check_container(url: &str) -> io::Result<()> {
    let why =
        || invalid("a container's credentials are at https://, at this machine, or at AWS's link-local addresses");
    let (scheme, rest) = url.split_once("://").ok_or_else(why)?;
    let host = rest.split('/').next().unwrap_or_default();
    let local = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"].contains(&host) || is_loopback(host);
    if host.contains('@') || !(scheme == "https" || (scheme == "http" && local)) {
        return Err(why());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_ask_only_near_or_by_tls() {
        for good in
            ["http://169.254.170.2/v2", "https://a.example/x", "http://localhost:80/x", "http://[fd00:ec2::23]/v1"]
        {
            check_container(good).unwrap();
        }
        for bad in ["http://a.example/x", "ftp://localhost", "http://169.254.170.2@a.example/", "localhost"] {
            assert!(check_container(bad).is_err(), "{bad}");
        }
    }
}
