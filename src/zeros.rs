//! Zeros, looked for by words: a device is mostly what was never written, and byte by byte that takes longest of all.

/// How much is looked at before the answer so far counts.
const STRETCH: usize = 256;

/// Whether there are only zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(STRETCH).all(is_zero_stretch)
}

/// Where the first byte is that isn't zero.
pub(crate) fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let stretch = bytes.chunks(STRETCH).position(|stretch| !is_zero_stretch(stretch))?;
    let start = stretch * STRETCH;
    bytes[start..].iter().position(|&byte| byte != 0).map(|at| start + at)
}

/// Without a branch, so that the compiler takes as wide words as there are.
fn is_zero_stretch(stretch: &[u8]) -> bool {
    let (words, rest) = stretch.as_chunks::<8>();
    let words = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    words == 0 && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_is_found_wherever_it_is() {
        for len in [0, 1, 7, 8, 9, STRETCH - 1, STRETCH, STRETCH + 1, 2 * STRETCH + 13] {
            let mut bytes = vec![0; len + 8];
            for start in 0..8 {
                assert!(is_zero(&bytes[start..start + len]));
                assert_eq!(first_nonzero(&bytes[start..start + len]), None);
                for at in 0..len {
                    bytes[start + at] = 1 << (at % 8);
                    // What lies behind it doesn't matter, nor what lies around the bytes.
                    let last = bytes.len() - 1;
                    let behind = core::mem::replace(&mut bytes[last], 0xFF);
                    assert!(!is_zero(&bytes[start..start + len]));
                    assert_eq!(first_nonzero(&bytes[start..start + len]), Some(at));
                    bytes[last] = behind;
                    bytes[start + at] = 0;
                }
            }
        }
    }
}
