//! A forked child leaves its parent's connections alone, and opens its own.

use std::path::Path;

use atrest::{BlockDevice, Error};
use atrest_nbd::{NbdDevice, NbdOptions};

use crate::fork::{failed_of, forked, in_child, so};
use crate::servers::{Server, connect, text, uri, zeros};
use crate::{nbdkit, peer};

/// The child's calls are refused, it drops the device, and opens the export by itself. The parent's goes on by the same
/// connections: writes that weren't flushed come from no log.
fn left_alone(folder: &Path, socket: &Path, export: &str) {
    let options = NbdOptions::new().connections(2);
    let device = connect(&uri(socket, export), &options);
    device.write_at(0, &[1; 4096]).unwrap();
    let mut device = Some(device);
    let ended = in_child(|| {
        let parents = device.take().unwrap();
        so!(forked(parents.size()));
        so!(forked(parents.read_at(0, &mut [0; 4096])));
        so!(forked(parents.write_at(0, &[2; 4096])));
        so!(forked(parents.write_durably(0, &[2; 4096])));
        so!(forked(parents.write_zeroes(0, 4096)) && forked(parents.discard(0, 4096)));
        so!(forked(parents.is_known_zero(0, 4096)));
        so!(forked(parents.sync()));
        // It is still open here.
        so!(matches!(NbdDevice::connect(&uri(socket, export)), Err(Error::Busy { .. })));
        drop(parents);
        let own = NbdDevice::connect_with(&uri(socket, export), &NbdOptions::new()).map_err(|_| line!())?;
        let mut found = [0; 4096];
        so!(own.read_at(0, &mut found).is_ok() && found == [1; 4096]);
        so!(own.write_at(8192, &[3; 4096]).is_ok() && own.sync().is_ok());
        Ok(())
    });
    assert_eq!(ended, 0, "the child, in {}", folder.display());

    let device = device.unwrap();
    let mut found = [0; 4096];
    device.read_at(8192, &mut found).unwrap();
    assert_eq!(found, [3; 4096]);
    device.write_at(0, &[4; 4096]).unwrap();
    device.sync().unwrap();
    assert!(matches!(NbdDevice::connect(&uri(socket, export)), Err(Error::Busy { .. })));
}

#[test]
fn a_child_says_no_goodbye_to_the_server_of_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let file = zeros(folder.path().join("disk"), 1 << 20);
    let socket = folder.path().join("socket");
    if nbdkit() {
        let _server = Server::nbdkit(&socket, &["file", text(&file)]);
        left_alone(folder.path(), &socket, "");
    }
    if peer("qemu-nbd", &["--version"]).is_some() {
        let _server = Server::qemu(&socket, &file, &[]);
        left_alone(folder.path(), &socket, "");
    }
}

/// nbdkit's log has a line for each connection that ends. One that was ended is made again, silently, which the test above can't
/// tell from one that goes on.
#[test]
fn no_connection_of_the_parent_ends_with_its_child() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, log) = (folder.path().join("socket"), folder.path().join("log"));
    let logged = format!("logfile={}", log.display());
    let _server = Server::nbdkit(&socket, &["--filter=log", "memory", "1M", &logged]);
    let ends = || std::fs::read_to_string(&log).unwrap_or_default().matches("Disconnect").count();
    let device = connect(&uri(&socket, ""), &NbdOptions::new().connections(1));
    device.write_at(0, &[1; 4096]).unwrap();
    let (before, mut device) = (ends(), Some(device));
    let ended = in_child(|| {
        drop(device.take());
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let device = device.unwrap();
    device.write_at(0, &[2; 4096]).unwrap();
    device.sync().unwrap();
    assert_eq!(ends(), before, "{}", std::fs::read_to_string(&log).unwrap());
    drop(device);
    while ends() == before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _server = Server::nbdkit(&socket, &["memory", "1M"]);
    let device = connect(&uri(&socket, ""), &NbdOptions::new().connections(2));
    let shared = &device;
    let busy = [0, 1, 2].map(|at| {
        move || {
            shared.write_at(at * 4096, &[7; 4096]).unwrap();
            shared.sync().unwrap();
        }
    });
    let failed = failed_of(100, &busy.each_ref().map(|busy| busy as _), || {
        so!(forked(shared.write_at(0, &[8; 512])) && forked(shared.sync()));
        Ok(())
    });
    assert_eq!(failed, 0, "of 100 children");
    let mut device = Some(device);
    let ended = in_child(|| {
        drop(device.take());
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
}
