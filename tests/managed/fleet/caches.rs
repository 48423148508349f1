//! A write-back cache lies on one host: no other host opens its disk as if there were none.

use atrest::Error;
use atrest::managed::ResourceName;

use super::world::{Fleet, LEASE};
use crate::common::world::{new_disk, snapshot_of, still, text};

#[test]
fn a_disk_whose_cache_lies_on_a_lost_host_is_not_opened_without_it() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.host("one", 0), fleet.host("two", 3));
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    open.write_at(0, &text(1)).unwrap();
    open.set_host_cache(Some("cache")).unwrap();
    drop(open);
    one.die();
    two.maintain();
    two.live(2 * LEASE);
    let refused = two.open_disk("d").map(drop).unwrap_err();
    let said = format!("{refused}");
    assert!(matches!(refused, Error::Busy { .. }), "{refused:?}");
    assert!(said.contains("\"one\"") && said.contains("write-back cache"), "{said}");
    // It isn't kept here meanwhile: where the cache is, it opens as ever.
    let one = fleet.host("one", 5);
    let open = one.open_disk("d").unwrap();
    assert_eq!(open.host_cache().unwrap().as_deref(), Some("cache"));
    open.set_host_cache(None).unwrap();
    drop(open);
    two.open_disk("d").unwrap();
    assert_eq!(two.resource(&ResourceName::disk("d")).unwrap().host_cache, None);
}

#[test]
fn a_cache_that_was_brought_here_or_is_lost_is_taken() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.host("one", 0), fleet.host("two", 3));
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    open.set_host_cache(Some("cache")).unwrap();
    let refused = two.take_host_cache("d");
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    drop(open);
    two.take_host_cache("d").unwrap();
    let open = two.open_disk("d").unwrap();
    // It is known here, so that a copy demands it and a cache layer does.
    assert_eq!(open.host_cache().unwrap().as_deref(), Some("cache"));
    let refused = two.create_snapshot(&snapshot_of("d", "s", false), &still);
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    drop(open);
    assert!(matches!(one.open_disk("d"), Err(Error::Busy { .. })));
    let open = two.open_disk("d").unwrap();
    open.set_host_cache(None).unwrap();
    assert_eq!(two.resource(&ResourceName::disk("d")).unwrap().host_cache_at, None);
    drop(open);
    one.open_disk("d").unwrap();
    // Where there is none, nothing is noted.
    two.take_host_cache("d").unwrap();
    one.open_disk("d").unwrap();
}
