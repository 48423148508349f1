//! A client that is killed at any moment.
//!
//! A child writes one block after the other, and tells each write that was acknowledged. All those are there after its death,
//! and of the next one any sectors may be.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use atrest::BlockDevice;
use atrest_azblob::PageBlobBackend;

use crate::leases::break_lease;
use crate::server::{Azurite, options};
use crate::storm::{BLOCK, content};
use crate::storms::rounds;

const BLOCKS: u64 = 32;
const CHILD: &str = "ATREST_AZBLOB_CHILD";

/// The block of a write, by its number.
fn block(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & (BLOCKS - 1)
}

/// Not a test by itself: the client that is killed.
#[test]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let (url, first) = job.split_once(' ').unwrap();
    let device = PageBlobBackend::new(url, options()).unwrap().open_blob("kills").unwrap();
    for number in first.parse::<u64>().unwrap().. {
        let block = block(number);
        device.write_at(block * BLOCK as u64, &content(block, number)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "wrote {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_client_that_is_killed_loses_nothing_that_was_acknowledged() {
    let Some(azurite) = Azurite::start() else { return };
    drop(azurite.backend().create_blob("kills", BLOCKS * BLOCK as u64).unwrap());
    let mut told = 0;
    // The values that each block may hold: unacknowledged writes may be there in any sectors.
    let mut blocks: Vec<Vec<u64>> = vec![vec![0]; BLOCKS as usize];
    for round in 0..rounds() * 3 {
        let before = told;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kills::child", "--nocapture"]).stdout(Stdio::piped());
        command.env(CHILD, format!("{} {}", azurite.url(), told + 1));
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: &str| line.rsplit_once("wrote ").and_then(|(_, number)| number.parse::<u64>().ok());
        for line in lines.by_ref().map_while(Result::ok) {
            told = number(&line).unwrap_or(told);
            if told >= before + 8 {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(round * 7 % 40));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            told = number(&line).unwrap_or(told);
        }
        assert!(told >= before + 8, "the child made no writes");
        for number in before + 1..=told {
            blocks[block(number) as usize] = vec![number];
        }
        blocks[block(told + 1) as usize].push(told + 1);

        // Another host takes over. From here on nothing of the child's is done any more.
        break_lease(&azurite, "kills");
        let device = azurite.backend().open_blob("kills").unwrap();
        for (number, may_be) in (0..).zip(&mut blocks) {
            let mut bytes = vec![0; BLOCK];
            device.read_at(number * BLOCK as u64, &mut bytes).unwrap();
            let whole: Vec<_> = may_be.iter().map(|stamp| content(number, *stamp)).collect();
            for (at, sector) in bytes.chunks(512).enumerate() {
                let known = whole.iter().any(|whole| &whole[at * 512..(at + 1) * 512] == sector);
                assert!(known, "round {round}: sector {at} of block {number} isn't of a write in {may_be:?}");
            }
        }
        // The number isn't used again: a late write must not look like another one.
        told += 1;
    }
}
