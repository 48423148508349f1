//! Answers in XML.

use std::io;

use quick_xml::Reader;
use quick_xml::events::Event;
use zeroize::Zeroizing;

/// The deepest that elements may lie in each other.
const DEEPEST: usize = 16;

/// Calls `each` with the path and the text of each element, in the order in which they end. Elements with an attribute
/// `Encoded` are left out: their text stands for something that XML can't hold. Namespaces are ignored.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a body that isn't well-formed XML in UTF-8, lies deeper than 16 elements, or has a document type.
pub fn xml_elements(body: &[u8], mut each: impl FnMut(&[&str], &str)) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the server's answer isn't well-formed XML");
    // A byte order mark may come first.
    let body = std::str::from_utf8(body).map_err(|_| malformed())?.trim_start_matches('\u{feff}');
    let mut reader = Reader::from_str(body);
    let (mut path, mut plain, mut any) = (Vec::<String>::new(), true, false);
    // It may be a secret. A text that grows leaves its start behind, and one that is dropped is wiped whole.
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(tag) => {
                if path.len() == DEEPEST {
                    return Err(malformed());
                }
                any = true;
                path.push(tag.local_name().as_ref().to_owned());
                plain = true;
                for attribute in tag.attributes() {
                    plain &= attribute.map_err(|_| malformed())?.key.as_ref() != "Encoded";
                }
                text.clear();
            }
            Event::End(_) => {
                if plain {
                    each(&path.iter().map(String::as_str).collect::<Vec<_>>(), &text);
                }
                plain = true;
                path.pop();
                text.clear();
            }
            Event::Text(found) => text.push_str(&found),
            Event::CData(found) => text.push_str(&found),
            Event::GeneralRef(found) => match found.resolve_char_ref().map_err(|_| malformed())? {
                Some(character) => text.push(character),
                None => {
                    text.push_str(quick_xml::escape::resolve_predefined_entity(&found).ok_or_else(malformed)?);
                }
            },
            // No document type: entities of one's own are a way to use up memory.
            Event::DocType(_) => return Err(malformed()),
            Event::Eof if path.is_empty() && any => return Ok(()),
            Event::Eof => return Err(malformed()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_with_their_paths() {
        let body = "\u{feff}<?xml version=\"1.0\"?><a xmlns=\"u\"><b>x&amp;y&#x2F;<![CDATA[<z>]]></b><c/><b Encoded=\"true\">no</b></a>";
        let mut found = Vec::new();
        xml_elements(body.as_bytes(), |path, text| found.push((path.join("/"), text.to_owned()))).unwrap();
        assert_eq!(found, [("a/b".to_owned(), "x&y/<z>".to_owned()), ("a".to_owned(), String::new())]);
    }

    #[test]
    fn malformed_answers_are_errors() {
        let deep = "<a>".repeat(100_000);
        for body in [
            "",
            "<a>",
            "<a></b>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a>&unknown;</a>",
            "<",
            "<a b=></a>",
            &deep,
        ] {
            assert!(xml_elements(body.as_bytes(), |_, _| {}).is_err(), "{}", &body[..body.len().min(40)]);
        }
        assert!(xml_elements(b"<a>\xff</a>", |_, _| {}).is_err());
    }
}
