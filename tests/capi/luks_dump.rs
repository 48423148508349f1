//! `examples/luks_dump.c` against `examples/luks_dump.rs`, and both against `cryptsetup luksDump`, on images that
//! `cryptsetup` made.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
#[path = "../../examples/luks_dump.rs"]
#[allow(dead_code)] // its `main`
mod example;
mod library;
mod programs;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use atrest::vault::{FileVault, Unlock};
use atrest::{FileDevice, FormatOptions, Protector, Volume};
use common::{cryptsetup, pipe, run, text};
use programs::{Program, built};
use tempfile::TempDir;

/// Images, and the programs in C that dump them.
struct Bench {
    cryptsetup: String,
    programs: Vec<Program>,
    folder: TempDir,
}

const CHEAP: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
const CHEAP_ARGON2: [&str; 6] = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "2048"];

#[test]
fn dumps_say_what_cryptsetup_says() {
    let Some(bench) = Bench::new() else { return };
    let luks1 = bench.image("luks1", 32);
    bench.cryptsetup("pass", &["luksFormat", "--type", "luks1"], &CHEAP, &[&luks1]);
    bench.add_key(&luks1, &[]);
    let dump = bench.compare(&[&luks1], 25);
    assert!(dump.ends_with(
        "\nWays in:
  keyslot 0: a passphrase or key file (pbkdf2 with sha256, 1000 iterations)
  keyslot 1: a passphrase or key file (pbkdf2 with sha256, 1000 iterations)
  the data key itself, for anyone who has it\n"
    ));

    let luks2 = bench.image("luks2", 32);
    let labels = ["luksFormat", "--type", "luks2", "--label", "ours", "--subsystem", "of two", "--sector-size", "4096"];
    bench.cryptsetup("pass", &labels, &CHEAP_ARGON2, &["--pbkdf-parallel", "2", &luks2]);
    bench.add_key(&luks2, &["--hash", "sha512"]);
    bench.add_key(&luks2, &["--unbound", "--key-size", "256"]);
    bench.add_key(&luks2, &[]);
    run(&bench.cryptsetup, &["config", "-q", "--priority", "prefer", "--key-slot", "1", &luks2]);
    run(&bench.cryptsetup, &["config", "-q", "--priority", "ignore", "--key-slot", "3", &luks2]);
    bench.import_token(&luks2, r#"{"type":"of-another","keyslots":["1","3"],"what":7}"#);
    bench.import_token(&luks2, r#"{"type":"of-nobody","keyslots":[]}"#);
    let dump = bench.compare(&[&luks2], 80);
    assert!(dump.ends_with(
        "\nWays in:
  keyslot 0: a passphrase or key file (argon2id, 2 MiB, 4 passes, 2 lanes)
  keyslot 1: a passphrase or key file (pbkdf2 with sha512, 1000 iterations), tried first
  keyslot 2: another key than the data's
  keyslot 3: a passphrase or key file (pbkdf2 with sha256, 1000 iterations), if it is named
  token 0: of-another, through keyslot 1 or keyslot 3: another program
  token 1: of-nobody, through no keyslot: another program
  the data key itself, for anyone who has it\n"
    ));
}

#[test]
fn headers_may_be_detached() {
    let Some(bench) = Bench::new() else { return };
    for (version, size, fields) in [("luks1", 2, 20), ("luks2", 16, 30)] {
        let (header, data) =
            (bench.image(&format!("{version} header"), size), bench.image(&format!("{version} data"), 4));
        bench.cryptsetup("pass", &["luksFormat", "--type", version], &CHEAP, &["--header", &header, &data]);
        let dump = bench.compare(&[&data, "--header", &header], fields);
        assert!(dump.contains("Payload offset:\t0\n") || dump.contains("\toffset: 0 [bytes]\n"), "{dump}");
    }
}

#[test]
fn a_reencryption_that_is_not_finished_is_told() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.image("reencrypted", 32);
    bench.cryptsetup("pass", &["luksFormat", "--type", "luks2"], &CHEAP, &[&image]);
    let reencrypt = ["reencrypt", "--init-only", "--force-offline-reencrypt"];
    bench.cryptsetup("pass", &reencrypt, &CHEAP, &[&image]);
    let dump = bench.compare(&[&image], 70);
    assert!(dump.contains("\n  keyslot 1: another key than the data's\n"), "{dump}");
    assert!(dump.contains("\n  keyslot 2: reencrypt, nothing that opens it\n"), "{dump}");
    let requirements = run(&bench.cryptsetup, &["luksDump", &image]);
    let requirement = requirements.lines().find_map(|line| line.strip_prefix("Requirements:")).unwrap();
    assert!(dump.ends_with(&format!("\nBut it requires what atrest does not do: {}\n", requirement.trim())), "{dump}");
}

#[test]
fn a_vaults_token_is_told_with_its_key() {
    let Some(bench) = Bench::new() else { return };
    let vault_file = bench.folder.path().join("vault");
    let key_file = bench.folder.path().join("vault key");
    FileVault::generate_key_file(&key_file).unwrap();
    let vault = FileVault::create(&vault_file, Unlock::KeyFile(&key_file)).unwrap();
    let url = vault.create_key("disks").unwrap();
    let image = bench.folder.path().join("ours");
    let device = FileDevice::create(&image, 32 << 20).unwrap();
    drop(Volume::format(device, Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap());
    let dump = bench.compare(&[text(&image)], 20);
    let ways_in =
        format!("\nWays in:\n  token 0: a vault with the key {url}\n  the data key itself, for anyone who has it\n");
    assert!(dump.ends_with(&ways_in), "{dump}");
}

#[test]
fn a_damaged_header_is_told() {
    let Some(bench) = Bench::new() else { return };
    let image = bench.image("damaged", 32);
    bench.cryptsetup("pass", &["luksFormat", "--type", "luks2"], &CHEAP, &[&image]);
    let mut bytes = fs::read(&image).unwrap();
    bytes[16384 + 5000] ^= 1;
    fs::write(&image, bytes).unwrap();
    let dump = bench.dump(&[&image]);
    assert!(dump.ends_with("\nIt is to be repaired, which opening it for writing does.\n"), "{dump}");
}

impl Bench {
    fn new() -> Option<Self> {
        let cryptsetup = cryptsetup()?;
        Some(Bench { cryptsetup, programs: built("examples/luks_dump.c"), folder: tempfile::tempdir().unwrap() })
    }

    /// An empty file of so many MiB.
    fn image(&self, name: &str, mib: u64) -> String {
        let path: PathBuf = self.folder.path().join(name);
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        text(&path).to_owned()
    }

    fn cryptsetup(&self, passphrase: &str, verb: &[&str], costs: &[&str], rest: &[&str]) {
        let arguments = [verb, costs, &["-q", "--key-file", "-"], rest].concat();
        pipe(&self.cryptsetup, &arguments, passphrase.as_bytes());
    }

    fn add_key(&self, image: &str, options: &[&str]) {
        let new = self.folder.path().join("another passphrase");
        fs::write(&new, "another").unwrap();
        self.cryptsetup("pass", &["luksAddKey"], &CHEAP, &[options, &[image, text(&new)]].concat());
    }

    fn import_token(&self, image: &str, json: &str) {
        pipe(&self.cryptsetup, &["token", "import", "--json-file", "-", image], json.as_bytes());
    }

    /// The output of both examples, which must be the same.
    fn dump(&self, arguments: &[&str]) -> String {
        let dump = example::dump(arguments.last().unwrap().as_ref()).unwrap();
        for program in &self.programs {
            assert_eq!(program.run(arguments), dump);
        }
        dump
    }

    /// The output of both examples. Everything that `cryptsetup` prints under the same label must be the same.
    fn compare(&self, arguments: &[&str], at_least: usize) -> String {
        let dump = self.dump(arguments);
        let theirs = run(&self.cryptsetup, &[&["luksDump"], arguments].concat());
        let (ours, theirs) = (fields(&dump), fields(&theirs));
        let mut same = 0;
        for (label, value) in &ours {
            let Some(wanted) = theirs.get(label) else { continue };
            assert_eq!(value, wanted, "{label:?}");
            same += 1;
        }
        assert!(same >= at_least, "only {same} labels in common:\n{dump}");
        dump
    }
}

/// The fields of a dump, each labelled by its section, its entry and its own label. A line that goes on with the one before
/// belongs to that one.
fn fields(dump: &str) -> BTreeMap<[String; 3], String> {
    let mut fields = BTreeMap::<[String; 3], String>::new();
    let mut place = [const { String::new() }; 3];
    for line in dump.lines().filter(|line| !line.trim().is_empty()) {
        let (label, value) = line.split_once(':').unwrap_or((line, ""));
        let level = match line {
            _ if line.starts_with(char::is_whitespace) && line.trim().split(' ').all(|word| word.len() == 2) => {
                fields.get_mut(&place).unwrap().push_str(&format!(" {}", line.trim()));
                continue;
            }
            _ if line.starts_with('\t') => 2,
            _ if line.starts_with("  ") => 1,
            _ => 0,
        };
        place[level] = label.trim().to_owned();
        place[level + 1..].fill(String::new());
        fields.insert(place.clone(), value.trim().to_owned());
    }
    fields
}
