//! An open disk: its state, and the right to write it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use atrest::NotInherited;
use atrest_http::{Deadline, Gate, fan_out};

use crate::bucket::{Bucket, Only, Swapped};
use crate::dirty::Changes;
use crate::failure::{late, unexpected};
use crate::lock::{Holding, Lock};
use crate::manifest::{Entry, LONGEST, Named, PER_PAGE, Page, Root};
use crate::options::S3Options;

/// The object of a disk's manifest, below its folder.
pub(crate) const ROOT: &str = "root";
/// The object of a disk's lock, below its folder.
pub(crate) const LOCK: &str = "lock";
/// The step by which an opening raises the generation: beyond all commits that the previous holder may have begun. Objects that
/// these left behind are then of older generations.
const JUMP: u64 = 1 << 16;
/// How many pages of the manifest are kept in memory, of 64 KiB each.
const CACHED: usize = 256;
/// How long a disk that is dropped waits for its lock to be released.
const RELEASE: Duration = Duration::from_secs(5);

pub(crate) struct Disk {
    pub bucket: Arc<Bucket>,
    /// The prefix of all its keys, with a slash.
    pub folder: String,
    pub session: u64,
    /// The generation of the root that this opening wrote.
    pub claimed: u64,
    pub chunk_size: usize,
    pub parallel: usize,
    pub most_dirty: usize,
    lost: OnceLock<String>,
    lock: Lock,
    state: Mutex<State>,
    /// Held while a new manifest is made.
    pub committing: Gate,
    /// Held while replaced objects are deleted.
    tidying: Gate,
    /// Wakes the thread that deletes unnamed objects.
    pub wake: OnceLock<NotInherited<SyncSender<()>>>,
}

pub(crate) struct State {
    pub size: u64,
    /// Whether the size is another than the manifest's.
    pub resized: bool,
    /// Chunks from this one on were cut off, although the manifest names them.
    pub cut: u64,
    pub dirty: Changes,
    pub dirty_cost: usize,
    /// The changes that a commit under way writes.
    pub flushing: Option<Arc<Changes>>,
    pub flushing_cost: usize,
    /// The manifest, as it was written last.
    pub root: Root,
    pub etag: String,
    pages: BTreeMap<u64, (Entry, Arc<Page>)>,
    pub next_generation: u64,
    /// Objects of commits that failed.
    pub attempted: BTreeSet<Named>,
    /// Keys of objects that no manifest names any more.
    pub garbage: Vec<String>,
}

/// The place of a chunk, as far as the manifest is known.
pub(crate) enum Base {
    Zeros,
    Object(Entry),
    /// A page has to be read first.
    Unknown(u64, Entry),
}

