//! [`Registry`]: who uses a resource finds the others who do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::resource::LiveResource;
use crate::Result;
use crate::managed::keys::Access;
use crate::managed::records::{Resource, ResourceName};
use crate::managed::sync::lock;

/// Resources in use by id, so that all who use one share it, and nobody another that has got its name.
pub(in crate::managed) struct Registry {
    access: Arc<Access>,
    resources: Mutex<HashMap<String, Weak<LiveResource>>>,
}

impl Registry {
    pub(in crate::managed) fn new(access: Arc<Access>) -> Self {
        Registry { access, resources: Mutex::default() }
    }

    /// What all who use the resource of a name share.
    pub(in crate::managed) fn find(&self, name: &ResourceName) -> Result<Arc<LiveResource>> {
        Ok(self.of(&self.access.store.resource(name)?))
    }

    /// What all who use a resource share.
    pub(in crate::managed) fn of(&self, resource: &Resource) -> Arc<LiveResource> {
        let mut resources = lock(&self.resources);
        if let Some(live) = resources.get(&resource.id).and_then(Weak::upgrade) {
            return live;
        }
        let live = Arc::new(LiveResource::new(self.access.clone(), resource));
        resources.insert(resource.id.clone(), Arc::downgrade(&live));
        live
    }

    /// A resource that is the caller's to change while `act` runs.
    pub(in crate::managed) fn changing<T>(
        &self,
        name: &ResourceName,
        act: impl FnOnce(&Arc<LiveResource>, Resource) -> Result<T>,
    ) -> Result<T> {
        let store = &self.access.store;
        loop {
            let unchanged = store.changes();
            let mut resource = store.resource(name)?;
            let live = self.of(&resource);
            let _alone = live.changing();
            if unchanged.is_none() || store.changes() != unchanged {
                resource = store.resource(name)?;
            }
            // While we waited, another may have got the name.
            if resource.id == live.id {
                return act(&live, resource);
            }
        }
    }

    /// All resources in use.
    pub(in crate::managed) fn all(&self) -> Vec<Arc<LiveResource>> {
        let mut resources = lock(&self.resources);
        resources.retain(|_, live| live.strong_count() > 0);
        resources.values().filter_map(Weak::upgrade).collect()
    }
}
