//! The audit log: any lines, of which some get a right MAC.
//!
//! An input is 4 bytes that say what is done, and the log. A line that ends with `,"mac":"?"}` gets the MAC that belongs
//! there, as if the owner of the root key had written it; no other line has one.

#![no_main]

use std::sync::LazyLock;

use atrest::Secret;
use atrest::key::KeyVault;
use atrest::vault::{FileVault, Unlock};
use atrest_fuzz::{Input, Numbers, json, limits, seeds, vault};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use sha2::Sha256;

const CONTROL: usize = 4;
const OPEN: &[u8] = b",\"mac\":\"?\"}";

/// A vault whose log may be anything: it has not been changed since it was made. The other one has an anchor.
static BODIES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let example = vault::example("vault");
    let text = String::from_utf8(example.clone()).unwrap();
    let line = |field: &str| text.lines().find(|line| line.contains(field)).unwrap();
    let (anchor, length) = (line("\"anchor\""), line("\"length\""));
    let none = anchor.replace(anchor.split('"').nth(3).unwrap(), &format!("0:{}", Base64::encode_string(&[0; 32])));
    // Without a change there is no length of the log at it either.
    [text.replace(anchor, &none).replace(length, "    \"length\": 0").into_bytes(), example]
});

/// The vault files, made once: they are only read, unless a log is put aside.
static TEXTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [0, 1].map(|n| vault::seal(&BODIES[n], true, true)));
static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| vault::key(&BODIES[0], "atrest vault audit v1"));

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    limits::limited(|| run(data));
    Corpus::Keep
});

// Lines go elsewhere, twice or away; within one it is JSON that changes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut numbers = Numbers(seed.into());
    if size <= CONTROL || numbers.below(3) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let mut lines: Vec<Vec<u8>> = data[CONTROL..size].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
    match numbers.below(6) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        2 => lines.insert(other, lines[one].clone()),
        3 => {
            let len = numbers.below(lines[one].len());
            lines[one].truncate(len);
        }
        _ => lines[one] = json::mutate(&lines[one], &mut numbers),
    }
    let text = lines.join(&b'\n');
    let len = text.len().min(max_size - CONTROL);
    data[CONTROL..CONTROL + len].copy_from_slice(&text[..len]);
    CONTROL + len
});

/// The log of the examples, with its MACs and without; and with a line that was torn.
fn seeds() -> Vec<Vec<u8>> {
    let log = seeds::example("audit");
    let open: String =
        log.lines().map(|line| format!("{},\"mac\":\"?\"}}\n", line.split_once(",\"mac\"").unwrap().0)).collect();
    let (first, rest) = open.split_once('\n').unwrap();
    let torn = format!("{first}\n{{\"seq\":2,\n{}", rest.replacen("\"outcome\"", "\"torn\":9,\"outcome\"", 1));
    let mut seeds = Vec::new();
    for text in [&log, &open, &torn, &open[..open.len() - 20], ""] {
        for anchored in [0, 1] {
            for operation in [0, 3] {
                seeds.push([&[anchored, operation, 0, 0][..], text.as_bytes()].concat());
            }
        }
    }
    seeds
}

/// The log, and how many of its lines have a MAC that the harness made.
fn seal(text: &[u8]) -> (Vec<u8>, usize) {
    let (mut log, mut before, mut pending, mut sealed) = (Vec::new(), [0; 32], Vec::new(), 0);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n").and_then(|line| line.strip_suffix(OPEN)) {
            Some(covered) => {
                let mac = Hmac::<Sha256>::new_from_slice(&*KEY).unwrap();
                let mac = mac.chain_update(before).chain_update(&pending).chain_update(covered).finalize();
                before = mac.into_bytes().into();
                pending.clear();
                log.extend_from_slice(covered);
                log.extend(format!(",\"mac\":\"{}\"}}\n", Base64::encode_string(&before)).bytes());
                sealed += 1;
            }
            None => {
                pending.extend_from_slice(line);
                log.extend_from_slice(line);
            }
        }
    }
    (log, sealed)
}

/// The numbers of the entries that can be read, and whether an error ended them.
fn entries(vault: &FileVault) -> (Vec<u64>, bool) {
    let mut numbers = Vec::new();
    for entry in vault.audit().expect("the vault is sound") {
        match entry {
            Ok(entry) => numbers.push(entry.seq),
            Err(_) => return (numbers, true),
        }
    }
    (numbers, false)
}

fn run(data: &[u8]) {
    let mut input = Input(data);
    let [anchored, operation, _, _] = [(); CONTROL].map(|()| input.byte());
    let (text, sealed) = seal(input.rest());
    let anchored = usize::from(anchored & 1);
    let (path, log, aside) = (vault::path("keys.vault"), vault::path("keys.vault.audit"), vault::path("aside"));
    let _ = std::fs::remove_file(&aside);
    vault::write(&path, &TEXTS[anchored]);
    vault::write(&log, &text);

    let key = vault::path("root.key");
    let vault = FileVault::open(&path, Unlock::KeyFile(&key)).unwrap();
    let (numbers, damaged) = entries(&vault);
    assert_eq!(vault::read(&log), Some(text.clone()), "reading the log changed it");
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "entries are missing, and nobody says so");
    // The five lines of the example are sound without us.
    assert!(numbers.len() <= sealed + 5, "an entry was read that nobody with the root key wrote");
    if let Ok(head) = vault.audit_head()
        && !damaged
    {
        assert_eq!(head.seq(), numbers.len() as u64);
        assert!(vault.audit().unwrap().including(head).all(|entry| entry.is_ok()), "its own head is refused");
    }

    if operation & 1 == 0 {
        let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32]));
        let (after, still) = entries(&vault);
        assert_eq!(still, damaged, "a use healed the log, or damaged it");
        match wrapped {
            Ok(_) if !damaged => assert_eq!(after.len(), numbers.len() + 1, "a use is not in the log"),
            _ => assert_eq!(after, numbers, "a damaged log reads otherwise after a use"),
        }
        let now = vault::read(&log).unwrap();
        assert!(now.starts_with(&text), "what was in the log was changed");
    } else if vault.archive_audit(&aside).is_ok() {
        let old = vault::read(&aside).unwrap();
        let added = old.strip_prefix(&*text).expect("the log that was put aside is another one");
        assert!(String::from_utf8_lossy(added).contains("archiveAudit"), "and says so at its end");
        assert_eq!(vault::read(&log), Some(Vec::new()), "the new log is empty");
        assert!(vault.audit().unwrap().next().is_none(), "and sound");
    } else {
        let now = vault::read(&log).unwrap();
        assert!(now.starts_with(&text), "putting the log aside failed, and changed what was in it");
    }
}
