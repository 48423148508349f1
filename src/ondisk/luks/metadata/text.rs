//! JSON as raw text: finds the place of each value, and changes one value in the text.
//!
//! Other programs may store anything in a header, and their writers are not strict: a number may be `NaN` or have more
//! digits than any type, and a text may have another encoding. So values that the library doesn't need are only
//! skipped, and a change keeps every other byte. Skipping allocates nothing, even for a hostile header.

use std::borrow::Cow;
use std::ops::Range;

use super::quotes::quote_or_escape;

/// The most levels of nesting, from the whole to a number or a text. The reference implementation's parser has the same
/// limit.
const MAX_LEVELS: u32 = 32;

/// The usual number of members of an object, at most.
const USUAL_MEMBERS: usize = 11;

/// A value as it is written, without space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ondisk::luks) struct Raw<'a>(&'a [u8]);

/// An object as written, with the places of its members.
#[derive(Debug, Clone)]
pub(in crate::ondisk::luks) struct Object<'a> {
    text: &'a [u8],
    members: Vec<Member>,
}

/// Offsets in the text of an object. A JSON area is far smaller than 4 GiB.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// The name without its quotation marks.
    name: (u32, u32),
    value: (u32, u32),
    /// Whether the name is written with escapes.
    is_escaped: bool,
}

/// Checks that a text is exactly one JSON object. Only the structure is checked.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let mut scanner = Scanner { text, at: 0 };
    // The reference implementation takes a leading space for damage.
    let object = match text.first() {
        Some(b'{') => Ok(true),
        Some(b'[' | b'"' | b'n' | b't' | b'f' | b'-' | b'0'..=b'9') => Ok(false),
        _ => Err("there is something else before its first brace".to_string()),
    };
    let checked = object.and_then(|object| {
        scanner.value()?;
        match (scanner.at == text.len(), object) {
            (false, _) => Err(format!("there is more behind its end, byte {}", scanner.at)),
            (true, false) => Err("it is no object".into()),
            (true, true) => Ok(()),
        }
    });
    checked.map_err(|what| format!("its JSON is not sound: {what}"))
}

impl<'a> Raw<'a> {
    /// The value in a text that [`check`] accepted.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Raw(text.trim_ascii())
    }

    pub(in crate::ondisk::luks) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The object, if it is one.
    pub(in crate::ondisk::luks) fn object(self) -> Option<Object<'a>> {
        if self.0.first() != Some(&b'{') {
            return None;
        }
        let mut scanner = Scanner { text: self.0, at: 1 };
        // Our own objects have at most so many, so looking them up takes one allocation.
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        while scanner.next_is_item(b'}') {
            let name = scanner.quoted()?;
            scanner.space();
            // The colon.
            scanner.at += 1;
            let value = scanner.skipped();
            let narrow = |range: Range<usize>| Some((u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?));
            let is_escaped = self.0[name.clone()].contains(&b'\\');
            members.push(Member { name: narrow(name)?, value: narrow(value)?, is_escaped });
        }
        Some(Object { text: self.0, members })
    }

    /// The elements, if it is an array.
    pub(in crate::ondisk::luks) fn array(self) -> Option<impl Iterator<Item = Raw<'a>>> {
        if self.0.first() != Some(&b'[') {
            return None;
        }
        let mut scanner = Scanner { text: self.0, at: 1 };
        Some(core::iter::from_fn(move || {
            scanner.next_is_item(b']').then(|| Raw::new(&scanner.text[scanner.skipped()]))
        }))
    }

    /// The string, if it is one.
    ///
    /// # Errors
    /// The text contains something that readers could interpret differently.
    pub(in crate::ondisk::luks) fn string(self) -> Result<Option<Cow<'a, str>>, String> {
        let Some(inner) = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else { return Ok(None) };
        // It has no early end, so that many bytes are looked at at once.
        let is_plain = inner.iter().fold(true, |plain, &byte| plain & (byte != b'\\') & (byte >= b' '));
        let text = match str::from_utf8(inner) {
            Ok(text) if is_plain => return Ok(Some(Cow::Borrowed(text))),
            Ok(_) => serde_json::from_slice::<String>(self.0).map_err(|e| e.to_string())?,
            Err(_) => return Err("a text is not UTF-8".into()),
        };
        if text.contains('\0') { Err("a text holds a zero byte".into()) } else { Ok(Some(Cow::Owned(text))) }
    }

    /// The unsigned integer, if it is one.
    pub(in crate::ondisk::luks) fn u64(self) -> Option<u64> {
        let plain = self.0.iter().all(u8::is_ascii_digit) && (self.0.len() == 1 || self.0.first() != Some(&b'0'));
        str::from_utf8(self.0).ok().filter(|_| plain)?.parse().ok()
    }
}

