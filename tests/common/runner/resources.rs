//! Steps on disks, snapshots and images.

use super::*;

fn or(outs: impl IntoIterator<Item = Out>, more: Out) -> Vec<Out> {
    outs.into_iter().chain([more]).collect()
}

impl Runner {
    /// The possible outcomes of making a resource: a refusal, or the outcomes by the keys of source and set.
    fn outs_of_making(&self, name: &ResourceName, res: &Res, set: Option<&str>, source: Access) -> Vec<Out> {
        if let Some(refusal) = self.fleet.refusal(res, set) {
            return vec![refusal];
        }
        if self.fleet.all.contains_key(name) {
            return vec![Out::Exists];
        }
        Access::all([source, self.fleet.makes_in(set)]).outs()
    }

    fn add(&mut self, name: ResourceName, res: Res) {
        self.fleet.all.insert(name.clone(), res);
        self.fleet.settle(&name);
    }

    pub(super) fn create_disk(
        &mut self,
        disk: &str,
        set: Option<String>,
        (region, subscription): (&'static str, &'static str),
    ) {
        let name = ResourceName::disk(disk);
        let (uid, under, data) = (self.fleet.uid(), Default::default(), vec![None; SECTORS]);
        let res = Res { uid, set: set.clone(), region, subscription, guest: false, data, under, increment: None };
        let outs = self.outs_of_making(&name, &res, set.as_deref(), Access::Must);
        let size = (SECTORS * SECTOR) as u64;
        let new = new_disk(disk, set.as_deref()).region(region).subscription(subscription).size(size);
        if self.came(&outs, &self.service().create_disk(&new)) {
            self.add(name, res);
        }
    }

    /// The model of a copy. Its place is still that of its source.
    fn copied(&mut self, from: &ResourceName, set: Option<String>) -> Option<Res> {
        let (uid, from) = (self.fleet.uid(), self.fleet.all.get(from)?);
        Some(Res { uid, set, under: Default::default(), increment: None, ..from.clone() })
    }

    pub(super) fn copy(
        &mut self,
        from: &ResourceName,
        disk: &str,
        set: Option<String>,
        place: (&'static str, &'static str),
    ) {
        let name = ResourceName::disk(disk);
        let new = NewCopy::new(disk).region(place.0).subscription(place.1).encryption_set(set.as_deref());
        let result = self.service().create_disk_from(from, &new, &still);
        let Some(mut res) = self.copied(from, set.clone()) else {
            self.came(&[Out::Missing], &result);
            return;
        };
        (res.region, res.subscription) = place;
        let outs = self.outs_of_making(&name, &res, set.as_deref(), self.readable(from));
        if self.came(&outs, &result) {
            self.add(name, res);
        }
    }

    pub(super) fn snapshot(&mut self, name: &str, disk: &str, incremental: bool, set: Option<&str>) {
        let new = NewSnapshot::new(name, disk).incremental(incremental).encryption_set(set);
        let (disk, name) = (ResourceName::disk(disk), ResourceName::snapshot(name));
        let Some(from) = self.fleet.all.get(&disk).cloned() else {
            self.came(&[Out::Missing], &self.service().create_snapshot(&new, &still));
            return;
        };
        let set = set.map(String::from).or(from.set.clone());
        let mut res = self.copied(&disk, set.clone()).unwrap();
        let mut outs = self.outs_of_making(&name, &res, set.as_deref(), self.readable(&disk));
        if incremental {
            let before = self.fleet.increments(from.uid);
            // The snapshots before it are opened first.
            let needed = before.last().map_or(Access::Must, |last| self.fleet.access_to_read(last, false));
            outs = if set != from.set {
                vec![Out::Rule("45")]
            } else {
                match (needed, &outs[..]) {
                    (Access::Must, _) => outs,
                    (Access::May, _) => or(outs, Out::NoAccess),
                    (Access::Never, [refused @ (Out::Missing | Out::Rule(_))]) => vec![*refused, Out::NoAccess],
                    (Access::Never, _) => vec![Out::NoAccess],
                }
            };
            let last = before.last().map(|last| self.fleet.all[last].increment.unwrap().1);
            res.increment = Some((from.uid, last.map_or(0, |last| last + 1)));
        }
        if self.came(&outs, &self.service().create_snapshot(&new, &still)) {
            self.add(name, res);
        }
    }

