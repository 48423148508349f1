//! The keys in records: those that something may be under, and those that it was proved to be under.

use super::{EncryptionSet, Joining, PlatformKeys, Proof, Reencryption, ReencryptionKind, Resource};
use crate::EncryptionType;
use crate::key::KeyId;

impl Resource {
    pub(in crate::managed) fn has_two_layers(&self) -> bool {
        self.encryption_type == EncryptionType::PlatformAndCustomerKeys
    }

    /// The layer under the platform's key; 0 is the upper one.
    pub(in crate::managed) fn platform_layer(&self) -> Option<usize> {
        if self.has_two_layers() {
            return Some(1);
        }
        (self.set.is_none() || self.joining == Some(Joining::Platform)).then_some(0)
    }

    /// The last proof of a layer's key.
    pub(in crate::managed) fn proof(&self, layer: usize) -> Option<&Proof> {
        if layer == 0 { &self.proven } else { &self.proven_lower }.as_ref()
    }

    /// The last proven key of a layer.
    pub(in crate::managed) fn proven_key(&self, layer: usize) -> Option<&KeyId> {
        self.proof(layer).map(|proof| &proof.key)
    }

    /// The last proven key of the platform.
    pub(in crate::managed) fn platform_key(&self) -> Option<&KeyId> {
        self.platform_layer().and_then(|layer| self.proven_key(layer))
    }

    /// Whether a layer's header was found to be another one than was proved, and nobody has moved it since.
    pub(in crate::managed) fn is_replaced(&self, layer: usize) -> bool {
        self.replaced.contains(&layer)
    }

    /// The same for the layer under the platform's key.
    pub(in crate::managed) fn is_platform_replaced(&self) -> bool {
        self.platform_layer().is_some_and(|layer| self.is_replaced(layer))
    }

    /// Whether the layer under a key of the platform is proved to be under `key`.
    pub(in crate::managed) fn is_done_below(&self, key: &KeyId) -> bool {
        self.platform_key() == Some(key) && self.adopting.is_none() && !self.is_platform_replaced()
    }

    /// Notes whether the layer's header was found replaced. The proof stays: it detects an older header when the resource is
    /// opened. Returns whether that is news.
    pub(in crate::managed) fn note_replaced(&mut self, layer: usize, is: bool) -> bool {
        let was = self.is_replaced(layer);
        match is {
            true if !was => self.replaced.push(layer),
            _ => self.replaced.retain(|of| is || *of != layer),
        }
        is != was
    }

    /// Notes the proven key of a layer. Returns whether it changed.
    pub(in crate::managed) fn note_proven(&mut self, layer: usize, key: KeyId, now: u64) -> bool {
        let news = self.proven_key(layer) != Some(&key);
        if news {
            let proof = if layer == 0 { &mut self.proven } else { &mut self.proven_lower };
            *proof = Some(Proof { key, since: now });
        }
        news
    }

    /// The re-encryption that was ordered and is not finished.
    pub(in crate::managed) fn unfinished(&self) -> Option<&Reencryption> {
        self.reencryption.as_ref().filter(|reencryption| !reencryption.is_finished())
    }

    /// As [`unfinished`](Self::unfinished), to change it.
    pub(in crate::managed) fn unfinished_mut(&mut self) -> Option<&mut Reencryption> {
        self.reencryption.as_mut().filter(|reencryption| !reencryption.is_finished())
    }

    /// Whether a part of its device is plain.
    pub(in crate::managed) fn is_partly_plain(&self) -> bool {
        self.unfinished().is_some_and(|reencryption| reencryption.kind == ReencryptionKind::EncryptInPlace)
    }

    /// Whether it is still to become a volume.
    pub(in crate::managed) fn is_to_be_imported(&self) -> bool {
        self.is_partly_plain() && self.unfinished().is_some_and(|reencryption| reencryption.begun.is_none())
    }

    /// Whether it is being adopted, with an order of a new DEK.
    pub(in crate::managed) fn is_ordered_with_adoption(&self) -> bool {
        self.adopting.as_ref().is_some_and(|adopting| adopting.reencrypt)
    }

    /// Notes that a re-encryption is finished, whose DEK has encrypted so many blocks.
    pub(in crate::managed) fn note_reencrypted(&mut self, used: u64, now: u64) {
        let Some(done) = self.reencryption.as_mut().filter(|of| !of.is_finished()) else { return };
        (done.finished, done.done) = (Some(now), done.total);
        let Some(new) = done.fingerprint else { return };
        if done.kind == ReencryptionKind::Rekey {
            done.former = self.fingerprints.first().copied();
        }
        if let Some(fingerprint) = self.fingerprints.first_mut() {
            *fingerprint = new;
        }
        self.used_blocks[0] = used;
    }

    /// How much the DEKs that encrypt now have encrypted.
    pub(in crate::managed) fn used_now(&mut self) -> [&mut u64; 2] {
        let [upper, lower] = &mut self.used_blocks;
        let new = self.reencryption.as_mut().filter(|of| of.is_under_way());
        [new.map_or(upper, |of| &mut of.used_blocks), lower]
    }

    /// Notes how much the DEKs have encrypted, if it grew by at least `least` blocks.
    pub(in crate::managed) fn note_used(&mut self, used: [u64; 2], least: u64) -> bool {
        let mut news = false;
        for (known, used) in self.used_now().into_iter().zip(used) {
            if used.saturating_sub(*known) >= least {
                (*known, news) = (used, true);
            }
        }
        news
    }

    /// Notes the proven keys of each layer, the upper one's first. If there are several, the known one stays.
    pub(in crate::managed) fn note_keys(&mut self, keys: &[Vec<KeyId>], now: u64) -> bool {
        let mut news = false;
        for (layer, keys) in keys.iter().enumerate() {
            let known = self.proven_key(layer).filter(|known| keys.contains(known));
            if let Some(key) = known.or(keys.first()).cloned() {
                news |= self.note_proven(layer, key, now);
            }
        }
        news
    }
}

impl EncryptionSet {
    /// The keys that something in the set may be under, the active one first.
    pub(in crate::managed) fn in_use(&self) -> impl Iterator<Item = &KeyId> {
        core::iter::once(&self.active_key).chain(&self.previous_keys)
    }
}

impl PlatformKeys {
    /// The keys that something may be under, the active one first.
    pub(in crate::managed) fn in_use(&self) -> impl Iterator<Item = &KeyId> {
        core::iter::once(&self.active_key).chain(&self.previous_keys)
    }

    /// Whether a key was the active one before.
    pub(in crate::managed) fn knew(&self, key: &KeyId) -> bool {
        self.previous_keys.contains(key) || self.former_keys.contains(key)
    }
}

/// Whether two are versions of one key.
pub(in crate::managed) fn is_same(a: &KeyId, b: &KeyId) -> bool {
    (a.vault(), a.key()) == (b.vault(), b.key())
}

/// Whether a key is a version of the platform's key: the configured one, or an earlier one.
pub(in crate::managed) fn is_platforms(key: &KeyId, name: &str, known: Option<&PlatformKeys>) -> bool {
    let known = || known.into_iter().flat_map(|keys| keys.in_use().chain(&keys.former_keys));
    key.key() == name || known().any(|known| is_same(known, key))
}
