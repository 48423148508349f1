//! The record of a file's contents: the number of all records and a checksum over them. It reveals a missing record, or
//! one of another time.

use sha2::{Digest, Sha256};

use super::errors::Defect;
use super::place::{ORPHANS, RESOURCES, SETS};
use super::record::CHECKSUM;

/// The forms: with one table for all records, and with one for each kind, as former releases wrote.
pub(super) const FORM: u8 = 2;
pub(super) const FORMER: u8 = 1;

const SUM: usize = 32;
pub(super) const LEN: usize = 1 + 4 * 8 + SUM + CHECKSUM;

/// The kinds of records that are counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    Set = 0,
    Resource = 1,
    Orphan = 2,
}

impl Counted {
    fn of_key(key: &str) -> Option<Self> {
        [(SETS, Counted::Set), (RESOURCES, Counted::Resource), (ORPHANS, Counted::Orphan)]
            .into_iter()
            .find_map(|(prefix, counted)| key.starts_with(prefix).then_some(counted))
    }
}

/// The summary of all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Grows by one with each change.
    pub(super) serial: u64,
    /// The numbers of sets, resources and orphans.
    pub(super) counts: [u64; 3],
    /// The hashes of all records, XORed.
    sum: [u8; SUM],
}

impl Contents {
    /// Adds the hash of a record, or takes it away.
    pub(super) fn turn(&mut self, hash: [u8; SUM]) {
        self.sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
    }

    pub(super) fn count(&mut self, counted: Counted) {
        self.counts[counted as usize] += 1;
    }

    /// Adds a record, as it lies in the file.
    pub(super) fn add(&mut self, key: &str, stored: &[u8]) {
        self.turn(hash(key, stored));
        if let Some(counted) = Counted::of_key(key) {
            self.counts[counted as usize] = self.counts[counted as usize].wrapping_add(1);
        }
    }

    pub(super) fn remove(&mut self, key: &str, stored: &[u8]) {
        self.turn(hash(key, stored));
        if let Some(counted) = Counted::of_key(key) {
            self.counts[counted as usize] = self.counts[counted as usize].wrapping_sub(1);
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
        self.to_bytes_of(FORM)
    }

    pub(super) fn to_bytes_of(&self, form: u8) -> Vec<u8> {
        let mut bytes = vec![form];
        [self.serial].iter().chain(&self.counts).for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(self.sum);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads them, of this form.
    pub(super) fn from_bytes(bytes: &[u8], form: u8) -> Result<Self, Defect> {
        let bad = |text: &str| Defect(format!("the record of its contents {text}"));
        if bytes.first() != Some(&form) {
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

fn hash(key: &str, stored: &[u8]) -> [u8; SUM] {
    let hash = Sha256::new().chain_update([FORM]).chain_update((key.len() as u64).to_le_bytes());
    hash.chain_update(key).chain_update(stored).finalize().into()
}
