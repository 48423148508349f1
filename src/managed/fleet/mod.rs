//! Hosts that share a store: each has a lease, and a device is open on one of them.
//!
//! No two clocks are compared. A host counts its lease from before it sent the renewal; another host takes it for lost only
//! after it has itself watched the renewals stand still for longer than that, on its own clock. Both clocks count through
//! suspend, and nobody sets them.

mod attachments;
mod batch;
mod fenced;
mod lease;
mod watch;

pub(super) use self::attachments::Fleet;
pub(super) use self::batch::{Attached, Batch};
pub(super) use self::fenced::{Fenced, Here};
pub use self::lease::HostOptions;
pub(super) use self::watch::patience;
