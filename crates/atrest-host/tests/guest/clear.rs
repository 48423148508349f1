//! Nothing of a guest leaves its host in the clear: disks on servers elsewhere, a recording proxy before each, and a cache.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};
use atrest_host::cache::{CacheMode, CacheOptions};
use atrest_host::{HazmatPlain, Nbd, Serve, VhostUser};
use atrest_nbd::NbdDevice;

use super::proxy::Proxy;
use super::servers::{Server, uri};
use super::world::World;
use super::{MARKER, MIB, Process, nbd, peers, plain_files, vhost_user};

/// A server that has a disk in its memory, and what went to it and came from it.
struct Remote {
    server: Server,
    proxy: Proxy,
    socket: PathBuf,
}

impl Remote {
    fn start(folder: &Path, name: &str, size: u64) -> Self {
        let [server, socket] = ["server", "socket"].map(|end| folder.join(format!("{name}.{end}")));
        let running = Server::nbdkit(&server, &["memory", &size.to_string()]);
        Remote { server: running, proxy: Proxy::start(&socket, &server), socket }
    }

    fn connect(&self) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(NbdDevice::connect(&uri(&self.socket, ""))?))
    }

    /// Whether the text is in what went over the wire, and in the server's memory.
    fn is_plain(&self) -> [bool; 2] {
        let memory = memory_of(self.server.id());
        let random = memory.iter().map(Vec::len).sum::<usize>();
        assert!(random > 2 << 20, "the memory of the server could be read: {random} bytes");
        assert!(self.proxy.record().len() > 2 << 20);
        [has(&self.proxy.record()), memory.iter().any(|part| has(part))]
    }
}

fn has(bytes: &[u8]) -> bool {
    bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
}

/// The writable memory of another process, part by part.
fn memory_of(process: u32) -> Vec<Vec<u8>> {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let parts = maps.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (from, to) = words.next()?.split_once('-')?;
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // Some of what the kernel lends can't be read.
        (words.next()?.starts_with("rw") && memory.read_exact_at(&mut bytes, from).is_ok()).then_some(bytes)
    });
    parts.collect()
}

/// Disks of which each has a server.
struct Remotes {
    folder: PathBuf,
    remotes: Mutex<HashMap<String, Remote>>,
}

impl DiskBackend for Remotes {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let remote = Remote::start(&self.folder, id, size);
        let device = remote.connect();
        self.remotes.lock().unwrap().insert(id.to_owned(), remote);
        device
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        let remotes = self.remotes.lock().unwrap();
        remotes.get(id).ok_or_else(|| Error::InvalidOption(format!("there is no {id}")))?.connect()
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.remotes.lock().unwrap().remove(id);
        Ok(())
    }
}

/// A guest writes to a disk with a write-back cache, to one without, and to one that isn't encrypted. Its text is in no file of
/// the host, no byte that went to a server, and no memory of a server, but for those of the last.
#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn nothing_of_a_guest_leaves_the_host_in_the_clear() {
    // Behaviours 54, 57
    if peers::peer("nbdkit", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let remotes = Arc::new(Remotes { folder: elsewhere.path().into(), remotes: Mutex::default() });
    let world = World::on(folder.path(), remotes.clone());
    world.disk("cached", 16 * MIB, 4096);
    world.disk("remote", 16 * MIB, 512);
    let plain = Remote::start(elsewhere.path(), "plain", 16 * MIB);

    let sockets = ["cached", "remote", "plain"].map(|name| world.socket(name));
    let cache = CacheOptions::new(CacheMode::WriteBack, 16 * MIB);
    world.host.attach_cached("vm", "cached", &cache, &VhostUser::new(&sockets[0])).unwrap();
    world.host.attach("vm", "remote", &Nbd::unix(&sockets[1])).unwrap();
    let served = Nbd::unix(&sockets[2]).serve(Arc::new(HazmatPlain(plain.connect().unwrap())), "plain").unwrap();
    let disks = [vhost_user(&sockets[0]), nbd("remote", &sockets[1]), nbd("plain", &sockets[2])];
    assert!(Process::guest("clear.sh", &disks).succeeds());

    assert_eq!(plain_files(folder.path()), 0, "the cache, and all else that the host keeps");
    // The blocks left in the cache go to its server.
    world.host.stop("vm").unwrap();
    drop(served);
    let remotes = remotes.remotes.lock().unwrap();
    assert_eq!(remotes.len(), 2);
    for remote in remotes.values() {
        assert_eq!(remote.is_plain(), [false, false]);
    }
    assert_eq!(plain.is_plain(), [true, true], "the search finds what isn't encrypted");
}
