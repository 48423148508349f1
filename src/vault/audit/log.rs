//! Reading an audit log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::PathBuf;

use super::chain::Chain;
use super::entry::{AuditEntry, AuditHead};
use crate::{Error, Result, Secret};

const MAX_LINE: u64 = 64 << 10;

/// The entries of an audit log, each verified as it is read. An error ends them, unless the caller [reads
/// on](Self::past_damage).
///
/// A changed, removed or moved line is an error that names the line. So is a missing end, up to the last change of the
/// vault, the last entry that this handle wrote, and the heads given to [`including`](Self::including). A removal of
/// later entries is not detected.
pub struct AuditLog {
    path: PathBuf,
    key: Secret,
    text: Option<BufReader<Take<File>>>,
    /// The length of the log when it was opened.
    len: u64,
    chain: Chain,
    line: u64,
    /// The first line that doesn't follow from the chain.
    unfit: Option<u64>,
    /// Whether the error for it was returned.
    told: bool,
    /// The heads that must still come.
    expected: Vec<AuditHead>,
    /// Entries and errors found but not yet returned.
    found: VecDeque<Result<AuditEntry>>,
    past_damage: bool,
    ended: bool,
}

impl AuditLog {
    /// Reads a log from `file`, which comes with its length.
    pub(super) fn new(path: PathBuf, key: Secret, file: Option<(File, u64)>, start: AuditHead) -> Self {
        let len = file.as_ref().map_or(0, |(_, len)| *len);
        AuditLog {
            path,
            key,
            text: file.map(|(file, len)| BufReader::new(file.take(len))),
            len,
            chain: Chain::new(start),
            line: 0,
            unfit: None,
            told: false,
            expected: Vec::new(),
            found: VecDeque::new(),
            past_damage: false,
            ended: false,
        }
    }

    /// Expects the log to contain the entry of `head`, an earlier result of
    /// [`FileVault::audit_head`](crate::FileVault::audit_head).
    pub fn including(mut self, head: AuditHead) -> Self {
        self.expected.push(head);
        self.expected.sort_by_key(|head| core::cmp::Reverse(head.seq));
        // Entries before the first one are in the log before this one.
        self.drop_expected_before(self.chain.head.seq);
        self
    }

    /// Reads on after an error about damage and returns each proven entry after it. The vault wrote these entries, and
    /// their numbers show how many are missing. An entry on a damaged line is not returned. The entry after it may also
    /// be lost, if the damage is in the MAC that it continues from.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("keys.vault");
    /// # use atrest::key::KeyVault;
    /// # use atrest::vault::{FileVault, Unlock};
    /// # let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
    /// # vault.create_key("disks")?;
    /// for entry in vault.audit()?.past_damage() {
    ///     match entry {
    ///         Ok(entry) => println!("{} {} {}", entry.seq, entry.operation, entry.outcome),
    ///         Err(damage) => println!("{damage}"),
    ///     }
    /// }
    /// # Ok::<(), atrest::Error>(())
    /// ```
    pub fn past_damage(mut self) -> Self {
        self.past_damage = true;
        self
    }

    /// The number of bytes of torn lines at the end, left by processes killed while writing. Known after the last
    /// entry.
    pub fn torn_end(&self) -> Option<u64> {
        self.chain.torn().filter(|&len| len > 0).map(|len| len as u64)
    }

    /// Reads until an entry or error is found.
    fn advance(&mut self) {
        self.check_expected();
        while self.found.is_empty() && !self.ended {
            let line = match self.text.as_mut().map_or(Ok(Vec::new()), next_line) {
                Ok(line) => line,
                Err(e) => {
                    let what = format!("reading the audit log {}", self.path.display());
                    (self.ended, self.past_damage) = (true, false);
                    return self.found.push_back(Err(Error::io(what, e)));
                }
            };
            if line.is_empty() {
                return self.finish();
            }
            let before = self.chain.head.seq;
            let proven = self.chain.take(&self.key, &line);
            if proven.is_none() && self.unfit.is_none() {
                self.unfit = Some(self.line + 1);
            }
            self.line += u64::from(line.ends_with(b"\n"));
            match proven {
                Some(proven) => {
                    if !proven.follows && !self.told {
                        self.found.push_back(Err(self.unlike(before, proven.entry.seq)));
                    }
                    (self.unfit, self.told) = (None, false);
                    self.check_expected();
                    self.found.push_back(Ok(proven.entry));
                }
                None if self.chain.is_broken() && !self.told => {
                    self.told = true;
                    self.found.push_back(Err(self.unlike(before, before)));
                }
                None => {}
            }
        }
    }

    /// Handles the end of the file, which may be in the middle of a line.
    fn finish(&mut self) {
        self.ended = true;
        if self.text.as_ref().is_some_and(|text| text.get_ref().limit() > 0) {
            return self.found.push_back(Err(self.put_aside()));
        }
        let seq = self.chain.head.seq;
        if self.chain.torn().is_none() && !self.told {
            self.found.push_back(Err(self.unlike(seq, seq)));
        }
        if let Some(head) = self.expected.first() {
            let missing = missing(seq, head.seq);
            let what = format!("{missing} missing at its end: an older log was put back, or its end cut off");
            self.found.push_back(Err(self.damaged(what)));
        }
    }

    fn check_expected(&mut self) {
        while let Some(head) = self.expected.pop_if(|head| head.seq == self.chain.head.seq) {
            if head.mac != self.chain.head.mac {
                let what = format!("entry {} is not the one that was there", head.seq);
                self.found.push_back(Err(self.damaged(what)));
            }
        }
        // Missing entries were reported before.
        self.drop_expected_before(self.chain.head.seq);
    }

    fn drop_expected_before(&mut self, seq: u64) {
        while self.expected.pop_if(|head| head.seq < seq).is_some() {}
    }

    /// The error for a line that doesn't follow from entry `before`. `next` is the entry after it, if known.
    fn unlike(&self, before: u64, next: u64) -> Error {
        let line = self.unfit.unwrap_or(self.line);
        let what = match next.saturating_sub(before) {
            0 | 1 => "a line was changed, removed or put elsewhere there".to_owned(),
            _ => format!("{} missing, an older log was put back or lines removed", missing(before, next - 1)),
        };
        self.damaged(format!("line {line} does not follow from entry {before}: {what}"))
    }

    fn put_aside(&self) -> Error {
        let meanwhile = io::Error::other("it was put aside meanwhile; read it again");
        Error::io(format!("reading the audit log {}", self.path.display()), meanwhile)
    }

    fn damaged(&self, what: String) -> Error {
        let path = self.path.display();
        let now = self.text.as_ref().and_then(|text| text.get_ref().get_ref().metadata().ok());
        if now.is_some_and(|now| now.len() < self.len) {
            return self.put_aside();
        }
        Error::DamagedVault(format!(
            "the audit log {path}: {what}; read the proven entries past the damage, then archive the log"
        ))
    }
}

/// The numbers of the entries after `before`, up to `last`, with a verb.
fn missing(before: u64, last: u64) -> String {
    match before.saturating_add(1) {
        only if only == last => format!("entry {last} is"),
        first => format!("entries {first} to {last} are"),
    }
}

impl Iterator for AuditLog {
    type Item = Result<AuditEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.found.is_empty() && !self.ended {
            self.advance();
        }
        let next = self.found.pop_front();
        if matches!(next, Some(Err(_))) && !self.past_damage {
            self.ended = true;
            self.found.clear();
        }
        next
    }
}

impl core::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AuditLog").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

/// A line with its line feed, or the first part of a line that is too long. Empty at the end.
pub(super) fn next_line(text: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    text.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}
