//! The half of a connection that replies go to.

use std::io::{self, IoSlice, Write};

use zeroize::Zeroizing;

/// The most bytes of replies that are held back.
const MOST: usize = 32 << 10;

/// Replies to a client. Those to requests that were read together may be held back, and go in one call.
pub(super) struct Replies<W> {
    stream: W,
    /// Whole replies that were held back. There may be data in them.
    held: Zeroizing<Vec<u8>>,
    holds: bool,
}

impl<W: Write> Replies<W> {
    pub(super) fn new(stream: W) -> Self {
        // A vector that grew would leave data behind.
        Replies { stream, held: Zeroizing::new(Vec::with_capacity(MOST)), holds: false }
    }

    /// Sets whether replies are held back from now on. A caller that sets it must clear it before it waits for the client: the
    /// next reply then goes out with those held back.
    pub(super) fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// Sends the replies that were held back.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.holds = false;
        if self.held.is_empty() { Ok(()) } else { self.send(&[]) }
    }

    /// Sends a reply, or a part of one that is followed by the others at once.
    pub(super) fn reply(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.holds && self.held.len() + len <= MOST {
            parts.iter().for_each(|part| self.held.extend_from_slice(part));
            return Ok(());
        }
        self.send(parts)
    }

    /// Writes the held-back replies and all parts, in as few calls as the stream takes.
    fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: [IoSlice<'_>; 4] = [const { &[] as &[u8] }; 4].map(IoSlice::new);
        slices[0] = IoSlice::new(&self.held);
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let mut slices = &mut slices[..=parts.len()];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.stream.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.held.clear();
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_goes_before_what_comes_later() {
        let mut replies = Replies::new(Vec::new());
        replies.reply(&[b"a"]).unwrap();
        replies.hold(true);
        replies.reply(&[b"b", b"", b"c"]).unwrap();
        assert_eq!(replies.stream, b"a");
        replies.hold(false);
        replies.reply(&[b"d"]).unwrap();
        assert_eq!(replies.stream, b"abcd");
        replies.hold(true);
        replies.reply(&[b"e"]).unwrap();
        replies.release().unwrap();
        replies.reply(&[b"f"]).unwrap();
        assert_eq!(replies.stream, b"abcdef");
        // A reply that is too long to hold is sent, with those before it.
        replies.hold(true);
        replies.reply(&[b"g"]).unwrap();
        replies.reply(&[&[b'h'; MOST]]).unwrap();
        assert_eq!(replies.stream.len(), 7 + MOST);
    }

    #[test]
    fn parts_of_calls_are_joined() {
        /// Takes three bytes a call.
        struct Slow(Vec<u8>);

        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let len = bytes.len().min(3);
                self.0.extend_from_slice(&bytes[..len]);
                Ok(len)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut replies = Replies::new(Slow(Vec::new()));
        replies.hold(true);
        replies.reply(&[b"0123"]).unwrap();
        replies.hold(false);
        replies.reply(&[b"4567", b"", b"89"]).unwrap();
        assert_eq!(replies.stream.0, b"0123456789");
        assert!(replies.held.is_empty());
    }
}
