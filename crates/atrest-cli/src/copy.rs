//! Copies and compares, by several threads at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::stop;

/// The bytes that a thread handles at once: few enough to stay in its cache between reading and writing.
const CHUNK: u64 = 1 << 20;
const PAGE: usize = 4096;

/// More threads find the disk busy.
const THREADS: usize = 4;

/// Calls `work` for every part of the runs (start and end in bytes), with a buffer of its length. Each thread takes the next
/// part, so that they go through the runs together.
pub fn for_parts(
    runs: &[(u64, u64)],
    progress: &Progress,
    work: impl Fn(u64, &mut Room, usize) -> Result<()> + Sync,
) -> Result<()> {
    // Not a list: an image's server names its size, which may be huge.
    let parts = Mutex::new(runs.iter().flat_map(|run| parts(*run)));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = AtomicBool::new(false);
    let failure: Mutex<Option<Failure>> = Mutex::new(None);
    let one = || {
        let mut room = Room::default();
        while !failed.load(Relaxed) {
            let Some((start, end)) = next() else { return };
            let done = stop::check("interrupted").and_then(|()| work(start, &mut room, (end - start) as usize));
            if let Err(e) = done {
                failed.store(true, Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                return;
            }
            progress.add(end - start);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(one);
        }
        one();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// A thread's buffer. It begins at a whole page, as I/O past the page cache needs it, and is wiped in the end.
#[derive(Default)]
pub struct Room(Zeroizing<Vec<u8>>);

impl Room {
    /// So many bytes, with any content.
    pub fn take(&mut self, len: usize) -> &mut [u8] {
        if self.0.len() < len + PAGE {
            self.0 = Zeroizing::new(vec![0; len.max(CHUNK as usize) + PAGE]);
        }
        let skipped = self.0.as_ptr().align_offset(PAGE);
        &mut self.0[skipped..][..len]
    }
}

/// The parts of a run. They begin at multiples of their size, wherever the run begins.
fn parts((start, end): (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let mut at = start;
    std::iter::from_fn(move || {
        let part = (at, (at / CHUNK + 1).saturating_mul(CHUNK).min(end));
        at = part.1;
        (part.0 < part.1).then_some(part)
    })
}

/// How much is written before the disk is made to begin with it.
const BEHIND: u64 = 128 << 20;

/// Has the disk flush the data written so far, again and again, while `work` writes more: otherwise it would idle until the
/// sync at the end, which then would wait for all of it.
///
/// The system tells of a failed write once. So an error of `flush` is the error of the whole: a later sync knows nothing of it.
pub fn with_flushes(
    progress: &Progress,
    flush: impl Fn() -> io::Result<()> + Sync,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut flushed = 0;
            while !ended.load(Relaxed) {
                let done = progress.done();
                if done - flushed >= BEHIND {
                    flush()?;
                    flushed = done;
                } else {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            Ok(())
        });
        let done = work();
        ended.store(true, Relaxed);
        let flushed: io::Result<()> =
            flusher.join().unwrap_or_else(|_| Err(io::Error::other("the flushing thread ended")));
        done.and(flushed.map_err(Failure::from))
    })
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (whole, rest) = bytes.as_chunks::<64>();
    whole.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// The first byte in which two of the same length differ.
pub fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other { None } else { one.iter().zip(other).position(|(a, b)| a != b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Show;

    #[test]
    fn a_flush_that_failed_is_not_forgotten() {
        let progress = Progress::new(Show::Never, "writing", 2 * BEHIND);
        let flush = || Err(io::Error::from_raw_os_error(5));
        let done = with_flushes(&progress, flush, || {
            progress.add(2 * BEHIND);
            std::thread::sleep(Duration::from_millis(200));
            Ok(())
        });
        assert_eq!(done.unwrap_err().code, crate::failure::Code::Io);
        let done = with_flushes(&progress, || Ok(()), || Err(Failure::usage("of the work")));
        assert_eq!(done.unwrap_err().text, "of the work");
    }

    #[test]
    fn parts_cover_a_run_and_begin_at_multiples() {
        let found: Vec<_> = parts((5, CHUNK * 2 + 7)).collect();
        assert_eq!(found, [(5, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 7)]);
        assert_eq!(parts((CHUNK, CHUNK)).count(), 0);
        assert_eq!(parts((u64::MAX - 3, u64::MAX)).collect::<Vec<_>>(), [(u64::MAX - 3, u64::MAX)]);
    }

    #[test]
    fn room_begins_at_a_page() {
        let mut room = Room::default();
        for len in [1, 4096, CHUNK as usize, 3 * CHUNK as usize, 5] {
            let bytes = room.take(len);
            assert_eq!((bytes.len(), bytes.as_ptr() as usize % PAGE), (len, 0));
        }
    }

    #[test]
    fn zeros_and_differences_are_found_at_every_place() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for i in 0..len {
                bytes[i] = 1;
                assert!(!is_zero(&bytes));
                assert_eq!(first_difference(&bytes, &vec![0; len]), Some(i));
                bytes[i] = 0;
            }
        }
    }
}
