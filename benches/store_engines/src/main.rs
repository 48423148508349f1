//! Compares the candidate engines for the store of managed disks: see README.md.

mod child;
mod damage;
mod engines;
mod full;
mod kill;
mod service;
mod speed;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use engines::NAMES;

/// A name like a disk's.
fn key(n: usize) -> String {
    format!("disk-{n:06}")
}

/// A record about as long as a disk's.
fn value(n: usize) -> Vec<u8> {
    let id = uuid::Builder::from_random_bytes((n as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060).to_le_bytes());
    let id = id.into_uuid();
    format!(
        r#"{{"kind":"disk","name":"{}","id":"{id}","region":"north","subscription":"one","size":{},"sector_size":4096,"encryption_type":"customer-key","set":"set-{}","joining":null,"guest_encrypted":false,"created":1700000000,"source":null,"increment":null,"fingerprints":["{}{}"]}}"#,
        key(n),
        n << 30,
        n % 100,
        id.simple(),
        id.simple(),
    )
    .into_bytes()
}

/// A new folder among the temporary files.
fn folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("atrest-engines-{}-{n}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    folder
}

const USAGE: &str =
    "damage [CASES] | kill [ROUNDS] | full [MIB] | speed [RECORDS], then the engines; -v names the cases";

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let verbose = args.iter().position(|arg| arg == "-v").map(|at| args.remove(at)).is_some();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("{text} is no number; {USAGE}"));
    match args[..] {
        ["damage-child", engine, folder, from, to] => {
            return damage::child(engine, Path::new(folder), number(from), number(to));
        }
        ["kill-child", engine, folder] => return kill::child(engine, Path::new(folder)),
        ["count-child", engine, folder] => return kill::count(engine, Path::new(folder)),
        ["full-child", engine, folder] => return full::child(engine, Path::new(folder)),
        ["speed-child", engine, folder, step, count] => {
            return speed::child(engine, Path::new(folder), step, number(count));
        }
        _ => {}
    }
    let (what, rest) = args.split_first().expect(USAGE);
    let default = [("damage", 4000), ("kill", 100), ("full", 96), ("speed", 100_000)];
    let default = default.iter().find(|(name, _)| name == what).expect(USAGE).1;
    let (count, engines) = match rest.split_first() {
        Some((first, engines)) if first.parse::<usize>().is_ok() => (number(first), engines),
        _ => (default, rest),
    };
    let engines = if engines.is_empty() { &NAMES } else { engines };
    match *what {
        "damage" => {
            println!("{count} damaged copies");
            for engine in engines {
                let counts = damage::run(engine, count, verbose);
                let told: Vec<_> =
                    damage::OUTCOMES.iter().zip(counts).map(|((name, _), count)| format!("{name} {count}")).collect();
                println!("{engine:<8}{}", told.join(", "));
            }
        }
        "kill" => {
            println!("{count} kills");
            for engine in engines {
                let (done, lost, closed) = kill::run(engine, count);
                println!("{engine:<8}{done} commits, {lost} of them lost, {closed} times it did not open again");
            }
        }
        "full" => {
            println!("a disk of {count} MiB that gets full");
            for engine in engines {
                println!("{engine:<8}{}", full::run(engine, count).join("; "));
            }
        }
        _ => {
            println!("{count} records");
            for engine in engines {
                match speed::run(engine, count) {
                    Some([made, size, open, checked, load, put, memory]) => println!(
                        "{engine:<8}made {made:.2} s, {size} MiB; opened {:.1} ms, checked too {:.1} ms; loaded {:.1} ms; \
                         one put {:.3} ms; memory {memory} MiB",
                        open * 1e3,
                        checked * 1e3,
                        load * 1e3,
                        put * 1e3,
                    ),
                    None => println!("{engine:<8}it did not come to an end"),
                }
            }
        }
    }
}
