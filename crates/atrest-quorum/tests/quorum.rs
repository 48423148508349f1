//! A quorum of vault files: what it opens, what it refuses, and what costs it nothing.

#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../tests/common/cost.rs"]
mod cost;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::vault::{FileVault, Unlock, VersionChange};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_quorum::{Member, Quorum};
use conformance::{DEK, SetWorld, dek, forgeries};

/// A vault file that is down, refuses, lies, dawdles or forgets when it is told to.
struct Vault {
    file: FileVault,
    id: String,
    is_down: AtomicBool,
    lies: AtomicBool,
    is_slow: AtomicBool,
    asked: AtomicUsize,
    /// How many are asked at this moment.
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct World {
    _folder: tempfile::TempDir,
    vaults: Vec<Arc<Vault>>,
}

impl World {
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let vault = |n: usize| {
            let [path, key_file] = ["vault", "key"].map(|name| folder.path().join(format!("{n}.{name}")));
            FileVault::generate_key_file(&key_file).unwrap();
            let file = FileVault::create(path, Unlock::KeyFile(&key_file)).unwrap();
            file.create_key("disks").unwrap();
            let id = file.id().to_owned();
            let (is_down, lies, is_slow, asked) = Default::default();
            Arc::new(Vault { file, id, is_down, lies, is_slow, asked, now: now.clone(), most: most.clone() })
        };
        World { vaults: (0..count).map(vault).collect(), _folder: folder }
    }

    /// A new handle, which remembers no failure.
    fn quorum(&self, threshold: usize) -> Quorum {
        let members = self.vaults.iter().map(|vault| Member::new(vault.clone()));
        Quorum::new("quorum:board", threshold, members).unwrap()
    }

    fn down(&self, which: &[usize]) {
        self.vaults.iter().enumerate().for_each(|(n, vault)| vault.is_down.store(which.contains(&n), SeqCst));
    }

    fn disable(&self, which: &[usize]) {
        for (n, vault) in self.vaults.iter().enumerate() {
            for version in vault.file.keys().unwrap().into_iter().flat_map(|key| key.versions) {
                let change = VersionChange::new().enabled(!which.contains(&n));
                vault.file.set_version(&version.id, change).unwrap();
            }
        }
    }
}

impl KeyVault for Vault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.check()?;
        self.file.wrap(key, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.check()?;
        self.file.wrap_version(kek, dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let unwrapped = self.check().and_then(|()| self.file.unwrap(wrapped));
        self.now.fetch_sub(1, SeqCst);
        if self.lies.load(SeqCst) { Ok(Some(Secret::copy_from(&[9; 32]))) } else { unwrapped }
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.check()?;
        self.file.describe(key, version)
    }
}

impl Vault {
    fn check(&self) -> Result<()> {
        self.asked.fetch_add(1, SeqCst);
        if self.is_slow.load(SeqCst) {
            thread::sleep(Duration::from_millis(50));
        }
        if self.is_down.load(SeqCst) { Err(Error::Vault("no answer".into())) } else { Ok(()) }
    }
}

/// All choices of so many of these.
fn choices(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let of = move |set: usize| (0..count).filter(|n| set >> n & 1 == 1).collect::<Vec<_>>();
    (0..1_usize << count).map(of).filter(move |chosen| chosen.len() == size)
}

