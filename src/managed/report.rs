//! Reports on the protection of resources, and whether it has the configured state (82, 83).

use core::ops::ControlFlow;
use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;

use super::capabilities::{CapabilityTable, EncryptionOption};
use super::live::LiveResource;
use super::parallel;
use super::records::{EncryptionSet, PlatformKeys, ReencryptionKind, Resource, ResourceKind, ResourceName};
use super::rotation::RotationProgress;
use super::service::{DiskService, Inner};
use super::store::MAX_PAGE;
use super::sync::{into_inner, lock};
use crate::key::KeyId;
use crate::{Error, KeyUsage, Result};

/// Whether a resource is under the keys that it is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProtectionStatus {
    /// It is proven to be under its configured key, and its header names no other.
    Finished,
    /// It was put into its set, but is still under its previous key; or it is being adopted, and may still open by its former
    /// credentials.
    Joining,
    /// Its set or the platform is being rotated, and it is still under an older key.
    Rotating,
    /// Its key is not proven yet, because an earlier version made it. Open it, or rotate.
    Unproven,
    /// It is proven to be under a version of its key that the store doesn't know. Perhaps an older store was put back.
    /// Put the newest store back, or rotate, which makes the store know the version.
    StoreOutdated,
    /// Its header names another key than the proven one: an older header was put back, or the name was edited. Put the
    /// newest header back, or rotate.
    HeaderChanged,
    /// Its header can't be read, or the layer below can't be opened; `fault` says why.
    HeaderUnreadable,
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

/// A report on the protection of a disk, a snapshot, or a copy of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResourceReport {
    /// Its configuration.
    pub resource: Resource,
    /// Whether the configured state is reached.
    pub status: ProtectionStatus,
    /// The reason why its header can't be read.
    pub fault: Option<String>,
    /// The URLs of the keys that its header names; with two layers, the upper one's. The proven key, and the time of
    /// the proof, are in `resource`.
    pub keys: Vec<String>,
    /// The same for the lower layer, if there are two.
    pub lower_keys: Vec<String>,
    /// How many blocks of 16 bytes its DEKs have encrypted, the upper layer's first.
    pub used_blocks: [u64; 2],
    /// Whether a DEK that its data is under is due for replacement by [`KeyUsage`]: see
    /// [`rekey_disk`](DiskService::rekey_disk).
    pub key_due: bool,
    /// Whether its key may be used.
    pub access: KeyAccess,
    /// How many bytes a disk's volume has beyond the disk's size, if it is open here; `None` otherwise. A store that is older than
    /// the disk leaves some, if it was enlarged since, and so does an enlargement that was cut off:
    /// [`resize_disk`](DiskService::resize_disk) to the size that you know brings them back.
    pub beyond: Option<u64>,
    /// How far the last re-encryption of its data is, if one was ordered.
    pub reencryption: Option<ReencryptionReport>,
    /// The rows of the capability table that apply to it. The row for encryption in the guest follows the one at rest
    /// if the disk was ever encrypted in the guest: the library can't know whether it still is.
    pub capabilities: CapabilityTable,
}

/// How far a re-encryption of a disk's data is. It is configured when it was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReencryptionReport {
    /// The kind of the re-encryption.
    pub kind: ReencryptionKind,
    /// The number of bytes that are done.
    pub done: u64,
    /// The number of bytes in all.
    pub total: u64,
    /// Whether it is finished.
    pub finished: bool,
}

/// A report on the protection of a set's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetReport {
    /// Its configuration.
    pub set: EncryptionSet,
    /// Whether all members are proven to be under its active key, and none is being adopted: a disk in adoption may still open by
    /// its former credentials.
    pub finished: bool,
    /// The number of members that are, and of all.
    pub progress: RotationProgress,
    /// The members that are not, such as `disk "db-1"`.
    pub waiting: Vec<String>,
}

