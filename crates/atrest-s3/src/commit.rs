//! Syncs: new objects for the changes, and a manifest that names all of them at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use atrest_http::{Deadline, fan_out};

use crate::bucket::{Only, Swapped};
use crate::dirty::{Buffer, Change, Changes, put_back};
use crate::disk::{Disk, ROOT};
use crate::failure::{late, unexpected};
use crate::manifest::{Entry, Named, PER_PAGE, Page, Root};

/// How many pages are read at once, of 64 KiB each.
const AT_ONCE: usize = 256;

/// The state at the begin of a commit.
struct Plan {
    old: Root,
    etag: String,
    size: u64,
    cut: u64,
    /// The names of all objects that it writes.
    entry: Entry,
}

/// The results of a commit.
#[derive(Default)]
struct Done {
    /// The place of each changed chunk; none if it is zeros.
    chunks: BTreeMap<u64, Entry>,
    pages: BTreeMap<u64, Arc<Page>>,
    /// Objects of the old manifest that the new one doesn't name.
    replaced: Vec<Named>,
}

impl Disk {
    /// Makes all writes durable that were acknowledged before.
    pub fn commit(&self, deadline: Deadline) -> io::Result<()> {
        self.check()?;
        let _alone = self.committing.alone(deadline).ok_or_else(|| late("a sync"))?;
        self.commit_alone(deadline)
    }

    /// Sets the size, durably.
    pub fn resize(&self, deadline: Deadline, size: u64) -> io::Result<()> {
        self.check()?;
        let _alone = self.committing.alone(deadline).ok_or_else(|| late("setting the size"))?;
        self.check()?;
        {
            let mut state = self.state();
            if size < state.size {
                let chunks = Root::chunks(size, self.chunk_size as u32);
                state.dirty.split_off(&chunks);
                state.cut = state.cut.min(chunks);
                let within = (size % self.chunk_size as u64) as usize;
                if within > 0 {
                    // Data beyond the end must read as zeros if the disk grows again.
                    let buffer = match state.dirty.remove(&(chunks - 1)) {
                        Some(Change::Hole) => None,
                        Some(Change::Data(buffer)) => Some(buffer),
                        None => Some(Buffer::new(self.chunk_size)),
                    };
                    let change = buffer.map_or(Change::Hole, |mut buffer| {
                        buffer.zero(within..self.chunk_size);
                        Change::Data(buffer)
                    });
                    state.dirty.insert(chunks - 1, change);
                }
                state.dirty_cost = state.dirty.values().map(Change::cost).sum();
            }
            state.resized |= size != state.size;
            state.size = size;
        }
        self.commit_alone(deadline)
    }