#[test]
fn it_is_a_vault_like_others() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    let rotate = || drop(world.vaults[1].file.rotate_key("disks").unwrap());
    conformance::wraps_and_unwraps(&quorum, "disks");
    conformance::rotates(&quorum, "disks", &rotate);
    conformance::serves_a_volume(&quorum, "disks", &rotate);
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let world = World::new(3);
    let old = world.quorum(2).wrap("disks", &dek()).unwrap().kek;
    for vault in &world.vaults {
        vault.file.create_key("tapes").unwrap();
        vault.file.rotate_key("disks").unwrap();
    }
    let others = [old, world.quorum(2).wrap("tapes", &dek()).unwrap().kek];
    let vault = || Arc::new(world.quorum(2)) as Arc<dyn KeyVault>;
    forgeries::delay_no_honest_disk(&vault, "disks", &others);

    // Bundles of their own, whose parts name vaults and keys that aren't there, or members' keys with other bytes.
    let known = vault();
    let honest = known.wrap("disks", &dek()).unwrap();
    let ids: Vec<_> = world.vaults.iter().map(|vault| vault.id.clone()).collect();
    let nobody = ["memory:a", "memory:b"].map(String::from);
    let mut forged = Vec::new();
    for (vaults, key, version) in
        [(&ids[..], "disks", "1"), (&ids, "no-such-key", "1"), (&ids, "disks", "999"), (&nobody, "disks", "1")]
    {
        for algorithm in [1_u8, 2, 3, 6, 7] {
            for len in [1, 40, 1200 / vaults.len()] {
                let mut bytes = [b"ATRQ\x01\x02", &[vaults.len() as u8][..], &[7; 16]].concat();
                for id in vaults {
                    bytes.extend([&(id.len() as u16).to_be_bytes()[..], id.as_bytes()].concat());
                    for name in [key, version] {
                        bytes.push(name.len() as u8);
                        bytes.extend(name.as_bytes());
                    }
                    bytes.push(algorithm);
                    bytes.extend([7; 16]);
                    bytes.extend((len as u16).to_be_bytes());
                    bytes.extend(vec![7; len]);
                }
                bytes.extend([7; 72]);
                let name = format!("parts of {len} bytes by {algorithm} under {key}/{version} of {vaults:?}");
                forged.push((name, WrappedDek::new(honest.kek.clone(), honest.algorithm, bytes)));
            }
        }
    }
    forgeries::delay_none(&known, &vault, &honest, forged, Vec::new());
}

#[test]
fn any_m_of_n_open_and_fewer_do_not() {
    for (threshold, count) in [(2, 2), (2, 3), (3, 5), (4, 4)] {
        let world = World::new(count);
        let wrapped = world.quorum(threshold).wrap("disks", &dek()).unwrap();
        for left in 0..=count {
            for up in choices(count, left) {
                let others: Vec<_> = (0..count).filter(|n| !up.contains(n)).collect();
                world.down(&others);
                let found = world.quorum(threshold).unwrap(&wrapped);
                match left >= threshold {
                    true => assert_eq!(found.unwrap().unwrap().expose(), DEK),
                    false => assert!(matches!(found, Err(Error::Vault(_))), "{found:?}"),
                }
                world.down(&[]);
                world.disable(&others);
                let found = world.quorum(threshold).unwrap(&wrapped);
                match left >= threshold {
                    true => assert_eq!(found.unwrap().unwrap().expose(), DEK),
                    false => assert!(matches!(found, Err(Error::KeyRefused { .. })), "{found:?}"),
                }
                world.disable(&[]);
            }
        }
    }
}

#[test]
fn a_refusal_is_one_only_when_no_outage_could_be_why() {
    let world = World::new(5);
    let wrapped = world.quorum(3).wrap("disks", &dek()).unwrap();
    // How many refuse and how many are down, of five.
    for (refuse, down) in [(3, 0), (3, 2), (2, 1), (1, 2), (0, 3), (2, 3), (4, 1)] {
        world.disable(&(0..refuse).collect::<Vec<_>>());
        world.down(&(refuse..refuse + down).collect::<Vec<_>>());
        let quorum = world.quorum(3);
        let version = wrapped.kek.version();
        let failures = [quorum.unwrap(&wrapped).map(drop), quorum.describe("disks", Some(version)).map(drop)];
        for (call, found) in failures.into_iter().enumerate() {
            match (refuse >= 3, call, found) {
                (true, 0, Err(Error::KeyRefused { .. })) | (false, 0, Err(Error::Vault(_))) => {}
                // A version that is disabled is described all the same.
                (_, 1, Ok(()) | Err(Error::Vault(_))) => {}
                (_, _, found) => panic!("{refuse} refuse, {down} are down: {found:?}"),
            }
        }
        world.down(&[]);
    }
}

