//! Volumes on real servers.

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, Credential, Error, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};
use atrest_nbd::{NbdDevice, NbdOptions};

use crate::nbdkit;
use crate::peers::{peer, run};
use crate::proxy::Proxy;
use crate::servers::{Server, connect, text, uri, zeros};
use crate::storm::{BLOCK, Model, storm};

const SIZE: u64 = 24 << 20;

fn options() -> FormatOptions {
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    FormatOptions::new().data_offset(16 << 20).keyslot(KeyslotOptions::new().kdf(fast))
}

#[test]
fn a_volume_on_nbdkit_is_one_in_its_file() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let server = Server::nbdkit(&socket, &["file", text(&file)]);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    assert_eq!(device.size().unwrap(), SIZE);
    let volume = Volume::format(device, Protector::Passphrase(b"pw"), &options()).unwrap();
    let data: Vec<u8> = (0..1 << 20).map(|i: u32| ((i * 31) >> 3) as u8).collect();
    volume.write_at(4096, &data).unwrap();
    volume.sync().unwrap();
    drop(volume);

    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
    let mut back = vec![0; data.len()];
    volume.read_at(4096, &mut back).unwrap();
    assert!(back == data);
    drop(volume);
    drop(server);

    let device = FileDevice::open(&file).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
    back.fill(0);
    volume.read_at(4096, &mut back).unwrap();
    assert!(back == data);
}

/// A volume on this server, written, synced and read back.
fn works(url: &str) {
    let device = NbdDevice::connect(url).unwrap();
    let volume =
        Volume::format(device, Protector::Passphrase(b"pw"), &options().sector_size(SectorSize::B4096)).unwrap();
    let data: Vec<u8> = (0..3 << 20).map(|i: u32| ((i * 37) >> 5) as u8).collect();
    volume.write_at(1 << 20, &data).unwrap();
    volume.write_at(8192, &data[..4096]).unwrap();
    volume.sync().unwrap();
    drop(volume);
    let device = NbdDevice::connect(url).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
    let mut back = vec![0; data.len()];
    volume.read_at(1 << 20, &mut back).unwrap();
    assert!(back == data, "{url}");
    volume.read_at(8192, &mut back[..4096]).unwrap();
    assert!(back[..4096] == data[..4096], "{url}");
}

/// Plugins and filters, each another kind of server: without several connections, without FUA or zeros or trim, slow, with
/// large blocks, without extents, with copies on write.
#[test]
fn volumes_on_all_kinds_of_servers() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let file = text(&file);
    let log = format!("logfile={}", folder.path().join("log").display());
    for arguments in [
        &["memory", "24M"][..],
        &["--filter=delay", "memory", "24M", "rdelay=1ms", "wdelay=1ms"],
        &[
            "--filter=blocksize-policy",
            "file",
            file,
            "blocksize-minimum=4096",
            "blocksize-preferred=4096",
            "blocksize-maximum=65536",
            "blocksize-error-policy=error",
        ],
        &["--filter=cow", "file", file],
        &["--filter=nozero", "--filter=noextents", "memory", "24M"],
        &["--filter=fua", "memory", "24M", "fuamode=emulate"],
        &["--filter=multi-conn", "memory", "24M", "multi-conn-mode=disable"],
        &["--filter=noparallel", "file", file, "serialize=all-requests"],
        &["--no-sr", "file", file],
        &["--filter=log", "memory", "24M", &log],
        &["--filter=cache", "file", file],
    ] {
        zeros(folder.path().join("disk"), SIZE);
        let _server = Server::nbdkit(&socket, arguments);
        works(&uri(&socket, ""));
    }
    // The server's log: the sync is a flush, and the server refused no request.
    let heard = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(heard.contains("Flush"), "{heard}");
    assert!(!heard.contains("return=-1"), "{heard}");
    if peer("qemu-nbd", &["--version"]).is_some() {
        for arguments in [&["--cache=writeback"][..], &["--cache=none", "--discard=unmap"], &["-e", "1"]] {
            zeros(folder.path().join("disk"), SIZE);
            let _server = Server::qemu(&socket, folder.path().join("disk").as_path(), arguments);
            works(&uri(&socket, ""));
        }
    }
}

