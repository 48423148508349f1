//! Volumes written by other programs and read by us, and the reverse: `cryptsetup`, `qemu-img`, and the readers
//! dissect.fve and OpenSSL. Each cell of the tables is counted, and the counts are printed.

#![cfg(all(feature = "std", unix))]

#[cfg(target_os = "linux")]
mod block_device;
mod ciphers;
mod conversion;
mod erasing;
mod features;
mod image;
mod in_place;
mod independent;
mod matrix;
mod models;
mod qemu;
mod reencryption;
mod segments;

#[path = "../common/mod.rs"]
mod common;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

static OURS: AtomicUsize = AtomicUsize::new(0);
static THEIRS: AtomicUsize = AtomicUsize::new(0);

/// The cells of one table.
struct Cells {
    table: &'static str,
    ours: usize,
    theirs: usize,
}

impl Cells {
    fn of(table: &'static str) -> Self {
        Cells { table, ours: 0, theirs: 0 }
    }

    /// A peer has read our data, and has read it right.
    fn they_read(&mut self) {
        self.ours += 1;
    }

    /// We have read a peer's data, and have read it right.
    fn we_read(&mut self) {
        self.theirs += 1;
    }

    /// Prints the counts, where `cargo test` can't hide them.
    fn print(self) {
        let Cells { table, ours, theirs } = self;
        let both = ours + theirs;
        let all_ours = OURS.fetch_add(ours, Ordering::Relaxed) + ours;
        let all_theirs = THEIRS.fetch_add(theirs, Ordering::Relaxed) + theirs;
        let all = all_ours + all_theirs;
        let line = format!(
            "interop, {table}: {both} cells, {ours} + {theirs}\n\
             interop: {all} cells so far: {all_ours} we write, peer reads; {all_theirs} peer writes, we read\n"
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
