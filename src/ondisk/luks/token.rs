//! The token of type `atrest`: a DEK wrapped under a vault's key, and a MAC over the fields whose change could help an
//! attacker.
//!
//! LUKS2 metadata has a checksum but no authentication. So an attacker could change a header to a null cipher, to other
//! sectors or to another volume's key, and it would still look sound. The MAC's key is derived from the DEK, so only an
//! owner of the DEK can make it.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::fields::Fields;
use super::metadata::json::{Numbered, binary, integer, is_true, objects, parse, root, string, uint64};
use super::metadata::text::Object;
use super::metadata::{Metadata, SegmentKind, SegmentSize};
#[cfg(feature = "managed")]
use super::metadata::{Parts, text_in};
use super::written::WRITTEN_TYPE;
use crate::key::{Dek, EncryptionType, MAX_CONTEXT, MAX_WRAPPED, WrapAlgorithm, WrappedDek};
use crate::{Error, Result, Secret};

/// The `type` of the token.
pub const TOKEN_TYPE: &str = "atrest";

const VERSION: u32 = 1;
const MAC: usize = 32;
const MAC_INFO: &str = "atrest luks2 token v1";
const PASSPHRASE_INFO: &str = "atrest luks2 token passphrase v1";

/// A token: one way into a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The owner of the keys that protect the volume.
    pub encryption_type: EncryptionType,
    /// The length of the DEK in bytes. The header's cipher determines its algorithm.
    pub key_size: u32,
    /// The wrapped DEK and the key that wrapped it.
    pub wrapped: WrappedDek,
    /// The context that the volume is bound to, such as a disk's id.
    pub context: Vec<u8>,
    /// The size of the volume's data in bytes when the token was written. A smaller device was truncated.
    pub data_size: u64,
    /// Whether a new DEK was ordered for the data when the volume came under this token. The MAC doesn't cover it: releases that
    /// don't know it still open the volume. An attacker who writes it into a header causes a re-encryption, and nothing else.
    pub reencrypt: bool,
    mac: [u8; MAC],
}

impl Token {
    /// A token for a DEK, still without its MAC.
    pub(crate) fn new(kind: EncryptionType, dek: &Dek, wrapped: WrappedDek, context: Vec<u8>, data_size: u64) -> Self {
        let key_size = dek.algorithm().key_len() as u32;
        Token { encryption_type: kind, key_size, wrapped, context, data_size, reencrypt: false, mac: [0; MAC] }
    }

    /// The same token with or without the order of a new DEK.
    pub(crate) fn reencrypt(self, reencrypt: bool) -> Self {
        Token { reencrypt, ..self }
    }

    /// Makes the MAC over this token and the header that will hold it.
    pub(crate) fn seal(&mut self, dek: &Dek, uuid: &str, metadata: &Metadata) {
        self.mac = self.keyed_mac(dek, uuid, metadata).finalize().into_bytes().into();
    }

    /// Verifies that an owner of the DEK wrote this token and the header around it.
    ///
    /// # Errors
    /// [`Error::TamperedHeader`].
    pub(crate) fn verify(&self, dek: &Dek, uuid: &str, metadata: &Metadata) -> Result<()> {
        self.keyed_mac(dek, uuid, metadata).verify_slice(&self.mac).map_err(|_| Error::TamperedHeader)
    }

    /// Those of type `atrest`.
    fn ours(tokens: Vec<Numbered<'_>>) -> Result<Vec<(u32, Self)>> {
        let ours = tokens.into_iter().filter(|(_, token)| string(token, "type").is_ok_and(|kind| kind == TOKEN_TYPE));
        ours.map(|(id, token)| Token::from_json(&token).map(|token| (id, token)))
            .map(|token| token.map_err(|what| Error::InvalidHeader(format!("its atrest token: {what}"))))
            .collect()
    }

