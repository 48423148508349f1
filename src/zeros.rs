//! Searches for zeros by words: most of a device was never written, and a search byte by byte takes longest there.

/// How many bytes are checked at once, before the result is looked at.
const STRETCH: usize = 256;

/// Whether all bytes are zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(STRETCH).all(is_zero_stretch)
}

/// The offset of the first byte that isn't zero.
pub(crate) fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let stretch = bytes.chunks(STRETCH).position(|stretch| !is_zero_stretch(stretch))?;
    let start = stretch * STRETCH;
    bytes[start..].iter().position(|&byte| byte != 0).map(|at| start + at)
}

/// Has no branch in its loop, so that the compiler uses the widest words of the CPU.
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
                    // The bytes behind it and around the slice don't matter.
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
