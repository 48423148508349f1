//! The URLs of secrets and keys in a vault.

use core::fmt;
use core::str::FromStr;

use atrest::key::KeyId;
use atrest::{Error, Result};

/// The longest URL that is read, in bytes.
const LONGEST: usize = 512;

/// A secret in a vault, or a version of one: `https://NAME.vault.azure.net/secrets/SECRET[/VERSION]`.
///
/// ```
/// use atrest_ade::SecretUrl;
///
/// let url: SecretUrl = "https://Contoso.vault.azure.net:443/secrets/b3284aaa/4387e9f3d6e14c459867679a90fd0f79".parse()?;
/// assert_eq!((url.vault(), url.name()), ("https://contoso.vault.azure.net", "b3284aaa"));
/// assert_eq!(url.version(), Some("4387e9f3d6e14c459867679a90fd0f79"));
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUrl {
    vault: String,
    name: String,
    version: Option<String>,
}

impl SecretUrl {
    /// The vault's name: `https://NAME.vault.azure.net`, in lower case and without a port of 443.
    pub fn vault(&self) -> &str {
        &self.vault
    }

    /// The name of the secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, if it names one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl FromStr for SecretUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let (vault, name, version) = split(url, "secrets").ok_or_else(|| {
            Error::InvalidName("a secret has the URL https://NAME.vault.azure.net/secrets/SECRET/VERSION".into())
        })?;
        Ok(SecretUrl { vault, name: name.into(), version: version.map(Into::into) })
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/secrets/{}", self.vault, self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "/{version}"))
    }
}

/// The version of a key that a URL names.
pub(crate) fn kek_id(url: &str) -> Result<KeyId> {
    let why = || {
        let text = "a key encryption key has the URL https://NAME.vault.azure.net/keys/KEY/VERSION, with its version";
        Error::InvalidName(text.into())
    };
    let (vault, key, version) = split(url, "keys").ok_or_else(why)?;
    KeyId::new(&vault, key, version.ok_or_else(why)?)
}

/// The vault, the name and the version of `https://HOST[:PORT]/KIND/NAME[/VERSION]`.
fn split<'u>(url: &'u str, kind: &str) -> Option<(String, &'u str, Option<&'u str>)> {
    if url.len() > LONGEST {
        return None;
    }
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let host = host.strip_suffix(":443").unwrap_or(host);
    let rest = path.strip_prefix(kind)?.strip_prefix('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (name, version) = rest.split_once('/').map_or((rest, None), |(name, version)| (name, Some(version)));
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
    let is_name =
        |name: &str| (1..=127).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_it = is_host && is_name(name) && version.is_none_or(is_name);
    is_it.then(|| (format!("https://{}", host.to_ascii_lowercase()), name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_form_are_read() {
        let found: SecretUrl = "https://a.vault.azure.net/secrets/x/".parse().unwrap();
        assert_eq!((found.version(), found.to_string().as_str()), (None, "https://a.vault.azure.net/secrets/x"));
        for url in [
            "",
            "http://a/secrets/x",
            "https:///secrets/x",
            "https://a/keys/x/1",
            "https://a/secrets",
            "https://a/secrets/",
            "https://a/secrets/x/y/z",
            "https://a/secrets/x?y",
            "https://a/secrets/../keys",
            "https://u@a/secrets/x",
            &format!("https://a/secrets/{}", "x".repeat(600)),
        ] {
            assert!(url.parse::<SecretUrl>().is_err(), "{url}");
        }
        assert!(kek_id("https://a/keys/x").is_err());
        assert_eq!(kek_id("https://A:443/keys/x/1").unwrap().to_string(), "https://a/keys/x/1");
    }
}
