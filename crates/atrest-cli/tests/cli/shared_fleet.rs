//! `fleet` on stores that hosts share, with real servers.

use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::common::{Place, peer, started, stop};
use crate::fleet::{WHERE, place};
use crate::servers;

/// A program that serves a disk as a host, once it listens.
fn serving(place: &Place, host: &str, args: &[&str]) -> Child {
    let all = [&["fleet", "--host", host, "disk", "serve", "web", "--nbd", host, "--json"], args].concat();
    let (child, line) = started(&mut place.command(&all));
    assert!(line.contains("nbd"), "{host} does not serve: {line}");
    child
}

/// The attachments, as the program lists them.
fn attachments(place: &Place) -> Vec<(String, String, String)> {
    let listed = place.json("fleet attachments", &["fleet", "attachments"]);
    let text = |of: &serde_json::Value| of.as_str().unwrap_or("").to_owned();
    let all = listed["attachments"].as_array().unwrap().iter();
    all.map(|of| (text(&of["name"]), text(&of["host"]), text(&of["state"]))).collect()
}

/// What hosts do on a store, whatever its engine: the lease is the shortest that its deadline allows.
fn hosts_share(mut place: Place, url: &str, lease: &str) {
    place.set("ATREST_FLEET_LEASE", lease);
    place.ok(&["fleet", "disk", "create", "web", "--size", "1M", WHERE[0], WHERE[1], WHERE[2], WHERE[3]]);
    let before = place.ok(&["fleet", "disk", "ls", "--json"]);
    place.json("fleet store copy", &["fleet", "store", "copy", "fleet.redb", url]);
    place.set("ATREST_FLEET_STORE", url);
    assert_eq!(place.ok(&["fleet", "disk", "ls", "--json"]), before);
    assert_eq!(place.json("fleet hosts", &["fleet", "hosts"])["hosts"].as_array().unwrap().len(), 0, "all have gone");

    let one = serving(&place, "one", &["--hand-over-to", "two"]);
    let hosts = place.json("fleet hosts", &["fleet", "hosts"]);
    assert_eq!((&hosts["hosts"][0]["name"], &hosts["hosts"][0]["state"]), (&"one".into(), &"unknown".into()));
    assert_eq!(hosts["hosts"][0]["lease_seconds"].to_string(), format!("{lease}.0"));
    assert_eq!(attachments(&place), [("web".into(), "one".into(), "open".into())]);
    place.run(&["fleet", "--host", "two", "disk", "rm", "web", "-y"]).failed(7, "\"one\"");
    place.run(&["fleet", "store", "copy", url, "back.redb"]).failed(7, "services of hosts");
    // It waits until the first one hands the disk over, which nobody else gets in between.
    let waiting = place.command(&["fleet", "--host", "two", "disk", "serve", "web", "--nbd", "two", "--wait", "60"]);
    let mut waiting = { waiting }.stdout(Stdio::null()).spawn().unwrap();
    let both = || place.json("fleet hosts", &["fleet", "hosts"])["hosts"].as_array().unwrap().len() == 2;
    while !both() {}
    assert_eq!(stop(one, Signal::TERM), Some(0));
    while !place.path("two").exists() {
        assert!(waiting.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(attachments(&place), [("web".into(), "two".into(), "open".into())]);
    let listed = place.json("fleet attachments", &["fleet", "attachments", "--of", "one"]);
    assert_eq!(listed["attachments"].as_array().unwrap().len(), 0);
    assert_eq!(stop(waiting, Signal::TERM), Some(0));
    assert_eq!(attachments(&place), [], "it was closed");

    // One that is killed leaves its lease, which is seen to stand still.
    let killed = serving(&place, "three", &[]);
    stop(killed, Signal::KILL);
    let watched = place.json("fleet hosts", &["fleet", "hosts", "--watch", "2"]);
    let host = &watched["hosts"][0];
    assert_eq!((&host["name"], &host["state"]), (&"three".into(), &"unknown".into()));
    assert!(host["still_seconds"].as_f64().unwrap() >= 1.5, "{host}");
    place.run(&["fleet", "--host", "two", "disk", "rm", "web", "-y"]).failed(7, "\"three\"");
    place.run(&["fleet", "store", "backup", "x.redb"]).failed(8, "means of its engine");
    assert_eq!(place.json("fleet store check", &["fleet", "store", "check"])["sound"], true);
}

#[cfg(feature = "postgres")]
#[test]
fn hosts_share_a_store_in_postgresql() {
    let Some(server) = servers::postgres(peer) else { return };
    let mut place = place();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres?standby=none&deadline=5", server.port);
    place.run(&["fleet", "store", "check", "--store", &url]).failed(9, "password");
    place.write("password", "secret\n");
    place.ok(&["fleet", "store", "check", "--store", &format!("{url}&password-file=password")]);
    place.set("PGPASSWORD", "secret");
    let short = ["fleet", "disk", "ls", "--store", &url, "--lease", "14"];
    place.run(&short).failed(2, "three times the deadline");
    hosts_share(place, &url, "15");
}

#[cfg(feature = "etcd")]
#[test]
fn hosts_share_a_store_in_etcd() {
    let Some(server) = servers::etcd(peer) else { return };
    let url = format!("etcd+http://127.0.0.1:{}/fleets/one?deadline=8", server.port);
    hosts_share(place(), &url, "24");
}

#[cfg(feature = "postgres")]
#[test]
fn every_command_line_of_the_manual_about_shared_stores_runs() {
    use crate::documents::{blocks, commands, document};
    let Some(server) = servers::postgres(peer) else { return };
    let mut place = place();
    place.set("PORT", &server.port.to_string());
    place.ok(&["fleet", "disk", "create", "web", "--size", "1M", WHERE[0], WHERE[1], WHERE[2], WHERE[3]]);
    let mut script = String::from("set -eu -o pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n");
    let mut count = 0;
    for command in blocks(&document("docs/cli.md"), "```console postgres").iter().flat_map(|block| commands(block)) {
        script += &format!("{command}\n");
        if command.contains("one.sock") {
            script += "for i in $(seq 400); do [ -S one.sock ] && break; sleep 0.05; done\n";
        }
        if command.starts_with("wait %1") {
            script += "for i in $(seq 400); do [ -S two.sock ] && break; sleep 0.05; done\n";
        }
        count += 1;
    }
    assert!(count > 12, "only {count} commands were found");
    let ran = place.shell(&script);
    assert_eq!(ran.status, 0, "{}\n{}", ran.text(), ran.stderr);
    assert!(ran.text().contains("north-1") && ran.text().contains("north-2"), "{}", ran.text());
}
