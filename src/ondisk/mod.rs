//! On-disk formats, as bytes only: parse, validate, serialise.

pub mod luks;
