//! TTLV, the encoding of KMIP messages (KMIP 1.4, 9.1; KMIP 2.1, 10): a tag of 3 bytes, a type of 1, a length of 4, and a value
//! that is padded to a multiple of 8 bytes.
//!
//! The reader doesn't build a tree. It goes through the fields of a structure as they are asked for, so that neither the depth nor
//! the number of fields of a hostile answer costs anything.

use zeroize::Zeroizing;

const STRUCTURE: u8 = 1;
const INTEGER: u8 = 2;
const ENUMERATION: u8 = 5;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
const DATE: u8 = 9;

/// The tag, the type and the length of a field.
pub(crate) const HEAD: usize = 8;

/// The longest request in bytes. It is made in a buffer that never moves, because it may hold a DEK.
const LONGEST_REQUEST: usize = 16 << 10;

/// Bytes that aren't TTLV, or not the TTLV that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A structure: its fields one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Structure<'a>(&'a [u8]);

/// One field of a structure.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) tag: u32,
    kind: u8,
    value: &'a [u8],
}

impl<'a> Structure<'a> {
    /// The whole message, which is one structure with this tag.
    pub(crate) fn message(bytes: &'a [u8], tag: u32) -> Result<Self, Malformed> {
        let mut fields = Structure(bytes).fields();
        let field = fields.next().ok_or(Malformed("it is empty"))??;
        if field.tag != tag || fields.next().is_some() {
            return Err(Malformed("it isn't one response message"));
        }
        field.structure()
    }

    pub(crate) fn fields(self) -> Fields<'a> {
        Fields(self.0)
    }

    /// The first field with this tag, if there is one.
    pub(crate) fn find(self, tag: u32) -> Result<Option<Field<'a>>, Malformed> {
        for field in self.fields() {
            let field = field?;
            if field.tag == tag {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    /// The first field with this tag, which must be there; `missing` is the error's text without it.
    pub(crate) fn need(self, tag: u32, missing: &'static str) -> Result<Field<'a>, Malformed> {
        self.find(tag)?.ok_or(Malformed(missing))
    }
}

/// The fields of a structure. After an error there are no more.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed("a field is longer than what holds it")))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Option<Field<'a>> {
        let (&[tag0, tag1, tag2, kind, len @ ..], rest) = self.0.split_first_chunk::<HEAD>()?;
        let len = usize::try_from(u32::from_be_bytes(len)).ok()?;
        let (value, rest) = rest.split_at_checked(len)?;
        // Without its padding the last field of a structure isn't whole either.
        self.0 = rest.get(len.next_multiple_of(8) - len..)?;
        Some(Field { tag: u32::from_be_bytes([0, tag0, tag1, tag2]), kind, value })
    }
}

impl<'a> Field<'a> {
    pub(crate) fn structure(self) -> Result<Structure<'a>, Malformed> {
        (self.kind == STRUCTURE).then_some(Structure(self.value)).ok_or(Malformed("a field isn't a structure"))
    }

    pub(crate) fn integer(self) -> Result<u32, Malformed> {
        self.four(INTEGER).ok_or(Malformed("a field isn't an integer"))
    }

    pub(crate) fn enumeration(self) -> Result<u32, Malformed> {
        self.four(ENUMERATION).ok_or(Malformed("a field isn't an enumeration"))
    }

    fn four(self, kind: u8) -> Option<u32> {
        (self.kind == kind).then_some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        let text = (self.kind == TEXT).then(|| core::str::from_utf8(self.value).ok()).flatten();
        text.ok_or(Malformed("a field isn't a text"))
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        (self.kind == BYTES).then_some(self.value).ok_or(Malformed("a field isn't a byte string"))
    }

    /// Seconds since 1970-01-01 UTC. A moment before that is 0.
    pub(crate) fn date(self) -> Result<u64, Malformed> {
        let value = (self.kind == DATE).then(|| self.value.try_into().ok()).flatten();
        let seconds = i64::from_be_bytes(value.ok_or(Malformed("a field isn't a date"))?);
        Ok(u64::try_from(seconds).unwrap_or(0))
    }
}

