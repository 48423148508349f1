//! Base64 as people write it: with `+/` or `-_`, padded or not.

use atrest_http::base64url_decode;
use zeroize::Zeroizing;

/// Decodes either alphabet, with or without padding, and with white space around it. `None` if it is neither, or empty.
pub(crate) fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 {
        return None;
    }
    let mut copy = Zeroizing::new(String::with_capacity(body.len()));
    copy.extend(body.chars().map(|c| match c {
        '+' => '-',
        '/' => '_',
        other => other,
    }));
    base64url_decode(&copy).filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_alphabet_is_read_and_nothing_else() {
        for text in ["-_8=", "-_8", "+/8=", " +/8\n"] {
            assert_eq!(*decode(text.as_bytes()).unwrap(), [0xfb, 0xff], "{text}");
        }
        for text in [&b""[..], b"=", b"a", b"ab$d", b"AA====", "é".as_bytes(), b"\xff"] {
            assert!(decode(text).is_none(), "{text:?}");
        }
    }
}
