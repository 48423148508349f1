//! Files with a startup key, `.BEK`: a header like that of the metadata, and one entry.

use super::bytes::{array, u32_at};
use super::entry::{self, Key, entries};
use super::guid::Guid;
use crate::{Error, Result, Secret};

/// The most bytes of such a file. Those of Windows have 156 or 180.
pub(crate) const MAX_FILE: u64 = 64 << 10;

const HEADER: usize = 48;

/// A startup key.
pub(crate) struct ExternalKey {
    /// The protector that it opens.
    pub(crate) id: Guid,
    pub(crate) key: Secret,
}

impl ExternalKey {
    /// # Errors
    /// [`Error::InvalidOption`] says what is wrong, and shows nothing of the file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self> {
        Self::find(file).map_err(|text| Error::InvalidOption(format!("not a startup key of BitLocker (.BEK): {text}")))
    }

    fn find(file: &[u8]) -> Result<Self, String> {
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
            let (id, rest) = (array(found.data, 0), found.data.get(24..));
            let (Some(id), Some(rest)) = (id, rest) else { return Err("its entry is cut off".into()) };
            for property in entries(rest) {
                let property = property?;
                if property.kind == entry::KEY {
                    let key = Key::parse(property.data)?.bytes;
                    if key.len() != 32 {
                        return Err(format!("its key has {} bytes, not 32", key.len()));
                    }
                    return Ok(ExternalKey { id: Guid(id), key });
                }
            }
        }
        Err("it holds no key".into())
    }
}
