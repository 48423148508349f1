//! What must hold of a device with a header, whatever the header says.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use atrest::key::{HashAlgorithm, Kdf, KdfLimits};
use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::volume::{LuksVersion, Priority};
use atrest::{
    BlockDevice, Credential, Dek, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume, hazmat,
};

use crate::disk::Disk;
use crate::vaults::MemoryVault;

pub const PASSPHRASE: &[u8] = b"keep";
pub const CONTEXT: &[u8] = b"disk-17";
pub const DATA: usize = 1 << 20;
pub const SIZE: usize = 16 << 10;

/// What an input may have a key derivation cost.
const MAX_ITERATIONS: u32 = 2000;

/// For AES-128-XTS: the time to open a keyslot goes with the length of the key in it.
pub static DEK: LazyLock<Dek> =
    LazyLock::new(|| hazmat::dek_from_bytes(&core::array::from_fn::<u8, DEK_LEN, _>(|i| i as u8)).unwrap());
const DEK_LEN: usize = 32;
pub static VAULT: LazyLock<MemoryVault> = LazyLock::new(|| MemoryVault::new("memory:one"));

/// What the data of the volumes is that the library made.
pub static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..SIZE).map(|i| (i / 5) as u8).collect());

pub fn cost() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

/// A device with a volume that holds [`PLAIN`], opened by the passphrase, the DEK, and of LUKS2 the vault.
pub fn image(version: LuksVersion) -> Vec<u8> {
    let options = FormatOptions::new().version(version).keyslot(cost()).hazmat_dek(&DEK);
    let volume = if version == LuksVersion::Luks1 {
        let options = options.data_offset(2 * DATA as u64);
        Volume::format(MemoryDevice::new(2 * DATA + SIZE), Protector::Passphrase(PASSPHRASE), &options).unwrap()
    } else {
        let options = options.data_offset(DATA as u64).context(CONTEXT).label("a label");
        let vault: &MemoryVault = &VAULT;
        let device = MemoryDevice::new(DATA + SIZE);
        let volume = Volume::format(device, Protector::Vault(vault, "disks"), &options).unwrap();
        volume.add_protector(Protector::Passphrase(PASSPHRASE), &cost()).unwrap();
        volume
    };
    volume.write_at(0, &PLAIN).unwrap();
    volume.into_device().into_bytes()
}

/// How a device is opened, and what is done with it then.
pub struct How {
    /// 0 the vault, 1 the passphrase, else the DEK.
    pub credential: u8,
    pub flags: u8,
    pub operation: u8,
}

impl How {
    fn credential(&self) -> Credential<'static> {
        let vault: &'static MemoryVault = &VAULT;
        match self.credential % 16 {
            0..8 => Credential::Vault(vault),
            8 => Credential::Passphrase(PASSPHRASE),
            _ => Credential::Dek(&DEK),
        }
    }

    fn options(&self) -> OpenOptions {
        let limits = KdfLimits::new()
            .max_memory_kib(256)
            .max_pbkdf2_iterations(MAX_ITERATIONS)
            .max_argon2_kib_passes(512)
            .max_lanes(4);
        let options = OpenOptions::new()
            .kdf_limits(limits)
            .hazmat_allow_truncated(self.flags & 1 != 0)
            .hazmat_allow_unencrypted(self.flags & 2 != 0);
        if self.flags & 4 != 0 { options.context(CONTEXT) } else { options }
    }
}

type Opened = Volume<Arc<Disk<'static>>>;

/// Opens the device in several ways and checks what must hold. Says whether its header could be read at all.
pub fn judge(disk: Arc<Disk<'static>>, how: &How) -> bool {
    let before = disk.held();
    let dek = Credential::Dek(&DEK);
    let header = match Header::load(&disk) {
        Ok(header) => header,
        Err(_) => {
            assert!(Volume::open(disk.clone(), dek, &how.options()).is_err(), "a header opens that can't be read");
            assert!(disk.held() == before, "a device was written to whose header can't be read");
            return false;
        }
    };
    describe(&header);
    // A digest may ask for more than this: the ceiling of the library is seconds away, and none of an option's.
    let affordable = header.digests().iter().all(|digest| digest.iterations <= MAX_ITERATIONS);
    if !affordable && !matches!(how.credential(), Credential::Vault(_)) {
        return false;
    }

    let looked = Volume::open(disk.clone(), how.credential(), &how.options().read_only(true)).map(drop);
    assert!(disk.held() == before, "opened for reading, and written to");
    let opened = Volume::open(disk.clone(), how.credential(), &how.options());
    let volume = match (looked, opened) {
        (Err(_), Err(_)) => {
            assert!(disk.held() == before, "a device was written to that did not open");
            return true;
        }
        // Something else stands in a copy's place; or a keyslot is to be wiped, and the header can't be written any more.
        (Ok(()), Err(Error::ForeignData(_) | Error::UnsupportedHeader(_))) => {
            assert!(disk.held() == before, "a device was written to that did not open");
            return true;
        }
        (Ok(()), Err(e)) => panic!("it opens for reading, but not for writing: {e:?}"),
        (Err(e), Ok(_)) => panic!("it opens for writing, but not for reading: {e:?}"),
        (Ok(()), Ok(volume)) => volume,
    };
    drop(header);
    use_volume(&disk, volume, how);
    true
}

