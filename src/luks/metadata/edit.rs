//! Changes to a header's keyslots and tokens. Each is made on a copy, which is checked as if it had been read; one that
//! would make the header invalid leaves it as it was.

use serde_json::{Map, Value, json};

use super::json::{free_id, member, parse, string};
use super::{Keyslot, Metadata, Priority, WIPING_TYPE};
use crate::luks::{TOKEN_TYPE, Token};
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
        let id = keyslot.id.to_string();
        self.edit(|root| {
            let keyslots = group(root, "keyslots")?;
            let object = keyslot.to_json(keyslots.get(&id))?;
            keyslots.insert(id.clone(), object);
            let digests = group(root, "digests")?;
            if !digests.contains_key(&digest.to_string()) {
                return Err(format!("there is no digest {digest}"));
            }
            for (number, object) in digests {
                let bound = names(object)?;
                if *number != digest.to_string() {
                    bound.retain(|name| name != &id);
                } else if !bound.contains(&json!(id)) {
                    bound.push(json!(id));
                }
            }
            Ok(())
        })
    }

    /// Takes a keyslot out, also from the digests and tokens that name it. A token that then names none stays, unless it
    /// is removed by itself.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn remove_keyslot(&mut self, id: u32) -> Result<()> {
        self.edit(|root| {
            let removed = group(root, "keyslots")?.shift_remove(&id.to_string());
            removed.ok_or_else(|| no_keyslot(id))?;
            unbind(root, id)
        })
    }

    /// Sets when a keyslot is tried.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot.
    pub fn set_priority(&mut self, id: u32, priority: Priority) -> Result<()> {
        self.edit(|root| {
            let object = keyslot(root, id)?;
            // Normal is what its absence means, and what the reference implementation writes by taking it out.
            match priority {
                Priority::Normal => object.shift_remove("priority"),
                other => object.insert("priority".into(), (other as u32).into()),
            };
            Ok(())
        })
    }

    /// Makes a keyslot one of another type that has nothing but its area, bound to no digest and no token. With
    /// [`WIPING_TYPE`] its area is still taken, but nobody opens it: to be done before its bytes are overwritten.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such keyslot, or a type that has more members.
    pub fn replace_keyslot_type(&mut self, id: u32, kind: &str) -> Result<()> {
        self.edit(|root| {
            let object = keyslot(root, id)?;
            object.retain(|name, _| ["type", "key_size", "area"].contains(&name.as_str()));
            object.insert("type".into(), kind.into());
            unbind(root, id)
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

    /// Puts a token in, in place of the one of that number if there is one.
    pub(crate) fn set_token(&mut self, id: u32, token: &Token) {
        if let Some(Value::Object(tokens)) = self.root.get_mut("tokens") {
            tokens.insert(id.to_string(), token.to_json());
        }
    }

    /// Takes a token out, of whatever type.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no such token.
    pub fn remove_token(&mut self, id: u32) -> Result<()> {
        self.edit(|root| {
            let removed = group(root, "tokens")?.shift_remove(&id.to_string());
            removed.map(drop).ok_or_else(|| format!("there is no token {id}"))
        })
    }

    /// Puts in a token of another program, given as JSON, under the first number that is free, which it returns.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: no JSON object, one without `type` and `keyslots` or that names a keyslot which does not
    /// exist, or one of this crate's own type; [`Error::NoRoom`].
    pub fn add_foreign_token(&mut self, json: &str) -> Result<u32> {
        let no = |what: String| Error::InvalidOption(format!("the token: {what}"));
        let token = parse(json.as_bytes()).map_err(no)?;
        if string(&token, "type").map_err(no)? == TOKEN_TYPE {
            return Err(no(format!("one of type {TOKEN_TYPE:?} is sealed to its header, and can't be imported")));
        }
        let id = self.free_token_id().ok_or_else(|| Error::NoRoom("all 32 tokens are taken".into()))?;
        self.edit(|root| {
            group(root, "tokens")?.insert(id.to_string(), token.into());
            Ok(())
        })?;
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

    fn edit(&mut self, change: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>) -> Result<()> {
        let mut root = self.root.clone();
        change(&mut root).map_err(Error::InvalidOption)?;
        let edited = Self::from_root(root, self.header_size).map_err(Error::InvalidOption)?;
        edited.encode(self.header_size)?;
        *self = edited;
        Ok(())
    }
}

fn no_keyslot(id: u32) -> String {
    format!("there is no keyslot {id}")
}

fn group<'a>(root: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Map<String, Value>, String> {
    member(root, name)?;
    root[name].as_object_mut().ok_or_else(|| format!("it has no {name} object"))
}

fn keyslot(root: &mut Map<String, Value>, id: u32) -> Result<&mut Map<String, Value>, String> {
    group(root, "keyslots")?.get_mut(&id.to_string()).and_then(Value::as_object_mut).ok_or_else(|| no_keyslot(id))
}

/// The array of keyslots that a digest or token names.
fn names(object: &mut Value) -> Result<&mut Vec<Value>, String> {
    object.get_mut("keyslots").and_then(Value::as_array_mut).ok_or_else(|| "its keyslots is missing or no array".into())
}

/// Takes a keyslot from all that name it.
fn unbind(root: &mut Map<String, Value>, id: u32) -> Result<(), String> {
    let id = json!(id.to_string());
    for of in ["digests", "tokens"] {
        for (_, object) in group(root, of)? {
            names(object)?.retain(|name| name != &id);
        }
    }
    Ok(())
}
