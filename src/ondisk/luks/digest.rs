//! The digest that verifies a volume key (section 3.4).

use subtle::ConstantTimeEq;

use super::metadata::json::{MAX_BINARY, binary, integer, references, string};
use super::metadata::text::Object;
use crate::key::{HashAlgorithm, self_test};
use crate::{Error, Result, Secret};

/// The most iterations that a header may ask for: a few seconds of one CPU. Without a limit, a header could cause a
/// denial of service.
const MAX_ITERATIONS: u32 = 10_000_000;

/// The cost of our own digests. The key is random, so guessing it costs 2^256 anyway. 1000 is the least that the
/// reference implementation accepts.
const OWN_ITERATIONS: u32 = 1000;

/// A digest object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Its number.
    pub id: u32,
    /// The keyslots that hold its key.
    pub keyslots: Vec<u32>,
    /// The segments whose key it verifies.
    pub segments: Vec<u32>,
    /// Its parameters; `None` for an unknown type.
    pub pbkdf2: Option<VolumeKeyDigest>,
}

/// A digest of type `pbkdf2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeKeyDigest {
    /// The hash's name, usually `sha256`.
    pub hash: String,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest itself.
    pub digest: Vec<u8>,
}

impl Digest {
    /// Reads a digest of a header with these keyslots and segments.
    pub(super) fn from_json(id: u32, digest: &Object<'_>, keyslots: &[u32], segments: &[u32]) -> Result<Self, String> {
        let keyslots = references(digest, "keyslots", keyslots)?;
        let segments = references(digest, "segments", segments)?;
        let pbkdf2 = match &*string(digest, "type")? {
            "pbkdf2" => Some(VolumeKeyDigest {
                hash: string(digest, "hash")?.into_owned(),
                iterations: integer(digest, "iterations")?,
                salt: binary(digest, "salt", MAX_BINARY)?,
                digest: binary(digest, "digest", MAX_BINARY)?,
            }),
            _ => None,
        };
        // An empty digest would verify any key.
        if pbkdf2.as_ref().is_some_and(|d| d.iterations == 0 || d.digest.len() < 20) {
            return Err("it has no iterations, or is shorter than 20 bytes".into());
        }
        Ok(Digest { id, keyslots, segments, pbkdf2 })
    }
}

impl VolumeKeyDigest {
    /// A digest of `key`, with a salt of 32 random bytes.
    ///
    /// # Errors
    /// [`Error::SelfTest`].
    pub(crate) fn new(key: &Secret, salt: [u8; 32]) -> Result<Self> {
        let hash = HashAlgorithm::Sha256;
        self_test::pbkdf2(hash)?;
        let mut digest = vec![0; hash.output_len()];
        hash.pbkdf2(key.expose(), &salt, OWN_ITERATIONS, &mut digest);
        Ok(VolumeKeyDigest { hash: hash.name().into(), iterations: OWN_ITERATIONS, salt: salt.to_vec(), digest })
    }

    /// Refuses unknown hashes, and costs that a header may not demand.
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`]: a hash that this build doesn't know; over 10,000,000 iterations; a digest
    /// longer than its hash, because PBKDF2 repeats all its work for each block.
    pub(crate) fn check(&self) -> Result<()> {
        self.checked_hash().map(|_| ())
    }

    fn checked_hash(&self) -> Result<HashAlgorithm> {
        let no = |text: String| Err(Error::UnsupportedHeader(text));
        let Some(hash) = HashAlgorithm::from_name(&self.hash) else {
            let why = HashAlgorithm::why_unknown(&self.hash);
            return no(format!("its digest uses the hash {:?}, {why}", self.hash));
        };
        if self.iterations > MAX_ITERATIONS {
            return no(format!("its digest asks for {} iterations, over {MAX_ITERATIONS}", self.iterations));
        }
        if self.digest.len() > hash.output_len() {
            return no(format!("its digest has {} bytes, more than {} gives", self.digest.len(), self.hash));
        }
        Ok(hash)
    }

    /// Verifies `key`.
    ///
    /// # Errors
    /// [`Error::WrongKey`], and the errors of [`check`](Self::check).
    pub(crate) fn verify(&self, key: &Secret) -> Result<()> {
        let digest = self.of(key)?;
        if digest.ct_eq(&self.digest).into() { Ok(()) } else { Err(Error::WrongKey) }
    }

    /// The digest of `key`, with the same cost and length.
    pub(super) fn of(&self, key: &Secret) -> Result<Vec<u8>> {
        let hash = self.checked_hash()?;
        self_test::pbkdf2(hash)?;
        let mut digest = vec![0; self.digest.len()];
        hash.pbkdf2(key.expose(), &self.salt, self.iterations, &mut digest);
        Ok(digest)
    }
}
