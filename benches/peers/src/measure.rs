//! Rounds in which every contender has a turn.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::memory::{Buffer, PAGE};

/// The least duration of a turn: far above the clock's resolution, far below a scheduler's time slice.
const TURN: Duration = Duration::from_micros(150);

/// A contender: does the work once, on the given slice. `None` if absent.
pub type Work<'a> = Option<Box<dyn FnMut(&mut [u8]) + 'a>>;

/// Seconds for one repetition of the work.
#[derive(Clone, Copy)]
pub struct Timing {
    pub median: f64,
    /// In the fastest round.
    pub best: f64,
    /// The distance of the quartiles, relative to the median.
    pub spread: f64,
}

/// Gives every contender a turn in each of `rounds` rounds, after a first round that doesn't count.
///
/// In a round all get the same offset in a page, and in the next round another one. The order changes too. So neither
/// an alignment nor the machine's other load favours any contender.
pub fn interleave(contenders: &mut [Work], buffer: &mut Buffer, rounds: usize) -> Vec<Option<Timing>> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut offset = || {
        // Xorshift; a multiple of 16, as from every allocator.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % (PAGE / 16) * 16
    };

    let warm_up = buffer.at(offset());
    let mut passes = vec![0u32; contenders.len()];
    for (work, passes) in contenders.iter_mut().zip(&mut passes) {
        let Some(work) = work else { continue };
        work(black_box(&mut *warm_up));
        let begin = Instant::now();
        let mut done = 0;
        while begin.elapsed() < TURN {
            work(black_box(&mut *warm_up));
            done += 1;
        }
        *passes = done;
    }

    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        let data = buffer.at(offset());
        for turn in 0..contenders.len() {
            let who = (turn + round) % contenders.len();
            let Some(work) = &mut contenders[who] else { continue };
            let begin = Instant::now();
            for _ in 0..passes[who] {
                work(black_box(&mut *data));
            }
            samples[who].push(begin.elapsed().as_secs_f64() / f64::from(passes[who]));
        }
    }
    samples.into_iter().map(timing).collect()
}

fn timing(mut samples: Vec<f64>) -> Option<Timing> {
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| samples.get((samples.len() as f64 * part) as usize).copied();
    let (low, median, high) = (at(0.25)?, at(0.5)?, at(0.75)?);
    Some(Timing { median, best: samples[0], spread: (high - low) / median })
}
