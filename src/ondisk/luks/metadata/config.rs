//! The config object: sizes, flags, requirements (section 3.5).

use super::json::{member, strings, uint64};
use super::keyslot::Area;
use super::text::Object;
use crate::ondisk::luks::{BINARY_HEADER, HEADER_SIZES};

/// The most bytes of the keyslots area: the reference implementation's limit.
pub(super) const MAX_KEYSLOTS_SIZE: u64 = 128 << 20;

/// The content of the config object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    /// The keyslots area, directly after both copies of the header.
    pub(super) keyslots: Area,
    pub(super) flags: Vec<String>,
    pub(super) requirements: Vec<String>,
}

impl Config {
    pub(super) fn from_root(root: &Object<'_>, header_size: u64) -> Result<Self, String> {
        if !HEADER_SIZES.contains(&header_size) {
            return Err(format!("its size, {header_size} bytes, is none of those that the format has"));
        }
        let config = &member(root, "config")?;
        let json_size = uint64(config, "json_size")?;
        if json_size != header_size - BINARY_HEADER as u64 {
            return Err(format!("its json_size, {json_size}, does not match its binary header"));
        }
        let size = uint64(config, "keyslots_size")?;
        if !size.is_multiple_of(4096) || size > MAX_KEYSLOTS_SIZE {
            return Err(format!("its keyslots_size, {size}, is not a multiple of 4096 up to 128 MiB"));
        }
        let flags = if config.contains("flags") { strings(config, "flags")? } else { Vec::new() };
        let keyslots = Area { offset: 2 * header_size, size };
        Ok(Config { keyslots, flags, requirements: requirements(config)? })
    }
}

/// The reference implementation writes an object with an array `mandatory`; without the array there are no
/// requirements. In the specification the array itself is the value.
fn requirements(config: &Object<'_>) -> Result<Vec<String>, String> {
    let Some(requirements) = config.get("requirements")? else { return Ok(Vec::new()) };
    match requirements.object() {
        Some(object) if object.contains("mandatory") => strings(&object, "mandatory"),
        Some(_) => Ok(Vec::new()),
        None if requirements.array().is_some() => strings(config, "requirements"),
        None => Err("its requirements are not known: they are no list".into()),
    }
}
