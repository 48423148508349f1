//! `fleet` with its disks at the places of other systems, by their URLs, on emulators and a real cluster.

use std::process::Child;

use rustix::process::Signal;

use crate::common::{Place, by_peer, peer, peer_that, started, stop};
use crate::fleet::{WHERE, make_set, place};

/// A place for disks, and how to look past the program at what lies there.
struct Disks<'a> {
    url: String,
    variables: &'a [(&'static str, &'static str)],
    /// How many disks there are.
    count: &'a dyn Fn() -> usize,
    /// Whether these bytes lie there, as far as that can be seen.
    holds: &'a dyn Fn(&[u8]) -> bool,
}

/// A disk that is served, once the server listens.
fn serving(place: &Place, disk: &str, socket: &str) -> Child {
    let (child, line) = started(&mut place.command(&["fleet", "disk", "serve", disk, "--nbd", socket, "--json"]));
    assert!(line.contains("nbd"), "{disk} is not served: {line}");
    child
}

/// What qemu reads of a disk that is served.
fn read_by_qemu(place: &Place, disk: &str) -> Vec<u8> {
    let child = serving(place, disk, "disk.sock");
    let _ = std::fs::remove_file(place.path("read.img"));
    by_peer(place, "qemu-img", &["convert", "-O", "raw", &format!("nbd+unix:///{disk}?socket=disk.sock"), "read.img"]);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    place.read("read.img")
}

/// A fleet whose disks lie there: made, written, copied, rotated, served, encrypted anew and removed, each by a command of its own.
fn a_fleet_lives_there(disks: &Disks<'_>) {
    if !peer("qemu-img") {
        return;
    }
    let mut place = place();
    make_set(&place);
    for (name, value) in disks.variables {
        place.set(name, value);
    }
    place.set("ATREST_FLEET_DISKS", &disks.url);
    let plain = place.image("disk.img", 1 << 20);
    let create = ["fleet", "disk", "create", "web", "--size", "2M", "--set", "one"];
    let made = place.json("fleet disk create", &[&create, &WHERE[..]].concat());
    assert_eq!(made["size"], 2 << 20);
    place.run(&[&create, &WHERE[..]].concat()).failed(8, "web");
    place.ok(&["fleet", "disk", "write", "web", "disk.img", "-y"]);
    place.ok(&["fleet", "snapshot", "create", "monday", "--disk", "web"]);
    let copy = ["fleet", "disk", "create", "copy", "--from", "snapshot:monday", "--set", "one"];
    place.ok(&[&copy, &WHERE[..]].concat());
    assert_eq!((disks.count)(), 3);
    assert!(!(disks.holds)(&plain[..64]) && !(disks.holds)(&plain[500_000..][..64]), "there is plaintext");

    place.ok(&["key", "rotate", "disks"]);
    assert_eq!(place.json("fleet set rotate", &["fleet", "set", "rotate", "one"])["moved"], 3);
    place.ok(&["key", "disable", "disks", "1"]);
    assert_eq!(place.json("fleet report", &["fleet", "report"])["finished"], true);
    assert_eq!(place.json("fleet disk rekey", &["fleet", "disk", "rekey", "web"])["finished"], true);
    place.ok(&["fleet", "disk", "resize", "web", "--size", "3M"]);
    for (disk, len) in [("web", 3 << 20), ("copy", 2 << 20)] {
        let read = read_by_qemu(&place, disk);
        assert!(read.len() == len && read[..plain.len()] == plain[..], "{disk} has other data");
    }
    // One process has the disk; another command is told so, and changes nothing.
    let child = serving(&place, "web", "web.sock");
    place.run(&["fleet", "disk", "rm", "web", "-y"]).failed(7, "fleet.redb");
    assert_eq!(stop(child, Signal::TERM), Some(0));

    place.ok(&["key", "disable", "disks", "2"]);
    place.run(&["fleet", "disk", "write", "web", "disk.img", "-y"]).failed(5, "disabled");
    place.ok(&["key", "enable", "disks", "2"]);
    for what in [["disk", "rm", "copy"], ["snapshot", "rm", "monday"], ["disk", "rm", "web"]] {
        place.ok(&[&["fleet"], &what[..], &["-y"]].concat());
    }
    assert_eq!((disks.count)(), 0);
}

