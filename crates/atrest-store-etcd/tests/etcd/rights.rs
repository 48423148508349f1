//! The rights that the documentation lists, and tokens that end.

use std::process::Command;

use atrest::managed::store::{Store, conformance};
use atrest_store_etcd::{EtcdStore, Hidden};

use crate::peers::peer;
use crate::server::Etcd;

/// The commands of the page that set up a user.
fn commands() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/fleet/etcd.md");
    let block = page.split_once("```console\n").unwrap().1.split_once("```").unwrap().0;
    block.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

fn run(etcd: &Etcd, command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", etcd.endpoints(0).join(","));
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_listed_rights_are_enough_and_tokens_are_replaced() {
    if peer("etcdctl", &["version"]).is_none() {
        return;
    }
    let Some(etcd) = Etcd::start(1) else { return };
    let commands = commands();
    assert!(commands.last().unwrap().ends_with("auth enable"));
    commands.iter().for_each(|command| run(&etcd, command));
    let user = |password: &str| etcd.options(0).user("disks", Hidden::new(password));
    conformance::run(|| EtcdStore::open(&user("change-me")).unwrap());
    let store = EtcdStore::open(&user("change-me")).unwrap();

    // Its tokens are gone with its memory.
    etcd.kill(0);
    etcd.start_again(0);
    let start = std::time::Instant::now();
    while store.get(&["a"]).is_err() {
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
    }
    let found = store.list("", None, 1).unwrap();
    assert!(found.is_empty());

    let refused = |what: &str, result: atrest::Result<EtcdStore>, why: &str| {
        let error = result.map(drop).unwrap_err();
        let shown = format!("{error:#} {error:?}");
        assert!(shown.contains(why) && !shown.contains("not-it"), "{what}: {shown}");
    };
    refused("another password", EtcdStore::open(&user("not-it")), "authentication failed");
    refused("no user", EtcdStore::open(&etcd.options(0)), "user name is empty");
    refused("another prefix", EtcdStore::open(&user("change-me").prefix("other/")), "permission denied");
    // A right that is taken away while the store is in use.
    run(&etcd, "etcdctl --user root:root-change-me role revoke-permission disks --prefix atrest/");
    let error = format!("{:#}", store.get(&["a"]).unwrap_err());
    assert!(error.contains("permission denied"), "{error}");
}
