//! The measurements.

use std::thread;

use crate::measure::{Timing, Work, interleave};
use crate::memory::{self, Buffer};
use crate::peer::{Direction, Job, Peer, Role};
use crate::verify::{SECTORS, key};

/// Fits into the second level cache of every CPU, and is a typical I/O size of storage engines.
const NEAR: usize = 256 << 10;
const GIB: f64 = (1u64 << 30) as f64;

/// The amount of work.
pub struct Effort {
    pub rounds: usize,
    /// The size of memory far from the CPU, and the number of rounds over it.
    pub far: usize,
    pub far_rounds: usize,
    /// Whether figures are those of the fastest round.
    pub best: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// 256 KiB in cache, for a key of this many bytes.
    Near { key: u8, direction: Direction },
    /// Memory out of cache, with this many threads.
    Far { threads: usize },
    /// One call on one sector.
    Call,
    /// One call on a few sectors of 512 bytes.
    Few,
    /// From the bytes of a key to a cipher, and freeing it.
    SetUp,
}

/// The table that becomes a plot.
pub const PLOTTED: Table = Table::Near { key: 64, direction: Direction::Encrypt };

/// All tables, in the order in which they are printed.
pub fn all() -> [Table; 9] {
    let near = |key, direction| Table::Near { key, direction };
    [
        PLOTTED,
        near(64, Direction::Decrypt),
        near(32, Direction::Encrypt),
        near(32, Direction::Decrypt),
        Table::Far { threads: 1 },
        Table::Far { threads: 2 },
        Table::Call,
        Table::Few,
        Table::SetUp,
    ]
}

/// A measured table.
pub struct Results {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// Whether figures are times, so that less is better.
    pub times: bool,
    /// The largest distance of two quartiles, relative to the median.
    pub spread: f64,
    /// Whether figures are those of the fastest round.
    best: bool,
}

pub struct Row {
    pub name: String,
    pub role: Role,
    /// GiB/s or ns, one per column.
    pub figures: Vec<Option<f64>>,
}

impl Table {
    pub fn title(self, effort: &Effort) -> String {
        match self {
            Table::Near { key, direction } => {
                let direction = if direction == Direction::Encrypt { "encrypt" } else { "decrypt" };
                format!("AES-{}-XTS, {direction}, 256 KiB in cache, GiB/s", u32::from(key) * 4)
            }
            Table::Far { threads } => {
                let threads = if threads == 1 { "one thread" } else { "two threads" };
                format!("AES-256-XTS, encrypt, {} MiB in place, out of cache, {threads}, GiB/s", effort.far >> 20)
            }
            Table::Call => "AES-256-XTS, encrypt, one call on one sector, ns".to_owned(),
            Table::Few => "AES-256-XTS, encrypt, one call on so many sectors of 512 B, ns".to_owned(),
            Table::SetUp => "Key set-up: from key bytes to a cipher on the heap, and freeing it, ns".to_owned(),
        }
    }

