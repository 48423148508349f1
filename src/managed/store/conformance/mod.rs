//! The cases that every [`Store`] has to pass, for the tests of its implementation.
//!
//! They are behind the feature `store-conformance`, which only tests need:
//!
//! ```toml
//! [dev-dependencies]
//! atrest = { version = "0.1", features = ["store-conformance"] }
//! ```
//!
//! A test makes an empty place for records on a real server, and passes a function that opens a client of it:
//!
//! ```
//! use atrest::managed::store::{MemoryStore, conformance};
//!
//! let server = MemoryStore::new();
//! conformance::run(|| server.clone());
//! conformance::run_case("write_skew", || server.clone());
//! ```
//!
//! Each case works below a prefix of its own, and removes its records unless it fails. So cases may run beside each other, and
//! again on the same server. [`run_faults`] needs more of a test: the test has to make its server hang.

mod commits;
mod faults;
mod races;
mod reads;
#[cfg(test)]
mod tests;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::faults::{Faults, run_faults};
use self::world::World;
use super::shared::Store;

/// A case: its name and its function.
type Case = (&'static str, fn(&World<'_>));

const CASES: [Case; 20] = [
    ("nothing", reads::nothing),
    ("values", reads::values),
    ("get", reads::get),
    ("keys", reads::keys),
    ("order", reads::order),
    ("prefixes", reads::prefixes),
    ("pages", reads::pages),
    ("limits", reads::limits),
    ("conditions", commits::conditions),
    ("revisions", commits::revisions),
    ("atomicity", commits::atomicity),
    ("largest", commits::largest),
    ("two_clients", commits::two_clients),
    ("creation", races::creation),
    ("counter", races::counter),
    ("write_skew", races::write_skew),
    ("absent_skew", races::absent_skew),
    ("fences", races::fences),
    ("bank", races::bank),
    ("rebirth", races::rebirth),
];

/// The names of all cases, for [`run_case`].
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, _)| *name)
}

/// Runs all cases. Each call of `open` opens another client of the same records. Threads of a case have clients of their own, up to
/// 8 at once.
///
/// # Panics
/// After all have run, if some failed: the text has their names. Each failed case has printed its own panic before.
pub fn run<S: Store + 'static>(open: impl Fn() -> S + Sync) {
    let failed: Vec<&str> =
        cases().filter(|name| catch_unwind(AssertUnwindSafe(|| run_case(name, &open))).is_err()).collect();
    assert!(failed.is_empty(), "the store doesn't pass the cases {failed:?}");
}

/// Runs one case.
///
/// # Panics
/// If it fails, or if there is none of this name.
pub fn run_case<S: Store + 'static>(name: &str, open: impl Fn() -> S + Sync) {
    let found = CASES.iter().find(|(other, _)| *other == name);
    let (name, case) =
        found.unwrap_or_else(|| panic!("there is no case {name:?}, only {:?}", cases().collect::<Vec<_>>()));
    let open = || Box::new(open()) as Box<dyn Store>;
    let world = World::new(name, &open);
    case(&world);
    world.clean();
}
