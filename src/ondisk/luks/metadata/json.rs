//! JSON as LUKS2 uses it: objects named by numbers, and 64-bit integers and bytes as strings (section 3).
//!
//! Errors are texts that name the defect but not the object: the caller adds that.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};

use super::text::{Object, Raw, check};

/// The most digests, segments, keyslots or tokens in a header; their numbers are below it. The reference implementation
/// has tables of this size.
pub(super) const MAX_OBJECTS: u32 = 32;

/// The most bytes of a salt or a digest.
pub(in crate::ondisk::luks) const MAX_BINARY: usize = 1024;

/// The most bytes of a text that is read, far more than any real text has. It bounds the memory for copies and errors.
const MAX_TEXT: usize = 8192;

/// The most texts of a list that is read.
const MAX_TEXTS: usize = 1024;

/// Parses a text that is one object.
pub(in crate::ondisk::luks) fn parse(text: &[u8]) -> Result<Object<'_>, String> {
    check(text)?;
    Ok(root(text))
}

/// The object of a text that [`parse`] accepted before.
pub(in crate::ondisk::luks) fn root(text: &[u8]) -> Object<'_> {
    Raw::new(text).object().expect("it was found to be an object")
}

/// An object and its number.
pub(in crate::ondisk::luks) type Numbered<'a> = (u32, Object<'a>);

/// The numbered objects of a top-level object, ordered by number.
pub(in crate::ondisk::luks) fn objects<'a>(root: &Object<'a>, name: &str) -> Result<Vec<Numbered<'a>>, String> {
    let numbered = numbered(root, name)?;
    let mut objects = Vec::with_capacity(numbered.len());
    for (number, object) in numbered {
        objects.push((number, object.object().ok_or_else(|| format!("{name} {number} is no object"))?));
    }
    Ok(objects)
}

/// The members of a top-level object, ordered by number.
pub(super) fn numbered<'a>(root: &Object<'a>, name: &str) -> Result<Vec<(u32, Raw<'a>)>, String> {
    let group = member(root, name)?;
    if group.len() > MAX_OBJECTS as usize {
        return Err(format!("it has {} {name}, more than {MAX_OBJECTS}", group.len()));
    }
    let mut numbered = Vec::with_capacity(group.len());
    for (id, value) in group.iter() {
        if id.len() > MAX_TEXT {
            return Err(format!("a name of {} bytes is no number of one of its {name}", id.len()));
        }
        let number = parse_id(&id).ok_or_else(|| format!("{id:?} is no number of one of its {name}"))?;
        // Also fails if the name occurs in two spellings.
        group.get(&id)?;
        numbered.push((number, value));
    }
    numbered.sort_by_key(|(id, _)| *id);
    Ok(numbered)
}

/// The smallest unused number.
pub(super) fn free_id(used: impl Iterator<Item = u32> + Clone) -> Option<u32> {
    (0..MAX_OBJECTS).find(|id| used.clone().all(|other| other != *id))
}

/// A decimal number without a sign or leading zeros, so that two names can't mean one object.
fn parse_id(id: &str) -> Option<u32> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    id.parse().ok().filter(|number| is_plain && *number < MAX_OBJECTS)
}

/// An array of object numbers. Each must exist and occur once.
pub(in crate::ondisk::luks) fn references(object: &Object<'_>, name: &str, known: &[u32]) -> Result<Vec<u32>, String> {
    let (ids, repeated) = named(object, name, known)?;
    match repeated {
        Some(id) => Err(format!("it names \"{id}\" of the {name} twice")),
        None => Ok(ids),
    }
}

/// As [`references`], but a repeated number counts once.
pub(super) fn distinct_references(object: &Object<'_>, name: &str, known: &[u32]) -> Result<Vec<u32>, String> {
    named(object, name, known).map(|(ids, _)| ids)
}

/// The numbers, and one of those that are repeated.
fn named(object: &Object<'_>, name: &str, known: &[u32]) -> Result<(Vec<u32>, Option<u32>), String> {
    let (mut ids, mut repeated) = (Vec::new(), None);
    for value in array(object, name)? {
        let id = text(value)?.ok_or_else(|| format!("its {name} holds no string"))?;
        let number = parse_id(&id).filter(|number| known.contains(number));
        let number = number.ok_or_else(|| format!("it names {id:?} of the {name}, which does not exist"))?;
        if ids.contains(&number) {
            repeated = Some(number);
        } else {
            ids.push(number);
        }
    }
    Ok((ids, repeated))
}

/// A member that is an object.
pub(super) fn member<'a>(object: &Object<'a>, name: &str) -> Result<Object<'a>, String> {
    object.get(name)?.and_then(Raw::object).ok_or_else(|| format!("it has no {name} object"))
}

/// A member that is an array.
pub(super) fn array<'a>(object: &Object<'a>, name: &str) -> Result<impl Iterator<Item = Raw<'a>>, String> {
    object.get(name)?.and_then(Raw::array).ok_or_else(|| format!("its {name} is missing or no array"))
}

pub(in crate::ondisk::luks) fn string<'a>(object: &Object<'a>, name: &str) -> Result<Cow<'a, str>, String> {
    let missing = || format!("its {name} is missing or no string");
    text(object.get(name)?.ok_or_else(missing)?)?.ok_or_else(missing)
}

/// The value as a text, if it is one.
fn text(value: Raw<'_>) -> Result<Option<Cow<'_, str>>, String> {
    if value.bytes().len() > MAX_TEXT {
        return Err(format!("a text of it takes {} bytes, more than {MAX_TEXT}", value.bytes().len()));
    }
    value.string()
}

pub(super) fn strings(object: &Object<'_>, name: &str) -> Result<Vec<String>, String> {
    let mut strings = Vec::new();
    for value in array(object, name)? {
        if strings.len() == MAX_TEXTS {
            return Err(format!("its {name} holds more than {MAX_TEXTS} texts"));
        }
        strings.push(text(value)?.ok_or_else(|| format!("its {name} holds no string"))?.into_owned());
    }
    Ok(strings)
}

pub(in crate::ondisk::luks) fn integer(object: &Object<'_>, name: &str) -> Result<u32, String> {
    let number = object.get(name)?.and_then(Raw::u64).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("its {name} is missing or no integer of 32 bits"))
}

/// A 64-bit integer as a decimal string (section 3).
pub(in crate::ondisk::luks) fn uint64(object: &Object<'_>, name: &str) -> Result<u64, String> {
    let text = string(object, name)?;
    let number = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("its {name}, {text:?}, is no integer of 64 bits"))
}

/// Whether a member is there and is `true`.
pub(in crate::ondisk::luks) fn is_true(object: &Object<'_>, name: &str) -> bool {
    object.get(name).is_ok_and(|value| value.is_some_and(|value| value.bytes() == b"true"))
}

/// Bytes in Base64, at most `max` of them.
pub(in crate::ondisk::luks) fn binary(object: &Object<'_>, name: &str, max: usize) -> Result<Vec<u8>, String> {
    let bytes = Base64::decode_vec(&string(object, name)?).map_err(|_| format!("its {name} is no Base64"))?;
    if bytes.len() > max {
        return Err(format!("its {name} has {} bytes, more than {max}", bytes.len()));
    }
    Ok(bytes)
}
