//! Keys of moto's KMS, an emulator: `pip install 'moto[server]'`.
//!
//! moto lets keys wrap and unwrap that are disabled or are to be deleted. It is no judge of a revocation: what KMS answers then is
//! played back from its reference.

#[path = "../../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../../tests/common/cost.rs"]
mod cost;
mod credentials;
#[path = "../../../../tests/common/emulators.rs"]
mod emulators;
mod errors;
mod keys;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod server;
mod signatures;
