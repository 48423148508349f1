//! What is said of this project and how it is built: the README, SECURITY.md and its promises, the layers of the source.

mod behaviours;
mod layering;
#[cfg(feature = "std")]
mod promises;
mod readme;

#[path = "../common/mod.rs"]
mod common;
