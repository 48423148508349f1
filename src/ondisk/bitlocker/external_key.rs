//! Files with a startup key, `.BEK`: a header like that of the metadata, and one entry.

use super::bytes::{array, u32_at, u64_at};
use super::entry::{self, EXTERNAL_KEY_METHOD, Key, entries, make};
use super::guid::Guid;
use crate::{Error, Result, Secret};

/// The most bytes of such a file. Those of Windows have 156 or 180.
pub(crate) const MAX_FILE: u64 = 64 << 10;

const HEADER: usize = 48;
const KEY: usize = 32;
/// The size in bytes of the entry's identifier and time, which precede the entries within.
const FIXED: usize = 24;
/// The name that Windows gives to such a key.
const NAME: &str = "ExternalKey";

/// A startup key.
pub(crate) struct ExternalKey {
    /// The protector that it opens.
    pub(crate) id: Guid,
    /// The time when it was made, as Windows counts.
    pub(crate) time: u64,
    pub(crate) key: Secret,
}

impl ExternalKey {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn random(time: u64) -> Result<Self> {
        Ok(ExternalKey { id: Guid::random()?, time, key: Secret::random(KEY)? })
    }

    /// The bytes of its file, as Windows 7 to 10 write it. Windows 11 adds the identifier of the volume, but doesn't need it.
    pub(crate) fn file(&self) -> Secret {
        let (key, name) = (Key::make(EXTERNAL_KEY_METHOD, &self.key, 1), name());
        let len = entry::HEADER + FIXED + name.len() + key.len();
        let (size, version, header) = ((HEADER + len) as u32, 1, HEADER as u32);
        let (next_nonce, method) = (1, 0); // nothing in it is sealed
        let time = self.time.to_le_bytes();
        let sizes = [size, version, header, size].map(u32::to_le_bytes);
        let nothing = [next_nonce, method].map(u32::to_le_bytes);
        let fields = [len as u16, entry::EXTERNAL_KEY, entry::EXTERNAL, 1].map(u16::to_le_bytes);
        let (id, nothing, fields) = (&self.id.0[..], nothing.as_flattened(), fields.as_flattened());
        let parts = [sizes.as_flattened(), id, nothing, &time, fields, id, &time, &name, key.expose()];
        // Don't join them in other memory: the last one is secret.
        let (mut file, mut at) = (Secret::zeroed(HEADER + len), 0);
        for part in parts {
            file.expose_mut()[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        file
    }

    /// # Errors
    /// [`Error::InvalidOption`] names the defect, and shows none of the file's bytes.
    pub(crate) fn parse(file: &[u8]) -> Result<Self> {
        Self::find(file).map_err(|text| Error::InvalidOption(format!("not a startup key of BitLocker (.BEK): {text}")))
    }

    fn find(file: &[u8]) -> Result<Self, String> {
        if file.len() as u64 > MAX_FILE {
            return Err(format!("it has {} bytes, more than {MAX_FILE}", file.len()));
        }
        let field = |at| u32_at(file, at).ok_or_else(|| format!("it has {} bytes, fewer than {HEADER}", file.len()));
        if (field(4)?, field(8)?) != (1, HEADER as u32) {
            return Err("its header is of no known version".into());
        }
        if field(0)? as usize != file.len() || file.len() < HEADER {
            return Err(format!("it has {} bytes, and its header says {}", file.len(), field(0)?));
        }
        for found in entries(&file[HEADER..]) {
            let found = found?;
            if (found.role, found.kind) != (entry::EXTERNAL_KEY, entry::EXTERNAL) {
                continue;
            }
            let fields = (array(found.data, 0), u64_at(found.data, 16), found.data.get(FIXED..));
            let (Some(id), Some(time), Some(rest)) = fields else { return Err("its entry is cut off".into()) };
            for property in entries(rest) {
                let property = property?;
                if property.kind == entry::KEY {
                    let key = Key::parse(property.data)?.bytes;
                    if key.len() != KEY {
                        return Err(format!("its key has {} bytes, not {KEY}", key.len()));
                    }
                    return Ok(ExternalKey { id: Guid(id), time, key });
                }
            }
        }
        Err("it holds no key".into())
    }
}

/// The entry of its name, in the file and in the metadata.
pub(super) fn name() -> Vec<u8> {
    let text: Vec<u8> = NAME.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    make(0, entry::TEXT, &text)
}
