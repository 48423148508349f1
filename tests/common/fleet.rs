//! A model of a fleet: the members of sets, the rule behind each refusal, the content of every disk and snapshot, and
//! when its key must, may or must not be usable. It knows the rules but nothing of their implementation.

use std::collections::{BTreeMap, BTreeSet};

use atrest::managed::{ResourceKind, ResourceName};
use atrest::{EncryptionType, Error, KeyRefusal, Result};

pub const CHUNK: usize = 64 << 10;
pub const SECTOR: usize = 4096;
/// Two chunks and one sector of a third.
pub const SECTORS: usize = 2 * CHUNK / SECTOR + 1;

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Out {
    Ok,
    /// Refused by the rule of this number.
    Rule(&'static str),
    Exists,
    Missing,
    Busy,
    /// The key can't be used, or its vault can't be asked.
    NoAccess,
}

impl Out {
    pub fn of<T>(result: &Result<T>) -> Option<Out> {
        Some(match result {
            Ok(_) => Out::Ok,
            Err(Error::NotAllowed { rule, .. }) => Out::Rule(crate::common::world::number(*rule)),
            Err(Error::ResourceExists(_)) => Out::Exists,
            Err(Error::NoSuchResource(_)) => Out::Missing,
            Err(Error::Busy { .. }) => Out::Busy,
            Err(
                Error::DiskSuspended { .. }
                | Error::KeyRefused { reason: KeyRefusal::Disabled, .. }
                | Error::KeyRefused { reason: KeyRefusal::Expired, .. }
                | Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. }
                | Error::Vault(_),
            ) => Out::NoAccess,
            Err(_) => return None,
        })
    }
}

/// Whether a key can be used, by the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Never,
    May,
    Must,
}

impl Access {
    pub fn outs(self) -> Vec<Out> {
        match self {
            Access::Never => vec![Out::NoAccess],
            Access::May => vec![Out::NoAccess, Out::Ok],
            Access::Must => vec![Out::Ok],
        }
    }

    /// The access to all of several keys together.
    pub fn all(several: impl IntoIterator<Item = Access>) -> Access {
        several.into_iter().min().unwrap_or(Access::Must)
    }

    pub fn when(can: bool) -> Access {
        if can { Access::Must } else { Access::Never }
    }
}

/// A version of a vault's key: the vault and the version.
pub type Key = (usize, usize);

#[derive(Clone, Debug)]
pub struct Set {
    pub kind: EncryptionType,
    pub identity: String,
    pub contoso: bool,
    pub active: Key,
    pub auto: bool,
    /// A rotation failed, and its error was not cleared.
    pub error: bool,
}

#[derive(Clone, Debug)]
pub struct Res {
    /// The id that its incremental snapshots use for it.
    pub uid: u64,
    pub set: Option<String>,
    pub region: &'static str,
    pub subscription: &'static str,
    pub guest: bool,
    /// The content written to each sector; `None` if unknown.
    pub data: Vec<Option<u32>>,
    /// It is under one of these keys.
    pub under: BTreeSet<Key>,
    /// The disk's uid and its place, if it is an incremental snapshot.
    pub increment: Option<(u64, u64)>,
}

impl Res {
    pub fn chain(&self) -> u64 {
        self.increment.map_or(self.uid, |(disk, _)| disk)
    }
}

/// A customer's vault with its owner's settings.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    pub versions: usize,
    pub disabled: bool,
    pub off: BTreeSet<usize>,
    pub away: bool,
    pub expires: u64,
    pub granted: BTreeSet<String>,
}

/// The history of the lease of a set and a key.
#[derive(Clone, Debug)]
struct Track {
    /// Since when the key has been usable without a break.
    ok_since: Option<u64>,
    last_ok: Option<u64>,
    /// Since when the vault would refuse.
    no_since: Option<u64>,
    /// The vault was asked, and refused.
    noticed: bool,
}

pub const GRACE: u64 = 3600;
const INTERVAL: u64 = 900;
/// After a refusal or an outage, a vault is asked again within this many seconds.
pub const LONGEST_WAIT: u64 = 60;