    fn commit_alone(&self, deadline: Deadline) -> io::Result<()> {
        self.check()?;
        let (flushing, plan) = {
            let mut state = self.state();
            if state.dirty.is_empty() && !state.resized {
                return Ok(());
            }
            let entry = Entry { generation: state.next_generation, session: self.session };
            // A name is never used for two contents, not even after a failure: an upload may come late.
            state.next_generation += 1;
            let flushing = Arc::new(std::mem::take(&mut state.dirty));
            state.flushing = Some(flushing.clone());
            state.flushing_cost = std::mem::take(&mut state.dirty_cost);
            let plan =
                Plan { old: state.root.clone(), etag: state.etag.clone(), size: state.size, cut: state.cut, entry };
            (flushing, plan)
        };
        let mut done = Done::default();
        let written = self.write_out(deadline, &plan, &flushing, &mut done);
        drop(flushing);
        let mut state = self.state();
        // Readers use it only under the lock, so there is no other reference.
        let flushed = state.flushing.take().and_then(Arc::into_inner).expect("it is held by the state alone");
        state.flushing_cost = 0;
        let pages = done.pages.keys().map(|number| Named::Page(*number, plan.entry));
        let chunks = done.chunks.iter().filter(|(_, entry)| **entry != Entry::NONE);
        let mut objects: BTreeSet<_> = pages.chain(chunks.map(|(chunk, entry)| Named::Chunk(*chunk, *entry))).collect();
        match written {
            Ok((root, etag)) => {
                // Objects written by failed commits can't be named by a manifest any more, except those in this one.
                let strays =
                    std::mem::take(&mut state.attempted).into_iter().filter(|object| !objects.contains(object));
                let garbage: BTreeSet<_> = strays.chain(done.replaced).map(|object| self.key(&name(&object))).collect();
                state.garbage.extend(garbage);
                for (number, page) in done.pages {
                    state.remember(number, plan.entry, page);
                }
                (state.root, state.etag, state.cut, state.resized) = (root, etag, u64::MAX, false);
                let wake = !state.garbage.is_empty();
                drop(state);
                if wake && let Some(keeper) = self.wake.get() {
                    // It is awake already otherwise.
                    let _ = keeper.try_send(());
                }
                Ok(())
            }
            Err(e) => {
                // The new manifest may be there, or arrive late: until another one is, its objects stay. So do those whose
                // upload failed: they may be there all the same.
                let begun = flushed.iter().filter(|(_, change)| matches!(change, Change::Data(_)));
                objects.extend(begun.map(|(chunk, _)| Named::Chunk(*chunk, plan.entry)));
                state.attempted.extend(objects);
                put_back(&mut state.dirty, flushed, &done.chunks);
                state.dirty_cost = state.dirty.values().map(Change::cost).sum();
                Err(e)
            }
        }
    }

    /// Writes chunks, pages that name them, and the root.
    fn write_out(
        &self,
        deadline: Deadline,
        plan: &Plan,
        changes: &Changes,
        done: &mut Done,
    ) -> io::Result<(Root, String)> {
        let chunks = Mutex::new(BTreeMap::new());
        let uploaded = fan_out(changes.iter().collect(), self.parallel, |(chunk, change)| {
            let entry = self.upload(deadline, plan, *chunk, change)?;
            chunks.lock().unwrap_or_else(PoisonError::into_inner).insert(*chunk, entry);
            Ok::<(), io::Error>(())
        });
        done.chunks = chunks.into_inner().unwrap_or_else(PoisonError::into_inner);
        uploaded?;
        let entries = self.pages(deadline, plan, done)?;
        let pages: Vec<_> = done.pages.iter().collect();
        fan_out(pages, self.parallel, |(number, page)| {
            self.bucket.put(deadline, &self.key(&plan.entry.page(*number)), &page.encode(*number)?)
        })?;
        let Root { chunk_size, .. } = plan.old;
        let (generation, session) = (plan.entry.generation, self.session);
        let root = Root { chunk_size, size: plan.size, generation, session, pages: entries };
        let etag = self.swap(deadline, &root, plan.etag.clone())?;
        Ok((root, etag))
    }

