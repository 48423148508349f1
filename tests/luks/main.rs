//! LUKS headers: keyslots, tokens and metadata compared with `cryptsetup`, headers of other programs, and hostile ones.

#![cfg(feature = "std")]

mod cryptsetup;
mod defects;
mod hostile;
mod keyslots;
mod messages;
mod metadata;
mod metadata_size;
mod peer_headers;
mod sound_headers;

#[path = "../common/mod.rs"]
mod common;
