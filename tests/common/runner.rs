//! Runs random steps on a service and on the model, and compares them.

mod resources;
mod rotation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys, PlatformKey};
use atrest::Result;
use atrest::key::KeyId;
use atrest::managed::{
    CopyProgress, DiskService, NewCopy, NewImage, NewSnapshot, OpenDisk, ResourceKind, ResourceName,
};

use super::fleet::{Access, Fleet, Key, Out, Res, SECTOR, SECTORS, Set};
use super::world::{Customer, OTHER_VAULT, T, VAULT, World, new_disk, new_set, quiet};

/// A step. Numbers select from small pools, so that steps affect the same things.
#[derive(Clone, Debug)]
pub enum Op {
    CreateSet { name: u8, both: bool, auto: bool },
    DeleteSet(u8),
    CreateDisk { name: u8, set: Option<u8>, odd: u8 },
    Copy { from: u8, name: u8, set: Option<u8>, odd: u8 },
    Snapshot { disk: u8, name: u8, incremental: bool, set: Option<u8> },
    Image { name: u8, disk: u8, second: Option<u8>, set: Option<u8>, south: bool },
    Delete(u8),
    DeleteImage(u8),
    Put { at: u8, set: u8 },
    Guest(u8),
    Move { at: u8, two: bool },
    NewVersion(u8),
    Rotate { set: u8, broken: Option<u8> },
    SetKey { set: u8, vault: u8, version: u8 },
    AutoRotate,
    RotatePlatform { new: bool },
    Clear(u8),
    Disable { vault: u8, on: bool },
    DisableVersion { vault: u8, version: u8, on: bool },
    Expire { vault: u8, after: Option<u64> },
    Grant { set: u8, on: bool },
    Away { vault: u8, on: bool },
    Tenant { set: u8, contoso: bool },
    Advance(u64),
    Maintain,
    Write { disk: u8, at: u8, len: u8 },
    Read(u8),
    Close(u8),
    Restart,
}

pub struct Runner {
    world: World,
    /// `None` during a restart.
    service: Option<DiskService>,
    fleet: Fleet,
    handles: BTreeMap<u8, OpenDisk>,
    stamp: u32,
    /// When this service was last asked to auto-rotate.
    looked: Option<u64>,
    doing: String,
}

fn still(_: CopyProgress) {}

fn disk_name(n: u8) -> String {
    format!("disk-{n}")
}

fn set_name(n: u8) -> String {
    format!("set-{n}")
}

/// One place in twelve is one that no set accepts.
fn place(odd: u8) -> (&'static str, &'static str) {
    (if odd == 0 { "south" } else { "north" }, if odd == 1 { "two" } else { "one" })
}

fn key_of(id: &KeyId) -> Key {
    (usize::from(id.vault() != VAULT), id.version().parse().unwrap())
}

impl Runner {
    pub fn new() -> Self {
        let world = World::new();
        let service = Some(world.service());
        let (handles, doing) = (BTreeMap::new(), String::new());
        Runner { world, service, fleet: Fleet::new(T), handles, stamp: 0, looked: None, doing }
    }

    fn service(&self) -> &DiskService {
        self.service.as_ref().unwrap()
    }

    fn customer(&self, vault: usize) -> Arc<Customer> {
        self.world.customer([VAULT, OTHER_VAULT][vault]).clone()
    }

    /// Checks the outcome of a call, and returns whether it succeeded.
    #[track_caller]
    fn came<T: core::fmt::Debug>(&self, outs: &[Out], result: &Result<T>) -> bool {
        let came = Out::of(result).filter(|out| outs.contains(out));
        assert!(came.is_some(), "{}: to come to one of {outs:?}, not {result:?}", self.doing);
        result.is_ok()
    }

    /// One of all resources, or a missing one.
    fn pick(&self, at: u8) -> ResourceName {
        let all = &self.fleet.all;
        let found = (!all.is_empty()).then(|| all.keys().nth(usize::from(at) % all.len()).unwrap().clone());
        found.unwrap_or(ResourceName::disk("nobody's"))
    }

