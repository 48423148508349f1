//! Opens a store, and checks it before use.

use std::path::Path;
use std::sync::Arc;

use redb::ReadableDatabase;

use super::check::StoreCheck;
use super::contents::Contents;
use super::conversion::convert;
use super::engine::Engine;
use super::errors::{damaged, reading};
use super::file::{Bytes, StoreFile};
use super::remains::Remains;
use super::survey::Survey;
use super::untouched::Untouched;
use crate::key::{HashAlgorithm, self_test};
use crate::{Error, Result};

/// Opens the database in the file, updates its records to this version, and returns it with the record of its contents.
pub(super) fn opened(file: &Arc<StoreFile>) -> Result<(Engine, Contents)> {
    self_test::hash(HashAlgorithm::Sha256)?; // for the checksums
    let engine = Engine::open(file)?;
    let contents = surveyed(&engine)?.sound()?;
    Ok((engine, contents))
}

pub(super) fn surveyed(engine: &Engine) -> Result<Survey> {
    convert(engine)?;
    engine.guarded(|database| Survey::of(&database.begin_read().map_err(reading)?))
}

/// Checks a store that no service has open. The store need not be openable, and isn't changed.
pub(in crate::managed) fn check_file(path: &Path) -> Result<StoreCheck> {
    let untouched = Untouched::open(path)?;
    let is_empty = untouched.len().map_err(reading)? == 0;
    let file = Arc::new(StoreFile::over(path, Box::new(untouched)));
    let survey = if is_empty { Err(damaged("it is empty")) } else { Engine::open(&file).and_then(|e| surveyed(&e)) };
    match survey {
        Ok(survey) => Ok(survey.told()),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            let remains = Remains::of(&Untouched::open(path)?).map_err(reading)?;
            Ok(remains.told(source.to_string()))
        }
        Err(e) => Err(e),
    }
}
