//! The half of a connection that requests come from, read ahead.

use std::io::{self, IoSliceMut, Read};
use std::ops::Range;

use atrest_nbd::wire::{Request, WRITE};

use crate::buffer::Buffer;

/// How many bytes are read ahead: some small writes with their data.
const AHEAD: usize = 16 << 10;

/// Requests that a client sends. Those that have come together are read together, in one call.
pub(super) struct Requests<R> {
    stream: R,
    ahead: Buffer,
    /// Bytes that were read ahead, and not taken yet.
    left: Range<usize>,
    /// The last call got all that it had room for, so that more may be there.
    was_full: bool,
}

impl<R: Read> Requests<R> {
    pub(super) fn new(stream: R) -> Self {
        Requests { stream, ahead: Buffer::new(AHEAD), left: 0..0, was_full: false }
    }

    /// Whether there is more already, as far as that is known without asking.
    pub(super) fn more(&self) -> bool {
        !self.left.is_empty() || self.was_full
    }

    /// Whether the next request is here as a whole, with its data, so that reading it doesn't wait.
    pub(super) fn has_whole(&mut self) -> bool {
        let left = &self.ahead.of(AHEAD)[self.left.clone()];
        let Some(Ok(header)) = left.get(..Request::LEN).map(TryInto::try_into) else { return false };
        // A header that is no request is found out when it is read.
        let data = Request::parse(header).filter(|request| request.kind == WRITE).map_or(0, |request| request.len);
        left.len() - Request::LEN >= data as usize
    }

    /// Fills `bytes`.
    pub(super) fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let taken = bytes.len().min(self.left.len());
        let (first, mut rest) = bytes.split_at_mut(taken);
        first.copy_from_slice(&self.ahead.of(AHEAD)[self.left.start..][..taken]);
        self.left.start += taken;
        while !rest.is_empty() {
            // All that was read ahead is taken.
            let wanted = rest.len();
            let mut parts = [IoSliceMut::new(rest), IoSliceMut::new(self.ahead.of(AHEAD))];
            let count = match self.stream.read_vectored(&mut parts) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.was_full = count == wanted + AHEAD;
            self.left = 0..count.saturating_sub(wanted);
            rest = &mut rest[count.min(wanted)..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out its bytes in parts of that many.
    struct Parts<'a>(&'a [u8], usize);

    impl Read for Parts<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.1).min(self.0.len());
            bytes[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }

        fn read_vectored(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            let mut sum = 0;
            for part in parts {
                let room = part.len().min(self.1 - sum);
                sum += self.read(&mut part[..room])?;
            }
            Ok(sum)
        }
    }

    fn header(kind: u16, len: u32) -> Vec<u8> {
        let parts = [&0x2560_9513u32.to_be_bytes()[..], &[0; 2], &kind.to_be_bytes(), &[0; 16], &len.to_be_bytes()];
        parts.concat()
    }

    #[test]
    fn all_bytes_come_in_their_order() {
        let bytes: Vec<u8> = (0..3 * AHEAD).map(|i| (i ^ (i >> 8)) as u8).collect();
        for (part, wanted) in [(1, 7), (1000, 999), (AHEAD, 28), (usize::MAX / 2, 28), (usize::MAX / 2, AHEAD + 1)] {
            let (mut requests, mut got) = (Requests::new(Parts(&bytes, part)), vec![0; wanted]);
            for expected in bytes.chunks_exact(wanted) {
                requests.read_exact(&mut got).unwrap();
                assert_eq!(got, expected, "{part} {wanted}");
            }
            let rest = bytes.len() % wanted;
            requests.read_exact(&mut got[..rest]).unwrap();
            assert_eq!(got[..rest], bytes[bytes.len() - rest..]);
            assert!(!requests.more());
            assert_eq!(requests.read_exact(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_whole_request_has_its_data() {
        let write = [header(WRITE, 512), vec![5; 512]].concat();
        let bytes = [header(0, 4096), write.clone(), header(0, 4096), write[..write.len() - 1].to_vec()].concat();
        let mut requests = Requests::new(Parts(&bytes, usize::MAX / 2));
        assert!(!requests.has_whole() && !requests.more(), "nothing was read yet");
        for (len, whole) in [(28, true), (write.len(), true), (28, false)] {
            requests.read_exact(&mut vec![0; len]).unwrap();
            assert_eq!((requests.has_whole(), requests.more()), (whole, true));
        }
    }
}
