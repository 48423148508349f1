//! Encryption in place: a plain device becomes a volume.

use std::sync::Arc;

use super::super::aligned::Aligned;
use super::super::data_area::DataArea;
use super::super::format::first_used;
use super::super::headers::{self, NewEncryption, StoredHeader, check_written};
use super::super::keys::{Key, Keys};
use super::super::{BlockDevice, FormatOptions, MemoryDevice, OpenOptions, Volume};
use super::Resilience;
use super::file_system;
use super::intent::Intent;
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::key::{Credential, Protector};
use crate::ondisk::luks::{self, LuksVersion};
use crate::{Dek, Error, Result, TooSmall};

/// The least distance in bytes by which data is moved.
const MIB: u64 = 1 << 20;

/// The state of an encryption in place, as found on a device.
#[cfg(feature = "managed")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Nothing,
    /// Its header is in the free end. The start may be anything.
    Intent,
    Header,
}

/// A header for plain data, prepared before anything is written.
struct New {
    dek: Dek,
    header: Box<dyn StoredHeader>,
    data: DataArea,
    device_size: u64,
}

impl<D: BlockDevice> Volume<D> {
    /// Begins to encrypt the plain data of `device` in place, and opens it. No data is encrypted yet:
    /// [`reencrypt_step`](Self::reencrypt_step) does it, while threads read and write.
    ///
    /// With a [detached header](FormatOptions::header), the data stays where it is, and `free_at_end` must be 0. Otherwise
    /// the header needs the start of the device, and the data moves towards the end by the
    /// [data offset](FormatOptions::data_offset), 16 MiB by default. For that, `free_at_end` bytes at the end of the device
    /// must hold nothing, at least twice the data offset: shrink a file system first. The size of ext2 to ext4, XFS, Btrfs and
    /// NTFS is checked, and a larger one is refused.
    ///
    /// Until it is finished, the volume opens with
    /// [`hazmat_allow_unencrypted`](crate::OpenOptions::hazmat_allow_unencrypted), since a part is plain. If this is killed
    /// before the header is written, call it again with the same arguments: it finishes the beginning. An encryption that has
    /// begun already is refused here, so nothing is encrypted twice.
    ///
    /// ```
    /// # use atrest::volume::KeyslotOptions;
    /// # use atrest::key::Kdf;
    /// use std::sync::Arc;
    ///
    /// use atrest::{BlockDevice, FormatOptions, MemoryDevice, Protector, Volume};
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    ///
    /// let plain = MemoryDevice::from_bytes(vec![7; 4 << 20]);
    /// let options = FormatOptions::new().header(Arc::new(MemoryDevice::new(16 << 20)));
    /// # let options = options.keyslot(cheap);
    /// let volume = Volume::begin_encryption(plain, Protector::Passphrase(b"secret"), &options, 0)?;
    /// while !volume.reencrypt_step(1 << 20)?.is_finished() {}
    ///
    /// let mut sectors = [0; 4096];
    /// volume.read_at(0, &mut sectors)?;
    /// assert_eq!(sectors, [7; 4096]);
    /// volume.device().read_at(0, &mut sectors).unwrap();
    /// assert_ne!(sectors, [7; 4096]);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Busy`] if the encryption has begun already; [`Error::DeviceNotBlank`] if the header's device, or the end that
    /// is to be free, holds something; [`Error::DeviceTooSmall`]; [`Error::InvalidOption`]; [`Error::UnsupportedHeader`] for
    /// LUKS1; the errors of [`format`](Self::format).
    pub fn begin_encryption(
        device: D,
        protector: Protector<'_>,
        options: &FormatOptions,
        free_at_end: u64,
    ) -> Result<Self> {
        let (volume, approval) = approval::observe(|| {
            on_wiped_stack(|| match &options.header {
                Some(header) => Self::begin_beside(device, header.clone(), protector, options, free_at_end),
                None => Self::begin_shifting(device, protector, options, free_at_end),
            })
        });
        Ok(Volume { made_by: approval, ..volume? })
    }