impl<'a> Object<'a> {
    /// The value of a member, if there is one.
    ///
    /// # Errors
    /// The name occurs twice, or a second time with a zero byte after it: some readers take the first, some the last.
    pub(in crate::ondisk::luks) fn get(&self, name: &str) -> Result<Option<Raw<'a>>, String> {
        self.find(name).map(|found| found.map(|member| self.value(member)))
    }

    pub(in crate::ondisk::luks) fn contains(&self, name: &str) -> bool {
        self.members.iter().any(|member| self.is_named(member, name))
    }

    /// The number of members.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Names and values, in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> {
        self.members.iter().map(|member| (self.name(member), self.value(member)))
    }

    /// The text of the object with a member's value replaced. A new member goes to the end.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn with(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, String> {
        if let Some(member) = self.find(name)? {
            return Ok(self.spliced(place(member.value), value));
        }
        let end = self.text.len() - 1;
        let mut new = if self.members.is_empty() { Vec::new() } else { b",".to_vec() };
        new.extend(serde_json::to_vec(name).expect("a text can be written"));
        new.push(b':');
        new.extend(value);
        Ok(self.spliced(end..end, &new))
    }

    /// The text of the object without a member. Unchanged if the member doesn't exist.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn without(&self, name: &str) -> Result<Vec<u8>, String> {
        let Some(member) = self.find(name)? else { return Ok(self.text.to_vec()) };
        let index = self.members.iter().position(|other| other.name == member.name).expect("it was found among them");
        // Also removes the comma between it and its neighbour.
        let start = |member: &Member| member.name.0 as usize - 1;
        let cut = match (index.checked_sub(1).map(|before| &self.members[before]), self.members.get(index + 1)) {
            (_, Some(next)) => start(member)..start(next),
            (Some(before), None) => before.value.1 as usize..member.value.1 as usize,
            (None, None) => start(member)..member.value.1 as usize,
        };
        Ok(self.spliced(cut, &[]))
    }

    fn spliced(&self, cut: Range<usize>, new: &[u8]) -> Vec<u8> {
        [&self.text[..cut.start], new, &self.text[cut.end..]].concat()
    }

    fn find(&self, name: &str) -> Result<Option<&Member>, String> {
        let mut named = self.members.iter().filter(|member| self.is_named(member, name));
        let found = named.next();
        if named.next().is_some() {
            return Err(format!("the name {name:?} occurs twice in an object"));
        }
        match found {
            Some(member) if self.name(member) != name => Err("a name holds a zero byte".into()),
            found => Ok(found),
        }
    }

    fn value(&self, member: &Member) -> Raw<'a> {
        Raw(&self.text[place(member.value)])
    }

    /// A name with invalid UTF-8 or escapes equals none of the names that are looked up.
    fn name(&self, member: &Member) -> Cow<'a, str> {
        let (start, end) = member.name;
        let inner = &self.text[start as usize..end as usize];
        if !member.is_escaped {
            return String::from_utf8_lossy(inner);
        }
        let quoted = &self.text[start as usize - 1..end as usize + 1];
        serde_json::from_slice::<String>(quoted).map_or_else(|_| String::from_utf8_lossy(inner), Cow::Owned)
    }

    /// Whether a reader that ends names at a zero byte, like the reference implementation, takes the member for `name`.
    fn is_named(&self, member: &Member, name: &str) -> bool {
        let (start, end) = member.name;
        let inner = &self.text[start as usize..end as usize];
        // Only escapes can make a different spelling of the name, and they make it longer.
        inner == name.as_bytes() || member.is_escaped && inner.len() > name.len() && reads_as(inner, name)
    }
}

/// Whether a text between quotation marks, with its escapes, is the ASCII text `name`, or `name` with a zero byte after
/// it. A header can hold hundreds of thousands of names, so comparing allocates nothing.
fn reads_as(mut written: &[u8], name: &str) -> bool {
    name.bytes().all(|byte| take_unit(&mut written) == Some(byte.into()))
        && (written.is_empty() || take_unit(&mut written) == Some(0))
}

/// The next byte, or the UTF-16 unit of an escape.
fn take_unit(written: &mut &[u8]) -> Option<u16> {
    let (unit, rest) = match written {
        [b'\\', b'u', a, b, c, d, rest @ ..] => {
            let digits = [*a, *b, *c, *d];
            let digit = |unit: u16, digit: &u8| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16);
            (digits.iter().try_fold(0, digit)?, rest)
        }
        [b'\\', escaped, rest @ ..] => {
            let unit = match escaped {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => *other,
            };
            (unit.into(), rest)
        }
        [byte, rest @ ..] => ((*byte).into(), rest),
        [] => return None,
    };
    *written = rest;
    Some(unit)
}

