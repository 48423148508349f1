//! Keys and their use: vaults with deadlines, leases, proofs of the keys of a resource, and opening its volumes with the right key.

mod access;
mod backoff;
mod choice;
mod deadline;
mod key_lease;
mod lease;
mod open;
mod platform;
mod proofs;
mod vaults;
mod workers;

pub(super) use access::Access;
pub(super) use choice::not_ours;
pub(super) use key_lease::{KeyLease, LeaseState};
pub(super) use lease::Now;
pub use lease::{LeasePolicy, OutagePolicy};
pub(super) use open::Opened;
pub(super) use proofs::Notes;
pub(super) use vaults::Vaults;
