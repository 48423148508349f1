//! The requests of a guest that its disk has under way together.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use atrest::{Error, Result};
use vm_memory::GuestMemoryMmap;

use super::chain::Chain;
use super::request::{Executor, HEADER};
use super::transfer::Transfer;
use crate::DiskQueue;

/// The requests of one queue of a guest that are under way.
pub(super) struct Flights<'d> {
    queue: Box<dyn DiskQueue + 'd>,
    /// By the number that their tags begin with. Those that are no request's are free.
    flights: Vec<Flight>,
    free: Vec<usize>,
    /// Requests whose last part is done.
    landed: VecDeque<usize>,
}

#[derive(Default)]
struct Flight {
    head: u16,
    chain: Chain,
    transfer: Transfer,
    /// The parts that are under way; and one more while others will begin.
    parts: usize,
    state: State,
}

/// How a request goes.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Right,
    /// The disk has to do it itself, such as during a re-encryption.
    Again,
    Failed,
}

impl<'d> Flights<'d> {
    pub(super) fn new(queue: Box<dyn DiskQueue + 'd>) -> Self {
        Flights { queue, flights: Vec::new(), free: Vec::new(), landed: VecDeque::new() }
    }

    /// Whether no request can begin before one is done.
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether some are done, and wait for being given back.
    pub(super) fn has_landed(&self) -> bool {
        !self.landed.is_empty()
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    /// A descriptor that is readable while a part is done; `None` while nothing is under way.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        if self.is_empty() { None } else { self.queue.fd() }
    }

    /// Begins a request that reads or writes. `chain` is taken.
    pub(super) fn begin(
        &mut self,
        memory: &GuestMemoryMmap,
        head: u16,
        chain: &mut Chain,
        transfer: Transfer,
    ) -> Result<()> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight::default());
            self.flights.len() - 1
        });
        let flight = &mut self.flights[number];
        std::mem::swap(&mut flight.chain, chain);
        (flight.head, flight.transfer, flight.parts, flight.state) = (head, transfer, 1, State::Right);
        let most = self.queue.most();
        for (part, from) in (0..transfer.len).step_by(most).enumerate() {
            while self.queue.is_full() {
                self.take(memory, 1)?;
            }
            if self.flights[number].state != State::Right {
                break;
            }
            let len = (transfer.len - from).min(most as u64) as usize;
            let (tag, at) = ((number as u64) << 32 | part as u64, transfer.offset + from);
            let flight = &mut self.flights[number];
            let begun = if transfer.writes {
                let chain = &flight.chain;
                self.queue.write(at, len, tag, &mut |sectors| {
                    // It was looked at before: all of it is in the guest's memory, which stays as long as the queue runs.
                    let read = chain.readable.read(memory, HEADER as u64 + from, sectors);
                    debug_assert!(read.is_ok());
                })
            } else {
                self.queue.read(at, len, tag)
            };
            match begun {
                Ok(()) => flight.parts += 1,
                Err(_) => {
                    flight.state = State::Again;
                    break;
                }
            }
        }
        self.end_part(number);
        Ok(())
    }

    /// Takes finished parts, at least `least` of them, and puts data that was read into the guest's memory. Returns the number of parts.
    pub(super) fn take(&mut self, memory: &GuestMemoryMmap, least: usize) -> Result<usize> {
        let (flights, most) = (&mut self.flights, self.queue.most() as u64);
        let mut ended = Vec::new();
        let taken = self.queue.wait(least, &mut |tag, result| {
            let (number, part) = ((tag >> 32) as usize, tag & u64::from(u32::MAX));
            let flight = &mut flights[number];
            match result {
                Ok([]) => {}
                Ok(sectors) if flight.chain.writable.write(memory, part * most, sectors).is_ok() => {}
                Ok(_) => flight.state = State::Failed,
                Err(error @ Error::Io { .. }) => {
                    log::warn!("a guest's request failed: {error:#}");
                    flight.state = State::Failed;
                }
                Err(_) => flight.state = flight.state.or_again(),
            }
            ended.push(number);
        });
        ended.into_iter().for_each(|number| self.end_part(number));
        taken
    }

    fn end_part(&mut self, number: usize) {
        self.flights[number].parts -= 1;
        if self.flights[number].parts == 0 {
            self.landed.push_back(number);
        }
    }

    /// The next request that is done: its first descriptor, and how many bytes of the guest's memory were written.
    pub(super) fn next_done(&mut self, memory: &GuestMemoryMmap, executor: &mut Executor<'_>) -> Option<(u16, u32)> {
        let number = self.landed.pop_front()?;
        self.free.push(number);
        let Flight { head, chain, transfer, state, .. } = &self.flights[number];
        let written = match state {
            State::Right => executor.tell(memory, chain, Ok(if transfer.writes { 0 } else { transfer.len })),
            State::Failed => executor.tell(memory, chain, Err(())),
            State::Again => executor.execute(memory, chain),
        };
        Some((*head, written))
    }
}

impl State {
    fn or_again(self) -> Self {
        if self == State::Failed { self } else { State::Again }
    }
}
