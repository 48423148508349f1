//! The keys that wrap the DEKs of a resource, by its headers.

use super::resource::LiveResource;
use crate::Result;
use crate::key::KeyId;
use crate::managed::kek::{KeysOf, keys_in, keys_skimmed};
use crate::managed::records::Resource;
use crate::managed::sync::lock;

impl LiveResource {
    /// The keys that the header of each layer names, the upper one's first. They are not proven.
    pub(in crate::managed) fn keys(&self) -> Result<Vec<Vec<KeyId>>> {
        self.keys_by(None, keys_in)
    }

    /// As [`keys`](Self::keys), by a record of it that the caller has. `of_one` reads the header of one that is closed.
    fn keys_by(&self, record: Option<&Resource>, of_one: KeysOf) -> Result<Vec<Vec<KeyId>>> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        if open.is_none() {
            // The device of a suspended disk may still be open.
            self.finish_closing();
        }
        match (open, record) {
            (Some(layers), _) => layers.keys_on_device(),
            (None, Some(resource)) => self.access.keys_of(resource, of_one),
            (None, None) => self.access.keys_of(&self.record()?, of_one),
        }
    }

    /// The keys that the header directly on its device names (the lower of two layers). No vault is asked.
    fn bottom_keys(&self, resource: &Resource) -> Result<Vec<KeyId>> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        match open {
            Some(layers) => keys_in(layers.bottom().device()),
            None => {
                self.finish_closing();
                keys_in(&self.access.backend.open(&resource.region, &resource.id)?)
            }
        }
    }

    /// Whether the upper layer is proven to be under this key, and its header names only this key.
    pub(in crate::managed) fn is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        self.is_under_by(resource, key, keys_in)
    }

    /// The same for a rotation, by a [skimmed](keys_skimmed) header.
    pub(in crate::managed) fn seems_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        self.is_under_by(resource, key, keys_skimmed)
    }

    fn is_under_by(&self, resource: &Resource, key: &KeyId, of_one: KeysOf) -> Result<bool> {
        let says_so = |keys: &Vec<KeyId>| keys == core::slice::from_ref(key);
        Ok(resource.proven_key(0) == Some(key) && self.keys_by(Some(resource), of_one)?.first().is_some_and(says_so))
    }

    /// The same for a report, which on a shared store goes by the proof alone while it is closed.
    pub(in crate::managed) fn is_told_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        let proven = resource.proven_key(0) == Some(key);
        if proven && !self.is_left_closed() {
            self.is_under(resource, key)
        } else {
            Ok(proven && !resource.is_replaced(0))
        }
    }

    /// Whether it is closed, and not opened for a look at its header: for other hosts it would be busy meanwhile.
    fn is_left_closed(&self) -> bool {
        self.access.fleet.is_some() && self.read().layers.is_none()
    }

    /// As [`is_under`](Self::is_under), for the layer under the platform's key.
    pub(in crate::managed) fn bottom_is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        Ok(resource.platform_key() == Some(key) && self.bottom_keys(resource)? == core::slice::from_ref(key))
    }

    /// As [`is_told_under`](Self::is_told_under), for the layer under the platform's key.
    pub(in crate::managed) fn bottom_is_told_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        let proven = resource.platform_key() == Some(key);
        let told = proven && !resource.is_platform_replaced();
        if proven && !self.is_left_closed() { self.bottom_is_under(resource, key) } else { Ok(told) }
    }
}
