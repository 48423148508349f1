//! Changes to a header's keyslots and tokens. Each is made on a copy, which is checked as if it had been read; one that
//! would make the header invalid leaves it as it was.

use super::json::{array, free_id, member, numbered, root};
use super::text::Raw;
use super::{Keyslot, Metadata, Priority, WIPING_TYPE, check_room};
use crate::{Error, Result};

/// What the areas of keyslots are aligned to.
const ALIGNMENT: u64 = 4096;

impl Metadata {
    /// Puts a passphrase's keyslot in, in place of the one of that number if there is one, and binds it to the digest of
    /// that number and to no other. What is not known here of a keyslot of the same type stays.
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

    /// Takes a keyslot out, also from the digests and tokens that name it. A token that then names none stays, unless it
    /// is removed by itself.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn remove_keyslot(&mut self, id: u32) -> Result<()> {
        self.edit(|text| {
            object(&text, "keyslots", id).ok_or_else(|| no_keyslot(id))?;
            unbind(without(&text, "keyslots", id)?, id)
        })
    }

    /// Sets when a keyslot is tried.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn set_priority(&mut self, id: u32, priority: Priority) -> Result<()> {
        self.edit(|text| {
            let object = object(&text, "keyslots", id).and_then(Raw::object).ok_or_else(|| no_keyslot(id))?;
            // Normal is what its absence means, and what the reference implementation writes by taking it out.
            let object = match priority {
                Priority::Normal => object.without("priority")?,
                other => object.with("priority", (other as u32).to_string().as_bytes())?,
            };
            with(&text, "keyslots", id, &object)
        })
    }

    /// Makes a keyslot one of another type that has nothing but its area, bound to no digest and no token. With
    /// [`WIPING_TYPE`] its area is still taken, but nobody opens it: to be done before its bytes are overwritten.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot, or a type that has more members.
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

    /// Marks a keyslot whose area is about to be overwritten: [`replace_keyslot_type`](Self::replace_keyslot_type) with
    /// [`WIPING_TYPE`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn mark_wiping(&mut self, id: u32) -> Result<()> {
        self.replace_keyslot_type(id, WIPING_TYPE)
    }

    /// Puts a sound token in, in place of the one of that number if there is one.
    pub(in crate::ondisk::luks) fn set_token_object(&mut self, id: u32, json: &[u8]) {
        self.text = with(&self.text, "tokens", id, json).expect("the metadata was checked");
    }

    /// Takes a token out, of whatever type.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such token.
    pub fn remove_token(&mut self, id: u32) -> Result<()> {
        self.edit(|text| {
            object(&text, "tokens", id).ok_or_else(|| format!("there is no token {id}"))?;
            without(&text, "tokens", id)
        })
    }

    /// Puts a token in under the first number that is free, which it returns.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: no JSON object, or one without `type` and `keyslots` or that names a keyslot which does
    /// not exist; [`Error::NoRoom`].
    pub(in crate::ondisk::luks) fn add_token_object(&mut self, json: &[u8]) -> Result<u32> {
        let id = self.free_token_id().ok_or_else(|| Error::NoRoom("all 32 tokens are taken".into()))?;
        self.edit(|text| with(&text, "tokens", id, json))?;
        Ok(id)
    }

    /// The first number that no keyslot has; `None` if all 32 are taken.
    pub fn free_keyslot_id(&self) -> Option<u32> {
        free_id(self.keyslots.iter().map(|keyslot| keyslot.id))
    }

    /// The first number that no token has; `None` if all 32 are taken.
    pub fn free_token_id(&self) -> Option<u32> {
        free_id(self.token_objects().iter().map(|token| token.id))
    }

    /// Where in the keyslots area the first gap is, aligned to 4096 bytes, that takes `size` bytes. Areas of keyslots of
    /// all kinds are taken.
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

    fn edit(&mut self, change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, String>) -> Result<()> {
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

/// The text with another numbered object in a top-level object.
fn with(text: &[u8], group: &str, id: u32, object: &[u8]) -> Result<Vec<u8>, String> {
    let root = root(text);
    let group_text = member(&root, group)?.with(&id.to_string(), object)?;
    root.with(group, &group_text)
}

/// The text without a numbered object of a top-level object.
fn without(text: &[u8], group: &str, id: u32) -> Result<Vec<u8>, String> {
    let root = root(text);
    let group_text = member(&root, group)?.without(&id.to_string())?;
    root.with(group, &group_text)
}

/// Has a digest or token name a keyslot, or name it no more. One of which that was true already stays as it is.
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

/// Takes a keyslot from all that name it.
fn unbind(mut text: Vec<u8>, id: u32) -> Result<Vec<u8>, String> {
    for group in ["digests", "tokens"] {
        let numbers: Vec<u32> = numbered(&root(&text), group)?.into_iter().map(|(number, _)| number).collect();
        for number in numbers {
            text = rename(&text, group, number, id, false)?;
        }
    }
    Ok(text)
}