    /// Finds the state of an encryption in place, with its header at the start, on a device.
    #[cfg(feature = "managed")]
    pub(crate) fn begun_encryption(device: &D) -> Result<Begun> {
        let device = Aligned::new(device as &dyn BlockDevice);
        match headers::load(&device) {
            Ok(_) => return Ok(Begun::Header),
            Err(e @ Error::Io { .. }) => return Err(e),
            Err(_) => {}
        }
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        Ok(if Intent::find(&device, size)?.is_some() { Begun::Intent } else { Begun::Nothing })
    }

    /// Begins with the header on its own device.
    fn begin_beside(
        device: D,
        header_device: Arc<dyn BlockDevice>,
        protector: Protector<'_>,
        options: &FormatOptions,
        free_at_end: u64,
    ) -> Result<Self> {
        if free_at_end != 0 {
            return Err(Error::InvalidOption("beside a detached header the data isn't moved: free_at_end is 0".into()));
        }
        let (device, header_device) = (Aligned::new(device), Aligned::new(header_device));
        let New { dek, mut header, data, device_size } = New::prepare(options, &device)?;
        let mut keys = Keys::new(Key::new(dek.clone(), 0), None);
        let size = data.layout(device_size, &mut keys).map_err(|e| e.too_small_for(TooSmall::NewVolume))?.size;
        check_whole(device_size - data.pieces[0].offset, size)?;
        refuse_begun(&header_device)?;
        refuse_begun(&device)?;
        let room = header_device.size().map_err(|e| Error::io("asking the header's device for its size", e))?;
        if room < header.len() {
            return Err(Error::DeviceTooSmall { what: TooSmall::NewHeader, needed: header.len(), size: room });
        }
        options.check_blank(&header_device, first_used(&header_device, 0, header.len())?)?;
        let first = options.prepare(protector, &dek, &*header, size)?;
        let resilience = Resilience::Checksum.stored(options.sector_bytes());
        let new = NewEncryption { resilience, size, moved: None };
        header.store_encryption(&header_device, &dek, first, new)?;
        Self::opened(header, device, Some(header_device), keys)
    }

    /// Begins with the header at the start of the device, and the data moved towards the end.
    fn begin_shifting(device: D, protector: Protector<'_>, options: &FormatOptions, free_at_end: u64) -> Result<Self> {
        let device = Aligned::new(device);
        match refuse_begun(&device) {
            Err(Error::Busy { .. }) if Intent::is_half_done(&device)? => {}
            begun => begun?,
        }
        let New { dek, mut header, data, device_size } = New::prepare(options, &device)?;
        let shift = data.pieces[0].offset;
        let size = device_size.checked_sub(2 * shift).filter(|size| *size >= MIB.min(shift));
        let size = size.ok_or(Error::DeviceTooSmall {
            what: TooSmall::EncryptionInPlace,
            needed: 2 * shift + MIB.min(shift),
            size: device_size,
        })?;
        check_whole(size, size / u64::from(options.sector_bytes()) * u64::from(options.sector_bytes()))?;
        if free_at_end < 2 * shift {
            return Err(Error::InvalidOption(format!(
                "the header takes {shift} bytes, and moving the data takes as many: {} bytes at the end of the device must be \
                 free; shrink what is on it, or take a smaller data offset",
                2 * shift
            )));
        }
        file_system::check_fits(&device, size)?;
        let credential = match protector {
            Protector::Vault(vault, _) => Credential::Vault(vault),
            Protector::Passphrase(passphrase) => Credential::Passphrase(passphrase),
            Protector::KeyFile(path) => Credential::KeyFile(path),
            #[cfg(feature = "bitlocker")]
            Protector::RecoveryPassword(text) => Credential::RecoveryPassword(text),
            #[cfg(feature = "bitlocker")]
            Protector::StartupKey(path) => Credential::StartupKey(path),
            #[cfg(feature = "bitlocker")]
            Protector::StartupKeyBytes(file) => Credential::StartupKeyBytes(file),
        };
        let open = OpenOptions::new().hazmat_allow_unencrypted(true);
        // Finish an attempt that was killed before its header was written, if it is the caller's own.
        if let Some(intent) = Intent::find(&device, device_size)? {
            if intent.shift() != shift {
                return Err(Error::InvalidOption(format!(
                    "an encryption in place was begun, with a data offset of {}; call it with that again",
                    intent.shift()
                )));
            }
            super::super::Header::load(&intent.image())?.unlock(credential, &OpenOptions::new())?;
            intent.carry_out(&device)?;
            return Self::open(device.into_inner(), credential, &open);
        }
        let moved = shift.min(size);
        let first = options.prepare(protector, &dek, &*header, size)?;
        let resilience = luks::Resilience::Shift { size: shift, moved: None };
        let new = NewEncryption { resilience, size, moved: Some((size + shift, moved)) };
        let image = MemoryDevice::new(shift as usize);
        header.store_encryption(&image, &dek, first, new)?;
        copy(&device, 0, size + shift, moved)?;
        Intent::write(&device, device_size, shift, &image.into_bytes())?.carry_out(&device)?;
        Self::opened(header, device, None, Keys::new(Key::new(dek, 0), None))
    }
}

