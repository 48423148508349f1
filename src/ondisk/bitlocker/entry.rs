//! Entries, the parts of metadata and of startup key files. Some have entries within.

use super::bytes::{array, u16_at, u32_at};
use crate::Secret;

/// Size, role, kind and version.
pub(super) const HEADER: usize = 8;

/// An entry of the metadata.
pub(super) struct Entry<'a> {
    /// Its purpose.
    pub(super) role: u16,
    /// The structure of `data`.
    pub(super) kind: u16,
    pub(super) data: &'a [u8],
}

// Roles.
pub(super) const PROTECTOR: u16 = 0x02;
pub(super) const VOLUME_KEY: u16 = 0x03;
pub(super) const EXTERNAL_KEY: u16 = 0x06;
pub(super) const DESCRIPTION: u16 = 0x07;
pub(super) const VOLUME_HEADER: u16 = 0x0f;

// Kinds.
pub(super) const KEY: u16 = 0x01;
pub(super) const TEXT: u16 = 0x02;
pub(super) const STRETCHED: u16 = 0x03;
pub(super) const USED: u16 = 0x04;
pub(super) const SEALED: u16 = 0x05;
pub(super) const MASTER_KEY: u16 = 0x08;
pub(super) const EXTERNAL: u16 = 0x09;

// The purposes of keys.
pub(super) const CLEAR_KEY_METHOD: u16 = 0x2000;
pub(super) const EXTERNAL_KEY_METHOD: u16 = 0x2002;

/// The entries in `bytes`. A defect ends them. Zeros after the last one are padding.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, String>> {
    let mut left = bytes;
    core::iter::from_fn(move || {
        if left.iter().all(|byte| *byte == 0) {
            return None;
        }
        let size = u16_at(left, 0).map_or(0, usize::from);
        let entry = left.split_at_checked(size).filter(|_| size >= HEADER);
        let Some((entry, rest)) = entry else {
            let text = format!("an entry of {size} bytes where {} are left", left.len());
            left = &[];
            return Some(Err(text));
        };
        left = rest;
        let [_, _, r0, r1, k0, k1] = array(entry, 0)?;
        let (role, kind) = (u16::from_le_bytes([r0, r1]), u16::from_le_bytes([k0, k1]));
        Some(Ok(Entry { role, kind, data: &entry[HEADER..] }))
    })
}

/// The bytes of an entry, of less than 64 KiB.
pub(super) fn make(role: u16, kind: u16, data: &[u8]) -> Vec<u8> {
    let fields = [(HEADER + data.len()) as u16, role, kind, 1].map(u16::to_le_bytes);
    [fields.as_flattened(), data].concat()
}

/// A key and its purpose.
pub(crate) struct Key {
    pub(crate) method: u16,
    pub(crate) bytes: Secret,
}

impl Key {
    /// Reads the data of an entry of the kind [`KEY`].
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let method = u32_at(data, 0).ok_or("a key's entry is cut off")?;
        Ok(Key { method: method as u16, bytes: Secret::copy_from(&data[4..]) })
    }

    /// The bytes of an entry with a key. Its version is 1 in the clear, and 0 within a sealed entry.
    pub(super) fn make(method: u16, key: &Secret, version: u16) -> Secret {
        let mut entry = Secret::zeroed(HEADER + 4 + key.len());
        let (fields, rest) = entry.expose_mut().split_at_mut(HEADER);
        fields.copy_from_slice(
            [(fields.len() + rest.len()) as u16, 0, KEY, version].map(u16::to_le_bytes).as_flattened(),
        );
        rest[..2].copy_from_slice(&method.to_le_bytes());
        rest[4..].copy_from_slice(key.expose());
        entry
    }

    /// Reads a single entry, which `bytes` must hold alone.
    pub(super) fn from_entry(bytes: &[u8]) -> Result<Self, String> {
        let entry = entries(bytes).next().ok_or("a sealed key is empty")??;
        if entry.kind != KEY || HEADER + entry.data.len() != bytes.len() {
            return Err("a sealed key holds something else".into());
        }
        Self::parse(entry.data)
    }
}
