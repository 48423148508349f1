//! Crashes at every write of an encryption and of a decryption in place: all data is there, and what was begun is finished.

use std::io;
use std::sync::Arc;

use atrest::volume::Resilience;
use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Protector, Result, SectorSize, Volume};

use crate::common::device::{TestDevice, crash_images};
use crate::common::keyslots::cost;

const MIB: usize = 1 << 20;
const BY: Protector<'static> = Protector::Passphrase(b"one");
/// How many single sectors of a write are lost alone, or kept.
const PLACES: usize = 3;

/// A part of a device, as a device: so that the log of one is the order of the writes to both.
#[derive(Clone)]
pub struct Part {
    device: Arc<TestDevice>,
    start: usize,
    pub len: usize,
}

impl BlockDevice for Part {
    fn size(&self) -> io::Result<u64> {
        // Which may be made to fail.
        self.device.size().map(|_| self.len as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if offset as usize + bytes.len() > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.device.read_at(self.start as u64 + offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset as usize + bytes.len() <= self.len);
        self.device.write_at(self.start as u64 + offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync()
    }
}

/// What is done to which device.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Two zones of 1 MiB and a half.
    Shift,
    Beside,
    Decrypt(Resilience),
    /// Over its header: two zones and a half, and 256 KiB that are moved before.
    DecryptOver(Resilience),
}

impl Kind {
    /// The size of the header's device.
    fn start(self) -> usize {
        match self {
            Kind::Shift => 0,
            Kind::Beside | Kind::Decrypt(_) => 16 * MIB,
            Kind::DecryptOver(_) => MIB,
        }
    }
}

pub struct World {
    pub kind: Kind,
    sector_size: SectorSize,
    pub plain: Vec<u8>,
}

impl World {
    pub fn new(kind: Kind, sector_size: SectorSize) -> Self {
        let len = match kind {
            Kind::Shift => 2 * MIB + MIB / 2,
            Kind::Beside | Kind::Decrypt(_) => 96 << 10,
            Kind::DecryptOver(_) => (256 + 100) << 10,
        };
        let plain = (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 21) as u8 ^ (i >> 9) as u8).collect();
        World { kind, sector_size, plain }
    }

    pub fn sector_bytes(&self) -> usize {
        self.sector_size.bytes() as usize
    }

    fn options(&self) -> FormatOptions {
        FormatOptions::new().keyslot(cost()).sector_size(self.sector_size)
    }

    /// The header's device and that of the data.
    pub fn parts(&self, image: Vec<u8>) -> (Arc<TestDevice>, Part, Part) {
        let device = Arc::new(TestDevice::new(image));
        let len = device.bytes().len();
        let start = self.kind.start();
        let header = Part { device: device.clone(), start: 0, len: start };
        let data = Part { device: device.clone(), start, len: len - start };
        (device, header, data)
    }

    /// The device before: plain, or encrypted.
    pub fn before(&self) -> Vec<u8> {
        if matches!(self.kind, Kind::Shift) {
            let mut image = self.plain.clone();
            image.resize(self.plain.len() + 2 * MIB, 0);
            return image;
        }
        let mut image = vec![0; self.kind.start()];
        if let Kind::DecryptOver(_) = self.kind {
            image.resize(2 * MIB + self.plain.len(), 0);
            let (device, _, data) = self.parts(image);
            let volume = Volume::format(data, BY, &self.options().data_offset(MIB as u64)).unwrap();
            volume.write_at(0, &self.plain).unwrap();
            return device.bytes();
        }
        image.extend(&self.plain);
        if let Kind::Decrypt(_) = self.kind {
            let (device, header, data) = self.parts(image);
            let volume = Volume::format(data, BY, &self.options().header(Arc::new(header))).unwrap();
            volume.write_at(0, &self.plain).unwrap();
            return device.bytes();
        }
        image
    }

    pub fn begin(&self, header: Part, data: Part) -> Result<Volume<Part>> {
        match self.kind {
            Kind::Shift => Volume::begin_encryption(data, BY, &self.options().data_offset(MIB as u64), 2 * MIB as u64),
            Kind::Beside => {
                Volume::begin_encryption(data, BY, &self.options().header(Arc::new(header)).overwrite(true), 0)
            }
            Kind::Decrypt(resilience) => {
                let volume = self.open(header, data)?;
                match volume.begin_decryption(resilience) {
                    Ok(()) | Err(Error::Busy { .. }) => Ok(volume),
                    Err(e) => Err(e),
                }
            }
            Kind::DecryptOver(resilience) => {
                let volume = Volume::open(data, Credential::Passphrase(b"one"), &OpenOptions::new())?;
                // What is read may be made to fail, too.
                let mut read = vec![0; self.plain.len()];
                volume.read_at(0, &mut read)?;
                assert!(read == self.plain, "other data came out before");
                let again = match volume.begin_decryption_beside(Arc::new(header.clone()), resilience) {
                    Err(Error::DeviceNotBlank { .. }) => {
                        header.write_at(0, &vec![0; header.len]).unwrap();
                        volume.begin_decryption_beside(Arc::new(header), resilience)
                    }
                    begun => begun,
                };
                again.map(|()| volume)
            }
        }
    }

