//! Decryption in place.

use std::sync::Arc;

use super::super::aligned::Aligned;
use super::super::data_area::{DataArea, Piece};
use super::super::format::first_used;
use super::super::headers::{self, NewDecryption, StoredHeader, check_written};
use super::super::keys::Keys;
use super::super::layout::Why;
use super::super::signature::{self, Signature};
use super::super::{BlockDevice, MemoryDevice, Volume};
use super::encrypt::copy;
use super::{Resilience, zone};
use crate::arch::on_wiped_stack;
use crate::ondisk::luks::{self, LuksVersion, Plan, SegmentSize};
use crate::{Error, Result, TooSmall};

/// How much is copied to the start of the device at most, where it is decrypted last.
const MOVED: u64 = 256 << 10;

impl<D: BlockDevice> Volume<D> {
    /// Begins to decrypt the data in place. The header must be [detached](crate::FormatOptions::header): the data then already
    /// lies where a plain device has it. Nothing is rewritten yet: [`reencrypt_step`](Self::reencrypt_step) does it, from the end
    /// on, and destroys the header after the last step. If it is killed while it does so, the data is plain, and a part of the
    /// header may be left, which opens nothing. New writes to a part that is done are plain on the device.
    ///
    /// Until it is finished, the volume opens with
    /// [`hazmat_allow_unencrypted`](crate::OpenOptions::hazmat_allow_unencrypted).
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`] unless the header is detached (see
    /// [`begin_decryption_beside`](Self::begin_decryption_beside)), and for LUKS1; those of
    /// [`begin_reencryption`](Self::begin_reencryption).
    pub fn begin_decryption(&self, resilience: Resilience) -> Result<()> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            self.check_still()?;
            self.check_unmapped()?;
            if !self.is_detached() {
                return Err(Error::UnsupportedHeader(
                    "its header lies before the data, which has to move to the start of the device; \
                     `begin_decryption_beside` does that, and takes the header elsewhere meanwhile"
                        .into(),
                ));
            }
            let (mut header, device_size) = (self.locked_header(), self.device_size()?);
            let new = self.new_decryption(resilience, 0);
            header.begin_decryption(self.header_device(), &self.dek(), new)?;
            self.publish(&**header, self.keys(), device_size)
        })
    }

    /// Begins to decrypt a volume whose header lies before the data, and to move the data to the start of the device. The
    /// header goes onto `beside`, a device of its own that must be blank, and the volume opens with it from then on
    /// ([`OpenOptions::header`](crate::OpenOptions::header)). Otherwise it works as [`begin_decryption`](Self::begin_decryption),
    /// but the steps begin near the start. When all is done, the last [`data_offset`](Self::data_offset) bytes of the device are
    /// free, and hold noise. Cut them off then, or grow the file system over them.
    ///
    /// **Everything before the data on the device is destroyed.** If this is killed, the volume opens as before, or with the
    /// header on `beside`. Call it again in either case, with that device. If the volume opens as before and `beside` is refused
    /// as not blank, blank it first.
    ///
    /// ```
    /// # use atrest::volume::{KeyslotOptions, Resilience};
    /// # use atrest::key::Kdf;
    /// use std::sync::Arc;
    ///
    /// use atrest::{BlockDevice, FormatOptions, MemoryDevice, Protector, Volume};
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let options = FormatOptions::new().keyslot(cheap);
    ///
    /// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
    /// volume.write_at(0, &[7; 4096])?;
    ///
    /// let header = Arc::new(MemoryDevice::new(16 << 20));
    /// volume.begin_decryption_beside(header, Resilience::Checksum)?;
    /// while !volume.reencrypt_step(1 << 20)?.is_finished() {}
    ///
    /// let mut sectors = [0; 4096];
    /// volume.device().read_at(0, &mut sectors).unwrap();
    /// assert_eq!(sectors, [7; 4096]);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceNotBlank`] or [`Error::DeviceTooSmall`] for `beside`; [`Error::InvalidOption`] if the volume has a
    /// detached header on another device; [`Error::ForeignData`] if that header is on `beside`, and another program's data is
    /// before the volume's; [`Error::UnsupportedHeader`] for LUKS1, and if the data begins at byte 0, or beyond 1 GiB; those of
    /// [`begin_reencryption`](Self::begin_reencryption).
    pub fn begin_decryption_beside(&self, beside: Arc<dyn BlockDevice>, resilience: Resilience) -> Result<()> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            self.check_still()?;
            self.check_unmapped()?;
            let (beside, device_size) = (Aligned::new(beside), self.device_size()?);
            let mut header = self.locked_header();
            header.check_unchanged(self.header_device())?;
            if header.needs_recovery() {
                header.recover(self.header_device(), false)?;
            }
            let moved = self.rehearse(&**header, resilience)?;
            let shift = self.data_offset();
            let is_before = if self.is_detached() {
                header.check_unchanged(&beside).map_err(|_| {
                    Error::InvalidOption("the volume has a detached header already, and not on that device".into())
                })?;
                self.is_before(&**header, shift)?
            } else {
                true
            };
            if is_before && header.len() > shift {
                return Err(Error::UnsupportedHeader("its keyslots reach into the data".into()));
            }
            if !self.is_detached() {
                self.export_header(&mut header, beside)?;
            }
            if is_before {
                header.wipe(&self.device)?;
            }
            self.close(&(0..moved), Why::Kept);
            copy(&self.device, shift, 0, moved).inspect_err(|_| self.close(&(0..0), Why::Kept))?;
            let new = self.new_decryption(resilience, moved);
            let begun = header.begin_decryption(self.header_device(), &self.dek(), new);
            // The header may already say that this part was moved.
            begun.inspect_err(|_| self.close(&(0..moved), Why::Failed))?;
            self.publish(&**header, self.keys(), device_size)
        })
    }

    fn keys(&self) -> Keys {
        self.live.get().keys.clone()
    }

    fn new_decryption(&self, resilience: Resilience, moved: u64) -> NewDecryption {
        let layout = &self.live.get().layout;
        NewDecryption { resilience: resilience.stored(layout.sector_size.bytes()), size: layout.size, moved }
    }

    /// Begins the decryption in a copy of the header, to find every error before anything is destroyed. Returns the number of
    /// bytes to copy to the start of the device.
    fn rehearse(&self, header: &dyn StoredHeader, resilience: Resilience) -> Result<u64> {
        let shift = self.data_offset();
        if header.format() != LuksVersion::Luks2 {
            return Err(header.lacks("a decryption in place"));
        }
        if !(4096..=1 << 30).contains(&shift) || !shift.is_multiple_of(4096) {
            return Err(Error::UnsupportedHeader(format!(
                "its data begins at byte {shift}; only what begins at a multiple of 4096 bytes, up to 1 GiB, is moved to the start"
            )));
        }
        let image = MemoryDevice::from_bytes(read_header(header, self.header_device())?);
        let mut rehearsal = header.boxed();
        let new = self.new_decryption(resilience, MOVED.min(shift).min(self.size()));
        let plan = rehearsal.begin_decryption(&image, &self.dek(), new)?;
        Ok(zone::max_len(&plan, 0, u64::MAX)?.min(plan.moved_size()))
    }

    /// Copies the header to a device of its own, where it is from now on.
    fn export_header(&self, header: &mut Box<dyn StoredHeader>, to: Aligned<Arc<dyn BlockDevice>>) -> Result<()> {
        let room = to.size().map_err(|e| Error::io("asking the header's device for its size", e))?;
        if room < header.len() {
            return Err(Error::DeviceTooSmall { what: TooSmall::NewHeader, needed: header.len(), size: room });
        }
        let identity = |header: &dyn StoredHeader| (header.uuid().to_owned(), header.key_digest());
        let is_same = |found: &dyn StoredHeader| {
            let is_newer = found.epoch() > header.epoch();
            is_newer && identity(found) == identity(&**header) && found.check_requirements().is_ok()
        };
        // A header left by an earlier call may be overwritten. It is newer than the volume's own, which may be on the same device.
        let current = match headers::load(&to) {
            Err(e @ Error::Io { .. }) => return Err(e),
            found => found.ok().filter(|found| is_same(&**found)),
        };
        if let Some(offset) = first_used(&to, 0, header.len())?.filter(|_| current.is_none()) {
            let found = signature::describe(&to).map_err(|e| Error::io("looking at what the device holds", e))?;
            return Err(Error::DeviceNotBlank { offset, found });
        }
        let bytes = read_header(&**header, &self.device)?;
        let mut exported = header.boxed();
        exported.restore(&to, &bytes, current.as_deref())?;
        let areas = 2 * header.metadata_size();
        let written = check_written(&to, areas, &bytes[areas as usize..]);
        written.map_err(|e| Error::io("copying the header to its own device", e))?;
        *header = exported;
        // It was empty: nobody else sets it without the header's lock.
        let _ = self.header_device.set(to);
        Ok(())
    }

    /// Whether an exported header is still before the data, too. Refuses to overwrite another program's data there.
    fn is_before(&self, header: &dyn StoredHeader, data: u64) -> Result<bool> {
        let foreign = |what: &str| {
            Err(Error::ForeignData(format!(
                "the data is to be moved to the start of the device, over {what}; if that may be destroyed, overwrite the \
                 first {data} bytes with zeros"
            )))
        };
        match headers::load(&self.device) {
            Ok(found) if found.uuid() == header.uuid() => return Ok(true),
            Ok(_) => return foreign("another volume's header"),
            Err(e @ Error::Io { .. }) => return Err(e),
            Err(_) => {}
        }
        let found = Signature::find(&self.device, 0..data);
        match found.map_err(|e| Error::io("looking at what is before the data", e))? {
            Some(signature) => foreign(&signature.to_string()),
            None => Ok(false),
        }
    }

    /// Destroys the header. The volume stays open, over plain data of `size` bytes.
    pub(super) fn finish_decryption(
        &self,
        header: &dyn StoredHeader,
        mut keys: Keys,
        plan: &Plan,
        size: u64,
        device_size: u64,
    ) -> Result<()> {
        self.steps.end();
        header.wipe(self.header_device())?;
        // The range that the data was moved from is no part of it.
        let follows = plan.last.size == SegmentSize::Dynamic && plan.moved.is_none();
        let pieces =
            vec![Piece { offset: plan.last.offset, size: (!follows).then_some(size), crypt: None, shown: None }];
        let cipher = self.live.get().data.cipher;
        let data = DataArea { pieces, cipher, moving: None };
        let layout = data.layout(device_size, &mut keys)?;
        self.live.replace(keys, data, layout);
        Ok(())
    }
}

/// The bytes of a header, with its keyslots.
fn read_header(header: &dyn StoredHeader, device: &dyn BlockDevice) -> Result<Vec<u8>> {
    let mut bytes = vec![0; header.len() as usize];
    device.read_at(0, &mut bytes).map_err(|e| Error::io("reading the header", e))?;
    Ok(bytes)
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
