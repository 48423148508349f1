//! The token of type `atrest-written`: the place of the map of written chunks.
//!
//! It has a MAC of its own, because a volume that only passphrases open has no token of type `atrest`. The requirement beside it
//! keeps other programs from showing noise as data. The MAC of an `atrest` token covers the requirement.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;

use super::fields::Fields;
use super::metadata::Metadata;
use super::metadata::json::{binary, integer, objects, root, string, uint64};
use super::metadata::text::Object;
use super::written_page::{PAGE, PAGE_CHUNKS, PageKeys};
use crate::{Dek, Error, Result, random};

/// The `type` of the token.
pub(crate) const WRITTEN_TYPE: &str = "atrest-written";

/// The mandatory requirement of a volume with such a map.
pub(crate) const WRITTEN_REQUIREMENT: &str = "atrest-written-v1";

const VERSION: u32 = 1;
const MAC_FIELD: &str = "atrest written map v1";
const SALT: usize = 32;
const MAC: usize = 32;

/// The last number that a token may have, so that the ways in keep the first ones.
const ID: u32 = 31;

/// The most pages: 32 MiB, twice.
const MAX_PAGES: u32 = 8192;

/// The place and the unit of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenMap {
    /// Its first byte on the device of the header.
    pub(crate) offset: u64,
    /// The size of a chunk in bytes: a power of two from 4 KiB to 1 MiB.
    pub(crate) chunk_size: u32,
    /// The number of pages, each of which is stored twice.
    pub(crate) pages: u32,
    salt: [u8; SALT],
}

impl WrittenMap {
    /// The place of a new map at `offset`, for at least `size` bytes of data.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub(crate) fn new(offset: u64, chunk_size: u32, size: u64) -> Result<Self> {
        if !is_chunk(chunk_size) {
            let text = "a chunk of the map of written chunks has 4 KiB to 1 MiB, a power of two";
            return Err(Error::InvalidOption(text.into()));
        }
        let pages = size.div_ceil(u64::from(chunk_size)).div_ceil(PAGE_CHUNKS).max(1);
        let fits = u32::try_from(pages).ok().filter(|pages| *pages <= MAX_PAGES);
        let pages = fits.ok_or_else(|| {
            let most = u64::from(MAX_PAGES) * PAGE_CHUNKS * u64::from(chunk_size);
            let text = "bytes of data are too many for a map of written chunks";
            Error::InvalidOption(format!("{size} {text} of {chunk_size} bytes, which takes {most}; take larger chunks"))
        })?;
        Ok(WrittenMap { offset, chunk_size, pages, salt: random::array()? })
    }

    /// The number of bytes that it takes.
    pub(crate) fn len(&self) -> u64 {
        2 * u64::from(self.pages) * PAGE as u64
    }

    /// The first byte of one of the two copies of a page.
    pub(crate) fn place(&self, page: usize, copy: usize) -> u64 {
        self.offset + (copy as u64 * u64::from(self.pages) + page as u64) * PAGE as u64
    }

    /// The most bytes of data that it has bits for.
    pub(crate) fn capacity(&self) -> u64 {
        u64::from(self.pages) * PAGE_CHUNKS * u64::from(self.chunk_size)
    }

    /// The keys of its pages.
    pub(crate) fn keys(&self, dek: &Dek) -> PageKeys {
        PageKeys::derive(dek, &self.salt)
    }

    fn keyed_mac(&self, keys: &PageKeys, uuid: &str) -> Result<Hmac<sha2::Sha256>> {
        let key = keys.token_key()?;
        let mut mac = Fields(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"));
        mac.field(MAC_FIELD);
        mac.field(uuid);
        mac.field(self.offset.to_be_bytes());
        mac.field(self.chunk_size.to_be_bytes());
        mac.field(self.pages.to_be_bytes());
        mac.field(self.salt);
        Ok(mac.0)
    }

    fn from_json(token: &Object<'_>) -> Result<(Self, Vec<u8>), String> {
        let version = integer(token, "version")?;
        if version != VERSION {
            return Err(format!("its version is {version}, this library reads version {VERSION}"));
        }
        let (chunk_size, pages) = (integer(token, "chunk_size")?, integer(token, "pages")?);
        if !is_chunk(chunk_size) || !(1..=MAX_PAGES).contains(&pages) {
            return Err(format!("{pages} pages with chunks of {chunk_size} bytes are out of bounds"));
        }
        let offset = uint64(token, "offset")?;
        if !offset.is_multiple_of(PAGE as u64) || offset > 1 << 40 {
            return Err(format!("its offset, {offset}, is out of bounds"));
        }
        let salt = binary(token, "salt", SALT)?.try_into().map_err(|_| "its salt is shorter than 32 bytes")?;
        Ok((WrittenMap { offset, chunk_size, pages, salt }, binary(token, "mac", MAC)?))
    }
}

