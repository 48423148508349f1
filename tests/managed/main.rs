//! Managed disks: sets, leases, rotations, snapshots and copies, in fleets that crash, get damaged, and lose access to
//! keys.

#![cfg(feature = "managed")]

mod adopt;
mod adopt_faults;
mod adopt_rebuilt;
mod backup;
mod capabilities;
mod captures;
mod closing;
mod copies;
mod crash;
mod fleet;
mod import;
mod model;
mod planted;
mod platform;
mod proofs;
mod rebuild;
mod regressions;
mod regressions_copies;
mod rehearsal;
mod rekey;
mod report;
mod resize;
mod service;
mod submit;
mod tenants;
mod threads;
mod time;
mod vaults;
mod withdraw;
mod written;
mod zeroes;

#[path = "../common/mod.rs"]
mod common;