/// Writes a message. The bytes are wiped when they are dropped.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// One structure, whose fields `fill` writes. `None`: it is longer than a request may be.
    pub(crate) fn message(tag: u32, fill: impl FnOnce(&mut Writer)) -> Option<Zeroizing<Vec<u8>>> {
        let mut writer = Writer(Zeroizing::new(Vec::with_capacity(LONGEST_REQUEST)));
        writer.structure(tag, fill);
        // A field that had no room was left out, but its head wasn't: see `put`.
        (writer.0.len() < LONGEST_REQUEST).then_some(writer.0)
    }

    pub(crate) fn structure(&mut self, tag: u32, fill: impl FnOnce(&mut Writer)) {
        self.head(tag, STRUCTURE, 0);
        let start = self.0.len();
        fill(self);
        let len = (self.0.len() - start) as u32;
        if let Some(place) = self.0.get_mut(start - 4..start) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }

    pub(crate) fn integer(&mut self, tag: u32, value: u32) {
        self.value(tag, INTEGER, &value.to_be_bytes());
    }

    pub(crate) fn enumeration(&mut self, tag: u32, value: u32) {
        self.value(tag, ENUMERATION, &value.to_be_bytes());
    }

    pub(crate) fn text(&mut self, tag: u32, value: &str) {
        self.value(tag, TEXT, value.as_bytes());
    }

    pub(crate) fn bytes(&mut self, tag: u32, value: &[u8]) {
        self.value(tag, BYTES, value);
    }

    fn value(&mut self, tag: u32, kind: u8, value: &[u8]) {
        self.head(tag, kind, value.len() as u32);
        self.put(value);
        self.put(&[0; 7][..value.len().next_multiple_of(8) - value.len()]);
    }

    fn head(&mut self, tag: u32, kind: u8, len: u32) {
        let [_, tag @ ..] = tag.to_be_bytes();
        self.put(&tag);
        self.put(&[kind]);
        self.put(&len.to_be_bytes());
    }

    /// Never writes beyond the capacity, since the buffer would move and leave its bytes behind. Data that doesn't fit fills it
    /// up, by which [`message`](Self::message) notices.
    fn put(&mut self, bytes: &[u8]) {
        let room = LONGEST_REQUEST - self.0.len();
        if bytes.len() <= room {
            self.0.extend_from_slice(bytes);
        } else {
            self.0.resize(LONGEST_REQUEST, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn one(text: &str) -> Vec<u8> {
        hex(text)
    }

    fn field(bytes: &[u8]) -> Field<'_> {
        Structure(bytes).find(0x42_0020).unwrap().unwrap()
    }

    #[test]
    fn the_examples_of_the_specification() {
        // KMIP 1.4, 9.1.2.
        assert_eq!(field(&one("420020 02 00000004 0000000800000000")).integer(), Ok(8));
        assert_eq!(field(&one("420020 05 00000004 000000FF00000000")).enumeration(), Ok(255));
        let text = one("420020 07 0000000B 48656C6C6F20576F726C640000000000");
        assert_eq!(field(&text).text(), Ok("Hello World"));
        assert_eq!(field(&one("420020 08 00000003 0102030000000000")).bytes(), Ok(&[1, 2, 3][..]));
        let date = one("420020 09 00000008 0000000047DA67F8");
        assert_eq!(field(&date).date(), Ok(1_205_495_800)); // 2008-03-14 11:56:40 UTC
        let structure =
            one("420020 01 00000020 420004 05 00000004 000000FE00000000 420005 02 00000004 000000FF00000000");
        let inner = field(&structure).structure().unwrap();
        assert_eq!(inner.find(0x42_0004).unwrap().unwrap().enumeration(), Ok(254));
        assert_eq!(inner.find(0x42_0005).unwrap().unwrap().integer(), Ok(255));

        let written = Writer::message(0x42_0020, |w| {
            w.enumeration(0x42_0004, 254);
            w.integer(0x42_0005, 255);
        });
        assert_eq!(*written.unwrap(), structure);
        let written = Writer::message(0x42_0001, |w| w.text(0x42_0020, "Hello World")).unwrap();
        assert_eq!(written[HEAD..], text);
    }

    #[test]
    fn what_no_field_is() {
        for bad in [
            "42",
            "420020 02 00000004",
            "420020 02 00000004 00000008",
            "420020 02 00000004 000000080000",
            "420020 07 FFFFFFFF 0000000000000000",
            "420020 08 00000009 0000000000000000",
        ] {
            assert!(Structure(&hex(bad)).find(0x42_0020).is_err(), "{bad}");
            assert!(Structure::message(&hex(bad), 0x42_0020).is_err(), "{bad}");
        }
        let mut fields = Structure(&[1; 5]).fields();
        assert!(fields.next().unwrap().is_err() && fields.next().is_none());
        // Two bytes of an integer, a text that isn't UTF-8, a date before 1970.
        assert!(field(&hex("420020 02 00000002 0008000000000000")).integer().is_err());
        assert!(field(&hex("420020 07 00000001 FF00000000000000")).text().is_err());
        assert_eq!(field(&hex("420020 09 00000008 FFFFFFFFFFFFFFFF")).date(), Ok(0));
        assert!(field(&hex("420020 07 00000001 4100000000000000")).bytes().is_err());
    }

    #[test]
    fn a_request_that_is_too_long_is_none() {
        assert!(Writer::message(1, |w| w.bytes(2, &[0; LONGEST_REQUEST - 24])).is_some());
        for len in [LONGEST_REQUEST - 16, LONGEST_REQUEST, 1 << 20] {
            assert!(Writer::message(1, |w| w.structure(2, |w| w.bytes(2, &vec![0; len]))).is_none());
            assert!(Writer::message(1, |w| (0..3).for_each(|_| w.bytes(2, &vec![0; len]))).is_none());
        }
    }
}
