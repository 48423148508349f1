//! The boot sector: it shows that a device is a BitLocker volume, and where its metadata is.

use super::Defect;
use super::bytes::{array, u16_at, u64_at};
use crate::SectorSize;

/// The bytes of it that this reads.
pub(crate) const LEN: usize = 512;

/// `4967d63b-2e29-4ad8-8399-f6a339e3d001`, in front of the places of the metadata.
const USUAL: [u8; 16] = *b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
/// `92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8`, in place of it while Windows 8 and later encrypt or decrypt by maps of chunks.
const BY_CHUNKS: [u8; 16] = *b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8";

/// A boot sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootSector {
    pub(crate) sector_size: SectorSize,
    pub(crate) generation: Generation,
}

/// The places of the metadata that it names, in bytes from the start of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Windows Vista: the place of the first copy, and the size of a cluster. The copies name the others.
    Vista { copy: u64, cluster: u64 },
    /// Windows 7 and later.
    Seven {
        copies: [u64; 3],
        /// The two copies of the map of encrypted chunks, if there is one.
        chunks: Option<[u64; 2]>,
    },
}

impl BootSector {
    /// The boot sector of a new volume. It starts no machine.
    pub(crate) fn make(sector_size: SectorSize, copies: [u64; 3]) -> [u8; LEN] {
        let mut boot = [0; LEN];
        let mut put = |at: usize, field: &[u8]| boot[at..at + field.len()].copy_from_slice(field);
        put(0, b"\xeb\x58\x90-FVE-FS-");
        put(11, &(sector_size.bytes() as u16).to_le_bytes());
        // As Windows has them: sectors of a cluster of 4096 bytes, the medium, sectors of a track, heads; then the fields of a
        // FAT32 file system, so that no program takes it for another one.
        put(13, &[(4096 / sector_size.bytes()) as u8]);
        put(21, &[0xf8, 0, 0, 0x3f, 0, 0xff, 0]);
        put(36, &0x1fe0u32.to_le_bytes());
        put(48, &[1, 0, 6, 0]);
        put(64, &[0x80, 0, 0x29]);
        put(71, b"NO NAME    FAT32   ");
        put(160, &USUAL);
        put(176, copies.map(u64::to_le_bytes).as_flattened());
        put(510, b"\x55\xaa");
        boot
    }

    /// Whether a device with this start is a BitLocker volume.
    pub(crate) fn probe(start: &[u8]) -> bool {
        place(start).is_some()
    }

    /// Reads the first sector of a device that [is](Self::probe) a BitLocker volume.
    pub(crate) fn parse(start: &[u8]) -> Result<Self, Defect> {
        let short = || Defect::Invalid("its boot sector is cut off".into());
        let size = u16_at(start, 11).ok_or_else(short)?;
        // Some programs leave it out.
        let sector_size = match size {
            0 | 512 => SectorSize::B512,
            4096 => SectorSize::B4096,
            size => return Err(Defect::Unsupported(format!("its sectors have {size} bytes, not 512 or 4096"))),
        };
        let place = place(start).ok_or_else(short)?;
        if place == Place::Vista {
            let cluster = u64::from(start[13]) * u64::from(sector_size.bytes());
            let copy = u64_at(start, 56).and_then(|number| number.checked_mul(cluster));
            let copy = copy.filter(|copy| *copy > 0);
            let copy = copy.ok_or_else(|| Defect::Invalid("its boot sector names no place of the metadata".into()))?;
            return Ok(BootSector { sector_size, generation: Generation::Vista { copy, cluster } });
        }
        let (Place::Usual(at) | Place::ByChunks(at)) = place else { return Err(short()) };
        let offset = |i: usize| u64_at(start, at + 16 + 8 * i).ok_or_else(short);
        let copies = [offset(0)?, offset(1)?, offset(2)?];
        let chunks = match place {
            Place::ByChunks(_) => Some([offset(3)?, offset(4)?]),
            _ => None,
        };
        Ok(BootSector { sector_size, generation: Generation::Seven { copies, chunks } })
    }
}

/// The form in which the boot sector names the places of the metadata, and the byte where it does so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Vista,
    Usual(usize),
    ByChunks(usize),
}

fn place(start: &[u8]) -> Option<Place> {
    let start = start.get(..LEN)?;
    let at = match &start[3..11] {
        b"-FVE-FS-" => 160,
        // BitLocker To Go: the boot sector of the FAT file system that an old Windows sees.
        b"MSWIN4.1" => 424,
        _ => return None,
    };
    match array(start, at)? {
        USUAL => Some(Place::Usual(at)),
        BY_CHUNKS => Some(Place::ByChunks(at)),
        _ => start.starts_with(b"\xeb\x52\x90-FVE-FS-").then_some(Place::Vista),
    }
}
