//! Keys of a fake of Google Cloud KMS, with fakes of Google's token services: `pip install cryptography`.
//!
//! The fake (`fake.py`) is written from the public REST reference. **It was never compared with the real service**, and neither was
//! the crate: what is tried here is unverified.

mod checksums;
#[path = "../../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../../tests/common/cost.rs"]
mod cost;
mod errors;
#[path = "../common/fake.rs"]
mod fake;
mod identities;
mod keys;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod sdk;
mod server;
