//! A vault's description of its keys.

use atrest::KeyRefusal;
use atrest::key::{KeyId, KeyKind, WrapAlgorithm};
use atrest_http::base64url_decode;
use serde::Deserialize;

use crate::trouble::Trouble;

/// `KeyBundle` of the REST reference.
#[derive(Deserialize)]
pub(crate) struct Bundle {
    key: WebKey,
    attributes: Attributes,
}

/// `JsonWebKey`.
#[derive(Deserialize)]
struct WebKey {
    kid: String,
    kty: String,
    #[serde(default)]
    n: Option<String>,
}

/// `KeyAttributes`: times are in seconds since 1970.
#[derive(Deserialize, Clone, Copy)]
pub(crate) struct Attributes {
    #[serde(default = "yes")]
    pub enabled: bool,
    pub nbf: Option<u64>,
    pub exp: Option<u64>,
    pub created: Option<u64>,
    #[serde(default, rename = "recoveryLevel")]
    pub recovery: Recovery,
}

/// `DeletionRecoveryLevel`: what happens to a deleted key, by the vault's settings.
#[derive(Deserialize, Clone, Copy, Default)]
pub(crate) enum Recovery {
    /// It is gone at once.
    Purgeable,
    /// It can be recovered for 90 days, or purged.
    #[serde(rename = "Recoverable+Purgeable")]
    RecoverableOrPurgeable,
    /// The same for 7 to 89 days.
    #[serde(rename = "CustomizedRecoverable+Purgeable")]
    CustomizedOrPurgeable,
    /// It can be recovered for 90 days, and not be purged. A protected subscription can't be cancelled meanwhile.
    #[serde(alias = "Recoverable+ProtectedSubscription")]
    Recoverable,
    /// The same for 7 to 89 days.
    #[serde(alias = "CustomizedRecoverable+ProtectedSubscription")]
    CustomizedRecoverable,
    /// An unknown level, or none.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Recovery {
    /// Whether a deleted key can be recovered for a while.
    pub fn soft_delete(self) -> bool {
        !matches!(self, Recovery::Purgeable | Recovery::Unknown)
    }

    /// Whether a deleted key is safe from purging during its retention.
    pub fn purge_protection(self) -> bool {
        matches!(self, Recovery::Recoverable | Recovery::CustomizedRecoverable)
    }
}

/// `KeyListResult`: a page.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub value: Vec<Item>,
    #[serde(default, rename = "nextLink")]
    pub next: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Item {
    pub kid: String,
    pub attributes: Attributes,
}

/// `KeyOperationResult`.
#[derive(Deserialize)]
pub(crate) struct Operated<'a> {
    pub kid: String,
    #[serde(borrow)]
    pub value: std::borrow::Cow<'a, str>,
}

/// A version of a key, with the attributes used here.
pub(crate) struct Version {
    pub id: KeyId,
    pub kind: KeyKind,
    pub attributes: Attributes,
}

fn yes() -> bool {
    true
}

impl Attributes {
    /// Whether the version may wrap at this time. The vault lets an expired key unwrap: the holder of the lease checks the expiry.
    pub fn check(&self, now: u64) -> Result<(), Trouble> {
        let reason = match self {
            _ if !self.enabled => KeyRefusal::Disabled,
            _ if self.exp.is_some_and(|exp| now >= exp) => KeyRefusal::Expired,
            _ if self.nbf.is_some_and(|nbf| now < nbf) => KeyRefusal::NotYetValid,
            _ => return Ok(()),
        };
        Err(Trouble::Refused(reason))
    }
}

impl Bundle {
    /// The version, if it is one of this key.
    pub fn version(self, vault: &str, key: &str) -> Result<Version, Trouble> {
        let id = key_id(&self.key.kid, vault, key)?;
        Ok(Version { id, kind: self.key.kind()?, attributes: self.attributes })
    }
}

impl WebKey {
    fn kind(&self) -> Result<KeyKind, Trouble> {
        let other = || {
            Trouble::failed(
                "the key is none that wraps here; make one of RSA with 2048, 3072 or 4096 bits, or in a managed HSM of AES with 256",
            )
        };
        match self.kty.as_str() {
            "RSA" | "RSA-HSM" => {
                let modulus = self.n.as_deref().and_then(base64url_decode).ok_or_else(other)?;
                // A big number, without leading zeros.
                let len = modulus.len() - modulus.iter().take_while(|byte| **byte == 0).count();
                match len {
                    256 => Ok(KeyKind::Rsa2048),
                    384 => Ok(KeyKind::Rsa3072),
                    512 => Ok(KeyKind::Rsa4096),
                    _ => Err(other()),
                }
            }
            "oct" | "oct-HSM" => Ok(KeyKind::Aes256),
            _ => Err(other()),
        }
    }
}