#[test]
fn a_vault_that_gives_another_part_costs_no_more_than_one_that_is_down() {
    let world = World::new(3);
    let wrapped = world.quorum(2).wrap("disks", &dek()).unwrap();
    for liar in 0..3 {
        world.vaults[liar].lies.store(true, SeqCst);
        assert_eq!(world.quorum(2).unwrap(&wrapped).unwrap().unwrap().expose(), DEK);
        world.vaults[(liar + 1) % 3].lies.store(true, SeqCst);
        assert!(matches!(world.quorum(2).unwrap(&wrapped), Err(Error::UnwrapFailed)));
        world.vaults.iter().for_each(|vault| vault.lies.store(false, SeqCst));
    }
    // A vault that can't unwrap what it wraps is found while nothing is lost yet.
    world.vaults[2].lies.store(true, SeqCst);
    assert!(matches!(world.quorum(2).wrap("disks", &dek()), Err(Error::Vault(_))));
}

#[test]
fn a_vault_that_is_down_is_asked_once_and_no_more_are_asked_than_needed() {
    let world = World::new(4);
    let quorum = world.quorum(2);
    let wrapped = quorum.wrap("disks", &dek()).unwrap();
    let asked = || world.vaults.iter().map(|vault| vault.asked.load(SeqCst)).collect::<Vec<_>>();
    let before = asked();
    world.down(&[0]);
    for _ in 0..10 {
        quorum.unwrap(&wrapped).unwrap().unwrap();
    }
    let more: Vec<_> = asked().iter().zip(&before).map(|(now, before)| now - before).collect();
    assert_eq!(more, [1, 10, 10, 0]);
}

#[test]
fn the_vaults_are_asked_at_the_same_time() {
    let world = World::new(5);
    let quorum = world.quorum(4);
    let wrapped = quorum.wrap("disks", &dek()).unwrap();
    world.vaults.iter().for_each(|vault| vault.is_slow.store(true, SeqCst));
    world.vaults[0].most.store(0, SeqCst);
    quorum.unwrap(&wrapped).unwrap().unwrap();
    assert_eq!(world.vaults[0].most.load(SeqCst), 4);
}

#[test]
fn to_wrap_takes_all_vaults() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    for n in 0..3 {
        world.down(&[n]);
        assert!(matches!(world.quorum(2).wrap("disks", &dek()), Err(Error::Vault(_))));
        world.down(&[]);
        world.disable(&[n]);
        assert!(matches!(world.quorum(2).wrap("disks", &dek()), Err(Error::KeyRefused { .. })));
        world.disable(&[]);
    }
    quorum.wrap("disks", &dek()).unwrap();
}

#[test]
fn parts_of_two_wraps_do_not_mix() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    let [one, two] = [(); 2].map(|()| quorum.wrap("disks", &dek()).unwrap());
    assert_eq!((one.bytes.len(), &one.kek), (two.bytes.len(), &two.kek));
    // The ends of both, cut anywhere.
    for at in 1..one.bytes.len() {
        let mixed = [&one.bytes[..at], &two.bytes[at..]].concat();
        if mixed != one.bytes && mixed != two.bytes {
            let found = quorum.unwrap(&WrappedDek::new(one.kek.clone(), one.algorithm, mixed));
            assert!(matches!(found, Err(Error::UnwrapFailed)), "{at}: {found:?}");
        }
    }
    // Nor does another name of the same key open it.
    let renamed = KeyId::new("quorum:board", "others", one.kek.version()).unwrap();
    assert!(matches!(
        quorum.unwrap(&WrappedDek::new(renamed, one.algorithm, one.bytes.clone())),
        Err(Error::UnwrapFailed)
    ));
}

#[test]
fn what_is_stored_does_not_choose_how_few_vaults_it_takes() {
    let world = World::new(4);
    let two = world.quorum(2).wrap("disks", &dek()).unwrap();
    assert!(matches!(world.quorum(3).unwrap(&two), Err(Error::UnwrapFailed)));
    // Unless its owner says so, for what was wrapped before.
    assert!(world.quorum(3).opens_from(2).unwrap(&two).unwrap().is_some());
    // More are always good.
    let three = world.quorum(3).wrap("disks", &dek()).unwrap();
    assert!(world.quorum(2).unwrap(&three).unwrap().is_some());
}