    fn from_json(object: &Object<'_>) -> Result<Self, String> {
        let version = integer(object, "version")?;
        if version != VERSION {
            return Err(format!("its version is {version}, this library reads version {VERSION}"));
        }
        let encryption_type = string(object, "encryption_type")?;
        let key_size = integer(object, "key_size")?;
        if ![16, 24, 32, 48, 64].contains(&key_size) {
            return Err(format!("its key_size, {key_size}, is no length of a key"));
        }
        let algorithm = string(object, "algorithm")?;
        let wrapped = WrappedDek {
            kek: string(object, "key_url")?.parse().map_err(|e: Error| e.to_string())?,
            algorithm: WrapAlgorithm::from_name(&algorithm)
                .ok_or_else(|| format!("its algorithm, {algorithm:?}, is not known"))?,
            bytes: binary(object, "wrapped_dek", MAX_WRAPPED)?,
        };
        wrapped.check()?;
        Ok(Token {
            encryption_type: EncryptionType::from_name(&encryption_type)
                .ok_or_else(|| format!("its encryption type, {encryption_type:?}, is not known"))?,
            key_size,
            wrapped,
            context: binary(object, "context", MAX_CONTEXT)?,
            data_size: uint64(object, "data_size")?,
            // Any other value counts as false: it must not make the volume unreadable.
            reencrypt: is_true(object, "reencrypt"),
            mac: binary(object, "mac", MAC)?.try_into().map_err(|_| "its mac is shorter than 32 bytes")?,
        })
    }

    fn to_json(&self, keyslots: &[u32]) -> Vec<u8> {
        let keyslots: Vec<String> = keyslots.iter().map(u32::to_string).collect();
        let mut token = json!({
            "type": TOKEN_TYPE,
            "keyslots": keyslots,
            "version": VERSION,
            "encryption_type": self.encryption_type.name(),
            "key_size": self.key_size,
            "key_url": self.wrapped.kek.url(),
            "algorithm": self.wrapped.algorithm.name(),
            "wrapped_dek": Base64::encode_string(&self.wrapped.bytes),
            "context": Base64::encode_string(&self.context),
            "data_size": self.data_size.to_string(),
            "mac": Base64::encode_string(&self.mac),
        });
        if self.reencrypt {
            token["reencrypt"] = true.into();
        }
        serde_json::to_vec(&token).expect("a JSON value can be written")
    }

    fn keyed_mac(&self, dek: &Dek, uuid: &str, metadata: &Metadata) -> Hmac<Sha256> {
        let key = dek.derive(MAC_INFO);
        let mut mac = Fields(Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length"));
        mac.field(MAC_INFO);
        mac.field(uuid);
        mac.field(self.encryption_type.name());
        mac.field(self.key_size.to_be_bytes());
        mac.field(self.wrapped.kek.url());
        mac.field(self.wrapped.algorithm.name());
        mac.field(&self.wrapped.bytes);
        mac.field(&self.context);
        mac.field(self.data_size.to_be_bytes());
        mac.count(metadata.segments());
        for segment in metadata.segments() {
            mac.field(segment.id.to_be_bytes());
            mac.field(segment.offset.to_be_bytes());
            match segment.size {
                SegmentSize::Dynamic => mac.field("dynamic"),
                SegmentSize::Bytes(size) => mac.field(size.to_be_bytes()),
            }
            match &segment.kind {
                SegmentKind::Other(kind) => mac.field(kind),
                SegmentKind::Crypt(crypt) => {
                    mac.field("crypt");
                    mac.field(crypt.iv_tweak.to_be_bytes());
                    mac.field(&crypt.encryption);
                    mac.field(crypt.sector_size.to_be_bytes());
                    mac.field([u8::from(crypt.integrity.is_some())]);
                }
            }
            mac.count(&segment.flags);
            segment.flags.iter().for_each(|flag| mac.field(flag));
        }
        mac.count(metadata.digests());
        for digest in metadata.digests() {
            mac.field(digest.id.to_be_bytes());
            mac.count(&digest.segments);
            digest.segments.iter().for_each(|segment| mac.field(segment.to_be_bytes()));
            let Some(pbkdf2) = &digest.pbkdf2 else {
                mac.field("other");
                continue;
            };
            mac.field("pbkdf2");
            mac.field(&pbkdf2.hash);
            mac.field(pbkdf2.iterations.to_be_bytes());
            mac.field(&pbkdf2.salt);
            mac.field(&pbkdf2.digest);
        }
        mac.count(metadata.requirements());
        metadata.requirements().iter().for_each(|requirement| mac.field(requirement));
        mac.0
    }
}

impl Dek {
    /// The passphrase of a keyslot that tokens name: 64 hexadecimal digits. With it, a program that knows only keyslots can open
    /// the volume once the DEK is unwrapped.
    pub(crate) fn token_passphrase(&self) -> Secret {
        let key = self.derive(PASSPHRASE_INFO);
        let mut text = Secret::zeroed(2 * key.len());
        for (digits, byte) in text.expose_mut().chunks_exact_mut(2).zip(key.expose()) {
            digits.copy_from_slice(&[byte >> 4, byte & 15].map(hexadecimal));
        }
        text
    }
}

/// Uses no table, because the time of its access would reveal the digit.
fn hexadecimal(nibble: u8) -> u8 {
    // The sign of the difference is all ones for the letters.
    let letters = (9i8.wrapping_sub(nibble as i8) >> 7) as u8;
    nibble + b'0' + (letters & (b'a' - b'0' - 10))
}

impl Metadata {
    /// The tokens of type `atrest`, ordered by number.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] if one of them is not sound.
    pub fn tokens(&self) -> Result<Vec<(u32, Token)>> {
        Token::ours(objects(&root(self.text()), "tokens").map_err(Error::InvalidHeader)?)
    }

