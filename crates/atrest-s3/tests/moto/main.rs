//! Disks on moto's S3: `pip install 'moto[server]'`.

mod costs;
mod device;
#[path = "../../../../tests/common/emulators.rs"]
mod emulators;
mod fences;
#[path = "../../../../tests/common/fork.rs"]
mod fork;
mod forks;
mod kills;
#[path = "../../../../tests/common/on_store.rs"]
mod on_store;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod rights;
mod server;
mod signatures;
#[path = "../../../../tests/common/storm.rs"]
mod storm;
mod storms;
#[path = "../../../../tests/common/vaults.rs"]
#[allow(dead_code)] // this program uses its part
mod vaults;
mod volume;
