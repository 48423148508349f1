//! Objects that no manifest names: leftovers of a crash.

use std::io;

use atrest_http::Deadline;

use crate::disk::{Base, Disk};
use crate::manifest::{Entry, Named, named};

impl Disk {
    /// Deletes objects of generations before this session's that the manifest doesn't name, and returns how many.
    ///
    /// Unnamed objects of older generations stay unnamed: manifests only add newer ones. Objects of this session are handled by
    /// the session itself.
    pub fn collect(&self) -> io::Result<u64> {
        self.check()?;
        let mut count = 0;
        self.bucket.list(&self.folder, false, |keys| {
            self.check()?;
            let deadline = self.bucket.deadline();
            for key in keys {
                let Some(object) = key.strip_prefix(&self.folder).and_then(named) else { continue };
                let (Named::Chunk(_, entry) | Named::Page(_, entry)) = object;
                if entry.generation < self.claimed && !self.is_named(deadline, object)? {
                    self.bucket.delete(self.bucket.deadline(), &key)?;
                    count += 1;
                }
            }
            Ok(())
        })?;
        Ok(count)
    }

    fn is_named(&self, deadline: Deadline, object: Named) -> io::Result<bool> {
        match object {
            Named::Page(number, entry) => {
                let pages =
                    usize::try_from(number).ok().and_then(|number| self.state().root.pages.get(number).copied());
                Ok(entry != Entry::NONE && pages == Some(entry))
            }
            Named::Chunk(chunk, entry) => {
                let mut loaded = None;
                loop {
                    let base = self.state().base(chunk, loaded.as_ref());
                    match base {
                        // A chunk that was cut off is named until that is committed.
                        Base::Zeros => return Ok(self.state().cut != u64::MAX),
                        Base::Object(now) => return Ok(now == entry),
                        Base::Unknown(number, page) => loaded = Some((page, self.page(deadline, number, page)?)),
                    }
                }
            }
        }
    }
}
