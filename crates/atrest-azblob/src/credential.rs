//! Ways to authorise requests.

use std::sync::Arc;
use std::{fmt, io};

use atrest_http::{Hidden, base64, base64_decode, hmac_sha256};
use zeroize::Zeroizing;

use crate::failure::invalid;

/// The credential for requests.
#[derive(Clone)]
pub struct Credential(pub(crate) Kind);

/// A function that returns a bearer token that is valid now.
type Tokens = dyn Fn() -> io::Result<Hidden> + Send + Sync;

#[derive(Clone)]
pub(crate) enum Kind {
    /// A SAS: a query that is added to each URL.
    Sas(Hidden),
    /// The account's key.
    Key(Arc<Zeroizing<Vec<u8>>>),
    Bearer(Arc<Tokens>),
}

impl Credential {
    /// A shared access signature, for the container or the account, with or without its question mark. It needs the
    /// permissions read, write, delete and list (`rwdl`), and create (`c`) to make disks.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it has no signature.
    pub fn sas(sas: &str) -> io::Result<Self> {
        let sas = sas.trim().trim_start_matches('?');
        let odd = |byte: u8| !byte.is_ascii_graphic() || byte == b'#';
        if !sas.split('&').any(|pair| pair.starts_with("sig=")) || sas.bytes().any(odd) {
            return Err(invalid("the SAS isn't one: it has no sig="));
        }
        Ok(Credential(Kind::Sas(Hidden::new(sas))))
    }

    /// The account's key, in base64 as the portal shows it. It may do anything with the account: prefer a SAS or an identity.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it isn't base64.
    pub fn shared_key(key: &str) -> io::Result<Self> {
        let key = base64_decode(key).filter(|key| !key.is_empty());
        Ok(Credential(Kind::Key(Arc::new(key.ok_or_else(|| invalid("the account's key isn't base64"))?))))
    }

    /// Bearer tokens of Entra ID. The function is called for each request, by many threads; it keeps the token until shortly
    /// before it expires, and then gets another.
    pub fn bearer(token: impl Fn() -> io::Result<Hidden> + Send + Sync + 'static) -> Self {
        Credential(Kind::Bearer(Arc::new(token)))
    }

    /// An identity of Entra ID, which has the role *Storage Blob Data Contributor*. Tokens are kept until shortly before they end. A login
    /// ends after 30 s.
    ///
    /// It needs the feature `entra`. It was tried on a fake that is written from the documentation, and **not on the real service**.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the identity or the options of HTTP aren't well formed.
    #[cfg(feature = "entra")]
    pub fn entra(identity: &atrest_oauth::AzureIdentity, http: &atrest_http::HttpOptions) -> io::Result<Self> {
        let tokens = identity.tokens("https://storage.azure.com", http)?;
        let life = std::time::Duration::from_secs(30);
        Ok(Self::bearer(move || {
            let token = tokens.get(atrest_http::Deadline::after(life))?;
            Ok(Hidden::new(token.expose()))
        }))
    }

    /// The credential of the environment: `AZURE_STORAGE_SAS_TOKEN`, or else `AZURE_STORAGE_KEY`, as the program `az` reads
    /// them.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if neither is set, or it is malformed.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new);
        if let Some(sas) = variable("AZURE_STORAGE_SAS_TOKEN") {
            return Self::sas(&sas);
        }
        match variable("AZURE_STORAGE_KEY") {
            Some(key) => Self::shared_key(&key),
            None => {
                Err(invalid("set AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY, or give a credential by the options"))
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Sas(_) => "Credential(SAS)",
            Kind::Key(_) => "Credential(shared key)",
            Kind::Bearer(_) => "Credential(bearer)",
        })
    }
}

/// The parts of a request that its signature covers.
pub(crate) struct Signed<'r> {
    pub method: &'r str,
    pub account: &'r str,
    /// The path as it is sent.
    pub path: &'r str,
    /// Names and values, not encoded.
    pub query: &'r [(&'r str, &'r str)],
    /// All headers, with names in lower case.
    pub headers: &'r [(&'r str, String)],
    pub length: usize,
}

impl Signed<'_> {
    /// The string to sign of the scheme `SharedKey`: "Authorize with Shared Key" in the REST reference, for the blob service
    /// since version 2015-02-21, where the length of no body is empty.
    pub fn string(&self) -> String {
        let standard =
            |name: &str| self.headers.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value.as_str());
        let length = if self.length == 0 { String::new() } else { self.length.to_string() };
        let mut lines =
            vec![self.method.to_owned(), standard("content-encoding").into(), standard("content-language").into()];
        lines.push(length);
        for name in ["content-md5", "content-type", "date", "if-modified-since", "if-match", "if-none-match"] {
            lines.push(standard(name).into());
        }
        lines.extend([standard("if-unmodified-since").into(), standard("range").into()]);
        let mut own: Vec<_> = self.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        own.sort();
        lines.extend(own.into_iter().map(|(name, value)| format!("{name}:{}", value.trim())));
        lines.push(format!("/{}{}", self.account, self.path));
        let mut query: Vec<_> = self.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
        query.sort();
        lines.extend(query.into_iter().map(|(name, value)| format!("{name}:{value}")));
        lines.join("\n")
    }

    /// The value of the header `Authorization`.
    ///
    /// # Errors
    /// As [`hmac_sha256`].
    pub fn authorization(&self, key: &[u8]) -> io::Result<String> {
        let signature = hmac_sha256(key, self.string().as_bytes())?;
        Ok(format!("SharedKey {}:{}", self.account, base64(signature.expose())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Authorize with Shared Key": the signature string of a GET, and the canonical resources.
    #[test]
    fn the_string_to_sign_is_that_of_the_rest_reference() {
        let dated =
            [("x-ms-version", "2015-02-21".to_owned()), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT".to_owned())];
        let query = [("timeout", "20"), ("restype", "container"), ("comp", "metadata")];
        let signed = Signed {
            method: "GET",
            account: "myaccount",
            path: "/mycontainer",
            query: &query,
            headers: &dated,
            length: 0,
        };
        assert_eq!(
            signed.string(),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        let secondary = Signed { path: "/mycontainer/myblob", account: "myaccount", query: &[], ..signed };
        assert!(secondary.string().ends_with("\n/myaccount/mycontainer/myblob"));
    }

    #[cfg(feature = "entra")]
    #[test]
    fn an_identity_gives_tokens_or_says_why_it_does_not() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let good = Arc::new(AtomicBool::new(true));
        let now = good.clone();
        let identity = atrest_oauth::AzureIdentity::provider(move || match now.load(Ordering::SeqCst) {
            true => Ok(Hidden::new("TOKEN")),
            false => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
        });
        let credential = Credential::entra(&identity, &atrest_http::HttpOptions::new()).unwrap();
        let Kind::Bearer(token) = &credential.0 else { panic!("{credential:?}") };
        assert_eq!(token().unwrap().expose(), "TOKEN");
        good.store(false, Ordering::SeqCst);
        let error = token().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "getting a token: no answer"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let sas = Credential::sas("?sv=2022&sig=SECRET").unwrap();
        let key = Credential::shared_key("U0VDUkVU").unwrap();
        assert_eq!(format!("{sas:?} {key:?}"), "Credential(SAS) Credential(shared key)");
        for bad in ["", "sv=2022", "sig=a b", "sig=a#b"] {
            assert!(Credential::sas(bad).is_err());
        }
        assert!(!Credential::shared_key("SECRET!").unwrap_err().to_string().contains("SECRET"));
    }
}
