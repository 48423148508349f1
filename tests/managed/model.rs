//! Random fleets against a model of the rules (`crate::common::fleet`). After every step, all names, members and
//! devices equal the model's, every refusal has the rule's number, and every read returns the written data or fails as
//! a lease allows.
//!
//! `ATREST_MODEL_CASES` sets the number of fleets, which differ each time. Without it, the same few fleets run each
//! time.

use crate::common::runner::{Op, Runner};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn op() -> impl Strategy<Value = Op> {
    let (n, set) = (0..5u8, || proptest::option::weighted(0.7, 0..4u8));
    prop_oneof![
        1 => (0..4u8, any::<bool>(), any::<bool>()).prop_map(|(name, both, auto)| Op::CreateSet { name, both, auto }),
        1 => (0..4u8).prop_map(Op::DeleteSet),
        6 => (n.clone(), set(), 0..12u8).prop_map(|(name, set, odd)| Op::CreateDisk { name, set, odd }),
        4 => (any::<u8>(), n.clone(), set(), 0..12u8).prop_map(|(from, name, set, odd)| Op::Copy { from, name, set, odd }),
        8 => (n.clone(), n.clone(), any::<bool>(), proptest::option::weighted(0.1, 0..4u8))
            .prop_map(|(disk, name, incremental, set)| Op::Snapshot { disk, name, incremental, set }),
        2 => (0..2u8, n.clone(), proptest::option::of(0..5u8), set(), any::<bool>())
            .prop_map(|(name, disk, second, set, south)| Op::Image { name, disk, second, set, south }),
        4 => any::<u8>().prop_map(Op::Delete),
        1 => (0..2u8).prop_map(Op::DeleteImage),
        6 => (any::<u8>(), 0..4u8).prop_map(|(at, set)| Op::Put { at, set }),
        1 => n.clone().prop_map(Op::Guest),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(at, two)| Op::Move { at, two }),
        2 => (0..2u8).prop_map(Op::NewVersion),
        4 => (0..4u8, proptest::option::weighted(0.2, 0..4u8)).prop_map(|(set, broken)| Op::Rotate { set, broken }),
        2 => (0..4u8, 0..2u8, any::<u8>()).prop_map(|(set, vault, version)| Op::SetKey { set, vault, version }),
        2 => Just(Op::AutoRotate),
        1 => any::<bool>().prop_map(|new| Op::RotatePlatform { new }),
        2 => (0..4u8).prop_map(Op::Clear),
        3 => (0..2u8, any::<bool>()).prop_map(|(vault, on)| Op::Disable { vault, on }),
        2 => (0..2u8, any::<u8>(), any::<bool>()).prop_map(|(vault, version, on)| Op::DisableVersion { vault, version, on }),
        2 => (0..2u8, proptest::option::of(0..4000u64)).prop_map(|(vault, after)| Op::Expire { vault, after }),
        3 => (0..4u8, any::<bool>()).prop_map(|(set, on)| Op::Grant { set, on }),
        2 => (0..2u8, any::<bool>()).prop_map(|(vault, on)| Op::Away { vault, on }),
        1 => (0..4u8, any::<bool>()).prop_map(|(set, contoso)| Op::Tenant { set, contoso }),
        5 => prop_oneof![Just(1), Just(59), Just(61), Just(900), Just(1000), Just(3600), 0..4000u64].prop_map(Op::Advance),
        4 => Just(Op::Maintain),
        10 => (n.clone(), 0..33u8, 1..33u8).prop_map(|(disk, at, len)| Op::Write { disk, at, len }),
        6 => n.clone().prop_map(Op::Read),
        2 => n.prop_map(Op::Close),
        1 => Just(Op::Restart),
    ]
}

/// The settings that affect leases, for the fleet that [`storm`] begins with.
fn lease_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<bool>().prop_map(|on| Op::Disable { vault: 0, on }),
        1 => proptest::option::of(0..4000u64).prop_map(|after| Op::Expire { vault: 0, after }),
        2 => any::<bool>().prop_map(|on| Op::Grant { set: 0, on }),
        3 => any::<bool>().prop_map(|on| Op::Away { vault: 0, on }),
        1 => any::<bool>().prop_map(|contoso| Op::Tenant { set: 0, contoso }),
        6 => prop_oneof![Just(1), Just(59), Just(61), Just(900), Just(1000), Just(3600)].prop_map(Op::Advance),
        1 => Just(Op::Maintain),
        12 => (0..3u8).prop_map(Op::Read),
        1 => (0..3u8).prop_map(Op::Close),
        1 => Just(Op::NewVersion(0)),
        1 => Just(Op::Rotate { set: 0, broken: None }),
        1 => Just(Op::Clear(0)),
    ]
}

/// Three disks of a set, in use.
fn storm() -> impl Strategy<Value = Steps> {
    let begin = || {
        let set = Op::CreateSet { name: 0, both: false, auto: false };
        let disks = (0..3).map(|name| Op::CreateDisk { name, set: Some(0), odd: 2 });
        std::iter::once(set).chain(disks).chain((0..3).map(|disk| Op::Write { disk, at: 0, len: 33 }))
    };
    proptest::collection::vec(lease_op(), 1..100).prop_map(move |ops| Steps(begin().chain(ops).collect()))
}

/// One step a line, for the report of a failure.
#[derive(Clone)]
struct Steps(Vec<Op>);

impl core::fmt::Debug for Steps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|op| writeln!(f, "{op:?}"))
    }
}

fn run(cases: u32, steps: impl Strategy<Value = Steps>) {
    // With the fixed seed, a new failure comes from the current change. Random seeds, on request, search for older
    // defects.
    let searched = std::env::var("ATREST_MODEL_CASES").ok().map(|n| n.parse().expect("ATREST_MODEL_CASES is a number"));
    let rng_seed = if searched.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    let config = ProptestConfig {
        cases: searched.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_time: 120_000,
        rng_seed,
        ..Default::default()
    };
    proptest!(config, |(steps in steps)| {
        let mut runner = Runner::new();
        steps.0.iter().for_each(|op| runner.step(op));
        runner.end();
    });
}

#[test]
fn random_fleets_keep_the_rules_and_all_that_they_hold() {
    // Behaviours 1, 2, 7, 15, 16, 18 to 23, 26 to 32, 35, 36, 38 to 40, 43 to 47, 49, 50, 52, 60
    run(32, proptest::collection::vec(op(), 1..120).prop_map(Steps));
}

#[test]
fn whatever_becomes_of_a_key_its_disks_follow() {
    // Behaviours 35, 36, 38 to 40, 43
    run(32, storm());
}