    /// Writes a chunk, and returns its place.
    fn upload(&self, deadline: Deadline, plan: &Plan, chunk: u64, change: &Change) -> io::Result<Entry> {
        let buffer = match change {
            Change::Hole => return Ok(Entry::NONE),
            Change::Data(buffer) => buffer,
        };
        if let Some(uploaded) = buffer.uploaded {
            return Ok(uploaded);
        }
        let bytes = if buffer.is_full() {
            Cow::Borrowed(&buffer.bytes)
        } else {
            Cow::Owned(buffer.over(self.old_chunk(deadline, plan, chunk)?))
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Entry::NONE);
        }
        self.bucket.put(deadline, &self.key(&plan.entry.chunk(chunk)), &bytes)?;
        Ok(plan.entry)
    }

    /// A chunk as the old manifest has it. It doesn't change during a commit.
    fn old_chunk(&self, deadline: Deadline, plan: &Plan, chunk: u64) -> io::Result<Vec<u8>> {
        let number = chunk / PER_PAGE;
        let page = plan.old.pages.get(number as usize).copied().unwrap_or(Entry::NONE);
        let entry = match page {
            _ if chunk >= plan.cut => Entry::NONE,
            page => self.page(deadline, number, page)?.entries[(chunk % PER_PAGE) as usize],
        };
        if entry == Entry::NONE {
            return Ok(vec![0; self.chunk_size]);
        }
        match self.bucket.get(deadline, &self.key(&entry.chunk(chunk)), self.chunk_size)? {
            Some(found) if found.body.len() == self.chunk_size => Ok(found.body),
            Some(_) => Err(unexpected(format!("chunk {chunk} of {} is too short: the disk is damaged", self.folder))),
            None => Err(self.missing(deadline, "a chunk")),
        }
    }

    /// Makes the pages that change, and returns where all pages are then.
    fn pages(&self, deadline: Deadline, plan: &Plan, done: &mut Done) -> io::Result<Vec<Entry>> {
        let count = Root::chunks(plan.size, self.chunk_size as u32).div_ceil(PER_PAGE) as usize;
        let mut entries = plan.old.pages.clone();
        // The pages with changed chunks, and those from which chunks were cut off.
        let mut changed: BTreeSet<u64> = done.chunks.keys().map(|chunk| chunk / PER_PAGE).collect();
        changed.extend((plan.cut / PER_PAGE..entries.len() as u64).filter(|_| plan.cut != u64::MAX));
        entries.resize(count.max(entries.len()), Entry::NONE);
        let changed: Vec<_> = changed.into_iter().collect();
        for some in changed.chunks(AT_ONCE) {
            let read = Mutex::new(BTreeMap::new());
            let numbered: Vec<_> = some.iter().map(|number| (*number, entries[*number as usize])).collect();
            fan_out(numbered, self.parallel, |(number, entry)| {
                let page = self.page(deadline, number, entry)?;
                read.lock().unwrap_or_else(PoisonError::into_inner).insert(number, page);
                Ok::<(), io::Error>(())
            })?;
            for (number, old) in read.into_inner().unwrap_or_else(PoisonError::into_inner) {
                self.new_page(plan, number, &old, &mut entries[number as usize], done);
            }
        }
        entries.truncate(count);
        Ok(entries)
    }

    /// Makes the new version of a page, and stores its place in `place`.
    fn new_page(&self, plan: &Plan, number: u64, old: &Page, place: &mut Entry, done: &mut Done) {
        let mut page = old.clone();
        for (chunk, entry) in (number * PER_PAGE..).zip(&mut page.entries) {
            let (was, new) = (*entry, done.chunks.get(&chunk).copied());
            let kept = if chunk < plan.cut { was } else { Entry::NONE };
            *entry = new.unwrap_or(kept);
            if was != Entry::NONE && was != *entry {
                done.replaced.push(Named::Chunk(chunk, was));
            }
        }
        if page == *old {
            return;
        }
        if *place != Entry::NONE {
            done.replaced.push(Named::Page(number, *place));
        }
        *place = if page.is_empty() { Entry::NONE } else { plan.entry };
        if !page.is_empty() {
            done.pages.insert(number, Arc::new(page));
        }
    }

    /// Replaces the old root with the new one. If another root is there, the disk is lost, unless it is one of this session
    /// whose answer was lost.
    fn swap(&self, deadline: Deadline, root: &Root, mut etag: String) -> io::Result<String> {
        let (key, bytes) = (self.key(ROOT), root.encode()?);
        loop {
            match self.bucket.swap(deadline, &key, &bytes, Only::Match(&etag))? {
                Swapped::Done(etag) => return Ok(etag),
                Swapped::Other(None) => return Err(self.lose("it was removed")),
                Swapped::Other(Some(found)) => {
                    let other = Root::decode(&found.body)?;
                    if other.session != self.session || other.generation >= root.generation {
                        return Err(self.lose("another host took it over"));
                    }
                    etag = found.etag;
                }
            }
        }
    }
}

fn name(object: &Named) -> String {
    match *object {
        Named::Chunk(number, entry) => entry.chunk(number),
        Named::Page(number, entry) => entry.page(number),
    }
}
