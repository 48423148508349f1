//! Decryption in place.

use super::super::data_area::{DataArea, Piece};
use super::super::headers::StoredHeader;
use super::super::keys::Keys;
use super::super::{BlockDevice, Volume};
use super::Resilience;
use crate::arch::on_wiped_stack;
use crate::ondisk::luks::{self, Plan, SegmentSize};
use crate::{Error, Result};

impl<D: BlockDevice> Volume<D> {
    /// Begins to decrypt the data where it lies. The header must be [detached](crate::FormatOptions::header): the data then
    /// is where a plain device has it. Nothing is rewritten yet: [`reencrypt_step`](Self::reencrypt_step) does it, from the
    /// end, and destroys the header after the last step. If it is killed in that, the data is plain, and a part of the header may be
    /// left, which opens nothing. What is written to a part that is done is plain on the device.
    ///
    /// Until it is finished, the volume opens with
    /// [`hazmat_allow_unencrypted`](crate::OpenOptions::hazmat_allow_unencrypted).
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`] unless the header is detached, and for LUKS1;
    /// those of [`begin_reencryption`](Self::begin_reencryption).
    pub fn begin_decryption(&self, resilience: Resilience) -> Result<()> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            self.check_still()?;
            self.check_unmapped()?;
            if self.header_device.is_none() {
                return Err(Error::UnsupportedHeader(
                    "its header lies before the data; only a volume with a detached header is decrypted in place"
                        .into(),
                ));
            }
            let state = self.live.get();
            let (keys, size, sector_size) = (state.keys.clone(), state.layout.size, state.layout.sector_size);
            drop(state);
            let resilience = resilience.stored(sector_size.bytes());
            let device_size = self.device_size()?;
            let mut header = self.locked_header();
            header.begin_decryption(self.header_device(), &keys.current.dek, resilience, size)?;
            self.publish(&**header, keys, device_size)
        })
    }

    /// Destroys the header. The volume stays open, over plain data.
    pub(super) fn finish_decryption(
        &self,
        header: &dyn StoredHeader,
        mut keys: Keys,
        plan: &Plan,
        device_size: u64,
    ) -> Result<()> {
        header.wipe(self.header_device())?;
        let size = if let SegmentSize::Bytes(size) = plan.last.size { Some(size) } else { None };
        let pieces = vec![Piece { offset: plan.last.offset, size, crypt: None }];
        let cipher = self.live.get().data.cipher;
        let data = DataArea { pieces, cipher, moving: None };
        let layout = data.layout(device_size, &mut keys)?;
        self.live.replace(keys, data, layout);
        Ok(())
    }
}

impl Resilience {
    /// As the header has it, for blocks of so many bytes.
    pub(super) fn stored(self, block: u32) -> luks::Resilience {
        match self {
            Resilience::Checksum => luks::Resilience::Checksum { hash: "sha256".into(), block },
            Resilience::Journal => luks::Resilience::Journal,
        }
    }
}