    /// The volume, from what a crash or a fault has left, begun if it wasn't; `None` if all is plain.
    pub fn resumed(&self, what: &str, header: Part, data: Part) -> Option<Volume<Part>> {
        let begin = |header, data| self.begin(header, data).unwrap_or_else(|e| panic!("{what}: {e}"));
        let opened = self.open(header.clone(), data.clone());
        match (self.kind, opened) {
            (Kind::Shift | Kind::Beside, Ok(volume)) => Some(volume),
            (Kind::Shift | Kind::Beside, Err(_)) => Some(begin(header, data)),
            (Kind::Decrypt(resilience), Ok(volume)) => match volume.begin_decryption(resilience) {
                Ok(()) | Err(Error::Busy { .. }) => Some(volume),
                // Opening it has finished the last zone, and with it all.
                Err(_) => None,
            },
            // The header of what is decrypted goes last.
            (Kind::Decrypt(_), Err(_)) => None,
            (Kind::DecryptOver(resilience), opened) => {
                let by_itself = Volume::open(data.clone(), Credential::Passphrase(b"one"), &OpenOptions::new()).is_ok();
                match opened {
                    Ok(volume) if by_itself => {
                        assert!(volume.reencryption().is_none(), "{what}: two headers disagree");
                        drop(volume);
                        Some(begin(header, data))
                    }
                    Ok(volume) => {
                        if volume.reencryption().is_none() && volume.data_offset() > 0 {
                            volume.begin_decryption_beside(Arc::new(header), resilience).unwrap();
                        }
                        volume.reencryption().map(|_| volume)
                    }
                    Err(_) if by_itself => Some(begin(header, data)),
                    Err(_) => None,
                }
            }
        }
    }

    pub fn holds(&self, what: &str, volume: &Volume<Part>) {
        let mut read = vec![0; self.plain.len()];
        volume.read_at(0, &mut read).unwrap();
        assert!(read == self.plain, "{what}: other data came out");
    }

    pub fn open(&self, header: Part, data: Part) -> Result<Volume<Part>> {
        let options = OpenOptions::new().hazmat_allow_unencrypted(true);
        let options = if header.len == 0 { options } else { options.header(Arc::new(header)) };
        Volume::open(data, Credential::Passphrase(b"one"), &options)
    }

    fn finish(&self, volume: &Volume<Part>) {
        while !volume.reencrypt_step(40 << 10).unwrap().is_finished() {}
    }

    /// What a crash left is finished, and holds the data.
    fn check(&self, what: &str, image: Vec<u8>, before: &[u8]) {
        let (device, header, data) = self.parts(image);
        if let Some(volume) = self.resumed(what, header, data) {
            self.holds(what, &volume);
            if volume.reencryption().is_some() {
                self.finish(&volume);
            }
            self.holds(&format!("{what}, at the end"), &volume);
        }
        self.check_end(what, &device.bytes(), before);
    }

    /// All is plain, or nothing.
    pub fn check_end(&self, what: &str, bytes: &[u8], before: &[u8]) {
        let (start, end) = (self.kind.start(), self.kind.start() + self.plain.len());
        match self.kind {
            Kind::Decrypt(_) => assert!(bytes[start..] == self.plain, "{what}: it isn't plain"),
            Kind::DecryptOver(_) => {
                assert!(bytes[start..end] == self.plain, "{what}: it isn't plain");
                let same = bytes[end..]
                    .chunks(512)
                    .zip(before[end..].chunks(512))
                    .any(|(now, before)| now == before && before.iter().any(|&byte| byte != 0));
                assert!(!same, "{what}: a part of the old data is left");
            }
            Kind::Shift | Kind::Beside => {
                let sectors: Vec<&[u8]> = self.plain.chunks(512).step_by(97).collect();
                assert!(!bytes.chunks(512).any(|sector| sectors.contains(&sector)), "{what}: a part is left plain");
            }
        }
    }
}

#[test]
fn a_crash_of_an_encryption_or_decryption_in_place_loses_nothing() {
    let most = std::env::var("ATREST_CRASHES").ok().and_then(|most| most.parse().ok()).unwrap_or(10);
    let (mut tried, mut all) = (0, 0);
    for (kind, sector_size) in [
        (Kind::Shift, SectorSize::B512),
        (Kind::Shift, SectorSize::B4096),
        (Kind::Beside, SectorSize::B512),
        (Kind::Decrypt(Resilience::Checksum), SectorSize::B512),
        (Kind::Decrypt(Resilience::Journal), SectorSize::B4096),
        (Kind::DecryptOver(Resilience::Checksum), SectorSize::B512),
        (Kind::DecryptOver(Resilience::Journal), SectorSize::B4096),
    ] {
        let world = World::new(kind, sector_size);
        let before = world.before();
        let (device, header, data) = world.parts(before.clone());
        let volume = world.begin(header, data).unwrap();
        world.finish(&volume);
        drop(volume);
        let log = device.take_log();
        world.check("at the end", device.bytes(), &before);
        let count = crash_images(&before, &log, PLACES, |_, _| ());
        let mut nth = 0;
        crash_images(&before, &log, PLACES, |what, image| {
            if nth % usize::div_ceil(count, most) == 0 {
                world.check(&format!("{kind:?} {sector_size:?}, {what}"), image, &before);
                tried += 1;
            }
            nth += 1;
        });
        all += count;
    }
    println!("{tried} crashes of {all} survived");
}
