//! The answer to List Blobs.

use std::io;

use atrest_http::xml_elements;

/// One page of names, and where the next begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub names: Vec<String>,
    pub next: Option<String>,
}

/// Reads `EnumerationResults`. Names that XML can't hold come in another form, can't be ours, and are left out.
pub(crate) fn parse(body: &[u8]) -> io::Result<Page> {
    let mut page = Page::default();
    xml_elements(body, |path, text| match path {
        ["EnumerationResults", "Blobs", "Blob", "Name"] => page.names.push(text.to_owned()),
        ["EnumerationResults", "NextMarker"] if !text.is_empty() => page.next = Some(text.to_owned()),
        _ => {}
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_the_marker_are_read() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\"><Prefix>a</Prefix>\
            <Blobs><Blob><Name>a/b</Name><Properties><Name>no</Name></Properties></Blob><Blob><Name Encoded=\"true\">%FF\
            </Name></Blob><Blob><Name>d</Name><OrMetadata/></Blob></Blobs><NextMarker>2!8!MA--</NextMarker></EnumerationResults>";
        let page = parse(body.as_bytes()).unwrap();
        assert_eq!(page, Page { names: vec!["a/b".into(), "d".into()], next: Some("2!8!MA--".into()) });
        let last = parse(b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>").unwrap();
        assert_eq!(last, Page::default());
    }
}
