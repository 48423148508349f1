//! The keys of a cache, derived from a secret of its disk and the salt in its file.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use atrest::managed::SecretHolder;
use atrest::{Result, Secret, SectorCipher, SectorSize, SectorUnit, hazmat};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::derive::expand;
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
    blocks: Hmac<Sha256>,
    records: Hmac<Sha256>,
}

impl Keys {
    fn derive(secret: &Secret, salt: &[u8; 32]) -> Result<Self> {
        let data = expand(secret, salt, "atrest host cache v1 data", 64);
        let mac = |info| {
            let key = expand(secret, salt, info, 32);
            Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length")
        };
        Ok(Keys {
            cipher: hazmat::dek_from_bytes(data.expose())?.sector_cipher(SectorSize::B4096, SectorUnit::Sector)?,
            blocks: mac("atrest host cache v1 blocks"),
            records: mac("atrest host cache v1 records"),
        })
    }

    /// Encrypts a block in place, and returns its tag.
    pub(super) fn seal(&self, place: Place, block: &mut [u8]) -> Result<[u8; TAG]> {
        self.cipher.encrypt_unit(tweak(place), block)?;
        Ok(self.tag(place, block))
    }

    /// As [`seal`](Self::seal), of a block that must not change.
    pub(super) fn seal_to(&self, place: Place, block: &[u8], sealed: &mut [u8]) -> Result<[u8; TAG]> {
        self.cipher.encrypt_unit_to(tweak(place), block, sealed)?;
        Ok(self.tag(place, sealed))
    }

    /// Decrypts a block in place, if it is the one with this tag. Otherwise it stays as it is.
    pub(super) fn open(&self, place: Place, tag: &[u8; TAG], block: &mut [u8]) -> Result<bool> {
        let right: bool = self.tag(place, block).ct_eq(tag).into();
        if right {
            self.unseal(place, block)?;
        }
        Ok(right)
    }

    /// Decrypts a block that was sealed just now.
    pub(super) fn unseal(&self, place: Place, block: &mut [u8]) -> Result<()> {
        self.cipher.decrypt_unit(tweak(place), block)
    }

    fn tag(&self, place: Place, sealed: &[u8]) -> [u8; TAG] {
        let mac = self.blocks.clone().chain_update(place.block.to_be_bytes()).chain_update(place.slot.to_be_bytes());
        let mac = mac.chain_update(place.generation.to_be_bytes()).chain_update(sealed).finalize().into_bytes();
        *mac.first_chunk().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// The MAC of a record of this kind.
    pub(super) fn mac(&self, kind: &[u8; 8], record: &[u8]) -> [u8; MAC] {
        self.records.clone().chain_update(kind).chain_update(record).finalize().into_bytes().into()
    }

    pub(super) fn is_mac(&self, kind: &[u8; 8], record: &[u8], mac: &[u8]) -> bool {
        self.mac(kind, record).ct_eq(mac).into()
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
