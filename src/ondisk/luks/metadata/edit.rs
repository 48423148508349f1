//! Changes to a header's keyslots and tokens. Each is made on a copy, which is then checked like a header that was
//! read. A change that would make the header invalid is dropped.

use super::json::{array, free_id, member, numbered, root};
use super::text::Raw;
use super::{Keyslot, Metadata, Priority, WIPING_TYPE, check_room};
use crate::{Error, Result};

/// The alignment of keyslot areas.
const ALIGNMENT: u64 = 4096;

impl Metadata {
    /// Inserts a passphrase's keyslot, or replaces the one of the same number. Binds it to digest number `digest` only.
    /// Unknown members of a replaced keyslot of the same type stay.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: a keyslot of another kind, no such digest, an area that isn't free, costs of zero.
    pub fn set_keyslot(&mut self, keyslot: &Keyslot, digest: u32) -> Result<()> {
        self.edit(|text| {
            let old = member(&root(&text), "keyslots")?.get(&keyslot.id.to_string())?;
            let object = keyslot.to_json(old)?;
            let mut text = with(&text, "keyslots", keyslot.id, &object)?;
            if member(&root(&text), "digests")?.get(&digest.to_string())?.is_none() {
                return Err(format!("there is no digest {digest}"));
            }
            let numbers: Vec<u32> = numbered(&root(&text), "digests")?.into_iter().map(|(number, _)| number).collect();
            for number in numbers {
                text = rename(&text, "digests", number, keyslot.id, number == digest)?;
            }
            Ok(text)
        })
    }

    /// Removes a keyslot, also from the digests and tokens that name it. A token that then names no keyslot stays until
    /// it is removed itself.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn remove_keyslot(&mut self, id: u32) -> Result<()> {
        self.edit(|text| {
            object(&text, "keyslots", id).ok_or_else(|| no_keyslot(id))?;
            unbind(without(&text, "keyslots", id)?, id)
        })
    }

    /// Sets the priority of a keyslot.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn set_priority(&mut self, id: u32, priority: Priority) -> Result<()> {
        self.edit(|text| {
            let object = object(&text, "keyslots", id).and_then(Raw::object).ok_or_else(|| no_keyslot(id))?;
            // Absence means normal; the reference implementation also writes normal by removing the member.
            let object = match priority {
                Priority::Normal => object.without("priority")?,
                other => object.with("priority", (other as u32).to_string().as_bytes())?,
            };
            with(&text, "keyslots", id, &object)
        })
    }

    /// Replaces a keyslot by one of type `kind` that only has the old one's area, and is bound to no digest or token.
    /// With [`WIPING_TYPE`] the area stays reserved but can't be opened. Call it before overwriting the area.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot, or the type needs more members.
    pub fn replace_keyslot_type(&mut self, id: u32, kind: &str) -> Result<()> {
        self.edit(|text| {
            let object = object(&text, "keyslots", id).and_then(Raw::object).ok_or_else(|| no_keyslot(id))?;
            let mut new = b"{}".to_vec();
            for name in ["type", "key_size", "area"] {
                let old = object.get(name)?.ok_or_else(|| format!("keyslot {id} has no {name}"))?;
                new = root(&new).with(name, old.bytes())?;
            }
            let kind = serde_json::to_vec(kind).expect("a text can be written");
            new = root(&new).with("type", &kind)?;
            unbind(with(&text, "keyslots", id, &new)?, id)
        })
    }

    /// Marks a keyslot before its area is overwritten: [`replace_keyslot_type`](Self::replace_keyslot_type) with
    /// [`WIPING_TYPE`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn mark_wiping(&mut self, id: u32) -> Result<()> {
        self.replace_keyslot_type(id, WIPING_TYPE)
    }

    /// Inserts a sound token, or replaces the one of the same number.
    pub(in crate::ondisk::luks) fn set_token_object(&mut self, id: u32, json: &[u8]) {
        self.text = with(&self.text, "tokens", id, json).expect("the metadata was checked");
    }

    /// Removes a token of any type.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such token.
    pub fn remove_token(&mut self, id: u32) -> Result<()> {
        self.edit(|text| {
            object(&text, "tokens", id).ok_or_else(|| format!("there is no token {id}"))?;
            without(&text, "tokens", id)
        })
    }

    /// Inserts a token under the first free number and returns that number.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: the text is not a JSON object, lacks `type` or `keyslots`, or names a keyslot that
    /// does not exist; [`Error::NoRoom`].
    pub(in crate::ondisk::luks) fn add_token_object(&mut self, json: &[u8]) -> Result<u32> {
        let id = self.free_token_id().ok_or_else(|| Error::NoRoom("all 32 tokens are taken".into()))?;
        self.edit(|text| with(&text, "tokens", id, json))?;
        Ok(id)
    }

    /// The first free keyslot number; `None` if all 32 are taken.
    pub fn free_keyslot_id(&self) -> Option<u32> {
        free_id(self.keyslots.iter().map(|keyslot| keyslot.id))
    }

    /// The first free token number; `None` if all 32 are taken.
    pub fn free_token_id(&self) -> Option<u32> {
        free_id(self.token_objects().iter().map(|token| token.id))
    }

    /// The offset of the first gap of `size` bytes in the keyslots area, aligned to 4096 bytes. Keyslots of all kinds
    /// occupy their areas.
    pub fn free_area(&self, size: u64) -> Option<u64> {
        let end = self.config.keyslots.offset + self.config.keyslots.size;
        let mut areas: Vec<_> = self.keyslots.iter().map(|keyslot| keyslot.area).collect();
        areas.sort_by_key(|area| area.offset);
        let mut gap = self.config.keyslots.offset;
        for area in areas {
            if area.offset.saturating_sub(gap) >= size {
                break;
            }
            gap = (area.offset + area.size).next_multiple_of(ALIGNMENT);
        }
        gap.checked_add(size).filter(|to| *to <= end).map(|_| gap)
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, String>) -> Result<()> {
        let text = change(self.text.clone()).map_err(Error::InvalidOption)?;
        check_room(text.len(), self.header_size)?;
        *self = Self::from_text(text, self.header_size).map_err(Error::InvalidOption)?;
        Ok(())
    }
}

