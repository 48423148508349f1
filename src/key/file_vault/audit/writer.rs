//! Writing to an audit log, from many threads and processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::chain::{self, Chain};
use super::{AuditEntry, AuditHead, AuditLog, AuditRecord, Use};
use crate::folder::{self, Links};
use crate::{Error, Result, Secret};

/// How much of a log is read to find its end: room for dozens of lines, since one is far shorter than 4 KiB.
const WINDOW: u64 = 64 << 10;
/// The most characters that are kept of a name which a stranger chose.
const MAX_NAME: usize = 256;
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

pub(in super::super) struct AuditWriter {
    path: PathBuf,
    key: Secret,
    /// Where the log ended when this handle wrote to it last.
    known: Mutex<Option<End>>,
}

#[derive(Clone)]
struct End {
    len: u64,
    head: AuditHead,
}

impl AuditWriter {
    pub(in super::super) fn new(path: PathBuf, key: Secret) -> Self {
        AuditWriter { path, key, known: Mutex::new(None) }
    }

    /// Appends an entry: one write of one line. `record` is what the vault file has of the log, read once the log is locked
    /// so that it isn't put aside meanwhile. `sync` waits for the disk.
    pub(in super::super) fn append(
        &self,
        record: impl FnOnce() -> Result<AuditRecord>,
        used: Use,
        outcome: &str,
        time: u64,
        sync: bool,
    ) -> Result<AuditHead> {
        let failed = |e| self.failed("writing", e);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.lock().map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let chain = self.known_end(&mut file, len, known.as_ref()).map_err(failed)?;
        let mut chain = match chain {
            Some(chain) => chain,
            None => self.find_end(&mut file, len, &record()?, known.as_ref()).map_err(failed)?,
        };

        // A line that a killed process has torn is ended, not taken away: nothing in the log is ever overwritten.
        let mut written = Vec::new();
        if chain.pending.last().is_some_and(|&byte| byte != b'\n') {
            written.push(b'\n');
            self.end_line(&mut chain);
        }
        let torn = chain.pending.len().checked_sub(written.len()).filter(|_| !chain.pending.is_empty());
        let entry = AuditEntry {
            seq: chain.head.seq + 1,
            time,
            identity: used.identity.map(shortened),
            operation: used.operation.into(),
            key: used.key.map(shortened),
            version: used.version.map(shortened),
            subject: used.subject.map(shortened),
            outcome: outcome.into(),
            torn: torn.map(|len| len as u64),
        };
        written.extend(chain.make(&self.key, &entry));
        // What was written of a line that found no room is taken back: nothing was answered for it.
        let wrote = file.seek(SeekFrom::Start(len)).and_then(|_| file.write_all(&written));
        wrote.inspect_err(|_| drop(file.set_len(len))).map_err(failed)?;
        if sync {
            file.sync_all().map_err(failed)?;
            if len == 0 {
                folder::sync(&self.path).map_err(failed)?;
            }
        }
        *known = Some(End { len: len + written.len() as u64, head: chain.head });
        Ok(chain.head)
    }

