//! Volumes that are re-encrypted: from the vault `memory:one` to `memory:two`, or from one passphrase to another.

use std::sync::Arc;

use atrest::volume::{ReencryptOptions, Resilience};
use atrest::{BlockDevice, Credential, FormatOptions, OpenOptions, Protector, Result, SectorSize, Volume};

use super::device::TestDevice;
use super::keyslots::{NEW, OLD, cost};
use super::vaults::MemoryVault;
use super::volumes::{DATA, shared};

pub const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
pub const RESILIENCES: [Resilience; 2] = [Resilience::Checksum, Resilience::Journal];

/// What is done, from which sectors to which.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub old: u32,
    pub new: u32,
    pub resilience: Resilience,
    pub detached: bool,
}

impl Case {
    pub fn all() -> impl Iterator<Item = Case> {
        let pairs = SECTOR_SIZES.into_iter().flat_map(|old| SECTOR_SIZES.map(|new| (old, new)));
        let with = |(old, new)| RESILIENCES.into_iter().map(move |resilience| (old, new, resilience));
        pairs
            .flat_map(with)
            .flat_map(|(old, new, resilience)| [false, true].map(|detached| Case { old, new, resilience, detached }))
    }

    /// The size that all I/O has to be in meanwhile.
    pub fn unit(self) -> usize {
        self.old.max(self.new) as usize
    }

    /// What the device has to write whole or not at all: to tell by checksums what was written takes blocks.
    pub fn atom(self) -> usize {
        if self.resilience == Resilience::Checksum { self.unit() } else { 512 }
    }

    pub fn options(self) -> ReencryptOptions {
        let options = ReencryptOptions::new().resilience(self.resilience).keyslot(cost());
        options.sector_size(SectorSize::new(self.new).unwrap())
    }

    pub fn format_options(self) -> FormatOptions {
        // A detached header has room for itself up to the offset of the data, also on a device of its own.
        let options = FormatOptions::new().sector_size(SectorSize::new(self.old).unwrap()).keyslot(cost());
        options.data_offset(DATA as u64)
    }

    /// Where the header is, and where the data is: one device, unless the header is detached.
    pub fn disks(self, size: usize) -> Disks {
        let data = shared(vec![0; DATA + size]);
        let header = if self.detached { shared(vec![0; DATA]) } else { data.clone() };
        Disks { header, data }
    }
}

/// The device of a header, and that of its data.
#[derive(Clone)]
pub struct Disks {
    pub header: Arc<TestDevice>,
    pub data: Arc<TestDevice>,
}

impl Disks {
    pub fn is_detached(&self) -> bool {
        !Arc::ptr_eq(&self.header, &self.data)
    }

    pub fn format(&self, protector: Protector<'_>, options: FormatOptions) -> Volume<Arc<TestDevice>> {
        let options = if self.is_detached() { options.header(self.header.clone()) } else { options };
        Volume::format(self.data.clone(), protector, &options).unwrap()
    }

    pub fn open(&self, credential: Credential<'_>) -> Result<Volume<Arc<TestDevice>>> {
        self.open_with(credential, OpenOptions::new())
    }

    pub fn open_with(&self, credential: Credential<'_>, options: OpenOptions) -> Result<Volume<Arc<TestDevice>>> {
        let options = if self.is_detached() { options.header(self.header.clone()) } else { options };
        Volume::open(self.data.clone(), credential, &options)
    }

    /// The same bytes on other devices.
    pub fn copy(&self) -> Disks {
        let data = shared(self.data.bytes());
        let header = if self.is_detached() { shared(self.header.bytes()) } else { data.clone() };
        Disks { header, data }
    }
}

/// The vault before, and the vault afterwards.
pub fn vaults() -> [MemoryVault; 2] {
    ["memory:one", "memory:two"].map(MemoryVault::new)
}

/// Bytes that repeat nowhere, the same each time.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = |_| {
        // xorshift64: any noise will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(word).take(len).collect()
}

pub fn content<D: BlockDevice>(volume: &Volume<D>) -> Vec<u8> {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn finish<D: BlockDevice>(volume: &Volume<D>, budget: u64) {
    while !volume.reencrypt_step(budget).unwrap().is_finished() {}
    assert!(volume.reencryption().is_none());
}

/// Who opens the volume: before the beginning, 0, and after it, 1.
pub enum Keys {
    Vaults([MemoryVault; 2]),
    Passphrases,
}

impl Keys {
    pub fn vaults() -> Self {
        Keys::Vaults(vaults())
    }

    pub fn credential(&self, which: usize) -> Credential<'_> {
        match self {
            Keys::Vaults(vaults) => Credential::Vault(&vaults[which]),
            Keys::Passphrases => Credential::Passphrase([OLD, NEW][which]),
        }
    }

    pub fn protector(&self, which: usize) -> Protector<'_> {
        match self {
            Keys::Vaults(vaults) => Protector::Vault(&vaults[which], "disks"),
            Keys::Passphrases => Protector::Passphrase([OLD, NEW][which]),
        }
    }
}