fn no_keyslot(id: u32) -> String {
    format!("there is no keyslot {id}")
}

/// A numbered object of a top-level object, if there is one.
fn object<'a>(text: &'a [u8], group: &str, id: u32) -> Option<Raw<'a>> {
    member(&root(text), group).ok()?.get(&id.to_string()).ok()?
}

/// The text with a numbered object inserted or replaced in a top-level object.
pub(super) fn with(text: &[u8], group: &str, id: u32, object: &[u8]) -> Result<Vec<u8>, String> {
    let root = root(text);
    let group_text = member(&root, group)?.with(&id.to_string(), object)?;
    root.with(group, &group_text)
}

/// The text without a numbered object of a top-level object.
pub(super) fn without(text: &[u8], group: &str, id: u32) -> Result<Vec<u8>, String> {
    let root = root(text);
    let group_text = member(&root, group)?.without(&id.to_string())?;
    root.with(group, &group_text)
}

/// Replaces a list of numbers in a numbered object of a top-level object.
pub(super) fn set_list(text: &[u8], group: &str, of: u32, name: &str, numbers: &[u32]) -> Result<Vec<u8>, String> {
    let found = object(text, group, of).and_then(Raw::object).ok_or_else(|| format!("there is no {group} {of}"))?;
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    with(text, group, of, &found.with(name, serde_json::json!(numbers).to_string().as_bytes())?)
}

/// Makes a digest or token name a keyslot, or not name it. It stays as it is if that was already so.
fn rename(text: &[u8], group: &str, of: u32, keyslot: u32, named: bool) -> Result<Vec<u8>, String> {
    let found = object(text, group, of).and_then(Raw::object).ok_or_else(|| format!("there is no {group} {of}"))?;
    let id = format!("\"{keyslot}\"");
    let is_it = |name: &Raw<'_>| name.string().is_ok_and(|name| name.is_some_and(|name| *name == *keyslot.to_string()));
    if array(&found, "keyslots")?.any(|name| is_it(&name)) == named {
        return Ok(text.to_vec());
    }
    let stay = array(&found, "keyslots")?.filter(|name| !is_it(name)).map(Raw::bytes);
    let names: Vec<&[u8]> = stay.chain(named.then_some(id.as_bytes())).collect();
    let names = [&b"["[..], &names.join(&b','), b"]"].concat();
    with(text, group, of, &found.with("keyslots", &names)?)
}

/// Removes a keyslot from all digests and tokens that name it.
fn unbind(mut text: Vec<u8>, id: u32) -> Result<Vec<u8>, String> {
    for group in ["digests", "tokens"] {
        let numbers: Vec<u32> = numbered(&root(&text), group)?.into_iter().map(|(number, _)| number).collect();
        for number in numbers {
            text = rename(&text, group, number, id, false)?;
        }
    }
    Ok(text)
}
