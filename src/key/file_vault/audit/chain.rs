//! The lines of an audit log: each has a MAC over itself and the MAC of the line before.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{AuditEntry, AuditHead, decode_mac};
use crate::Secret;

pub(in super::super) const MAC: usize = 32;
const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}";
const MAC_TEXT: usize = 44;

/// A chain up to some line.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) head: AuditHead,
    /// What follows the last line that fits, with its line feeds: a torn line, or worse.
    pub(super) pending: Vec<u8>,
}

impl Chain {
    pub(super) fn new(head: AuditHead) -> Self {
        Chain { head, pending: Vec::new() }
    }

    /// Takes a line without its line feed, if it follows from what is before.
    pub(super) fn take(&mut self, key: &Secret, line: &[u8]) -> Option<AuditEntry> {
        let (covered, claimed) = split(line)?;
        self.mac(key, covered).verify_slice(&claimed).ok()?;
        let entry: AuditEntry = serde_json::from_slice(&[covered, b"}"].concat()).ok()?;
        if entry.seq != self.head.seq.checked_add(1)? {
            return None;
        }
        self.head = AuditHead { seq: entry.seq, mac: claimed };
        self.pending.clear();
        Some(entry)
    }

    /// Makes the next line, with its line feed.
    pub(super) fn make(&mut self, key: &Secret, entry: &AuditEntry) -> Vec<u8> {
        let mut line = serde_json::to_vec(entry).expect("an entry has only string keys");
        line.pop();
        let mac: [u8; MAC] = self.mac(key, &line).finalize().into_bytes().into();
        line.extend_from_slice(BEFORE_MAC);
        line.extend_from_slice(Base64::encode_string(&mac).as_bytes());
        line.extend_from_slice(AFTER_MAC);
        line.push(b'\n');
        self.head = AuditHead { seq: entry.seq, mac };
        self.pending.clear();
        line
    }

    fn mac(&self, key: &Secret, covered: &[u8]) -> Hmac<Sha256> {
        let mac: Hmac<Sha256> = Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        mac.chain_update(self.head.mac).chain_update(&self.pending).chain_update(covered)
    }
}

/// What the line of a head ends with.
pub(super) fn end_of_line(head: &AuditHead) -> Vec<u8> {
    [Base64::encode_string(&head.mac).as_bytes(), AFTER_MAC, b"\n"].concat()
}

/// The part of a line that its MAC covers, and the MAC.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], [u8; MAC])> {
    let rest = line.strip_suffix(AFTER_MAC)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_TEXT)?)?;
    Some((rest.strip_suffix(BEFORE_MAC)?, decode_mac(mac)?))
}
