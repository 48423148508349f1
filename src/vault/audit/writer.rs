//! Writing to an audit log, from many threads and processes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{self, Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use super::chain::{self, Chain};
use super::entry::{Archived, AuditEntry, AuditHead, AuditRecord, Use};
use super::kept::{Kept, Locked, lock};
use super::log::{AuditLog, next_line};
use crate::fs::{self, Links};
use crate::log::tell;
use crate::{Clock, Error, Result, Secret};

/// How much of a log is read to find its end. It has room for dozens of lines, because one is much shorter than 4 KiB.
const WINDOW: u64 = 64 << 10;
/// How much is read if the end is damaged, so that the numbers of intact entries there are not used again.
const SEARCH: u64 = 64 << 20;
/// The most characters kept of a name that a stranger chose.
const MAX_NAME: usize = 256;
/// The most entries of other threads that a thread writes with its own. They fit into `WINDOW`, in which writers look for the end.
const MAX_BATCH: usize = 63;
/// How often a thread looks for the lock before it sleeps: some 10 us.
const SPINS: usize = 250;
/// The operation that archives a log. Afterwards the file may be another log.
pub(in super::super) const ARCHIVE: &str = "archiveAudit";

pub(in super::super) struct AuditWriter {
    path: PathBuf,
    key: Secret,
    known: Mutex<Known>,
    /// The uses whose threads wait for `known`. The thread that gets it writes all of them.
    waiting: Mutex<Vec<Arc<Waiting>>>,
}

/// A use whose entry is to be written.
struct Waiting {
    used: Use,
    outcome: &'static str,
    clock: Arc<dyn Clock>,
    sync: bool,
    /// The head after its entry, once that is written.
    written: OnceLock<AuditHead>,
}

/// The state of the log as a handle knows it.
#[derive(Default)]
struct Known {
    /// Its end when this handle last wrote to it.
    end: Option<End>,
    /// Its file, open but not locked: opening it for each use would take longer than writing the entry.
    kept: Option<Kept>,
}

#[derive(Clone, Copy)]
struct End {
    len: u64,
    head: AuditHead,
}

impl AuditWriter {
    pub(in super::super) fn new(path: PathBuf, key: Secret) -> Self {
        AuditWriter { path, key, known: Mutex::default(), waiting: Mutex::default() }
    }

    /// Writes the entry of a use, together with those of all threads that wait meanwhile: one lock, one write, and one wait
    /// for the disk if any of them wants to `sync`. `record` is as for [`begin`](Self::begin).
    pub(in super::super) fn log(
        &self,
        used: Use,
        outcome: &'static str,
        clock: &Arc<dyn Clock>,
        sync: bool,
        record: impl FnOnce() -> Result<AuditRecord>,
    ) -> Result<AuditHead> {
        let own = Arc::new(Waiting { used, outcome, clock: clock.clone(), sync, written: OnceLock::new() });
        self.waiting().push(own.clone());
        let known = self.known_unless(|| own.written.get().is_some());
        // The thread that had the lock before may have written it.
        if let Some(head) = own.written.get() {
            return Ok(*head);
        }
        let known = known.unwrap_or_else(|| self.known());
        // Take it out before anything can fail: nobody may write the entry of a use that failed.
        self.waiting().retain(|other| !Arc::ptr_eq(other, &own));
        let mut log = self.begin_with(known, record)?;
        let others: Vec<_> = {
            let mut waiting = self.waiting();
            let len = waiting.len().min(MAX_BATCH);
            waiting.drain(..len).collect()
        };
        let sync = own.sync || others.iter().any(|other| other.sync);
        let all = || others.iter().chain([&own]).map(|each| (&each.used, each.outcome, each.clock.now()));
        match log.append_all(all(), sync) {
            Ok(heads) => {
                others.iter().chain([&own]).zip(&heads).for_each(|(each, head)| _ = each.written.set(*head));
                Ok(log.chain.head)
            }
            Err(e) if others.is_empty() => Err(e),
            // Each thread then writes its own entry, and gets its own result. The lock is still held until all are back in the list,
            // so no thread can miss its entry.
            Err(_) => {
                self.waiting().extend(others);
                log.append(&own.used, outcome, clock.now(), own.sync)
            }
        }
    }