/// The algorithm that a key of this kind wraps by.
pub(crate) fn algorithm(kind: KeyKind) -> WrapAlgorithm {
    if kind == KeyKind::Aes256 { WrapAlgorithm::Aes256Kw } else { WrapAlgorithm::RsaOaep256 }
}

/// The name of a version, from its URL, which names this vault and this key.
pub(crate) fn key_id(kid: &str, vault: &str, key: &str) -> Result<KeyId, Trouble> {
    let other = || Trouble::failed("the vault answered with another key than it was asked for");
    let version = version_of(kid, vault, "keys/", key).ok_or_else(other)?;
    KeyId::new(vault, key, version).map_err(|_| other())
}

/// The version in the URL of a key or a secret, if that is of this vault and this name.
pub(crate) fn version_of<'u>(url: &'u str, vault: &str, kind: &str, wanted: &str) -> Option<&'u str> {
    let (host, rest) = url.strip_prefix("https://")?.split_once('/')?;
    let host = host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
    let (name, version) = rest.strip_prefix(kind)?.split_once('/')?;
    // Names are the same in upper and lower case.
    let is_it = format!("https://{host}") == vault && name.eq_ignore_ascii_case(wanted) && is_version(version);
    is_it.then_some(version)
}

/// Whether it is the name of a version: 32 digits.
pub(crate) fn is_version(version: &str) -> bool {
    version.len() == 32 && version.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The token of the next page. The rest of its link isn't used: the vault's address is known, and tokens go nowhere else.
pub(crate) fn skip_token(link: &str) -> Option<&str> {
    let (_, query) = link.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("$skiptoken="))?;
    let sound = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!*'()=+/:".contains(&b));
    (sound && !value.is_empty() && value.len() <= 4096).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_versions_are_those_of_the_vault() {
        let (vault, version) = ("https://contoso.vault.azure.net", "0123456789abcdef0123456789abcdef");
        for kid in [
            format!("{vault}/keys/disks/{version}"),
            format!("https://Contoso.vault.azure.net:443/keys/disks/{version}"),
            format!("{vault}/keys/Disks/{version}"),
        ] {
            assert_eq!(key_id(&kid, vault, "disks").unwrap().to_string(), format!("{vault}/keys/disks/{version}"));
        }
        for kid in [
            "".to_owned(),
            format!("{vault}/keys/disks"),
            format!("{vault}/keys/disks/1"),
            format!("{vault}/keys/disks/{version}/x"),
            format!("{vault}/keys/tapes/{version}"),
            format!("{vault}/secrets/disks/{version}"),
            format!("https://contoso.vault.azure.net.evil.example/keys/disks/{version}"),
            format!("http://contoso.vault.azure.net/keys/disks/{version}"),
        ] {
            assert!(key_id(&kid, vault, "disks").is_err(), "{kid}");
        }
    }

    #[test]
    fn of_a_link_to_the_next_page_only_the_token_is_taken() {
        assert_eq!(skip_token("https://evil.example/x?api-version=7.4&$skiptoken=eyJO%3D"), Some("eyJO%3D"));
        for link in ["", "https://a/x", "https://a/x?$skiptoken=", "https://a/x?$skiptoken=a b", "https://a/x?y=1"] {
            assert_eq!(skip_token(link), None, "{link}");
        }
    }

    #[test]
    fn attributes_tell_the_reason_and_times_are_seconds() {
        let of =
            |enabled, nbf, exp| Attributes { enabled, nbf, exp, created: None, recovery: Recovery::Unknown }.check(100);
        assert!(of(true, Some(100), Some(101)).is_ok() && of(true, None, None).is_ok());
        for (found, reason) in [
            (of(false, None, Some(1)), KeyRefusal::Disabled),
            (of(true, None, Some(100)), KeyRefusal::Expired),
            (of(true, Some(101), None), KeyRefusal::NotYetValid),
        ] {
            assert!(matches!(found, Err(Trouble::Refused(found)) if found == reason));
        }
    }
}
