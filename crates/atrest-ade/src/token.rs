//! The LUKS2 token of type `Azure_Disk_Encryption`.

use core::fmt;

use atrest::key::{MAX_WRAPPED, WrapAlgorithm};
use atrest::volume::Header;
use atrest::{BlockDevice, Error, Result, Secret, Volume};
use atrest_http::base64;
use serde_json::{Value, json};
use zeroize::Zeroize;

use crate::base64::decode;
use crate::object_url::kek_id;
use crate::tags::Kek;

/// The type of the token.
pub const TOKEN: &str = "Azure_Disk_Encryption";

/// The type of the copy that the extension keeps while it replaces the token.
pub const BACKUP_TOKEN: &str = "Azure_Disk_Encryption_BackUp";

/// The type of the token that a replacement writes first: it holds the new passphrase before a keyslot has it.
pub(crate) const NEXT_TOKEN: &str = "Azure_Disk_Encryption_Next";

const TYPES: [&str; 3] = [TOKEN, BACKUP_TOKEN, NEXT_TOKEN];

/// The name of a passphrase that is wrapped. Any other name means one that isn't.
const PROTECTED: &str = "LUKSPasswordProtector";

/// The longest token and the longest of its texts, in bytes. The metadata of LUKS2 would allow 4 MiB.
const LONGEST: usize = 32 << 10;
const LONGEST_TEXT: usize = 2048;

/// The most tokens of each type that are looked at: each may cost a request, and trials of a passphrase.
const MOST: usize = 4;

/// A token of type `Azure_Disk_Encryption`, of version `1.0`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct AdeToken {
    /// `KeyEncryptionKeyURL`.
    pub kek_url: Option<String>,
    /// `KekVaultResourceId`.
    pub kek_vault_resource: Option<String>,
    /// `KeyVaultURL`.
    pub vault_url: Option<String>,
    /// `KeyVaultResourceId`.
    pub vault_resource: Option<String>,
    /// `AttestationURL`.
    pub attestation_url: Option<String>,
    /// `Passphrase`, by its `PassphraseName`.
    pub passphrase: TokenPassphrase,
}

/// The passphrase in a token.
#[non_exhaustive]
pub enum TokenPassphrase {
    /// Wrapped under the KEK by `RSA-OAEP-256`.
    Wrapped(Vec<u8>),
    /// In the clear. Anyone who reads the disk can read it.
    Plain(Secret),
}

impl Default for TokenPassphrase {
    fn default() -> Self {
        TokenPassphrase::Wrapped(Vec::new())
    }
}

impl fmt::Debug for TokenPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenPassphrase::Wrapped(_) => "Wrapped",
            TokenPassphrase::Plain(_) => "Plain",
        })
    }
}

impl AdeToken {
    /// Reads a token's JSON, of either type.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] for bytes that aren't such a token, or are too long. It repeats nothing of the token.
    pub fn read(json: &[u8]) -> Result<Self> {
        let bad = |what: &str| Error::InvalidHeader(format!("its token of Azure Disk Encryption {what}"));
        if json.len() > LONGEST {
            return Err(bad("is longer than 32 KiB"));
        }
        let mut found: Value = serde_json::from_slice(json).map_err(|_| bad("isn't JSON"))?;
        let result = Self::of(&found, bad);
        if let Some(Value::String(passphrase)) = found.get_mut("Passphrase") {
            passphrase.zeroize();
        }
        result
    }

