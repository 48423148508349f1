//! The behaviours of managed disks whose customers' vault is Azure Key Vault, by the numbers of `docs/behaviours.md`: on the fake, which is
//! **unverified**, as `main.rs` says.
//!
//! Each set has an identity of its own at the fake of Entra ID, and the vault's owner gives it the three rights that it needs, no more.

mod keys;
mod revocation;
mod rotation;
mod sets;
mod world;
