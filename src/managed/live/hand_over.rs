//! Closes a disk so that another host can open it.

use super::resource::LiveResource;
use crate::managed::sync::{lock, try_lock};
use crate::{Error, Result};

impl LiveResource {
    /// Closes it for good on this host, and durably; `promise` is called before its device is let go. Its users here can't use it
    /// any more, until another user has [come](Self::come).
    pub(in crate::managed) fn hand_over(&self, promise: impl FnOnce()) -> Result<()> {
        let copying = || Error::Busy { what: format!("the {} (a copy of it is being made)", self.name) };
        let _uncopied = try_lock(&self.copying).ok_or_else(copying)?;
        // It is this host's, then.
        self.with_layers(|_| Ok(()))?;
        self.write().draining += 1;
        self.in_flight.wait_for_none();
        let done = self.close_for_others(promise);
        self.write().draining -= 1;
        done
    }

    fn close_for_others(&self, promise: impl FnOnce()) -> Result<()> {
        // Nobody opens it meanwhile, and after this lock is free again nobody does, because it is away.
        let _one = lock(&self.opening);
        // Waits for all reads and writes.
        let mut held = self.write();
        // Before anything is refused: if that fails, it goes on here.
        held.layers.iter().try_for_each(|layers| layers.sync())?;
        self.leave(promise);
        self.take_layers(&mut held);
        drop(held);
        self.finish_closing();
        Ok(())
    }
}
