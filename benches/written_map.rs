//! What a map of written chunks costs: random writes of 4 KiB to a volume with one beside a volume without, first where nothing was
//! written, then where everything was. `cargo bench -p atrest-benches --bench written_map [FOLDER]`; the folder holds 256 MiB.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, FileDevice, FormatOptions, MemoryDevice, Protector, Volume};

const SIZE: u64 = 128 << 20;
const BLOCK: u64 = 4096;
const RUNS: usize = 7;
/// Writes of a round, and between two syncs.
const WRITES: u64 = 8 << 10;
const CHUNKS: [Option<u32>; 4] = [None, Some(4 << 10), Some(64 << 10), Some(1 << 20)];
const BETWEEN_SYNCS: [u64; 2] = [256, WRITES];

fn main() {
    let folder = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let image = folder.join("written-map-bench.img");
    println!("{WRITES} random writes of 4 KiB to {} MiB, a second; the best of {RUNS}", SIZE >> 20);
    for between in BETWEEN_SYNCS {
        compare(&format!("in a file, a sync each {between}"), between, || file(&image));
    }
    compare("in memory, no sync", u64::MAX, || MemoryDevice::new((SIZE + (32 << 20)) as usize));
    let _ = fs::remove_file(&image);
}

fn file(image: &Path) -> FileDevice {
    let _ = fs::remove_file(image);
    FileDevice::create(image, SIZE + (32 << 20)).expect("the image can be made")
}

fn compare<D: BlockDevice>(name: &str, between: u64, device: impl Fn() -> D) {
    println!("{name}");
    let mut best = CHUNKS.map(|chunk| (chunk, [Duration::MAX; 2]));
    // In turns, so that what else the machine does is shared by all.
    for _ in 0..RUNS {
        for (chunk, best) in &mut best {
            let volume = volume(device(), *chunk);
            best[0] = best[0].min(writes(&volume, between));
            // From here on everything is written.
            let zeros = vec![0; 1 << 20];
            (0..SIZE).step_by(zeros.len()).for_each(|at| volume.write_at(at, &zeros).expect("a write"));
            volume.sync().expect("a sync");
            best[1] = best[1].min(writes(&volume, between));
        }
    }
    for (chunk, best) in best {
        let map = chunk.map_or_else(|| "no map".into(), |chunk| format!("chunks of {} KiB", chunk >> 10));
        let [first, later] = best.map(|time| WRITES as f64 / time.as_secs_f64());
        println!("  {map:>18}: {first:>8.0} where nothing was written, {later:>8.0} where everything was");
    }
}

fn volume<D: BlockDevice>(device: D, chunk: Option<u32>) -> Volume<D> {
    let keyslot = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
    let options = FormatOptions::new().keyslot(keyslot);
    let options = chunk.map_or(options.clone(), |chunk| options.written_map(chunk));
    Volume::format(device, Protector::Passphrase(b"one"), &options).expect("a volume can be made")
}

fn writes<D: BlockDevice>(volume: &Volume<D>, between: u64) -> Duration {
    let (block, mut random) = ([7; BLOCK as usize], 1u64);
    let begun = Instant::now();
    for n in 1..=WRITES {
        // xorshift64: the same places each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        volume.write_at(random % (SIZE / BLOCK) * BLOCK, &block).expect("a write");
        if n % between == 0 {
            volume.sync().expect("a sync");
        }
    }
    begun.elapsed()
}