#[derive(Default)]
pub struct Fleet {
    pub now: u64,
    pub owners: [Owner; 2],
    pub sets: BTreeMap<String, Set>,
    pub all: BTreeMap<ResourceName, Res>,
    tracks: BTreeMap<(String, Key), Track>,
    uids: u64,
}

impl Fleet {
    pub fn new(now: u64) -> Self {
        let owner = Owner { versions: 1, ..Owner::default() };
        Fleet { now, owners: [owner.clone(), owner], ..Fleet::default() }
    }

    pub fn uid(&mut self) -> u64 {
        self.uids += 1;
        self.uids
    }

    /// Whether the vault would wrap and unwrap with this key for the set. It also would with an expired one (40).
    pub fn unwraps(&self, set: &Set, key: Key) -> bool {
        let owner = &self.owners[key.0];
        !owner.away && !owner.disabled && !owner.off.contains(&key.1) && owner.granted.contains(&set.identity)
    }

    pub fn wraps_in(&self, set: Option<&str>) -> bool {
        set.is_none_or(|set| self.unwraps(&self.sets[set], self.sets[set].active))
    }

    /// Whether a new resource can come under the set's key. An expired key works at most until its lease is renewed.
    pub fn makes_in(&self, set: Option<&str>) -> Access {
        let may = |set: &str| self.ok(&self.sets[set], self.sets[set].active, self.now);
        match (self.wraps_in(set), set.is_none_or(may)) {
            (false, _) => Access::Never,
            (true, false) => Access::May,
            (true, true) => Access::Must,
        }
    }

    /// Whether the key may be used.
    pub fn ok(&self, set: &Set, key: Key, now: u64) -> bool {
        let expires = self.owners[key.0].expires;
        self.unwraps(set, key) && (expires == 0 || now < expires)
    }

    /// Updates the histories after a step of the owners or the clock. Call it after every step.
    pub fn tick(&mut self) {
        let keys: Vec<Key> = (0..2).flat_map(|v| (1..=self.owners[v].versions).map(move |n| (v, n))).collect();
        let sets = self.sets.clone();
        self.tracks.retain(|(set, _), _| sets.contains_key(set));
        for (name, set) in &sets {
            for &key in &keys {
                let (ok, away, now) = (self.ok(set, key, self.now), self.owners[key.0].away, self.now);
                // A key that is usable from the start has never been refused.
                let new = Track { ok_since: ok.then_some(0), last_ok: None, no_since: None, noticed: false };
                let track = self.tracks.entry((name.clone(), key)).or_insert(new);
                if ok {
                    track.ok_since.get_or_insert(now);
                    (track.last_ok, track.no_since, track.noticed) = (Some(now), None, false);
                } else {
                    track.ok_since = None;
                    track.no_since = if away { None } else { track.no_since.or(Some(now)) };
                }
            }
        }
    }

    pub fn advance(&mut self, by: u64) {
        let to = self.now + by;
        for ((_, key), track) in &mut self.tracks {
            let expires = Some(self.owners[key.0].expires).filter(|&at| at != 0 && at <= to);
            if track.ok_since.is_some() {
                track.last_ok = Some(expires.map_or(to, |at| at - 1));
            }
            if let Some(at) = expires.filter(|_| track.ok_since.is_some()) {
                (track.ok_since, track.no_since) = (None, Some(at));
            }
        }
        self.now = to;
    }

    /// The service asks the vaults that are due.
    pub fn maintained(&mut self) {
        for track in self.tracks.values_mut() {
            let said_no = track.no_since.is_some_and(|since| self.now - since >= LONGEST_WAIT);
            let due = track.last_ok.is_none_or(|last| self.now - last >= INTERVAL);
            track.noticed |= said_no && due;
        }
    }

    /// A use of a resource failed. If the vault refuses now, it was asked, and all users of the key have lost it. But a
    /// failure of the vault itself is returned for a while without asking again.
    pub fn refused<T>(&mut self, name: &ResourceName, result: &Result<T>) {
        if matches!(result, Err(Error::Vault(_))) {
            return;
        }
        let res = &self.all[name];
        if let (Some(set), [key]) = (&res.set, &res.under.iter().collect::<Vec<_>>()[..]) {
            let track = self.tracks.get_mut(&(set.clone(), **key)).unwrap();
            track.noticed |= track.ok_since.is_none() && !self.owners[key.0].away;
        }
    }

