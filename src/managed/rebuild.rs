//! Rebuilds a store from the proofs in disks' headers, and from old stores, damaged or not.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Encoding};

use super::backend::ReadOnly;
use super::chunk_map::ChunkMap;
use super::keys::{Vaults, not_ours};
use super::layers::lower_context;
use super::parallel::for_each;
use super::records::{EncryptionSet, Joining, Resource, ResourceKind, ResourceName, check_id, check_name, is_same};
use super::service::ServiceOptions;
use super::store::{self, OldRecords, Records};
use super::sync::{into_inner, lock};
use super::under_way::{caught_up, half_adopted, stage, under_way_or_ordered, why_not_begun};
use crate::key::{Fingerprint, KeyId};
use crate::volume::{Header, OpenOptions, intended};
use crate::{BlockDevice, Credential, EncryptionType, Error, KeyVault, Result, Volume};

/// The sources for rebuilding a store.
#[derive(Debug, Clone, Default)]
pub struct RebuildSources {
    devices: Vec<(String, String)>,
    stores: Vec<PathBuf>,
    subscription: Option<String>,
}

impl RebuildSources {
    /// No sources yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a device: its region, and its id, which is its name there.
    pub fn device(mut self, region: &str, id: &str) -> Self {
        self.devices.push((region.into(), id.into()));
        self
    }

    /// Adds an old store: the damaged one, a backup, or a new one with only the sets. Stores that open come before
    /// those that don't. Of the former, the first that has a resource counts.
    pub fn store(mut self, path: impl Into<PathBuf>) -> Self {
        self.stores.push(path.into());
        self
    }

    /// The subscription of disks under the platform's key that no old store has. Without it they are listed as
    /// unproven.
    pub fn subscription(mut self, name: &str) -> Self {
        self.subscription = Some(name.into());
        self
    }
}

/// The result of a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The sets in the new store.
    pub sets: Vec<String>,
    /// Resources with a record in an old store, whose device opens with its key and matches the record.
    pub restored: Vec<ResourceName>,
    /// Those of `restored` whose device has room for more than the record's size: perhaps they were enlarged after the old store
    /// was made, and now end where they ended then. Compare with the sizes that you know;
    /// [`resize_disk`](super::DiskService::resize_disk) brings back the data beyond.
    pub larger: Vec<ResourceName>,
    /// Disks known from their header only. They open with their key, and are in the new store as disks named by their
    /// id. Their name, their kind (disk, snapshot or image's copy) and their source are lost.
    pub named_by_id: Vec<ResourceName>,
    /// Devices that are not in the new store, with the reasons.
    pub unproven: Vec<Unproven>,
    /// Resources with a record in an old store but without a device. They are not in the new store. If the import of one had not
    /// begun, its image may be unchanged: import it again.
    pub missing: Vec<ResourceName>,
}

/// A device that is not in the new store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unproven {
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: String,
    /// The reason, as a text.
    pub reason: String,
}

