//! The users of a resource. They keep its device for this host, even while its key may not be used and the device is closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::resource::LiveResource;
use super::stay::Stay;
use crate::Result;
use crate::managed::fleet::Here;
use crate::managed::sync::lock;

/// A user's part of a resource in use.
#[derive(Clone)]
pub(in crate::managed) struct User {
    /// Counts as a user while it lives.
    _counted: Arc<()>,
    _stay: Option<Arc<Stay>>,
}

/// A user that is being registered, perhaps after the device was handed over. If that fails, the device stays handed over.
pub(in crate::managed) struct Coming<'l> {
    live: &'l LiveResource,
    /// On a shared store one comes after the other.
    _one: Option<MutexGuard<'l, ()>>,
    counted: Arc<()>,
    stay: Option<Arc<Stay>>,
    was_away: bool,
}

impl LiveResource {
    /// Keeps its device for this host while the returned value lives. Meanwhile no other host changes its record. `None` if no
    /// other host uses the store.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) if it is another host's; [`Error::DiskSuspended`](crate::Error::DiskSuspended) while this
    /// host may not use any.
    pub(in crate::managed) fn here(&self) -> Result<Option<Here>> {
        self.check_host()?;
        self.here_or_busy()
    }

    /// The same with [`Error::Busy`](crate::Error::Busy), too, while this host may not use any.
    pub(in crate::managed) fn here_or_busy(&self) -> Result<Option<Here>> {
        self.check_here()?;
        self.attach()
    }

    pub(super) fn attach(&self) -> Result<Option<Here>> {
        self.access.fleet.as_ref().map(|fleet| Here::attach(fleet, &self.id)).transpose()
    }

    /// Registers a user, and makes its device this host's, also if it was handed over: then only if no other host has it.
    pub(in crate::managed) fn come(&self) -> Result<Coming<'_>> {
        // From here on nobody can remove it.
        let counted = self.join()?;
        let mut coming = Coming { live: self, _one: None, counted, stay: None, was_away: false };
        if self.access.fleet.is_none() {
            return Ok(coming);
        }
        coming._one = Some(lock(&self.coming));
        let stay = {
            let mut known = lock(&self.stay);
            let stay = known.upgrade().unwrap_or_default();
            *known = Arc::downgrade(&stay);
            stay
        };
        {
            let mut here = lock(&stay.0);
            if here.is_none() {
                *here = self.attach()?;
            }
            coming.was_away = self.away.swap(false, Ordering::SeqCst);
        }
        coming.stay = Some(stay);
        Ok(coming)
    }

    /// Registers a user for a while: nobody can remove it, and its device stays this host's.
    pub(in crate::managed) fn visit(&self) -> Result<(Arc<()>, Option<Here>)> {
        Ok((self.join()?, self.here()?))
    }

    /// It is closed for its users here; `promise` is called before they let go of its device.
    pub(super) fn leave(&self, promise: impl FnOnce()) {
        let stay = lock(&self.stay).upgrade();
        let mut here = stay.as_ref().map(|stay| lock(&stay.0));
        self.away.store(true, Ordering::SeqCst);
        promise();
        drop(here.as_mut().and_then(|here| here.take()));
    }
}

impl Coming<'_> {
    /// It is open.
    pub(in crate::managed) fn came(mut self) -> User {
        if let Some(stay) = &self.stay {
            // Unless it was handed over again meanwhile.
            lock(&stay.0).iter().for_each(Here::keep);
        }
        self.was_away = false;
        User { _counted: self.counted.clone(), _stay: self.stay.clone() }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if self.was_away {
            let _one = lock(&self.live.opening);
            self.live.leave(|| {});
            // A user from before the handover may have opened it meanwhile.
            self.live.shut();
        }
    }
}
