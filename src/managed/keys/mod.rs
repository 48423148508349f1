//! Keys and who may use them now: vaults that answer in time, leases, and what is proved of the keys of a resource.

mod deadline;
mod key_lease;
mod lease;
mod proofs;

pub(super) use deadline::{Patience, Patient};
pub(super) use key_lease::{Gate, Gated, KeyLease, Leases, Refusals};
pub(super) use lease::Now;
pub use lease::{LeasePolicy, OutagePolicy};
pub(super) use proofs::{Notes, not_ours};