/// Makes a new store at `store`, which must not exist, from disks and the records in old stores. It writes only that
/// file.
///
/// Each device is opened with the key that its header names: the vault's unwrap proves the DEK, and the DEK proves the
/// header. A record of an old store is taken if it has the same id, DEK, size and type. Everything unproven is listed
/// in [`Rebuilt`] instead, with the reason. Use the options with which the service will be opened. Vaults are accessed
/// under the identities of the sets in the old stores.
///
/// # Errors
/// [`Error::AlreadyExists`] if `store` exists; [`Error::Io`] if an old store can't be read at all; [`Error::Busy`] while one is open.
pub fn rebuild(store: impl AsRef<Path>, sources: &RebuildSources, options: &ServiceOptions) -> Result<Rebuilt> {
    let store = store.as_ref();
    store::check_free(store)?;
    let old = OldRecords::read(&sources.stores)?;
    let (directory, platform) = (options.vaults.clone(), options.platform.clone());
    let vaults = Vaults::new(directory, platform, options.platform_key.clone(), &options.lease, Arc::default());
    let work = Rebuilding { options, sources, old: &old, vaults };
    let found: Vec<_> = sources.devices.iter().map(|_| Mutex::new(None)).collect();
    let numbers: Vec<_> = (0..found.len()).collect();
    // The first occurrence of each device.
    let first: BTreeMap<_, _> = sources.devices.iter().enumerate().rev().map(|(n, (_, id))| (id.as_str(), n)).collect();
    for_each(options.parallel.max(1), &numbers, |&n| {
        let (region, id) = &sources.devices[n];
        // A device that is open can't be opened again.
        let is_first = first[id.as_str()] == n;
        *lock(&found[n]) = Some(if is_first { work.look(region, id) } else { Err("it was given twice".into()) });
        ControlFlow::Continue(())
    });
    let found = found.into_iter().map(into_inner);
    let (mut told, mut store_of) = (Rebuilt::default(), NewStore::default());
    for ((region, id), found) in sources.devices.iter().zip(found) {
        let put = found
            .unwrap_or_else(|| Err("it was not looked at".into()))
            .and_then(|found| store_of.put(found, &mut told));
        if let Err(reason) = put {
            told.unproven.push(Unproven { region: region.clone(), id: id.clone(), reason });
        }
    }
    let given: BTreeSet<_> = sources.devices.iter().map(|(_, id)| id.as_str()).collect();
    let missing = old.resources.iter().filter(|(id, _)| !given.contains(id.as_str()));
    told.missing = missing.flat_map(|(_, records)| records.first()).map(Resource::full_name).collect();
    let sets: Vec<_> = old.sets.values().map(|set| work.with_keys(set, &store_of.resources)).collect();
    told.sets = sets.iter().map(|set| set.name.clone()).collect();
    Records::create(store, old.changes, |tables| {
        sets.iter().try_for_each(|set| tables.put_set(set))?;
        old.platform.iter().try_for_each(|keys| tables.put_platform(keys))?;
        for (resource, _) in &store_of.resources {
            if let Some(key) = resource.platform_layer().and_then(|layer| resource.proven_key(layer)) {
                tables.take_up(key)?;
            }
        }
        store_of.resources.iter().try_for_each(|(resource, _)| tables.add_resource(resource))
    })?;
    Ok(told)
}

/// A resource proven by a device.
struct Found {
    resource: Resource,
    /// The keys that it is under.
    keys: Vec<KeyId>,
    /// Whether an old store has a record of it.
    is_known: bool,
    /// Whether its device has room for more.
    is_larger: bool,
}

#[derive(Default)]
struct NewStore {
    resources: Vec<(Resource, Vec<KeyId>)>,
    names: BTreeSet<ResourceName>,
    increments: BTreeSet<(String, u64)>,
}

impl NewStore {
    fn put(&mut self, found: Found, told: &mut Rebuilt) -> core::result::Result<(), String> {
        let Found { resource, keys, is_known, is_larger } = found;
        let name = resource.full_name();
        if !self.names.insert(name.clone()) {
            return Err(format!("another device is the {name} already"));
        }
        if let Some((disk, place)) = resource.place()
            && !self.increments.insert((disk.into(), place))
        {
            return Err(format!("another device has the place of the {name} among the snapshots of its disk already"));
        }
        if is_known && is_larger {
            told.larger.push(name.clone());
        }
        if is_known { &mut told.restored } else { &mut told.named_by_id }.push(name);
        self.resources.push((resource, keys));
        Ok(())
    }
}

struct Rebuilding<'a> {
    options: &'a ServiceOptions,
    sources: &'a RebuildSources,
    old: &'a OldRecords,
    vaults: Vaults,
}

/// The facts that a device proves once its DEK is unwrapped.
struct Proven {
    upper: Volume<Arc<dyn BlockDevice>>,
    /// The keys of the upper volume, and of the lower one if there are two.
    keys: [Vec<KeyId>; 2],
    encryption_type: EncryptionType,
    /// The fingerprints of the DEKs. For the upper volume it is the old DEK's until a re-encryption is finished.
    fingerprints: Vec<Fingerprint>,
    /// The header of an encryption in place is still in the free end of the device.
    half_begun: bool,
}

impl Proven {
    /// Whether a record names the proven keys.
    fn is_noted(&self, record: &Resource) -> bool {
        let fits = |(layer, keys): (usize, &Vec<KeyId>)| match record.proven_key(layer) {
            Some(key) => keys.contains(key),
            None => keys.is_empty(),
        };
        self.keys.iter().enumerate().all(fits)
    }
}

