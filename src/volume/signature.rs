//! Signatures of other programs, for naming the content of a device without a LUKS header, or of a header copy's place.
//!
//! The table alone decides nothing. A header copy is only written over zeros and over the remains of a header, so
//! content that the table doesn't know is refused too. The table names common content in errors.

use core::fmt;
use core::ops::Range;
use std::io;

use super::BlockDevice;
use crate::zeros;

/// The signature of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The name of the content, with its article.
    name: &'static str,
    /// Its offset from the start of the device, in bytes.
    offset: u64,
    magic: &'static [u8],
}

/// Blocks in which the device is read. No signature crosses the end of one.
const BLOCK: u64 = 4096;

/// From the special to the general: boot sectors and partition tables come last, because other content begins with one
/// too.
///
/// Sources: the probes of util-linux's libblkid (`libblkid/src/superblocks`, `libblkid/src/partitions`), and otherwise
/// the specification named at the entry. Signatures at the end of a device are left out (md 0.90 and 1.0, DRBD, VDO's
/// and ATARAID's metadata): a LUKS volume may lie inside such a device.
const TABLE: &[Signature] = &[
    // File systems.
    of("an ext2, ext3 or ext4 file system", 1080, b"\x53\xef"),
    of("an XFS file system", 0, b"XFSB"),
    of("a Btrfs file system", 0x1_0040, b"_BHRfS_M"),
    of("an F2FS file system", 1024, b"\x10\x20\xf5\xf2"),
    of("a bcachefs file system", 4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    of("an NTFS file system", 3, b"NTFS    "),
    of("an exFAT file system", 3, b"EXFAT   "),
    of("a ReFS file system", 3, b"ReFS\0"),
    of("a FAT file system", 82, b"FAT32   "),
    of("a FAT file system", 54, b"FAT16   "),
    of("a FAT file system", 54, b"FAT12   "),
    of("a FAT file system", 54, b"FAT     "),
    of("an APFS container", 32, b"NXSB"),
    of("an HFS+ file system", 1024, b"H+\0\x04"),
    of("an HFSX file system", 1024, b"HX\0\x05"),
    of("a JFS file system", 0x8000, b"JFS1"),
    of("a ReiserFS file system", 0x1_0034, b"ReIsErFs"),
    of("a ReiserFS file system", 0x1_0034, b"ReIsEr2Fs"),
    of("a ReiserFS file system", 0x1_0034, b"ReIsEr3Fs"),
    of("a ReiserFS file system", 0x2034, b"ReIsErFs"),
    of("a Reiser4 file system", 0x1_0000, b"ReIsEr4"),
    of("a GFS2 file system", 0x1_0000, b"\x01\x16\x19\x70"),
    of("a NILFS2 file system", 1030, b"\x34\x34"),
    of("an OCFS2 file system", 1024, b"OCFSV2"),
    of("an OCFS2 file system", 2048, b"OCFSV2"),
    of("an OCFS2 file system", 4096, b"OCFSV2"),
    of("an OCFS2 file system", 8192, b"OCFSV2"),
    of("an EROFS file system", 1024, b"\xe2\xe1\xf5\xe0"),
    of("a SquashFS file system", 0, b"hsqs"),
    of("a SquashFS file system", 0, b"sqsh"),
    of("a cramfs file system", 0, b"\x45\x3d\xcd\x28"),
    of("a romfs file system", 0, b"-rom1fs-"),
    of("a VMFS file system", 0x20_0000, b"\x5e\xf1\xab\x2f"),
    of("a member of a VMFS file system", 0x10_0000, b"\x0d\xd0\x01\xc0"),
    of("a UDF file system", 0x8001, b"BEA01"),
    of("an ISO 9660 file system", 0x8001, b"CD001"),
    // ZFS's first label: the trailers of its boot header and of its list, then the first of its uberblocks.
    of("a member of a ZFS pool", 0x4000 - 40, b"\x11\x7a\x0c\xb1\x7a\xda\x10\x02"),
    of("a member of a ZFS pool", 0x2_0000 - 40, b"\x11\x7a\x0c\xb1\x7a\xda\x10\x02"),
    of("a member of a ZFS pool", 0x2_0000, b"\x0c\xb1\xba\0\0\0\0\0"),
    // Swap space has its signature at the end of its first page, for several page sizes.
    of("swap space", 4086, b"SWAPSPACE2"),
    of("swap space", 4086, b"SWAP-SPACE"),
    of("swap space", 8182, b"SWAPSPACE2"),
    of("swap space", 16374, b"SWAPSPACE2"),
    of("swap space", 32758, b"SWAPSPACE2"),
    of("swap space", 65526, b"SWAPSPACE2"),
    // Volume managers, arrays, caches, other encryption.
    of("a physical volume of LVM", 512, b"LABELONE"),
    of("a physical volume of LVM", 0, b"LABELONE"),
    of("a physical volume of LVM", 1024, b"LABELONE"),
    of("a physical volume of LVM", 1536, b"LABELONE"),
    of("a member of an md array", 0, b"\xfc\x4e\x2b\xa9"),
    of("a member of an md array", 4096, b"\xfc\x4e\x2b\xa9"),
    of("a device of bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    of("a Ceph BlueStore device", 0, b"bluestore block device"),
    of("a Stratis pool's device", 4100, b"!Stra0tis\x86\xff\x02^Arh"),
    of("a VDO device", 0, b"dmvdo001"),
    of("an Oracle ASM disk", 32, b"ORCLDISK"),
    of("a dm-snapshot's store", 0, b"SnAp"),
    of("a dm-verity hash device", 0, b"verity\0\0"),
    of("a dm-integrity device", 0, b"integrt\0"),
    of("a BitLocker volume", 3, b"-FVE-FS-"),
    // Disk images. By the specifications of their formats, qcow2 and VMDK begin with it, and VDI has it at byte 64.
    of("a qcow2 image", 0, b"QFI\xfb"),
    of("a VMDK image", 0, b"KDMV"),
    of("a VHDX image", 0, b"vhdxfile"),
    of("a VHD image", 0, b"conectix"),
    of("a VDI image", 64, b"\x7f\x10\xda\xbe"),
    // This library's own (docs/formats/file.md).
    of("an encrypted file with a prefix of this library", 0, b"atrestFP"),
    // Partition tables. The GPT header is in the second sector, of 512 or 4096 bytes.
    of("a GPT partition table", 512, b"EFI PART"),
    of("a GPT partition table", 4096, b"EFI PART"),
    of("a BSD disklabel", 512, b"\x57\x45\x56\x82"),
    of("an MBR partition table or boot sector", 510, b"\x55\xaa"),
];

const fn of(name: &'static str, offset: u64, magic: &'static [u8]) -> Signature {
    Signature { name, offset, magic }
}

impl Signature {
    /// The first signature of the table that `device` has within a range of bytes.
    pub(crate) fn find(device: &dyn BlockDevice, within: Range<u64>) -> io::Result<Option<Signature>> {
        let size = device.size()?;
        let mut read: Vec<(u64, Vec<u8>)> = Vec::new();
        for signature in TABLE {
            let Range { start, end } = signature.range();
            if start < within.start || end > within.end || end > size {
                continue;
            }
            let at = start / BLOCK * BLOCK;
            if !read.iter().any(|(offset, _)| *offset == at) {
                let mut block = vec![0; (size - at).min(BLOCK) as usize];
                device.read_at(at, &mut block)?;
                read.push((at, block));
            }
            let found = read.iter().find(|(offset, _)| *offset == at);
            if found.is_some_and(|(_, block)| block[(start - at) as usize..].starts_with(signature.magic)) {
                return Ok(Some(*signature));
            }
        }
        Ok(None)
    }

    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.magic.len() as u64
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (its signature is at byte {})", self.name, self.offset)
    }
}

/// Describes the content of a device without a header, for an error's text.
pub(crate) fn describe(device: &dyn BlockDevice) -> io::Result<String> {
    if let Some(signature) = Signature::find(device, 0..u64::MAX)? {
        return Ok(signature.to_string());
    }
    let mut start = vec![0; device.size()?.min(BLOCK) as usize];
    device.read_at(0, &mut start)?;
    Ok(match &start[..] {
        start if zeros::is_zero(start) => "zeros where a header begins",
        start if is_text(start) => "text",
        _ => "bytes without a known signature",
    }
    .into())
}

/// Whether it is UTF-8 text, possibly cut off at the end.
fn is_text(bytes: &[u8]) -> bool {
    let whole = match core::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_some() => return false,
        Err(e) => &bytes[..e.valid_up_to()],
        Ok(text) => text.as_bytes(),
    };
    whole.iter().all(|&byte| byte >= b' ' && byte != 0x7f || b"\t\n\x0c\r".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn each_signature_is_found_by_itself_and_none_in_zeros() {
        const SIZE: usize = 3 << 20;
        assert_eq!(Signature::find(&MemoryDevice::new(SIZE), 0..u64::MAX).unwrap(), None);
        for signature in TABLE {
            let Range { start, end } = signature.range();
            assert_eq!(start / BLOCK, (end - 1) / BLOCK, "{signature} crosses a block");
            let mut bytes = vec![0; SIZE];
            bytes[start as usize..end as usize].copy_from_slice(signature.magic);
            let device = MemoryDevice::from_bytes(bytes);
            assert_eq!(Signature::find(&device, 0..u64::MAX).unwrap(), Some(*signature));
            assert_eq!(Signature::find(&device, start..end).unwrap(), Some(*signature));
            assert_eq!(Signature::find(&device, start + 1..u64::MAX).unwrap(), None, "{signature}");
            assert_eq!(Signature::find(&device, 0..end - 1).unwrap(), None, "{signature}");
        }
    }

    #[test]
    fn a_device_that_ends_early_is_no_failure() {
        for size in [0, 1, 511, 512, 1081, 1082, 4095, 4097] {
            assert_eq!(Signature::find(&MemoryDevice::new(size), 0..u64::MAX).unwrap(), None);
        }
    }
}
