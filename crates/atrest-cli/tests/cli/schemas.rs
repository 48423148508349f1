//! Every command has a schema, and the documented ones are those.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::{Place, SCHEMAS, conforms, peer};

const BLESS: &str = "run this test with ATREST_BLESS=1";

/// The commands that only a program with a feature has. The committed schemas have them all.
const OF_FEATURES: [(&str, bool); 6] = [
    ("add-secret", cfg!(feature = "kms")),
    ("mount", cfg!(feature = "mount")),
    ("protector resume", cfg!(feature = "bitlocker")),
    ("protector suspend", cfg!(feature = "bitlocker")),
    ("replace-secret", cfg!(feature = "kms")),
    ("take-over", cfg!(feature = "kms")),
];

#[test]
fn the_committed_schemas_are_those_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli-schemas.json");
    let read = || serde_json::from_str::<BTreeMap<String, Value>>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let is_left_out = |name: &str| OF_FEATURES.iter().any(|(of_one, is_here)| *of_one == name && !is_here);
    if std::env::var_os("ATREST_BLESS").is_some() {
        // What this program doesn't have stays as it is.
        let mut all = read();
        all.retain(|name, _| is_left_out(name));
        all.extend(SCHEMAS.clone());
        std::fs::write(path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    }
    let mut committed = read();
    for (name, _) in OF_FEATURES {
        assert!(committed.contains_key(name), "docs/cli-schemas.json lacks {name}: {BLESS}, with its feature");
    }
    committed.retain(|name, _| !is_left_out(name));
    assert!(committed == *SCHEMAS, "docs/cli-schemas.json is old: {BLESS}");
}

#[test]
fn every_command_with_a_result_has_a_schema() {
    let place = Place::new();
    // What prints no result of its own: text, files, or subcommands.
    let without = ["completions", "man", "schema", "help", "vault", "key", "secret", "protector", "header", "fleet"];
    let mut found = 0;
    let commands = |args: &[&str]| -> Vec<String> {
        let help = place.ok(&[args, &["--help"]].concat());
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    for command in commands(&[]) {
        if !without.contains(&command.as_str()) {
            assert!(SCHEMAS.contains_key(&command), "{command}");
            found += 1;
        }
    }
    let fleet = commands(&["fleet"]);
    let groups = ["set", "disk", "snapshot", "image", "store"];
    for command in fleet.iter().filter(|command| *command != "help" && !groups.contains(&command.as_str())) {
        assert!(SCHEMAS.contains_key(&format!("fleet {command}")), "fleet {command}");
    }
    let of_fleet = groups.map(|group| format!("fleet {group}"));
    for group in
        ["vault", "key", "secret", "protector", "header"].into_iter().chain(of_fleet.iter().map(String::as_str))
    {
        let words: Vec<&str> = group.split(' ').collect();
        for command in commands(&words).iter().filter(|command| *command != "help") {
            // It prints the value, and nothing else.
            let is_bytes = group == "secret" && *command == "get";
            assert!(is_bytes || SCHEMAS.contains_key(&format!("{group} {command}")), "{group} {command}");
            found += 1;
        }
    }
    assert!(found > 50, "{found}");
    place.run(&["schema", "nonsense"]).failed(3, "no command");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&place.ok(&["schema", "key", "ls"])).unwrap(),
        SCHEMAS["key ls"]
    );
}

#[test]
fn what_tells_of_the_program_conforms() {
    let place = Place::new();
    for name in ["version", "self-test"] {
        place.json(name, &[name]);
    }
    let bench = place.json("bench", &["bench"]);
    assert!(bench["ciphers"][0]["encrypt_mib_per_second"].as_u64().unwrap() > 0);
    let compared = place.run(&["bench", "--compare", "--json"]);
    assert_eq!(compared.status, 0);
    let compared = conforms("bench", serde_json::from_slice(&compared.stdout).unwrap());
    let by_openssl = compared["ciphers"].as_array().unwrap().iter().any(|speed| speed["engine"] == "openssl");
    assert!(by_openssl || compared_without(&place), "openssl is there, and was not measured");
    let qemu = place.json("qemu", &["qemu", "my disk.luks", "--vault", "keys.vault"]);
    assert!(
        qemu["serve"].as_str().unwrap().starts_with("atrest serve 'my disk.luks' --vault keys.vault --vhost-user ")
    );
    assert!(place.ok(&["qemu", "a.luks", "--nbd"]).contains("format=raw,if=virtio"));
}

#[test]
fn completions_and_manual_pages_are_made() {
    let place = Place::new();
    if peer("bash") {
        place.write("completions", place.ok(&["completions", "bash"]));
        let script = "source completions && COMP_WORDS=(atrest va) COMP_CWORD=1 && _atrest atrest va atrest && echo ${COMPREPLY[@]}";
        assert_eq!(place.shell(script).text().trim(), "vault");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(place.ok(&["completions", shell]).contains("protector"), "{shell}");
    }
    assert!(place.ok(&["man"]).starts_with(".ie"));
    place.ok(&["man", "--dir", "man"]);
    let pages = std::fs::read_dir(place.path("man")).unwrap().count();
    assert!(pages > 40, "{pages}");
    assert!(String::from_utf8(place.read("man/atrest-vault-init.1")).unwrap().contains("purge"));
}

/// Whether OpenSSL is missing, or measures nothing.
fn compared_without(place: &Place) -> bool {
    place.shell("openssl speed -mr -seconds 1 -bytes 4096 -evp aes-256-xts 2> /dev/null | grep -q '^+F'").status != 0
}
