//! [`PcrSelection`].

use std::fmt;
use std::str::FromStr;

use atrest::Error;

/// Registers of a TPM that measure what a machine has booted, in the bank of SHA-256: `sha256:0,7`.
///
/// ```
/// use atrest_tpm::PcrSelection;
///
/// let pcrs: PcrSelection = "sha256:7,0".parse()?;
/// assert_eq!(pcrs.to_string(), "sha256:0,7");
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection(u32);

impl PcrSelection {
    /// One bit for each, the lowest for PCR 0: TPMS_PCR_SELECTION.
    pub(crate) fn bitmap(self) -> [u8; 3] {
        let [a, b, c, _] = self.0.to_le_bytes();
        [a, b, c]
    }
}

impl FromStr for PcrSelection {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for anything but `sha256:` and numbers from 0 to 23, each once.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::InvalidOption("PCRs are given as sha256:0,7, with numbers from 0 to 23, each once".into());
        let mut bits = 0;
        for number in text.strip_prefix("sha256:").ok_or_else(bad)?.split(',') {
            let digits = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| number.parse::<u32>().ok()).flatten().filter(|number| *number < 24);
            let bit = 1 << number.ok_or_else(bad)?;
            if bits & bit != 0 {
                return Err(bad());
            }
            bits |= bit;
        }
        Ok(PcrSelection(bits))
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = (0..24).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| bit.to_string()).collect();
        write!(f, "sha256:{}", numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        let all = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23";
        for (text, shown, bitmap) in [
            ("sha256:0", "sha256:0", [1, 0, 0]),
            ("sha256:23,7,8", "sha256:7,8,23", [0x80, 1, 0x80]),
            (all, all, [0xFF; 3]),
        ] {
            let pcrs: PcrSelection = text.parse().unwrap();
            assert_eq!((pcrs.to_string().as_str(), pcrs.bitmap()), (shown, bitmap));
        }
        for bad in [
            "",
            "sha256:",
            "sha1:0",
            "0,7",
            "sha256:24",
            "sha256:0,0",
            "sha256:-1",
            "sha256:+1",
            "sha256:1,",
            "sha256:007",
        ] {
            assert!(bad.parse::<PcrSelection>().is_err(), "{bad}");
        }
    }
}
