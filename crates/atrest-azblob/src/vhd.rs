//! The footer of fixed VHDs ("Virtual Hard Disk Image Format Specification" 1.0, Hard Disk Footer Format).

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::unexpected;

/// The footer's length in bytes.
pub(crate) const FOOTER: u64 = 512;
/// 2000-01-01 00:00:00 UTC, the format's epoch, in seconds of Unix time.
const EPOCH: u64 = 946_684_800;
const FIXED: u32 = 2;

/// The footer of a fixed disk of `size` bytes.
pub(crate) fn footer(size: u64, id: [u8; 16], now: SystemTime) -> [u8; 512] {
    let mut footer = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    let since = now.duration_since(UNIX_EPOCH + Duration::from_secs(EPOCH)).unwrap_or_default().as_secs();
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes()); // features: the bit that is always set
    put(12, &0x0001_0000u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes()); // no dynamic header follows
    put(24, &(since as u32).to_be_bytes());
    // QEMU takes the size from the geometry, which is rounded, unless this is a creator that it knows.
    put(28, b"win ");
    put(32, &0x000a_0000u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &geometry(size / 512));
    put(60, &FIXED.to_be_bytes());
    put(68, &id);
    let sum = checksum(&footer);
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    footer
}

/// Checks the footer of a fixed disk of `size` bytes.
pub(crate) fn check(footer: &[u8; 512], size: u64) -> io::Result<()> {
    let number = |at: usize| u32::from_be_bytes(footer[at..at + 4].try_into().expect("4 bytes"));
    if &footer[..8] != b"conectix" {
        return Err(unexpected("the blob has no VHD footer; open it as a raw image, or convert it to a fixed VHD"));
    }
    let mut summed = *footer;
    summed[64..68].fill(0);
    if number(64) != checksum(&summed) {
        return Err(unexpected("the blob's VHD footer is damaged: its checksum is wrong"));
    }
    if number(60) != FIXED {
        return Err(unexpected("the blob is a VHD that isn't fixed; convert it to a fixed one"));
    }
    let told = u64::from_be_bytes(footer[48..56].try_into().expect("8 bytes"));
    if told != size {
        return Err(unexpected(format!("the VHD's footer tells {told} bytes, and the blob has room for {size}")));
    }
    Ok(())
}

/// The complement of the sum of all bytes, while the checksum's own are zeros.
fn checksum(footer: &[u8; 512]) -> u32 {
    !footer.iter().map(|byte| u32::from(*byte)).sum::<u32>()
}

/// Cylinders, heads and sectors of a track: the specification's appendix, "CHS Calculation".
fn geometry(sectors: u64) -> [u8; 4] {
    let total = sectors.min(65535 * 16 * 255) as u32;
    let (per_track, heads, cylinder_times_heads);
    if total >= 65535 * 16 * 63 {
        (per_track, heads, cylinder_times_heads) = (255, 16, total / 255);
    } else {
        let mut tried = (17, (total / 17).div_ceil(1024).max(4));
        if total / 17 >= tried.1 * 1024 || tried.1 > 16 {
            tried = (31, 16);
        }
        if tried.0 == 31 && total / 31 >= tried.1 * 1024 {
            tried = (63, 16);
        }
        (per_track, heads, cylinder_times_heads) = (tried.0, tried.1, total / tried.0);
    }
    let [high, low] = ((cylinder_times_heads / heads) as u16).to_be_bytes();
    [high, low, heads as u8, per_track as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footers_are_checked() {
        let good = footer(1 << 20, [7; 16], UNIX_EPOCH + Duration::from_secs(EPOCH + 5));
        assert_eq!(good[24..28], [0, 0, 0, 5]);
        check(&good, 1 << 20).unwrap();
        assert!(check(&good, 2 << 20).is_err());
        for at in [0, 9, 50, 63, 66, 70] {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(check(&bad, 1 << 20).is_err(), "byte {at}");
        }
        assert!(check(&[0; 512], 1 << 20).is_err());
    }

    /// The geometries that `qemu-img create -f vpc -o subformat=fixed` writes for 1 MiB, 32 MiB and 1 GiB, which it rounds up
    /// to whole cylinders.
    #[test]
    fn geometry_is_that_of_qemu() {
        for (size, expected) in [
            (0x0010_7800u64, [0, 0x1f, 0x04, 0x11]),
            (0x0200_2000, [0x03, 0xc4, 0x04, 0x11]),
            (0x4003_e000, [0x08, 0x21, 0x10, 0x3f]),
        ] {
            assert_eq!(geometry(size / 512), expected, "{size}");
        }
    }
}
