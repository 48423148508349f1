//! The two copies of a LUKS2 header on a device: finds, chooses, repairs and replaces them.

use super::place::Foreign;
use crate::log::tell;
#[cfg(feature = "managed")]
use crate::ondisk::luks::Token;
use crate::ondisk::luks::{
    BINARY_HEADER, BinaryHeader, HEADER_SIZES, Label, Metadata, Position, SALT_LEN, WRITTEN_REQUIREMENT,
};
use crate::volume::BlockDevice;
use crate::volume::headers::area::{check_written, reserve};
use crate::volume::keys::Under;
use crate::volume::signature;
use crate::{Error, Result, TooSmall, random};

/// The unit that a disk writes as a whole.
const SECTOR: usize = 512;

/// The longest JSON area that is skimmed, in bytes. Ours take 1 to 2 KiB.
#[cfg(feature = "managed")]
const SHORT: usize = 4096;

/// A header on a device.
#[derive(Debug, Clone)]
pub(in crate::volume::headers) struct Luks2Store {
    /// The binary header of the newest intact copy, with that copy's salt.
    pub(super) binary: BinaryHeader,
    pub(super) metadata: Metadata,
    /// The salts of both copies.
    salts: [[u8; 64]; 2],
    /// The damaged or older copies, in the order in which they must be written.
    stale: Vec<Position>,
    /// Whether writing this header failed. Then the device may hold another one with the same sequence number.
    unsettled: bool,
    /// Foreign data in the place of a copy, which must not be overwritten.
    foreign: Option<Foreign>,
    /// Whether the caller allowed overwriting it.
    overwrite_foreign: bool,
    /// The key that this header is asked about. Only a re-encryption has two.
    pub(super) under: Under,
}

/// The tokens of this crate in a header, by their numbers, if all are sound.
#[cfg(feature = "managed")]
type Tokens = Result<Vec<(u32, Token)>>;

/// An intact copy.
struct Copy {
    binary: BinaryHeader,
    metadata: Metadata,
}

impl Luks2Store {
    /// A header that is not on a device yet.
    pub(in crate::volume::headers) fn new(mut binary: BinaryHeader, metadata: Metadata) -> Result<Self> {
        let salts = [random::array()?, random::array()?];
        binary.salt = salts[0];
        Ok(Self::found(Copy { binary, metadata }, salts, Vec::new(), None))
    }

    /// A header known only by these parts.
    pub(in crate::volume::headers) fn of_json(json: &[u8], uuid: &str) -> Result<Self> {
        let metadata = Metadata::of_json(json).map_err(Error::InvalidHeader)?;
        let binary = BinaryHeader {
            header_size: metadata.header_size(),
            seqid: 0,
            label: Label::new(&[]),
            salt: [0; SALT_LEN],
            uuid: uuid.into(),
            subsystem: Label::new(&[]),
        };
        Self::new(binary, metadata)
    }