    pub(super) fn image(&mut self, image: String, disks: Vec<String>, set: Option<String>, south: bool) {
        let mut regions = vec![("north", set)];
        if south {
            regions.push(("south", None));
        }
        let new = disks.iter().fold(NewImage::new(&image), |new, disk| new.disk(disk));
        let new = regions.iter().fold(new, |new, (region, set)| new.region(*region, vec![set.as_deref(); disks.len()]));
        let result = self.service().create_image(&new, &still);
        let names: Vec<_> = disks.iter().map(ResourceName::disk).collect();
        let (mut refusal, mut access, mut made) = (None, Vec::new(), Vec::new());
        if self.fleet.names(ResourceKind::Image).iter().any(|name| name.starts_with(&format!("{image}/"))) {
            refusal = Some(Out::Exists);
        }
        for (number, disk) in names.iter().enumerate() {
            for (region, set) in &regions {
                let Some(mut res) = self.copied(disk, set.clone()) else {
                    refusal = refusal.or(Some(Out::Missing));
                    continue;
                };
                res.region = region;
                if self.fleet.all[disk].set.is_some() && set.is_none() {
                    refusal = refusal.or(Some(Out::Rule("50")));
                }
                refusal = refusal.or(self.fleet.refusal(&res, set.as_deref()));
                access.push(self.readable(disk));
                made.push((ResourceName::image(&image, region, number), res));
            }
        }
        let outs = refusal.map_or_else(
            || {
                access.extend(regions.iter().map(|(_, set)| self.fleet.makes_in(set.as_deref())));
                Access::all(access).outs()
            },
            |refusal| vec![refusal],
        );
        if self.came(&outs, &result) {
            made.into_iter().for_each(|(name, res)| self.add(name, res));
        }
    }

    pub(super) fn delete(&mut self, name: &ResourceName) {
        let result = self.service().delete(name);
        let Some(res) = self.fleet.all.get(name) else {
            self.came(&[Out::Missing], &result);
            return;
        };
        let chain = self.fleet.increments(res.chain());
        let heir = chain.iter().skip_while(|other| *other != name).nth(1).cloned();
        let outs = match (name.kind, &heir) {
            (ResourceKind::Image, _) => vec![Out::Rule("49")],
            (_, Some(heir)) if res.increment.is_some() => {
                let both = [name, heir].map(|name| self.fleet.access(&self.fleet.all[name], false));
                let wraps = self.fleet.makes_in(res.set.as_deref());
                Access::all(both.into_iter().chain([wraps])).outs()
            }
            _ if self.is_open(name) => vec![Out::Busy],
            _ => vec![Out::Ok],
        };
        let merges = res.increment.is_some();
        if self.came(&outs, &result) {
            self.fleet.all.remove(name);
            if let Some(heir) = heir.filter(|_| merges) {
                self.fleet.settle(&heir);
            }
        }
    }

    pub(super) fn put(&mut self, name: &ResourceName, set: String) {
        let result = self.service().put_into_set(name, &set);
        if !self.fleet.all.contains_key(name) {
            self.came(&[Out::Missing], &result);
            return;
        }
        let group = self.fleet.group(name);
        let refusal = |name: &ResourceName| {
            let res = &self.fleet.all[name];
            let is_double = |set: &str| self.fleet.sets[set].kind == PlatformAndCustomerKeys;
            let doubled = || res.set.as_deref().is_some_and(is_double) != is_double(&set);
            self.fleet.refusal(res, Some(&set)).or_else(|| doubled().then_some(Out::Rule("60")))
        };
        let access = Access::all(group.iter().map(|name| self.fleet.access_to_rewrap(&self.fleet.all[name])));
        let mut outs = match group.iter().find_map(refusal) {
            Some(refusal) => vec![refusal],
            None if group.iter().all(|name| self.fleet.all[name].set.as_ref() == Some(&set)) => vec![Out::Ok],
            None => Access::when(self.fleet.wraps_in(Some(&set))).outs(),
        };
        if access != Access::Must {
            outs.push(Out::NoAccess);
        }
        if self.came(&outs, &result) {
            for name in group {
                let moved = self.fleet.all[&name].set.as_ref() != Some(&set);
                self.fleet.all.get_mut(&name).unwrap().set = Some(set.clone());
                if moved {
                    self.fleet.settle(&name);
                }
            }
        }
    }

