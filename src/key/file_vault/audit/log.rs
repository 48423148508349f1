//! Reading an audit log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::PathBuf;

use super::chain::Chain;
use super::{AuditEntry, AuditHead, AuditRecord};
use crate::{Error, Result, Secret};

const MAX_LINE: u64 = 64 << 10;

/// The entries of an audit log, each verified as it comes; after an error there are no more.
///
/// What was changed, removed or put elsewhere is an error that names the line. So is a missing end, as far as the last
/// change of the vault, and as far as the heads given to [`including`](Self::including). Entries that were cut off after
/// both are not missed.
pub struct AuditLog {
    path: PathBuf,
    key: Secret,
    text: Option<BufReader<Take<File>>>,
    chain: Chain,
    line: u64,
    /// The line that the chain holds as pending.
    pending_line: Option<u64>,
    /// What must come, by number.
    expected: Vec<AuditHead>,
    ended: bool,
}

impl AuditLog {
    pub(super) fn new(path: PathBuf, key: Secret, file: Option<Take<File>>, record: &AuditRecord) -> Self {
        let (text, chain) = (file.map(BufReader::new), Chain::new(record.start));
        let log = AuditLog { path, key, text, chain, line: 0, pending_line: None, expected: Vec::new(), ended: false };
        log.including(record.anchor)
    }

    /// Expects the log to go at least as far as `head`, an earlier answer of
    /// [`FileVault::audit_head`](crate::FileVault::audit_head), by way of it.
    pub fn including(mut self, head: AuditHead) -> Self {
        self.expected.push(head);
        self.expected.sort_by_key(|head| core::cmp::Reverse(head.seq));
        // What was before the first entry is in the log before this one.
        while self.expected.last().is_some_and(|head| head.seq < self.chain.head.seq) {
            self.expected.pop();
        }
        self
    }

    /// How many bytes of a torn line are at the end: a process was killed while it wrote. Known after the last entry.
    pub fn torn_end(&self) -> Option<u64> {
        (!self.chain.pending.is_empty()).then_some(self.chain.pending.len() as u64)
    }

    fn advance(&mut self) -> Result<Option<AuditEntry>> {
        self.check_expected()?;
        loop {
            let mut line = Vec::new();
            if let Some(text) = &mut self.text {
                let failed = |e| Error::io(format!("reading the audit log {}", self.path.display()), e);
                text.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
            }
            if line.is_empty() {
                return self.finish().map(|()| None);
            }
            self.line += 1;
            let Some(whole) = line.strip_suffix(b"\n") else {
                if !self.chain.pending.is_empty() || line.len() as u64 == MAX_LINE {
                    return Err(self.broken());
                }
                (self.chain.pending, self.pending_line) = (line, Some(self.line));
                continue;
            };
            // The one line before that doesn't fit must have been torn when this one was written, not whole.
            let torn = self.chain.pending.strip_suffix(b"\n").map(|torn| torn.len() as u64);
            match self.chain.take(&self.key, whole) {
                Some(entry) if entry.torn == torn => {
                    self.pending_line = None;
                    self.check_expected()?;
                    return Ok(Some(entry));
                }
                None if torn.is_none() => (self.chain.pending, self.pending_line) = (line, Some(self.line)),
                _ => return Err(self.broken()),
            }
        }
    }

    /// The end of the file, or a line that it ends in the middle of.
    fn finish(&self) -> Result<()> {
        if self.chain.pending.ends_with(b"\n") {
            return Err(self.broken());
        }
        match self.expected.first() {
            Some(head) => {
                let from = self.chain.head.seq + 1;
                Err(self.damaged(format!("entries {from} to {} are missing at its end", head.seq)))
            }
            None => Ok(()),
        }
    }

    fn check_expected(&mut self) -> Result<()> {
        while let Some(head) = self.expected.pop_if(|head| head.seq == self.chain.head.seq) {
            if head.mac != self.chain.head.mac {
                return Err(self.damaged(format!("entry {} is not the one that was there", head.seq)));
            }
        }
        Ok(())
    }

    fn broken(&self) -> Error {
        self.damaged(format!(
            "line {} does not follow from entry {}: a line was changed, removed or put elsewhere there",
            self.pending_line.unwrap_or(self.line),
            self.chain.head.seq
        ))
    }

    fn damaged(&self, what: String) -> Error {
        Error::DamagedVault(format!("the audit log {}: {what}", self.path.display()))
    }
}

impl Iterator for AuditLog {
    type Item = Result<AuditEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl core::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AuditLog").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}
