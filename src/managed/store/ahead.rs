//! Records that are read several at once, ahead of their use one by one.

use super::layer::Records;
use super::queue::Queue;
use super::shared::MAX_PAGE;
use crate::Result;
use crate::managed::records::{Resource, ResourceName};

/// A resource that is about to be used, and its record, if that was read ahead.
pub(in crate::managed) struct Ahead {
    pub(in crate::managed) name: ResourceName,
    /// The record, and the [state](Records::changes) of the store in which it was read.
    pub(in crate::managed) read: Option<(u64, Resource)>,
}

impl Ahead {
    /// A resource whose record is yet to be read.
    pub(in crate::managed) fn unread(name: &ResourceName) -> Self {
        Ahead { name: name.clone(), read: None }
    }
}

impl Records {
    /// Reads the records of resources at once. If one can't be read, or others change the store, too, all stay unread, and are read when
    /// they are used: only the use of that one fails.
    pub(in crate::managed) fn ahead(&self, names: Vec<ResourceName>) -> impl Iterator<Item = Ahead> {
        let found = self.changes().and_then(|as_of| {
            let found: Result<_> = self.resources_of(&names);
            found.ok().map(|found| (as_of, found))
        });
        let (as_of, mut found) = found.unwrap_or_default();
        found.resize(names.len(), None);
        let read = found.into_iter().map(move |resource| resource.map(|resource| (as_of, resource)));
        names.into_iter().zip(read).map(|(name, read)| Ahead { name, read })
    }

    /// How many members there are, of the platform's those for which `counts` holds.
    pub(in crate::managed) fn count(&self, queue: &Queue, counts: &dyn Fn(&Resource) -> bool) -> Result<usize> {
        if let (Some(file), Queue::Set(_)) = (&self.file, queue) {
            return file.count(&queue.prefix());
        }
        let (mut count, mut after) = (0, None);
        loop {
            let (names, next) = self.queue_page(queue, after.as_deref(), None, MAX_PAGE, counts)?;
            count += names.len();
            match next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }
}
