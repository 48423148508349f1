//! The record of the contents: the number of all records and a checksum over them. It reveals a missing record, or one
//! of another time.

use sha2::{Digest, Sha256};

use super::errors::Defect;
use super::record::{CHECKSUM, FORM, Place};

const SUM: usize = 32;
pub(super) const LEN: usize = 1 + 4 * 8 + SUM + CHECKSUM;

/// The summary of all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Grows by one with each change.
    pub(super) serial: u64,
    /// Of sets, resources and orphans.
    pub(super) counts: [u64; 3],
    /// The hashes of all records, XORed.
    sum: [u8; SUM],
}

impl Contents {
    fn turn(&mut self, place: Place<'_>, record: &[u8]) {
        self.sum.iter_mut().zip(place.hash(record)).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// The number of records of this kind. The platform's keys have none: there is at most one record, and the sum
    /// covers it.
    fn count_of(&mut self, place: Place<'_>) -> Option<&mut u64> {
        match place {
            Place::Set(_) => Some(&mut self.counts[0]),
            Place::Resource(..) => Some(&mut self.counts[1]),
            Place::Orphan(_) => Some(&mut self.counts[2]),
            Place::Platform => None,
        }
    }

    pub(super) fn add(&mut self, place: Place<'_>, record: &[u8]) {
        self.turn(place, record);
        self.count(place);
    }

    /// Counts a record that can't be trusted.
    pub(super) fn count(&mut self, place: Place<'_>) {
        if let Some(count) = self.count_of(place) {
            *count = count.wrapping_add(1);
        }
    }

    pub(super) fn remove(&mut self, place: Place<'_>, record: &[u8]) {
        self.turn(place, record);
        if let Some(count) = self.count_of(place) {
            *count = count.wrapping_sub(1);
        }
    }

    /// The differences between these contents, found by a survey, and the recorded ones.
    pub(super) fn differences(&self, noted: &Self) -> Vec<Defect> {
        let counts =
            ["sets", "resources", "devices to be removed"].into_iter().zip(self.counts.iter().zip(noted.counts));
        let mut defects: Vec<_> = counts
            .filter(|(_, (found, noted))| **found != *noted)
            .map(|(what, (found, noted))| Defect(format!("it has {found} {what} but should have {noted}")))
            .collect();
        if defects.is_empty() && self.sum != noted.sum {
            defects.push(Defect("one of its records is of another time than the others, or missing".into()));
        }
        defects
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        [self.serial].iter().chain(&self.counts).for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(self.sum);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Defect> {
        let bad = |text: &str| Defect(format!("the record of its contents {text}"));
        if bytes.first() != Some(&FORM) {
            return Err(bad("is of a form that this version doesn't know"));
        }
        if bytes.len() != LEN || Sha256::digest(&bytes[..LEN - CHECKSUM])[..] != bytes[LEN - CHECKSUM..] {
            return Err(bad("does not match its checksum"));
        }
        let number = |n: usize| u64::from_le_bytes(bytes[1 + 8 * n..][..8].try_into().expect("8 bytes"));
        let sum = bytes[33..][..SUM].try_into().expect("32 bytes");
        Ok(Contents { serial: number(0), counts: [number(1), number(2), number(3)], sum })
    }
}