#[test]
fn a_vault_that_joins_or_leaves_costs_nothing_that_was_wrapped() {
    let world = World::new(4);
    let of = |which: &[usize]| {
        let members = which.iter().map(|&n| Member::new(world.vaults[n].clone()));
        Quorum::new("quorum:board", 2, members).unwrap()
    };
    let wrapped = of(&[0, 1, 2]).wrap("disks", &dek()).unwrap();
    for members in [&[2, 1, 0][..], &[0, 1, 2, 3], &[3, 2, 1], &[0, 2]] {
        assert_eq!(of(members).unwrap(&wrapped).unwrap().unwrap().expose(), DEK, "{members:?}");
    }
    assert!(matches!(of(&[0, 3]).unwrap(&wrapped), Err(Error::UnwrapFailed)));
}

#[test]
fn a_description_sums_up_those_of_the_members() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    let said = |version: Option<&str>| quorum.describe("disks", version).unwrap().unwrap();
    let first = said(None);
    assert!(first.enabled && first.authenticated && first.expires.is_none() && first.kind == KeyKind::Aes256);
    assert_eq!(first.id, quorum.wrap("disks", &dek()).unwrap().kek);
    let ids: Vec<_> = world.vaults.iter().map(|vault| vault.file.keys().unwrap()[0].versions[0].id.clone()).collect();
    let expire = |n: usize, at| world.vaults[n].file.set_version(&ids[n], VersionChange::new().expires(at)).unwrap();
    let version = first.id.version();
    // Two are needed: the second to expire is the end.
    for (times, wanted) in [
        ([Some(2_000_000_000), None, None], None),
        ([Some(2_000_000_000), Some(2_100_000_000), None], Some(2_100_000_000)),
        ([Some(2_000_000_000), Some(2_100_000_000), Some(1_900_000_000)], Some(2_000_000_000)),
    ] {
        times.iter().enumerate().for_each(|(n, &at)| expire(n, at));
        assert_eq!(said(Some(version)).expires, wanted, "{times:?}");
    }
    (0..3).for_each(|n| expire(n, None));
    world.disable(&[0]);
    assert!(said(Some(version)).enabled);
    world.disable(&[0, 1]);
    assert!(!said(Some(version)).enabled);
    world.disable(&[]);
    // A rotation of any member is one of the quorum, and the new version is the later one.
    let old = said(None);
    world.vaults[2].file.rotate_key("disks").unwrap();
    assert!(said(None).id != old.id && said(None).created >= old.created);
    assert!(said(Some(old.id.version())).enabled);
}

#[test]
fn a_set_of_managed_disks_is_under_a_quorum() {
    let (world, platform) = (Arc::new(World::new(3)), World::new(1));
    let directory = Arc::new(KnownVaults::new());
    let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    // Each set's identity has a quorum of its own.
    let of = world.clone();
    directory.add_with("quorum:board", description, move |_| Ok(Arc::new(of.quorum(2)))).unwrap();
    // The quorums forget what was down: they count time by the machine's clock, and the service by the test's.
    let start = || {
        world.down(&[]);
        thread::sleep(Duration::from_millis(2200));
    };
    conformance::serves_a_set(&SetWorld {
        directory,
        id: "quorum:board",
        key: "disks",
        platform: platform.vaults[0].clone(),
        revoke: &|| world.disable(&[0, 2]),
        restore: &|| world.disable(&[]),
        stop: &|| world.down(&[0, 1]),
        start: &start,
    });
}

#[test]
fn what_is_no_bundle_is_refused_in_no_time_and_asks_nobody() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    let wrapped = quorum.wrap("disks", &dek()).unwrap();
    let asked: usize = world.vaults.iter().map(|vault| vault.asked.load(SeqCst)).sum();
    let count_at = 6;
    let mut hostile: Vec<Vec<u8>> = (0..wrapped.bytes.len()).map(|len| wrapped.bytes[..len].to_vec()).collect();
    hostile.truncate(hostile.len() - 72);
    for (threshold, count) in [(0, 3), (1, 3), (4, 3), (2, 0), (2, 255), (255, 255), (2, 17), (2, 4)] {
        let mut bytes = wrapped.bytes.clone();
        bytes[count_at - 1..=count_at].copy_from_slice(&[threshold, count]);
        hostile.push(bytes);
    }
    hostile.push(vec![0xff; 1792]);
    for bytes in hostile {
        let found = quorum.unwrap(&WrappedDek::new(wrapped.kek.clone(), wrapped.algorithm, bytes));
        assert!(matches!(found, Err(Error::UnwrapFailed)), "{found:?}");
    }
    assert_eq!(world.vaults.iter().map(|vault| vault.asked.load(SeqCst)).sum::<usize>(), asked);
}

