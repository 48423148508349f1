//! The host: what may be attached to whom, what becomes of a temporary disk, and of a disk whose key is revoked.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/fork.rs"]
mod fork;
#[path = "common/world.rs"]
mod world;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::managed::{EncryptionOption, NewDisk, ResourceName, Rule};
use atrest::{Error, Result, SectorSize};
use atrest_host::cache::{CacheMode, CacheOptions};
use atrest_host::{Disk, Nbd, NewTemporary, Serve, Served};

use fork::{forked, in_child, so};
use world::{SET, World};

const SIZE: u64 = 1 << 20;
const PLAIN: &[u8] = b"a text that nobody else may read";

/// Serves a disk, and gives it to the test too.
struct Caught {
    disk: Mutex<Option<Arc<dyn Disk>>>,
    how: Nbd,
}

impl Caught {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.lock().unwrap().clone().expect("it was served")
    }
}

impl Serve for Caught {
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served> {
        *self.disk.lock().unwrap() = Some(disk.clone());
        self.how.serve(disk, id)
    }
}

fn caught(world: &World, name: &str) -> Caught {
    Caught { disk: Mutex::default(), how: Nbd::unix(world.socket(name)) }
}

fn world() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (World::new(folder.path()), folder)
}

/// A sector that holds the text, at any place.
fn sector(len: usize) -> Vec<u8> {
    PLAIN.iter().copied().cycle().take(len).collect()
}

fn holds_plain(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { holds_plain(&path) } else { path.is_file() && has_plain(&fs::read(path).unwrap()) }
    })
}

fn has_plain(bytes: &[u8]) -> bool {
    bytes.windows(PLAIN.len()).any(|window| window == PLAIN)
}