impl Disk {
    /// Makes the manifest of a new disk. The kind of the error is `AlreadyExists` if there is one.
    pub fn create(bucket: Arc<Bucket>, folder: String, size: u64, options: &S3Options) -> io::Result<Self> {
        let (deadline, session) = (bucket.deadline(), session()?);
        let pages = Root::chunks(size, options.chunk_size).div_ceil(PER_PAGE);
        let pages = vec![Entry::NONE; pages as usize];
        let root = Root { chunk_size: options.chunk_size, size, generation: 1, session, pages };
        let etag = match bucket.swap(deadline, &format!("{folder}{ROOT}"), &root.encode()?, Only::New)? {
            Swapped::Done(etag) => etag,
            Swapped::Other(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        };
        let lock = lock(&bucket, deadline, &folder, session, options)?;
        Ok(Self::new(bucket, folder, root, etag, lock, options))
    }

    /// Takes a disk by writing a root of its own: the previous holder can't write another.
    pub fn open(bucket: Arc<Bucket>, folder: String, options: &S3Options) -> io::Result<Self> {
        let (deadline, session, key) = (bucket.deadline(), session()?, format!("{folder}{ROOT}"));
        let read = || {
            let found = bucket.get(deadline, &key, LONGEST)?.ok_or(io::ErrorKind::NotFound)?;
            Ok::<_, io::Error>((Root::decode(&found.body)?, found.etag))
        };
        // A disk that doesn't exist gets no lock.
        let _: (Root, String) = read()?;
        let lock = lock(&bucket, deadline, &folder, session, options)?;
        let claim = || loop {
            let (found, etag) = read()?;
            let root = Root { generation: found.generation + JUMP, session, ..found };
            match bucket.swap(deadline, &key, &root.encode()?, Only::Match(&etag))? {
                Swapped::Done(etag) => return Ok((root, etag)),
                // The one before wrote once more. It has to stop some time: at the deadline of these requests.
                Swapped::Other(_) => {}
            }
        };
        match claim() {
            Ok((root, etag)) => Ok(Self::new(bucket.clone(), folder, root, etag, lock, options)),
            Err(e) => {
                // The next try must not find it held.
                let holding = if lock.untidy { Holding::Untidy } else { Holding::Closed };
                let _ = lock.renew(&bucket, bucket.deadline().within(RELEASE), holding);
                Err(e)
            }
        }
    }

    fn new(bucket: Arc<Bucket>, folder: String, root: Root, etag: String, lock: Lock, options: &S3Options) -> Self {
        Disk {
            bucket,
            folder,
            session: root.session,
            claimed: root.generation,
            chunk_size: root.chunk_size as usize,
            parallel: options.parallel,
            most_dirty: options.most_dirty,
            lost: OnceLock::new(),
            lock,
            committing: Gate::default(),
            tidying: Gate::default(),
            wake: OnceLock::new(),
            state: Mutex::new(State {
                size: root.size,
                resized: false,
                cut: u64::MAX,
                dirty: Changes::new(),
                dirty_cost: 0,
                flushing: None,
                flushing_cost: 0,
                next_generation: root.generation + 1,
                root,
                etag,
                pages: BTreeMap::new(),
                attempted: BTreeSet::new(),
                garbage: Vec::new(),
            }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn key(&self, object: &str) -> String {
        format!("{}{object}", self.folder)
    }

    /// Whether it may be used. It takes no lock: call it first.
    pub fn check(&self) -> io::Result<()> {
        self.bucket.owner().check_io()?;
        self.lost.get().map_or(Ok(()), |text| Err(stale(text)))
    }

    /// Ends all reads and writes from here on.
    pub fn lose(&self, reason: &str) -> io::Error {
        let text = || {
            let folder = self.folder.trim_end_matches('/');
            format!("the disk {folder} is lost ({reason}): what wasn't synced is gone; open it again")
        };
        stale(self.lost.get_or_init(text))
    }

    pub fn is_untidy(&self) -> bool {
        self.lock.untidy
    }

    /// Gives a sign of life.
    pub fn renew(&self, deadline: Deadline) -> io::Result<()> {
        self.check()?;
        if self.lock.renew(&self.bucket, deadline, Holding::Open)? {
            return Ok(());
        }
        Err(self.lose("another host took it over"))
    }

    /// Gives the lock back. A forked child leaves it to its parent.
    pub fn release(&self) {
        if self.check().is_ok() {
            let state = self.state();
            let tidy = state.garbage.is_empty() && state.attempted.is_empty() && !self.lock.taken;
            drop(state);
            let holding = if tidy { Holding::Closed } else { Holding::Untidy };
            let _ = self.lock.renew(&self.bucket, self.bucket.deadline().within(RELEASE), holding);
            // Threads that still work on it stop.
            drop(self.lose("it was closed"));
        }
    }

    /// A page of the manifest, from memory or from the store.
    pub fn page(&self, deadline: Deadline, number: u64, entry: Entry) -> io::Result<Arc<Page>> {
        if entry == Entry::NONE {
            return Ok(Arc::new(Page::empty()));
        }
        if let Some((_, page)) = self.state().pages.get(&number).filter(|(found, _)| *found == entry) {
            return Ok(page.clone());
        }
        let found = self.bucket.get(deadline, &self.key(&entry.page(number)), LONGEST)?;
        let Some(found) = found else { return Err(self.missing(deadline, "a page of its manifest")) };
        let page = Arc::new(Page::decode(number, &found.body)?);
        self.state().remember(number, entry, page.clone());
        Ok(page)
    }

    /// Finds out why an object that the manifest names isn't there.
    pub fn missing(&self, deadline: Deadline, what: &str) -> io::Error {
        let found = match self.bucket.get(deadline, &self.key(ROOT), LONGEST) {
            Ok(found) => found,
            Err(e) => return e,
        };
        match found.map(|found| Root::decode(&found.body)) {
            None => self.lose("it was removed"),
            Some(Ok(root)) if root.session != self.session => self.lose("another host took it over"),
            Some(Err(e)) => e,
            Some(Ok(_)) => unexpected(format!("{what} is missing in {}: the disk is damaged", self.folder)),
        }
    }

    /// Deletes objects that no manifest names any more, and keeps those that can't be deleted now for later.
    pub fn tidy(&self, deadline: Deadline) -> io::Result<()> {
        self.check()?;
        let _alone = self.tidying.alone(deadline).ok_or_else(|| late("deleting replaced objects"))?;
        let garbage = self.state().garbage.clone();
        let (count, left) = (garbage.len(), Mutex::new(Vec::new()));
        let result = fan_out(garbage, self.parallel, |key| {
            if deadline.left().is_none() || self.bucket.delete(deadline, &key).is_err() {
                left.lock().unwrap_or_else(PoisonError::into_inner).push(key);
            }
            // Each is tried: a failure of one says nothing about the others.
            Ok::<(), io::Error>(())
        });
        let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = left.len();
        // A commit may have added some meanwhile.
        self.state().garbage.splice(..count, left);
        result?;
        if failed == 0 { Ok(()) } else { Err(io::Error::other(format!("{failed} objects couldn't be deleted"))) }
    }
}

impl State {
    /// The place of a chunk. `loaded` is a page that was read for it.
    pub fn base(&self, chunk: u64, loaded: Option<&(Entry, Arc<Page>)>) -> Base {
        let number = chunk / PER_PAGE;
        let entry = self.root.pages.get(number as usize).copied().unwrap_or(Entry::NONE);
        if chunk >= self.cut || entry == Entry::NONE {
            return Base::Zeros;
        }
        let page = loaded.filter(|(found, _)| *found == entry).or_else(|| self.pages.get(&number));
        let Some((_, page)) = page.filter(|(found, _)| *found == entry) else { return Base::Unknown(number, entry) };
        match page.entries[(chunk % PER_PAGE) as usize] {
            Entry::NONE => Base::Zeros,
            entry => Base::Object(entry),
        }
    }

    /// Keeps a page in memory.
    pub fn remember(&mut self, number: u64, entry: Entry, page: Arc<Page>) {
        if self.pages.len() >= CACHED && !self.pages.contains_key(&number) {
            // Any other will do: disks in use at more than 256 places of 4096 chunks are rare.
            let other = self.pages.keys().next().copied();
            other.map(|other| self.pages.remove(&other));
        }
        self.pages.insert(number, (entry, page));
    }
}

fn lock(bucket: &Bucket, deadline: Deadline, folder: &str, session: u64, options: &S3Options) -> io::Result<Lock> {
    let (key, seconds) = (format!("{folder}{LOCK}"), options.lock_seconds);
    Lock::acquire(bucket, deadline, key, session, seconds, options.take_over)
}

/// A number that no other session has.
fn session() -> io::Result<u64> {
    getrandom::u64().map_err(|_| io::Error::other("the operating system gives no random bytes"))
}

fn stale(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::StaleNetworkFileHandle, text.to_owned())
}
