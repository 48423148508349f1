//! Managed disks in a pool.

use std::sync::Arc;

use atrest::managed::{DiskBackend, DiskService, ResourceName, ServiceOptions};
use atrest::{BlockDevice, EncryptionType, Error};
use atrest_rbd::{RbdBackend, RbdOptions};

use crate::cluster::{Cluster, cluster};
use crate::common::world::{World, copy_to, new_disk, snapshot_of, still, text};

fn options(world: &World, backend: RbdBackend) -> ServiceOptions {
    ServiceOptions::new(Arc::new(backend), world.vaults.clone(), world.platform.clone(), "disks")
        .clock(world.clock.clone())
        .discard(true)
}

/// A backend in a namespace of its own.
fn backend(cluster: &Cluster) -> RbdBackend {
    let namespace = format!("rbd/{}", crate::ceph::unused_name());
    cluster.rbd(&["namespace", "create", &namespace]);
    RbdBackend::new(&namespace, &cluster.options()).unwrap()
}

#[test]
fn disks_live_in_a_pool_and_outlive_their_service() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let (world, backend) = (World::new(), backend(cluster));
    let store = world.folder.path().join("store");
    let service = DiskService::open(&store, options(&world, backend.clone())).unwrap();
    world.set(&service, "set", EncryptionType::CustomerKey);
    for n in 0..3 {
        let name = format!("disk-{n}");
        service.create_disk(&new_disk(&name, Some("set")).size(8 << 20)).unwrap();
        let disk = service.open_disk(&name).unwrap();
        disk.write_at(0, &text(n)).unwrap();
        disk.write_at(5 << 20, &text(n + 10)).unwrap();
        disk.sync().unwrap();
    }
    service.create_snapshot(&snapshot_of("disk-1", "kept", false), &still).unwrap();
    service.create_disk_from(&ResourceName::snapshot("kept"), &copy_to("copy", Some("set")), &still).unwrap();
    let mut ids = backend.list("north").unwrap();
    assert_eq!(ids.len(), 5);
    drop(service);

    let service = DiskService::open(&store, options(&world, backend.clone())).unwrap();
    for (name, n) in [("disk-0", 0), ("disk-1", 1), ("disk-2", 2), ("copy", 1)] {
        let disk = service.open_disk(name).unwrap();
        let mut read = vec![0; 8192];
        disk.read_at(0, &mut read).unwrap();
        assert!(read == text(n), "{name}");
        disk.read_at(5 << 20, &mut read).unwrap();
        assert!(read == text(n + 10), "{name}");
    }
    service.delete(&ResourceName::disk("disk-0")).unwrap();
    assert_eq!(backend.list("north").unwrap().len(), 4);
    ids.retain(|id| !backend.list("north").unwrap().contains(id));
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_backend_keeps_its_own_names_apart() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let backend = backend(cluster);
    let id = "4c5f8a52-6b1e-4e0c-9a1c-6f0f4f6d1f10";
    assert!(matches!(backend.open("north", id), Err(Error::NotFound { .. })));
    backend.remove("north", id).unwrap();
    let device = backend.create("north", id, 8 << 20).unwrap();
    assert_eq!(device.size().unwrap(), 8 << 20);
    device.write_at(0, &[1; 512]).unwrap();
    assert!(matches!(backend.create("north", id, 8 << 20), Err(Error::AlreadyExists { .. })));
    assert!(matches!(backend.open("north", id), Err(Error::Busy { .. })));
    assert!(matches!(backend.remove("north", id), Err(Error::Busy { .. })));
    drop(device);
    let mut bytes = [0; 512];
    backend.open("north", id).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 512]);
    assert_eq!(backend.list("north").unwrap(), [id]);
    backend.remove("north", id).unwrap();
    backend.remove("north", id).unwrap();
    assert_eq!(backend.list("north").unwrap(), [""; 0]);
    assert!(matches!(backend.create("north", "a/b", 1 << 20), Err(Error::InvalidOption(_))));
}

#[test]
fn new_images_have_a_lock_and_a_map_of_objects() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let id = "0d0d8a52-6b1e-4e0c-9a1c-6f0f4f6d1f11";
    drop(cluster.backend().create("north", id, 8 << 20).unwrap());
    let info = cluster.rbd(&["info", &format!("rbd/atrest-{id}")]);
    for feature in ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"] {
        assert!(info.contains(feature), "{info}");
    }
    cluster.rbd(&["create", "--size", "8M", "rbd/atrest-made-by-hand"]);
    let ids = cluster.backend().list("north").unwrap();
    assert!(ids.contains(&id.to_owned()) && !ids.iter().any(|id| id.contains("hand")), "{ids:?}");
    cluster.backend().remove("north", id).unwrap();
}

#[test]
fn an_image_is_looked_at_and_made_a_disk() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let backend = cluster.backend();
    let image = cluster.image(8);
    let image = image.strip_prefix("rbd/").unwrap();
    let id = "1e1e8a52-6b1e-4e0c-9a1c-6f0f4f6d1f12";
    assert!(matches!(backend.open_image("north", "missing"), Err(Error::NotFound { .. })));
    let looked = backend.open_image("north", image).unwrap();
    assert_eq!(looked.size().unwrap(), 8 << 20);
    assert!(looked.write_at(0, &[1; 512]).is_err());
    drop(looked);
    for _ in 0..2 {
        let device = backend.adopt_image("north", id, image, 12 << 20).unwrap();
        assert_eq!(device.size().unwrap(), 12 << 20);
        device.write_at(10 << 20, &[1; 512]).unwrap();
        assert!(matches!(backend.adopt_image("north", id, image, 12 << 20), Err(Error::Busy { .. })));
    }
    assert!(matches!(backend.open_image("north", image), Err(Error::NotFound { .. })));
    backend.remove("north", id).unwrap();
}

#[test]
fn urls_and_options_that_are_wrong_are_refused_and_keys_are_not_repeated() {
    for wrong in ["", "rbd", "rbd:", "rbd:a/b/c", "rbd:pool?conf", "rbd:pool?user=", "nbd:pool", "rbd:pool?key=AQB85=="]
    {
        let error = RbdBackend::from_url(wrong).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{wrong}");
        assert!(!error.to_string().contains("AQB85"), "{error}");
    }
    let with = |options: RbdOptions| RbdBackend::new("pool", &options).is_ok();
    let seconds = std::time::Duration::from_secs;
    assert!(with(RbdOptions::new()) && !with(RbdOptions::new().deadline(seconds(0))));
    assert!(!with(RbdOptions::new().deadline(seconds(3601))) && !with(RbdOptions::new().trust_lock(seconds(3600))));
    assert!(
        !with(RbdOptions::new().piece(4097)) && !with(RbdOptions::new().piece(0)) && !with(RbdOptions::new().depth(0))
    );
}

#[test]
fn what_is_missing_or_forbidden_is_named() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let open =
        |image: &str, options: RbdOptions| format!("{:#}", atrest_rbd::RbdDevice::open(image, &options).unwrap_err());
    let image = cluster.image(8);
    let missing = open("rbd/missing", cluster.options());
    assert!(missing.contains("no RBD image rbd/missing"), "{missing}");
    let pool = open("nowhere/disk", cluster.options());
    assert!(pool.contains("no pool of Ceph nowhere"), "{pool}");
    let user = open(&image, cluster.options().user("nobody"));
    assert!(user.contains("client.nobody"), "{user}");
    let config = open(&image, cluster.options().config("/nowhere/ceph.conf"));
    assert!(config.contains("/nowhere/ceph.conf"), "{config}");
}
