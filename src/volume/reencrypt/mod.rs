//! Re-encryption of an open volume: its data moves to another key, cipher or sector size, while threads read and write.
//!
//! It goes zone by zone. Closing a zone makes new writes to it wait, and waits for those under way; while it is rewritten, reads of
//! it wait too. First the zone is read. Then the data for recovery from a crash is written to an area in the header's room, and the
//! header records that the zone is being rewritten. The zone is rewritten, and the header records that it is done. Each of these is
//! on the disk before the next. The header records them in the terms of LUKS2, so that `cryptsetup` can finish the re-encryption.

mod decrypt;
mod encrypt;
mod file_system;
mod intent;
mod options;
mod unprotected;
mod zone;

use core::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "managed")]
pub(crate) use encrypt::{Begun, intended};
pub use options::{ReencryptOptions, Resilience};

use super::aligned::Aligned;
use super::headers::{NewKey, NewReencryption, StoredHeader};
use super::keys::{Key, Keys};
use super::layout::{Closed, Why};
use super::live::Live;
use super::moving::Moving;
use super::protect::secret_of;
use super::steps::{ReencryptionProgress, ZONE};
use super::{BlockDevice, Volume, token_keyslot};
use crate::arch::on_wiped_stack;
use crate::key::{DekAlgorithm, Protector, WrappedDek};
use crate::ondisk::luks::{CryptSegment, Mode, Token, WRITTEN_REQUIREMENT};
use crate::{Dek, Error, Result};
use zeroize::Zeroizing;
use zone::{Zone, overwrite};

