//! The keys of a cache, derived from a secret of its disk and the salt in its file.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use atrest::key::{HmacSha256, hkdf_sha256};
use atrest::managed::SecretHolder;
use atrest::{Result, Secret, SectorCipher, SectorSize, SectorUnit, hazmat};
use subtle::ConstantTimeEq;

use super::keeper::CacheKeeper;

/// The label under which a cache asks its disk's keeper for its secret.
const LABEL: &str = "host cache";

/// The length of a block's tag.
pub(super) const TAG: usize = 16;

/// The length of a MAC over a header, a mark or a journal's sector.
pub(super) const MAC: usize = 32;

/// The place of an encrypted block. A generation is used once, so that no two blocks share a tweak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) slot: u32,
    pub(super) generation: u64,
}

pub(super) struct Keys {
    cipher: Box<SectorCipher>,
    blocks: HmacSha256,
    records: HmacSha256,
}

impl Keys {
    fn derive(secret: &Secret, salt: &[u8; 32]) -> Result<Self> {
        let derive = |part, len| hkdf_sha256(secret, salt, format!("atrest host cache v1 {part}").as_bytes(), len);
        let mac = |part| HmacSha256::new(derive(part, 32)?.expose());
        let data = derive("data", 64)?;
        Ok(Keys {
            cipher: hazmat::dek_from_bytes(data.expose())?.sector_cipher(SectorSize::B4096, SectorUnit::Sector)?,
            blocks: mac("blocks")?,
            records: mac("records")?,
        })
    }

    /// Encrypts a block in place, and returns its tag.
    pub(super) fn seal(&self, place: Place, block: &mut [u8]) -> Result<[u8; TAG]> {
        self.cipher.encrypt_unit(tweak(place), block)?;
        self.tag(place, block)
    }

    /// As [`seal`](Self::seal), of a block that must not change.
    pub(super) fn seal_to(&self, place: Place, block: &[u8], sealed: &mut [u8]) -> Result<[u8; TAG]> {
        self.cipher.encrypt_unit_to(tweak(place), block, sealed)?;
        self.tag(place, sealed)
    }

    /// Decrypts a block in place, if it is the one with this tag. Otherwise it stays as it is.
    pub(super) fn open(&self, place: Place, tag: &[u8; TAG], block: &mut [u8]) -> Result<bool> {
        let right: bool = self.tag(place, block)?.ct_eq(tag).into();
        if right {
            self.unseal(place, block)?;
        }
        Ok(right)
    }

    /// Decrypts a block that was sealed just now.
    pub(super) fn unseal(&self, place: Place, block: &mut [u8]) -> Result<()> {
        self.cipher.decrypt_unit(tweak(place), block)
    }

    fn tag(&self, place: Place, sealed: &[u8]) -> Result<[u8; TAG]> {
        let Place { block, slot, generation } = place;
        let (block, slot, generation) = (block.to_be_bytes(), slot.to_be_bytes(), generation.to_be_bytes());
        let mac = self.blocks.mac(&[&block, &slot, &generation, sealed])?;
        Ok(*mac.first_chunk().expect("HMAC-SHA-256 has 32 bytes"))
    }

    /// The MAC of a record of this kind.
    pub(super) fn mac(&self, kind: &[u8; 8], record: &[u8]) -> Result<[u8; MAC]> {
        self.records.mac(&[kind, record])
    }

    pub(super) fn is_mac(&self, kind: &[u8; 8], record: &[u8], mac: &[u8]) -> Result<bool> {
        self.records.verify(&[kind, record], mac)
    }
}

fn tweak(place: Place) -> [u8; 16] {
    (u128::from(place.slot) << 64 | u128::from(place.generation)).to_le_bytes()
}

/// The keys while the disk's key may be used.
pub(super) struct Keyring {
    salt: [u8; 32],
    keys: ArcSwapOption<Keys>,
}

impl Keyring {
    pub(super) fn new(salt: [u8; 32]) -> Arc<Self> {
        Arc::new(Keyring { salt, keys: ArcSwapOption::empty() })
    }

    /// The keys, if the disk's key may be used now.
    pub(super) fn get(self: &Arc<Self>, keeper: &dyn CacheKeeper) -> Result<Arc<Keys>> {
        keeper.check_key()?;
        loop {
            if let Some(keys) = self.keys.load_full() {
                return Ok(keys);
            }
            keeper.lend_secret(LABEL, &(self.clone() as Arc<dyn SecretHolder>))?;
        }
    }

    /// Whether they are in memory.
    pub(super) fn is_held(&self) -> bool {
        self.keys.load().is_some()
    }
}

impl SecretHolder for Keyring {
    fn hold(&self, secret: Secret) -> Result<()> {
        self.keys.store(Some(Arc::new(Keys::derive(&secret, &self.salt)?)));
        Ok(())
    }

    fn wipe(&self) {
        self.keys.store(None);
    }
}