    fn of(found: &Value, bad: impl Fn(&str) -> Error) -> Result<Self> {
        let text = |name: &str| match found.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= LONGEST_TEXT => Ok(Some(text.as_str())),
            Some(_) => Err(bad(&format!("has no sound {name}"))),
        };
        if !text("type")?.is_some_and(|kind| TYPES.contains(&kind)) {
            return Err(bad("is of another type"));
        }
        if text("version")? != Some("1.0") {
            return Err(bad("has another version than 1.0, the only one that is known"));
        }
        let passphrase = text("Passphrase")?.filter(|text| !text.is_empty());
        let passphrase = passphrase.ok_or_else(|| bad("has no passphrase"))?;
        let passphrase = if text("PassphraseName")? == Some(PROTECTED) {
            let wrapped = decode(passphrase.as_bytes()).filter(|bytes| bytes.len() <= MAX_WRAPPED);
            TokenPassphrase::Wrapped(wrapped.ok_or_else(|| bad("has no sound Passphrase"))?.to_vec())
        } else {
            TokenPassphrase::Plain(Secret::copy_from(passphrase.as_bytes()))
        };
        let owned = |name: &str| text(name).map(|text| text.map(str::to_owned));
        Ok(AdeToken {
            kek_url: owned("KeyEncryptionKeyURL")?,
            kek_vault_resource: owned("KekVaultResourceId")?,
            vault_url: owned("KeyVaultURL")?,
            vault_resource: owned("KeyVaultResourceId")?,
            attestation_url: owned("AttestationURL")?,
            passphrase,
        })
    }

    /// The token's JSON, as the extension writes it: with every field, and bound to no keyslot.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_json_of(TOKEN)
    }

    pub(crate) fn to_json_of(&self, kind: &str) -> Vec<u8> {
        let (name, passphrase) = match &self.passphrase {
            TokenPassphrase::Wrapped(bytes) => (PROTECTED, base64(bytes)),
            TokenPassphrase::Plain(text) => ("LUKSPassword", String::from_utf8_lossy(text.expose()).into_owned()),
        };
        let token = json!({
            "version": "1.0",
            "type": kind,
            "keyslots": [],
            "KekVaultResourceId": self.kek_vault_resource,
            "KeyEncryptionKeyURL": self.kek_url,
            "KeyVaultResourceId": self.vault_resource,
            "KeyVaultURL": self.vault_url,
            "AttestationURL": self.attestation_url,
            "PassphraseName": name,
            "Passphrase": passphrase,
        });
        token.to_string().into_bytes()
    }

    /// The same with another passphrase.
    pub(crate) fn with(&self, passphrase: TokenPassphrase) -> Self {
        AdeToken {
            kek_url: self.kek_url.clone(),
            kek_vault_resource: self.kek_vault_resource.clone(),
            vault_url: self.vault_url.clone(),
            vault_resource: self.vault_resource.clone(),
            attestation_url: self.attestation_url.clone(),
            passphrase,
        }
    }

    /// Whether another token has the same fields, apart from its passphrase.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let all = |token: &Self| token.with(TokenPassphrase::default()).to_json();
        all(self) == all(other)
    }

    /// The key that wraps the passphrase. The token names no algorithm; the extension's program wraps by `RSA-OAEP-256`.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for a URL of another form, or none.
    pub fn kek(&self) -> Result<Kek> {
        let id = kek_id(self.kek_url.as_deref().unwrap_or_default())?;
        Ok(Kek { id, algorithm: WrapAlgorithm::RsaOaep256 })
    }
}

/// The numbers of the tokens of each type, those of the extension's first type first.
pub(crate) fn numbers(header: &Header<'_>) -> Vec<u32> {
    let tokens = header.tokens();
    let of = |kind: &&str| tokens.iter().filter(|token| token.kind == *kind).map(|token| token.id).collect::<Vec<_>>();
    TYPES.iter().flat_map(of).collect()
}

/// The numbers and the JSON of the tokens of a type that are looked at.
pub(crate) fn of_type(header: &Header<'_>, kind: &str) -> Vec<(u32, Vec<u8>)> {
    let all = header.tokens().into_iter().filter(|token| token.kind == kind);
    all.take(MOST).map(|token| (token.id, token.json_bytes)).collect()
}

/// The tokens of a type that are looked at, with their numbers.
pub(crate) fn tokens<D: BlockDevice>(volume: &Volume<D>, kind: &str) -> Result<Vec<(u32, AdeToken)>> {
    let all = of_type(&volume.header(), kind).into_iter();
    all.map(|(id, json)| Ok((id, AdeToken::read(&json)?))).collect()
}

/// The JSON of the tokens that are looked at.
pub(crate) fn texts(header: &Header<'_>) -> Vec<Vec<u8>> {
    TYPES.iter().flat_map(|kind| of_type(header, kind)).map(|(_, json)| json).collect()
}
