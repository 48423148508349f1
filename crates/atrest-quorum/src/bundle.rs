//! The format that a quorum stores as its wrapped DEK.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `ATRQ` |
//! | 1 | 1, the version of this form |
//! | 1, 1 | how many parts are needed, and how many there are |
//! | 16 | a salt |
//! | | for each part, the first at x = 1: |
//! | 2 + n, 1 + n, 1 + n | the vault's id, its key's name and its version |
//! | 1 | how it is wrapped, by the numbers of [`WrapAlgorithm`] |
//! | 16 | its commitment: the start of SHA-256 over a label, the salt, x and the part |
//! | 2 + n | the part, wrapped by the vault |
//! | n | the DEK, by AES-256 key wrap with padding (RFC 5649) |
//!
//! Lengths have the high byte first. The key that wraps the DEK is an HMAC of everything before it, and of the name of the
//! quorum's key, under the secret that the parts share. So nothing here can be changed, taken from another bundle or given
//! another name without that secret. The commitments only tell which vault has given a wrong part.

use atrest::key::{HmacSha256, KeyId, WrapAlgorithm, WrappedDek, sha256};
use atrest::{Result, Secret};

const MAGIC: [u8; 5] = *b"ATRQ\x01";
pub(crate) const SALT: usize = 16;
const COMMITMENT: usize = 16;
/// The most vaults of a quorum.
pub(crate) const MAX_MEMBERS: usize = 16;

/// One part, as its vault wraps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) wrapped: WrappedDek,
    commitment: [u8; COMMITMENT],
}

impl Part {
    pub(crate) fn new(wrapped: WrappedDek, salt: &[u8; SALT], place: usize, part: &Secret) -> Result<Self> {
        Ok(Part { wrapped, commitment: commit(salt, place, part)? })
    }

    /// Whether this is the part that was wrapped.
    pub(crate) fn is(&self, salt: &[u8; SALT], place: usize, part: &Secret) -> Result<bool> {
        // A part has as many random bits as a key, so its commitment reveals nothing about it.
        Ok(commit(salt, place, part)? == self.commitment)
    }
}

fn commit(salt: &[u8; SALT], place: usize, part: &Secret) -> Result<[u8; COMMITMENT]> {
    let hash = sha256(&[b"atrest quorum part v1", salt, &[place as u8], part.expose()])?;
    Ok(core::array::from_fn(|at| hash[at]))
}

/// All parts, before the wrapped DEK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) threshold: usize,
    pub(crate) salt: [u8; SALT],
    pub(crate) parts: Vec<Part>,
}

impl Bundle {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([self.threshold as u8, self.parts.len() as u8]);
        out.extend(self.salt);
        for Part { wrapped, commitment } in &self.parts {
            out.extend((wrapped.kek.vault().len() as u16).to_be_bytes());
            out.extend(wrapped.kek.vault().as_bytes());
            for name in [wrapped.kek.key(), wrapped.kek.version()] {
                out.push(name.len() as u8);
                out.extend(name.as_bytes());
            }
            out.push(wrapped.algorithm.code() as u8);
            out.extend(commitment);
            out.extend((wrapped.bytes.len() as u16).to_be_bytes());
            out.extend(&wrapped.bytes);
        }
        out
    }

    /// Reads a bundle, and returns the bytes behind it: the wrapped DEK. `None` if it is malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let [threshold, count] = take(&mut rest, 2)?.try_into().ok()?;
        let (threshold, count) = (usize::from(threshold), usize::from(count));
        if !(2..=count).contains(&threshold) || count > MAX_MEMBERS {
            return None;
        }
        let salt = take(&mut rest, SALT)?.try_into().ok()?;
        let mut parts: Vec<Part> = Vec::with_capacity(count);
        for _ in 0..count {
            let vault = long(&mut rest)?;
            let [key, version] = [short(&mut rest)?, short(&mut rest)?];
            let text = |bytes| core::str::from_utf8(bytes).ok();
            let kek = KeyId::new(text(vault)?, text(key)?, text(version)?).ok()?;
            let algorithm = WrapAlgorithm::from_code(take(&mut rest, 1)?[0].into())?;
            let commitment = take(&mut rest, COMMITMENT)?.try_into().ok()?;
            let bytes = long(&mut rest)?.to_vec();
            // Two parts in one vault would be fewer vaults than are needed.
            if bytes.is_empty() || parts.iter().any(|part| part.wrapped.kek.vault() == kek.vault()) {
                return None;
            }
            parts.push(Part { wrapped: WrappedDek::new(kek, algorithm, bytes), commitment });
        }
        Some((Bundle { threshold, salt, parts }, rest))
    }

    /// The key that wraps the DEK.
    pub(crate) fn key(&self, secret: &Secret, kek: &KeyId) -> Result<Secret> {
        // The encoding is unambiguous: its start gives the length of each part.
        let (bundle, kek) = (self.to_bytes(), kek.to_string());
        HmacSha256::new(secret.expose())?.derive(&[b"atrest quorum v1", &bundle, kek.as_bytes()])
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take(rest, 1)?[0];
    take(rest, len.into())
}

fn long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, len.into())
}
