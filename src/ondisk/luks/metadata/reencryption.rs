//! A re-encryption in progress, as recorded in a header.

use std::borrow::Cow;

use super::json::{member, objects, root, string};
use super::{Digest, KeyslotKind, Metadata, Segment, SegmentKind, SegmentSize};

/// An unfinished re-encryption: some sectors are under the old key, some under the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reencryption {
    /// `reencrypt`, `encrypt` or `decrypt`; `None` if the header does not say.
    pub mode: Option<String>,
    /// `forward` or `backward`.
    pub direction: Option<String>,
    /// How sectors that were being rewritten at a crash are recovered: the type of the area, such as `checksum` or
    /// `journal`.
    pub resilience: Option<String>,
    /// The number of finished bytes, if the segments show it.
    pub done: Option<u64>,
    /// The number of bytes in all; `None` if the last segment extends to the end of the device.
    pub total: Option<u64>,
    /// The requirement that keeps other programs away: `offline-reencrypt`, or `online-reencrypt` and its version.
    pub requirement: Option<String>,
}

impl core::fmt::Display for Reencryption {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a re-encryption of it was begun and is not finished")?;
        if let Some(mode) = &self.mode {
            write!(f, " (mode {mode:?})")?;
        }
        match (self.done, self.total) {
            (Some(done), Some(total)) => write!(f, ", {done} of {total} bytes are done"),
            (Some(done), None) => write!(f, ", {done} bytes are done"),
            _ => Ok(()),
        }
    }
}

impl Metadata {
    /// The re-encryption in progress, if there is one. A requirement, a keyslot of type `reencrypt`, or flags of
    /// segments show it (sections 3.2.2, 3.3 and 3.5).
    pub fn reencryption(&self) -> Option<Reencryption> {
        let requirement = self.requirements().iter().find(|name| {
            *name == "offline-reencrypt" || *name == "online-reencrypt" || name.starts_with("online-reencrypt-v")
        });
        let keyslot = self.keyslots().iter().find_map(|keyslot| match &keyslot.kind {
            KeyslotKind::Reencrypt { mode, direction } => Some((keyslot.id, mode.clone(), direction.clone())),
            _ => None,
        });
        let flagged = self.segments().iter().any(|segment| segment.is_backup() || in_work(segment));
        if requirement.is_none() && keyslot.is_none() && !flagged {
            return None;
        }
        let (done, total) = self.progress();
        let resilience = keyslot.as_ref().and_then(|(id, ..)| self.area_type(*id));
        let (mode, direction) = keyslot.map(|(_, mode, direction)| (mode, direction)).unzip();
        Some(Reencryption { mode, direction, resilience, done, total, requirement: requirement.cloned() })
    }

    fn area_type(&self, id: u32) -> Option<String> {
        let objects = objects(&root(&self.text), "keyslots").ok()?;
        let (_, keyslot) = objects.into_iter().find(|(number, _)| *number == id)?;
        string(&member(&keyslot, "area").ok()?, "type").ok().map(Cow::into_owned)
    }

    /// The bytes of the finished segments, and of all segments. A finished segment is encrypted like the one flagged
    /// `backup-final`.
    fn progress(&self) -> (Option<u64>, Option<u64>) {
        let (backups, data): (Vec<&Segment>, Vec<&Segment>) = self.segments().iter().partition(|s| s.is_backup());
        let total = data.iter().try_fold(0u64, |sum, segment| bytes(segment).and_then(|n| sum.checked_add(n)));
        let flagged = |flag| backups.iter().find(|s| s.flags.iter().any(|f| f == flag)).map(|s| self.way(s));
        let (Some(last), Some(first)) = (flagged("backup-final"), flagged("backup-previous")) else {
            return (None, total);
        };
        // If key and cipher stay the same, finished and unfinished segments look alike.
        if last == first {
            return (None, total);
        }
        let mut done = data.iter().filter(|segment| !in_work(segment) && self.way(segment) == last);
        (done.try_fold(0u64, |sum, segment| bytes(segment).and_then(|n| sum.checked_add(n))), total)
    }

    /// The parameters that differ between the old and the new encryption: key, cipher and sector size.
    fn way<'a>(&'a self, segment: &'a Segment) -> (Vec<u32>, &'a str, u32) {
        let proves = |digest: &&Digest| digest.segments.contains(&segment.id);
        let digests = self.digests().iter().filter(proves).map(|digest| digest.id).collect();
        match &segment.kind {
            SegmentKind::Crypt(crypt) => (digests, &crypt.encryption, crypt.sector_size),
            SegmentKind::Other(kind) => (digests, kind, 0),
        }
    }
}

/// Whether the segment's sectors are being rewritten.
fn in_work(segment: &Segment) -> bool {
    segment.flags.iter().any(|flag| flag == "in-reencryption")
}

fn bytes(segment: &Segment) -> Option<u64> {
    match segment.size {
        SegmentSize::Bytes(size) => Some(size),
        SegmentSize::Dynamic => None,
    }
}
