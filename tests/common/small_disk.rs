//! A small file system in memory (tmpfs), with as much room left as a test wants.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers::{peer, text};

const FOLDER: &str = "ATREST_TEST_SMALL_DISK";
pub const PAGE: u64 = 4096;

/// A small file system that the process of a test has to itself.
pub struct Disk {
    root: PathBuf,
}

/// Room for pages, or for files.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    Pages(u64),
    Files(u64),
}

/// Runs a test, whose full name is `name`, in a process of its own with a small disk of `mib` MiB. Mounting one needs
/// root, or a user namespace of one's own.
pub fn on_a_small_disk(name: &str, mib: u64, test: fn(&Disk)) {
    if let Some(root) = std::env::var_os(FOLDER) {
        return test(&Disk { root: root.into() });
    }
    if ["unshare", "mount"].iter().any(|program| peer(program, &["--version"]).is_none()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={mib}m,nr_inodes=256 none {}", text(folder.path()));
    let in_namespace = |how: &str, script: &str| {
        let mut command = Command::new("unshare");
        command.args([how, "sh", "-c", script]);
        command
    };
    let may = |how: &&str| in_namespace(how, &mount).output().is_ok_and(|done| done.status.success());
    let Some(how) = ["-m", "-rm"].into_iter().find(may) else {
        // Not `eprintln!`, whose output `cargo test` keeps to itself when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: nobody may mount a file system here");
        return;
    };
    let this = std::env::current_exe().unwrap();
    let mut child = in_namespace(how, &format!("{mount} && exec {:?} --exact {name} --nocapture", text(&this)));
    let done = child.env(FOLDER, folder.path()).env("TMPDIR", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

impl Disk {
    /// A new folder on the disk, which is empty otherwise.
    pub fn folder(&self) -> PathBuf {
        self.make_room();
        for entry in fs::read_dir(&self.root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        let folder = self.root.join("folder");
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Fills the disk, except for this much.
    pub fn leave(&self, room: Room) {
        self.make_room();
        fs::create_dir(self.filler()).unwrap();
        let free = rustix::fs::statvfs(&self.root).unwrap();
        assert_eq!(free.f_bsize, PAGE);
        match room {
            Room::Pages(left) => {
                let file = File::create(self.filler().join("pages")).unwrap();
                let len = free.f_bfree.checked_sub(left).expect("it is larger") * PAGE;
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
                assert_eq!(rustix::fs::statvfs(&self.root).unwrap().f_bfree, left);
            }
            Room::Files(left) => {
                for n in 0..free.f_ffree.checked_sub(left).expect("it is larger") {
                    File::create(self.filler().join(n.to_string())).unwrap();
                }
                assert_eq!(rustix::fs::statvfs(&self.root).unwrap().f_ffree, left);
            }
        }
    }

    /// Removes the filler.
    pub fn make_room(&self) {
        let _ = fs::remove_dir_all(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }

    /// Calls `attempt` with less room than it takes, and more and more until it says that it succeeded: with each number near
    /// either end, and some between.
    pub fn with_less_room(&self, rooms: &[fn(u64) -> Room], mut attempt: impl FnMut(Room) -> bool) {
        for room in rooms {
            let (mut failed, mut n) = (0, 0);
            while !attempt(room(n)) {
                assert!(n < 500, "it takes more than {:?}", room(n));
                failed = n;
                n += if n < 4 { 1 } else { 16 };
            }
            for n in n.saturating_sub(5).max(failed + 1)..n {
                attempt(room(n));
            }
        }
    }
}

/// The names of the files in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
