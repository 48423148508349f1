//! The chain of lines in an audit log. The MAC of each line covers the line and the MAC of the line before.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::entry::{AuditEntry, AuditHead, MAC, decode_mac};
use crate::Secret;

const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}";
const MAC_TEXT: usize = 44;
/// The end of a torn line, which the next writer appends. No change of a single byte turns the end of a whole line into this.
const TORN: &[u8] = b" torn\n";
/// The most bytes of torn lines. There is room for more torn lines than processes are ever killed in a row.
const MAX_TORN: usize = 16 << 10;

/// The chain up to some line, and the unproven bytes after it. After damage it continues with the next proven line.
#[derive(Clone)]
pub(super) struct Chain {
    /// The last proven entry.
    pub(super) head: AuditHead,
    /// The bytes after `base`, with their line feeds: torn lines, or damage.
    pending: Vec<u8>,
    /// The MAC that the next line must continue from: the head's, or the MAC of an unproven line.
    base: Option<[u8; MAC]>,
    state: State,
    /// Whether the last line taken has its line feed.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Only torn lines can follow the head.
    Whole,
    /// Something other than a torn line follows the head.
    Broken,
    /// The head is known but has not been read yet.
    Sought,
}

/// A proven line.
pub(super) struct Proven {
    pub(super) entry: AuditEntry,
    /// Whether it follows the entry before it, with nothing missing or foreign between them.
    pub(super) follows: bool,
}

impl Chain {
    /// Whether nothing follows the last entry.
    pub(super) fn is_whole(&self) -> bool {
        self.pending.is_empty()
    }

    /// A chain that continues from `head` with the next line.
    pub(super) fn new(head: AuditHead) -> Self {
        Chain { head, pending: Vec::new(), base: Some(head.mac), state: State::Whole, ended: true }
    }

    /// A chain over the last lines of a log. `head` may be one of these lines.
    pub(super) fn seek(head: AuditHead) -> Self {
        Chain { base: None, state: State::Sought, ..Chain::new(head) }
    }

    /// The chain of a log that lacks entries up to `head`.
    pub(super) fn lost(mut self, head: AuditHead) -> Self {
        (self.head, self.state) = (head, State::Broken);
        self
    }

    /// Whether something other than torn lines follows the head.
    pub(super) fn is_broken(&self) -> bool {
        self.state != State::Whole
    }

    /// The number of bytes of torn lines after the head; `None` if there may be other bytes.
    pub(super) fn torn(&self) -> Option<usize> {
        let mut pieces = self.pending.split_inclusive(|&byte| byte == b'\n');
        let torn = pieces.all(|piece| !piece.ends_with(b"\n") || piece.ends_with(TORN));
        (self.state == State::Whole && torn).then_some(self.pending.len())
    }

    /// Takes a line with its line feed, or a part of a line without. It returns a proven line: one that an owner of the
    /// root key wrote after the lines before it in the chain.
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

        // 1. It continues from the line before, with torn lines between.
        if let Some(entry) = self.base.filter(|base| by(base, &self.pending)).and_then(|_| parse()) {
            let torn = self.pending.strip_suffix(b"\n").map(|torn| torn.len() as u64);
            if entry.torn == torn && entry.seq == next && self.state == State::Whole {
                return Some(Proven { entry, follows: true });
            }
            // A proven line whose number came before was replayed.
            return (entry.seq >= next).then_some(Proven { entry, follows: false });
        }
        // 2. It continues from the head, and somebody inserted the bytes between later.
        if let Some(entry) = by(&self.head.mac, b"").then(parse).flatten() {
            return (entry.seq == next).then_some(Proven { entry, follows: false });
        }
        // 3. A writer that found damage names the entry that its line continues from.
        let entry = parse()?;
        let after = entry.after.filter(|after| after.seq.checked_add(1) == Some(entry.seq) && entry.seq >= next)?;
        let follows = self.state == State::Whole && self.pending.is_empty() && after == self.head;
        by(&after.mac, b"").then_some(Proven { entry, follows })
    }

    /// Makes the next line, with its line feed and any bytes to write before it. `None`: the numbers are used up.
    pub(super) fn make(&mut self, key: &Secret, entry: AuditEntry) -> Option<Vec<u8>> {
        let seq = self.head.seq.checked_add(1)?;
        let mut written = Vec::new();
        let (torn, after) = match self.torn() {
            // A torn line is ended, not removed: nothing in the log is ever overwritten.
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
    /// The state after a line that doesn't fit.
    fn max_broken(self) -> Self {
        if self == State::Whole { State::Broken } else { self }
    }
}

fn keyed(key: &Secret, base: &[u8; MAC], between: &[u8], covered: &[u8]) -> Hmac<Sha256> {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.chain_update(base).chain_update(between).chain_update(covered)
}

/// The end of the line of a head.
pub(super) fn end_of_line(head: &AuditHead) -> Vec<u8> {
    [Base64::encode_string(&head.mac).as_bytes(), AFTER_MAC, b"\n"].concat()
}

/// The part of a line that its MAC covers, and the MAC.
fn split(line: &[u8]) -> Option<(&[u8], [u8; MAC])> {
    let rest = line.strip_suffix(AFTER_MAC)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_TEXT)?)?;
    Some((rest.strip_suffix(BEFORE_MAC)?, decode_mac(mac)?))
}