fn rule(result: Result<()>) -> Rule {
    match result {
        Err(Error::NotAllowed { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disk_is_encrypted_here_under_the_key_of_its_set() {
    // Behaviours 53, 54, 57, 82
    let (world, folder) = world();
    for (name, sector_size) in [("small", 512), ("large", 4096)] {
        world.disk(name, SIZE, sector_size);
        let how = caught(&world, name);
        world.host.attach("vm1", name, &how).unwrap();
        let disk = how.disk();
        assert_eq!((disk.size(), disk.sector_size()), (SIZE, sector_size));
        disk.write_at(8192, &mut sector(4096)).unwrap();
        disk.flush().unwrap();
        let mut read = vec![0; 4096];
        disk.read_at(8192, &mut read).unwrap();
        assert_eq!(read, sector(4096));
        let resource = world.host.service().resource(&ResourceName::disk(name)).unwrap();
        assert_eq!((resource.host_encrypted, resource.set.as_deref()), (true, Some(SET)));
        let report = world.host.service().report(&resource.full_name()).unwrap();
        assert_eq!(report.capabilities.options(), [EncryptionOption::CustomerKey, EncryptionOption::Host]);
        assert_eq!(report.keys, [world.key.to_string()]);
    }
    assert!(!holds_plain(folder.path()), "what leaves the host is ciphertext");
    let names: Vec<String> = world.host.attachments().into_iter().map(|attachment| attachment.disk).collect();
    assert_eq!(names, ["large", "small"]);
}

#[test]
fn encryption_in_the_guest_excludes_it() {
    // Behaviour 56, both ways
    let (world, _folder) = world();
    let service = world.host.service();
    for name in ["in-guest", "at-host"] {
        service.create_disk(&NewDisk::new(name, SIZE).region("north").subscription("one")).unwrap();
    }
    service.mark_guest_encrypted("in-guest").unwrap();
    let how = Nbd::unix(world.socket("sock"));
    assert_eq!(rule(world.host.attach("vm1", "in-guest", &how)), Rule::EncryptedAtHost);
    assert!(!world.socket("sock").exists());
    world.host.attach("vm1", "at-host", &how).unwrap();
    assert_eq!(rule(service.mark_guest_encrypted("at-host")), Rule::EncryptedAtHost);
    world.host.detach("vm1", "at-host").unwrap();
    assert_eq!(rule(service.mark_guest_encrypted("at-host")), Rule::EncryptedAtHost);
    service.set_host_encryption("at-host", false).unwrap();
    service.mark_guest_encrypted("at-host").unwrap();
}

#[test]
fn a_disk_is_one_machines_unless_all_only_read_it() {
    let (world, _folder) = world();
    world.disk("disk", SIZE, 512);
    let serve = |name: &str| Nbd::unix(world.socket(name));
    let is_busy = |result: Result<()>| matches!(result, Err(Error::Busy { .. }));
    world.host.attach("vm1", "disk", &serve("1")).unwrap();
    assert!(is_busy(world.host.attach("vm1", "disk", &serve("2"))));
    assert!(is_busy(world.host.attach("vm2", "disk", &serve("2"))));
    assert!(is_busy(world.host.attach_read_only("vm2", "disk", &serve("2"))));
    assert!(!world.socket("2").exists());
    world.host.stop("vm1").unwrap();
    world.host.attach_read_only("vm1", "disk", &serve("1")).unwrap();
    let how = caught(&world, "2");
    world.host.attach_read_only("vm2", "disk", &how).unwrap();
    assert!(matches!(how.disk().write_at(0, &mut sector(512)), Err(Error::ReadOnly)));
    assert!(is_busy(world.host.attach("vm3", "disk", &serve("3"))));
    assert!(matches!(world.host.detach("vm3", "disk"), Err(Error::NoSuchResource(_))));
    assert_eq!(world.host.attachments().len(), 2);
    // A disk that could not be attached may be attached later.
    assert!(world.host.attach("vm3", "nothing", &serve("3")).is_err());
    world.disk("nothing", SIZE, 512);
    world.host.attach("vm3", "nothing", &serve("3")).unwrap();
}

#[test]
fn temporary_disks_end_with_their_machine() {
    // Behaviour 53: temporary disks and ephemeral OS disks, under a key that is nowhere else or under the platform's
    let (world, folder) = world();
    let image = folder.path().join("image");
    fs::write(&image, [sector(4096), vec![7; 1000]].concat()).unwrap();
    // A pipe in place of the image is refused, and not waited for.
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), 0o600.into()).unwrap();
    for what in ["pipe", "/dev/zero"] {
        let new = NewTemporary::new("temp", SIZE).image(folder.path().join(what));
        let error = world.host.attach_temporary("vm1", &new, &caught(&world, "temp")).unwrap_err();
        assert!(error.to_string().contains("is no plain file"), "{error}");
    }
    for kept in [false, true] {
        let new = NewTemporary::new("temp", SIZE).sector_size(SectorSize::B4096).kept(kept).image(&image);
        let how = caught(&world, "temp");
        world.host.attach_temporary("vm1", &new, &how).unwrap();
        let disk = how.disk();
        let mut read = vec![1; 8192];
        disk.read_at(0, &mut read).unwrap();
        assert_eq!(
            (&read[..4096], &read[4096..5096], &read[5096..]),
            (&sector(4096)[..], &[7; 1000][..], &[0; 3096][..])
        );
        disk.write_at(8192, &mut sector(4096)).unwrap();
        disk.write_zeroes(16384, 128 << 10).unwrap();
        disk.flush().unwrap();
        disk.read_at(16384, &mut read).unwrap();
        assert_eq!(read, [0; 8192]);
        fs::remove_file(&image).unwrap();
        assert!(!holds_plain(folder.path()));
        fs::write(&image, [sector(4096), vec![7; 1000]].concat()).unwrap();
        let files = || fs::read_dir(folder.path().join("local/temporary")).unwrap().count();
        assert_eq!(files(), usize::from(kept), "without a key that outlives the process, the file has no name");
        assert!(world.host.attachments()[0].temporary);
        drop((disk, how));
        world.host.stop("vm1").unwrap();
        assert_eq!((files(), world.host.attachments().len()), (0, 0));
    }
    let too_small = NewTemporary::new("temp", 4096).image(&image);
    let refused = world.host.attach_temporary("vm1", &too_small, &Nbd::unix(world.socket("temp")));
    assert!(refused.unwrap_err().to_string().contains("larger than the disk"));
    world.host.attach_temporary("vm1", &NewTemporary::new("temp", 4096), &Nbd::unix(world.socket("temp"))).unwrap();
}

#[test]
fn a_kept_temporary_disk_outlives_the_process_of_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, sector(4096)).unwrap();
    let new = NewTemporary::new("temp", SIZE).kept(true).image(&image);
    let world = World::new(folder.path());
    for machine in ["vm1", "vm2"] {
        let how = caught(&world, machine);
        world.host.attach_temporary(machine, &new, &how).unwrap();
        how.disk().write_at(0, &mut [5; 512]).unwrap();
        how.disk().flush().unwrap();
    }
    drop(world);
    fs::remove_file(&image).unwrap();
    let world = World::open(folder.path());
    let how = caught(&world, "vm1");
    world.host.attach_temporary("vm1", &new, &how).unwrap();
    let mut read = vec![0; 1024];
    how.disk().read_at(0, &mut read).unwrap();
    assert_eq!((&read[..512], &read[512..]), (&[5; 512][..], &sector(1024)[512..]));
    drop(how);
    // A machine that was gone when the host came back is told to have stopped.
    let files = || fs::read_dir(folder.path().join("local/temporary")).unwrap().count();
    assert_eq!(files(), 2);
    world.host.stop("vm2").unwrap();
    world.host.stop("vm1").unwrap();
    assert_eq!(files(), 0);
}

