//! How many blocks of 4 KiB one thread reads and writes a second, past the page cache: see README.md.

mod buffers;
mod disks;
mod ring;

use std::time::{Duration, Instant};

use buffers::Buffers;
use disks::Disks;
use ring::Ring;

const BLOCK: usize = 4096;
const SIZE: u64 = 512 << 20;

/// One way to read and write, for as long as it is told; returns how many blocks it did.
type Way<'a> = (&'static str, Box<dyn FnMut(Duration) -> u64 + 'a>);

fn main() {
    let mut args = std::env::args().skip(1).map(|n| n.parse::<u64>().expect("numbers: DEPTH ROUNDS MILLISECONDS"));
    let (depth, rounds, ms) = (args.next().unwrap_or(32), args.next().unwrap_or(9), args.next().unwrap_or(400));
    let folder = tempfile::tempdir_in(std::env::var_os("TMPDIR").unwrap_or(".".into())).unwrap();
    let disks = Disks::new(folder.path(), SIZE);
    println!("one thread, 4 KiB at random, depth {depth}, O_DIRECT; medians of {rounds} rounds of {ms} ms each");
    for (what, ways) in [("reads", disks.reads(depth as usize)), ("writes", disks.writes(depth as usize))] {
        compare(what, ways, rounds as usize, Duration::from_millis(ms));
    }
    for (what, ways) in [
        ("16 MiB in one call: MiB written", disks.large_writes()),
        ("16 MiB in one call: MiB read", disks.large_reads()),
    ] {
        compare(what, ways, rounds as usize, Duration::from_millis(ms));
    }
    println!("\n{:<44} {:>9} {:>8}", "without the device", "ns", "by hand");
    for (what, mut ways) in disks.costs() {
        // The least of many short rounds: what others take from this core only ever adds.
        let mut least = vec![f64::INFINITY; ways.len()];
        for _ in 0..20_000 {
            for ((_, act), least) in ways.iter_mut().zip(&mut least) {
                let began = Instant::now();
                (0..16).for_each(|_| act());
                *least = least.min(began.elapsed().as_nanos() as f64 / 16.0);
            }
        }
        for ((name, _), ns) in ways.iter().zip(&least) {
            println!("{:<44} {ns:>9.0} {:>8.3}", format!("{what}, {name}"), ns / least[0]);
        }
    }
}

/// All ways take turns, and are compared with the first of the same round.
fn compare(what: &str, mut ways: Vec<Way>, rounds: usize, time: Duration) {
    let mut rates = vec![vec![]; ways.len()];
    for round in 0..rounds {
        // Each way begins a round as often as the others: what the one before leaves behind counts for all.
        for turn in 0..ways.len() {
            let n = (round + turn) % ways.len();
            let began = Instant::now();
            let blocks = ways[n].1(time);
            rates[n].push(blocks as f64 / began.elapsed().as_secs_f64());
        }
    }
    println!("\n{what:<44} {:>9} {:>8}", "a second", "of first");
    for ((name, _), of) in ways.iter().zip(&rates) {
        let ratios = of.iter().zip(&rates[0]).map(|(rate, hand)| rate / hand).collect();
        println!("{name:<44} {:>9.0} {:>8.3}", median(of.clone()), median(ratios));
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Offsets of blocks all over the data, the same in each run.
fn offsets() -> impl Iterator<Item = u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % (SIZE / BLOCK as u64) * BLOCK as u64
    })
}
