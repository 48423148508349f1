//! Finding the maps of chunks on a device.

use core::ops::Range;

use crate::Result;
use crate::ondisk::bitlocker::{Bitmap, Defect, Information, MAX_BITMAP, MAX_INFORMATION};
use crate::volume::BlockDevice;

/// The most runs of encrypted chunks, and the most bytes of bitmaps. They bound the time of reading.
const MAX_RUNS: usize = 1 << 16;
const MAX_BITMAPS: u64 = 64 << 20;

/// The content of the maps.
#[derive(Clone)]
pub(super) struct Chunks {
    /// The ranges of the maps and their logs on the device, in bytes.
    pub(super) own: Vec<Range<u64>>,
    /// The encrypted ranges, in order.
    pub(super) encrypted: Vec<Range<u64>>,
    /// The range of the volume that the maps cover.
    pub(super) covered: Range<u64>,
}

impl Chunks {
    /// Reads the maps, whose places are named in two copies. Without the maps nobody knows which chunks are encrypted.
    pub(super) fn load(device: &dyn BlockDevice, size: u64, copies: [u64; 2], sector: u64) -> Result<Self> {
        let mut defect = None;
        for copy in copies {
            let bytes = read(device, size, copy, MAX_INFORMATION);
            let Ok(bytes) = bytes else { continue };
            if !Information::is_here(&bytes) {
                continue;
            }
            match Information::parse(&bytes) {
                Ok(information) => return Ok(Self::of(device, size, copies, sector, &information)?),
                Err(text) => defect = defect.or(Some(text)),
            }
        }
        let missing = || "the maps of its chunks, which the boot sector names, are missing".to_owned();
        Err(Defect::Invalid(defect.unwrap_or_else(missing)).into())
    }

    fn of(
        device: &dyn BlockDevice,
        size: u64,
        copies: [u64; 2],
        sector: u64,
        information: &Information,
    ) -> Result<Self, Defect> {
        let chunk = information.chunk;
        if chunk == 0 || !chunk.is_multiple_of(sector) {
            return Err(Defect::Invalid(format!("its chunks have {chunk} bytes, no whole sectors")));
        }
        let room = |start: u64, len: u64| start..start.saturating_add(len.next_multiple_of(sector));
        let mut own: Vec<Range<u64>> = copies.iter().map(|copy| room(*copy, information.size)).collect();
        let mut encrypted: Vec<Range<u64>> = Vec::new();
        let (mut start, mut end, mut bytes) = (None, 0, 0);
        for place in &information.bitmaps {
            let bitmap = Bitmap::parse(&read(device, size, *place, MAX_BITMAP)?, chunk)?;
            bytes += bitmap.size;
            let follows = start.is_none() || bitmap.region.start == end;
            if !follows || !bitmap.region.end.is_multiple_of(sector) || bytes > MAX_BITMAPS {
                return Err(Defect::Invalid("the regions of its chunks don't follow one another".into()));
            }
            (start, end) = (start.or(Some(bitmap.region.start)), bitmap.region.end);
            own.extend([room(*place, bitmap.size), room(bitmap.log, information.log)]);
            for run in bitmap.encrypted(chunk) {
                match encrypted.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => encrypted.push(run),
                }
            }
            if encrypted.len() > MAX_RUNS {
                return Err(Defect::Unsupported(format!("it is encrypted in more than {MAX_RUNS} runs of chunks")));
            }
        }
        let start = start.ok_or_else(|| Defect::Invalid("the map of its chunks has no regions".into()))?;
        Ok(Chunks { own, encrypted, covered: start..end })
    }
}

fn read(device: &dyn BlockDevice, size: u64, place: u64, most: usize) -> Result<Vec<u8>, Defect> {
    let room = size.saturating_sub(place).min(most as u64) as usize;
    if room == 0 || !place.is_multiple_of(512) {
        return Err(Defect::Invalid(format!("a map of its chunks is at byte {place} of a device of {size} bytes")));
    }
    let mut bytes = vec![0; room];
    let failed = |e| Defect::Invalid(format!("a map of its chunks can't be read: {e}"));
    device.read_at(place, &mut bytes).map_err(failed)?;
    Ok(bytes)
}
