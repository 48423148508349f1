//! The progress of a re-encryption, and the segments that record it.

use core::ops::Range;

use crate::cipher::CipherSpec;
use crate::ondisk::luks::{Direction, Mode, Plan, Proven, Resilience, Segment, SegmentKind, SegmentSize};

/// A part of the data: before, after, or while it is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Old,
    Hot,
    New,
}

/// A re-encryption under way: the part that is done, and the zone that was being rewritten when its header was written.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    pub(super) plan: Plan,
    /// The end of the zone that was done last, or its start if the end of the volume is done first, as a byte of the volume.
    /// `u64::MAX`: the end of the volume.
    pub(super) boundary: u64,
    /// The zone that is being rewritten, next to the boundary.
    pub(super) hot: Option<Range<u64>>,
}

impl Plan {
    /// The old place of a byte of the volume on the device.
    pub(super) fn old_place(&self, at: u64) -> Option<u64> {
        match self.moved.as_ref().map(|moved| (moved.offset, moved.size)) {
            Some((offset, SegmentSize::Bytes(size))) if at < size => offset.checked_add(at),
            _ => self.previous.offset.checked_add(at),
        }
    }

    /// Its new place.
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

    /// Whether those bytes are done after all others, though they are the first: the data moves to the start of the device, and
    /// they are there already.
    pub(super) fn is_moved_last(&self) -> bool {
        self.moved.is_some() && self.direction == Direction::Forward
    }

    /// The range on the device that a volume of `size` bytes leaves behind when it has moved.
    pub(super) fn left_behind(&self, size: u64) -> Option<Range<u64>> {
        let moved = self.moved.as_ref()?;
        let (start, end) = if self.is_moved_last() {
            (self.new_place(size)?, self.previous.offset.checked_add(size)?)
        } else {
            (moved.offset, moved.offset.checked_add(self.moved_size())?)
        };
        Some(start..end)
    }

    /// How a zone that begins there is recovered.
    pub(super) fn resilience_at(&self, at: u64) -> &Resilience {
        match &self.resilience {
            Resilience::Shift { moved: Some(moved), .. } if at < self.moved_size() => moved,
            resilience => resilience,
        }
    }

    /// The boundary before anything of a volume of `size` bytes is done.
    pub(super) fn first(&self, size: u64) -> u64 {
        match self.direction {
            Direction::Backward => u64::MAX,
            Direction::Forward if self.is_moved_last() && self.moved_size() < size => self.moved_size(),
            Direction::Forward => 0,
        }
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

    /// The segments of a part of a volume of `size` bytes; two, if it is old and its start was moved.
    fn segments(&self, (part, range): (Part, Range<u64>), size: u64) -> Vec<Proven> {
        let moved = self.moved_size();
        let is_old = part == Part::Old;
        let ranges = match is_old {
            true => [range.start..range.end.min(moved), range.start.max(moved)..range.end],
            false => [range, 0..0],
        };
        let segment = |range: Range<u64>| {
            let like = if is_old { &self.previous } else { &self.last };
            // The bytes that an encryption leaves free at the end of the device are no part of the volume.
            let follows = like.size == SegmentSize::Dynamic && (self.moved.is_none() || self.is_moved_last());
            let is_dynamic = follows && range.end == size && part != Part::Hot && !(is_old && range.start < moved);
            let len = if is_dynamic { SegmentSize::Dynamic } else { SegmentSize::Bytes(range.end - range.start) };
            let place = if is_old { self.old_place(range.start) } else { self.new_place(range.start) };
            let flags = if part == Part::Hot { vec!["in-reencryption".into()] } else { Vec::new() };
            let (offset, like) = (place.unwrap_or(u64::MAX), like.clone());
            let segment = numbered(Segment { offset, size: len, flags, ..like }, range.start);
            let digests = self.digests(&segment, part == Part::Hot, !is_old);
            (segment, digests)
        };
        ranges.into_iter().filter(|range| !range.is_empty()).map(segment).collect()
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
        let boundary = self.boundary.min(size);
        let hot = self.hot.clone().unwrap_or(boundary..boundary);
        let (moved, Range { start, end }) = (self.plan.moved_size(), hot.clone());
        let parts = match self.plan.direction {
            Direction::Backward => vec![(Part::Old, 0..start), (Part::Hot, hot), (Part::New, end..size)],
            Direction::Forward if !self.plan.is_moved_last() || self.boundary == u64::MAX => {
                vec![(Part::New, 0..start), (Part::Hot, hot), (Part::Old, end..size)]
            }
            Direction::Forward if start < moved => {
                vec![(Part::New, 0..start), (Part::Hot, hot), (Part::Old, end..moved), (Part::New, moved..size)]
            }
            Direction::Forward => {
                vec![(Part::Old, 0..moved), (Part::New, moved..start), (Part::Hot, hot), (Part::Old, end..size)]
            }
        };
        parts.into_iter().flat_map(|part| self.plan.segments(part, size)).collect()
    }

    /// Whether the byte of the volume is done.
    pub(super) fn is_done(&self, at: u64) -> bool {
        let moved = self.plan.moved_size();
        match self.plan.direction {
            Direction::Backward => at >= self.boundary,
            Direction::Forward if self.plan.is_moved_last() && self.boundary < moved => {
                at < self.boundary || at >= moved
            }
            Direction::Forward if self.plan.is_moved_last() && self.boundary < u64::MAX => {
                (moved..self.boundary).contains(&at)
            }
            Direction::Forward => at < self.boundary,
        }
    }

    /// The next zone to rewrite, of at most `len` bytes; `None` when all is done.
    pub(super) fn next(&self, size: u64, len: u64) -> Option<Range<u64>> {
        let (boundary, moved) = (self.boundary.min(size), self.plan.moved_size());
        let zone = match self.plan.direction {
            Direction::Forward => {
                let end = if self.plan.is_moved_last() && boundary < moved { moved } else { size };
                boundary..boundary.saturating_add(len).min(end)
            }
            Direction::Backward => {
                let least = if boundary > moved { moved } else { 0 };
                boundary.saturating_sub(len).max(least)..boundary
            }
        };
        (!zone.is_empty()).then_some(zone)
    }

    /// The state after a zone of a volume of `size` bytes was rewritten.
    pub(super) fn after(&self, zone: &Range<u64>, size: u64) -> Self {
        let boundary = match self.plan.direction {
            Direction::Backward => zone.start,
            Direction::Forward if !self.plan.is_moved_last() => zone.end,
            Direction::Forward if zone.is_empty() || zone.end == self.plan.moved_size() => u64::MAX,
            Direction::Forward => {
                if zone.end == size {
                    0
                } else {
                    zone.end
                }
            }
        };
        Moving { boundary, hot: None, plan: self.plan.clone() }
    }

    /// The number of bytes that are done.
    pub(super) fn done(&self, size: u64) -> u64 {
        let (boundary, moved) = (self.boundary.min(size), self.plan.moved_size());
        match self.plan.direction {
            Direction::Backward => size - boundary,
            Direction::Forward if !self.plan.is_moved_last() || self.boundary == u64::MAX => boundary,
            Direction::Forward if boundary < moved => size.saturating_sub(moved) + boundary,
            Direction::Forward => boundary - moved,
        }
    }
}

/// The segment with the sector number of byte `at` of the volume for its first sector.
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
