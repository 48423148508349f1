//! Vault files: keys and versions, access, the audit log, damage, and many processes at once.

#![cfg(feature = "std")]

mod access;
mod audit;
mod audit_edges;
mod audit_kills;
#[cfg(unix)]
mod audit_rotation;
mod backup;
mod damage;
mod file_vault;
#[cfg(unix)]
mod files;
mod passphrase;
mod rsa;
#[cfg(unix)]
mod secrets;
mod seen;
mod sharing;
mod states;

#[path = "../common/mod.rs"]
mod common;
