//! Hosts, leases and attachments as they are seen from outside.

use std::sync::Arc;

use atrest::managed::store::{Action, Change, MemoryStore, Store};
use atrest::managed::{FleetView, LeaseState, ResourceName, StoreCheck};
use atrest::{Error, ManualClock};

use super::world::{Fleet, LEASE};
use crate::common::world::{T, new_disk};

fn view(fleet: &Fleet) -> (FleetView, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(T));
    (FleetView::new(Arc::new(fleet.store.clone())).clock(clock.clone()), clock)
}

fn states(view: &FleetView) -> Vec<(String, LeaseState)> {
    view.hosts().unwrap().into_iter().map(|host| (host.name, host.state)).collect()
}

#[test]
fn a_lease_is_live_once_it_was_seen_to_be_renewed_and_lost_once_it_stood_still() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 7));
    let (view, clock) = view(&fleet);
    let is = |one, other| vec![("one".to_owned(), one), ("other".to_owned(), other)];
    assert_eq!(states(&view), is(LeaseState::Unknown, LeaseState::Unknown));
    clock.advance(LEASE / 2);
    one.renew_host_lease().unwrap();
    assert_eq!(states(&view), is(LeaseState::Live, LeaseState::Unknown));
    clock.advance(LEASE / 2);
    let hosts = view.hosts().unwrap();
    assert_eq!((hosts[0].state, hosts[0].renewals, hosts[0].lease), (LeaseState::Live, 1, LEASE));
    assert_eq!((hosts[1].state, hosts[1].renewals, hosts[1].still), (LeaseState::RanOut, 0, LEASE));
    clock.advance(LEASE / 4);
    assert_eq!(states(&view), is(LeaseState::Live, LeaseState::Lost));
    // It is the other hosts that take it for lost, and it may still come back.
    other.renew_host_lease().unwrap();
    assert_eq!(states(&view), is(LeaseState::Live, LeaseState::Live));
    clock.advance(LEASE * 2);
    drop(one);
    assert_eq!(states(&view), vec![("other".to_owned(), LeaseState::Lost)]);
    // A record that this release can't read is told, and doesn't hide the others.
    let change = Change { key: "host/later".into(), expected: None, action: Action::Put(b"later".to_vec()) };
    fleet.store.commit(&[change]).unwrap();
    let hosts = view.hosts().unwrap();
    assert_eq!((hosts[0].run.as_str(), hosts[0].state, hosts.len()), ("later", LeaseState::Unreadable, 2));
    assert_eq!(StoreCheck::of_shared(&fleet.store).unwrap().defects.len(), 1);
}

#[test]
fn who_has_a_device_open_is_seen_until_it_is_closed_handed_over_or_lost() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 7));
    let ids: Vec<String> = (0..5).map(|n| one.create_disk(&new_disk(&format!("d{n}"), None)).unwrap().id).collect();
    let (view, _) = view(&fleet);
    assert_eq!(view.attachments(None, 10).unwrap(), []);
    let held: Vec<_> = (0..5).map(|n| one.open_disk(&format!("d{n}")).unwrap()).collect();
    let all = view.attachments(None, 10).unwrap();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(all.iter().map(|of| of.id.clone()).collect::<Vec<_>>(), sorted);
    for of in &all {
        let n = ids.iter().position(|id| *id == of.id).unwrap();
        assert_eq!(of.resource, Some(ResourceName::disk(format!("d{n}"))));
        assert_eq!((of.host.as_deref(), of.lost, of.unfenced, &of.fault), (Some("one"), false, false, &None));
    }
    let page = view.attachments(Some(&sorted[1]), 2).unwrap();
    assert_eq!(page, all[2..4]);
    assert!(matches!(view.attachments(None, 0), Err(Error::InvalidOption(_))));

    one.hand_over("d0", "other").unwrap();
    let of = |n: usize| view.attachments(None, 10).unwrap().into_iter().find(|of| of.id == ids[n]);
    let handed = of(0).unwrap();
    assert_eq!((handed.host, handed.promised.as_deref()), (None, Some("other")));
    let taken = other.open_disk("d0").unwrap();
    let taken_over = of(0).unwrap();
    assert_eq!((taken_over.host.as_deref(), taken_over.promised), (Some("other"), None));
    drop(taken);

    // The host's record goes, as if another host had taken it for lost.
    let run = view.hosts().unwrap()[0].run.clone();
    let key = format!("host/{run}");
    let revision = fleet.store.get(&[&key]).unwrap()[0].as_ref().unwrap().revision;
    fleet.store.commit(&[Change { key, expected: Some(revision), action: Action::Remove }]).unwrap();
    let lost = of(1).unwrap();
    assert_eq!((lost.host.as_deref(), lost.run, lost.lost), (Some("one"), Some(run), true));
    drop(held);
}

#[test]
fn a_view_of_an_empty_store_writes_nothing() {
    let store = MemoryStore::new();
    let view = FleetView::new(Arc::new(store.clone()));
    assert_eq!((view.hosts().unwrap().len(), view.attachments(None, 1000).unwrap().len()), (0, 0));
    assert!(store.is_empty());
    assert!(StoreCheck::of_shared(&store).unwrap().is_sound());
}