fn describe(header: &Header<'_>) {
    let _ = (header.format(), header.uuid(), header.label(), header.subsystem(), header.epoch(), header.size());
    let _ = (header.flags(), header.requirements(), header.segments(), header.metadata_size(), header.keyslots_size());
    let _ = (header.keyslots(), header.tokens(), format!("{header:?}"));
}

fn first_bytes(volume: &Opened) -> Vec<u8> {
    let sector = u64::from(volume.sector_size().bytes());
    let mut bytes = vec![0; (volume.size().min(SIZE as u64) / sector * sector) as usize];
    volume.read_at(0, &mut bytes).expect("what is in the volume can be read");
    bytes
}

/// What a header says of keys and data.
fn told(device: &dyn BlockDevice) -> String {
    let header = Header::load(device).expect("a header that was read before");
    let (keyslots, tokens, segments) = (header.keyslots(), header.tokens(), header.segments());
    format!("{:?} {keyslots:?} {tokens:?} {segments:?} {:?}", header.uuid(), header.digests())
}

/// Where the header is: its copies, and what its keyslots lie in.
fn header_ranges(disk: &Disk<'_>) -> Vec<Range<u64>> {
    let header = Header::load(disk).expect("a header that opened");
    let areas = header.keyslots().into_iter().map(|k| (k.area_offset, k.area_size.min(300 << 10)));
    let copies = if header.format() == LuksVersion::Luks1 { 592 } else { 2 * header.metadata_size() };
    areas.chain([(0, copies)]).map(|(offset, len)| offset..offset.saturating_add(len)).collect()
}

fn use_volume(disk: &Arc<Disk<'static>>, volume: Opened, how: &How) {
    assert_eq!(hazmat::dek_bytes(&volume.dek()).expose(), hazmat::dek_bytes(&DEK).expose(), "another DEK");
    let sector = volume.sector_size().bytes() as usize;
    let held = first_bytes(&volume);
    if matches!(how.credential(), Credential::Vault(_)) {
        // The MAC says where the data is, and how it is encrypted.
        let wanted = if disk.size().unwrap() >= (DATA + SIZE) as u64 { SIZE } else { held.len() };
        assert!(held[..] == PLAIN[..wanted], "the vault opened it, and the data is wrong");
    }
    // The last sector is there as well.
    if volume.size() > 0 {
        volume.read_at(volume.size() - sector as u64, &mut vec![0; sector]).unwrap();
        let (header, before) = (header_ranges(disk), disk.held());
        volume.write_at(0, &vec![0x5A; sector]).unwrap();
        volume.write_at(volume.size() - sector as u64, &vec![0xA5; sector]).unwrap();
        assert!(header_ranges(disk) == header, "writing data changed what the header says");
        let changed = header.iter().any(|range| disk.differs(&before, range));
        assert!(!changed, "writing data changed the header or a keyslot");
        volume.write_at(0, &held[..sector]).unwrap();
    }
    let held = first_bytes(&volume);
    operate(disk, &volume, how.operation);
    drop(volume);

    let before = disk.held();
    let again = Volume::open(disk.clone(), Credential::Dek(&DEK), &again(how));
    let again = again.unwrap_or_else(|e| panic!("it opened once only (operation {}): {e:?}", how.operation));
    assert!(first_bytes(&again) == held, "an operation of the header changed the data");
    assert!(disk.held() == before, "opened for reading, and written to");
    let header = Header::load(disk).unwrap();
    assert!(!header.needs_repair(), "it was opened for writing, and is not whole");
}

/// To open it again for reading. An operation may have added a token, or taken the context away with one.
fn again(how: &How) -> OpenOptions {
    How { flags: how.flags & !4, ..*how }.options().read_only(true)
}

fn operate(disk: &Arc<Disk<'static>>, volume: &Opened, operation: u8) {
    let vault: &MemoryVault = &VAULT;
    let before = disk.held();
    let number = u32::from(operation) / 10;
    let done = match operation % 10 {
        1 => volume.header().set_label("another label", ""),
        2 => volume.header().import_token("{\"type\":\"somebody's\",\"keyslots\":[]}").map(drop),
        3 => volume.add_protector(Protector::Vault(vault, "disks"), &cost()).map(drop),
        4 => volume.add_protector(Protector::Passphrase(b"new"), &cost()).map(drop),
        5 => volume.header().remove_protector(ProtectorId::Keyslot(number)),
        6 => volume.header().remove_protector(ProtectorId::Token(number)),
        7 => volume.header().set_priority(number, Priority::Ignore),
        8 => volume.rotate_kek(vault).map(drop),
        9 => volume.header().backup().map(|backup| {
            let copy = MemoryDevice::new(backup.len());
            // A header that asks for what this library doesn't know is not written, also as a backup.
            if Header::hazmat_restore(&copy, &backup).is_ok() {
                assert!(told(&copy) == told(disk), "a backup was restored otherwise than it was made");
            }
        }),
        _ => Ok(()),
    };
    if let Err(e) = done {
        assert!(disk.held() == before, "operation {operation} failed, and wrote: {e:?}");
    }
}