impl Metadata {
    /// Adds a map to the header of a new volume. Returns the keys of its pages.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn add_written_map(&mut self, map: &WrittenMap, dek: &Dek, uuid: &str) -> Result<()> {
        let mac = map.keyed_mac(&map.keys(dek), uuid)?.finalize().into_bytes();
        let token = json!({
            "type": WRITTEN_TYPE,
            "keyslots": [],
            "version": VERSION,
            "offset": map.offset.to_string(),
            "chunk_size": map.chunk_size,
            "pages": map.pages,
            "salt": Base64::encode_string(&map.salt),
            "mac": Base64::encode_string(&mac),
        });
        self.set_token_object(ID, token.to_string().as_bytes());
        self.require(|names| names.push(WRITTEN_REQUIREMENT.into()))
    }

    /// The map, if the volume has one. An owner of the DEK must have put it there.
    ///
    /// # Errors
    /// [`Error::TamperedHeader`]; [`Error::InvalidHeader`].
    pub(crate) fn written_map(&self, dek: &Dek, uuid: &str) -> Result<Option<WrittenMap>> {
        let tokens = objects(&root(self.text()), "tokens").map_err(Error::InvalidHeader)?;
        let is_ours = |token: &Object<'_>| string(token, "type").is_ok_and(|kind| kind == WRITTEN_TYPE);
        let mut ours = tokens.into_iter().map(|(_, token)| token).filter(is_ours);
        let required = self.requirements().iter().any(|name| name == WRITTEN_REQUIREMENT);
        match (ours.next(), ours.next(), required) {
            (None, _, false) => Ok(None),
            (Some(token), None, true) => {
                let (map, mac) = WrittenMap::from_json(&token)
                    .map_err(|what| Error::InvalidHeader(format!("its {WRITTEN_TYPE} token: {what}")))?;
                let proof = map.keyed_mac(&map.keys(dek), uuid)?;
                proof.verify_slice(&mac).map_err(|_| Error::TamperedHeader)?;
                Ok(Some(map))
            }
            _ => Err(Error::TamperedHeader),
        }
    }

    /// Whether a token names the place of the map, without which the volume doesn't open.
    pub(crate) fn is_of_written_map(&self, id: u32) -> bool {
        self.token_objects().iter().any(|token| token.id == id && token.kind == WRITTEN_TYPE)
    }
}

fn is_chunk(size: u32) -> bool {
    size.is_power_of_two() && (4096..=1 << 20).contains(&size)
}

#[cfg(test)]
mod tests {
    use super::super::metadata::json::parse;
    use super::*;
    use crate::{DekAlgorithm, Secret};

    #[test]
    fn a_token_is_the_one_that_the_formats_have() {
        let text = include_str!("../../../docs/formats/written-map.md");
        let block = text.split_once("<!-- example: written-token -->\n```json\n").unwrap().1;
        let (map, mac) =
            WrittenMap::from_json(&parse(block.split_once("\n```").unwrap().0.as_bytes()).unwrap()).unwrap();
        assert_eq!((map.offset, map.chunk_size, map.pages), (1_040_384, 4096, 1));
        let dek: Vec<u8> = (0..64).collect();
        let dek = Dek::from_secret(DekAlgorithm::Aes256Xts, Secret::copy_from(&dek)).unwrap();
        let proven = |uuid| map.keyed_mac(&map.keys(&dek), uuid).unwrap().verify_slice(&mac).is_ok();
        assert!(proven("5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a"));
        assert!(!proven("5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5b"));
    }
}
