//! [`Stay`]: keeps a device for this host while its users have it open.

use std::sync::Mutex;

use crate::managed::fleet::Here;

/// Keeps a device for this host and its users, until it is handed over.
#[derive(Default)]
pub(super) struct Stay(pub(super) Mutex<Option<Here>>);
