//! A client that is killed at any moment. moto keeps all in memory, so it is the client's turn.
//!
//! A child writes steps of blocks, syncs after each, and tells which are synced. What is there after its death is exactly one
//! of two states: that of the last step it told, or that of the next.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use atrest::BlockDevice;
use atrest_s3::{S3Backend, S3Device};

use crate::server::{ID, Moto, options};
use crate::storm::{BLOCK, content};
use crate::storms::rounds;

const BLOCKS: u64 = 160;
const CHILD: &str = "ATREST_S3_CHILD";

/// The blocks of a step, by its number.
fn step(number: u64) -> Vec<u64> {
    let mut noise = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..1 + number % 24)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise % BLOCKS
        })
        .collect()
}

/// The content of all blocks after `steps` steps: the numbers of the steps that wrote them last.
fn after(steps: u64) -> Vec<u64> {
    let mut blocks = vec![0; BLOCKS as usize];
    for number in 1..=steps {
        step(number).into_iter().for_each(|block| blocks[block as usize] = number);
    }
    blocks
}

fn open(url: &str) -> S3Device {
    S3Backend::new(url, options().take_over(true)).unwrap().open_disk(ID).unwrap()
}

/// Not a test by itself: the client that is killed.
#[test]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let (url, first) = job.split_once(' ').unwrap();
    let device = open(url);
    for number in first.parse::<u64>().unwrap().. {
        for block in step(number) {
            device.write_at(block * BLOCK as u64, &content(block, number)).unwrap();
        }
        device.sync().unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "synced {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_client_that_is_killed_leaves_a_whole_state() {
    let Some(moto) = Moto::start() else { return };
    drop(moto.backend().create_disk(ID, BLOCKS * BLOCK as u64).unwrap());
    let (mut done, mut landed) = (0, 0);
    for round in 0..rounds() * 3 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kills::child", "--nocapture"]).stdout(Stdio::piped());
        command.env(CHILD, format!("{} {}", moto.url(), done + 1));
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = done;
        let synced = |line: &str| line.rsplit_once("synced ").and_then(|(_, number)| number.parse().ok());
        // After a few steps, at some moment of the next one.
        for line in lines.by_ref().map_while(Result::ok) {
            told = synced(&line).unwrap_or(told);
            if told >= done + 3 {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(round * 13 % 90));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            told = synced(&line).unwrap_or(told);
        }
        assert!(told >= done + 3, "the child made no steps");

        let device = open(&moto.url());
        let mut bytes = vec![0; BLOCK];
        let holds = |steps: u64, bytes: &mut Vec<u8>| {
            after(steps).into_iter().zip(0..).all(|(number, block)| {
                device.read_at(block * BLOCK as u64, bytes).unwrap();
                *bytes == content(block, number)
            })
        };
        let found = (told..=told + 1).find(|steps| holds(*steps, &mut bytes));
        done = found.unwrap_or_else(|| panic!("round {round}: neither the state of step {told} nor of the next"));
        landed += u64::from(done > told);
        // Nothing is left but what the state needs: a root, a lock, a page and the chunks that aren't zeros. The server may still
        // do what the child has sent.
        let per_chunk = (64 << 10) / BLOCK;
        let chunks = after(done).chunks(per_chunk).filter(|blocks| blocks.iter().any(|number| *number > 0)).count();
        let mut left = Vec::new();
        for _ in 0..100 {
            device.collect_orphans().unwrap();
            left = moto.keys();
            if left.len() == 3 + chunks {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left.len(), 3 + chunks, "round {round}: {left:?}");
        device.close().unwrap();
    }
    println!("{done} steps, {landed} syncs done that weren't told");
}
