//! Keys of a fake of Azure Key Vault, with a fake of Entra ID: `pip install cryptography`.
//!
//! The fake (`fake.py`) is written from the public REST reference. **It was never compared with the real service**, and neither was
//! the crate: what is tried here is unverified.

mod behaviours;
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
mod secrets;
mod server;
mod states;
mod tls;
