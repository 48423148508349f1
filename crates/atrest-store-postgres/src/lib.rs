//! The store of `atrest`'s managed disks in PostgreSQL, which many hosts share.
//!
//! ```no_run
//! use atrest::managed::store::{Action, Change, Outcome, Store};
//! use atrest_store_postgres::{PostgresOptions, PostgresStore};
//!
//! // The primary and its standby, in any order: the one that takes writes is found by asking.
//! let options = PostgresOptions::new("postgresql://disks@db1.example,db2.example/disks")?
//!     .password(std::fs::read_to_string("/run/secrets/disks")?.trim())
//!     .root_certificates(std::fs::read("/etc/disks/db-ca.pem")?);
//! let store = PostgresStore::open(&options)?;
//! let change = Change { key: "disk/1".into(), expected: None, action: Action::Put(b"record".to_vec()) };
//! assert!(matches!(store.commit(&[change])?, Outcome::Committed(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | durable | acknowledged commits are on the primary's disk and with a synchronous standby. A server without one is refused, unless [`PostgresOptions::without_standby`] says that its storage is replicated; one with `fsync=off` always is |
//! | serializable | by row locks, taken in the order of the keys before anything is decided: see below |
//! | current | reads go to the server that accepts writes, and never to a standby |
//! | time | a call ends by the deadline, 10 s by default, also when the server hangs or hosts change their roles |
//! | a commit without an answer | [`Error::Io`](atrest::Error): it may have happened. The server refuses it once the deadline is over |
//! | failover | the next call finds the host that accepts writes. Reads are tried again, and so are commits whose decisive statements weren't sent yet |
//! | TLS | required, by `rustls`, but to this machine |
//!
//! # How a commit works
//!
//! `SERIALIZABLE` would let a commit happen that was checked against a record which another host has changed since, as long as
//! some serial order explains both. A fence needs more: once a lease was taken over and that was acknowledged, no change that
//! was checked against the old lease may appear. So each commit locks the rows it has expectations of, in `READ COMMITTED`:
//! those that it changes `FOR UPDATE`, those that it only checks `FOR SHARE`. A record that must not exist is held by inserting
//! it. All locks are taken in the order of the keys, so commits don't deadlock. The revision is taken from a sequence while the
//! row is locked: it grows with each change of a key, also over removals.
//!
//! # Threads
//!
//! Calls block. They use `tokio-postgres`, on one thread of this crate's own: the blocking crate `postgres` is the same client
//! over the same runtime, and can't end a query that hangs. Calls work in an asynchronous program too, but block the calling
//! thread. After a `fork`, the child has to open a store of its own.

#![deny(unsafe_code)]

mod address;
mod commit;
mod connection;
mod options;
mod pool;
mod reads;
mod schema;
mod store;
mod trouble;

pub use options::PostgresOptions;
pub use store::PostgresStore;

#[cfg(doctest)]
mod documents {
    //! The examples of the documentation.
    #[doc = include_str!("../../../docs/fleet/postgres.md")]
    struct Page;
    #[doc = include_str!("../README.md")]
    struct Readme;
}
