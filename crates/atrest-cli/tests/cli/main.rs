//! The program, used as a person and as a script use it.

mod common;
mod documents;
mod fleet;
mod in_place;
#[cfg(feature = "kms")]
mod key_service;
mod keys;
mod luks;
#[cfg(feature = "mount")]
mod mounting;
mod obstacles;
mod schemas;
mod secrets;
mod serving;
mod terminal;
mod volumes;
