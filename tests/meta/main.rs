//! Checks the project's pages and structure: the README, SECURITY.md and its promises, the layers of the source.

mod behaviours;
mod ci;
mod layering;
mod migrate;
#[cfg(feature = "std")]
mod promises;
mod readme;
mod source;

#[path = "../common/mod.rs"]
mod common;
