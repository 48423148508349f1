//! The place of the data: as a header describes it, and on a real device.

use super::keys::{Keys, Under};
use super::layout::{Closed, Extent, Layout, Shown, Why};
use super::moving::Moving;
use crate::cipher::CipherSpec;
use crate::ondisk::luks::Mode;
use crate::{Error, Result, SectorSize, TooSmall};

/// The data as a header describes it. This library supports all of it.
#[derive(Debug, Clone)]
pub(super) struct DataArea {
    /// The pieces in the order in which the volume shows them. At least one is encrypted.
    pub(super) pieces: Vec<Piece>,
    /// The cipher of all encrypted pieces; during a re-encryption, of those that are done.
    pub(super) cipher: CipherSpec,
    /// The re-encryption that has begun and is not finished.
    pub(super) moving: Option<Moving>,
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Its first byte on the device.
    pub(super) offset: u64,
    /// `None`: to the end of the device.
    pub(super) size: Option<u64>,
    /// `None` for a piece that is not encrypted.
    pub(super) crypt: Option<Crypt>,
    /// The content that is read here in place of the device's.
    pub(super) shown: Option<Shown>,
}

impl Piece {
    /// Whether the device holds data of the volume there, and holds it in the clear.
    fn is_plain(&self) -> bool {
        self.crypt.is_none() && self.shown.is_none()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Crypt {
    /// The number of its first sector, in units of 512 bytes.
    pub(super) iv_tweak: u64,
    pub(super) sector_size: SectorSize,
    pub(super) cipher: CipherSpec,
    pub(super) under: Under,
}

impl DataArea {
    /// Refuses data with an unencrypted part. Nothing authenticates a LUKS header, so anyone who can write to the disk
    /// can declare any part unencrypted.
    pub(super) fn check_encrypted(&self) -> Result<()> {
        if self.moving.as_ref().is_some_and(|moving| moving.plan.mode != Mode::Reencrypt) {
            return Err(Error::UnsupportedHeader(
                "its encryption or decryption in place is not finished, and a part of it is plain; `hazmat_allow_unencrypted` \
                 opens it, and then `reencrypt_step` goes on"
                    .into(),
            ));
        }
        if !self.pieces.iter().any(Piece::is_plain) {
            return Ok(());
        }
        Err(Error::UnsupportedHeader(
            "a part of its data is not encrypted, which LUKS calls a segment of type \"linear\", and BitLocker leaves while it \
             is being encrypted or decrypted; `hazmat_allow_unencrypted` opens it all the same"
                .into(),
        ))
    }

    /// Whether no piece is encrypted: the data was decrypted in place.
    pub(super) fn is_plain(&self) -> bool {
        self.moving.is_none() && self.pieces.iter().all(|piece| piece.crypt.is_none())
    }

    /// The data of a device of `device_size` bytes.
    pub(super) fn layout(&self, device_size: u64, keys: &mut Keys) -> Result<Layout> {
        let sizes = self.pieces.iter().filter_map(|piece| piece.crypt).map(|crypt| crypt.sector_size);
        // During a re-encryption the same all the time, also while all pieces are still, or already, of the smaller size.
        let both = self.moving.as_ref().map(|moving| SectorSize::new(moving.plan.sector_size())).transpose()?;
        let sector_size = sizes.chain(both).max_by_key(|size| size.bytes()).unwrap_or(SectorSize::B512);
        let unit = u64::from(sector_size.bytes());
        let mut extents = Vec::with_capacity(self.pieces.len());
        let mut size = 0u64;
        for piece in &self.pieces {
            let wanted = piece.size.unwrap_or(unit);
            // A piece that ends where the device does is measured by the old place of the data: until all is done, the end
            // has no room for more.
            let offset = match &self.moving {
                Some(moving) if piece.size.is_none() => {
                    moving.plan.previous.offset.saturating_add(size).max(piece.offset)
                }
                _ => piece.offset,
            };
            let room = device_size.saturating_sub(offset);
            if room < wanted {
                return Err(Error::DeviceTooSmall {
                    what: TooSmall::Data,
                    needed: offset.saturating_add(wanted),
                    size: device_size,
                });
            }
            let len = piece.size.unwrap_or(room / unit * unit);
            if !len.is_multiple_of(unit) {
                return Err(Error::UnsupportedHeader(format!(
                    "a segment of {len} bytes is no whole number of sectors"
                )));
            }
            let iv_tweak = piece.crypt.map_or(0, |crypt| crypt.iv_tweak);
            // No offset and no sector number may exceed 2^64 - 1.
            let end = size.checked_add(len).filter(|_| piece.offset.checked_add(len).is_some());
            let end = end.filter(|_| iv_tweak.checked_add(len / 512).is_some());
            let end = end.ok_or(Error::SectorOverflow { first_sector: iv_tweak })?;
            let cipher =
                piece.crypt.map(|crypt| keys.cipher(crypt.under, crypt.cipher, crypt.sector_size)).transpose()?;
            let shown = piece.shown.clone();
            extents.push(Extent { range: size..end, device_offset: piece.offset, iv_tweak, cipher, shown });
            size = end;
        }
        let hot = self.moving.as_ref().and_then(|moving| moving.hot.clone());
        let closed = hot.map(|range| Closed { range, why: Why::Failed });
        let shows = extents.iter().any(|extent| extent.shown.is_some());
        Ok(Layout { extents, size, sector_size, closed, shows })
    }
}
