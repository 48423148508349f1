//! A re-encryption in progress, as a header tells it.

use std::borrow::Cow;

use super::json::{member, objects, root, string};
use super::{Digest, KeyslotKind, Metadata, Segment, SegmentKind, SegmentSize};

/// A re-encryption that was begun and isn't finished: some sectors are under the old key, some under the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reencryption {
    /// `reencrypt`, `encrypt` or `decrypt`; `None` if the header does not say.
    pub mode: Option<String>,
    /// `forward` or `backward`.
    pub direction: Option<String>,
    /// How a sector that was in work at a crash is recovered: the type of the area, such as `checksum` or `journal`.
    pub resilience: Option<String>,
    /// How many bytes are done, as far as the segments tell.
    pub done: Option<u64>,
    /// How many bytes there are in all; `None` if the last segment takes what the device has.
    pub total: Option<u64>,
    /// The requirement that keeps others off: `offline-reencrypt`, or `online-reencrypt` and its version.
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
    /// The re-encryption that is in progress, if one is: by a requirement, a keyslot of type `reencrypt`, or flags of
    /// segments (sections 3.2.2, 3.3 and 3.5).
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

    /// The segments that are as the one with the flag `backup-final` says that all will be, and all segments, in bytes.
    fn progress(&self) -> (Option<u64>, Option<u64>) {
        let (backups, data): (Vec<&Segment>, Vec<&Segment>) = self.segments().iter().partition(|s| s.is_backup());
        let total = data.iter().try_fold(0u64, |sum, segment| bytes(segment).and_then(|n| sum.checked_add(n)));
        let flagged = |flag| backups.iter().find(|s| s.flags.iter().any(|f| f == flag)).map(|s| self.way(s));
        let (Some(last), Some(first)) = (flagged("backup-final"), flagged("backup-previous")) else {
            return (None, total);
        };
        // With neither another key nor another cipher, what is done looks like what isn't.
        if last == first {
            return (None, total);
        }
        let mut done = data.iter().filter(|segment| !in_work(segment) && self.way(segment) == last);
        (done.try_fold(0u64, |sum, segment| bytes(segment).and_then(|n| sum.checked_add(n))), total)
    }

    /// What tells the old encryption from the new one: key, cipher and sector size.
    fn way<'a>(&'a self, segment: &'a Segment) -> (Vec<u32>, &'a str, u32) {
        let proves = |digest: &&Digest| digest.segments.contains(&segment.id);
        let digests = self.digests().iter().filter(proves).map(|digest| digest.id).collect();
        match &segment.kind {
            SegmentKind::Crypt(crypt) => (digests, &crypt.encryption, crypt.sector_size),
            SegmentKind::Other(kind) => (digests, kind, 0),
        }
    }
}

/// Whether a segment is the one whose sectors are being rewritten.
fn in_work(segment: &Segment) -> bool {
    segment.flags.iter().any(|flag| flag == "in-reencryption")
}

fn bytes(segment: &Segment) -> Option<u64> {
    match segment.size {
        SegmentSize::Bytes(size) => Some(size),
        SegmentSize::Dynamic => None,
    }
}
