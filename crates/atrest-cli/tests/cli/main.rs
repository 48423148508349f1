//! The program, used as a person and as a script use it.

#[cfg(feature = "bitlocker")]
mod bitlocker;
mod block_devices;
mod common;
mod documents;
mod fleet;
mod headerless;
mod in_place;
#[cfg(feature = "kms")]
mod key_service;
mod keys;
mod luks;
#[cfg(feature = "mount")]
mod mounting;
mod obstacles;
mod schemas;
mod secrets;
#[cfg(any(feature = "etcd", feature = "postgres"))]
#[path = "../../../../tests/common/servers.rs"]
mod servers;
mod serving;
#[cfg(any(feature = "etcd", feature = "postgres"))]
mod shared_fleet;

mod statuses;
#[cfg(feature = "kms")]
mod taking_over;
mod terminal;
mod vault_secrets;
mod volumes;
