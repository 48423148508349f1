//! [`Registry`]: makes all users of a resource share one instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::resource::LiveResource;
use super::using::{Users, Using};
use crate::managed::keys::Access;
use crate::managed::records::{Resource, ResourceName};
use crate::managed::store::Ahead;
use crate::managed::sync::lock;
use crate::{Error, Result};

/// Resources in use, by id. All users of one share it, and nobody gets another one that took its name.
pub(in crate::managed) struct Registry {
    access: Arc<Access>,
    resources: Mutex<HashMap<String, Entry>>,
}

/// A resource as of a moment, after which another thread of this host may change it.
pub(in crate::managed) struct Seen {
    live: Arc<LiveResource>,
    /// How often it was changed before; `None` if it was being changed.
    changes: Option<u64>,
}

/// A resource in use. The entry stays until the device is closed, which is after the last user has gone.
type Entry = (Weak<LiveResource>, Arc<Users>);

impl Registry {
    pub(in crate::managed) fn new(access: Arc<Access>) -> Self {
        Registry { access, resources: Mutex::default() }
    }

    /// The shared instance of the resource with this name.
    pub(in crate::managed) fn find(&self, name: &ResourceName) -> Result<Arc<LiveResource>> {
        Ok(self.of(&self.access.store.resource(name)?))
    }

    /// The shared instance of a resource.
    pub(in crate::managed) fn of(&self, resource: &Resource) -> Arc<LiveResource> {
        let mut resources = lock(&self.resources);
        let (known, users) = resources.entry(resource.id.clone()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let live = Arc::new(LiveResource::new(self.access.clone(), resource, users.join()));
            *known = Arc::downgrade(&live);
            live
        })
    }

    /// Makes threads that open the resource of this id wait until the returned value is dropped. The maker of a resource uses this:
    /// it still has the device open when others can first find the resource.
    pub(in crate::managed) fn making(&self, id: &str) -> Using {
        lock(&self.resources).entry(id.to_owned()).or_default().1.join()
    }

    /// Runs `act` while the caller alone may change the resource.
    pub(in crate::managed) fn changing<T>(
        &self,
        name: &ResourceName,
        act: impl FnOnce(&Arc<LiveResource>, Resource) -> Result<T>,
    ) -> Result<T> {
        self.changing_ahead(Ahead::unread(name), act)
    }

    /// As [`changing`](Self::changing), by the record that was read ahead, unless the store has changed since.
    pub(in crate::managed) fn changing_ahead<T>(
        &self,
        Ahead { name, mut read }: Ahead,
        act: impl FnOnce(&Arc<LiveResource>, Resource) -> Result<T>,
    ) -> Result<T> {
        let store = &self.access.store;
        loop {
            let (unchanged, mut resource) = match read.take() {
                Some((as_of, resource)) => (Some(as_of), resource),
                None => (store.changes(), store.resource(&name)?),
            };
            let live = self.of(&resource);
            let _alone = live.changing();
            if unchanged.is_none() || store.changes() != unchanged {
                resource = store.resource(&name)?;
            }
            // While we waited, another may have got the name.
            if resource.id == live.id {
                return act(&live, resource);
            }
        }
    }

    /// As [`changing`](Self::changing), while its device is this host's, so that no other host changes the resource either.
    pub(in crate::managed) fn changing_here<T>(
        &self,
        name: &ResourceName,
        act: impl FnOnce(&Arc<LiveResource>, Resource) -> Result<T>,
    ) -> Result<T> {
        self.changing(name, |live, resource| match live.here()? {
            // It may have changed before.
            Some(_here) => act(live, live.record()?),
            None => act(live, resource),
        })
    }

    /// A resource as of now, for [`changing_known`](Self::changing_known).
    pub(in crate::managed) fn seen(&self, resource: &Resource) -> Seen {
        let live = self.of(resource);
        let changes = live.changes();
        Seen { live, changes }
    }

    /// As [`changing`](Self::changing) for a resource whose record was read after it was `seen`, while no other host could change what
    /// `act` relies on. It is read again only if another thread of this host may have changed it since.
    ///
    /// # Errors
    /// [`Error::Busy`] if it was put into another set since; [`Error::NoSuchResource`] if it was removed.
    pub(in crate::managed) fn changing_known<T>(
        seen: &Seen,
        known: Resource,
        act: impl FnOnce(&Arc<LiveResource>, Resource) -> Result<T>,
    ) -> Result<T> {
        let live = &seen.live;
        let count = live.changing();
        if seen.changes.is_some_and(|before| before + 1 == *count) {
            return act(live, known);
        }
        let now = live.record()?;
        if (&now.set, &now.joining) != (&known.set, &known.joining) {
            return Err(Error::Busy { what: format!("the {}, which was put into another set meanwhile,", live.name) });
        }
        act(live, now)
    }

    /// All resources in use.
    pub(in crate::managed) fn all(&self) -> Vec<Arc<LiveResource>> {
        let mut resources = lock(&self.resources);
        resources.retain(|_, (live, users)| live.strong_count() > 0 || !users.are_gone());
        resources.values().filter_map(|(live, _)| live.upgrade()).collect()
    }
}
