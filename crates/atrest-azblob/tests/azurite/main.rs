//! Page blobs on Azurite: `npm install -g azurite`.

#[path = "../../../../tests/common/peers.rs"]
mod peers;
mod server;
#[path = "../../../../tests/common/vaults.rs"]
mod vaults;
mod volume;