/// A server that answers nobody any more is an I/O error that names no secret.
fn nobody_answers(url: &str, variables: &[(&'static str, &'static str)]) {
    let mut place = place();
    for (name, value) in variables {
        place.set(name, value);
    }
    place.set("ATREST_FLEET_DISKS", url);
    let ran = place.run(&[&["fleet", "disk", "create", "web", "--size", "1M"], &WHERE[..]].concat());
    assert_eq!(ran.status, 9, "{}", ran.stderr);
    for (_, secret) in variables {
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    }
    let listed = place.json("fleet disk ls", &["fleet", "disk", "ls"]);
    assert!(listed["resources"].as_array().unwrap().is_empty(), "{listed}");
}

#[cfg(any(feature = "azblob", feature = "s3"))]
struct Emulator(Child);

#[cfg(any(feature = "azblob", feature = "s3"))]
impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(feature = "s3")]
#[test]
fn a_fleet_lives_in_a_bucket_of_s3() {
    use crate::emulators::{make_bucket, moto, start};
    if !peer_that("moto_server", &["--help"]) {
        return;
    }
    let (port, child) = start(moto);
    let server = Emulator(child);
    make_bucket(port, "disks");
    let url = format!("s3:http://127.0.0.1:{port}/disks/vm?region=us-east-1");
    let variables = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "aSecretAccessKey")];
    // A tool of the service's own counts: by boto3, as moto is.
    let script = format!(
        "import boto3\ns3 = boto3.client('s3', endpoint_url='http://127.0.0.1:{port}', region_name='us-east-1', \
         aws_access_key_id='AKID', aws_secret_access_key='aSecretAccessKey')\n\
         pages = s3.get_paginator('list_objects_v2').paginate(Bucket='disks')\n\
         keys = [o['Key'] for page in pages for o in page.get('Contents', [])]\n"
    );
    let python = |more: &str| by_peer(&Place::new(), "python3", &["-c", &format!("{script}{more}")]);
    if !crate::common::python("boto3") {
        return;
    }
    let count = || python("print(len({key.split('/')[1] for key in keys}))").trim().parse().unwrap();
    let holds = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let any = "any(wanted in s3.get_object(Bucket='disks', Key=key)['Body'].read() for key in keys)";
        python(&format!("wanted = bytes.fromhex('{hex}')\nprint({any})")).trim() == "True"
    };
    a_fleet_lives_there(&Disks { url: url.clone(), variables: &variables, count: &count, holds: &holds });
    // Without a credential it says which variable is missing.
    let mut place = place();
    place.set("ATREST_FLEET_DISKS", &url);
    place.run(&["fleet", "report"]).failed(2, "AWS_ACCESS_KEY_ID");
    drop(server);
    nobody_answers(&url, &variables);
}

#[cfg(feature = "azblob")]
#[test]
fn a_fleet_lives_in_page_blobs_of_azure() {
    use crate::emulators::{ACCOUNT, KEY, azurite, make_container, start};
    if !peer("azurite-blob") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, child) = start(|port| azurite(folder.path(), port));
    let server = Emulator(child);
    make_container(port, "disks");
    let url = format!("azblob:http://127.0.0.1:{port}/{ACCOUNT}/disks/vm");
    let variables = [("AZURE_STORAGE_KEY", KEY)];
    // The service itself lists what it has.
    let count = || crate::emulators::count_blobs(port, "disks");
    let holds = |bytes: &[u8]| {
        let files = std::fs::read_dir(folder.path().join("__blobstorage__")).unwrap();
        files.flatten().any(|file| {
            std::fs::read(file.path()).is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes))
        })
    };
    a_fleet_lives_there(&Disks { url: url.clone(), variables: &variables, count: &count, holds: &holds });
    let mut place = place();
    place.set("ATREST_FLEET_DISKS", &url);
    place.run(&["fleet", "report"]).failed(2, "AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY");
    drop(server);
    nobody_answers(&url, &variables);
}

/// One cluster for all that is tried on Ceph: it takes a while to start.
#[cfg(feature = "rbd")]
#[test]
fn a_fleet_lives_in_a_pool_of_ceph_and_takes_images_in_there() {
    use crate::ceph::Cluster;
    let there = |program: &str| peer_that(program, &["--version"]);
    let Some(cluster) = Cluster::start("bluestore", there) else { return };
    let names = || cluster.rbd(&["ls", "rbd"]);
    let count = || names().lines().filter(|name| name.starts_with("atrest-")).count();
    let holds = |bytes: &[u8]| {
        names().lines().any(|name| {
            let path = cluster.folder().join("exported");
            let _ = std::fs::remove_file(&path);
            cluster.rbd(&["export", &format!("rbd/{name}"), path.to_str().unwrap()]);
            std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
        })
    };
    a_fleet_lives_there(&Disks { url: cluster.url(), variables: &[], count: &count, holds: &holds });
    volumes_of_the_pool_become_disks(&cluster);
    let mut place = place();
    place.set("ATREST_FLEET_DISKS", &cluster.url().replace("rbd:rbd", "rbd:nowhere"));
    place
        .run(&[&["fleet", "disk", "create", "web", "--size", "1M"], &WHERE[..]].concat())
        .failed(3, "no pool of Ceph nowhere");
}

