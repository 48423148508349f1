//! Requests on their way to a server. One caller at a time sends, for all; it may stop at any byte, and another one continues.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channel::Sender;
use crate::wire::Request;

/// The most messages that are sent by one call.
const BATCH: usize = 16;

/// A request with its data.
pub(crate) struct Message {
    pub(crate) header: [u8; Request::LEN],
    pub(crate) data: Option<Arc<Vec<u8>>>,
}

/// The messages that wait to be sent.
pub(crate) struct Outbox(Mutex<Waiting>);

struct Waiting {
    queue: VecDeque<Message>,
    turn: Option<Box<Turn>>,
}

/// The state of the caller that sends.
pub(crate) struct Turn {
    sender: Sender,
    batch: VecDeque<Message>,
    /// How much of the first message is sent.
    sent: usize,
}

impl Outbox {
    pub(crate) fn new(sender: Sender) -> Self {
        let turn = Turn { sender, batch: VecDeque::new(), sent: 0 };
        Outbox(Mutex::new(Waiting { queue: VecDeque::new(), turn: Some(Box::new(turn)) }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, message: Message) {
        self.waiting().queue.push_back(message);
    }

    /// Lets a caller send, if no other does.
    pub(crate) fn take_turn(&self) -> Option<Box<Turn>> {
        self.waiting().turn.take()
    }

    /// Gives the next messages to the sending caller. `None`: there are none, and its turn is over.
    pub(crate) fn next(&self, mut turn: Box<Turn>) -> Option<Box<Turn>> {
        let mut waiting = self.waiting();
        if turn.batch.is_empty() {
            std::mem::swap(&mut turn.batch, &mut waiting.queue);
        }
        if turn.batch.is_empty() {
            waiting.turn = Some(turn);
            return None;
        }
        Some(turn)
    }

    /// Ends a turn early. Another caller continues.
    pub(crate) fn give_back(&self, turn: Box<Turn>) {
        self.waiting().turn = Some(turn);
    }
}

impl Turn {
    /// Sends its messages. `WouldBlock`: some weren't sent within a tick.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while let Some(first) = self.batch.front() {
            let mut parts = [IoSlice::new(&[]); 2 * BATCH];
            let header = self.sent.min(Request::LEN);
            parts[0] = IoSlice::new(&first.header[header..]);
            parts[1] = IoSlice::new(first.data().split_at(self.sent - header).1);
            let mut count = 2;
            for message in self.batch.iter().skip(1).take(BATCH - 1) {
                parts[count] = IoSlice::new(&message.header);
                parts[count + 1] = IoSlice::new(message.data());
                count += 2;
            }
            let mut sent = self.sent + self.sender.send(&parts[..count])?;
            while let Some(first) = self.batch.front() {
                let len = Request::LEN + first.data().len();
                if sent < len {
                    break;
                }
                sent -= len;
                self.batch.pop_front();
            }
            self.sent = sent;
        }
        self.sender.flush()
    }
}

impl Message {
    fn data(&self) -> &[u8] {
        self.data.as_deref().map_or(&[], |data| data)
    }
}
