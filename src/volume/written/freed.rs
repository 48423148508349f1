//! Chunks that read as zeros again, and whose space the device may free.

use core::ops::Range;

use super::claims::Claim;

/// The most runs that are kept. Freeing space is only a hint, so further runs are dropped.
const MOST: usize = 4096;

/// Runs of removed chunks, kept until the map on the disk no longer needs them.
#[derive(Default)]
pub(super) struct Pending(Vec<Range<u64>>);

impl Pending {
    pub(super) fn add(&mut self, run: Range<u64>) {
        let has_room = self.0.len() < MOST;
        match self.0.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ if has_room => self.0.push(run),
            _ => {}
        }
    }

    /// All of them, in order, none of them twice.
    pub(super) fn take(&mut self) -> Vec<Range<u64>> {
        let mut runs = core::mem::take(&mut self.0);
        runs.sort_unstable_by_key(|run| run.start);
        let mut apart: Vec<Range<u64>> = Vec::new();
        for run in runs {
            match apart.last_mut() {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => apart.push(run),
            }
        }
        apart
    }
}

/// Chunks that are not written, in memory and on the disk. Nobody may write them while this is held.
pub(in crate::volume) struct Freed<'c> {
    pub(super) _claims: Vec<Claim<'c>>,
    pub(super) runs: Vec<Range<u64>>,
}

impl Freed<'_> {
    pub(in crate::volume) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(in crate::volume) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().cloned()
    }
}