#[test]
fn a_revoked_key_is_an_error_and_comes_back() {
    // Behaviours 35, 36, 39
    let (world, _folder) = world();
    world.disk("disk", SIZE, 512);
    world.host.attach("vm1", "disk", &Nbd::unix(world.socket("sock"))).unwrap();
    let mut stream = UnixStream::connect(world.socket("sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = [0; 18 + 134];
    stream.read_exact(&mut bytes[..18]).unwrap();
    stream.write_all(&[0, 0, 0, 1]).unwrap();
    stream.write_all(&[&b"IHAVEOPT"[..], &[0, 0, 0, 1, 0, 0, 0, 0]].concat()).unwrap();
    stream.read_exact(&mut bytes[18..]).unwrap();
    let mut read = || {
        let request = [&0x2560_9513u32.to_be_bytes()[..], &[0; 20], &512u32.to_be_bytes()].concat();
        stream.write_all(&request).unwrap();
        let mut reply = [0; 16];
        stream.read_exact(&mut reply).unwrap();
        let error = u32::from_be_bytes(reply[4..8].try_into().unwrap());
        if error == 0 {
            stream.read_exact(&mut [0; 512]).unwrap();
        }
        error
    };
    assert_eq!(read(), 0);
    world.enable(&world.key, false);
    assert_eq!(read(), 5, "EIO");
    let begun = Instant::now();
    while !world.host.attachments()[0].suspended {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    world.enable(&world.key, true);
    assert_eq!(read(), 0);
}

#[test]
fn a_disk_grows_under_its_machine_with_a_cache_and_without() {
    let (world, _folder) = world();
    world.disk("disk", SIZE, 512);
    world.disk("cached", SIZE, 4096);
    let [plain, cached] = ["plain", "cached.sock"].map(|name| caught(&world, name));
    world.host.attach("vm1", "disk", &plain).unwrap();
    let options = CacheOptions::new(CacheMode::WriteBack, 1 << 20).destage_after(Duration::from_secs(3600));
    world.host.attach_cached("vm1", "cached", &options, &cached).unwrap();
    for (name, disk) in [("disk", plain.disk()), ("cached", cached.disk())] {
        assert!(disk.write_at(SIZE, &mut sector(4096)).is_err());
        world.host.resize_disk(name, 2 * SIZE).unwrap();
        assert_eq!(disk.size(), 2 * SIZE);
        disk.write_at(2 * SIZE - 4096, &mut sector(4096)).unwrap();
        disk.flush().unwrap();
        let mut read = vec![0; 4096];
        disk.read_at(2 * SIZE - 4096, &mut read).unwrap();
        assert_eq!(read, sector(4096));
    }
    drop((plain, cached));
    world.host.stop("vm1").unwrap();
    let mut read = vec![0; 4096];
    world.host.service().open_disk("cached").unwrap().read_at(2 * SIZE - 4096, &mut read).unwrap();
    assert_eq!(read, sector(4096));
    assert!(matches!(world.host.resize_disk("disk", SIZE), Err(Error::InvalidOption(_))));
}

/// A write-back cache that a killed host left behind is needed before the disk is used again.
#[test]
fn a_cache_is_emptied_into_its_disk_before_that_is_used_without_it() {
    // Behaviour 53, for caches
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.disk("disk", SIZE, 4096);
    let options = CacheOptions::new(CacheMode::WriteBack, 16 << 20).destage_after(Duration::from_secs(3600));
    let how = caught(&world, "sock");
    world.host.attach_cached("vm1", "disk", &options, &how).unwrap();
    how.disk().write_at(8192, &mut sector(4096)).unwrap();
    how.disk().flush().unwrap();
    drop(how);
    drop(world);
    assert!(!holds_plain(folder.path()));

    let world = World::open(folder.path());
    let how = caught(&world, "sock");
    let refused = world.host.attach("vm1", "disk", &how).unwrap_err();
    assert!(format!("{refused:#}").contains("cache"), "{refused:#}");
    world.host.attach_cached("vm1", "disk", &options, &how).unwrap();
    how.disk().write_at(0, &mut sector(4096)).unwrap();
    world.host.drain("vm1", "disk").unwrap();
    drop(how);
    world.host.stop("vm1").unwrap();
    assert_eq!(fs::read_dir(folder.path().join("local/caches")).unwrap().count(), 0);
    let how = caught(&world, "sock");
    world.host.attach("vm1", "disk", &how).unwrap();
    let mut read = vec![0; 4096];
    for at in [0, 8192] {
        how.disk().read_at(at, &mut read).unwrap();
        assert_eq!(read, sector(4096));
    }
    assert!(!holds_plain(folder.path()));
}

#[test]
fn the_folder_is_the_hosts_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_world, folder) = world();
    let mode = fs::metadata(folder.path().join("local")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_forked_child_leaves_the_host_and_its_servers_alone() {
    let (world, _folder) = world();
    world.disk("kept", SIZE, 512);
    world.disk("other", SIZE, 512);
    let socket = world.socket("kept");
    let how = caught(&world, "kept");
    let cache = CacheOptions::new(CacheMode::WriteBack, 1 << 20);
    world.host.attach_cached("vm1", "kept", &cache, &how).unwrap();
    how.disk().write_at(0, &mut sector(4096)).unwrap();
    let mut client = UnixStream::connect(&socket).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    let other = Nbd::unix(world.socket("other"));
    let served = other.serve(how.disk(), "again").unwrap();
    let World { host, .. } = world;
    let (mut host, mut served) = (Some(host), Some(served));

    let ended = in_child(|| {
        let (parents, served) = (host.take().unwrap(), served.take().unwrap());
        so!(forked(parents.attach("vm2", "other", &other)) && forked(parents.attach_read_only("vm2", "other", &other)));
        so!(forked(parents.attach_cached("vm2", "other", &cache, &other)));
        so!(forked(parents.attach_temporary("vm2", &NewTemporary::new("scratch", SIZE), &other)));
        so!(forked(parents.drain("vm1", "kept")) && forked(parents.detach("vm1", "kept")));
        so!(forked(parents.stop("vm1")) && forked(parents.resize_disk("kept", 2 * SIZE)));
        so!(parents.attachments().is_empty());
        parents.maintain();
        so!(forked(how.disk().read_at(0, &mut [0; 512])));
        served.resized();
        served.stop();
        drop(parents);
        Ok(())
    });
    assert_eq!(ended, 0, "the child");

    // The client goes on, another is let in, and a disk is detached as ever. The last message of a handshake has four bytes of
    // flags; an option that nobody knows is refused.
    client.write_all(&1u32.to_be_bytes()).unwrap();
    client.write_all(&[&b"IHAVEOPT"[..], &0xffffu32.to_be_bytes(), &0u32.to_be_bytes()].concat()).unwrap();
    client.read_exact(&mut [0; 20]).unwrap();
    let mut again = UnixStream::connect(&socket).unwrap();
    again.read_exact(&mut [0; 18]).unwrap();
    UnixStream::connect(socket.with_file_name("other")).unwrap().read_exact(&mut [0; 18]).unwrap();
    let host = host.unwrap();
    assert_eq!(host.attachments().len(), 1);
    let mut found = vec![0; 4096];
    how.disk().read_at(0, &mut found).unwrap();
    assert_eq!(found, sector(4096));
    host.detach("vm1", "kept").unwrap();
    assert!(!socket.exists());
}