impl New {
    fn prepare(options: &FormatOptions, device: &dyn BlockDevice) -> Result<Self> {
        options.check()?;
        if options.luks_version() != LuksVersion::Luks2 {
            return Err(Error::UnsupportedHeader("only LUKS2 knows an encryption in place".into()));
        }
        if options.written_map.is_some() {
            let text = "an encryption in place writes all chunks, so its volume can't have a map of written chunks";
            return Err(Error::InvalidOption(text.into()));
        }
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let (dek, header) = options.new_volume(device_size)?;
        let data = header.data_area(options.header.is_some())?;
        Ok(New { dek, header, data, device_size })
    }
}

/// If the header of an encryption in place is in the free end of a device and not yet at its start: the device as it will be once
/// the header is there, for reading.
#[cfg(feature = "managed")]
pub(crate) fn intended(device: &Arc<dyn BlockDevice>) -> Result<Option<Arc<dyn BlockDevice>>> {
    if Volume::begun_encryption(device)? != Begun::Intent {
        return Ok(None);
    }
    let device: Arc<dyn BlockDevice> = Arc::new(Aligned::new(device.clone()));
    let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
    Ok(Intent::find(&device, size)?.map(|intent| intent.carried_out(device)))
}

/// Refuses plain data that would lose its end.
fn check_whole(plain: u64, encrypted: u64) -> Result<()> {
    if plain == encrypted {
        return Ok(());
    }
    Err(Error::InvalidOption(format!("{plain} bytes of data are no whole number of sectors; take smaller sectors")))
}

/// Refuses a device that has a header, so that nothing is encrypted twice.
fn refuse_begun(device: &dyn BlockDevice) -> Result<()> {
    match headers::load(device) {
        Ok(_) => Err(Error::Busy {
            what: "the device, which has a LUKS header already (if its encryption was begun and is not finished, open it with \
                   `hazmat_allow_unencrypted` and go on by `reencrypt_step`),"
                .into(),
        }),
        Err(e @ Error::Io { .. }) => Err(e),
        Err(_) => Ok(()),
    }
}

/// Copies a part of the device. The copy is on the disk when this returns.
pub(super) fn copy(device: &dyn BlockDevice, from: u64, to: u64, len: u64) -> Result<()> {
    let failed = |e| Error::io("moving the start of the data", e);
    let mut piece = zeroize::Zeroizing::new(vec![0; MIB as usize]);
    for at in (0..len).step_by(MIB as usize) {
        let piece = &mut piece[..(len - at).min(MIB) as usize];
        device.read_at(from + at, piece).map_err(failed)?;
        device.write_at(to + at, piece).map_err(failed)?;
        check_written(device, to + at, piece).map_err(failed)?;
    }
    device.sync().map_err(failed)
}