#[test]
fn quorums_that_are_none_are_refused() {
    let world = World::new(3);
    let members = |count: usize| world.vaults[..count].iter().map(|vault| Member::new(vault.clone()));
    for (threshold, count) in [(0, 3), (1, 3), (4, 3), (2, 1), (2, 0)] {
        let made = Quorum::new("quorum:board", threshold, members(count));
        assert!(matches!(made, Err(Error::InvalidOption(_))), "{made:?}");
    }
    let twice = Quorum::new("quorum:board", 2, members(1).chain(members(1)));
    assert!(matches!(twice, Err(Error::InvalidOption(_))), "{twice:?}");
    assert!(matches!(Quorum::new("a b", 2, members(2)), Err(Error::InvalidName(_))));
}

#[test]
fn what_is_too_long_to_be_stored_is_refused_with_advice() {
    /// Wraps long, as RSA does.
    struct Long(String);
    impl KeyVault for Long {
        fn id(&self) -> &str {
            &self.0
        }
        fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
            let bytes = [dek.expose(), &[0; 480]].concat();
            Ok(WrappedDek::new(KeyId::new(&self.0, key, "1")?, WrapAlgorithm::Opaque, bytes))
        }
        fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
            Ok((wrapped.kek.vault() == self.0).then(|| Secret::copy_from(&wrapped.bytes[..32])))
        }
    }
    let quorum = |count: usize| {
        let members = (0..count).map(|n| Member::new(Arc::new(Long(format!("memory:{n}")))));
        Quorum::new("quorum:board", 2, members).unwrap()
    };
    assert!(quorum(3).wrap("disks", &dek()).is_ok());
    let error = quorum(4).wrap("disks", &dek()).unwrap_err();
    assert!(matches!(&error, Error::InvalidOption(text) if text.contains("fewer vaults")), "{error}");
}

#[test]
fn keys_of_other_names_and_vaults_that_describe_nothing_are_members_too() {
    let world = World::new(2);
    world.vaults[1].file.create_key("theirs").unwrap();
    let members = [Member::new(world.vaults[0].clone()), Member::new(world.vaults[1].clone()).key("theirs")];
    let quorum = Quorum::new("quorum:board", 2, members).unwrap();
    let wrapped = quorum.wrap("disks", &dek()).unwrap();
    assert_eq!(wrapped.kek.key(), "disks");
    assert_eq!(quorum.unwrap(&wrapped).unwrap().unwrap().expose(), DEK);
    assert!(format!("{quorum:?}").contains("quorum:board"));
}

#[test]
fn a_key_refusal_names_its_key() {
    let world = World::new(2);
    let wrapped = world.quorum(2).wrap("disks", &dek()).unwrap();
    world.disable(&[1]);
    let start = Instant::now();
    let Err(Error::KeyRefused { key, reason }) = world.quorum(2).unwrap(&wrapped) else { panic!() };
    assert!(key.contains("disks") && matches!(reason, KeyRefusal::Disabled), "{key} {:?}", start.elapsed());
}

#[test]
fn disks_cost_their_vaults_few_calls() {
    let world = World::new(3);
    let rotate = || drop(world.vaults[1].file.rotate_key("disks").unwrap());
    cost::disks_cost_few_calls("2 of 3 vault files", Arc::new(world.quorum(2)), "disks", &rotate);
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_is_told_to_open_the_vaults_anew() {
    let world = World::new(3);
    let quorum = world.quorum(2);
    let wrapped = quorum.wrap("disks", &dek()).unwrap();
    use conformance::fork;
    let ended = fork::in_child(|| {
        fork::so!(fork::forked(quorum.unwrap(&wrapped)));
        fork::so!(fork::forked(quorum.describe("disks", None)));
        fork::so!(fork::forked(quorum.wrap("disks", &Secret::copy_from(DEK))));
        Ok(())
    });
    assert_eq!(ended, 0, "the line that wasn't so");
    assert!(quorum.unwrap(&wrapped).unwrap().is_some());
}
