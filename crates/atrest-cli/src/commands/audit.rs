//! `audit`: the log of a vault file.

use std::time::Duration;

use atrest::vault::{AuditEntry, AuditHead, FileVault};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::key::{parse_span, parse_time};
use crate::failure::{Code, Failure, Result};
use crate::output::{Answer, Output, Text, note, shown, time};
use crate::vaults::FileArgs;

#[derive(Args)]
pub struct Audit {
    #[command(flatten)]
    vault: FileArgs,
    /// Only entries from this time on: a time such as 2030-01-31T00:00:00Z, or as long ago as 12h or 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The head of an earlier time, which the log must still contain: `atrest vault info` shows it
    #[arg(long, value_name = "HEAD")]
    including: Option<String>,
    /// Prints no entries: checks the whole log, and prints its head
    #[arg(long, conflicts_with_all = ["since", "follow"])]
    verify: bool,
    /// Waits for more entries, until it is interrupted
    #[arg(long)]
    follow: bool,
}

/// A line of `audit`.
#[derive(Serialize, JsonSchema)]
pub struct Entry {
    /// The number of the entry, from 1.
    seq: u64,
    /// Seconds since 1970-01-01 UTC.
    time: u64,
    /// The identity; null for the vault's owner.
    identity: Option<String>,
    /// `get`, `wrapKey`, `unwrapKey`, or a change of the vault.
    operation: String,
    key: Option<String>,
    version: Option<String>,
    /// The identity whose access was changed.
    subject: Option<String>,
    /// `ok`, or why it failed.
    outcome: String,
}

impl Entry {
    fn of(entry: AuditEntry) -> Self {
        let AuditEntry { seq, time, identity, operation, key, version, subject, outcome, .. } = entry;
        Entry { seq, time, identity, operation, key, version, subject, outcome }
    }
}

impl Answer for Entry {
    fn text(&self, out: &mut Text) {
        let of = match (&self.key, &self.version, &self.subject) {
            (Some(key), Some(version), _) => format!("{key}/{version}"),
            (Some(key), None, _) => key.clone(),
            (None, _, Some(subject)) => subject.clone(),
            _ => "-".into(),
        };
        let who = self.identity.as_deref().unwrap_or("(owner)");
        let (at, operation) = (time(self.time), &self.operation);
        out.line(format_args!(
            "{:>6} {at} {:<12} {:<14} {} {}",
            self.seq,
            shown(operation),
            shown(who),
            shown(&of),
            self.outcome
        ));
    }
}

/// `audit --verify`.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    /// The number of entries in the log.
    entries: u64,
    /// The head of the log: keep it elsewhere, and give it to --including later.
    head: String,
}

impl Answer for Checked {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("the log is whole, with {} entries", self.entries));
        out.pair("head", &self.head);
    }
}

impl Audit {
    pub fn run(self, output: Output) -> Result<()> {
        let since = match self.since.as_deref() {
            None => 0,
            Some(text) => match parse_span(text) {
                Some(span) => (jiff::Timestamp::now().as_second().max(0) as u64).saturating_sub(span),
                None => parse_time(text)?.ok_or_else(|| Failure::usage("--since needs a time"))?,
            },
        };
        let including: Option<AuditHead> = self.including.as_deref().map(str::parse).transpose()?;
        let vault = self.vault.open()?;
        if self.verify {
            // The head first: entries that are written meanwhile then aren't missing.
            let head = vault.audit_head()?;
            let entries = read(&vault, including, |_| Ok(()))?;
            return output.answer(&Checked { entries, head: head.to_string() });
        }
        let mut last = 0;
        let mut print = |entry: AuditEntry| {
            if entry.seq > last {
                last = entry.seq;
                if entry.time >= since {
                    return output.answer(&Entry::of(entry));
                }
            }
            Ok(())
        };
        read(&vault, including, &mut print)?;
        if !self.follow {
            return Ok(());
        }
        loop {
            // A signal ends the program here.
            std::thread::sleep(Duration::from_millis(250));
            read(&vault, None, &mut print)?;
        }
    }
}

/// Reads the whole log, and returns how many entries it has.
fn read(
    vault: &FileVault,
    including: Option<AuditHead>,
    mut each: impl FnMut(AuditEntry) -> Result<()>,
) -> Result<u64> {
    let mut log = vault.audit()?;
    if let Some(head) = including {
        log = log.including(head);
    }
    let (mut entries, mut damage) = (0, None);
    for entry in log.past_damage() {
        match entry {
            Ok(entry) => {
                entries += 1;
                each(entry)?;
            }
            // Entries after the damage that are proven are shown, too.
            Err(e) => {
                note(format_args!("{e:#}"));
                damage = Some(e);
            }
        }
    }
    match damage {
        None => Ok(entries),
        Some(_) => Err(Failure::new(Code::Damaged, "the audit log is damaged, as said above; see docs/operate.md")),
    }
}