    /// Reads both copies and takes the newest intact one. Nothing is written.
    pub(in crate::volume::headers) fn load(device: &dyn BlockDevice) -> Result<Self> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < 2 * HEADER_SIZES[0] {
            let looking = |e| Error::io("looking at what the device holds", e);
            if !begins_a_header(device, size).map_err(looking)? {
                return Err(Error::NotLuks { found: signature::describe(device).map_err(looking)? });
            }
            return Err(Error::DeviceTooSmall { what: TooSmall::Header, needed: 2 * HEADER_SIZES[0], size });
        }
        let mut bytes = Vec::new();
        let primary = read_copy(device, size, Position::Primary, 0, &mut bytes)?;
        let (primary, secondary) = match primary.and_then(|binary| Copy::parse(binary, &bytes)) {
            Ok(first) => match read_copy(device, size, Position::Secondary, first.binary.header_size, &mut bytes)? {
                // As a rule both have the same content, and the second needn't be parsed.
                Ok(second) if first.metadata.is_in(&bytes[BINARY_HEADER..], second.header_size) => {
                    let (salts, stale) = ([first.binary.salt, second.salt], older(&first.binary, &second));
                    let binary = if stale == [Position::Primary] { second } else { first.binary };
                    return Ok(Self::found(Copy { binary, ..first }, salts, stale, None));
                }
                second => (Ok(first), second.and_then(|binary| Copy::parse(binary, &bytes))),
            },
            Err(bad) => (Err(bad), find_secondary(device, size, &mut bytes)?),
        };
        match (primary, secondary) {
            (Ok(first), Ok(second)) => {
                let (salts, stale) = ([first.binary.salt, second.binary.salt], older(&first.binary, &second.binary));
                let newer = if stale == [Position::Primary] { second } else { first };
                Ok(Self::found(newer, salts, stale, None))
            }
            (Ok(first), Err(_)) => {
                let salts = [first.binary.salt, random::array()?];
                let foreign = Foreign::look(device, Position::Secondary, &first.binary)?;
                Ok(Self::found(first, salts, vec![Position::Secondary], foreign))
            }
            (Err(_), Ok(second)) => {
                let salts = [random::array()?, second.binary.salt];
                let foreign = Foreign::look(device, Position::Primary, &second.binary)?;
                Ok(Self::found(second, salts, vec![Position::Primary], foreign))
            }
            (Err(Bad::NoMagic), Err(Bad::NoMagic)) => {
                let found = signature::describe(device);
                Err(Error::NotLuks { found: found.map_err(|e| Error::io("looking at what the device holds", e))? })
            }
            (Err(first), Err(second)) => {
                Err(Error::InvalidHeader(format!("{}: {first}; {}: {second}", Position::Primary, Position::Secondary)))
            }
        }
    }

    /// The tokens by the first copy alone, at half the cost of reading both: if that copy is sound and of the usual size, and the
    /// second isn't newer. Nothing else of the header is kept, and it is read at once.
    #[cfg(feature = "managed")]
    pub(in crate::volume::headers) fn glance(device: &dyn BlockDevice) -> Result<Option<Tokens>> {
        const LEN: u64 = HEADER_SIZES[0];
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < 2 * LEN {
            return Ok(None);
        }
        let mut bytes = [0; LEN as usize + BINARY_HEADER];
        device.read_at(0, &mut bytes).map_err(|e| Error::io("reading the header", e))?;
        let (copy, second) = bytes.split_at(LEN as usize);
        let parsed = |bytes: &[u8], position, offset| {
            let binary = BinaryHeader::parse(bytes.first_chunk()?, position, offset).ok()?;
            Some(binary).filter(|binary| binary.header_size == LEN)
        };
        let Some(first) = parsed(copy, Position::Primary, 0) else { return Ok(None) };
        // A torn block may have any number, so use it only to see that it isn't greater.
        if parsed(second, Position::Secondary, LEN).is_none_or(|second| second.seqid > first.seqid)
            || BinaryHeader::verify(copy).is_err()
        {
            return Ok(None);
        }
        Ok(Metadata::tokens_in(&copy[BINARY_HEADER..], LEN).ok())
    }

    /// The tokens in the JSON of both copies, if that is the same and short: whichever of the two a reader takes, it reads these. If both
    /// are damaged, a reader may find another copy elsewhere, or none; a [glance](Self::glance) and opening tell. No checksum is compared
    /// here, and the rest isn't checked. A checksum has no key: whoever writes a header can make it right, too.
    #[cfg(feature = "managed")]
    pub(in crate::volume::headers) fn skim(device: &dyn BlockDevice) -> Result<Option<Tokens>> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let mut copies = [[0; BINARY_HEADER + SHORT]; 2];
        let mut offset = 0;
        for (copy, position) in copies.iter_mut().zip([Position::Primary, Position::Secondary]) {
            if size < 2 * HEADER_SIZES[0].max(offset) {
                return Ok(None);
            }
            device.read_at(offset, copy).map_err(|e| Error::io(format!("reading the {position} of the header"), e))?;
            let (block, _) = copy.split_first_chunk().expect("it is longer");
            match BinaryHeader::parse(block, position, offset) {
                Ok(binary) if position == Position::Primary || binary.header_size == offset => {
                    offset = binary.header_size
                }
                _ => return Ok(None),
            }
        }
        // A zero at the end shows that the text ends before.
        let [area, other] = copies.each_ref().map(|copy| &copy[BINARY_HEADER..]);
        let is_same = area == other && area.last() == Some(&0);
        Ok(if is_same { Metadata::tokens_alone(area).ok() } else { None })
    }

    fn found(newest: Copy, salts: [[u8; 64]; 2], stale: Vec<Position>, foreign: Option<Foreign>) -> Self {
        let Copy { binary, metadata } = newest;
        Luks2Store {
            binary,
            metadata,
            salts,
            stale,
            unsettled: false,
            foreign,
            overwrite_foreign: false,
            under: Under::Current,
        }
    }

    /// Refuses to write over foreign data.
    pub(super) fn check_foreign(&self) -> Result<()> {
        match &self.foreign {
            Some(foreign) if !self.overwrite_foreign => Err(Error::ForeignData(foreign.to_string())),
            _ => Ok(()),
        }
    }

    /// Allows the next repair to overwrite foreign data.
    pub(super) fn overwrite_foreign(&mut self) {
        self.overwrite_foreign = true;
    }

    /// Whether a copy is damaged or older than the other.
    pub(super) fn needs_repair(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Rewrites damaged or older copies from the intact one, with a new salt as section 2.1 requires.
    pub(super) fn repair(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.check_foreign()?;
        if self.unsettled {
            // Don't just repair: the other copy may have other content under this number.
            return self.store(device);
        }
        self.reserve(device)?;
        while let Some(&position) = self.stale.first() {
            self.salts[position as usize] = random::array()?;
            self.write_copy(device, position)?;
            self.stale.remove(0);
            tell!(info, "a damaged or older copy of the header of the volume {} was rewritten", self.binary.uuid);
        }
        (self.foreign, self.overwrite_foreign) = (None, false);
        Ok(())
    }

    /// Writes both copies, one after the other, so that one is intact at every instant.
    ///
    /// The sequence number grows even if writing fails, so that two different headers never have the same number.
    pub(super) fn store(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.check_foreign()?;
        let seqid = self.later(1)?;
        self.reserve(device)?;
        self.binary.seqid = seqid;
        // A damaged or older copy goes first. The only intact copy stays until the other is written.
        self.stale = match self.stale.first() {
            Some(Position::Secondary) => vec![Position::Secondary, Position::Primary],
            _ => vec![Position::Primary, Position::Secondary],
        };
        while let Some(&position) = self.stale.first() {
            self.write_copy(device, position)?;
            self.stale.remove(0);
        }
        self.unsettled = false;
        (self.foreign, self.overwrite_foreign) = (None, false);
        Ok(())
    }

    /// Writes this header over one of LUKS1 with this first block. Nothing in the places of the two copies is used by
    /// LUKS1. At every instant one of the two headers is whole: the module of the conversion has the reasons.
    pub(in crate::volume::headers) fn store_over_luks1(
        &mut self,
        device: &dyn BlockDevice,
        luks1: &[u8],
    ) -> Result<()> {
        self.binary.seqid = self.later(1)?;
        self.write_copy(device, Position::Secondary)?;
        // This sector ends LUKS1. Without a checksum it doesn't begin a primary copy.
        let mut block = self.binary.encode(Position::Primary);
        block[SECTOR..].copy_from_slice(&luks1[SECTOR..BINARY_HEADER]);
        let failed = |e| Error::io("replacing the header of LUKS1", e);
        device.write_at(0, &block).map_err(failed)?;
        device.sync().map_err(failed)?;
        check_written(device, 0, &block).map_err(failed)?;
        self.write_copy(device, Position::Primary)
    }

    /// The sequence number after this many changes. Call it before the first change, and before writing an area that
    /// the header will name: if the numbers are used up, nobody could wipe that area.
    pub(super) fn later(&self, changes: u64) -> Result<u64> {
        let end = || Error::UnsupportedHeader("its sequence number has come to an end, 2^64 - 1".into());
        self.binary.seqid.checked_add(changes).ok_or_else(end)
    }

    /// Checks that nobody else has written the header since it was read or written here; their changes would be lost.
    pub(super) fn check_unchanged(&self, device: &dyn BlockDevice) -> Result<()> {
        let found = Self::load(device)?;
        // After a failed attempt of ours, the device may hold any header up to that attempt's number.
        let ours = if self.unsettled {
            found.binary.seqid <= self.binary.seqid
        } else {
            found.binary.seqid == self.binary.seqid && found.metadata == self.metadata
        };
        if ours && found.binary.uuid == self.binary.uuid {
            // Foreign data may have appeared since the header was read.
            return if self.overwrite_foreign { Ok(()) } else { found.check_foreign() };
        }
        Err(Error::Busy { what: "the header, which was changed since the volume was opened,".into() })
    }

    /// Writes the keyslots of the backup that this header was read from, then the header. Its sequence number becomes
    /// newer than `current`, and it goes over `current`'s damaged or older copy first.
    pub(super) fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&Self>) -> Result<()> {
        let failed = |e| Error::io("restoring the keyslots", e);
        (self.stale, self.foreign) = (Vec::new(), None);
        if let Some(current) = current {
            self.binary.seqid = self.binary.seqid.max(current.binary.seqid);
            self.stale.clone_from(&current.stale);
        }
        self.later(1)?;
        let (first, _) = self.keyslots_area();
        device.write_at(first, &backup[first as usize..]).map_err(failed)?;
        device.sync().map_err(failed)?;
        self.store(device)
    }

    /// Replaces the header by an edited one. If that fails, the device holds the old or the new one, and this value the
    /// old one.
    pub(super) fn update<T>(
        &mut self,
        device: &dyn BlockDevice,
        edit: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.check_unchanged(device)?;
        let mut new = self.clone();
        let edited = edit(&mut new)?;
        // Fail for lack of room before anything is written.
        new.metadata.encode(new.binary.header_size)?;
        let stored = new.store(device);
        if stored.is_err() {
            self.after_failed_store(new);
        } else {
            *self = new;
        }
        stored.map(|()| edited)
    }

    /// Writes this header again if an attempt to replace it failed: the device may hold the replacement.
    pub(super) fn settle(&mut self, device: &dyn BlockDevice) -> Result<()> {
        if self.unsettled { self.store(device) } else { Ok(()) }
    }

    /// Refuses to change a header with requirements that this library does not know, or during a re-encryption.
    pub(super) fn check_requirements(&self) -> Result<()> {
        self.check_readable()?;
        match self.metadata.reencryption() {
            Some(reencryption) if !self.metadata.requirements().is_empty() => Err(Error::UnsupportedHeader(format!(
                "{reencryption}; finish it (`reencrypt_step`, or `cryptsetup reencrypt --resume-only`)"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses to read the data of a header with requirements that this library does not know.
    pub(super) fn check_readable(&self) -> Result<()> {
        let known = |name: &&String| {
            matches!(name.as_str(), "online-reencrypt-v2" | "online-reencrypt-v3" | WRITTEN_REQUIREMENT)
        };
        let (known, others): (Vec<&String>, Vec<&String>) = self.metadata.requirements().iter().partition(known);
        if others.is_empty() {
            return Ok(());
        }
        let requirements = others.iter().chain(&known).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let what = match self.metadata.reencryption() {
            Some(reencryption) => format!(
                "{reencryption}; finish it with `cryptsetup reencrypt --resume-only` (it requires {requirements})"
            ),
            None => format!("it requires {requirements}; a newer `cryptsetup` may know it"),
        };
        Err(Error::UnsupportedHeader(what))
    }

    /// Records the effects of a failed [`store`](Self::store) of `tried`; the device may hold the old or the new
    /// header. The sequence number must not be used again, and the next attempt must know which copy may be broken.
    pub(super) fn after_failed_store(&mut self, tried: Self) {
        self.binary.seqid = tried.binary.seqid;
        self.stale = tried.stale;
        self.unsettled = true;
    }

    /// Reserves space for both copies before either is written.
    fn reserve(&self, device: &dyn BlockDevice) -> Result<()> {
        reserve(device, 0..2 * self.binary.header_size)
    }

    /// Replaces one copy: invalidates it, then writes its JSON, then its binary header with the checksum. Each step is
    /// synced, so that lost writes in any order can't leave a mix that looks sound. Then it is read back.
    fn write_copy(&self, device: &dyn BlockDevice, position: Position) -> Result<()> {
        let mut binary = self.binary.clone();
        binary.salt = self.salts[position as usize];
        let offset = if position == Position::Primary { 0 } else { binary.header_size };
        let mut copy = binary.encode(position).to_vec();
        copy.extend(self.metadata.encode(binary.header_size)?);
        let failed = |e| Error::io(format!("writing the {position} of the header"), e);

        device.write_at(offset, &copy[..BINARY_HEADER]).map_err(failed)?;
        device.sync().map_err(failed)?;
        device.write_at(offset + BINARY_HEADER as u64, &copy[BINARY_HEADER..]).map_err(failed)?;
        device.sync().map_err(failed)?;
        BinaryHeader::seal(&mut copy);
        device.write_at(offset, &copy[..BINARY_HEADER]).map_err(failed)?;
        device.sync().map_err(failed)?;

        check_written(device, offset, &copy).map_err(|e| Error::io(format!("reading the {position} back"), e))
    }
}

/// The reason why a copy can't be used.
enum Bad {
    NoMagic,
    Version(u16),
    Defect(String),
}

impl core::fmt::Display for Bad {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Bad::NoMagic => f.write_str("there is no LUKS magic"),
            Bad::Version(version) => write!(f, "its version is {version}"),
            Bad::Defect(what) => f.write_str(what),
        }
    }
}

/// Whether a device that is too short for a header begins like one, or could.
fn begins_a_header(device: &dyn BlockDevice, size: u64) -> std::io::Result<bool> {
    let mut start = vec![0; size.min(BINARY_HEADER as u64) as usize];
    device.read_at(0, &mut start)?;
    // A device with fewer bytes than the magic could.
    Ok(start.len() < 6 || BinaryHeader::has_magic(&start, Position::Primary))
}

impl Copy {
    /// Parses the copy in `bytes`.
    fn parse(binary: BinaryHeader, bytes: &[u8]) -> Result<Self, Bad> {
        // The copy isn't damaged: somebody has written it like that.
        let odd = |what| Bad::Defect(format!("it isn't damaged (its checksum is right), but {what}"));
        let metadata = Metadata::parse(&bytes[BINARY_HEADER..], binary.header_size);
        metadata.map(|metadata| Copy { binary, metadata }).map_err(odd)
    }
}

/// Which of the two copies is older, if one is.
fn older(first: &BinaryHeader, second: &BinaryHeader) -> Vec<Position> {
    match first.seqid.cmp(&second.seqid) {
        core::cmp::Ordering::Less => vec![Position::Primary],
        core::cmp::Ordering::Equal => Vec::new(),
        core::cmp::Ordering::Greater => vec![Position::Secondary],
    }
}

/// Reads one copy into `bytes` and verifies its checksum. The outer error is the device's; the inner one says why the copy is
/// unusable.
fn read_copy(
    device: &dyn BlockDevice,
    size: u64,
    position: Position,
    offset: u64,
    bytes: &mut Vec<u8>,
) -> Result<Result<BinaryHeader, Bad>> {
    let failed = |e| Error::io(format!("reading the {position} of the header"), e);
    let mut block = [0; BINARY_HEADER];
    if offset.checked_add(BINARY_HEADER as u64).is_none_or(|end| end > size) {
        return Ok(Err(Bad::Defect("it was cut off".into())));
    }
    device.read_at(offset, &mut block).map_err(failed)?;
    if !BinaryHeader::has_magic(&block, position) {
        return Ok(Err(Bad::NoMagic));
    }
    if BinaryHeader::version(&block) != 2 {
        return Ok(Err(Bad::Version(BinaryHeader::version(&block))));
    }
    let binary = match BinaryHeader::parse(&block, position, offset) {
        Ok(binary) => binary,
        Err(what) => return Ok(Err(Bad::Defect(what))),
    };
    if offset + binary.header_size > size {
        return Ok(Err(Bad::Defect("it was cut off".into())));
    }
    bytes.resize(binary.header_size as usize, 0);
    bytes[..BINARY_HEADER].copy_from_slice(&block);
    device.read_at(offset + BINARY_HEADER as u64, &mut bytes[BINARY_HEADER..]).map_err(failed)?;
    Ok(BinaryHeader::verify(bytes).map(|()| binary).map_err(Bad::Defect))
}

/// Looks for the second copy where it can be, since the first can't say.
fn find_secondary(device: &dyn BlockDevice, size: u64, bytes: &mut Vec<u8>) -> Result<Result<Copy, Bad>> {
    let mut worst = Bad::NoMagic;
    for offset in HEADER_SIZES {
        let found = read_copy(device, size, Position::Secondary, offset, bytes)?;
        match found.and_then(|binary| Copy::parse(binary, bytes)) {
            Ok(copy) if copy.binary.header_size == offset => return Ok(Ok(copy)),
            Ok(_) => worst = Bad::Defect(format!("a copy at offset {offset} has another size")),
            Err(Bad::NoMagic) => {}
            Err(Bad::Defect(_)) if offset + BINARY_HEADER as u64 > size => {}
            Err(bad) => worst = bad,
        }
    }
    Ok(Err(worst))
}
