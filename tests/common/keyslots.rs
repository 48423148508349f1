//! Small volumes with passphrases, of both versions, with the header before the data or detached from it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use atrest::key::{DekAlgorithm, HashAlgorithm, Kdf};
use atrest::volume::{
    Header, KeyslotOptions, LuksVersion, Priority, ProtectorId, TokenInfo, TokenOptions, token_passphrase,
};
use atrest::{BlockDevice, Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Result, Volume};

use sha2::{Digest, Sha256};

use super::device::TestDevice;
use super::header::{COPY, JSON};
use super::vaults::MemoryVault;
use super::volumes::{SIZE, holds_plain, plain, shared};

/// The passphrase that no operation touches, the one that is removed, and the one that is added.
pub const KEEP: &[u8] = b"keep";
pub const OLD: &[u8] = b"old";
pub const NEW: &[u8] = b"new";

const MIB: usize = 1 << 20;

pub fn cost() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

/// The kind of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub version: LuksVersion,
    pub detached: bool,
}

impl Kind {
    pub const ALL: [Kind; 4] = [
        Kind { version: LuksVersion::Luks2, detached: false },
        Kind { version: LuksVersion::Luks2, detached: true },
        Kind { version: LuksVersion::Luks1, detached: false },
        Kind { version: LuksVersion::Luks1, detached: true },
    ];

    pub fn is_luks1(self) -> bool {
        self.version == LuksVersion::Luks1
    }

    /// The bytes of the device under test: the header's device if the header is detached.
    pub fn device_size(self) -> usize {
        let header = if self.is_luks1() { 2 * MIB } else { MIB };
        match self.detached {
            // LUKS2 takes 16 MiB for keyslots on a device of their own, unless the data offset is lower.
            true => header,
            false => header + SIZE,
        }
    }

    /// The numbers of the keyslots of `KEEP`, `OLD` and `NEW`. In LUKS1 the seventh crosses a sector boundary.
    pub fn ids(self) -> [u32; 3] {
        if self.is_luks1() { [0, 6, 7] } else { [0, 1, 2] }
    }

    pub fn format_options(self) -> FormatOptions {
        let options = FormatOptions::new().version(self.version).keyslot(cost()).dek_algorithm(DekAlgorithm::Aes128Xts);
        // With a detached header the data offset is the same, so that the header takes no more than this.
        if self.is_luks1() && self.detached {
            options
        } else {
            options.data_offset((self.device_size() / MIB * MIB) as u64)
        }
    }

    fn data_size(self) -> usize {
        if self.is_luks1() { SIZE } else { MIB + SIZE }
    }

    /// Formats `device` (the header's device if it is detached) with `KEEP`, and writes the data. Returns the volume,
    /// which is not written to again, and the data device's bytes if there is one.
    pub fn format(self, device: Arc<TestDevice>) -> Result<Vec<u8>> {
        let keep = Protector::Passphrase(KEEP);
        if !self.detached {
            let volume = Volume::format(device, keep, &self.format_options())?;
            volume.write_at(0, &plain()).unwrap();
            return Ok(Vec::new());
        }
        let options = self.format_options().header(device);
        let volume = Volume::format(MemoryDevice::new(self.data_size()), keep, &options)?;
        volume.write_at(0, &plain()).unwrap();
        Ok(volume.into_device().into_bytes())
    }

    /// Opens a volume with its header on `device`.
    pub fn open(
        self,
        device: Arc<TestDevice>,
        data: &[u8],
        credential: Credential<'_>,
        options: OpenOptions,
    ) -> Result<Volume<Arc<dyn BlockDevice>>> {
        if self.detached {
            let data: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::from_bytes(data.to_vec()));
            Volume::open(data, credential, &options.header(device))
        } else {
            let device: Arc<dyn BlockDevice> = device;
            Volume::open(device, credential, &options)
        }
    }
}

/// The start of an operation: a volume with `KEEP` and `OLD`, and in LUKS2 a token.
pub struct World {
    pub kind: Kind,
    pub vault: MemoryVault,
    /// The bytes of the device under test.
    pub before: Vec<u8>,
    /// The bytes of the data device, if the header is detached.
    pub data: Vec<u8>,
    /// Headers and areas that were checked. Most crashes leave the same ones, and a check is slow.
    tried: RefCell<HashSet<Vec<u8>>>,
}

