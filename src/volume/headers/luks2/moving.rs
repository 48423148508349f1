//! The place of data that a re-encryption is moving.

use super::segments::{check_place, checked, spec};
use crate::cipher::CipherSpec;
use crate::ondisk::luks::{Direction, Metadata, Mode, Plan, Resilience, Segment, SegmentKind, SegmentSize};
use crate::volume::data_area::{Crypt, DataArea, Piece};
use crate::volume::keys::Under;
use crate::volume::moving::{Moving, Part};
use crate::{Error, Result};

/// The pieces of the data, old and new. Each segment must be where the backup segments say that it is, since only their digest
/// proves the place of the data.
pub(super) fn data_area(metadata: &Metadata, plan: Plan, header_end: u64) -> Result<DataArea> {
    check_supported(&plan)?;
    let odd = |what: &str| Err(Error::UnsupportedHeader(format!("its re-encryption can't be followed: {what}")));
    let current = if plan.mode == Mode::Decrypt { &plan.previous } else { &plan.last };
    let cipher = cipher(current)?.ok_or_else(|| Error::UnsupportedHeader("its re-encryption has no key".into()))?;
    let (mut pieces, mut parts) = (Vec::new(), Vec::new());
    let (mut at, mut hot) = (0u64, None);
    for segment in metadata.segments().iter().filter(|segment| !segment.is_backup()) {
        let part = part(metadata, &plan, segment)?;
        let (like, place) = match part {
            Part::Old => (&plan.previous, plan.old_place(at)),
            _ => (&plan.last, plan.new_place(at)),
        };
        if Some(segment.offset) != place || !is_like(segment, like, Some(at)) {
            return odd("a segment isn't where the beginning and the end say that it is");
        }
        let crypt = match &segment.kind {
            SegmentKind::Crypt(crypt) => {
                let under = match part {
                    Part::Old if plan.mode == Mode::Reencrypt => Under::Previous,
                    _ => Under::Current,
                };
                Some(Crypt { under, ..checked(crypt, spec(crypt)?)? })
            }
            SegmentKind::Other(_) => None,
        };
        let unflagged = Segment { flags: Vec::new(), ..segment.clone() };
        check_place(&unflagged, crypt.map_or(512, |crypt| crypt.sector_size.bytes()), header_end)?;
        // The reference implementation lets plain data end where the device does.
        let size = match (segment.size, plan.previous.size) {
            (SegmentSize::Bytes(size), _) => Some(size),
            (SegmentSize::Dynamic, SegmentSize::Bytes(size)) if plan.is_moved_last() => Some(size.saturating_sub(at)),
            (SegmentSize::Dynamic, _) => None,
        };
        let end = at.checked_add(size.unwrap_or(0)).ok_or(Error::SectorOverflow { first_sector: at })?;
        if part != Part::New && at < plan.moved_size() && end > plan.moved_size() {
            return odd("a segment goes on beyond what was moved");
        }
        if part == Part::Hot {
            let Some(_) = size else { return odd("the part that is being rewritten has no size") };
            hot = Some(at..end);
        }
        pieces.push(Piece { offset: segment.offset, size, crypt, shown: None });
        parts.push((part, at));
        at = end;
    }
    let is_shifted = |at: &u64| *at >= plan.moved_size();
    let starts = |wanted: Part| parts.iter().filter(move |(part, _)| *part == wanted).map(|(_, at)| *at);
    let boundary = match (plan.direction, &hot) {
        (Direction::Forward, Some(hot)) => Some(hot.start),
        (Direction::Forward, None) if plan.is_moved_last() => {
            starts(Part::Old).find(is_shifted).or_else(|| starts(Part::Old).next())
        }
        (Direction::Forward, None) => starts(Part::Old).next(),
        (Direction::Backward, Some(hot)) => Some(hot.end),
        (Direction::Backward, None) => starts(Part::New).next(),
    };
    let moving = Moving { boundary: boundary.unwrap_or(u64::MAX), hot, plan };
    let in_order = parts.iter().all(|(part, at)| *part == Part::Hot || moving.is_done(*at) == (*part == Part::New));
    if !in_order || parts.iter().filter(|(part, _)| *part == Part::Hot).count() > 1 {
        return odd("its segments are in no order");
    }
    Ok(DataArea { pieces, cipher, moving: Some(moving) })
}

