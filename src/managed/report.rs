//! What protects a resource, and whether what was configured is finished (82, 83).

use serde::Serialize;

use super::capabilities::{CapabilityTable, EncryptionOption};
use super::records::{EncryptionSet, Resource, ResourceKind, ResourceName};
use super::rotation::RotationProgress;
use super::service::{DiskService, Inner};
use super::unit::Unit;
use crate::key::KeyId;
use crate::{Error, Result};

/// Whether the keys that a resource is configured for are those that it is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProtectionStatus {
    /// It is under the key that it is configured for, and no other.
    Finished,
    /// It was put into its set, and is still under the key that it was under before.
    Joining,
    /// Its set is being rotated, and this resource is still under an older key.
    Rotating,
}

/// Whether a resource's key may be used, as far as is known without asking its vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyAccess {
    /// Nobody has it open.
    Closed,
    /// It is open, and its key may be used.
    Usable,
    /// It is open, and I/O fails until its key may be used again.
    Suspended,
}

/// What protects a disk, a snapshot, or a copy of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResourceReport {
    /// What it is configured for.
    pub resource: Resource,
    /// Whether that is finished.
    pub status: ProtectionStatus,
    /// The keys that its header says it is under, by URL; of two layers, the upper one's.
    pub keys: Vec<String>,
    /// Whether its key may be used.
    pub access: KeyAccess,
    /// The rows of the capability table that apply to it. Behind the one for encryption at rest stands that for encryption in
    /// the guest, if it ever was: the library can't tell whether it still is.
    pub capabilities: CapabilityTable,
}

/// What protects all that is in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetReport {
    /// What it is configured for.
    pub set: EncryptionSet,
    /// Whether all that is in it is under its active key, and no other.
    pub finished: bool,
    /// How much of it is.
    pub progress: RotationProgress,
    /// What isn't yet: `disk "db-1"`.
    pub waiting: Vec<String>,
}

impl ResourceReport {
    /// The report in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }
}

impl SetReport {
    /// The report in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }
}

impl DiskService {
    /// What protects a disk, a snapshot, or a copy of an image's disk. Its header is read; no vault of a customer is asked.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Io`], and what else can be wrong with a header.
    pub fn report(&self, name: &ResourceName) -> Result<ResourceReport> {
        // Nobody changes it between the looks at its record and its header.
        self.inner.changing(name, |unit, resource| self.inner.report(unit, resource))
    }

    /// The [reports](Self::report) of all disks, snapshots, and copies of images' disks. What is removed meanwhile is left
    /// out.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub fn reports(&self) -> Result<Vec<ResourceReport>> {
        let mut reports = Vec::new();
        for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
            for name in self.names(kind)? {
                match self.report(&ResourceName { kind, name }) {
                    Err(Error::NoSuchResource(_)) => {}
                    report => reports.push(report?),
                }
            }
        }
        Ok(reports)
    }

    /// What protects all that is in a set. Headers are read only if there may be something to find in them: while a rotation
    /// is in progress.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub fn report_set(&self, set: &str) -> Result<SetReport> {
        let inner = &self.inner;
        let set = inner.store.set(set)?;
        let members = inner.store.members(&set.name, false)?;
        let total = members.len();
        let mut waiting = Vec::new();
        for name in members {
            let status = if set.previous_keys.is_empty() {
                inner.store.resource(&name).map(|resource| match resource.joining {
                    Some(_) => ProtectionStatus::Joining,
                    None => ProtectionStatus::Finished,
                })
            } else {
                self.report(&name).map(|report| report.status)
            };
            match status {
                Ok(ProtectionStatus::Finished) | Err(Error::NoSuchResource(_)) => {}
                Ok(_) => waiting.push(name.to_string()),
                Err(e) => return Err(e),
            }
        }
        let progress = RotationProgress { done: total - waiting.len(), total };
        Ok(SetReport { finished: waiting.is_empty() && set.previous_keys.is_empty(), set, progress, waiting })
    }
}

impl Inner {
    fn report(&self, unit: &Unit, resource: Resource) -> Result<ResourceReport> {
        let access = match unit.is_open() {
            false => KeyAccess::Closed,
            true if unit.is_suspended() => KeyAccess::Suspended,
            true => KeyAccess::Usable,
        };
        let keys = unit.keys()?;
        let status = self.status(&resource, &keys)?;
        let options = EncryptionOption::of(resource.encryption_type, resource.guest_encrypted);
        Ok(ResourceReport {
            resource,
            status,
            keys: keys.iter().map(KeyId::to_string).collect(),
            access,
            capabilities: CapabilityTable::of(&options),
        })
    }

    fn status(&self, resource: &Resource, keys: &[KeyId]) -> Result<ProtectionStatus> {
        if resource.joining.is_some() {
            return Ok(ProtectionStatus::Joining);
        }
        let Some(set) = &resource.set else { return Ok(ProtectionStatus::Finished) };
        let finished = keys == [self.store.set(set)?.active_key];
        Ok(if finished { ProtectionStatus::Finished } else { ProtectionStatus::Rotating })
    }
}
