//! Operations under way, tracked so that those on the same blocks don't cross.

use std::ops::Range;

/// What an operation does with its blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads them from the disk, to put them into the cache.
    Fill,
    /// Changes them.
    Write,
}

struct Flight {
    id: u64,
    kind: Kind,
    blocks: Range<u64>,
    spoiled: bool,
}

#[derive(Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    last: u64,
}

impl Flights {
    /// Whether a write to some of these blocks is under way.
    pub(super) fn is_written(&self, blocks: &Range<u64>) -> bool {
        self.flights.iter().any(|flight| flight.kind == Kind::Write && overlap(&flight.blocks, blocks))
    }

    /// Begins a flight. A write must not begin while another changes the same blocks.
    pub(super) fn begin(&mut self, kind: Kind, blocks: Range<u64>) -> u64 {
        let spoiled = match kind {
            // It may read older data than the write leaves.
            Kind::Fill => self.is_written(&blocks),
            Kind::Write => {
                let fills = self.flights.iter_mut().filter(|flight| flight.kind == Kind::Fill);
                fills.filter(|flight| overlap(&flight.blocks, &blocks)).for_each(|fill| fill.spoiled = true);
                false
            }
        };
        self.last += 1;
        self.flights.push(Flight { id: self.last, kind, blocks, spoiled });
        self.last
    }

    /// Whether blocks that a fill has read may be older than those on the disk.
    pub(super) fn is_spoiled(&self, id: u64) -> bool {
        self.flights.iter().any(|flight| flight.id == id && flight.spoiled)
    }

    pub(super) fn end(&mut self, id: u64) {
        self.flights.retain(|flight| flight.id != id);
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
