//! The records by which hosts that share a store keep out of each other's way.

use serde::{Deserialize, Serialize};

use crate::key::KeyId;

/// A host that is alive, or was. While a host has no such record, it has no lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct HostRecord {
    /// The name that people know it by. The record's key is of one run of its service.
    pub(in crate::managed) name: String,
    /// How long its lease holds after a renewal, in milliseconds of its own clock.
    pub(in crate::managed) ttl_ms: u64,
    /// Grows by one with each renewal.
    pub(in crate::managed) renewals: u64,
}

/// A run of a host's service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct Holder {
    /// Never used again.
    pub(in crate::managed) run: String,
    /// The host's name.
    pub(in crate::managed) host: String,
}

/// The host that has a device open, or the hosts that may open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct Attachment {
    /// `None` while it is handed over, or nobody has it.
    pub(in crate::managed) holder: Option<Holder>,
    /// The hosts that may open the device next, while it is handed over: first the host that gets it, last the host that gave it.
    #[serde(default)]
    pub(in crate::managed) promised: Vec<Holder>,
    /// It was taken from a host whose lease was lost, and the header on the device doesn't say so yet.
    #[serde(default)]
    pub(in crate::managed) unfenced: bool,
}

/// The parts of a rotation that were given out to the hosts that share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct Turn {
    /// The key that all members are to come under. A rotation to another key begins anew.
    #[serde(with = "super::text::url")]
    pub(in crate::managed) key: KeyId,
    /// A number that differs for each rotation.
    pub(in crate::managed) round: u64,
    /// How many members there were when it began.
    pub(in crate::managed) total: u64,
    /// All members up to this key of the store were given out.
    pub(in crate::managed) after: Option<String>,
    /// All members were given out.
    pub(in crate::managed) given_out: bool,
    /// The number of the next part.
    pub(in crate::managed) next: u64,
    /// The last look at all members has proved all up to this key of the store, and then met one that another host has open.
    #[serde(default)]
    pub(in crate::managed) swept: Option<String>,
    /// That look has gone on to this key, for others that can be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::managed) looked: Option<String>,
    /// All members were proved to be under the key.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(in crate::managed) ended: bool,
    /// The first few members that waited at the last look, if all waiting members were open on other hosts. Until one of these is
    /// let go, other hosts have little to do. The field `left` of earlier releases had any one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::managed) left_to: Vec<LeftTo>,
}

/// A device that was left to the host that has it open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct LeftTo {
    pub(in crate::managed) device: String,
    pub(in crate::managed) holder: Holder,
}

/// A part of a rotation that was given out and isn't done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::managed) struct Part {
    /// It begins after this key of the store.
    pub(in crate::managed) from: Option<String>,
    /// It ends with this one.
    pub(in crate::managed) until: Option<String>,
    /// The host that has the part; `None` if any host may take it.
    pub(in crate::managed) holder: Option<Holder>,
}
