//! Headers with one defect each: the library refuses each with its own message, compared with the reference
//! implementation's verdict.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::common::device::TestDevice;
use crate::common::header::{self, COPY, JSON};
use crate::common::spent::spent;
use crate::common::{cryptsetup, run_within, text};
use crate::defects::differences::{CRYPTSETUP_HANGS, CRYPTSETUP_OPENS};
use crate::defects::{Defect, Expect, defects};
use atrest::luks::{Metadata, Priority};
use atrest::{Credential, OpenOptions, Volume, hazmat};

#[test]
fn each_defect_is_refused_with_its_own_words() {
    let (dek, defects) = defects();
    let mut failures = Vec::new();
    let mut refused = 0;
    for defect in &defects {
        let device = TestDevice::new(defect.image());
        let start = spent();
        let result = Volume::open(device, Credential::Dek(&dek), &OpenOptions::new().read_only(true));
        let took = spent() - start;
        let right = match (&result, defect.expect) {
            (Err(error), Expect::Refused(says)) => error.to_string().contains(says),
            (result, Expect::Keyslot(_) | Expect::Opens) => result.is_ok(),
            (Ok(_), Expect::Refused(_)) => false,
        };
        refused += usize::from(matches!(defect.expect, Expect::Refused(_)));
        if !right || took > Duration::from_secs(5) {
            let got = result.map_or_else(|error| error.to_string(), |_| "opened".into());
            failures.push(format!("{}: {got} after {took:?}; wanted {:?}", defect.name, defect.expect));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), defects.len(), failures.join("\n"));
    assert!(refused >= 300, "{refused} images are refused");
}