/// A report on a page of a set's members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetPage {
    /// How many members it reports on.
    pub members: usize,
    /// The members that are not proven to be under the set's active key, or are being adopted.
    pub waiting: Vec<ResourceName>,
    /// The last member of the page, after which the next one begins; `None` if it is empty.
    pub last: Option<ResourceName>,
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
    /// Reports on a disk, a snapshot, or a copy of an image's disk. Its header is read; no customer's vault is asked.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Io`] from the store. A header that can't be read is part of the report.
    pub fn report(&self, name: &ResourceName) -> Result<ResourceReport> {
        let inner = self.inner()?;
        // Nobody may change it between reading its record and its header.
        inner.registry.changing(name, |live, resource| inner.report(live, resource))
    }

    /// The [reports](Self::report) on all disks, snapshots, and copies of images' disks. Resources removed meanwhile
    /// are left out.
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

    /// Reports on a set's members, from the proofs (made when a member was moved to a key, or opened) and the current headers; on a
    /// store that hosts share, from the headers of resources that are open here, and otherwise from the proofs alone. No customer's
    /// vault is asked. The members are read in pages; [`report_set_page`](Self::report_set_page) doesn't list the waiting members
    /// either.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Io`] from the store. A member with an unreadable header is `waiting`; its
    /// own [report](Self::report) says why.
    pub fn report_set(&self, set: &str) -> Result<SetReport> {
        let inner = self.inner()?;
        let set = inner.store.set(set)?;
        let (mut waiting, mut total, mut after) = (Vec::new(), 0, None);
        loop {
            let page = inner.report_page(&set, after.as_ref(), MAX_PAGE)?;
            total += page.members;
            waiting.extend(page.waiting);
            match page.last.filter(|_| page.members == MAX_PAGE) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        let waiting: Vec<String> = waiting.iter().map(ResourceName::to_string).collect();
        let progress = RotationProgress { done: total - waiting.len(), total };
        Ok(SetReport { finished: waiting.is_empty() && set.previous_keys.is_empty(), set, progress, waiting })
    }

    /// Reports on a page of a set's members: at most `limit` of them, up to 1000, that come after `after`. A page with fewer is the
    /// last one. A set of any size is reported on so without a list of it.
    ///
    /// ```no_run
    /// # fn waiting(service: &atrest::managed::DiskService) -> atrest::Result<()> {
    /// let mut after = None;
    /// loop {
    ///     let page = service.report_set_page("customers", after.as_ref(), 1000)?;
    ///     page.waiting.iter().for_each(|name| println!("{name}"));
    ///     if page.members < 1000 {
    ///         return Ok(());
    ///     }
    ///     after = page.last;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`report_set`](Self::report_set); [`Error::InvalidOption`] for a limit of 0 or over 1000.
    pub fn report_set_page(&self, set: &str, after: Option<&ResourceName>, limit: usize) -> Result<SetPage> {
        let inner = self.inner()?;
        let set = inner.store.set(set)?;
        inner.report_page(&set, after, limit)
    }
}

impl Inner {
    /// Reports on at most `limit` members of a set after that one.
    fn report_page(&self, set: &EncryptionSet, after: Option<&ResourceName>, limit: usize) -> Result<SetPage> {
        let members = self.store.members_page(&set.name, after, limit)?;
        let waiting = self.waiting(&members, |name| {
            self.registry.changing(name, |live, resource| {
                if resource.set.as_ref() != Some(&set.name) {
                    return Ok(true);
                }
                let is_whole = resource.joining.is_none() && resource.adopting.is_none();
                Ok(is_whole && live.is_told_under(&resource, &set.active_key)?)
            })
        });
        Ok(SetPage { members: members.len(), waiting, last: members.last().cloned() })
    }

    /// The members that aren't done, in order. Several are checked at once, because devices may be far away.
    pub(super) fn waiting(
        &self,
        members: &[ResourceName],
        is_done: impl Fn(&ResourceName) -> Result<bool> + Sync,
    ) -> Vec<ResourceName> {
        let waiting = Mutex::new(BTreeSet::new());
        parallel::for_each(self.parallel, members, |name| {
            // A resource removed meanwhile doesn't wait.
            if !matches!(is_done(name), Ok(true) | Err(Error::NoSuchResource(_))) {
                lock(&waiting).insert(name.clone());
            }
            ControlFlow::Continue(())
        });
        into_inner(waiting).into_iter().collect()
    }
}

