//! [`Stay`]: what keeps a device this host's while its users have it open.

use std::sync::Mutex;

use crate::managed::fleet::Here;

/// Keeps a device this host's for its users, until it is handed over.
#[derive(Default)]
pub(super) struct Stay(pub(super) Mutex<Option<Here>>);
