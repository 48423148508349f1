//! The program, used as a person and as a script use it.

#[cfg(feature = "bitlocker")]
mod bitlocker;
mod block_devices;
#[cfg(feature = "rbd")]
#[path = "../../../../tests/common/ceph.rs"]
mod ceph;
mod common;
mod documents;
#[cfg(any(feature = "azblob", feature = "s3"))]
#[path = "../../../../tests/common/emulators.rs"]
mod emulators;
#[cfg(feature = "kms")]
mod first_secret;
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
mod rotating;
mod schemas;
mod secrets;
#[cfg(any(feature = "etcd", feature = "kms", feature = "postgres"))]
#[path = "../../../../tests/common/servers.rs"]
mod servers;
mod serving;
#[cfg(any(feature = "etcd", feature = "postgres"))]
mod shared_fleet;

mod statuses;
#[cfg(any(feature = "azblob", feature = "rbd", feature = "s3"))]
mod stores;
#[cfg(feature = "kms")]
mod taking_over;
mod terminal;
mod vault_secrets;
mod volumes;
#[cfg(feature = "kms")]
mod windows_secret;