impl<D: BlockDevice> Volume<D> {
    /// Begins to move the data to a new DEK, and to another cipher or sector size if the options say so. Nothing of the
    /// data is rewritten yet: see [`reencrypt_step`](Self::reencrypt_step).
    ///
    /// `protectors` are the ways into the new key, and from now on the ways into the volume. Vaults that wrap the old key
    /// are no way in any more; old passphrases stay in the header until the end, for other tools, which need both keys.
    /// Tokens keep their context and encryption type. If this is killed at any instant, the volume opens as before, or by
    /// the new protectors.
    ///
    /// ```
    /// # use atrest::volume::KeyslotOptions;
    /// # use atrest::key::Kdf;
    /// use atrest::volume::ReencryptOptions;
    /// use atrest::{FormatOptions, MemoryDevice, Protector, Volume};
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let options = FormatOptions::new().keyslot(cheap.clone());
    ///
    /// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
    /// volume.write_at(0, &[7; 4096])?;
    /// let old = volume.fingerprint()?;
    ///
    /// let options = ReencryptOptions::new();
    /// # let options = options.keyslot(cheap);
    /// volume.begin_reencryption(&[Protector::Passphrase(b"secret")], &options)?;
    /// while !volume.reencrypt_step(1 << 20)?.is_finished() {
    ///     // Reads and writes go on, here and in other threads.
    /// }
    /// let mut sectors = [0; 4096];
    /// volume.read_at(0, &mut sectors)?;
    /// assert_eq!(sectors, [7; 4096]);
    /// assert_ne!(volume.fingerprint()?, old);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Busy`] if one has begun already, or another program has changed the header; [`Error::InvalidOption`] without
    /// a protector, or if the size is no whole number of new sectors; [`Error::NoRoom`]; [`Error::UnsupportedHeader`] for
    /// LUKS1, and for volumes of several segments; [`Error::ReadOnly`]; the vaults' errors; [`Error::Io`].
    pub fn begin_reencryption(&self, protectors: &[Protector<'_>], options: &ReencryptOptions) -> Result<()> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            self.check_still()?;
            self.check_unmapped()?;
            let state = self.live.get();
            let (old, size, sector_size) = (state.keys.current.clone(), state.layout.size, state.layout.sector_size);
            drop(state);
            let usual = old.dek.algorithm().new_cipher().map_or(DekAlgorithm::Aes256Xts, |_| old.dek.algorithm());
            let dek = match &options.dek {
                Some(dek) => dek.clone(),
                None => Dek::generate(options.algorithm.unwrap_or(usual))?,
            };
            let cipher = dek.algorithm().new_cipher().ok_or_else(|| {
                Error::InvalidOption(format!("no volume is encrypted with {}", dek.algorithm().name()))
            })?;
            let new_size = options.sector_size.unwrap_or(sector_size).bytes();
            if ![512, 1024, 2048, 4096].contains(&new_size) || !size.is_multiple_of(u64::from(new_size)) {
                let text = format!("{size} bytes of data can't be in sectors of {new_size} bytes");
                return Err(Error::InvalidOption(text));
            }
            let key = self.new_key(&dek, size, protectors, options)?;
            let block = new_size.max(sector_size.bytes());
            let resilience = options.resilience.stored(block);
            let encryption = cipher.name().into();
            let last = CryptSegment { iv_tweak: 0, encryption, sector_size: new_size, integrity: None };
            let new = NewReencryption { old: old.dek.secret(), key, last, resilience, size };
            let device_size = self.device_size()?;
            let mut header = self.locked_header();
            header.begin_reencryption(self.header_device(), new)?;
            self.publish(&**header, Keys::new(Key::new(dek, 0), Some(old)), device_size)
        })
    }

    /// Refuses a second re-encryption beside one that has begun.
    pub(in crate::volume) fn check_still(&self) -> Result<()> {
        if self.live.get().data.moving.is_none() {
            return Ok(());
        }
        let what = "the volume, a re-encryption of which has begun already,";
        Err(Error::Busy { what: what.into() })
    }

    /// Refuses a volume with a map of written chunks: a part of its data is noise, and the keys of its map come from the old key.
    fn check_unmapped(&self) -> Result<()> {
        if self.locked_header().requirements().iter().any(|name| name == WRITTEN_REQUIREMENT) {
            return Err(Error::UnsupportedHeader(
                "a volume with a map of written chunks can't be re-encrypted or decrypted in place; copy it to a new volume, \
                 chunk by chunk as `extents` tells"
                    .into(),
            ));
        }
        Ok(())
    }

    fn new_key<'a>(
        &self,
        dek: &'a Dek,
        size: u64,
        protectors: &[Protector<'a>],
        options: &ReencryptOptions,
    ) -> Result<NewKey<'a>> {
        if protectors.is_empty() {
            return Err(Error::InvalidOption("the new key needs a protector: a vault's key or a passphrase".into()));
        }
        let like = self.locked_header().genuine_tokens(&self.dek()).into_iter().map(|(_, token)| token).next();
        let (kind, context) = like.map_or_else(Default::default, |token| (token.encryption_type, token.context));
        let required_hash = self.locked_header().required_hash();
        let mut key = NewKey { dek, keyslots: Vec::new(), tokens: Vec::new() };
        for protector in protectors {
            if let Protector::Vault(vault, name) = *protector {
                // No lock is held while a vault answers.
                let wrapped = WrappedDek::wrap(vault, name, dek)?;
                key.tokens.push(Token::new(kind, dek, wrapped, context.clone(), size));
                continue;
            }
            let secret = secret_of(*protector)?;
            self.locked_header().check_means(secret.1)?;
            key.keyslots.push(options.keyslot.keyslot(options.keyslot.resolve(required_hash)?, secret));
        }
        if !key.tokens.is_empty() && !self.locked_header().token_keyslots().is_empty() {
            key.keyslots.push(token_keyslot::new(dek));
        }
        Ok(key)
    }

    /// How far the re-encryption is; `None` if there is none.
    pub fn reencryption(&self) -> Option<ReencryptionProgress> {
        let state = self.live.get();
        let moving = state.data.moving.as_ref()?;
        Some(self.steps.progress(moving.done(state.layout.size), state.layout.size))
    }

    /// Re-encrypts about `budget` bytes, at least one sector, in zones of up to 16 MiB. Other threads read and write
    /// meanwhile, and wait only for sectors in the zone. After the last step the old key is gone. Each zone costs some twenty
    /// syncs, and stays closed for as long: so zones shrink, down to 512 KiB, while other threads have to wait for them, and
    /// grow again when they don't.
    ///
    /// Call it as often as you can afford. It may be killed at any instant; the volume opens afterwards, here or on
    /// another machine, and goes on.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`] if another program has changed the header; [`Error::KeyExhausted`];
    /// [`Error::Io`]. After a failure the zone stays closed until a step succeeds: reads and writes of it return
    /// [`Error::Busy`].
    pub fn reencrypt_step(&self, budget: u64) -> Result<ReencryptionProgress> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let mut room = self.steps.lock();
            let mut rest = budget;
            if self.live.get().data.is_plain() {
                // A decrypted volume has no header any more.
                return Ok(self.steps.progress(self.size(), self.size()));
            }
            loop {
                let begun = Instant::now();
                let moving = self.locked_header().data_area(self.is_detached())?.moving;
                self.catch_up(moving.as_ref())?;
                let size = self.size();
                let Some(moving) = moving else { return Ok(self.steps.progress(size, size)) };
                let most = self.steps.next_zone(self.live.was_awaited());
                let zone = self.next_zone(&moving, size, rest.min(most))?;
                let len = zone.end - zone.start;
                self.rewrite(&moving, &zone, size, &mut room)?;
                self.steps.add(len, begun.elapsed());
                rest = rest.saturating_sub(len);
                let after = moving.after(&zone, size);
                let (done, finished) = (after.done(size), after.next(size, 1).is_none());
                if finished {
                    *room = Zeroizing::default();
                }
                if finished || rest == 0 {
                    return Ok(self.steps.progress(done, size));
                }
            }
        })
    }

    /// Re-encrypts until it is finished, or until `each`, which is called after each zone, breaks.
    ///
    /// # Errors
    /// Those of [`reencrypt_step`](Self::reencrypt_step).
    pub fn reencrypt(
        &self,
        mut each: impl FnMut(&ReencryptionProgress) -> ControlFlow<()>,
    ) -> Result<ReencryptionProgress> {
        loop {
            let progress = self.reencrypt_step(ZONE)?;
            if progress.is_finished() || each(&progress).is_break() {
                return Ok(progress);
            }
        }
    }

    /// The zone to rewrite next: the one that an earlier step failed to rewrite, or the next in order.
    fn next_zone(&self, moving: &Moving, size: u64, budget: u64) -> Result<Range<u64>> {
        if let Some(hot) = &moving.hot {
            return Ok(hot.clone());
        }
        if let Some(closed) = &self.live.get().layout.closed {
            return Ok(closed.range.clone());
        }
        let len = zone::max_len(&moving.plan, moving.boundary, budget)?;
        // Nothing is left to rewrite if another program was killed between its last zone and the end.
        let end = moving.boundary.min(size);
        Ok(moving.next(size, len).unwrap_or(end..end))
    }

    /// Rewrites a zone, or finishes it. If that fails, the zone stays closed: the header on the device may record that it is being
    /// rewritten, and then nothing in it may change.
    fn rewrite(&self, moving: &Moving, zone: &Range<u64>, size: u64, room: &mut Vec<u8>) -> Result<()> {
        let is_known = moving.hot.is_none() && self.live.get().layout.closed.is_none();
        self.close(zone, if is_known { Why::Kept } else { Why::Rewritten });
        let unless_done = Stuck(self, zone);
        self.rewrite_closed(moving, zone, size, room)?;
        core::mem::forget(unless_done);
        Ok(())
    }

    fn rewrite_closed(&self, moving: &Moving, range: &Range<u64>, size: u64, room: &mut Vec<u8>) -> Result<()> {
        let device_size = self.device_size()?;
        let mut keys = self.live.get().keys.clone();
        let dek = keys.current.dek.clone();
        let (device, header_device) = (&self.device as &dyn BlockDevice, self.header_device());
        if self.steps.is_ending() {
            // An earlier step failed to destroy the header, which may be there in part.
            let plan = moving.after(range, size).plan;
            return self.finish_decryption(&**self.locked_header(), keys, &plan, size, device_size);
        }
        // A program that has changed the header may need the recovery area and the zone as they are.
        self.locked_header().check_unchanged(header_device)?;
        let zone = Zone::new(&moving.plan, range.clone(), &mut keys, device, header_device)?;
        if moving.hot.is_none() && !range.is_empty() {
            zone.read(room)?;
            zone.protect(room)?;
            let hot = Moving { hot: Some(range.clone()), ..moving.clone() };
            self.locked_header().record_progress(header_device, &dek, &hot, size)?;
            self.close(range, Why::Rewritten);
            zone.write(room)?;
        } else {
            zone.recover(room)?;
        }
        let after = moving.after(range, size);
        let mut header = self.locked_header();
        if after.next(size, 1).is_some() {
            header.record_progress(header_device, &dek, &after, size)?;
            return self.publish(&**header, keys, device_size);
        }
        if let Some(left) = after.plan.left_behind(size) {
            // A crash is recovered from these bytes, so the header first records that they aren't needed.
            header.record_progress(header_device, &dek, &after, size)?;
            overwrite(device, left)?;
        }
        if after.plan.mode == Mode::Decrypt {
            return self.finish_decryption(&**header, keys, &after.plan, size, device_size);
        }
        // The last zone is done with the end of the re-encryption, in one write of the header.
        header.finish_reencryption(header_device, &dek, &after.plan)?;
        self.publish(&**header, Keys::new(keys.current, None), device_size)
    }

    /// Closes a part of the volume. Returns when no forbidden read or write of it is under way.
    fn close(&self, range: &Range<u64>, why: Why) {
        let state = self.live.get();
        let (keys, data, mut layout) = (state.keys.clone(), state.data.clone(), state.layout.clone());
        drop(state);
        layout.closed = (!range.is_empty()).then(|| Closed { range: range.clone(), why });
        self.live.replace(keys, data, layout);
    }

    /// A volume whose header was just written.
    fn opened(
        header: Box<dyn StoredHeader>,
        device: Aligned<D>,
        header_device: Option<Aligned<Arc<dyn BlockDevice>>>,
        mut keys: Keys,
    ) -> Result<Self> {
        let data = header.data_area(header_device.is_some())?;
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let layout = data.layout(device_size, &mut keys)?;
        Ok(Self::new(device, header_device, Live::new(keys, data, layout), header))
    }

    /// Makes reads and writes follow the header. The caller asks the device for its size before it writes the header, since this
    /// must not fail afterwards.
    fn publish(&self, header: &dyn StoredHeader, mut keys: Keys, device_size: u64) -> Result<()> {
        let data = header.data_area(self.is_detached())?;
        let layout = data.layout(device_size, &mut keys)?;
        self.live.replace(keys, data, layout);
        Ok(())
    }

    fn device_size(&self) -> Result<u64> {
        self.device.size().map_err(|e| Error::io("asking the device for its size", e))
    }

    /// Finishes an earlier step that failed after it wrote the header: makes reads and writes follow that header. The step's zone
    /// is done, and must not be rewritten again.
    fn catch_up(&self, moving: Option<&Moving>) -> Result<()> {
        let boundary = |moving: Option<&Moving>| moving.map(|moving| moving.boundary);
        let state = self.live.get();
        if boundary(moving) == boundary(state.data.moving.as_ref()) {
            return Ok(());
        }
        let (mut keys, has_begun) = (state.keys.clone(), state.data.moving.is_some());
        drop(state);
        let mut header = self.locked_header();
        if moving.is_none() {
            keys.previous = None;
            if header.needs_recovery() {
                header.recover(self.header_device(), false)?;
            }
        } else if !has_begun {
            let what = "the volume, whose re-encryption has begun though that failed (open it again),";
            return Err(Error::Busy { what: what.into() });
        }
        self.publish(&**header, keys, self.device_size()?)
    }

    /// Finishes the step in which a re-encryption was killed, on opening.
    pub(super) fn finish_torn_step(&self) -> Result<()> {
        let Some(moving) = self.live.get().data.moving.clone() else { return Ok(()) };
        let Some(hot) = moving.hot.clone() else { return Ok(()) };
        if self.read_only {
            return Err(Error::UnsupportedHeader(
                "a re-encryption of it was killed while it rewrote a part; open it once for writing, which finishes that part"
                    .into(),
            ));
        }
        self.rewrite(&moving, &hot, self.size(), &mut Zeroizing::default())
    }
}

/// Marks a zone as failed when it is dropped, so that waiting threads return an error.
struct Stuck<'a, D: BlockDevice>(&'a Volume<D>, &'a Range<u64>);

impl<D: BlockDevice> Drop for Stuck<'_, D> {
    fn drop(&mut self) {
        self.0.close(self.1, Why::Failed);
    }
}