    fn is_open(&self, name: &ResourceName) -> bool {
        name.kind == ResourceKind::Disk && self.handles.keys().any(|&n| disk_name(n) == name.name)
    }

    fn readable(&self, name: &ResourceName) -> Access {
        self.fleet.access_to_read(name, self.is_open(name))
    }

    pub fn step(&mut self, op: &Op) {
        self.doing = format!("{op:?} at {}", self.fleet.now - T);
        self.act(op);
        self.fleet.tick();
        self.compare();
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::CreateSet { name, both, auto } => self.create_set(&set_name(name), both, auto),
            Op::DeleteSet(n) => {
                let name = set_name(n);
                let out = match self.fleet.sets.get(&name) {
                    None => Out::Missing,
                    Some(_) if !self.fleet.members(&name).is_empty() => Out::Rule("19"),
                    Some(_) => Out::Ok,
                };
                if self.came(&[out], &self.service().delete_set(&name)) {
                    self.fleet.sets.remove(&name);
                }
            }
            Op::CreateDisk { name, set, odd } => self.create_disk(&disk_name(name), set.map(set_name), place(odd)),
            Op::Copy { from, name, set, odd } => {
                self.copy(&self.pick(from), &disk_name(name), set.map(set_name), place(odd))
            }
            Op::Snapshot { disk, name, incremental, set } => {
                let (name, set) = (format!("snap-{name}"), set.map(set_name));
                self.snapshot(&name, &disk_name(disk), incremental, set.as_deref());
            }
            Op::Image { name, disk, second, set, south } => {
                let disks: Vec<_> = [Some(disk), second].into_iter().flatten().map(disk_name).collect();
                self.image(format!("image-{name}"), disks, set.map(set_name), south);
            }
            Op::Delete(at) => self.delete(&self.pick(at)),
            Op::DeleteImage(n) => {
                let prefix = format!("image-{n}/");
                let copies: Vec<_> = self.fleet.names(ResourceKind::Image);
                let there = copies.iter().any(|name| name.starts_with(&prefix));
                let result = self.service().delete_image(&format!("image-{n}"));
                if self.came(&[if there { Out::Ok } else { Out::Missing }], &result) {
                    self.fleet
                        .all
                        .retain(|name, _| name.kind != ResourceKind::Image || !name.name.starts_with(&prefix));
                }
            }
            Op::Put { at, set } => self.put(&self.pick(at), set_name(set)),
            Op::Guest(n) => {
                let name = ResourceName::disk(disk_name(n));
                let out = match self.fleet.all.get(&name) {
                    None => Out::Missing,
                    Some(res) if res.set.is_some() => Out::Rule("52"),
                    Some(_) => Out::Ok,
                };
                if self.came(&[out], &self.service().mark_guest_encrypted(&name.name)) {
                    self.fleet.all.get_mut(&name).unwrap().guest = true;
                }
            }
            Op::Move { at, two } => {
                let (name, to) = (self.pick(at), if two { "two" } else { "one" });
                let out = match self.fleet.all.get(&name) {
                    None => Out::Missing,
                    Some(res) if res.set.is_some() => Out::Rule("47"),
                    Some(_) => Out::Ok,
                };
                if self.came(&[out], &self.service().move_to_subscription(&name, to)) {
                    for name in self.fleet.group(&name) {
                        self.fleet.all.get_mut(&name).unwrap().subscription = to;
                    }
                }
            }
            Op::Rotate { set, broken } => self.rotate(&set_name(set), None, broken),
            Op::SetKey { set, vault, version } => {
                let vault = usize::from(vault);
                let version = usize::from(version) % self.fleet.owners[vault].versions + 1;
                self.rotate(&set_name(set), Some((vault, version)), None);
            }
            Op::AutoRotate => self.auto_rotate(),
            Op::RotatePlatform { new } => {
                if new {
                    self.world.platform.rotate();
                }
                // The other vaults' owners don't matter.
                self.came(&[Out::Ok], &self.service().rotate_platform(&quiet));
                let report = self.service().report_platform().unwrap();
                assert!(report.finished, "{}: {report:?}", self.doing);
            }
            Op::Clear(n) => {
                let name = set_name(n);
                let out = if self.fleet.sets.contains_key(&name) { Out::Ok } else { Out::Missing };
                if self.came(&[out], &self.service().clear_rotation_error(&name)) {
                    self.fleet.sets.get_mut(&name).unwrap().error = false;
                }
            }
            Op::Maintain => {
                self.service().maintain();
                self.fleet.maintained();
            }
            Op::Write { disk, at, len } => self.write(disk, usize::from(at), usize::from(len)),
            Op::Read(disk) => self.read(disk),
            Op::Close(n) => drop(self.handles.remove(&n)),
            Op::Restart => self.restart(),
            Op::Advance(by) => {
                self.world.clock.advance(Duration::from_secs(by));
                self.fleet.advance(by);
            }
            _ => self.own(op),
        }
    }

    /// Steps of the vaults' owners.
    fn own(&mut self, op: &Op) {
        let vault = match op {
            Op::NewVersion(vault)
            | Op::Disable { vault, .. }
            | Op::DisableVersion { vault, .. }
            | Op::Expire { vault, .. }
            | Op::Away { vault, .. } => usize::from(*vault),
            _ => 0,
        };
        let (customer, now) = (self.customer(vault), self.fleet.now);
        let owner = &mut self.fleet.owners[vault];
        match *op {
            Op::NewVersion(_) => {
                customer.rotate();
                owner.versions += 1;
            }
            Op::Disable { on, .. } => {
                customer.disabled.store(on, Ordering::Relaxed);
                owner.disabled = on;
            }
            Op::DisableVersion { version, on, .. } => {
                let version = usize::from(version) % owner.versions + 1;
                if on {
                    owner.off.insert(version)
                } else {
                    owner.off.remove(&version)
                };
                *customer.off.lock().unwrap() = owner.off.clone();
            }
            Op::Expire { after, .. } => {
                owner.expires = after.map_or(0, |after| now + after);
                customer.expires.store(owner.expires, Ordering::Relaxed);
            }
            Op::Away { on, .. } => {
                customer.away.store(on, Ordering::Relaxed);
                owner.away = on;
            }
            Op::Grant { set, on } => self.grant(&set_name(set), on),
            Op::Tenant { set, contoso } => {
                let (name, tenant) = (set_name(set), if contoso { "contoso" } else { "fabrikam" });
                let result = self.service().move_set_to_tenant(&name, tenant);
                let out = if self.fleet.sets.contains_key(&name) { Out::Ok } else { Out::Missing };
                if self.came(&[out], &result) {
                    let set = self.fleet.sets.get_mut(&name).unwrap();
                    (set.identity, set.contoso) = (result.unwrap().identity, contoso);
                    self.fleet.tick();
                    self.fleet.ended(&name);
                }
            }
            _ => unreachable!("{op:?}"),
        }
    }

    fn grant(&mut self, name: &str, on: bool) {
        let Some(set) = self.fleet.sets.get(name) else { return };
        let identity = set.identity.clone();
        for vault in 0..2 {
            let owner = &mut self.fleet.owners[vault].granted;
            if on {
                owner.insert(identity.clone())
            } else {
                owner.remove(&identity)
            };
            *self.customer(vault).granted.lock().unwrap() = self.fleet.owners[vault].granted.iter().cloned().collect();
        }
    }

    fn create_set(&mut self, name: &str, both: bool, auto: bool) {
        let kind = if both { PlatformAndCustomerKeys } else { CustomerKey };
        let latest = self.fleet.owners[0].versions;
        let new = new_set(name, kind).key(self.customer(0).key(latest)).auto_rotation(auto);
        let result = self.service().create_set(&new);
        let out = if self.fleet.sets.contains_key(name) { Out::Exists } else { Out::Ok };
        if self.came(&[out], &result) {
            let identity = result.unwrap().identity;
            let set = Set { kind, identity, contoso: true, active: (0, latest), auto, error: false };
            self.fleet.sets.insert(name.into(), set);
            self.grant(name, true);
        }
    }
}