    fn open(&mut self, n: u8) -> bool {
        let name = ResourceName::disk(disk_name(n));
        let outs = match self.fleet.all.get(&name) {
            None => vec![Out::Missing],
            Some(res) => self.fleet.access(res, self.is_open(&name)).outs(),
        };
        let result = self.service().open_disk(&name.name);
        if !self.came(&outs, &result) {
            if outs != [Out::Missing] {
                self.fleet.refused(&name, &result);
            }
            return false;
        }
        self.handles.entry(n).or_insert(result.unwrap());
        true
    }

    pub(super) fn write(&mut self, n: u8, at: usize, len: usize) {
        if !self.handles.contains_key(&n) && !self.open(n) {
            return;
        }
        let name = ResourceName::disk(disk_name(n));
        let sectors = at..(at + len).min(SECTORS);
        self.stamp += 1;
        let bytes = self.stamp.to_le_bytes().repeat(sectors.len() * SECTOR / 4);
        let result = self.handles[&n].write_at((at * SECTOR) as u64, &bytes);
        let outs = self.fleet.access(&self.fleet.all[&name], true).outs();
        if self.came(&outs, &result) {
            self.fleet.all.get_mut(&name).unwrap().data[sectors].fill(Some(self.stamp));
        } else {
            self.fleet.refused(&name, &result);
        }
    }

    pub(super) fn read(&mut self, n: u8) {
        if !self.handles.contains_key(&n) && !self.open(n) {
            return;
        }
        let name = ResourceName::disk(disk_name(n));
        let res = &self.fleet.all[&name];
        let mut bytes = vec![0; SECTORS * SECTOR];
        let result = self.handles[&n].read_at(0, &mut bytes);
        if self.came(&self.fleet.access(res, true).outs(), &result) {
            self.holds(res, &bytes);
        } else {
            self.fleet.refused(&name, &result);
        }
    }

    fn holds(&self, res: &Res, bytes: &[u8]) {
        for (n, (stamp, sector)) in res.data.iter().zip(bytes.chunks(SECTOR)).enumerate() {
            let Some(stamp) = stamp else { continue };
            let same = sector.chunks(4).all(|word| word == stamp.to_le_bytes());
            assert!(same, "{}: sector {n} is not what {stamp} wrote", self.doing);
        }
    }

    /// Opens everything and compares its content. All keys must be usable.
    fn check_all(&self) {
        let service = self.service();
        for (name, res) in &self.fleet.all {
            let mut bytes = vec![0; SECTORS * SECTOR];
            if name.kind == ResourceKind::Disk {
                service.open_disk(&name.name).unwrap().read_at(0, &mut bytes).unwrap();
            } else {
                let new = NewCopy::new("restored").region(res.region).subscription("one");
                service.create_disk_from(name, &new, &still).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.doing));
                service.open_disk("restored").unwrap().read_at(0, &mut bytes).unwrap();
                service.delete(&ResourceName::disk("restored")).unwrap();
            }
            self.holds(res, &bytes);
        }
    }

    /// Restores all access and checks that nothing was lost (39). Then rotates all sets and destroys the old versions.
    pub fn end(mut self) {
        self.doing = "the end".into();
        for vault in 0..2 {
            self.customer(vault).disabled.store(false, Ordering::Relaxed);
            self.customer(vault).away.store(false, Ordering::Relaxed);
            self.customer(vault).expires.store(0, Ordering::Relaxed);
            self.customer(vault).off.lock().unwrap().clear();
        }
        let sets: Vec<_> = self.fleet.sets.keys().cloned().collect();
        sets.iter().for_each(|set| self.grant(set, true));
        self.world.clock.advance(Duration::from_secs(61));
        self.check_all();
        let (mut used, key) =
            ([Vec::new(), Vec::new()], |name: &str| self.service().encryption_set(name).unwrap().active_key);
        for set in &sets {
            self.service().clear_rotation_error(set).unwrap();
            self.service().rotate_set(set, &quiet).unwrap();
            let (vault, version) = key_of(&key(set));
            used[vault].push(version);
        }
        for (vault, used) in used.iter().enumerate() {
            let versions = self.fleet.owners[vault].versions;
            (1..=versions).filter(|n| !used.contains(n)).for_each(|n| self.customer(vault).vault.destroy(n));
        }
        self.restart();
        self.check_all();
    }
}