    /// All leases of a set were ended.
    pub fn ended(&mut self, of: &str) {
        self.tracks.iter_mut().filter(|((set, _), _)| set == of).for_each(|(_, track)| track.noticed = true);
    }

    /// Whether a resource's content can be used. `open` means that it is open somewhere.
    pub fn access(&self, res: &Res, open: bool) -> Access {
        let Some(name) = &res.set else { return Access::Must };
        let by = |&key: &Key| {
            let track = &self.tracks[&(name.clone(), key)];
            if let Some(since) = track.ok_since {
                return if since == 0 || self.now - since >= LONGEST_WAIT { Access::Must } else { Access::May };
            }
            let over = track.noticed || track.last_ok.is_none_or(|last| self.now - last >= GRACE);
            let closed = !open && !self.unwraps(&self.sets[name], key);
            if over || closed { Access::Never } else { Access::May }
        };
        let by: BTreeSet<_> = res.under.iter().map(by).collect();
        if by.len() == 1 { by.into_iter().next().unwrap() } else { Access::May }
    }

    /// Whether a resource can be moved to another key. The lease doesn't matter if the vault unwraps.
    pub fn access_to_rewrap(&self, res: &Res) -> Access {
        let Some(name) = &res.set else { return Access::Must };
        let all = res.under.iter().all(|&key| self.unwraps(&self.sets[name], key));
        if all { Access::Must } else { Access::May }
    }

    /// A disk with its incremental snapshots if `name` is one of them; otherwise only the named resource.
    pub fn group(&self, name: &ResourceName) -> Vec<ResourceName> {
        let chain = self.all[name].chain();
        let disk = self.all.iter().filter(|(_, res)| res.uid == chain).map(|(name, _)| name.clone());
        let mut group: Vec<_> = self.increments(chain).into_iter().chain(disk).chain([name.clone()]).collect();
        group.sort();
        group.dedup();
        group
    }

    /// The incremental snapshots of a disk, the oldest first.
    pub fn increments(&self, disk: u64) -> Vec<ResourceName> {
        let of = |res: &Res| res.increment.filter(|(of, _)| *of == disk).map(|(_, place)| place);
        let mut found: Vec<_> = self.all.iter().filter_map(|(name, res)| Some((of(res)?, name.clone()))).collect();
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// Whether a snapshot can be read, with the snapshots that it needs.
    pub fn access_to_read(&self, name: &ResourceName, open: bool) -> Access {
        let res = &self.all[name];
        let Some((disk, place)) = res.increment else { return self.access(res, open) };
        let needed = self.increments(disk).into_iter().map(|name| &self.all[&name]);
        Access::all(needed.filter(|res| res.increment.unwrap().1 <= place).map(|res| self.access(res, false)))
    }

    /// The rule that refuses a resource in a set, if any.
    pub fn refusal(&self, res: &Res, set: Option<&str>) -> Option<Out> {
        let set = set?;
        if !self.sets.contains_key(set) {
            return Some(Out::Missing);
        }
        let rules = [(res.region != "north", "18"), (res.subscription != "one", "47"), (res.guest, "52")];
        rules.iter().find(|(broken, _)| *broken).map(|(_, rule)| Out::Rule(rule))
    }

    pub fn members(&self, set: &str) -> Vec<ResourceName> {
        self.all.iter().filter(|(_, res)| res.set.as_deref() == Some(set)).map(|(name, _)| name.clone()).collect()
    }

    pub fn names(&self, kind: ResourceKind) -> Vec<String> {
        self.all.keys().filter(|name| name.kind == kind).map(|name| name.name.clone()).collect()
    }

    /// The resource is now under its set's active key only.
    pub fn settle(&mut self, name: &ResourceName) {
        let res = self.all.get_mut(name).unwrap();
        res.under = res.set.iter().map(|set| self.sets[set].active).collect();
    }
}