    /// How far the log goes now.
    pub(in super::super) fn head(&self, record: &AuditRecord) -> Result<AuditHead> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let mut file = match folder::open(OpenOptions::new().read(true), &self.path, Links::Refuse) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(record.anchor),
                file => file?,
            };
            lock(&file, File::try_lock_shared)?;
            let len = file.metadata()?.len();
            Ok(self.find_end(&mut file, len, record, known.as_ref())?.head)
        };
        read().map_err(|e| self.failed("reading", e))
    }

    /// The entries, from the first on.
    pub(in super::super) fn read(&self, record: &AuditRecord) -> Result<AuditLog> {
        let open = || {
            let file = match folder::open(OpenOptions::new().read(true), &self.path, Links::Refuse) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            // With the lock no line is half written.
            lock(&file, File::try_lock_shared)?;
            let len = file.metadata()?.len();
            file.unlock()?;
            Ok(Some(file.take(len)))
        };
        let file = open().map_err(|e| self.failed("reading", e))?;
        Ok(AuditLog::new(self.path.clone(), self.key.clone(), file, record))
    }

    /// Copies the log to a file that must not exist yet, has `commit` record how far it goes, and begins a new log.
    pub(in super::super) fn archive(
        &self,
        record: &AuditRecord,
        to: &Path,
        commit: impl FnOnce(AuditHead) -> Result<()>,
    ) -> Result<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut log = self.lock().map_err(|e| self.failed("reading", e))?;
        let copied = (|| {
            let len = log.metadata()?.len();
            let head = self.find_end(&mut log, len, record, known.as_ref())?.head;
            let mut copy = folder::create_new(to)?;
            let copied = log.rewind().and_then(|()| io::copy(&mut (&log).take(len), &mut copy));
            // Half a copy would stand in the way of the next attempt.
            copied.and_then(|_| copy.sync_all()).and_then(|()| folder::sync(to)).inspect_err(|_| {
                let _ = std::fs::remove_file(to);
            })?;
            Ok(head)
        })();
        let head = copied.map_err(|e| Error::io(format!("copying the audit log to {}", to.display()), e))?;
        commit(head).inspect_err(|_| drop(std::fs::remove_file(to)))?;
        log.set_len(0).and_then(|()| log.sync_all()).map_err(|e| self.failed("clearing", e))
    }

    /// The chain up to the end of the log, if that is not far behind where this handle has seen it.
    fn known_end(&self, file: &mut File, len: u64, known: Option<&End>) -> io::Result<Option<Chain>> {
        let Some(end) = known.filter(|end| (end.len..end.len + WINDOW).contains(&len)) else { return Ok(None) };
        // Another process may have put the log aside and begun one that is as long.
        let mac = chain::end_of_line(&end.head);
        let text = read_range(file, end.len - mac.len() as u64, len)?;
        let Some(rest) = text.strip_prefix(&mac[..]) else { return Ok(None) };
        let mut chain = Chain::new(end.head);
        self.follow(&mut chain, rest);
        Ok(Some(chain))
    }

    /// The chain up to the end of the log. Where the log ends before what is known of it, the chain goes on from what is
    /// known, and the gap shows.
    fn find_end(&self, file: &mut File, len: u64, record: &AuditRecord, known: Option<&End>) -> io::Result<Chain> {
        let mut chain = match len {
            ..=WINDOW => {
                let mut chain = Chain::new(record.start);
                self.follow(&mut chain, &read_range(file, 0, len)?);
                chain
            }
            _ => {
                let text = read_range(file, len - WINDOW, len)?;
                // The first whole line of the window is believed, for want of the one before; the second isn't.
                let mut lines = text.split_inclusive(|&byte| byte == b'\n').skip(1);
                let claim = |line: &[u8]| {
                    let (covered, mac) = chain::split(line.strip_suffix(b"\n")?)?;
                    let entry: AuditEntry = serde_json::from_slice(&[covered, b"}"].concat()).ok()?;
                    Some(AuditHead { seq: entry.seq, mac })
                };
                let mut chain = Chain::new(lines.by_ref().find_map(claim).unwrap_or_default());
                let rest: Vec<u8> = lines.flatten().copied().collect();
                self.follow(&mut chain, &rest);
                chain
            }
        };
        let known = known.map(|end| end.head).filter(|head| head.seq > record.anchor.seq).unwrap_or(record.anchor);
        if chain.head.seq < known.seq {
            chain.head = known;
        }
        Ok(chain)
    }

    fn follow(&self, chain: &mut Chain, text: &[u8]) {
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            if line.strip_suffix(b"\n").and_then(|line| chain.take(&self.key, line)).is_none() {
                chain.pending.extend_from_slice(line);
            }
        }
    }

    /// Ends the line that a chain ends in the middle of. One that lacked nothing else is an entry from then on.
    fn end_line(&self, chain: &mut Chain) {
        let start = chain.pending.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut before = chain.clone();
        let line = before.pending.split_off(start);
        let torn = before.pending.strip_suffix(b"\n").map(|torn| torn.len() as u64);
        match before.take(&self.key, &line) {
            Some(entry) if entry.torn == torn => *chain = before,
            _ => chain.pending.push(b'\n'),
        }
    }

    fn lock(&self) -> io::Result<File> {
        let file = folder::open_or_create(&self.path, Links::Refuse)?;
        lock(&file, File::try_lock)?;
        Ok(file)
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        Error::io(format!("{what} the audit log {}", self.path.display()), e)
    }
}

fn lock(file: &File, attempt: fn(&File) -> Result<(), TryLockError>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match attempt(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => sleep(Duration::from_micros(200)),
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

fn read_range(file: &mut File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(to - from).read_to_end(&mut text)?;
    Ok(text)
}

fn shortened(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    name.chars().take(MAX_NAME).collect()
}
