//! Growing and shrinking a volume in use.

use super::{BlockDevice, Volume, Written};
use crate::arch::on_wiped_stack;
use crate::{Error, Result};

impl<D: BlockDevice> Volume<D> {
    /// Changes the size of the data, and returns the new one in bytes. Reads and writes go on meanwhile.
    ///
    /// With `None` the volume follows its device: call it after the device was enlarged. With a size, the sectors beyond it are
    /// cut off: shrink the file system first, then call this, then shrink the device. Cut-off data isn't overwritten. A vault's
    /// token records the new size. Without one, only this process knows it, and the next open takes the whole device. A data
    /// segment whose size the header fixes never grows.
    ///
    /// ```
    /// # use atrest::volume::KeyslotOptions;
    /// # use atrest::key::Kdf;
    /// use atrest::{FormatOptions, MemoryDevice, Protector, Volume};
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let options = FormatOptions::new().keyslot(cheap);
    ///
    /// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
    /// assert_eq!(volume.size(), 4 << 20);
    /// assert_eq!(volume.resize(Some(1 << 20))?, 1 << 20);
    /// assert!(volume.write_at(1 << 20, &[7; 512]).is_err());
    /// assert_eq!(volume.resize(None)?, 4 << 20);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a size of zero, of no whole number of sectors, or beyond the device;
    /// [`Error::DeviceTooSmall`]; [`Error::Busy`] during a re-encryption, or if another program has changed the header;
    /// [`Error::ReadOnly`]; [`Error::Io`], after which the size is the new one, and may not be recorded.
    pub fn resize(&self, size: Option<u64>) -> Result<u64> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            self.check_still()?;
            let state = self.live.get();
            let (mut keys, data) = (state.keys.clone(), state.data.clone());
            drop(state);
            let device_size = self.device.size().map_err(|e| Error::io("asking the device for its size", e))?;
            let mut layout = data.layout(device_size, &mut keys)?;
            self.written.as_ref().map_or(Ok(()), |written| written.fit(&mut layout))?;
            if let Some(size) = size {
                let unit = self.written.as_ref().map_or(layout.sector_size.bytes(), Written::chunk_size).into();
                if size == 0 || !size.is_multiple_of(unit) || size > layout.size {
                    return Err(Error::InvalidOption(format!(
                        "the size must be a multiple of {unit} bytes, up to the {} that the device has",
                        layout.size
                    )));
                }
                layout.cut(size);
            }
            self.live.replace(keys, data, layout);
            self.forget_cut_off()?;
            self.recorded_size()
        })
    }
}