    pub fn measure(self, peers: &[Peer], effort: &Effort) -> Results {
        let mut results = Results {
            title: self.title(effort),
            columns: Vec::new(),
            rows: Vec::new(),
            times: matches!(self, Table::Call | Table::Few | Table::SetUp),
            spread: 0.0,
            best: effort.best,
        };
        let peers: Vec<&Peer> = peers.iter().filter(|peer| self.includes(peer.role)).collect();
        let rows = peers.iter().map(|peer| (peer.name.as_str(), peer.role));
        let memory = [("memory: xor in place", Role::Ceiling), ("memory: memcpy", Role::Ceiling)];
        let memory = memory.iter().copied().filter(|_| matches!(self, Table::Far { .. }));
        results.rows =
            rows.chain(memory).map(|(name, role)| Row { name: name.to_owned(), role, figures: Vec::new() }).collect();

        match self {
            Table::Near { key: len, direction } => {
                let (key, mut buffer) = (key(len), Buffer::new(NEAR));
                for sector in SECTORS {
                    let job = Job { key: &key, direction, sector };
                    let mut work: Vec<_> = peers.iter().map(|peer| whole(peer, &job)).collect();
                    let timings = interleave(&mut work, &mut buffer, effort.rounds);
                    results.add(&size(sector), &timings, |seconds| NEAR as f64 / GIB / seconds);
                }
            }
            Table::Far { threads } => {
                let (key, mut buffer, mut copy) = (key(64), Buffer::new(effort.far), Buffer::new(effort.far));
                for sector in [512, 4096] {
                    let job = Job { key: &key, direction: Direction::Encrypt, sector };
                    let mut work: Vec<_> = peers.iter().map(|peer| split(peer, &job, threads)).collect();
                    work.push(Some(Box::new(|data| in_parts(data, threads, |_, part| memory::xor(part)))));
                    let copy = copy.at(0);
                    work.push(Some(Box::new(|data| {
                        let len = data.len() / threads;
                        thread::scope(|scope| {
                            for (from, to) in data.chunks(len).zip(copy.chunks_mut(len)) {
                                scope.spawn(|| to.copy_from_slice(from));
                            }
                        });
                    })));
                    let timings = interleave(&mut work, &mut buffer, effort.far_rounds);
                    results.add(&size(sector), &timings, |seconds| effort.far as f64 / GIB / seconds);
                }
            }
            Table::Call => {
                let key = key(64);
                for sector in [512, 4096] {
                    let (job, mut buffer) =
                        (Job { key: &key, direction: Direction::Encrypt, sector }, Buffer::new(sector));
                    let mut work: Vec<_> = peers.iter().map(|peer| whole(peer, &job)).collect();
                    let timings = interleave(&mut work, &mut buffer, effort.rounds);
                    results.add(&size(sector), &timings, |seconds| seconds * 1e9);
                }
            }
            Table::Few => {
                let key = key(64);
                for count in [1, 2, 3, 4, 6, 8, 12, 16] {
                    let mut buffer = Buffer::new(count * 512);
                    let job = Job { key: &key, direction: Direction::Encrypt, sector: 512 };
                    let mut work: Vec<_> = peers.iter().map(|peer| whole(peer, &job)).collect();
                    let timings = interleave(&mut work, &mut buffer, effort.rounds);
                    results.add(&count.to_string(), &timings, |seconds| seconds * 1e9);
                }
            }
            Table::SetUp => {
                for len in [64, 32] {
                    let (key, mut buffer) = (key(len), Buffer::new(0));
                    let job = Job { key: &key, direction: Direction::Encrypt, sector: 4096 };
                    let mut work: Vec<_> = peers.iter().map(|peer| set_up(peer, job)).collect();
                    let timings = interleave(&mut work, &mut buffer, effort.rounds);
                    results.add(&format!("AES-{}", u32::from(len) * 4), &timings, |seconds| seconds * 1e9);
                }
            }
        }
        results
    }

    /// The C ABI matters only for short calls; contenders without XTS have no sectors.
    fn includes(self, role: Role) -> bool {
        match self {
            Table::Near { .. } | Table::Far { .. } => role != Role::CAbi,
            Table::Call | Table::Few | Table::SetUp => role != Role::Ceiling,
        }
    }
}

impl Results {
    fn add(&mut self, column: &str, timings: &[Option<Timing>], figure: impl Fn(f64) -> f64) {
        self.columns.push(column.to_owned());
        for (row, timing) in self.rows.iter_mut().zip(timings) {
            row.figures.push(timing.map(|timing| figure(if self.best { timing.best } else { timing.median })));
        }
        self.spread = timings.iter().flatten().map(|timing| timing.spread).fold(self.spread, f64::max);
    }

    /// The speed of a figure relative to `atrest` with its default kernel.
    pub fn ratio(&self, column: usize, figure: f64) -> Option<f64> {
        let of_default = self.rows.iter().find(|row| row.role == Role::Default)?.figures[column]?;
        Some(if self.times { of_default / figure } else { figure / of_default })
    }
}

fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes >> 10) }
}

/// All data, in one thread.
fn whole<'a>(peer: &Peer, job: &Job) -> Work<'a> {
    let mut peer = peer.make(job)?;
    Some(Box::new(move |data| peer.crypt(7, data)))
}

/// All data, in equal parts for several threads.
fn split<'a>(peer: &Peer, job: &Job, threads: usize) -> Work<'a> {
    let mut each = (0..threads).map(|_| peer.make(job)).collect::<Option<Vec<_>>>()?;
    let sector = job.sector;
    Some(Box::new(move |data| {
        let len = data.len() / threads;
        thread::scope(|scope| {
            for (i, (peer, part)) in each.iter_mut().zip(data.chunks_mut(len)).enumerate() {
                scope.spawn(move || peer.crypt((i * len / sector) as u64, part));
            }
        });
    }))
}

fn in_parts(data: &mut [u8], threads: usize, work: impl Fn(usize, &mut [u8]) + Sync) {
    let len = data.len() / threads;
    thread::scope(|scope| {
        for (i, part) in data.chunks_mut(len).enumerate() {
            let work = &work;
            scope.spawn(move || work(i, part));
        }
    });
}

fn set_up<'a>(peer: &'a Peer, job: Job<'a>) -> Work<'a> {
    peer.make(&job)?;
    Some(Box::new(move |_| drop(peer.make(&job))))
}
