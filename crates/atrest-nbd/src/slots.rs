//! The requests of a connection that are under way.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::ranges::Ranges;
use crate::wire::Request;

/// The most requests of a connection that are under way at once.
pub(crate) const SLOTS: usize = 64;

/// Why a connection is of no use any more.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// It, or the server, is gone. Another one may serve.
    Lost(String),
    /// The server doesn't keep to the protocol: none of its replies can be relied on.
    Broken(&'static str),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Lost(error.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Free,
    /// Its caller waits for the reply.
    Called,
    /// Its caller has given up.
    Orphan,
    /// The reply is here.
    Done,
}

/// A request, and the state of its reply.
pub(crate) struct Slot {
    /// The number of uses of the slot: a part of the cookie, so that a late reply matches no request.
    generation: u64,
    pub(crate) used: Use,
    pub(crate) kind: u16,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// Its number in the log.
    pub(crate) change: Option<u64>,
    /// The bytes of a read that replies have covered.
    pub(crate) covered: Ranges,
    /// Those of them that lie in `buffer`. The others were put into the caller's memory.
    pub(crate) delivered: Ranges,
    pub(crate) buffer: Vec<u8>,
    pub(crate) extents: Option<Vec<(u32, u32)>>,
    pub(crate) error: Option<u32>,
    /// Whether a part of a structured reply has come.
    pub(crate) begun: bool,
    /// Whether its caller sleeps.
    pub(crate) sleeps: bool,
}

/// All slots. `R` is the reader of replies: one caller at a time has it.
pub(crate) struct Slots<R> {
    all: Vec<Slot>,
    free: Vec<usize>,
    pub(crate) reader: Option<R>,
    /// The caller that reads next, because a long payload is its own.
    pub(crate) reserved: Option<usize>,
    /// Whether no more requests are to be sent.
    pub(crate) stopping: bool,
    pub(crate) end: Option<End>,
    pub(crate) orphans: usize,
}

/// They, and how their callers are woken.
pub(crate) struct Shared<R> {
    slots: Mutex<Slots<R>>,
    pub(crate) turns: Box<[Condvar]>,
    /// For a free slot.
    pub(crate) room: Condvar,
}

impl<R> Shared<R> {
    pub(crate) fn new(reader: R) -> Self {
        let slot = |_| Slot {
            generation: 0,
            used: Use::Free,
            kind: 0,
            offset: 0,
            len: 0,
            change: None,
            covered: Ranges::default(),
            delivered: Ranges::default(),
            buffer: Vec::new(),
            extents: None,
            error: None,
            begun: false,
            sleeps: false,
        };
        let slots = Slots {
            all: (0..SLOTS).map(slot).collect(),
            free: (0..SLOTS).rev().collect(),
            reader: Some(reader),
            reserved: None,
            stopping: false,
            end: None,
            orphans: 0,
        };
        Shared { slots: Mutex::new(slots), turns: (0..SLOTS).map(|_| Condvar::new()).collect(), room: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Slots<R>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a reply as complete. Returns the change if no caller waits for it.
    pub(crate) fn complete(&self, slots: &mut Slots<R>, index: usize) -> Option<(u64, Option<u32>)> {
        let slot = &mut slots.all[index];
        match slot.used {
            Use::Orphan => {
                let ended = slot.change.map(|change| (change, slot.error));
                slots.orphans -= 1;
                self.release(slots, index);
                ended
            }
            _ => {
                slot.used = Use::Done;
                if slot.sleeps {
                    self.turns[index].notify_one();
                }
                None
            }
        }
    }

    pub(crate) fn release(&self, slots: &mut Slots<R>, index: usize) {
        slots.all[index].used = Use::Free;
        slots.free.push(index);
        if slots.reserved == Some(index) {
            slots.reserved = None;
        }
        if slots.free.len() == 1 {
            self.room.notify_all();
        }
    }

    /// Wakes a caller to read, if none does.
    pub(crate) fn pass_on(&self, slots: &Slots<R>) {
        if slots.reader.is_none() {
            return;
        }
        let sleeps = |index: &usize| slots.all[*index].sleeps && slots.all[*index].used == Use::Called;
        let next = slots.reserved.filter(sleeps).or_else(|| (0..SLOTS).find(sleeps));
        if let Some(next) = next {
            self.turns[next].notify_one();
        }
    }

    /// Ends it for all callers.
    pub(crate) fn end(&self, end: End) {
        let mut slots = self.lock();
        slots.end.get_or_insert(end);
        drop(slots);
        self.turns.iter().for_each(Condvar::notify_all);
        self.room.notify_all();
    }
}

impl<R> Slots<R> {
    /// Takes a free slot for a request, and names the request after it.
    pub(crate) fn occupy(&mut self, request: &mut Request, change: Option<u64>) -> Option<usize> {
        let index = self.free.pop()?;
        let slot = &mut self.all[index];
        slot.generation += 1;
        slot.used = Use::Called;
        (slot.kind, slot.offset, slot.len) = (request.kind, request.offset, request.len as usize);
        slot.change = change;
        slot.covered.clear();
        slot.delivered.clear();
        slot.buffer.clear();
        (slot.extents, slot.error, slot.begun, slot.sleeps) = (None, None, false, false);
        request.cookie = slot.generation << 16 | index as u64;
        Some(index)
    }

    /// Finds the slot of a reply.
    pub(crate) fn find(&self, cookie: u64) -> Option<usize> {
        let index = (cookie & 0xffff) as usize;
        let slot = self.all.get(index)?;
        (slot.generation == cookie >> 16 && matches!(slot.used, Use::Called | Use::Orphan)).then_some(index)
    }

    pub(crate) fn at(&mut self, index: usize) -> &mut Slot {
        &mut self.all[index]
    }

    pub(crate) fn under_way(&self) -> usize {
        SLOTS - self.free.len()
    }
}
