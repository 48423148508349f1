//! Nothing in the clear: neither in the files of the OSD nor on the wire.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atrest::{BlockDevice, FormatOptions, Protector, Volume};
use atrest_rbd::RbdDevice;

use crate::cluster::{Cluster, cluster};
use crate::{fast, peers};

const OBJECT: u64 = 4 << 20;

/// The planted plaintext, in sectors over the ends of objects.
fn planted(mark: &str) -> Vec<u8> {
    mark.bytes().cycle().take(8192).collect()
}

fn plant(device: &dyn BlockDevice, mark: &str) {
    for at in [0, OBJECT - 4096, 3 * OBJECT] {
        device.write_at(at, &planted(mark)).unwrap();
    }
    device.sync().unwrap();
    let mut back = vec![0; 8192];
    device.read_at(OBJECT - 4096, &mut back).unwrap();
    assert!(back == planted(mark));
}

/// Whether a file holds marks, in any place. `grep` is far faster than a test without optimisation.
fn holds(path: &Path, marks: [&str; 2]) -> [bool; 2] {
    marks.map(|mark| {
        let grep = Command::new("grep").args(["-q", "-a", "-F", "-e", mark]).arg(path).env("LC_ALL", "C").status();
        match grep.unwrap().code() {
            Some(0) => true,
            Some(1) => false,
            other => panic!("grep ended with {other:?}"),
        }
    })
}

/// A recorder of what goes over the loopback device.
struct Recorder {
    tcpdump: Child,
    file: PathBuf,
}

impl Recorder {
    fn start(file: PathBuf) -> Option<Self> {
        // Not everybody may record. To its output, since tcpdump gives a file that it writes to, even /dev/null, to a user of its own.
        peers::peer("timeout", &["--preserve-status", "1", "tcpdump", "-i", "lo", "-c", "1000000", "-w", "-"])?;
        let mut tcpdump = Command::new("tcpdump");
        tcpdump
            .args(["-i", "lo", "--immediate-mode", "-s", "0", "-B", "65536", "-U", "-Z", "root", "-w"])
            .arg(&file)
            .arg("tcp");
        let tcpdump = tcpdump.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        // The header of the file is there when it listens.
        while std::fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "tcpdump didn't start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Recorder { tcpdump, file })
    }

    /// Ends when a mark that was sent last is in the file.
    fn stop_after(mut self, mark: &str) -> PathBuf {
        let begun = Instant::now();
        while !holds(&self.file, [mark, mark])[0] && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.tcpdump.kill().unwrap();
        self.tcpdump.wait().unwrap();
        self.file
    }
}

fn plant_both(cluster: &Cluster, secret: &str, public: &str) {
    let device = RbdDevice::open(&cluster.image(64), &cluster.options()).unwrap();
    let options = fast(FormatOptions::new());
    let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
    plant(&volume, secret);
    let plain = RbdDevice::open(&cluster.image(64), &cluster.options()).unwrap();
    plant(&plain, public);
}

#[test]
fn the_osd_holds_no_plaintext_of_a_volume() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let (secret, public) = ("the meeting is at noon by the old mill, ", "whoever wants to may read this in print, ");
    plant_both(cluster, secret, public);
    // After a restart all of its log is in its store.
    cluster.order("kill");
    cluster.order("start");
    drop(RbdDevice::open(&cluster.image(8), &cluster.options()).unwrap());
    let found = holds(&cluster.folder().join("osd/block"), [secret, public]);
    assert_eq!(found, [false, true], "the search finds what isn't encrypted, and only that");
}

#[test]
fn the_wire_carries_no_plaintext_of_a_volume() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let Some(recorder) = Recorder::start(cluster.folder().join("wire.pcap")) else { return };
    let (secret, public) = ("seven crates of oranges leave tonight, ", "the weather will be fair on all coasts, ");
    plant_both(cluster, secret, public);
    let found = holds(&recorder.stop_after(public), [secret, public]);
    assert_eq!(found, [false, true], "the search finds what isn't encrypted, and only that");
}
