//! How far a re-encryption is, and what the segments say then.

use core::ops::Range;

use crate::cipher::CipherSpec;
use crate::ondisk::luks::{Direction, Mode, Plan, Proven, Segment, SegmentKind, SegmentSize};

/// A re-encryption under way: what is done, and what was being rewritten when its header was written.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    pub(super) plan: Plan,
    /// The end of what is done, or its start if the end is done first, as a byte of the volume. `u64::MAX`: the end of
    /// the volume.
    pub(super) boundary: u64,
    /// The zone that is being rewritten, next to the boundary.
    pub(super) hot: Option<Range<u64>>,
}

impl Plan {
    /// Where a byte of the volume was before, on the device.
    pub(super) fn old_place(&self, at: u64) -> Option<u64> {
        match self.moved.as_ref().map(|moved| (moved.offset, moved.size)) {
            Some((offset, SegmentSize::Bytes(size))) if at < size => offset.checked_add(at),
            _ => self.previous.offset.checked_add(at),
        }
    }

    /// Where it will be.
    pub(super) fn new_place(&self, at: u64) -> Option<u64> {
        self.last.offset.checked_add(at)
    }

    /// The larger of the sector sizes before and afterwards, in bytes.
    pub(super) fn sector_size(&self) -> u32 {
        let size = |segment: &Segment| match &segment.kind {
            SegmentKind::Crypt(crypt) => crypt.sector_size,
            SegmentKind::Other(_) => 512,
        };
        size(&self.previous).max(size(&self.last))
    }

    /// The cipher before, if it is known.
    pub(super) fn previous_cipher(&self) -> Option<CipherSpec> {
        cipher(&self.previous)
    }

    /// The number of bytes at the start of the data that were moved.
    pub(super) fn moved_size(&self) -> u64 {
        match self.moved.as_ref().map(|moved| moved.size) {
            Some(SegmentSize::Bytes(size)) => size,
            _ => 0,
        }
    }

    /// Where those bytes are, on the device.
    pub(super) fn moved_range(&self) -> Option<Range<u64>> {
        let offset = self.moved.as_ref()?.offset;
        Some(offset..offset.checked_add(self.moved_size())?)
    }

    fn digests(&self, segment: &Segment, is_hot: bool, is_new: bool) -> Vec<u32> {
        let mut digests = Vec::new();
        if matches!(segment.kind, SegmentKind::Crypt(_)) {
            let both = is_hot && self.mode == Mode::Reencrypt;
            digests.extend(self.new.filter(|_| is_new || both || self.mode == Mode::Encrypt));
            digests.extend(self.old.filter(|old| (!is_new || both) && !digests.contains(old)));
        }
        digests
    }

    /// A part of the volume as it will be.
    fn new_segment(&self, part: Range<u64>, size: SegmentSize, is_hot: bool) -> Proven {
        let offset = self.last.offset + part.start;
        let flags = if is_hot { vec!["in-reencryption".into()] } else { Vec::new() };
        let segment = numbered(Segment { offset, size, flags, ..self.last.clone() }, part.start);
        let digests = self.digests(&segment, is_hot, true);
        (segment, digests)
    }

    /// A part of the volume as it was: two segments, if its start was moved.
    fn old_segments(&self, part: Range<u64>, is_last: bool) -> Vec<Proven> {
        let moved = self.moved_size();
        let parts = [part.start..part.end.min(moved), part.start.max(moved)..part.end];
        let old = |part: Range<u64>| {
            let dynamic = is_last && self.previous.size == SegmentSize::Dynamic && self.moved.is_none();
            let size = if dynamic { SegmentSize::Dynamic } else { SegmentSize::Bytes(part.end - part.start) };
            let offset = self.old_place(part.start).unwrap_or(u64::MAX);
            let segment = numbered(Segment { offset, size, flags: Vec::new(), ..self.previous.clone() }, part.start);
            let digests = self.digests(&segment, false, false);
            (segment, digests)
        };
        parts.into_iter().filter(|part| !part.is_empty()).map(old).collect()
    }

    /// All data as it will be.
    pub(super) fn done(&self) -> Proven {
        let segment = Segment { flags: Vec::new(), ..self.last.clone() };
        let digests = self.digests(&segment, false, true);
        (segment, digests)
    }
}

impl Moving {
    /// The segments of a volume of `size` bytes.
    pub(super) fn segments(&self, size: u64) -> Vec<Proven> {
        let plan = &self.plan;
        let boundary = self.boundary.min(size);
        let hot = self.hot.clone().unwrap_or(boundary..boundary);
        let hot_segment = || plan.new_segment(hot.clone(), SegmentSize::Bytes(hot.end - hot.start), true);
        let mut segments = Vec::new();
        match plan.direction {
            Direction::Forward => {
                if hot.start > 0 {
                    segments.push(plan.new_segment(0..hot.start, SegmentSize::Bytes(hot.start), false));
                }
                if !hot.is_empty() {
                    segments.push(hot_segment());
                }
                segments.extend(plan.old_segments(hot.end..size, true));
            }
            Direction::Backward => {
                segments.extend(plan.old_segments(0..hot.start, hot.start == size));
                if !hot.is_empty() {
                    segments.push(hot_segment());
                }
                if hot.end < size {
                    let dynamic = plan.last.size == SegmentSize::Dynamic && plan.moved.is_none();
                    let rest = if dynamic { SegmentSize::Dynamic } else { SegmentSize::Bytes(size - hot.end) };
                    segments.push(plan.new_segment(hot.end..size, rest, false));
                }
            }
        }
        segments
    }

    /// The next zone to rewrite, of at most `len` bytes; `None` when all is done.
    pub(super) fn next(&self, size: u64, len: u64) -> Option<Range<u64>> {
        let boundary = self.boundary.min(size);
        let zone = match self.plan.direction {
            Direction::Forward => boundary..boundary.saturating_add(len).min(size),
            Direction::Backward => {
                let moved = self.plan.moved_size();
                let least = if boundary > moved { moved } else { 0 };
                boundary.saturating_sub(len).max(least)..boundary
            }
        };
        (!zone.is_empty()).then_some(zone)
    }

    /// The state after a zone was rewritten.
    pub(super) fn after(&self, zone: &Range<u64>) -> Self {
        let boundary = if self.plan.direction == Direction::Forward { zone.end } else { zone.start };
        Moving { boundary, hot: None, plan: self.plan.clone() }
    }

    /// The number of bytes that are done.
    pub(super) fn done(&self, size: u64) -> u64 {
        let boundary = self.boundary.min(size);
        if self.plan.direction == Direction::Forward { boundary } else { size - boundary }
    }
}

/// A segment whose first sector is that of a byte of the volume.
fn numbered(mut segment: Segment, at: u64) -> Segment {
    if let SegmentKind::Crypt(crypt) = &mut segment.kind {
        crypt.iv_tweak = at / 512;
    }
    segment
}

/// The cipher of a segment, if it is encrypted and the cipher is known.
pub(super) fn cipher(segment: &Segment) -> Option<CipherSpec> {
    match &segment.kind {
        SegmentKind::Crypt(crypt) => CipherSpec::from_name(&crypt.encryption),
        SegmentKind::Other(_) => None,
    }
}