/// A server that leaves when the last client does: the device says goodbye.
#[test]
fn a_server_that_waits_for_the_last_one() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let mut command = std::process::Command::new("nbdkit");
    command.args(["-f", "--log=null", "--filter=exitlast", "-U"]).arg(&socket).args(["file", text(&file)]);
    let mut child = command.spawn().unwrap();
    let began = std::time::Instant::now();
    while !socket.exists() {
        assert!(began.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(device);
    assert!(child.wait().unwrap().success());
}

/// By TCP, with names of exports, and what isn't there.
#[test]
fn tcp_and_names() {
    if peer("qemu-nbd", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = zeros(folder.path().join("disk"), SIZE);
    let port = crate::ports::free_port();
    let mut command = std::process::Command::new("qemu-nbd");
    command.args(["-t", "-e", "16", "-f", "raw", "-x", "a name", "-b", "127.0.0.1", "-p"]).arg(port.to_string());
    let child = command.arg(&file).spawn().unwrap();
    let _server = Server::of(child);
    let began = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let url = format!("nbd://localhost:{port}/a%20name");
    works(&url);
    let device = NbdDevice::connect(&url).unwrap();
    let busy = NbdDevice::connect(&url).unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    let reader = NbdDevice::connect_with(&url, &NbdOptions::new().read_only(true)).unwrap();
    assert!(reader.is_read_only() && reader.write_at(0, &[0; 512]).is_err());
    assert_eq!(device.read_at(SIZE, &mut [0; 512]).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(device.write_at(SIZE - 512, &[0; 1024]).unwrap_err().kind(), std::io::ErrorKind::WriteZero);
    assert!(device.write_at(u64::MAX, &[0; 512]).is_err());
    assert!(device.discard(u64::MAX - 5, 512).is_err());
    device.write_at(0, &[]).unwrap();
    device.read_at(0, &mut []).unwrap();
    let missing = NbdDevice::connect(&format!("nbd://localhost:{port}/another")).unwrap_err();
    assert!(matches!(&missing, Error::NotFound { .. }), "{missing}");
    let debug = format!("{device:?}");
    assert!(debug.contains("a name") && debug.contains(&SIZE.to_string()), "{debug}");
}

/// Ranges that a server reports as zeros.
#[test]
fn holes_are_known() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _server = Server::nbdkit(&socket, &["memory", "6G"]);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let size = device.size().unwrap();
    assert!(device.is_known_zero(0, size).unwrap());
    device.write_at(5 << 30, &[1; 4096]).unwrap();
    assert!(!device.is_known_zero(0, size).unwrap());
    assert!(device.is_known_zero(0, 5 << 30).unwrap());
    device.write_zeroes(0, size).unwrap();
    assert!(device.is_known_zero(0, size).unwrap());
    device.write_at(1 << 20, &[1; 65536]).unwrap();
    device.discard((1 << 20) + 100, 65436).unwrap();
    let mut back = vec![9; 65536];
    device.read_at(1 << 20, &mut back).unwrap();
    assert!(back[..100] == [1; 100]);
}

/// Many callers at once, with long and short requests beside each other.
#[test]
fn many_callers_at_once() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    for (arguments, connections) in [
        (&["memory", "32M"][..], 1),
        (&["memory", "32M"], 4),
        (&["--filter=delay", "memory", "32M", "rdelay=1ms", "wdelay=1ms"], 2),
        (&["--no-sr", "memory", "32M"], 2),
    ] {
        let _server = Server::nbdkit(&socket, arguments);
        let options = NbdOptions::new().connections(connections).replay_log(16 << 20);
        let device = NbdDevice::connect_with(&uri(&socket, ""), &options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..16usize {
                let device = &device;
                scope.spawn(move || {
                    let own = (thread as u64) << 21;
                    let mut bytes = vec![0; 2 << 20];
                    for round in 0..12usize {
                        let len = [512, 4096, 100 << 10, 2 << 20, 65536 + 512, 1 << 20][(round + thread) % 6];
                        let content: Vec<u8> = (0..len).map(|i| (i / 512 * 7 + round * 3 + thread) as u8).collect();
                        device.write_at(own, &content).unwrap();
                        device.read_at(own, &mut bytes[..len]).unwrap();
                        assert!(bytes[..len] == content[..], "thread {thread}, round {round}");
                    }
                });
            }
        });
        let model = Model::new(256);
        device.write_zeroes(0, 256 * BLOCK as u64).unwrap();
        let began = std::time::Instant::now();
        storm(&model, &device, 32, 5, || began.elapsed().as_millis() > 200);
        model.check(&device, false, BLOCK).unwrap();
    }
}