    /// The [`tokens`](Self::tokens) of the beginning of a JSON area. Nothing else in it is checked but that it is JSON.
    ///
    /// # Errors
    /// A text that names the defect of the area.
    #[cfg(feature = "managed")]
    pub(crate) fn tokens_alone(area: &[u8]) -> Result<Result<Vec<(u32, Token)>>, String> {
        Ok(Token::ours(objects(&parse(text_in(area)?)?, "tokens")?))
    }

    /// The [`tokens`](Self::tokens) of a JSON area, which is checked as a whole. Nothing else of it is kept.
    ///
    /// # Errors
    /// A text that names the defect of the area.
    #[cfg(feature = "managed")]
    pub(crate) fn tokens_in(area: &[u8], header_size: u64) -> Result<Result<Vec<(u32, Token)>>, String> {
        Ok(Token::ours(Parts::of(text_in(area)?, header_size)?.tokens))
    }

    /// Inserts a token, or replaces the one of the same number. It names these keyslots, which exist.
    pub(crate) fn set_token(&mut self, id: u32, token: &Token, keyslots: &[u32]) {
        self.set_token_object(id, &token.to_json(keyslots));
    }

    /// The keyslots that the tokens of type `atrest` name: each opens by [`Dek::token_passphrase`].
    pub(crate) fn token_keyslots(&self) -> Vec<u32> {
        let ours = self.token_objects().into_iter().filter(|token| token.kind == TOKEN_TYPE);
        let mut keyslots: Vec<u32> = ours.flat_map(|token| token.keyslots).collect();
        keyslots.sort_unstable();
        keyslots.dedup();
        keyslots
    }

    /// Inserts another program's token, given as JSON, under the first free number, and returns that number.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: the text is not a JSON object, lacks `type` or `keyslots`, names a keyslot that does
    /// not exist, or has this crate's own type; [`Error::NoRoom`].
    pub fn add_foreign_token(&mut self, json: impl AsRef<[u8]>) -> Result<u32> {
        let no = |what: String| Error::InvalidOption(format!("the token: {what}"));
        let json = json.as_ref().trim_ascii();
        if json.contains(&0) {
            return Err(no("it holds a zero byte".into()));
        }
        let token = parse(json).map_err(no)?;
        let kind = string(&token, "type").map_err(no)?;
        if [TOKEN_TYPE, WRITTEN_TYPE].contains(&&*kind) {
            return Err(no(format!("one of type {kind:?} is sealed to its header, and can't be imported")));
        }
        self.add_token_object(json)
    }
}
