//! Rotation steps, and the comparison of all records.

use super::*;

impl Runner {
    /// The outcome of rotating a set to a key, unless a rule forbids it.
    fn rotation(&self, name: &str, to: Key) -> Access {
        let set = &self.fleet.sets[name];
        if !self.fleet.ok(set, to, self.fleet.now) {
            return Access::Never;
        }
        let members = self.fleet.members(name);
        Access::all(members.iter().map(|name| self.fleet.access_to_rewrap(&self.fleet.all[name])))
    }

    /// Records a rotation that finished or stopped.
    fn rotated(&mut self, name: &str, to: Key, ended: bool) {
        let record = self.service().encryption_set(name).unwrap();
        let (active, previous) = (key_of(&record.active_key), record.previous_keys.len());
        let before = self.fleet.sets[name].active;
        let members = self.fleet.members(name);
        assert!(active == to || !ended && active == before, "{}: {active:?}", self.doing);
        let set = self.fleet.sets.get_mut(name).unwrap();
        (set.active, set.error) = (active, record.auto_key_rotation_error.is_some());
        // An error that stops a running rotation is noted.
        assert!(ended || set.error || active == before, "{}: 32", self.doing);
        for member in &members {
            self.fleet.all.get_mut(member).unwrap().under.insert(active);
        }
        if ended {
            assert!(previous == 0 && record.auto_key_rotation_error.is_none(), "{}: {record:?}", self.doing);
            members.iter().for_each(|name| self.fleet.settle(name));
        } else if active != before {
            assert!(record.previous_keys.iter().any(|key| key_of(key) == before), "{}: {record:?}", self.doing);
        }
    }

    pub(super) fn rotate(&mut self, name: &str, to: Option<Key>, broken: Option<u8>) {
        let customer = self.fleet.sets.get(name).map(|set| self.customer(to.unwrap_or(set.active).0));
        if let (Some(customer), Some(n)) = (&customer, broken) {
            customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 1 + usize::from(n), Ordering::Relaxed);
        }
        let result = match to {
            None => self.service().rotate_set(name, &quiet),
            Some((vault, version)) => self.service().change_key(name, &self.customer(vault).key(version), &quiet),
        };
        if let Some(customer) = customer {
            customer.fail_wrap_at.store(usize::MAX, Ordering::Relaxed);
        }
        let Some(set) = self.fleet.sets.get(name) else {
            self.came(&[Out::Missing], &result);
            return;
        };
        if set.error {
            self.came(&[Out::Rule("32")], &result);
            return;
        }
        if to.is_some() && !set.contoso {
            self.came(&[Out::Rule("43")], &result);
            return;
        }
        let to = to.unwrap_or((set.active.0, self.fleet.owners[set.active.0].versions));
        let mut outs = self.rotation(name, to).outs();
        if broken.is_some() {
            outs.push(Out::NoAccess);
        }
        let ended = self.came(&outs, &result);
        self.rotated(name, to, ended);
    }

    pub(super) fn auto_rotate(&mut self) {
        let due = self.looked.is_none_or(|at| self.fleet.now - at >= 900);
        let rotated: BTreeMap<_, _> = self.service().auto_rotate(&quiet).unwrap().into_iter().collect();
        let sets = self.fleet.sets.clone();
        for (name, set) in &sets {
            let to = (set.active.0, self.fleet.owners[set.active.0].versions);
            let Some(result) = rotated.get(name) else {
                let behind = to != set.active && self.rotation(name, to) == Access::Must;
                assert!(!(due && behind && set.auto && !set.error), "{}: 28, {name}", self.doing);
                continue;
            };
            assert!(set.auto && !set.error, "{}: {name}", self.doing);
            let ended = self.came(&self.rotation(name, to).outs(), result);
            self.rotated(name, to, ended);
        }
        // A newer set may have been checked now, and isn't checked again for a while.
        if due {
            self.looked = Some(self.fleet.now);
        }
    }

    pub(super) fn restart(&mut self) {
        self.handles.clear();
        self.service = None;
        self.service = Some(self.world.service());
        self.looked = None;
    }

    /// The records equal the model's, and there is a device for each resource and no other.
    pub(super) fn compare(&self) {
        let (service, fleet) = (self.service(), &self.fleet);
        assert!(service.encryption_sets().unwrap().iter().eq(fleet.sets.keys()), "{}", self.doing);
        for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
            assert_eq!(service.names(kind).unwrap(), fleet.names(kind), "{}", self.doing);
        }
        for (name, set) in &fleet.sets {
            let record = service.encryption_set(name).unwrap();
            assert_eq!(service.members(name).unwrap(), fleet.members(name), "{}", self.doing);
            let error = record.auto_key_rotation_error.is_some();
            assert_eq!((key_of(&record.active_key), error), (set.active, set.error), "{}", self.doing);
            assert!(
                record.previous_keys.is_empty() || record.last_key_rotation_timestamp.is_none_or(|at| at <= fleet.now)
            );
        }
        let mut ids = Vec::new();
        for (name, res) in &fleet.all {
            let record = service.resource(name).unwrap();
            let kind = res.set.as_ref().map_or(PlatformKey, |set| fleet.sets[set].kind);
            let told = (record.set, record.encryption_type, record.joining, record.guest_encrypted);
            assert_eq!(told, (res.set.clone(), kind, None, res.guest), "{}: {name}", self.doing);
            assert_eq!(
                (&record.region[..], &record.subscription[..]),
                (res.region, res.subscription),
                "{}",
                self.doing
            );
            ids.push(record.id);
        }
        ids.sort();
        assert!(self.world.disks.0.lock().unwrap().keys().eq(&ids), "{}: devices", self.doing);
    }
}