    /// Takes the lock, or returns `None` once the own entry is `written`. Writing an entry without a sync takes some microseconds,
    /// less than sleeping and being woken. So this spins for about that long before it sleeps.
    fn known_unless(&self, written: impl Fn() -> bool) -> Option<MutexGuard<'_, Known>> {
        for _ in 0..SPINS {
            match self.known.try_lock() {
                Ok(known) => return Some(known),
                Err(sync::TryLockError::Poisoned(known)) => return Some(known.into_inner()),
                Err(sync::TryLockError::WouldBlock) if written() => return None,
                Err(sync::TryLockError::WouldBlock) => core::hint::spin_loop(),
            }
        }
        Some(self.known())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length of the log when this handle last wrote to it.
    pub(in super::super) fn len(&self) -> u64 {
        self.known().end.map_or(0, |end| end.len)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the log and finds its end. `record` reads the vault file's record of the log. It is called with the log
    /// locked, so that the log can't be archived meanwhile.
    pub(in super::super) fn begin(&self, record: impl FnOnce() -> Result<AuditRecord>) -> Result<Appending<'_>> {
        self.begin_with(self.known(), record)
    }

    fn begin_with<'a>(
        &'a self,
        mut known: MutexGuard<'a, Known>,
        record: impl FnOnce() -> Result<AuditRecord>,
    ) -> Result<Appending<'a>> {
        let failed = |e| self.failed("writing", e);
        let (file, mut len) = Kept::locked(&mut known.kept, &self.path).map_err(failed)?;
        let near = known.end.as_ref().map_or(Ok(None), |end| self.known_end(&file, len, end)).map_err(failed)?;
        let chain = match near {
            Some(chain) => chain,
            None => {
                let record = record()?;
                if record.is_archived(&file, len).map_err(failed)? {
                    file.set_len(0).map_err(failed)?;
                    len = 0;
                }
                self.find_end(&file, len, &record, known.end.as_ref()).map_err(failed)?
            }
        };
        if !chain.is_whole() {
            let path = self.path.display();
            tell!(warn, "the audit log {path} ends in bytes that are no entry; new entries follow them");
        }
        Ok(Appending { writer: self, known, file, len, chain, before: None })
    }

    /// The log's current head.
    pub(in super::super) fn head(&self, record: impl FnOnce() -> Result<AuditRecord>) -> Result<AuditHead> {
        let failed = |e| self.failed("reading", e);
        let known = self.known();
        let file = self.open_shared().map_err(failed)?;
        let record = record()?;
        let Some((file, len)) = file else { return Ok(record.anchor) };
        if record.is_archived(&file, len).map_err(failed)? {
            return Ok(record.start);
        }
        Ok(self.find_end(&file, len, &record, known.end.as_ref()).map_err(failed)?.head)
    }

    /// All entries, starting with the first.
    pub(in super::super) fn read(&self, record: impl FnOnce() -> Result<AuditRecord>) -> Result<AuditLog> {
        let failed = |e| self.failed("reading", e);
        let known = self.known().end;
        // The lock ensures that no line is half written.
        let mut file = self.open_shared().map_err(failed)?;
        let record = record()?;
        if let Some((log, len)) = &mut file {
            if record.is_archived(log, *len).map_err(failed)? {
                *len = 0;
            }
            log.rewind().and_then(|()| log.unlock()).map_err(failed)?;
        }
        let log = AuditLog::new(self.path.clone(), self.key.clone(), file, record.start).including(record.anchor);
        Ok(match known {
            Some(end) => log.including(end.head),
            None => log,
        })
    }

    fn open_shared(&self) -> io::Result<Option<(File, u64)>> {
        let file = match fs::open(OpenOptions::new().read(true), &self.path, Links::Refuse) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        lock(&file, File::try_lock_shared)?;
        let len = file.metadata()?.len();
        Ok(Some((file, len)))
    }

    /// The chain up to the end of the log, if the end is close to the one that this handle knows.
    fn known_end(&self, file: &File, len: u64, end: &End) -> io::Result<Option<Chain>> {
        // Another process may have archived the log and begun one of the same length.
        if !(end.len..=end.len + WINDOW).contains(&len) || !ends_at(file, end)? {
            return Ok(None);
        }
        let (chain, archived) = self.follow(file, Chain::new(end.head), end.len, len)?;
        Ok((!archived).then_some(chain))
    }

    /// The chain up to the end of the log. It is broken if the log is damaged, or lacks entries that the vault file or
    /// this handle knows.
    fn find_end(&self, file: &File, len: u64, record: &AuditRecord, known: Option<&End>) -> io::Result<Chain> {
        let anchor = record.length.or((record.anchor == record.start).then_some(0));
        let (head, at) = match known {
            Some(end) if end.head.seq > record.anchor.seq => (end.head, Some(end.len)),
            _ => (record.anchor, anchor),
        };
        let at = match at.filter(|&at| at <= len) {
            Some(0) => Some(0).filter(|_| head == record.start),
            Some(at) => ends_at(file, &End { len: at, head })?.then_some(at),
            None => None,
        };
        if let Some(at) = at.filter(|at| len - at <= WINDOW) {
            return Ok(self.follow(file, Chain::new(head), at, len)?.0);
        }
        let by_end = self.follow(file, Chain::seek(head), len.saturating_sub(WINDOW), len)?.0;
        if !by_end.is_broken() {
            return Ok(by_end);
        }
        let (from, start) = at.map_or((0, record.start), |at| (at, head));
        let to = len.min(from + SEARCH);
        let chain = self.follow(file, Chain::new(start), from, to)?.0;
        let newest = if by_end.head.seq > head.seq { by_end.head } else { head };
        if to == len && chain.head.seq >= newest.seq {
            return Ok(chain);
        }
        let newest = if chain.head.seq > newest.seq { chain.head } else { newest };
        Ok(by_end.lost(newest))
    }

    /// Takes the lines between two offsets into a chain. Also returns whether one of them archived the log.
    fn follow(&self, file: &File, mut chain: Chain, from: u64, to: u64) -> io::Result<(Chain, bool)> {
        let mut file = file;
        if from == to {
            return Ok((chain, false));
        }
        file.seek(SeekFrom::Start(from))?;
        let mut text = BufReader::with_capacity((to - from).clamp(1, WINDOW) as usize, file.take(to - from));
        let mut archived = false;
        loop {
            let line = next_line(&mut text)?;
            if line.is_empty() {
                return Ok((chain, archived));
            }
            archived |= chain.take(&self.key, &line).is_some_and(|proven| proven.entry.operation == ARCHIVE);
        }
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        Error::io(format!("{what} the audit log {}", self.path.display()), e)
    }
}