fn place((start, end): (u32, u32)) -> Range<usize> {
    start as usize..end as usize
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Skips a value and checks its structure: brackets, commas, colons and the depth of nesting.
    fn value(&mut self) -> Result<(), String> {
        // One bit per open bracket: 1 for an object, 0 for an array. There are as many bits as allowed levels.
        let (mut open, mut depth) = (0u32, 0u32);
        loop {
            self.space();
            if depth == MAX_LEVELS {
                return Err(format!("it is nested in more than {MAX_LEVELS} levels"));
            }
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    (open, depth) = (open << 1 | u32::from(bracket == b'{'), depth + 1);
                    self.space();
                    match self.peek() {
                        Some(b'}') if open & 1 == 1 => {}
                        Some(b']') if open & 1 == 0 => {}
                        _ if open & 1 == 1 => {
                            self.name()?;
                            continue;
                        }
                        _ => continue,
                    }
                    self.at += 1;
                    (open, depth) = (open >> 1, depth - 1);
                }
                Some(b'"') => {
                    self.quoted().ok_or_else(|| self.odd())?;
                }
                _ => self.scalar()?,
            }
            // After the end of a value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.space();
                let is_object = open & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.space();
                            self.name()?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => {}
                    Some(b']') if !is_object => {}
                    _ => return Err(self.odd()),
                }
                self.at += 1;
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    /// Skips a name and the colon after it.
    fn name(&mut self) -> Result<(), String> {
        self.quoted().ok_or_else(|| self.odd())?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.odd());
        }
        self.at += 1;
        Ok(())
    }

    /// Skips a number or a word. Other programs write more than the standard allows: `NaN`, `-Infinity`.
    fn scalar(&mut self) -> Result<(), String> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.odd());
        }
        self.at += len;
        Ok(())
    }

    /// Skips a string and returns the range within its quotation marks.
    fn quoted(&mut self) -> Option<Range<usize>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += quote_or_escape(self.text.get(at..)?)?;
            if self.text[at] == b'"' {
                self.at = at + 1;
                return Some(start..at);
            }
            at += 2;
        }
    }

    /// Skips a value in a checked text, looking only at brackets and quotes, and returns its range.
    fn skipped(&mut self) -> Range<usize> {
        self.space();
        let start = self.at;
        let mut depth = 0u32;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    if self.quoted().is_none() {
                        self.at = self.text.len();
                    }
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                b',' if depth == 0 => break,
                byte if depth == 0 && byte.is_ascii_whitespace() => break,
                _ => {}
            }
            self.at += 1;
        }
        start..self.at
    }

    /// Steps over a comma to the next member or element of a checked text. Returns false at `end`.
    fn next_is_item(&mut self, end: u8) -> bool {
        self.space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.space();
        }
        self.peek().is_some_and(|byte| byte != end)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn odd(&self) -> String {
        match self.peek() {
            None => "it ends in the middle".into(),
            Some(byte) => format!("there is a {:?} at byte {} where it can't be", byte as char, self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_every_other_byte_as_it_was() {
        let text = b"{ \"a\" : 1 ,\"b\":[NaN, 1e400,\"caf\xe9\"],\t\"c\":{\"x\":\"}\\\"]\"} }";
        check(text).unwrap();
        let object = Raw::new(text).object().unwrap();
        assert_eq!(object.get("b").unwrap().unwrap().bytes(), b"[NaN, 1e400,\"caf\xe9\"]");
        let with = |name, value: &[u8]| String::from_utf8_lossy(&object.with(name, value).unwrap()).into_owned();
        let lossy = String::from_utf8_lossy(text).into_owned();
        assert_eq!(with("a", b"22"), lossy.replace("\"a\" : 1", "\"a\" : 22"));
        assert_eq!(with("d", b"[]"), lossy.replace("]\"} }", "]\"} ,\"d\":[]}"));
        let without = |name| String::from_utf8_lossy(&object.without(name).unwrap()).into_owned();
        assert_eq!(without("a"), lossy.replace("\"a\" : 1 ,", ""));
        assert_eq!(without("c"), lossy.replace(",\t\"c\":{\"x\":\"}\\\"]\"}", ""));
        assert_eq!(without("x"), lossy);
        assert_eq!(
            object.get("c").unwrap().unwrap().object().unwrap().get("x").unwrap().unwrap().string().unwrap().unwrap(),
            "}\"]"
        );
        assert_eq!(Raw::new(b"{}").object().unwrap().with("a", b"1").unwrap(), b"{\"a\":1}");
        assert_eq!(Raw::new(b"{\"a\":1}").object().unwrap().without("a").unwrap(), b"{}");
    }

    #[test]
    fn structure_is_checked_and_what_values_say_is_not() {
        for sound in ["{}", "{\"a\":[{},[],{\"b\":-Infinity}]}", "{\"a\":{\"a\":1,\"a\":2}}"] {
            check(sound.as_bytes()).unwrap_or_else(|e| panic!("{sound}: {e}"));
        }
        for odd in [
            "",
            " {}",
            "{} ",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":[1,]}",
            "{\"a\":1 2}",
            "{\"a\":\"",
            "{\"a\":\"\\",
        ] {
            assert!(check(odd.as_bytes()).is_err(), "{odd}");
        }
        let twice = Raw::new(b"{\"a\":1,\"\\u0061\":2,\"b\\u0000c\":3}").object().unwrap();
        assert!(twice.get("a").unwrap_err().contains("twice"));
        assert!(twice.get("b").unwrap_err().contains("zero byte"));
    }
}
