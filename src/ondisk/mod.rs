//! Formats on disk, as bytes and nothing else: parse, validate, serialise.

pub mod luks;
