//! The C programs of `examples/` and of this folder: compiled as C and as C++, linked with each library, and run.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;
mod programs;
#[cfg(any(feature = "etcd", feature = "postgres"))]
#[path = "../common/servers.rs"]
mod servers;

use std::process::Command;

use common::{cryptsetup, peer, pipe, run, text};
use library::root;
use programs::{C, CPP, WARNINGS, built, everywhere, succeed};

const PROGRAMS: [&str; 31] = [
    "examples/quickstart.c",
    "examples/volume.c",
    "examples/sectors.c",
    "examples/custom_vault.c",
    "examples/luks_dump.c",
    "examples/luks_keyslots.c",
    "examples/day_in_the_life.c",
    "examples/reencrypt.c",
    "examples/bitlocker.c",
    "examples/plain_mapping.c",
    "examples/rootless.c",
    "examples/ade_take_over.c",
    "examples/fleet.c",
    "tests/capi/misuse_keys.c",
    "tests/capi/misuse_vaults.c",
    "tests/capi/misuse_secrets.c",
    "tests/capi/misuse_volumes.c",
    "tests/capi/misuse_reencrypt.c",
    "tests/capi/misuse_headers.c",
    "tests/capi/misuse_guest.c",
    "tests/capi/misuse_ade.c",
    "tests/capi/open_bitlocker.c",
    "tests/capi/exchange_secrets.c",
    "tests/capi/misuse_managed.c",
    "tests/capi/misuse_disks.c",
    "tests/capi/misuse_managed_callbacks.c",
    "tests/capi/misuse_fleet.c",
    "tests/capi/surroundings.c",
    "tests/capi/misuse_streams.c",
    "tests/capi/approval.c",
    "tests/capi/threads.c",
];

#[test]
fn quickstart() {
    for output in everywhere("examples/quickstart.c") {
        assert_eq!(output, "secret plans\n");
    }
}

#[test]
fn volume() {
    for output in everywhere("examples/volume.c") {
        let lines: Vec<&str> = output.lines().collect();
        let [wrote, read, now] = lines[..] else { panic!("{output}") };
        assert!(
            wrote.starts_with("wrote a volume whose key is wrapped by urn:uuid:") && wrote.ends_with("/keys/disks/1")
        );
        assert_eq!(read, "read \"secret plans\"");
        assert!(now.ends_with("/keys/disks/2"), "{now}");
    }
}

#[test]
fn sectors() {
    for output in everywhere("examples/sectors.c") {
        let plain = "5a ".repeat(16);
        assert!(output.contains(&format!("plain : {plain}...\n")), "{output}");
        assert!(output.contains(&format!("again : {plain}...\n")), "{output}");
        assert!(!output.contains(&format!("cipher: {plain}...\n")), "{output}");
        assert!(output.ends_with("for another disk: ATREST_ERR_CONTEXT_MISMATCH\n"), "{output}");
    }
}

#[test]
fn custom_vault() {
    for output in everywhere("examples/custom_vault.c") {
        let urls =
            ["v0", "v1"].map(|v| format!("the volume opens with https://contoso.vault.example/keys/disks/{v}\n"));
        assert!(output.starts_with(&urls.concat()), "{output}");
        assert!(output.ends_with("the vault is gone\n"), "{output}");
    }
}

#[test]
fn reencrypt() {
    for output in everywhere("examples/reencrypt.c") {
        assert!(output.ends_with("48 of 48 MiB\nthe key is another, and all writes are there\n"), "{output}");
    }
}

#[test]
fn rootless() {
    for output in everywhere("examples/rootless.c") {
        assert_eq!(output, "4 threads wrote, and 5 passphrases open the volume\n");
    }
}

#[test]
fn luks_keyslots() {
    let cryptsetup = cryptsetup();
    for program in built("examples/luks_keyslots.c") {
        let output = program.run(&[text(program.folder())]);
        assert_eq!(output, KEYSLOTS, "{output}");

        let Some(cryptsetup) = &cryptsetup else { continue };
        let image = program.folder().join("keyslots.img");
        pipe(cryptsetup, &["open", "--test-passphrase", "--key-file", "-", text(&image)], b"third");
        let dump = run(cryptsetup, &["luksDump", text(&image)]);
        assert!(dump.contains("  2: luks2\n") && !dump.contains("  0: luks2\n") && !dump.contains("  1: luks2\n"));
    }
}

#[test]
fn day_in_the_life() {
    for output in everywhere("examples/day_in_the_life.c") {
        // The identity of a set, in one of the lines, is another in each run.
        let told: Vec<&str> = output.lines().filter(|line| !line.contains(" the vault denies ")).collect();
        assert_eq!(told, DAY.lines().collect::<Vec<_>>(), "{output}");
    }
}

const DAY: &str = r#"06:00  The platform and its customer Contoso have a vault each, with a key.
07:00  Contoso makes a set of disks under its key, and one under both keys.
  a disk before access is granted: ATREST_ERR_ACCESS_DENIED
08:00  Three disks: under the platform's key, under Contoso's, under both.
09:00  Contoso rotates its key. The disks are in use meanwhile.
  customer: 1 disk under https://contoso.vault.example/keys/disks/2
  double: 1 disk under https://contoso.vault.example/keys/disks/2
