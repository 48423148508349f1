//! Disks of Azure Disk Encryption: volumes of `cryptsetup`, secrets in memory and on the fake of Azure Key Vault that `atrest-kms` has.
//!
//! **No real Azure was tried.** The fake is written from the public REST reference.

mod adds;
mod azure;
mod crash;
#[path = "../../../../tests/common/device.rs"]
#[allow(dead_code)] // this file uses a part
mod device;
#[path = "../../../atrest-kms/tests/common/fake.rs"]
#[allow(dead_code)] // this file uses a part
mod fake;
mod file_vault;
mod hostile;
mod memory;
mod opens;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod replaces;
#[path = "../../../atrest-kms/tests/azure/server.rs"]
#[allow(dead_code)] // this file uses a part
mod server;
mod takes_over;
#[path = "../../../../tests/common/vaults.rs"]
#[allow(dead_code)] // this file uses a part
mod vaults;
mod volumes;
mod windows;
