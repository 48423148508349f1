//! The errors of a store.

use crate::Error;
use crate::managed::records::ResourceName;

pub(super) fn taken(name: &ResourceName) -> Error {
    Error::ResourceExists(format!("there is a {name} already"))
}

pub(super) fn missing(name: &ResourceName) -> Error {
    Error::NoSuchResource(format!("there is no {name}"))
}

pub(super) fn reading(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("reading the store", std::io::Error::other(e))
}

pub(super) fn writing(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("writing the store", std::io::Error::other(e))
}

/// The way in which the file differs from the written data, as a text.
#[derive(Debug)]
pub(super) struct Defect(pub(super) String);

impl From<Defect> for Error {
    fn from(Defect(how): Defect) -> Self {
        damaged(&how)
    }
}

/// The error for a file that differs from the written data.
pub(super) fn damaged(how: &str) -> Error {
    let text = format!(
        "it is damaged: {how}. Stop the service, keep this file, and put the last backup of the store in its place; the \
         disks themselves are not touched by this"
    );
    Error::io("reading the store", std::io::Error::new(std::io::ErrorKind::InvalidData, text))
}