/// A volume that cryptsetup made, as an image of the pool, becomes a disk. So does one of Azure Disk Encryption, by its secret, also
/// when the first call was killed after the image had its new name.
#[cfg(feature = "rbd")]
fn volumes_of_the_pool_become_disks(cluster: &crate::ceph::Cluster) {
    if !peer("cryptsetup") {
        return;
    }
    let mut place = place();
    make_set(&place);
    place.set("ATREST_FLEET_DISKS", &cluster.url());
    place.write("guest.key", "of the guest");
    import(&place, cluster, "guest.key");
    let adopt = ["fleet", "disk", "adopt", "web", "guest", "--set", "one", "--key-file", "guest.key"];
    let made = place.json("fleet disk adopt", &[&adopt, &WHERE[..], &["--guest-encrypted", "--reencrypt"]].concat());
    let image = format!("rbd/atrest-{}", made["id"].as_str().unwrap());
    assert_eq!(cluster.rbd(&["ls", "rbd"]), format!("{}\n", &image[4..]));
    let exported = place.path("exported.img");
    cluster.rbd(&["export", &image, exported.to_str().unwrap()]);
    let dump = by_peer(&place, "cryptsetup", &["luksDump", "exported.img"]);
    assert!(dump.contains("0: atrest") && !dump.contains("0: luks2"), "{dump}");
    place.ok(&["check", "exported.img", "--unlock", "--context", made["id"].as_str().unwrap()]);
    let missing = ["fleet", "disk", "adopt", "more", "guest", "--set", "one", "--key-file", "guest.key"];
    place.run(&[&missing[..], &WHERE, &["--guest-encrypted", "--reencrypt"]].concat()).failed(3, "guest");
    place.ok(&["fleet", "disk", "rm", "web", "-y"]);
    #[cfg(feature = "kms")]
    of_azure(&place, cluster);
}

/// Makes the image `guest` of the pool: a volume that cryptsetup made, opened by a key file.
#[cfg(feature = "rbd")]
fn import(place: &Place, cluster: &crate::ceph::Cluster, key: &str) {
    by_peer(place, "truncate", &["-s", "24M", "guest.img"]);
    let costs = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    by_peer(place, "cryptsetup", &[&["luksFormat", "-q", "--type", "luks2"], &costs[..], &["guest.img", key]].concat());
    cluster.rbd(&["import", place.path("guest.img").to_str().unwrap(), "rbd/guest"]);
    std::fs::remove_file(place.path("guest.img")).unwrap();
}

#[cfg(all(feature = "kms", feature = "rbd"))]
fn of_azure(place: &Place, cluster: &crate::ceph::Cluster) {
    use crate::taking_over::{FROM, copied_secret, half_adopt};
    copied_secret(place);
    // A file of this name here is another thing.
    place.write("guest", "no volume");
    let adopt = [&["fleet", "disk", "adopt", "web", "guest"], &WHERE[..], &FROM].concat();
    for is_killed in [false, true] {
        import(place, cluster, "LinuxPassPhraseFileName");
        if is_killed {
            let backend = atrest_stores::backend(&cluster.url()).unwrap();
            half_adopt(place, backend, "guest", "floor");
            assert!(!cluster.rbd(&["ls", "rbd"]).contains("guest"), "it has its new name");
        }
        let id = place.json("fleet disk adopt", &adopt)["id"].as_str().unwrap().to_owned();
        let exported = place.path("adopted.img");
        cluster.rbd(&["export", &format!("rbd/atrest-{id}"), exported.to_str().unwrap()]);
        place.ok(&["check", "adopted.img", "--unlock", "--context", &id]);
        let with_file = ["check", "adopted.img", "--unlock", "--key-file", "LinuxPassPhraseFileName"];
        place.run(&with_file).failed(4, "keyslot");
        std::fs::remove_file(exported).unwrap();
        place.ok(&["fleet", "disk", "rm", "web", "-y"]);
    }
}
