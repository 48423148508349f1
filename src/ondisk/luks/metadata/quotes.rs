//! The ends of strings in JSON.

/// The place of the first quotation mark or backslash. It goes by words, because most of a header is long strings.
pub(super) fn quote_or_escape(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xFF;
    // The lowest bit that is set marks the first byte that is equal. Above it, others may be set, too.
    let marks = |word: u64, byte: u8| {
        let differs = word ^ (ONES * u64::from(byte));
        differs.wrapping_sub(ONES) & !differs & (ONES << 7)
    };
    let (words, rest) = text.as_chunks::<8>();
    let marked = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        marks(word, b'"') | marks(word, b'\\')
    };
    if let Some((number, found)) = words.iter().map(marked).enumerate().find(|(_, found)| *found != 0) {
        return Some(8 * number + found.trailing_zeros() as usize / 8);
    }
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|at| 8 * words.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_quotation_mark_or_backslash_is_found_wherever_it_is() {
        let others = b"!#[]\0\x23\xa2\xdc\xff\x80\x01";
        for (len, byte) in (0..40).flat_map(|len| [(len, b'"'), (len, b'\\')]) {
            let mut text: Vec<u8> = others.iter().copied().cycle().take(len).collect();
            for at in (0..len).rev() {
                text[at] = byte;
                assert_eq!(quote_or_escape(&text), Some(at), "{text:?}");
            }
            assert_eq!(quote_or_escape(&others.repeat(4)[..len]), None);
        }
    }
}