/// A locked log with its known end.
pub(in super::super) struct Appending<'a> {
    writer: &'a AuditWriter,
    /// Unlocked before `known` is free: otherwise the next thread would find the log locked, and sleep.
    file: Locked,
    known: MutexGuard<'a, Known>,
    len: u64,
    chain: Chain,
    /// The state before the last entry.
    before: Option<(u64, Chain)>,
}

impl Appending<'_> {
    pub(in super::super) fn len(&self) -> u64 {
        self.len
    }

    pub(in super::super) fn head(&self) -> AuditHead {
        self.chain.head
    }

    /// Appends an entry with one write of one line. `sync` waits for the disk.
    pub(in super::super) fn append(&mut self, used: &Use, outcome: &str, time: u64, sync: bool) -> Result<AuditHead> {
        self.append_all([(used, outcome, time)].into_iter(), sync)?;
        Ok(self.chain.head)
    }

    /// Appends entries with one write, all or none, and returns the head after each.
    fn append_all<'u>(
        &mut self,
        uses: impl Iterator<Item = (&'u Use, &'u str, u64)>,
        sync: bool,
    ) -> Result<Vec<AuditHead>> {
        let mut chain = self.chain.clone();
        let (mut lines, mut heads) = (Vec::with_capacity(256), Vec::new());
        for (used, outcome, time) in uses {
            let line = chain.make(&self.writer.key, entry_of(used, outcome, time)).ok_or_else(|| {
                let path = self.writer.path.display();
                let text = "has used up its numbers; make a new vault and re-wrap under it";
                Error::Vault(format!("its audit log {path} {text}").into())
            })?;
            lines.extend_from_slice(&line);
            heads.push(chain.head);
        }
        let written = self.write(&lines, sync);
        // If the disk is full, the partial line is removed: the use was not answered.
        written.inspect_err(|_| drop(self.file.set_len(self.len))).map_err(|e| self.writer.failed("writing", e))?;
        let before = core::mem::replace(&mut self.chain, chain);
        self.before = Some((self.len, before));
        self.len += lines.len() as u64;
        self.known.end = Some(End { len: self.len, head: self.chain.head });
        Ok(heads)
    }

    fn write(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        fs::write_all_at(&self.file, lines, self.len)?;
        if sync {
            self.file.sync_all()?;
            if self.len == 0 {
                fs::sync(&self.writer.path)?;
            }
        }
        Ok(())
    }

    /// Records that the last entry's operation failed: with one more entry or, if there is no room, by removing the
    /// last one.
    pub(in super::super) fn has_failed(&mut self, used: &Use, time: u64) {
        if self.append(used, "failed", time, true).is_err()
            && let Some((len, chain)) = self.before.take()
            && self.file.set_len(len).is_ok()
        {
            (self.len, self.chain, self.known.end) = (len, chain, None);
        }
    }

    /// The record of the log's current state for the vault file.
    pub(in super::super) fn record(&self, before: &AuditRecord) -> AuditRecord {
        let (anchor, length) = (self.chain.head, Some(self.len));
        AuditRecord { start: before.start, anchor, length, archived: None }
    }

    /// Copies the log and returns the record for the vault file. Once the file holds that record, the log counts as
    /// empty.
    pub(in super::super) fn copy_to(&mut self, mut copy: &File, path: &Path) -> Result<AuditRecord> {
        let mut copied = || {
            (&*self.file).rewind()?;
            let mut log = (&*self.file).take(self.len);
            let (mut piece, mut hash) = (vec![0; WINDOW as usize], Sha256::new());
            loop {
                let len = log.read(&mut piece)?;
                if len == 0 {
                    break;
                }
                hash.update(&piece[..len]);
                copy.write_all(&piece[..len])?;
            }
            copy.sync_all()?;
            fs::sync(path)?;
            Ok(hash.finalize().into())
        };
        let sha256 = copied().map_err(|e| Error::io(format!("copying the audit log to {}", path.display()), e))?;
        let archived = Some(Archived { length: self.len, sha256 });
        Ok(AuditRecord { start: self.chain.head, anchor: self.chain.head, length: Some(0), archived })
    }

    /// Empties the archived log. If that fails, the next writer does it.
    pub(in super::super) fn clear(mut self) {
        let _ = self.file.set_len(0).and_then(|()| self.file.sync_all());
        self.known.end = None;
    }
}

