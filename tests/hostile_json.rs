//! Headers with a JSON area of the largest size, 4 MiB, full of the costliest content. Measures the memory and time for
//! loading and rewriting one.

#![cfg(feature = "std")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use atrest::volume::Header;
use atrest::{BlockDevice, MemoryDevice, Protector, Volume};
use common::header::{self, COPY, JSON};
use common::spent::spent;
use common::vaults::MemoryVault;
use common::volumes::options;
use serde_json::{Value, json};

struct Measuring;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(now, Relaxed);
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may stand side by side.
        add(new_size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// The size of a copy of the largest header.
const SIZE: usize = 4 << 20;
const DATA: usize = 10 << 20;

/// The most memory that the library may use beyond that of the device.
const MOST_MEMORY: usize = 64 << 20;

/// For each copy the metadata of a volume of the library's, with `filler` put in by `edit` until the area is full.
fn image(sound: &[u8], place: &str, unit: &str) -> Vec<u8> {
    let mut json: Value = header::json(sound, 0);
    json["config"]["json_size"] = json!((SIZE - JSON).to_string());
    json["config"]["keyslots_size"] = json!("0");
    json["segments"]["0"]["offset"] = json!(DATA.to_string());
    json["tokens"] = json!({"0": {"type": "x", "keyslots": []}});
    let object = if place.is_empty() { &mut json } else { json.pointer_mut(place).unwrap() };
    object["filler"] = json!("here");
    let text = json.to_string();
    let (before, after) = text.split_once("\"filler\":\"here\"").unwrap();
    let count = (SIZE - JSON - text.len() - 16) / unit.len();
    // A list, or members, each with the name that the unit gives it.
    let filler = match unit.starts_with('"') && unit.contains(':') {
        true => format!("{}\"z\":0", unit.repeat(count)),
        false => format!("\"filler\":[{}0]", unit.repeat(count)),
    };
    let text = format!("{before}{filler}{after}");
    let mut image = vec![0; DATA + 4096];
    for which in 0..2 {
        let copy = &mut image[which * SIZE..(which + 1) * SIZE];
        copy[..JSON].copy_from_slice(&header::copy(sound, which)[..JSON]);
        copy[JSON..JSON + text.len()].copy_from_slice(text.as_bytes());
        copy[8..16].copy_from_slice(&(SIZE as u64).to_be_bytes());
        copy[256..264].copy_from_slice(&((which * SIZE) as u64).to_be_bytes());
        header::seal(copy);
    }
    image
}

/// The memory that `act` takes beyond the memory in use before, and its time.
fn cost<T>(act: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let start = spent();
    let done = act();
    let took = spent();
    (done, MOST.load(Relaxed) - before, took - start)
}

#[test]
fn four_mebibytes_of_json_cost_little_whatever_they_hold() {
    let vault = MemoryVault::new("memory:one");
    let device = MemoryDevice::new((1 << 20) + 8192);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options()).unwrap();
    let mut sound = vec![0; 2 * COPY];
    volume.device().read_at(0, &mut sound).unwrap();
    drop(volume);

    // As built for use; without optimisation the same steps take a hundred times as long.
    let (load, change) = if cfg!(debug_assertions) { (20_000, 60_000) } else { (200, 1_000) };
    let units = [
        "[],",
        "0,",
        "{},",
        "\"\",",
        "\"\\u0000\",",
        "[[[[[[[[[[[[[[]]]]]]]]]]]]]],",
        "{\"a\":0},",
        "\"a\":0,",
        "\"\\u0061\":[],",
        "\"\":{\"\":{\"\":{}}},",
    ];
    // What differs by the place is where it is refused, by the unit how much there is of it; the rest is for release.
    let (places, units) = if cfg!(debug_assertions) {
        (&["", "/tokens/0"][..], &["[],", "\"a\":0,"][..])
    } else {
        (&["", "/tokens/0", "/segments/0", "/digests/0", "/config", "/keyslots", "/tokens"][..], &units[..])
    };
    for &place in places {
        for &unit in units {
            let device = MemoryDevice::from_bytes(image(&sound, place, unit));
            let (loaded, memory, took) = cost(|| Header::load(&device).map(|header| header.tokens().len()));
            // In a group with numbers as names it is always refused. Elsewhere the library ignores it.
            assert_eq!(loaded.is_ok(), !["/keyslots", "/tokens"].contains(&place), "{place} {unit}: {loaded:?}");
            assert!(memory <= MOST_MEMORY, "{place} {unit}: loading took {memory} bytes");
            assert!(took <= Duration::from_millis(load), "{place} {unit}: loading took {took:?}");
            if loaded.is_err() {
                continue;
            }
            let (changed, memory, took) = cost(|| Header::load(&device).unwrap().set_label("new", ""));
            changed.unwrap();
            assert!(memory <= MOST_MEMORY, "{place} {unit}: relabelling took {memory} bytes");
            assert!(took <= Duration::from_millis(change), "{place} {unit}: relabelling took {took:?}");
        }
    }
}
