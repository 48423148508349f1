//! The size of a file system, by its superblock, so that its end isn't mistaken for free space.

use super::super::BlockDevice;
use crate::{Error, Result};

/// Refuses a file system that says that it is longer than `size` bytes. Unknown content is not refused.
pub(super) fn check_fits(device: &dyn BlockDevice, size: u64) -> Result<()> {
    let failed = |e| Error::io("looking at the file system on the device", e);
    let mut start = vec![0; 0x1_1000];
    let device_size = device.size().map_err(failed)?;
    if device_size < start.len() as u64 {
        return Ok(());
    }
    device.read_at(0, &mut start).map_err(failed)?;
    let Some((name, used)) = used(&start) else { return Ok(()) };
    if used <= size {
        return Ok(());
    }
    Err(Error::InvalidOption(format!(
        "the {name} file system on the device has {used} bytes, and {size} are left for it; shrink it first, below that"
    )))
}

/// The name of a file system, and its size in bytes.
fn used(start: &[u8]) -> Option<(&'static str, u64)> {
    let le = |at: usize, len: usize| (0..len).rev().fold(0u64, |value, i| value << 8 | u64::from(start[at + i]));
    let be = |at: usize, len: usize| (0..len).fold(0u64, |value, i| value << 8 | u64::from(start[at + i]));
    // Linux, Documentation/filesystems/ext4/super.rst.
    if le(0x438, 2) == 0xEF53 {
        let has_64_bits = le(0x460, 4) & 0x80 != 0;
        let high = if has_64_bits { le(0x550, 4) } else { 0 };
        let block = 1024u64.checked_shl(le(0x418, 4).min(63) as u32)?;
        return Some(("ext", (high << 32 | le(0x404, 4)).saturating_mul(block)));
    }
    // XFS Algorithms & Data Structures, "Superblocks".
    if start.starts_with(b"XFSB") {
        return Some(("XFS", be(8, 8).saturating_mul(be(4, 4))));
    }
    // Btrfs, "On-disk Format", the superblock.
    if &start[0x1_0040..0x1_0048] == b"_BHRfS_M" {
        return Some(("Btrfs", le(0x1_0070, 8)));
    }
    // The BIOS parameter block. The number of sectors leaves out the last one, which is the copy of the boot sector.
    if &start[3..11] == b"NTFS    " {
        return Some(("NTFS", le(0x28, 8).saturating_add(1).saturating_mul(le(0x0B, 2))));
    }
    None
}
