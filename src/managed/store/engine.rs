//! The database. Any damage to its file becomes an error, even if the database panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, DatabaseError, StorageError};

use super::errors::damaged;
use super::file::{Backend, Gate, StoreFile};
use crate::{Error, Result};

/// The most bytes of the file kept in memory.
const CACHE: usize = 64 << 20;

pub(super) struct Engine {
    /// `Some` until this is dropped.
    database: Option<Database>,
    gate: Arc<Gate>,
    /// Whether it has panicked.
    damaged: AtomicBool,
}

impl Engine {
    /// Opens the database. Every page of the last commit is checked before one is used.
    pub(super) fn open(file: &Arc<StoreFile>) -> Result<Self> {
        let gate = Arc::new(Gate::default());
        let backend = Backend::new(file.clone(), gate.clone())?;
        let whole = backend.has_two_phases();
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Database::builder()
                .set_cache_size(CACHE)
                // Called when the last commit is found damaged, before the database would return to the commit before
                // it.
                .set_repair_callback(move |session| {
                    if whole && (0.2..0.5).contains(&session.progress()) {
                        session.abort();
                    }
                })
                .create_with_backend(backend)
        }));
        gate.opening.store(false, Ordering::Relaxed);
        match opened {
            Ok(Ok(database)) => Ok(Engine { database: Some(database), gate, damaged: AtomicBool::new(false) }),
            Ok(Err(DatabaseError::Storage(StorageError::Io(e)))) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                Err(Error::io(format!("opening the store {}", file.path().display()), e))
            }
            Ok(Err(DatabaseError::RepairAborted)) => {
                Err(damaged("a page of its last change does not match its checksum"))
            }
            Ok(Err(e)) => Err(damaged(&format!("{e:#}"))),
            Err(_) => Err(damaged("its pages contradict each other")),
        }
    }

    pub(super) fn guarded<T>(&self, act: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let again = || damaged("its pages contradict each other");
        let Some(database) = self.database.as_ref().filter(|_| !self.is_damaged()) else { return Err(again()) };
        catch_unwind(AssertUnwindSafe(|| act(database))).unwrap_or_else(|_| {
            self.damaged.store(true, Ordering::Relaxed);
            Err(again())
        })
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether a read or write failed. Then the database does nothing more.
    pub(super) fn has_failed(&self) -> bool {
        self.gate.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Everything that counts is in the file. Any write of the database now could only fail.
        self.gate.shut.store(true, Ordering::Relaxed);
        let database = self.database.take();
        if self.is_damaged() || std::thread::panicking() {
            // A panic during unwinding would end the process, so leak its memory instead.
            core::mem::forget(database);
        } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database))) {
            core::mem::forget(panic);
        }
    }
}
