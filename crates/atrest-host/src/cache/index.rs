//! The index of blocks to slots: 48 bytes a slot, and up to 8 more for lookup.
//!
//! Slots are reused in the order of a clock's hand (GCLOCK): a block that is read again survives up to three turns of the hand;
//! one that is read once, as in a scan, survives none.

use std::ops::Range;

use super::keys::{Place, TAG};

/// No slot.
const NONE: u32 = u32::MAX;

/// How many turns of the hand a block survives that is read often.
const MOST_USES: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It holds no block that can be found.
    Unlinked,
    /// It holds a block.
    Linked,
    /// It is being written.
    Busy,
}

#[derive(Clone, Copy)]
struct Slot {
    block: u64,
    generation: u64,
    /// The journal's record of it. The slot isn't overwritten while the disk may lack that record.
    record: u64,
    tag: [u8; TAG],
    /// The next slot whose block has the same hash.
    next: u32,
    uses: u8,
    state: State,
}

/// A block that was found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) tag: [u8; TAG],
    /// The journal's record of it; 0 if there is none.
    pub(super) record: u64,
}

pub(super) struct Index {
    slots: Box<[Slot]>,
    /// The first slot of each hash.
    heads: Box<[u32]>,
    hand: u32,
    generation: u64,
}

impl Index {
    pub(super) fn new(slots: u32) -> Self {
        let empty =
            Slot { block: 0, generation: 0, record: 0, tag: [0; TAG], next: NONE, uses: 0, state: State::Unlinked };
        Index {
            slots: vec![empty; slots as usize].into(),
            heads: vec![NONE; (slots as usize).next_power_of_two()].into(),
            hand: 0,
            generation: 0,
        }
    }

    /// Finds a block, and notes that it is used.
    pub(super) fn find(&mut self, block: u64) -> Option<Found> {
        let slot = self.slot_of(block)?;
        let held = &mut self.slots[slot as usize];
        held.uses = (held.uses + 1).min(MOST_USES);
        Some(Found { place: Place { block, slot, generation: held.generation }, tag: held.tag, record: held.record })
    }

    pub(super) fn has(&self, block: u64) -> bool {
        self.slot_of(block).is_some()
    }

    /// Takes a slot to write into that no record from `tail` on needs. Its old block can't be found any more.
    pub(super) fn take(&mut self, block: u64, tail: u64) -> Option<Place> {
        let count = self.slots.len() as u32;
        for _ in 0..u64::from(count) * (u64::from(MOST_USES) + 1) {
            let slot = self.hand;
            self.hand = (slot + 1) % count;
            let held = &mut self.slots[slot as usize];
            match held.state {
                State::Busy => continue,
                _ if held.record >= tail => continue,
                State::Linked if held.uses > 0 => {
                    held.uses -= 1;
                    continue;
                }
                State::Linked => self.unlink_slot(slot),
                State::Unlinked => {}
            }
            self.slots[slot as usize].state = State::Busy;
            self.generation += 1;
            return Some(Place { block, slot, generation: self.generation });
        }
        None
    }

    /// Gives back a slot that was taken, empty.
    pub(super) fn give_back(&mut self, slot: u32) {
        let held = &mut self.slots[slot as usize];
        (held.state, held.record) = (State::Unlinked, 0);
    }

    /// From now on the block is found in the slot that was taken for it.
    pub(super) fn link(&mut self, place: Place, tag: [u8; TAG], record: u64) {
        self.unlink(place.block);
        let head = self.hash(place.block);
        let Place { block, slot, generation } = place;
        let next = self.heads[head];
        self.slots[slot as usize] = Slot { block, generation, record, tag, next, uses: 0, state: State::Linked };
        self.heads[head] = slot;
    }

    /// The block can't be found any more.
    pub(super) fn unlink(&mut self, block: u64) {
        if let Some(slot) = self.slot_of(block) {
            self.unlink_slot(slot);
        }
    }

    /// No block of a range can be found any more.
    pub(super) fn unlink_all(&mut self, blocks: &Range<u64>) {
        if blocks.end - blocks.start <= self.slots.len() as u64 {
            return blocks.clone().for_each(|block| self.unlink(block));
        }
        for slot in 0..self.slots.len() as u32 {
            let held = &self.slots[slot as usize];
            if held.state == State::Linked && blocks.contains(&held.block) {
                self.unlink_slot(slot);
            }
        }
    }

    /// The block that a slot holds for a record, if it is still linked under that record.
    pub(super) fn of_record(&self, slot: u32, record: u64) -> Option<Found> {
        let held = &self.slots[slot as usize];
        (held.state == State::Linked && held.record == record).then_some(Found {
            place: Place { block: held.block, slot, generation: held.generation },
            tag: held.tag,
            record,
        })
    }

    /// The block of a slot that a record names, whether it is the newest or not.
    pub(super) fn block_of(&self, slot: u32) -> u64 {
        self.slots[slot as usize].block
    }

    fn slot_of(&self, block: u64) -> Option<u32> {
        let mut slot = self.heads[self.hash(block)];
        while slot != NONE {
            let held = &self.slots[slot as usize];
            if held.block == block {
                return Some(slot);
            }
            slot = held.next;
        }
        None
    }

    fn unlink_slot(&mut self, slot: u32) {
        let Slot { block, next, .. } = self.slots[slot as usize];
        let head = self.hash(block);
        if self.heads[head] == slot {
            self.heads[head] = next;
        } else {
            let mut before = self.heads[head];
            while self.slots[before as usize].next != slot {
                before = self.slots[before as usize].next;
            }
            self.slots[before as usize].next = next;
        }
        let held = &mut self.slots[slot as usize];
        (held.state, held.next, held.uses) = (State::Unlinked, NONE, 0);
    }

    /// Blocks of a guest are consecutive, so that the product spreads them well (Fibonacci hashing).
    fn hash(&self, block: u64) -> usize {
        let product = block.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (product >> 32) as usize & (self.heads.len() - 1)
    }
}