impl AuditRecord {
    /// Whether the log is an archived one that a killed process didn't empty.
    fn is_archived(&self, file: &File, len: u64) -> io::Result<bool> {
        let Some(archived) = self.archived.filter(|archived| archived.length == len) else { return Ok(false) };
        let (mut file, mut hash) = (file, Sha256::new());
        file.rewind()?;
        let (mut log, mut piece) = (file.take(len), vec![0; WINDOW as usize]);
        loop {
            match log.read(&mut piece)? {
                0 => return Ok(hash.finalize()[..] == archived.sha256),
                len => hash.update(&piece[..len]),
            }
        }
    }
}

/// Whether the head's line ends at the given offset.
fn ends_at(file: &File, end: &End) -> io::Result<bool> {
    let wanted = chain::end_of_line(&end.head);
    let Some(from) = end.len.checked_sub(wanted.len() as u64) else { return Ok(false) };
    let mut found = vec![0; wanted.len()];
    match fs::read_exact_at(file, &mut found, from) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| found == wanted),
    }
}

fn entry_of(used: &Use, outcome: &str, time: u64) -> AuditEntry {
    AuditEntry {
        seq: 0,
        time,
        identity: used.identity.as_deref().map(shortened),
        operation: used.operation.into(),
        key: used.key.as_deref().map(shortened),
        version: used.version.as_deref().map(shortened),
        subject: used.subject.as_deref().map(shortened),
        outcome: outcome.into(),
        torn: None,
        after: None,
    }
}

fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.into();
    }
    name.chars().take(MAX_NAME).collect()
}
