//! A stand-in for the header of data without one.

use core::ops::Range;
use std::time::Duration;

use super::{Attempts, FirstProtector, Means, NewKeyslot, StoredHeader};
use crate::volume::data_area::{Crypt, DataArea, Piece};
use crate::volume::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, SegmentInfo};
use crate::{Dek, Result, Secret};

/// The place and the cipher of data, as its user gives them.
#[derive(Clone)]
pub(in crate::volume) struct NoHeader {
    pub(in crate::volume) offset: u64,
    pub(in crate::volume) size: Option<u64>,
    pub(in crate::volume) crypt: Crypt,
}

const CHANGE: &str = "a header, which this needs";

impl StoredHeader for NoHeader {
    fn boxed(&self) -> Box<dyn StoredHeader> {
        Box::new(self.clone())
    }

    fn format(&self) -> HeaderFormat {
        HeaderFormat::Plain
    }

    fn uuid(&self) -> &str {
        ""
    }

    fn len(&self) -> u64 {
        0
    }

    fn check_backup(&self) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn data_area(&self, _detached: bool) -> Result<DataArea> {
        let piece = Piece { offset: self.offset, size: self.size, crypt: Some(self.crypt), shown: None };
        Ok(DataArea { pieces: vec![piece], cipher: self.crypt.cipher, moving: None })
    }

    fn check_unchanged(&mut self, _device: &dyn BlockDevice) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn verify(&self, _key: &Secret) -> Result<()> {
        Err(self.lacks("a proof of a DEK"))
    }

    fn key_digest(&self) -> Vec<u8> {
        Vec::new()
    }

    fn digest_cost(&self) -> (u32, Duration) {
        (0, Duration::ZERO)
    }

    fn attempts(&self, _named: Option<u32>, _by: Means) -> Attempts {
        Vec::new()
    }

    fn passphrase_kind(&self) -> &'static str {
        ""
    }

    fn store_new(&mut self, _: &dyn BlockDevice, _: &Dek, _: FirstProtector<'_>) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn add_keyslot(&mut self, _device: &dyn BlockDevice, _key: &Secret, _new: &NewKeyslot<'_>) -> Result<u32> {
        Err(self.lacks(CHANGE))
    }

    fn remove_keyslot(&mut self, _device: &dyn BlockDevice, _id: u32) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn erase(&mut self, _device: &dyn BlockDevice) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn unwiped(&self) -> Vec<(u32, Range<u64>)> {
        Vec::new()
    }

    fn repair_and_wipe(&mut self, _device: &dyn BlockDevice) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _: &dyn BlockDevice, _: &[u8], _: Option<&dyn StoredHeader>) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn wipe(&self, _device: &dyn BlockDevice) -> Result<()> {
        Err(self.lacks(CHANGE))
    }

    fn metadata_size(&self) -> u64 {
        0
    }

    fn keyslots_size(&self) -> u64 {
        0
    }

    fn keyslot_infos(&self) -> Vec<KeyslotInfo> {
        Vec::new()
    }

    fn segment_infos(&self) -> Vec<SegmentInfo> {
        vec![SegmentInfo {
            id: 0,
            kind: "crypt".into(),
            offset: self.offset,
            size: self.size,
            cipher: self.crypt.cipher.name().into(),
            sector_size: self.crypt.sector_size.bytes(),
            iv_tweak: self.crypt.iv_tweak,
            flags: Vec::new(),
        }]
    }

    fn digest_infos(&self) -> Vec<DigestInfo> {
        Vec::new()
    }
}