impl Rebuilding<'_> {
    fn look(&self, region: &str, id: &str) -> core::result::Result<Found, String> {
        let text = |e: Error| format!("{e:#}");
        check_id(id).and_then(|()| check_name(region)).map_err(text)?;
        let records = self.old.resources.get(id).map_or(&[][..], Vec::as_slice);
        let last = records.iter().map(stage).max();
        let mut newest = records.iter().filter(|record| Some(stage(record)) == last);
        let proven = self.open(region, id).map_err(|e| {
            let to_import = newest.find(|record| record.is_to_be_imported());
            to_import.map(|record| why_not_begun(record, &e)).unwrap_or_else(|| text(e))
        })?;
        let (mut fitting, mut unfit) = (Vec::<(bool, Resource)>::new(), None);
        // A re-encryption only goes on: where it is farthest was the last.
        for record in records.iter().filter(|record| Some(stage(record)) == last) {
            match self.fit(record, region, &proven) {
                Ok(resource) => fitting.push((proven.is_noted(record), resource)),
                Err(why) => unfit = Some(format!("an old store has a record of the {}, but {why}", record.full_name())),
            }
        }
        // If records differ only in the key, the one with the proven key was the last.
        let is_last = fitting.iter().any(|(noted, _)| *noted);
        fitting.retain(|(noted, _)| *noted || !is_last);
        let but_proofs = |resource: &Resource| Resource { proven: None, proven_lower: None, ..resource.clone() };
        fitting.dedup_by(|(_, one), (_, other)| but_proofs(one) == but_proofs(other));
        let mut fitting: Vec<Resource> = fitting.into_iter().map(|(_, resource)| resource).collect();
        let keys = proven.keys[0].clone();
        match (fitting.pop(), unfit) {
            (Some(_), _) if !fitting.is_empty() => {
                Err("an old store has several records of it, and it is unknown which was the last".into())
            }
            (Some(resource), _) => {
                let is_larger = proven.upper.size() > needed(&resource).unwrap_or(u64::MAX);
                Ok(Found { resource, keys, is_known: true, is_larger })
            }
            (None, Some(why)) => Err(why),
            (None, None) => {
                let resource = self.unknown(region, id, &proven)?;
                Ok(Found { resource, keys, is_known: false, is_larger: false })
            }
        }
    }

    /// Opens the volumes of a device without writing.
    fn open(&self, region: &str, id: &str) -> Result<Proven> {
        let device: Arc<dyn BlockDevice> = Arc::new(ReadOnly(self.options.backend.open(region, id)?));
        if let Some(begun) = intended(&device)? {
            return Ok(Proven { half_begun: true, ..self.open_upper(begun, id)? });
        }
        let lower = lower_context(id);
        if tokens(&device)?.iter().any(|(_, context)| context == lower.as_bytes()) {
            let lower = open_by(&device, &lower, &*self.vaults.platform)?;
            let (fingerprint, keys) = (lower.fingerprint()?, lower.keks());
            let mut proven = self.open_upper(Arc::new(lower), id)?;
            proven.fingerprints.push(fingerprint);
            proven.keys[1] = keys;
            return Ok(proven);
        }
        self.open_upper(device, id)
    }

    fn open_upper(&self, device: Arc<dyn BlockDevice>, id: &str) -> Result<Proven> {
        let tokens = tokens(&device)?;
        let keys: Vec<_> =
            tokens.into_iter().filter(|(_, context)| context == id.as_bytes()).map(|(key, _)| key).collect();
        let mut failed = if keys.is_empty() {
            Error::NotThisVault { wanted: "none, for its header has no token of this device's id".into() }
        } else {
            not_ours(&keys)
        };
        for vault in keys.iter().flat_map(|key| self.vaults_of(key)) {
            match vault.and_then(|vault| open_by(&device, id, &*vault)) {
                Ok(upper) => {
                    let genuine = upper.genuine_tokens();
                    let encryption_type = genuine.first().ok_or(Error::TamperedHeader)?.encryption_type;
                    let keys = [genuine.into_iter().map(|token| token.wrapped.kek).collect(), Vec::new()];
                    let fingerprints = vec![match upper.previous_fingerprint()? {
                        Some(old) => old,
                        None => upper.fingerprint()?,
                    }];
                    return Ok(Proven { upper, keys, encryption_type, fingerprints, half_begun: false });
                }
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// The vaults that may have a key: the platform's, and the key's vault under the identity of each set with that
    /// key.
    fn vaults_of(&self, key: &KeyId) -> Vec<Result<Arc<dyn KeyVault>>> {
        let mut vaults = Vec::new();
        if key.vault() == self.vaults.platform.id() {
            vaults.push(Ok(self.vaults.platform.clone()));
        }
        let sets = self.old.sets.values().filter(|set| is_same(&set.active_key, key));
        let identities: BTreeSet<_> = sets.map(|set| set.identity.clone()).collect();
        vaults.extend(identities.into_iter().map(|identity| self.vaults.vault(key.vault(), &identity)));
        vaults
    }

    /// The resource of a record, if the device matches it.
    fn fit(&self, record: &Resource, region: &str, proven: &Proven) -> core::result::Result<Resource, String> {
        let sector_size = proven.upper.sector_size().bytes();
        if record.region != region {
            return Err(format!("in the region {:?}", record.region));
        }
        let mut resource =
            caught_up(record, &proven.upper, &proven.fingerprints, self.options.clock.now()).map_err(|e| match e {
                Error::OtherDek => "with another DEK".into(),
                e => format!("{e:#}"),
            })?;
        if proven.half_begun {
            resource
                .take_back_begun(record)
                .ok_or("the device is an older one: its encryption in place was begun by then")?;
        }
        if record.encryption_type != proven.encryption_type || record.sector_size != sector_size {
            return Err("of another encryption type or sector size".into());
        }
        if needed(record).is_none_or(|needed| needed > proven.upper.size()) {
            return Err(format!("of {} bytes, which the device hasn't", record.size));
        }
        if record.increment.is_some() {
            read_map(&proven.upper, record.size).map_err(|e| format!("{e:#}"))?;
        }
        let under = |set: &String| {
            self.old.sets.get(set).is_some_and(|set| proven.keys[0].iter().all(|key| is_same(&set.active_key, key)))
        };
        let platform = record.set.is_none() || record.joining == Some(Joining::Platform);
        if !(record.set.iter().chain(record.leaving()).any(under) || platform && self.is_platform(proven)) {
            let keys: Vec<_> = proven.keys[0].iter().map(KeyId::to_string).collect();
            return Err(format!("no set that it may be in has the key that it is under, {}", keys.join(", ")));
        }
        if let Some(set) = record.set.iter().chain(record.leaving()).find(|set| !self.old.sets.contains_key(*set)) {
            return Err(format!("the record of the set {set:?} can't be read, or is there in several versions"));
        }
        resource.note_keys(&proven.keys, self.options.clock.now());
        Ok(resource)
    }

    /// A disk that no old store has.
    fn unknown(&self, region: &str, id: &str, proven: &Proven) -> core::result::Result<Resource, String> {
        let size = proven.upper.size();
        if let Some(size) = mapped(size)
            && read_map(&proven.upper, size).is_ok()
        {
            return Err("it is an incremental snapshot, and no old store knows its disk".into());
        }
        let set = if self.is_platform(proven) {
            None
        } else {
            let fits = |set: &&EncryptionSet| {
                let keys = proven.keys[0].iter().all(|key| is_same(&set.active_key, key));
                keys && set.region == region && set.encryption_type == proven.encryption_type
            };
            let sets: Vec<_> = self.old.sets.values().filter(fits).collect();
            let [set] = sets[..] else {
                let text = "no old store knows it, and its region doesn't have exactly one set with its key";
                return Err(text.into());
            };
            Some(set)
        };
        let subscription = set.map(|set| &set.subscription).or(self.sources.subscription.as_ref());
        let mut resource = Resource {
            kind: ResourceKind::Disk,
            name: id.into(),
            id: id.into(),
            region: region.into(),
            subscription: subscription
                .ok_or("no old store knows it, and no subscription was given for such disks")?
                .clone(),
            size,
            sector_size: proven.upper.sector_size().bytes(),
            encryption_type: proven.encryption_type,
            set: set.map(|set| set.name.clone()),
            joining: None,
            guest_encrypted: false,
            host_encrypted: false,
            created: 0,
            source: None,
            increment: None,
            fingerprints: proven.fingerprints.clone(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
            reencryption: under_way_or_ordered(&proven.upper, self.options.clock.now())
                .map_err(|e| format!("{e:#}"))?,
            host_cache: None,
            host_cache_at: None,
            adopting: half_adopted(&proven.upper, id).map_err(|e| format!("{e:#}"))?,
            replaced: Vec::new(),
        };
        if proven.half_begun {
            // Nothing asks for the image any more, because the device is there.
            resource.reencryption.iter_mut().for_each(|order| (order.begun, order.image) = (None, Some(id.into())));
        }
        resource.note_keys(&proven.keys, self.options.clock.now());
        Ok(resource)
    }

    fn is_platform(&self, proven: &Proven) -> bool {
        proven.encryption_type == EncryptionType::PlatformKey
            && proven.keys[0].iter().all(|key| key.vault() == self.vaults.platform.id())
    }

    /// A set's record, completed with the keys that its resources were found under. They may be newer than the record.
    fn with_keys(&self, set: &EncryptionSet, resources: &[(Resource, Vec<KeyId>)]) -> EncryptionSet {
        let mut set = set.clone();
        let members = resources.iter().filter(|(resource, _)| resource.set.as_ref() == Some(&set.name));
        let is_new =
            |key: &&KeyId| is_same(&set.active_key, key) && **key != set.active_key && !set.previous_keys.contains(key);
        let (mut new, mut old): (Vec<KeyId>, Vec<KeyId>) = Default::default();
        for key in members.flat_map(|(_, keys)| keys).filter(is_new) {
            // If it is a former key of the set, the header is older than the record.
            let keys = if set.former_keys.contains(key) { &mut old } else { &mut new };
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        set.previous_keys.extend(old);
        let latest = || {
            let vault = self.vaults.vault(set.active_key.vault(), &set.identity).ok()?;
            vault.describe(set.active_key.key(), None).ok()?.map(|key| key.id)
        };
        // If there are several, the vault says which is the latest. If it doesn't, any will do until the next rotation.
        let Some(active) =
            (new.len() > 1).then(latest).flatten().filter(|key| new.contains(key)).or(new.last().cloned())
        else {
            return set;
        };
        set.previous_keys.extend(new.into_iter().filter(|key| *key != active));
        set.previous_keys.push(core::mem::replace(&mut set.active_key, active));
        set
    }
}

fn open_by(device: &Arc<dyn BlockDevice>, context: &str, vault: &dyn KeyVault) -> Result<Volume<Arc<dyn BlockDevice>>> {
    // A token's MAC proves that an owner of the DEK began to encrypt it in place.
    let options = OpenOptions::new().read_only(true).leave_torn(true).hazmat_allow_unencrypted(true);
    let options = options.context(context.as_bytes());
    Volume::open(device.clone(), Credential::Vault(vault), &options)
}

/// The keys and contexts of a header's tokens. They are not proven yet.
fn tokens(device: &dyn BlockDevice) -> Result<Vec<(KeyId, Vec<u8>)>> {
    let tokens = Header::load(device)?.tokens();
    let read = |token: crate::volume::TokenInfo| {
        let json: serde_json::Value = serde_json::from_str(&token.json).ok()?;
        Some((token.key_url?.parse().ok()?, Base64::decode_vec(json.get("context")?.as_str()?).ok()?))
    };
    Ok(tokens.into_iter().filter_map(read).collect())
}

/// The size of the volume that a record is of. An incremental snapshot has a map behind its data.
fn needed(record: &Resource) -> Option<u64> {
    record.size.checked_add(record.increment.map_or(0, |_| ChunkMap::stored_len(record.size)))
}

/// If a volume of this size is an incremental snapshot: the size of its data.
fn mapped(size: u64) -> Option<u64> {
    // The device's size grows with the data's, so search by bisection.
    let (mut low, mut high) = (0, size / 512);
    while low < high {
        let middle = (low + high) / 2;
        let sum = (middle * 512).saturating_add(ChunkMap::stored_len(middle * 512));
        if sum < size { low = middle + 1 } else { high = middle }
    }
    Some(low * 512).filter(|data| *data > 0 && data + ChunkMap::stored_len(*data) == size)
}

fn read_map(volume: &dyn BlockDevice, size: u64) -> Result<ChunkMap> {
    let mut bytes = vec![0; ChunkMap::stored_len(size) as usize];
    volume.read_at(size, &mut bytes).map_err(|e| Error::io("reading the map of an incremental snapshot", e))?;
    ChunkMap::from_bytes(&bytes, size)
}
