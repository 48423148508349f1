//! Sizes, as people write them.

/// A number of bytes: a number alone, or with K, M, G or T (of 1024), with `iB` behind it or not.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || "a size is a number of bytes, or one with K, M, G or T, such as 64M".to_owned();
    let text = text.trim_end_matches("iB");
    let (number, shift) = match text.as_bytes().last().ok_or_else(bad)? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        b'T' | b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_units_and_bounds() {
        let of = |text| parse_size(text).ok();
        assert_eq!(
            [of("512"), of("4K"), of("64MiB"), of("2g")],
            [Some(512), Some(4096), Some(64 << 20), Some(2 << 30)]
        );
        assert_eq!([of(""), of("M"), of("-1"), of("1.5G"), of("16777216T"), of("64é")], [None; 6]);
    }
}