impl Inner {
    fn report(&self, live: &LiveResource, resource: Resource) -> Result<ResourceReport> {
        let access = match live.is_open() {
            false => KeyAccess::Closed,
            true if live.is_suspended() => KeyAccess::Suspended,
            true => KeyAccess::Usable,
        };
        // One damaged or forged disk must not prevent reports on others.
        let (keys, fault) = match live.keys() {
            Ok(keys) => (keys, None),
            Err(Error::NoSuchResource(text)) => return Err(Error::NoSuchResource(text)),
            Err(e) => (Vec::new(), Some(format!("{e:#}"))),
        };
        let mut keys = keys.into_iter();
        let (upper, lower) = (keys.next().unwrap_or_default(), keys.next().unwrap_or_default());
        let status = match fault {
            Some(_) => ProtectionStatus::HeaderUnreadable,
            None => self.status(&resource, &[&upper, &lower])?,
        };
        let mut now = resource.clone();
        let volume = live.volume_size().filter(|_| resource.kind == ResourceKind::Disk);
        let beyond = volume.map(|size| size.saturating_sub(resource.size));
        let used_blocks = live.used_blocks().unwrap_or(now.used_now().map(|used| *used));
        let is_due = |used: &[u64; 2]| used.iter().any(|&blocks| KeyUsage::new(blocks).is_due());
        let mut options = EncryptionOption::of(resource.encryption_type, resource.guest_encrypted);
        if resource.host_encrypted {
            options.push(EncryptionOption::Host);
        }
        let urls = |keys: &[KeyId]| keys.iter().map(KeyId::to_string).collect();
        Ok(ResourceReport {
            resource,
            status,
            fault,
            keys: urls(&upper),
            lower_keys: urls(&lower),
            used_blocks,
            key_due: is_due(&used_blocks) || is_due(&now.used_blocks),
            access,
            beyond,
            reencryption: now.reencryption.as_ref().map(|of| ReencryptionReport {
                kind: of.kind,
                done: of.done,
                total: of.total,
                finished: of.is_finished(),
            }),
            capabilities: CapabilityTable::of(&options),
        })
    }

    /// `keys` are the keys that the headers name, the upper one's first.
    fn status(&self, resource: &Resource, keys: &[&[KeyId]; 2]) -> Result<ProtectionStatus> {
        if resource.joining.is_some() || resource.adopting.is_some() {
            return Ok(ProtectionStatus::Joining);
        }
        let of = |layer: usize, in_use: Vec<&KeyId>, former: &[KeyId]| {
            layer_status(resource.proven_key(layer), keys[layer], &in_use, former)
        };
        let mut found = Vec::new();
        if let Some(set) = &resource.set {
            let set = self.store.set(set)?;
            found.push(of(0, set.in_use().collect(), &set.former_keys));
        }
        if let Some(layer) = resource.platform_layer() {
            let keys = self.store.platform()?;
            let former = keys.as_ref().map_or(&[][..], |keys| &keys.former_keys);
            found.push(of(layer, keys.iter().flat_map(PlatformKeys::in_use).collect(), former));
        }
        // A defect of one layer matters more than unfinished work of the other.
        Ok(found.into_iter().max_by_key(|status| *status as u8).unwrap_or(ProtectionStatus::Unproven))
    }
}

/// The status of a layer. `proven` is its proven key, `named` the keys in its header, `in_use` the keys that something
/// may be under (the active one first), and `former` the earlier keys.
fn layer_status(proven: Option<&KeyId>, named: &[KeyId], in_use: &[&KeyId], former: &[KeyId]) -> ProtectionStatus {
    let Some(proven) = proven else { return ProtectionStatus::Unproven };
    match (in_use.first() == Some(&proven), named == core::slice::from_ref(proven)) {
        (true, true) => ProtectionStatus::Finished,
        (false, true) if !in_use.contains(&proven) && !former.contains(proven) => ProtectionStatus::StoreOutdated,
        (false, true) => ProtectionStatus::Rotating,
        // It may have moved to a newer key just before that could be noted.
        (false, false) if !named.is_empty() && named.iter().all(|key| in_use.contains(&key)) => {
            ProtectionStatus::Rotating
        }
        (_, false) => ProtectionStatus::HeaderChanged,
    }
}
