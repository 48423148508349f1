//! Chunks that read as zeros again, and whose room the device may have back.

use core::ops::Range;

use super::claims::Claim;

/// How many runs are kept. That a device may have room back is a hint: of more, it isn't told.
const MOST: usize = 4096;

/// Runs of chunks, until the map that the disk has doesn't need them any more.
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

/// Chunks that nobody may write while this is held, and that neither memory nor the disk says were written.
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
