//! The object that names the holder of a disk.
//!
//! It keeps honest hosts from opening a disk twice. It doesn't protect the disk's integrity: the manifest's conditional write does.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atrest_http::Deadline;

use crate::bucket::{Bucket, Object, Only, Swapped};
use crate::failure::unexpected;

/// The longest lock.
const LONGEST: usize = 4096;

/// The content of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    session: u64,
    seconds: u32,
    /// Differs each time: so does the ETag.
    count: u64,
    state: Holding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    Open,
    /// The disk isn't open.
    Closed,
    /// The disk isn't open, and objects may be left that no manifest names.
    Untidy,
    /// It was open, and its holder gave no sign of life for too long. This state is never written.
    Dead,
}

impl Content {
    fn encode(self) -> Vec<u8> {
        let Content { session, seconds, count, state } = self;
        let state = match state {
            Holding::Open => "open",
            Holding::Closed => "closed",
            Holding::Untidy | Holding::Dead => "untidy",
        };
        format!("atrest lock 1\nsession {session:016x}\nseconds {seconds}\ncount {count}\n{state}\n").into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines =
            std::str::from_utf8(bytes).ok()?.strip_prefix("atrest lock 1\n")?.strip_suffix('\n')?.split('\n');
        let session = u64::from_str_radix(lines.next()?.strip_prefix("session ")?, 16).ok()?;
        let seconds = lines.next()?.strip_prefix("seconds ")?.parse().ok()?;
        let count = lines.next()?.strip_prefix("count ")?.parse().ok()?;
        let state = match (lines.next()?, lines.next()) {
            ("open", None) => Holding::Open,
            ("closed", None) => Holding::Closed,
            ("untidy", None) => Holding::Untidy,
            _ => return None,
        };
        Some(Content { session, seconds, count, state })
    }
}

/// The known state of the lock.
struct Held {
    content: Content,
    etag: String,
    /// Whether it is being given back: no sign of life comes after that.
    closed: bool,
}

/// The lock of a disk that is open here.
pub(crate) struct Lock {
    key: String,
    held: Mutex<Held>,
    /// Whether the one before left objects that no manifest names.
    pub untidy: bool,
    /// Whether the one before didn't give it back: it may live, and leave more.
    pub taken: bool,
}

impl Lock {
    /// Takes the lock. The kind of the error is `ResourceBusy` if a holder was alive lately.
    pub fn acquire(
        bucket: &Bucket,
        deadline: Deadline,
        key: String,
        session: u64,
        seconds: u32,
        take_over: bool,
    ) -> io::Result<Self> {
        let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another host has the disk open");
        let content = Content { session, seconds, count: 0, state: Holding::Open };
        let found = bucket.get(deadline, &key, LONGEST)?;
        let state = found.as_ref().map_or(Ok(Holding::Closed), |found| state(&key, found))?;
        if state == Holding::Open && !take_over {
            return Err(busy());
        }
        let untidy = state != Holding::Closed;
        let taken = matches!(state, Holding::Open | Holding::Dead);
        let only = found.as_ref().map_or(Only::New, |found| Only::Match(&found.etag));
        match bucket.swap(deadline, &key, &content.encode(), only)? {
            Swapped::Done(etag) => {
                Ok(Lock { key, held: Mutex::new(Held { content, etag, closed: false }), untidy, taken })
            }
            Swapped::Other(_) => Err(busy()),
        }
    }

    /// Whether a holder was alive lately.
    pub fn is_held(bucket: &Bucket, deadline: Deadline, key: &str) -> io::Result<bool> {
        let found = bucket.get(deadline, key, LONGEST)?;
        Ok(found.map_or(Ok(Holding::Closed), |found| state(key, &found))? == Holding::Open)
    }

    /// Gives a sign of life, or the lock back. False if another has it.
    pub fn renew(&self, bucket: &Bucket, deadline: Deadline, state: Holding) -> io::Result<bool> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.closed {
            return Ok(true);
        }
        held.closed = state != Holding::Open;
        loop {
            let next = Content { count: held.content.count + 1, state, ..held.content };
            match bucket.swap(deadline, &self.key, &next.encode(), Only::Match(&held.etag))? {
                Swapped::Done(etag) => {
                    (held.content, held.etag) = (next, etag);
                    return Ok(true);
                }
                // An earlier sign of our own, whose answer was lost.
                Swapped::Other(Some(found)) => match Content::decode(&found.body) {
                    Some(content) if content.session == held.content.session && content.count > held.content.count => {
                        (held.content, held.etag) = (content, found.etag);
                    }
                    _ => return Ok(false),
                },
                Swapped::Other(None) => return Ok(false),
            }
            // A sign that was written without our knowledge has a higher count than the known one: the next is higher still.
        }
    }
}

/// The state that a lock object records.
fn state(key: &str, found: &Object) -> io::Result<Holding> {
    let other = Content::decode(&found.body)
        .ok_or_else(|| unexpected(format!("{key} isn't a lock; remove it if nobody has the disk open")))?;
    // Both times are the service's: its clock may be wrong, but not against itself.
    let dead = found.age.is_some_and(|age| age > Duration::from_secs(other.seconds.into()));
    Ok(if other.state == Holding::Open && dead { Holding::Dead } else { other.state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_are_read() {
        let content = Content { session: 0xfe, seconds: 60, count: 7, state: Holding::Untidy };
        assert_eq!(Content::decode(&content.encode()), Some(content));
        for bad in ["", "atrest lock 1\n", "atrest lock 2\nsession 1\nseconds 1\ncount 1\nopen\n", "\u{fffd}"] {
            assert_eq!(Content::decode(bad.as_bytes()), None);
        }
        let mut longer = content.encode();
        longer.extend(b"x\n");
        assert_eq!(Content::decode(&longer), None);
    }
}
