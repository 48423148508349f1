//! Volumes: I/O, formatting, protectors and their rotation; crashes, failing devices, and tampered headers.

#![cfg(feature = "std")]

mod alignment;
mod conversion;
mod crash;
mod discard;
mod faults;
mod foreign_data;
mod format;
mod header;
mod header_snapshot;
mod in_place_crash;
mod in_place_faults;
mod io;
mod keyslot_crash;
mod keyslot_faults;
mod plain;
mod planted;
mod reencrypt;
mod reencrypt_crash;
mod reencrypt_ends;
mod reencrypt_faults;
mod reencrypt_hostile;
mod reencrypt_io;
mod reencrypt_kills;
mod resize;
mod rotation;
mod several_vaults;
mod tampering;
mod token_keyslot;
mod written;
mod written_crash;
mod written_hostile;
mod zeroes;

#[path = "../common/mod.rs"]
mod common;
