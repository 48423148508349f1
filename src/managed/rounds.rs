//! The goal of a rotation, and the loop that repeats it until all resources are moved.

use std::sync::Mutex;

use super::kek::Kek;
use super::records::{EncryptionSet, Resource, ResourceName};
use super::store::{Queue, Tables};
use super::sync::lock;
use crate::key::KeyId;
use crate::{Error, Result};

/// The resources that a rotation moves, and the key that it moves them to.
#[derive(Clone, Copy)]
pub(super) enum Goal<'g> {
    /// The members of a set, to its active key.
    Set(&'g EncryptionSet),
    /// All resources under the platform's key, to this key of the KEK.
    Platform(&'g Kek, &'g KeyId),
}

impl Goal<'_> {
    pub(super) fn queue(&self) -> Queue {
        match self {
            Goal::Set(set) => Queue::Set(set.name.clone()),
            Goal::Platform(..) => Queue::Platform,
        }
    }

    /// The layer that the rotation moves.
    pub(super) fn layer(&self, resource: &Resource) -> usize {
        match self {
            Goal::Set(_) => 0,
            Goal::Platform(..) => resource.platform_layer().unwrap_or(0),
        }
    }

    pub(super) fn key(&self) -> &KeyId {
        match self {
            Goal::Set(set) => &set.active_key,
            Goal::Platform(_, key) => key,
        }
    }
}

/// Further changes in the transaction that ends a rotation. The argument names the member that still waits, if there is one.
pub(super) type AtEnd<'e> = &'e dyn Fn(&mut Tables<'_>, Option<&ResourceName>) -> Result<()>;

/// The error that stopped a rotation, and the resource at which it happened, if any.
pub(super) type Stopped = (Option<ResourceName>, Error);

/// The first member that was left, and why: another host has it open and moves it itself, or it is half adopted.
pub(super) type Left = Mutex<Option<(ResourceName, Error)>>;

/// Repeats a round until `finish` finds no unproven resource. Returns how many resources were moved. One round is enough unless a
/// resource was added, or returned to an older key, meanwhile.
pub(super) fn until_finished(
    round: impl Fn() -> Result<usize, Stopped>,
    left: &Left,
    finish: impl Fn(usize) -> Result<Option<ResourceName>>,
) -> Result<usize, Stopped> {
    let mut rewrapped = 0;
    for rounds in (0..ROUNDS).rev() {
        rewrapped += round()?;
        let Some(name) = finish(rewrapped).map_err(|e| (None, e))? else { break };
        if let Some((_, why)) = lock(left).take() {
            // Another round would leave the same member.
            return Err((Some(name), why));
        }
        if rounds == 0 {
            let what = format!("the {name}, which is not proved to be under the new key");
            return Err((Some(name), Error::Busy { what }));
        }
    }
    Ok(rewrapped)
}

const ROUNDS: usize = 4;