#[test]
fn what_a_keyslot_asks_for_is_refused_before_it_costs_anything() {
    let (_, defects) = defects();
    let mut failures = Vec::new();
    for defect in &defects {
        let Expect::Keyslot(says) = defect.expect else { continue };
        let device = TestDevice::new(defect.image());
        let start = spent();
        let options = OpenOptions::new().read_only(true);
        let result = Volume::open(device, Credential::Passphrase(b"a passphrase"), &options);
        let (got, took) = (result.map_or_else(|error| error.to_string(), |_| "opened".into()), spent() - start);
        if !got.contains(says) || took > Duration::from_secs(1) {
            failures.push(format!("{}: {got} after {took:?}; wanted {says:?}", defect.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_damage_to_the_json_makes_the_library_panic_or_write_what_it_would_not_read() {
    let (_, defects) = defects();
    let sound = header::copy(&defects[0].image(), 0)[JSON..].to_vec();
    let len = sound.iter().position(|&byte| byte == 0).unwrap();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move |below: usize| {
        // xorshift64: any noise will do, as long as it is the same each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let mut accepted = 0;
    for round in 0..10_000 {
        let mut area = sound.clone();
        for _ in 0..=random(3) {
            let at = random(len);
            match random(4) {
                // Mostly edits that keep the JSON sound, so that later checks are reached.
                0 => area[at] = random(256) as u8,
                1 if area[at].is_ascii_digit() => area[at] = b'0' + random(10) as u8,
                2 => {
                    let from = random(len);
                    let n = random(20).min(len - from).min(len - at);
                    area.copy_within(from..from + n, at);
                }
                _ => {
                    let digit = area.iter().skip(at).position(u8::is_ascii_digit).map_or(at, |digit| at + digit);
                    area[digit] = b'0' + random(10) as u8;
                }
            }
        }
        let Ok(mut metadata) = Metadata::parse(&area, COPY as u64) else { continue };
        accepted += 1;
        let _ = (metadata.tokens(), metadata.token_objects(), metadata.reencryption(), metadata.flags());
        let free = metadata.free_area(random(1 << 20) as u64);
        assert!(free.is_none_or(|offset| offset >= 2 * COPY as u64 && offset.is_multiple_of(4096)));
        for keyslot in metadata.keyslots().to_vec() {
            match random(4) {
                0 => drop(metadata.mark_wiping(keyslot.id)),
                1 => drop(metadata.set_keyslot(&keyslot, 0)),
                2 => drop(metadata.set_priority(keyslot.id, Priority::Prefer)),
                _ => drop(metadata.remove_keyslot(keyslot.id)),
            }
        }
        let written = metadata.encode(COPY as u64).unwrap();
        assert_eq!(Metadata::parse(&written, COPY as u64).as_ref(), Ok(&metadata), "round {round}");
    }
    assert!(accepted > 500, "{accepted} were accepted");
}

/// How long cryptsetup may look at a header: long, for a machine that has other work, unless it is known to hang.
fn limit(defect: &Defect) -> Duration {
    Duration::from_secs(if CRYPTSETUP_HANGS.contains(&defect.name) { 10 } else { 90 })
}

/// cryptsetup's verdict on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Opens,
    Refuses,
    /// It had to be killed.
    Hangs,
}

#[test]
fn cryptsetup_agrees_or_is_known_to_differ() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let (dek, defects) = defects();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, hazmat::dek_bytes(&dek).expose()).unwrap();
    let verdict = |args: &[&str], path: &Path, defect: &Defect| {
        // Anew each time: cryptsetup repairs the images that it reads.
        let (head, size) = defect.sparse();
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(head).unwrap();
        file.set_len(size).unwrap();
        match run_within(&cryptsetup, &[args, &[text(path)]].concat(), limit(defect)) {
            Some(true) => Peer::Opens,
            Some(false) => Peer::Refuses,
            None => Peer::Hangs,
        }
    };
    let judge = |worker: usize| -> Vec<(usize, [Peer; 3])> {
        let path = folder.path().join(format!("image-{worker}"));
        let mine = defects.iter().enumerate().skip(worker).step_by(WORKERS);
        mine.map(|(i, defect)| {
            let open = ["open", "--test-passphrase", "--volume-key-file", text(&key), "--key-size", "512"];
            (i, [&["isLuks"][..], &["luksDump"], &open].map(|args| verdict(args, &path, defect)))
        })
        .collect()
    };
    let mut verdicts: Vec<(usize, [Peer; 3])> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn({
                    let judge = &judge;
                    move || judge(worker)
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    verdicts.sort_by_key(|(i, _)| *i);

    let mut failures = Vec::new();
    let (mut agreed, mut listed, mut is_luks, mut dumped) = (0, 0, 0, 0);
    for (defect, (_, [is, dump, open])) in defects.iter().zip(verdicts) {
        let name = defect.name;
        let ours = if matches!(defect.expect, Expect::Refused(_)) { Peer::Refuses } else { Peer::Opens };
        let reason = CRYPTSETUP_OPENS.iter().find(|(_, names)| names.contains(&name)).map(|(reason, _)| *reason);
        let wanted = match reason {
            Some(_) => Peer::Opens,
            None if CRYPTSETUP_HANGS.contains(&name) => Peer::Hangs,
            None => ours,
        };
        if open != wanted {
            failures.push(format!("{name}: cryptsetup {open:?}, listed as {wanted:?} ({reason:?}); we: {ours:?}"));
        }
        if wanted == Peer::Opens && [is, dump] != [Peer::Opens; 2] || [is, dump].contains(&Peer::Hangs) {
            failures.push(format!("{name}: cryptsetup {open:?}, but isLuks {is:?} and luksDump {dump:?}"));
        }
        agreed += usize::from(open == ours);
        listed += usize::from(open != ours);
        is_luks += usize::from(is == Peer::Opens);
        dumped += usize::from(dump == Peer::Opens);
    }
    let names = CRYPTSETUP_OPENS.iter().flat_map(|(_, names)| *names).chain(CRYPTSETUP_HANGS);
    for (i, name) in names.clone().enumerate() {
        let stale = defects.iter().all(|defect| defect.name != *name || !matches!(defect.expect, Expect::Refused(_)));
        if stale || names.clone().take(i).any(|other| other == name) {
            failures.push(format!("{name}: listed twice, or as refused by the library, which it isn't"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), defects.len(), failures.join("\n"));
    let refused = defects.iter().filter(|defect| matches!(defect.expect, Expect::Refused(_))).count();
    say(&format!(
        "hostile headers: {} images, {refused} refused by us, {agreed} agreed with cryptsetup, {listed} differences listed \
         (isLuks takes {is_luks}, luksDump {dumped})",
        defects.len()
    ));
}

/// Not `println!`, whose output `cargo test` keeps to itself when a test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

const WORKERS: usize = 4;
