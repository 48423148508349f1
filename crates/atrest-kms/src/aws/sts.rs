//! Temporary keys of a role, from the security token service: the API reference of STS.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use atrest::VaultFailure;
use atrest_http::aws::{AccessKey, Signing};
use atrest_http::{
    Client, Deadline, Hidden, Method, Request, basic_date, check_address, encode_query, hex, read_secret, sha256,
    xml_elements,
};
use zeroize::Zeroizing;

use super::profiles::Role;
use super::session::{LONGEST_ANSWER, Session, ask};
use crate::trouble::Trouble;

const FORM: &str = "application/x-www-form-urlencoded";

/// The STS of a region, and the client for it.
pub(crate) struct Sts<'a> {
    pub client: &'a Client,
    pub deadline: Deadline,
    pub region: &'a str,
    /// Another address than the region's own.
    pub endpoint: Option<&'a str>,
}

fn own(e: io::Error) -> Trouble {
    Trouble::Failed(VaultFailure::new("logging in at STS").caused_by(e))
}

impl Sts<'_> {
    /// The URL, and the host with its port.
    fn url(&self) -> Result<(String, String), Trouble> {
        let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let own_address = || format!("https://sts.{}.{suffix}", self.region);
        let url = self.endpoint.map_or_else(own_address, |url| url.trim_end_matches('/').into());
        let host = check_address(&url).map_err(own)?.to_owned();
        Ok((format!("{url}/"), host))
    }

    /// `AssumeRoleWithWebIdentity`, by the token in a file. It needs no signature.
    pub fn web_identity(&self, role: &str, file: &Path) -> Result<Session, Trouble> {
        let token = read_secret(file).map_err(own)?;
        let (url, _) = self.url()?;
        let token = Zeroizing::new(encode_query(token.expose()));
        let form = Zeroizing::new(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=atrest&RoleArn={}&WebIdentityToken={}",
            encode_query(role),
            *token
        ));
        let answer = ask(self.client, self.deadline, || {
            Ok(Request::new(Method::Post, &url, LONGEST_ANSWER).header("content-type", FORM).body(form.as_bytes()))
        })?;
        session(&answer)
    }

    /// `AssumeRole`, by an access key.
    pub fn assume(&self, role: &Role, key: &AccessKey) -> Result<Session, Trouble> {
        let (url, host) = self.url()?;
        let name = role.session.as_deref().unwrap_or("atrest");
        let mut form = "Action=AssumeRole&Version=2011-06-15".to_owned();
        let mut add = |name: &str, value: &str| form.push_str(&format!("&{name}={}", encode_query(value)));
        add("RoleSessionName", name);
        add("RoleArn", &role.arn);
        role.external_id.iter().for_each(|id| add("ExternalId", id));
        role.seconds.iter().for_each(|seconds| add("DurationSeconds", seconds));
        let answer = ask(self.client, self.deadline, || {
            // Each attempt has a date of its own, which is signed.
            let hash = hex(&sha256(form.as_bytes())?);
            let date = basic_date(SystemTime::now());
            let mut headers =
                vec![("content-type", FORM.to_owned()), ("host", host.clone()), ("x-amz-date", date.clone())];
            headers.extend(key.token().map(|token| ("x-amz-security-token", token.expose().to_owned())));
            let signing = Signing { method: "POST", path: "/", query: &[], headers: &headers, body: &hash };
            let authorization = signing.authorization(key, self.region, "sts", &date)?;
            let request = Request::new(Method::Post, &url, LONGEST_ANSWER).body(form.as_bytes());
            let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            Ok(request.header("authorization", authorization))
        })?;
        session(&answer)
    }
}

/// The element `Credentials` of an answer.
fn session(answer: &[u8]) -> Result<Session, Trouble> {
    let (mut id, mut secret, mut session, mut ends) = (None, None, None, None);
    let read = xml_elements(answer, |path, text| {
        if let [.., "Credentials", name] = path {
            match *name {
                "AccessKeyId" => id = Some(text.to_owned()),
                "SecretAccessKey" => secret = Some(Hidden::new(text)),
                "SessionToken" => session = Some(Hidden::new(text)),
                "Expiration" => ends = Some(text.to_owned()),
                _ => {}
            }
        }
    });
    read.map_err(own)?;
    let (Some(id), Some(secret)) = (id, secret) else {
        return Err(Trouble::failed("the answer of STS has no credentials"));
    };
    Session::of(id, secret, session, ends.as_deref())
}
