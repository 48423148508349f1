//! The keys that a volume may have by its owner's records, which are kept apart from the device.

use crate::key::Fingerprint;
use crate::{Dek, Error, Result};

/// A DEK by a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownDek {
    pub(crate) fingerprint: Fingerprint,
    /// The number of blocks that it has encrypted.
    pub(crate) used_blocks: u64,
}

/// The state of a volume by its owner's records.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The owner, for the texts of errors.
    pub(crate) owner: String,
    /// The DEK; of a re-encryption that is not finished, the old one. `None` for data that was plain before.
    pub(crate) dek: Option<KnownDek>,
    /// The new DEK of a re-encryption that is not finished. No other may be under way.
    pub(crate) new: Option<KnownDek>,
    /// How many bytes of it are done, at least. `None` if it may not have begun yet.
    pub(crate) done: Option<u64>,
    /// The DEK before the last re-encryption that was finished.
    pub(crate) former: Option<Fingerprint>,
}

impl Expected {
    /// Checks the keys of a volume, and how many bytes of a re-encryption its header says are done, if one is under way.
    /// Returns the numbers of blocks that the current and the previous key have encrypted.
    pub(super) fn check(&self, current: &Dek, previous: Option<&Dek>, done: Option<u64>) -> Result<[u64; 2]> {
        let (current, previous) = (current.fingerprint()?, previous.map(Dek::fingerprint).transpose()?);
        let used = |known: &Option<KnownDek>| known.map_or(0, |known| known.used_blocks);
        let is = |known: &Option<KnownDek>, found: Option<Fingerprint>| {
            known.map(|known| known.fingerprint) == found && found.is_some()
        };
        let (is_old, is_new) = (is(&self.dek, Some(current)), is(&self.new, Some(current)));
        let has_begun = self.done.is_some();
        match done {
            Some(done) if is_new && previous == self.dek.map(|known| known.fingerprint) => {
                if self.done.is_some_and(|known| done < known) {
                    return Err(
                        self.older(format!("by its header, {done} bytes are re-encrypted, and there were more"))
                    );
                }
                Ok([used(&self.new), used(&self.dek)])
            }
            Some(_) if self.new.is_none() && is_old && (previous.is_none() || previous == self.former) => {
                Err(self.older("by its header, a re-encryption is under way, and by the store there is none".into()))
            }
            None if is_new => Ok([used(&self.new), 0]),
            None if is_old && !has_begun => Ok([used(&self.dek), 0]),
            None if is_old || self.former == Some(current) => {
                Err(self.older("it is under the DEK from before its re-encryption".into()))
            }
            _ => Err(Error::OtherDek),
        }
    }

    fn older(&self, found: String) -> Error {
        Error::OlderDevice { resource: self.owner.clone(), found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::DekAlgorithm;

    /// Checks devices whose header has the old key, the new key or another one, alone or after the old one, with so many bytes
    /// done, against the records.
    #[test]
    fn a_device_is_as_new_as_the_records_or_newer() {
        let deks = [(); 3].map(|()| Dek::generate(DekAlgorithm::Aes256Xts).unwrap());
        let [old, new, other] = [0, 1, 2].map(|n: usize| &deks[n]);
        let known = |dek: &Dek, used_blocks| Some(KnownDek { fingerprint: dek.fingerprint().unwrap(), used_blocks });
        let none = Expected { owner: "it".into(), dek: known(old, 5), new: None, done: None, former: None };
        let ordered = Expected { new: known(new, 7), ..none.clone() };
        let begun = Expected { done: Some(100), ..ordered.clone() };
        let finished = Expected { dek: known(new, 7), former: Some(old.fingerprint().unwrap()), ..none.clone() };
        let plain = Expected { dek: None, ..begun.clone() };
        let says = |expected: &Expected, current, previous, done| match expected.check(current, previous, done) {
            Ok([current, previous]) => format!("{current} {previous}"),
            Err(Error::OtherDek) => "other".into(),
            Err(Error::OlderDevice { .. }) => "older".into(),
            Err(e) => panic!("{e:?}"),
        };
        let states: [(&Dek, Option<&Dek>, Option<u64>); 9] = [
            (old, None, None),
            (new, Some(old), Some(99)),
            (new, Some(old), Some(100)),
            (new, None, None),
            (other, None, None),
            (other, Some(old), Some(100)),
            (new, Some(other), Some(100)),
            (new, None, Some(100)),
            (old, None, Some(100)),
        ];
        let (o, l) = ("other", "older");
        for (expected, wanted) in [
            (none, ["5 0", o, o, o, o, o, o, o, l]),
            (ordered, ["5 0", "7 5", "7 5", "7 0", o, o, o, o, o]),
            (begun, [l, l, "7 5", "7 0", o, o, o, o, o]),
            (finished, [l, l, l, "7 0", o, o, o, l, o]),
            (plain, [o, o, o, "7 0", o, o, o, "7 0", o]),
        ] {
            let found = states.map(|(current, previous, done)| says(&expected, current, previous, done));
            assert_eq!(found, wanted, "{expected:?}");
        }
    }
}