impl World {
    pub fn new(kind: Kind) -> Self {
        let vault = MemoryVault::new("memory:one");
        let device = shared(vec![0; kind.device_size()]);
        let data = kind.format(device.clone()).unwrap();
        let world = World { kind, vault, before: Vec::new(), data, tried: RefCell::default() };
        let volume = world.volume(&device);
        volume.add_protector(Protector::Passphrase(OLD), &cost().id(kind.ids()[1])).unwrap();
        if !kind.is_luks1() {
            volume.add_protector(Protector::Vault(&world.vault, "disks"), &cost()).unwrap();
        }
        World { before: device.bytes(), ..world }
    }

    /// The volume on `device`, opened with `KEEP`.
    pub fn volume(&self, device: &Arc<TestDevice>) -> Volume<Arc<dyn BlockDevice>> {
        self.open(device, Credential::Passphrase(KEEP)).unwrap()
    }

    pub fn open(&self, device: &Arc<TestDevice>, credential: Credential<'_>) -> Result<Volume<Arc<dyn BlockDevice>>> {
        self.kind.open(device.clone(), &self.data, credential, OpenOptions::new())
    }

    /// Checks that each way in opens the volume read-only, and that the data is there.
    pub fn check_ways_in(&self, what: &str, device: &Arc<TestDevice>) {
        let header = Header::load(device).unwrap();
        let bytes = device.bytes();
        let start = if self.kind.is_luks1() { 0..592 } else { JSON..COPY };
        let areas =
            header.keyslots().into_iter().map(|k| k.area_offset as usize..(k.area_offset + k.area_size) as usize);
        let parts = areas.chain([start]).map(|range| Sha256::digest(&bytes[range]).to_vec());
        if !self.tried.borrow_mut().insert(parts.collect::<Vec<_>>().concat()) {
            return;
        }
        let [_, old, new] = self.kind.ids();
        let mut credentials = Vec::new();
        let ours = |token: &TokenInfo| token.kind == "atrest";
        let bound = header.tokens().into_iter().filter(ours).find(|token| !token.keyslots.is_empty());
        let of_token = bound.map(|token| {
            let json = header.metadata_json().unwrap();
            let secret = token_passphrase(json, header.uuid(), token.id, &self.vault, &TokenOptions::new()).unwrap();
            (token.keyslots, secret)
        });
        for keyslot in header.keyslots() {
            let mine = match keyslot.id {
                id if of_token.as_ref().is_some_and(|(bound, _)| bound.contains(&id)) => {
                    of_token.as_ref().unwrap().1.expose()
                }
                id if id == old => OLD,
                id if id == new => NEW,
                _ => KEEP,
            };
            credentials.push((Credential::Passphrase(mine), OpenOptions::new().keyslot(keyslot.id)));
        }
        if header.tokens().iter().any(ours) {
            credentials.push((Credential::Vault(&self.vault), OpenOptions::new()));
        }
        drop(header);
        for (credential, options) in credentials {
            let volume = self.kind.open(device.clone(), &self.data, credential, options.read_only(true));
            let volume = volume.unwrap_or_else(|e| panic!("{what}: {credential:?}: {e:?}"));
            assert!(holds_plain(&volume), "{what}: {credential:?}: the data is gone");
        }
    }
}

/// The parts of a header that operations change, as text.
pub fn described(device: &dyn BlockDevice) -> String {
    let header = Header::load(device).unwrap();
    let mut keyslots: Vec<String> = Vec::new();
    for keyslot in header.keyslots() {
        let priority = match keyslot.priority {
            Priority::Normal => "",
            Priority::Prefer => "!",
            Priority::Ignore => "?",
        };
        keyslots.push(format!("{}{priority}:{}", keyslot.id, keyslot.kind));
    }
    let tokens: Vec<String> = header
        .tokens()
        .iter()
        .map(|t| format!("{}:{}{:?}", t.kind, t.key_url.as_deref().unwrap_or_default(), t.keyslots))
        .collect();
    format!("{keyslots:?} {tokens:?} {:?}", header.label())
}

/// The bytes of a keyslot's area.
pub fn area(image: &[u8], id: u32) -> std::ops::Range<usize> {
    let device = MemoryDevice::from_bytes(image.to_vec());
    let keyslots = Header::load(&device).unwrap().keyslots();
    let keyslot = keyslots.iter().find(|keyslot| keyslot.id == id).unwrap();
    // The key material, without the padding of the area.
    keyslot.area_offset as usize..keyslot.area_offset as usize + keyslot.key_bits as usize / 8 * 4000
}

/// Whether any sector of `area` is unchanged.
pub fn left_over(area: std::ops::Range<usize>, was: &[u8], is: &[u8]) -> bool {
    was[area.clone()].chunks(512).zip(is[area].chunks(512)).any(|(was, is)| was == is)
}

pub fn remove(volume: &Volume<impl BlockDevice>, id: ProtectorId) -> Result<()> {
    volume.header().remove_protector(id)
}
