//! JSON as LUKS2 uses it: objects that have a number for their name, 64-bit integers and bytes as strings (section 3).
//!
//! Each function answers what is wrong as text, without saying in which object: its caller knows that.

use base64ct::{Base64, Encoding};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most digests, segments, keyslots or tokens that a header may hold, and so one more than their greatest number: the
/// reference implementation's limit, which keeps tables of that size.
pub(super) const MAX_OBJECTS: u32 = 32;

/// The most bytes of a salt or a digest.
pub(in crate::luks) const MAX_BINARY: usize = 1024;

/// The most levels of nesting, from the whole to a number or a text: what the reference implementation's parser takes.
const MAX_LEVELS: usize = 32;

/// Reads a JSON object. One that readers could take for different things is refused: with a name that stands twice, of
/// which some take the first and some the last, or with a text that holds a zero byte, where some end it.
pub(super) fn parse(text: &[u8]) -> Result<Map<String, Value>, String> {
    let what = match serde_json::from_slice(text) {
        Ok(Unique(value)) if levels(&value) > MAX_LEVELS => format!("it is nested in more than {MAX_LEVELS} levels"),
        Ok(Unique(Value::Object(object))) => return Ok(object),
        Ok(_) => "it is no object".into(),
        Err(e) => e.to_string(),
    };
    Err(format!("its JSON is not sound: {what}"))
}

/// How deep a value is nested; the parser has bounded it.
fn levels(value: &Value) -> usize {
    1 + match value {
        Value::Array(array) => array.iter().map(levels).max().unwrap_or(0),
        Value::Object(object) => object.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// A value without objects in which a name stands twice, and without zero bytes.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        if value.contains('\0') { Err(E::custom("a text holds a zero byte")) } else { Ok(value.into()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, Unique>()? {
            if name.contains('\0') {
                return Err(A::Error::custom("a name holds a zero byte"));
            }
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the name {name:?} stands twice in an object")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// An object and its number.
pub(super) type Numbered<'a> = (u32, &'a Map<String, Value>);

/// The numbered objects of a top-level object, ordered by number.
pub(super) fn objects<'a>(root: &'a Map<String, Value>, name: &str) -> Result<Vec<Numbered<'a>>, String> {
    let group = root.get(name).and_then(Value::as_object).ok_or_else(|| format!("it has no {name} object"))?;
    if group.len() > MAX_OBJECTS as usize {
        return Err(format!("it has {} {name}, more than {MAX_OBJECTS}", group.len()));
    }
    let mut objects = Vec::new();
    for (id, object) in group {
        let number = parse_id(id).ok_or_else(|| format!("{id:?} is no number of one of its {name}"))?;
        objects.push((number, object.as_object().ok_or_else(|| format!("{name} {id} is no object"))?));
    }
    objects.sort_by_key(|(id, _)| *id);
    Ok(objects)
}

/// The least number that none of some numbered objects has.
pub(super) fn free_id(used: impl Iterator<Item = u32> + Clone) -> Option<u32> {
    (0..MAX_OBJECTS).find(|id| used.clone().all(|other| other != *id))
}

/// A number in decimal without a sign or leading zeros, so that two names can't mean one object.
fn parse_id(id: &str) -> Option<u32> {
    id.parse().ok().filter(|number: &u32| number.to_string() == id && *number < MAX_OBJECTS)
}

/// An array of numbers of objects, each of which must exist, and none twice.
pub(in crate::luks) fn references(object: &Map<String, Value>, name: &str, known: &[u32]) -> Result<Vec<u32>, String> {
    let mut ids = Vec::new();
    for id in strings(object, name)? {
        let number = parse_id(&id).filter(|number| known.contains(number));
        let number = number.ok_or_else(|| format!("it names {id:?} of the {name}, which does not exist"))?;
        if ids.contains(&number) {
            return Err(format!("it names {id:?} of the {name} twice"));
        }
        ids.push(number);
    }
    Ok(ids)
}

/// A member that is an object.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, String> {
    object.get(name).and_then(Value::as_object).ok_or_else(|| format!("it has no {name} object"))
}

pub(in crate::luks) fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| format!("its {name} is missing or no string"))
}

pub(super) fn strings(object: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let array =
        object.get(name).and_then(Value::as_array).ok_or_else(|| format!("its {name} is missing or no array"))?;
    let string = |value: &Value| value.as_str().map(String::from).ok_or_else(|| format!("its {name} holds no string"));
    array.iter().map(string).collect()
}

pub(in crate::luks) fn integer(object: &Map<String, Value>, name: &str) -> Result<u32, String> {
    let number = object.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("its {name} is missing or no integer of 32 bits"))
}

/// A 64-bit integer as a decimal string (section 3).
pub(in crate::luks) fn uint64(object: &Map<String, Value>, name: &str) -> Result<u64, String> {
    let text = string(object, name)?;
    let number = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("its {name}, {text:?}, is no integer of 64 bits"))
}

/// Bytes in Base64, at most `max` of them.
pub(in crate::luks) fn binary(object: &Map<String, Value>, name: &str, max: usize) -> Result<Vec<u8>, String> {
    let bytes = Base64::decode_vec(string(object, name)?).map_err(|_| format!("its {name} is no Base64"))?;
    if bytes.len() > max {
        return Err(format!("its {name} has {} bytes, more than {max}", bytes.len()));
    }
    Ok(bytes)
}