10:00  Contoso disables the key. What was told that it may use it goes on, for less than an hour.
11:00  The grace is over. The disk under the platform's key goes on, the others don't.
  payroll: ATREST_ERR_DISK_SUSPENDED
    "payroll" is suspended: the key "https://contoso.vault.example/keys/disks/2" is disabled; enable it in its vault to use it again
  research: ATREST_ERR_DISK_SUSPENDED
    "research" is suspended: the key "https://contoso.vault.example/keys/disks/2" is disabled; enable it in its vault to use it again
12:00  Contoso enables the key. All is there.
13:00  Snapshots of payroll: a full one, and incremental ones around a change.
14:00  Payroll is to leave Contoso's key: copies of it go under the platform's.
15:00  Contoso has deleted the key.
  payroll: ATREST_ERR_DISK_SUSPENDED
    "payroll" is suspended: the key "https://contoso.vault.example/keys/disks/2" is deleted; recover it in its vault to use it again
15:30  Re-encrypted in steps: archive, payroll.
16:00  The service starts anew. Its disks: archive, payroll, payroll-evening, payroll-full, payroll-noon, research, web.
17:00  Nothing is left open.
"#;

const KEYSLOTS: &str = "\
the second passphrase has keyslot 1, the changed one 2
keyslot 1: pbkdf2, 1000 iterations
keyslot 2: pbkdf2, 1000 iterations
with \"first\": ATREST_ERR_WRONG_PASSPHRASE
with \"second\": ATREST_OK
with \"third\": ATREST_OK
with \"third\": ATREST_ERR_NO_SUCH_PROTECTOR
read \"secret plans\"
removing the last: ATREST_ERR_LAST_PROTECTOR
";

#[test]
fn misuse() {
    for program in PROGRAMS.iter().filter(|program| program.contains("/misuse_")) {
        // Without the feature there is less to refuse.
        let less = (program.contains("ade") && !cfg!(feature = "ade")) || program.contains("fleet");
        let least = if less { 100 } else { 200 };
        for output in everywhere(program) {
            assert!(checks(&output) > least, "{program}: {output}");
        }
    }
}

/// Hosts on one store, with each library on a server of its own.
#[cfg(any(feature = "etcd", feature = "postgres"))]
fn on_engines(source: &str, ran: impl Fn(&str)) {
    let is_there = |program: &str| peer(program, &["--version"]).is_some();
    let on = |url: &str| {
        for (number, program) in built(source).iter().enumerate() {
            // Each has records of its own.
            let url = url.replace("NUMBER", &number.to_string());
            let environment = [("ATREST_FLEET_URL", url.as_str()), ("PGPASSWORD", "secret")];
            ran(&program.run_with(&environment, &[text(program.folder())]));
        }
    };
    #[cfg(feature = "postgres")]
    if let Some(server) = servers::postgres(is_there) {
        on(&format!("postgres://postgres@127.0.0.1:{}/postgres?standby=none&schema=fleet_NUMBER", server.port));
    }
    #[cfg(feature = "etcd")]
    if let Some(server) = servers::etcd(is_there) {
        on(&format!("etcd+http://127.0.0.1:{}/NUMBER", server.port));
    }
}

#[cfg(any(feature = "etcd", feature = "postgres"))]
#[test]
fn misuse_of_fleets_on_engines() {
    on_engines("tests/capi/misuse_fleet.c", |output| assert!(checks(output) > 250, "{output}"));
}

#[cfg(any(feature = "etcd", feature = "postgres"))]
#[test]
fn fleet_of_two_hosts() {
    on_engines("examples/fleet.c", |output| assert_eq!(output, FLEET, "{output}"));
}

/// Without an engine the example's store is a file, which has no second host.
#[test]
fn fleet_on_a_file() {
    for output in everywhere("examples/fleet.c") {
        assert_eq!(output, "the store is a file: one service has it open, and there are no other hosts\n");
    }
}

#[cfg(any(feature = "etcd", feature = "postgres"))]
const FLEET: &str = "\
web is open on north-1
north-2: ATREST_ERR_BUSY
web is handed over to north-2
web is open on north-2, and reads \"secret plans\"
";

#[test]
fn surroundings() {
    for output in everywhere("tests/capi/surroundings.c") {
        assert!(checks(&output) > 5000, "{output}");
    }
}

#[test]
fn approval() {
    // Behaviour 10
    for output in everywhere("tests/capi/approval.c") {
        assert!(checks(&output) > 100, "{output}");
    }
}

#[test]
fn threads() {
    for output in everywhere("tests/capi/threads.c") {
        assert_eq!(output, "8 threads shared a cipher, a volume and a vault\n");
    }
}

/// How many checks a program of this folder says to have passed.
fn checks(output: &str) -> u32 {
    output.strip_suffix(" checks passed\n").unwrap().parse().unwrap()
}

#[test]
fn clang_has_no_warnings() {
    let Some(clang) = peer("clang", &["--version"]) else { return };
    for program in PROGRAMS {
        for language in [C, CPP] {
            let mut command = Command::new(&clang);
            command.args(language).args(WARNINGS).arg("-fsyntax-only").arg("-I").arg(root().join("include"));
            succeed(command.arg(root().join(program)));
        }
    }
}