/// Refuses ways of re-encryption that this library can't continue.
fn check_supported(plan: &Plan) -> Result<()> {
    let is_shift = |size: u64| size.is_multiple_of(4096) && (4096..=1 << 30).contains(&size);
    let shifts = plan.previous.offset != plan.last.offset || plan.moved.is_some();
    let known = match &plan.resilience {
        Resilience::None | Resilience::Journal | Resilience::Checksum { .. } => !shifts,
        Resilience::Shift { size, moved: None } => {
            let apart = plan.last.offset.checked_sub(plan.previous.offset);
            plan.mode == Mode::Encrypt
                && plan.direction == Direction::Backward
                && apart == Some(*size)
                && plan.moved_size() <= *size
                && is_shift(*size)
        }
        Resilience::Shift { size, moved: Some(_) } => {
            let apart = plan.previous.offset.checked_sub(plan.last.offset);
            let is_there =
                |moved: &Segment| moved.offset == plan.last.offset && is_like(moved, &plan.previous, Some(0));
            plan.mode == Mode::Decrypt
                && plan.direction == Direction::Forward
                && apart == Some(*size)
                && plan.moved.as_ref().is_some_and(is_there)
                && (1..=*size).contains(&plan.moved_size())
                && is_shift(*size)
        }
        Resilience::Other(_) => false,
    };
    if known && [&plan.previous, &plan.last].into_iter().all(starts_at_zero) {
        return Ok(());
    }
    Err(Error::UnsupportedHeader(
        "a re-encryption of it was begun in a way that this library doesn't know, and is not finished; finish it with \
         `cryptsetup reencrypt --resume-only`"
            .into(),
    ))
}

pub(super) fn starts_at_zero(segment: &Segment) -> bool {
    !matches!(&segment.kind, SegmentKind::Crypt(crypt) if crypt.iv_tweak != 0)
}

fn cipher(segment: &Segment) -> Result<Option<CipherSpec>> {
    match &segment.kind {
        SegmentKind::Crypt(crypt) => spec(crypt).map(Some),
        SegmentKind::Other(_) => Ok(None),
    }
}

/// Which part of the data a segment is.
fn part(metadata: &Metadata, plan: &Plan, segment: &Segment) -> Result<Part> {
    if segment.flags.iter().any(|flag| flag == "in-reencryption") {
        return Ok(Part::Hot);
    }
    let names = |digest: Option<u32>| {
        digest.is_some_and(|id| metadata.digests().iter().any(|d| d.id == id && d.segments.contains(&segment.id)))
    };
    let is_crypt = matches!(segment.kind, SegmentKind::Crypt(_));
    let (old, new) = match plan.mode {
        Mode::Encrypt => (!is_crypt, is_crypt && names(plan.new)),
        Mode::Decrypt => (is_crypt && names(plan.old), !is_crypt),
        Mode::Reencrypt if plan.old == plan.new => {
            (is_like(segment, &plan.previous, None), is_like(segment, &plan.last, None))
        }
        Mode::Reencrypt => (names(plan.old), names(plan.new)),
    };
    match (old, new) {
        (true, false) => Ok(Part::Old),
        (false, true) => Ok(Part::New),
        _ => Err(Error::UnsupportedHeader("a segment of its re-encryption is neither old nor new".into())),
    }
}

/// Whether a segment is encrypted like another; and if `at` is its first byte in the volume, with the right sector numbers.
fn is_like(segment: &Segment, other: &Segment, at: Option<u64>) -> bool {
    match (&segment.kind, &other.kind) {
        (SegmentKind::Crypt(a), SegmentKind::Crypt(b)) => {
            at.is_none_or(|at| a.iv_tweak == at / 512) && a.encryption == b.encryption && a.sector_size == b.sector_size
        }
        (SegmentKind::Other(a), SegmentKind::Other(b)) => a == b && a == "linear",
        _ => false,
    }
}
