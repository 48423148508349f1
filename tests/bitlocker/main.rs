//! BitLocker volumes: those that Windows made, read as other programs read them; and hostile ones.

#![cfg(all(feature = "bitlocker", target_os = "linux"))]

mod approved;
#[path = "../common/mod.rs"]
mod common;
mod create;
mod erasing;
mod failures;
mod hostile;
mod images;
mod keys;
mod model;
mod protectors;
mod support;
mod volumes;
mod writes;
