//! Disks on moto's S3: `pip install 'moto[server]'`.

#[path = "../../../../tests/common/peers.rs"]
mod peers;
mod server;
#[path = "../../../../tests/common/vaults.rs"]
#[allow(dead_code)] // this program uses its part
mod vaults;
mod volume;