/// The data on the wire and in the server's file: with a volume, none of it is visible; without one, all of it.
#[test]
fn nothing_is_in_the_clear() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let planted: Vec<u8> = b"what nobody but the owner may read. ".iter().copied().cycle().take(32 << 10).collect();
    let is_seen = |bytes: &[u8]| bytes.windows(18).any(|window| window == &planted[..18]);
    for encrypts in [true, false] {
        let path = |name: &str| folder.path().join(format!("{name}-{encrypts}"));
        let (socket, behind, file) = (path("s"), path("b"), zeros(path("disk"), SIZE));
        let _server = Server::nbdkit(&behind, &["file", text(&file)]);
        let proxy = Proxy::start(&socket, &behind);
        let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
        let mut back = vec![0; planted.len()];
        if encrypts {
            let volume = Volume::format(device, Protector::Passphrase(&planted[..18]), &options()).unwrap();
            volume.write_at(4096, &planted).unwrap();
            volume.sync().unwrap();
            volume.read_at(4096, &mut back).unwrap();
        } else {
            device.write_at(4096, &planted).unwrap();
            device.sync().unwrap();
            device.read_at(4096, &mut back).unwrap();
        }
        assert!(back == planted);
        let record = proxy.record();
        assert!(record.len() > 2 * planted.len());
        assert_eq!(is_seen(&record), !encrypts);
        assert_eq!(is_seen(&std::fs::read(&file).unwrap()), !encrypts);
    }
}

/// The tools of libnbd and QEMU agree on what a device wrote.
#[test]
fn other_clients_read_the_same() {
    if !nbdkit() || peer("nbdcopy", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, copy) = (folder.path().join("s"), folder.path().join("copy"));
    let _server = Server::nbdkit(&socket, &["memory", "8M"]);
    let data: Vec<u8> = (0..8 << 20).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 23) as u8).collect();
    {
        let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
        device.write_at(0, &data).unwrap();
        device.write_zeroes(1 << 20, 1 << 20).unwrap();
        device.sync().unwrap();
    }
    run("nbdcopy", &[&uri(&socket, ""), text(&copy)]);
    let mut found = std::fs::read(&copy).unwrap();
    assert!(found[1 << 20..2 << 20].iter().all(|byte| *byte == 0));
    found[1 << 20..2 << 20].copy_from_slice(&data[1 << 20..2 << 20]);
    assert!(found == data);
    run("nbdcopy", &[text(&copy), &uri(&socket, "")]);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    device.read_at(0, &mut found).unwrap();
    assert!(found == std::fs::read(&copy).unwrap());
}

/// The server's own ways to let one client in only.
#[test]
fn a_server_keeps_a_second_client_out() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let one = NbdOptions::new().connections(1);
    // Not as a writer, whom this process keeps out.
    let other = one.clone().read_only(true).deadline(std::time::Duration::from_millis(500));
    let _server = Server::nbdkit(&socket, &["--filter=limit", "memory", "1M", "limit=1"]);
    // The first try may come before the server has seen the end of the one that waited for it to listen.
    let device = connect(&uri(&socket, ""), &one);
    assert!(NbdDevice::connect_with(&uri(&socket, ""), &other).is_err());
    device.write_at(0, &[1; 512]).unwrap();
    device.sync().unwrap();
    drop(device);
    if peer("qemu-nbd", &["--version"]).is_some() {
        let file = zeros(folder.path().join("disk"), SIZE);
        let socket = folder.path().join("q");
        let _server = Server::qemu(&socket, &file, &["-e", "1"]);
        let device = connect(&uri(&socket, ""), &one);
        assert!(NbdDevice::connect_with(&uri(&socket, ""), &other).is_err());
        device.sync().unwrap();
    }
}
