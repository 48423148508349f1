//! The lines of an audit log: each has a MAC over itself and the MAC of the line before.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::entry::{AuditEntry, AuditHead, MAC, decode_mac};
use crate::Secret;

const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}";
const MAC_TEXT: usize = 44;
/// What the next writer ends a torn line with. No single byte that changes makes this of a whole line's end.
const TORN: &[u8] = b" torn\n";
/// The most bytes that torn lines can be: room for more of them than processes are killed in a row.
const MAX_TORN: usize = 16 << 10;

/// A chain up to some line, and what stands behind it. It goes on behind damage with the next line that is proven.
#[derive(Clone)]
pub(super) struct Chain {
    /// The last entry that is proven.
    pub(super) head: AuditHead,
    /// What stands behind `base`, with its line feeds: torn lines, or worse.
    pending: Vec<u8>,
    /// The MAC that the next line goes on from: of the head, or what a line claims that isn't proven.
    base: Option<[u8; MAC]>,
    state: State,
    /// Whether what was taken last has its line feed.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but torn lines can be behind the head.
    Whole,
    /// Something else is.
    Broken,
    /// The head is known, and hasn't been seen yet.
    Sought,
}

/// A line that is proven.
pub(super) struct Proven {
    pub(super) entry: AuditEntry,
    /// Whether nothing is missing before it, and nothing in its way.
    pub(super) follows: bool,
}

impl Chain {
    /// Whether nothing stands behind the last entry.
    pub(super) fn is_whole(&self) -> bool {
        self.pending.is_empty()
    }

    /// The chain that goes on from `head` with the next line.
    pub(super) fn new(head: AuditHead) -> Self {
        Chain { head, pending: Vec::new(), base: Some(head.mac), state: State::Whole, ended: true }
    }

    /// The chain by a log's last lines, of which an earlier one or none is `head`.
    pub(super) fn seek(head: AuditHead) -> Self {
        Chain { base: None, state: State::Sought, ..Chain::new(head) }
    }

    /// The chain that a log should have, where it lacks entries up to `head`.
    pub(super) fn lost(mut self, head: AuditHead) -> Self {
        (self.head, self.state) = (head, State::Broken);
        self
    }

    /// Whether something that is no torn line stands behind the head.
    pub(super) fn is_broken(&self) -> bool {
        self.state != State::Whole
    }

    /// How many bytes of torn lines are behind the head, if they can be no more than that.
    pub(super) fn torn(&self) -> Option<usize> {
        let mut pieces = self.pending.split_inclusive(|&byte| byte == b'\n');
        let torn = pieces.all(|piece| !piece.ends_with(b"\n") || piece.ends_with(TORN));
        (self.state == State::Whole && torn).then_some(self.pending.len())
    }

    /// Takes a line with its line feed, or a part of one without. What comes back is proven: whoever has the root key wrote
    /// it, after what is before it in the chain.
    pub(super) fn take(&mut self, key: &Secret, line: &[u8]) -> Option<Proven> {
        self.ended = line.ends_with(b"\n");
        let Some((covered, mac)) = line.strip_suffix(b"\n").and_then(split) else {
            self.put_aside(line);
            return None;
        };
        let proven = self.prove(key, covered, &mac);
        if let Some(proven) = &proven {
            *self = Chain::new(AuditHead { seq: proven.entry.seq, mac });
        } else {
            let found = self.state == State::Sought && mac == self.head.mac;
            self.state = if found { State::Whole } else { self.state.max_broken() };
            (self.base, self.pending) = (Some(mac), Vec::new());
        }
        proven
    }

    fn put_aside(&mut self, line: &[u8]) {
        if self.pending.len() + line.len() <= MAX_TORN {
            return self.pending.extend_from_slice(line);
        }
        (self.state, self.base, self.pending) = (self.state.max_broken(), None, Vec::new());
    }

    fn prove(&self, key: &Secret, covered: &[u8], mac: &[u8; MAC]) -> Option<Proven> {
        let by = |base: &[u8; MAC], between: &[u8]| keyed(key, base, between, covered).verify_slice(mac).is_ok();
        let parse = || serde_json::from_slice::<AuditEntry>(&[covered, b"}"].concat()).ok();
        let next = self.head.seq.checked_add(1)?;

        // 1. It goes on from the line before, with the torn ones between them.
        if let Some(entry) = self.base.filter(|base| by(base, &self.pending)).and_then(|_| parse()) {
            let torn = self.pending.strip_suffix(b"\n").map(|torn| torn.len() as u64);
            if entry.torn == torn && entry.seq == next && self.state == State::Whole {
                return Some(Proven { entry, follows: true });
            }
            // What is proven, and has a number that was there already, was put there again.
            return (entry.seq >= next).then_some(Proven { entry, follows: false });
        }
        // 2. It goes on from the head, and what is between them was put there later.
        if let Some(entry) = by(&self.head.mac, b"").then(parse).flatten() {
            return (entry.seq == next).then_some(Proven { entry, follows: false });
        }
        // 3. A writer that found the log damaged says from which entry it goes on.
        let entry = parse()?;
        let after = entry.after.filter(|after| after.seq.checked_add(1) == Some(entry.seq) && entry.seq >= next)?;
        let follows = self.state == State::Whole && self.pending.is_empty() && after == self.head;
        by(&after.mac, b"").then_some(Proven { entry, follows })
    }

    /// Makes the next line, with its line feed and what must stand before it. `None`: no number is left for it.
    pub(super) fn make(&mut self, key: &Secret, entry: AuditEntry) -> Option<Vec<u8>> {
        let seq = self.head.seq.checked_add(1)?;
        let mut written = Vec::new();
        let (torn, after) = match self.torn() {
            // A line that a killed process has torn is ended, not taken away: nothing in the log is ever overwritten.
            Some(torn) => {
                if torn > 0 && !self.ended {
                    written.extend_from_slice(TORN);
                }
                self.pending.extend_from_slice(&written);
                (self.pending.len().checked_sub(1).map(|torn| torn as u64), None)
            }
            None => {
                self.pending.clear();
                if !self.ended {
                    written.push(b'\n');
                }
                (None, Some(self.head))
            }
        };
        let mut line = serde_json::to_vec(&AuditEntry { seq, torn, after, ..entry }).ok()?;
        line.pop();
        let mac = keyed(key, &self.head.mac, &self.pending, &line).finalize().into_bytes().into();
        written.extend_from_slice(&line);
        written.extend_from_slice(BEFORE_MAC);
        written.extend_from_slice(&end_of_line(&AuditHead { seq, mac }));
        *self = Chain::new(AuditHead { seq, mac });
        Some(written)
    }
}

impl State {
    /// What it is after something that doesn't fit.
    fn max_broken(self) -> Self {
        if self == State::Whole { State::Broken } else { self }
    }
}

fn keyed(key: &Secret, base: &[u8; MAC], between: &[u8], covered: &[u8]) -> Hmac<Sha256> {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.chain_update(base).chain_update(between).chain_update(covered)
}

/// What the line of a head ends with.
pub(super) fn end_of_line(head: &AuditHead) -> Vec<u8> {
    [Base64::encode_string(&head.mac).as_bytes(), AFTER_MAC, b"\n"].concat()
}

/// The part of a line that its MAC covers, and the MAC.
fn split(line: &[u8]) -> Option<(&[u8], [u8; MAC])> {
    let rest = line.strip_suffix(AFTER_MAC)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_TEXT)?)?;
    Some((rest.strip_suffix(BEFORE_MAC)?, decode_mac(mac)?))
}
