//! The store of `atrest`'s managed disks in etcd, which many hosts share.
//!
//! ```no_run
//! use atrest::managed::store::{Action, Change, Outcome, Store};
//! use atrest_store_etcd::{EtcdOptions, EtcdStore, Hidden, HttpOptions};
//!
//! let http = HttpOptions::new().root_certificates(std::fs::read("/etc/disks/etcd-ca.pem")?);
//! let options = EtcdOptions::new(["https://e1.example:2379", "https://e2.example:2379", "https://e3.example:2379"])
//!     .http(http)
//!     .user("disks", Hidden::new(std::fs::read_to_string("/run/secrets/etcd")?.trim()));
//! let store = EtcdStore::open(&options)?;
//! let change = Change { key: "disk/1".into(), expected: None, action: Action::Put(b"record".to_vec()) };
//! assert!(matches!(store.commit(&[change])?, Outcome::Committed(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | durable | acknowledged commits are on the disks of most members |
//! | serializable | a commit is one transaction of etcd, which compares `mod_revision`, the revision of a record |
//! | current | reads are linearizable, by any member |
//! | time | a call ends by half of the deadline, which is 16 s by default, also when members hang |
//! | a commit without an answer | [`Error::Io`](atrest::Error): it may have happened, and is never sent twice |
//! | after the deadline | it doesn't happen any more: see below |
//! | members that fail | the others are asked. A request that was sent to one, and may change something, isn't sent to another |
//!
//! # Commits that come late
//!
//! A member that hangs may pass on a commit minutes later. So each store has a session: a key under a lease, which every commit
//! demands. After a commit without an answer, the store's next call ends that session first, so that its later reads stay true.
//! If the store's process is gone, the lease ends by itself, a quarter of the deadline after it was last renewed. This depends
//! only on the order of etcd's own log, and the leader's clock.
//!
//! # Why JSON over HTTP
//!
//! etcd also serves its whole interface as JSON over HTTP. This crate uses that by `atrest-http`, the client below the key
//! services: blocking, and without a runtime. The crate `etcd-client` brings `tonic`, `prost`, `hyper`, `tokio`, and a compiler
//! of protocol buffers at build time.

#![deny(unsafe_code)]

mod api;
mod options;
mod server;
mod session;
mod store;
mod trouble;

pub use atrest_http::{Hidden, HttpOptions};
pub use options::EtcdOptions;
pub use store::EtcdStore;

#[cfg(doctest)]
mod documents {
    //! The examples of the documentation.
    #[doc = include_str!("../../../docs/fleet/etcd.md")]
    struct Page;
    #[doc = include_str!("../README.md")]
    struct Readme;
}
