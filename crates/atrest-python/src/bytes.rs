//! A volume at byte granularity, for file objects. Volumes themselves read and write whole sectors.

use core::ops::Range;
use std::sync::{PoisonError, RwLock};

use atrest::{BlockDevice, Result, Volume};

/// Separates a write to a part of a sector, which reads the sector first, from all other writes. Changes of the size of
/// sectors, or of the volume, also hold it alone.
pub type Sectors = RwLock<()>;

/// The largest sector of a volume, in bytes.
const MAX_SECTOR: usize = 4096;

/// Reads at any offset, up to the end of the volume, and returns how many bytes.
pub fn read<D: BlockDevice>(volume: &Volume<D>, sectors: &Sectors, offset: u64, target: &mut [u8]) -> Result<usize> {
    let _shared = sectors.read().unwrap_or_else(PoisonError::into_inner);
    let len = within(volume, offset, target.len());
    for piece in pieces(volume, offset, len) {
        let (at, part) = (offset + piece.start as u64, &mut target[piece.clone()]);
        let Some((first, skip, size)) = partial(volume, at, part.len()) else {
            volume.read_at(at, part)?;
            continue;
        };
        let mut sector = [0; MAX_SECTOR];
        volume.read_at(first, &mut sector[..size])?;
        part.copy_from_slice(&sector[skip..skip + part.len()]);
    }
    Ok(len)
}

/// Writes at any offset, up to the end of the volume, and returns how many bytes.
pub fn write<D: BlockDevice>(volume: &Volume<D>, sectors: &Sectors, offset: u64, source: &[u8]) -> Result<usize> {
    {
        let _shared = sectors.read().unwrap_or_else(PoisonError::into_inner);
        let len = within(volume, offset, source.len());
        if partial(volume, offset, len).is_none() {
            volume.write_at(offset, &source[..len])?;
            return Ok(len);
        }
    }
    let _alone = sectors.write().unwrap_or_else(PoisonError::into_inner);
    let len = within(volume, offset, source.len());
    for piece in pieces(volume, offset, len) {
        let (at, part) = (offset + piece.start as u64, &source[piece]);
        let Some((first, skip, size)) = partial(volume, at, part.len()) else {
            volume.write_at(at, part)?;
            continue;
        };
        let mut sector = [0; MAX_SECTOR];
        volume.read_at(first, &mut sector[..size])?;
        sector[skip..skip + part.len()].copy_from_slice(part);
        volume.write_at(first, &sector[..size])?;
    }
    Ok(len)
}

/// How many of `len` bytes from `offset` are in the volume.
fn within<D: BlockDevice>(volume: &Volume<D>, offset: u64, len: usize) -> usize {
    let left = volume.size().saturating_sub(offset);
    usize::try_from(left).map_or(len, |left| left.min(len))
}

/// For a run that isn't in whole sectors: the offset of its first sector, the bytes that it skips of that, and the size of a sector.
fn partial<D: BlockDevice>(volume: &Volume<D>, offset: u64, len: usize) -> Option<(u64, usize, usize)> {
    let size = volume.sector_size().bytes();
    let skip = (offset % u64::from(size)) as usize;
    let is_whole = skip == 0 && len.is_multiple_of(size as usize);
    (!is_whole).then_some((offset - skip as u64, skip, size as usize))
}

/// The parts of a run: the end of a first sector, whole sectors, and the beginning of a last one.
fn pieces<D: BlockDevice>(volume: &Volume<D>, offset: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let size = volume.sector_size().bytes() as usize;
    let skip = (offset % size as u64) as usize;
    let head = if skip == 0 { 0 } else { len.min(size - skip) };
    let whole = head + (len - head) / size * size;
    [0..head, head..whole, whole..len].into_iter().filter(|piece| !piece.is_empty())
}
