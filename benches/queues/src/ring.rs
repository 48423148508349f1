//! A queue of reads or writes, kept full.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

use crate::{BLOCK, Buffers, offsets};

pub struct Ring<'f> {
    ring: IoUring,
    file: &'f File,
    depth: usize,
    buffers: Buffers,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    Read,
    Write,
}

impl<'f> Ring<'f> {
    pub fn new(file: &'f File, depth: usize) -> Self {
        Ring { ring: IoUring::new(depth as u32).unwrap(), file, depth, buffers: Buffers::new(depth) }
    }

    /// Keeps `depth` requests under way. `begin` gets a block's offset and its buffer, and says where it is on the device;
    /// what it returns beside that `complete` gets back.
    pub fn run<T>(
        &mut self,
        direction: Direction,
        time: Duration,
        mut begin: impl FnMut(u64, &mut [u8]) -> (u64, T),
        mut complete: impl FnMut(T, &mut [u8]),
    ) -> u64 {
        let (end, mut offsets, mut blocks) = (Instant::now() + time, offsets(), 0);
        let mut under_way: Vec<Option<T>> = (0..self.depth).map(|_| None).collect();
        let mut free: Vec<usize> = (0..self.depth).collect();
        loop {
            while let Some(n) = free.pop() {
                let buffer = self.buffers.block(n);
                let (at, begun) = begin(offsets.next().unwrap(), buffer);
                under_way[n] = Some(begun);
                let (fd, bytes) = (types::Fd(self.file.as_raw_fd()), buffer.as_mut_ptr());
                let entry = match direction {
                    Direction::Read => opcode::Read::new(fd, bytes, BLOCK as u32).offset(at).build(),
                    Direction::Write => opcode::Write::new(fd, bytes, BLOCK as u32).offset(at).build(),
                };
                // SAFETY: nobody uses the buffer or closes the file before the completion: the one is not in `free`, the
                // other is borrowed; and this function waits for all that it submitted.
                unsafe { self.ring.submission().push(&entry.user_data(n as u64)).unwrap() };
            }
            self.ring.submit_and_wait(1).unwrap();
            for completed in self.ring.completion() {
                assert_eq!(completed.result(), BLOCK as i32);
                let n = completed.user_data() as usize;
                complete(under_way[n].take().unwrap(), self.buffers.block(n));
                free.push(n);
                blocks += 1;
            }
            if Instant::now() >= end {
                break;
            }
        }
        let mut left = self.depth - free.len();
        while left > 0 {
            self.ring.submit_and_wait(1).unwrap();
            for completed in self.ring.completion() {
                assert_eq!(completed.result(), BLOCK as i32);
                let n = completed.user_data() as usize;
                complete(under_way[n].take().unwrap(), self.buffers.block(n));
                (left, blocks) = (left - 1, blocks + 1);
            }
        }
        blocks
    }
}
