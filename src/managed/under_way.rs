//! The re-encryption or adoption under way by the headers of a device, for a store that is rebuilt.

use super::backend::is_absent;
use super::layers::{Layer, other_ways};
use super::records::{Adopting, Reencryption, ReencryptionKind, Resource};
use crate::key::Fingerprint;
use crate::{BlockDevice, Error, Result};

/// The re-encryption under way on a device.
pub(super) fn under_way(upper: &Layer, now: u64) -> Result<Option<Reencryption>> {
    let Some(progress) = upper.reencryption() else { return Ok(None) };
    let kind = if upper.previous_fingerprint()?.is_some() {
        ReencryptionKind::Rekey
    } else {
        ReencryptionKind::EncryptInPlace
    };
    let mut found = Reencryption::ordered(kind, progress.total, now);
    found.note_begun(now);
    (found.fingerprint, found.done) = (Some(upper.fingerprint()?), progress.done);
    Ok(Some(found))
}

/// The record of a device, updated by the state of a re-encryption on the device. `fingerprints` are those of the device's DEKs;
/// during a re-encryption, those of the old DEK.
///
/// # Errors
/// [`Error::OtherDek`] if the device isn't that of the record; [`Error::OlderDevice`].
pub(super) fn caught_up(record: &Resource, upper: &Layer, fingerprints: &[Fingerprint], now: u64) -> Result<Resource> {
    let (mut resource, found) = (record.clone(), under_way(upper, now)?);
    let is_its = record.fingerprints.is_empty() || record.fingerprints == fingerprints;
    let judges = found.as_ref().is_none_or(|found| judges(record, found));
    match record.expected(0).filter(|_| judges) {
        Some(expected) => {
            upper.check_record(&expected)?;
            if record.fingerprints.get(1) != fingerprints.get(1) {
                return Err(Error::OtherDek);
            }
        }
        // The record is of an earlier version, or older than the order. The old DEK, if there is one, proves the re-encryption on
        // the device.
        None if is_its => {}
        None => return Err(Error::OtherDek),
    }
    match (found, resource.unfinished_mut()) {
        (Some(found), Some(order)) => {
            order.note_begun(now);
            (order.fingerprint, order.done, order.total) = (found.fingerprint, found.done, found.total);
        }
        (Some(found), None) => resource.reencryption = Some(found),
        (None, Some(order)) if order.fingerprint == Some(upper.fingerprint()?) => {
            let used = order.used_blocks;
            resource.note_reencrypted(used, now);
        }
        // Nothing on the device is under the DEK that was noted for it.
        (None, Some(order)) => order.fingerprint = None,
        (None, None) => {}
    }
    if resource.fingerprints.is_empty() {
        resource.fingerprints = fingerprints.to_vec();
    }
    Ok(resource)
}

/// The stage of the re-encryption in a record. A later stage compares as greater.
pub(super) fn stage(record: &Resource) -> impl Ord + use<> {
    record.reencryption.as_ref().map(|of| (of.ordered, of.begun, of.done, of.finished))
}

/// Whether a record can judge the re-encryption on the device: it names that re-encryption, or has an unfinished one that has
/// begun, so that there can't be another.
fn judges(record: &Resource, found: &Reencryption) -> bool {
    let is_the_last = record.reencryption.as_ref().is_some_and(|of| of.fingerprint == found.fingerprint);
    is_the_last || record.unfinished().is_some_and(|of| of.begun.is_some())
}

/// The rest of an adoption: the volume still has ways in that no disk has. The volume is the disk's device already.
pub(super) fn half_adopted(volume: &Layer, id: &str) -> Result<Option<Adopting>> {
    // A re-encryption keeps its state in a keyslot.
    if volume.reencryption().is_some() || other_ways(volume).is_empty() {
        return Ok(None);
    }
    let device_size = volume.device().size().map_err(|e| Error::io("asking the device for its size", e))?;
    Ok(Some(Adopting { image: id.into(), device_size, reencrypt: is_ordered(volume) }))
}

/// The re-encryption of a device that no old store knows: under way, or ordered when it was adopted and not begun. The latter is
/// ordered with the rest of the adoption, if there is any.
pub(super) fn under_way_or_ordered(volume: &Layer, now: u64) -> Result<Option<Reencryption>> {
    let found = under_way(volume, now)?;
    if found.is_some() || !is_ordered(volume) || !other_ways(volume).is_empty() {
        return Ok(found);
    }
    let order = Reencryption::ordered(ReencryptionKind::Rekey, volume.size(), now);
    Ok(Some(Reencryption { adopted: true, ..order }))
}

/// Whether a token says that a new DEK was ordered for the data. The tokens of a re-encryption that has begun don't.
fn is_ordered(volume: &Layer) -> bool {
    volume.genuine_tokens().iter().any(|token| token.reencrypt)
}

/// Why a resource isn't restored whose import had not begun by its record. Only an import that has begun proves the content of the
/// device. Otherwise somebody may have put something else in its place, or its header may be destroyed, and encrypted data must not
/// be encrypted again.
pub(super) fn why_not_begun(record: &Resource, error: &Error) -> String {
    let name = record.full_name();
    let image = record.unfinished().and_then(|order| order.image.as_deref()).unwrap_or_default();
    let before = format!("an old store has a record of the {name}, the import of which had not begun");
    match error {
        e if is_absent(e) => format!("{before}: if its image, {image:?}, is unchanged, import it again"),
        Error::NotLuks { .. } => format!(
            "{before}, and the device has no header: it is the image, with 2 MiB more, or its header was destroyed; if it is plain, \
             import it again, as a new disk"
        ),
        e => format!("{before}: {e:#}"),
    }
}

impl Resource {
    /// Marks the order as not begun, if it had not begun by the record.
    pub(super) fn take_back_begun(&mut self, record: &Resource) -> Option<()> {
        let known = record.unfinished().filter(|order| order.begun.is_none())?;
        let order = self.unfinished_mut()?;
        (order.begun, order.image) = (None, known.image.clone());
        Some(())
    }
}
