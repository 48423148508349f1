//! Edge cases of the audit log: the last numbers, older logs, forged ends, killed writers and archives. Its reports are
//! true, and the vault's entries stay readable.

use std::fs;
use std::path::PathBuf;

use crate::common::{python, run, text};
use atrest::key::KeyVault;
use atrest::vault::{AuditEntry, AuditHead, FileVault, Unlock};
use atrest::{Error, Result, Secret};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

const NO_MAC: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A vault with a key file. Its log has `changes` changes, and otherwise uses.
pub(super) struct Fixture {
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new(uses: usize) -> Self {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
        FileVault::generate_key_file(fixture.path("root.key")).unwrap();
        let vault = FileVault::create(fixture.path("keys.vault"), Unlock::KeyFile(&fixture.path("root.key"))).unwrap();
        vault.create_key("disks").unwrap();
        for _ in 0..uses {
            vault.describe("disks", None).unwrap();
        }
        fixture
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A handle that knows only the content of the files.
    pub(super) fn open(&self) -> FileVault {
        FileVault::open(self.path("keys.vault"), Unlock::KeyFile(&self.path("root.key"))).unwrap()
    }

    pub(super) fn log(&self) -> Vec<u8> {
        fs::read(self.path("keys.vault.audit")).unwrap()
    }

    pub(super) fn lines(&self) -> Vec<Vec<u8>> {
        self.log().split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    pub(super) fn put(&self, log: &[u8]) {
        fs::write(self.path("keys.vault.audit"), log).unwrap();
    }

    pub(super) fn use_it(&self) {
        self.open().describe("disks", None).unwrap();
    }

    /// All entries, where nothing is damaged.
    pub(super) fn read(&self) -> Vec<AuditEntry> {
        self.open().audit().unwrap().collect::<Result<_>>().unwrap()
    }

    /// The proven entries, and the reported damage.
    pub(super) fn past_damage(&self) -> (Vec<AuditEntry>, Vec<String>) {
        let (mut entries, mut damage) = (Vec::new(), Vec::new());
        for entry in self.open().audit().unwrap().past_damage() {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(Error::DamagedVault(text)) => damage.push(text),
                Err(e) => panic!("{e:?}"),
            }
        }
        assert!(entries.windows(2).all(|pair| pair[0].seq < pair[1].seq), "{:?}", seqs(&entries));
        // Plain reading gives the same, up to the first damage.
        let strict: Vec<_> = self.open().audit().unwrap().collect();
        let sound = strict.iter().take_while(|entry| entry.is_ok()).count();
        assert_eq!(strict.len(), sound + usize::from(!damage.is_empty()));
        assert!(strict.into_iter().flatten().eq(entries.iter().take(sound).cloned()));
        (entries, damage)
    }

    /// Has the owner of the root key write the vault file anew: from docs/formats/vault.md.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.path("keys.vault");
        let text = fs::read_to_string(&path).unwrap();
        let body = text.trim_end().rsplit_once('\n').unwrap().0;
        let mut body: Value = serde_json::from_str(body).unwrap();
        edit(&mut body);
        let text = format!("{body}\n");
        let salt = Base64::decode_vec(body["root"]["salt"].as_str().unwrap()).unwrap();
        let root = hmac(&salt, &fs::read(self.path("root.key")).unwrap());
        let mac = hmac(&hmac(&root, b"atrest vault mac v1\x01"), text.as_bytes());
        let (sha256, mac) = (Base64::encode_string(&Sha256::digest(&text)), Base64::encode_string(&mac));
        fs::write(path, format!("{text}{{\"sha256\":\"{sha256}\",\"mac\":\"{mac}\"}}\n")).unwrap();
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(data).finalize().into_bytes().to_vec()
}

pub(super) fn seqs(entries: &[AuditEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

#[test]
fn the_last_numbers_are_used_and_none_after_them() {
    let fixture = Fixture::new(0);
    let at = |seq: u64| {
        let head = format!("{seq}:{NO_MAC}");
        fixture.edit(|body| body["audit"] = serde_json::json!({"start": head, "anchor": head, "length": 0}));
        fixture.put(b"");
    };
    let wrapped = fixture.open().wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    at(u64::MAX - 2);
    let vault = fixture.open();
    vault.unwrap(&wrapped).unwrap().unwrap();
    vault.create_key("tapes").unwrap();
    assert_eq!(seqs(&fixture.read()), [u64::MAX - 1, u64::MAX]);
    let sound = fixture.log();
    for vault in [vault, fixture.open()] {
        let full = |result: Result<()>| match result {
            Err(Error::Vault(text)) => {
                assert!(text.what().contains("numbers") && text.what().contains("new vault"), "{text}");
            }
            other => panic!("{other:?}"),
        };
        full(vault.unwrap(&wrapped).map(drop));
        full(vault.describe("disks", None).map(drop));
        full(vault.create_key("more").map(drop));
        full(vault.archive_audit(fixture.path("old.audit")));
        assert!(!fixture.path("old.audit").exists());
        let head = vault.audit_head().unwrap();
        assert_eq!(head.seq(), u64::MAX);
        assert_eq!(vault.audit().unwrap().including(head).map(Result::unwrap).count(), 2);
        assert_eq!(vault.keys().unwrap().len(), 2, "no change that isn't in the log");
        // Missing entries are reported there, too.
        fixture.put(b"");
        let damage = vault.audit().unwrap().including(head).find_map(Result::err).unwrap().to_string();
        assert!(damage.contains(&format!("entries {} to {}", u64::MAX - 1, u64::MAX)), "{damage}");
        fixture.put(&sound);
    }
    at(u64::MAX);
    assert!(fixture.read().is_empty());
    assert!(matches!(fixture.open().describe("disks", None), Err(Error::Vault(_))));
}

#[test]
fn a_vault_wraps_no_more_than_its_keys_bear() {
    // Each wrap of 64 bytes by AES-KW is 6 rounds over 8 blocks (RFC 3394, 2.2.1).
    let fixture = Fixture::new(0);
    let at = |seq: u64| {
        let head = format!("{seq}:{NO_MAC}");
        fixture.edit(|body| body["audit"] = serde_json::json!({"start": head, "anchor": head, "length": 0}));
        fixture.put(b"");
        fixture.open()
    };
    let dek = Secret::copy_from(&[7; 64]);
    let usage = at(10).usage().unwrap();
    assert!(usage.blocks() == 480 && !usage.is_due());
    let due = at((1 << 44) / 48 + 1);
    assert!(due.usage().unwrap().is_due());
    let wrapped = due.wrap("disks", &dek).unwrap();
    let full = at((1 << 48) / 48 + 1);
    assert!(matches!(full.wrap("disks", &dek), Err(Error::KeyExhausted { .. })));
    // Wrapped keys are not lost.
    assert!(full.unwrap(&wrapped).unwrap().unwrap() == dek);
}

#[test]
fn the_last_generation_of_the_file_is_the_last() {
    let fixture = Fixture::new(0);
    fixture.edit(|body| body["generation"] = u64::MAX.into());
    let vault = fixture.open();
    for _ in 0..2 {
        assert!(
            matches!(vault.create_key("tapes"), Err(Error::Vault(failure)) if failure.what().contains("generations"))
        );
        assert!(matches!(vault.archive_audit(fixture.path("old.audit")), Err(Error::Vault(_))));
        assert!(!fixture.path("old.audit").exists());
    }
    assert_eq!(vault.keys().unwrap().len(), 1);
    // The log doesn't say that it happened.
    let entries = fixture.read();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.operation.as_str(), entry.outcome.as_str())).collect();
    assert_eq!(
        shown[1..5],
        [("create", "ok"), ("create", "failed"), ("archiveAudit", "ok"), ("archiveAudit", "failed")]
    );
}

/// A line written without the root key.
fn forged(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"time\":0,\"operation\":\"get\",\"outcome\":\"ok\",\"mac\":\"{NO_MAC}\"}}\n")
}

#[test]
fn a_forged_line_moves_no_number_and_no_anchor() {
    for uses in [3, 1000] {
        let fixture = Fixture::new(uses);
        let (sound, honest) = (fixture.log(), uses as u64 + 1);
        // At the end, all over it, and where the last 64 KiB of the log begin.
        let mut first = sound.clone();
        let at = sound.len().saturating_sub((64 << 10) - 2000);
        let at = at + sound[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
        first.splice(at..at, forged(u64::MAX).into_bytes());
        let logs = [
            [&sound[..], forged(u64::MAX).as_bytes()].concat(),
            [&sound[..], forged(honest + 1).as_bytes()].concat(),
            [&sound[..], forged(u64::MAX).repeat(2000).as_bytes()].concat(),
            first,
        ];
        for (n, log) in logs.into_iter().enumerate() {
            fixture.put(&log);
            fixture.use_it();
            fixture.open().rotate_key("disks").unwrap();
            fixture.use_it();
            let (entries, damage) = fixture.past_damage();
            assert_eq!(damage.len(), 1, "{uses} {n}: {damage:?}");
            assert_eq!(seqs(&entries), (1..=honest + 3).collect::<Vec<_>>(), "{uses} {n}: {damage:?}");
            // Without the forged line nothing is amiss.
            let log = String::from_utf8(fixture.log()).unwrap();
            let mended: String = log.split_inclusive('\n').filter(|line| !line.contains(NO_MAC)).collect();
            fixture.put(mended.as_bytes());
            assert_eq!(fixture.read(), entries, "{uses} {n}");
            // For the next one, whose vault file goes with the sound log.
            fixture.open().archive_audit(fixture.path(&format!("{n}.audit"))).unwrap();
            let head = format!("1:{}", mac_of(&sound));
            fixture.edit(|body| body["audit"] = serde_json::json!({"start": format!("0:{NO_MAC}"), "anchor": head}));
        }
    }
}

/// The MAC of a log's first line.
fn mac_of(log: &[u8]) -> String {
    let line = str::from_utf8(log).unwrap().lines().next().unwrap();
    line.rsplit_once("\"mac\":\"").unwrap().1.trim_end_matches("\"}").to_owned()
}

#[test]
fn a_log_that_was_put_back_is_told_as_such_and_what_is_there_is_read() {
    let fixture = Fixture::new(9);
    let lines = fixture.lines();
    fixture.open().rotate_key("disks").unwrap();
    let newest = fixture.log();
    for kept in [0, 1, 4, 10] {
        // The handle knows of one entry more than the vault file.
        for (knows, last) in [(false, 11), (true, 12)] {
            fixture.put(&newest);
            let handle = fixture.open();
            if knows {
                handle.describe("disks", None).unwrap();
            }
            fixture.put(&lines[..kept].concat());
            let (entries, damage) = fixture.past_damage();
            assert_eq!(seqs(&entries), (1..=kept as u64).collect::<Vec<_>>());
            let missing = |last: u64| match kept as u64 + 1 {
                only if only == last => format!("entry {last} is missing at its end: an older log was put back"),
                first => format!("entries {first} to {last} are missing at its end: an older log was put back"),
            };
            assert!(damage.len() == 1 && damage[0].contains(&missing(11)), "{damage:?}");
            let by_handle = handle.audit().unwrap().find_map(Result::err).unwrap().to_string();
            assert!(by_handle.contains(&missing(last)), "{by_handle}");
            assert_eq!(handle.audit_head().unwrap().seq(), last);

            // Afterwards the vault goes on behind the missing entries, and uses no number twice.
            handle.describe("disks", None).unwrap();
            fixture.use_it();
            let (entries, damage) = fixture.past_damage();
            assert_eq!(seqs(&entries), (1..=kept as u64).chain([last + 1, last + 2]).collect::<Vec<_>>(), "{kept}");
            assert_eq!(entries[kept].after.map(|head| head.seq()), Some(last));
            let line = format!("line {} does not follow from entry {kept}", kept + 1);
            assert!(damage.len() == 1 && damage[0].contains(&line), "{damage:?}");
            let missing = match kept as u64 + 1 {
                only if only == last => format!("entry {last} is missing, an older log was put back"),
                first => format!("entries {first} to {last} are missing, an older log was put back"),
            };
            assert!(damage[0].contains(&missing), "{damage:?}");
        }
    }
    fixture.put(&newest);
    assert_eq!(fixture.read().len(), 11);
}

#[test]
fn what_is_proven_behind_damage_is_read_wherever_that_is() {
    let fixture = Fixture::new(8);
    let (lines, entries) = (fixture.lines(), fixture.read());
    let without = |gone: &[usize]| {
        let kept = entries.iter().enumerate().filter(|(n, _)| !gone.contains(n));
        kept.map(|(_, entry)| entry.clone()).collect::<Vec<_>>()
    };
    for n in 0..lines.len() - 1 {
        // Each changed byte loses its line. It also loses the next line if that can't be proven without.
        for at in (0..lines[n].len()).step_by(3).chain([lines[n].len() - 1]) {
            let mut edited = lines.clone();
            edited[n][at] ^= 2;
            fixture.put(&edited.concat());
            let (found, damage) = fixture.past_damage();
            assert!(damage[0].contains(&format!("line {} ", n + 1)), "{damage:?}");
            let in_mac = at > lines[n].len() - 60;
            assert!(found == without(&[n]) || in_mac && found == without(&[n, n + 1]), "line {n} at {at}: {damage:?}");
            // Nothing proves the last entries if the one before them is missing.
            assert!(damage.len() == 1 || n + 3 > lines.len(), "{damage:?}");
        }
        // A missing line takes only the next one with it, whose MAC covers it.
        let mut edited = lines.clone();
        edited.remove(n);
        fixture.put(&edited.concat());
        let (found, damage) = fixture.past_damage();
        assert!(found == without(&[n, n + 1]) && damage[0].contains(&format!("line {} ", n + 1)), "{damage:?}");
        // An inserted line, forged or from before, takes none.
        for added in [forged(n as u64 + 2).as_bytes(), b"garbage\n", &lines[n / 2], &[b'x'; 200_000], b"\n"] {
            let added = added.strip_suffix(b"\n").unwrap_or(added);
            let mut edited = lines.clone();
            edited.insert(n + 1, [added, b"\n"].concat());
            fixture.put(&edited.concat());
            let (found, damage) = fixture.past_damage();
            assert_eq!(found, entries, "{n}: {damage:?}");
            assert!(damage.len() == 1 && damage[0].contains(&format!("line {} ", n + 2)), "{damage:?}");
        }
    }
    // It goes on behind the damage, in a new process too, and all later entries are proven again.
    let mut edited = lines.clone();
    edited[4][20] ^= 2;
    fixture.put(&edited.concat());
    fixture.use_it();
    fixture.open().rotate_key("disks").unwrap();
    let (found, damage) = fixture.past_damage();
    assert_eq!(seqs(&found), [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]);
    assert_eq!(damage.len(), 1);
    // The damaged log is put aside, and the new one has no damage.
    fixture.open().archive_audit(fixture.path("old.audit")).unwrap();
    fixture.use_it();
    assert_eq!(seqs(&fixture.read()), [13]);
}

/// A second reader, written from docs/formats/vault.md. For each log it gives the numbers of the proven entries.
const READER: &str = "
import base64, hmac, json, re, sys
vault, key, *logs = sys.argv[1:]
text = open(vault, 'rb').read()
body = json.loads(text[:text.rindex(b'\\n', 0, -1)])
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
chain = sha(sha(base64.b64decode(body['root']['salt']), open(key, 'rb').read()), b'atrest vault audit v1\\x01')
for log in logs:
    seq, head = body['audit']['start'].split(':')
    seq, head, proven = int(seq), base64.b64decode(head), []
    base, between = head, b''
    for line in re.findall(b'[^\\n]*\\n', open(log, 'rb').read()):
        form = re.fullmatch(b'(.*),\"mac\":\"([A-Za-z0-9+/]{43}=)\"}\\n', line, re.S)
        if not form or base64.b64encode(base64.b64decode(form[2])) != form[2]:
            between += line
            if len(between) > 16384:
                base, between = None, b''
            continue
        covered, mac = form[1], base64.b64decode(form[2])
        try:
            entry = json.loads(covered + b'}')
            after = base64.b64decode(entry.get('after', ':').split(':')[1])
        except (ValueError, AttributeError):
            entry, after = None, b''
        over = [base + between if base else None, head, after or None]
        if entry and any(sha(chain, o + covered) == mac for o in over if o is not None) and entry['seq'] > seq:
            seq, head = entry['seq'], mac
            proven.append(seq)
        base, between = mac, b''
    print(*proven)
";

#[test]
fn a_second_reader_finds_the_same_proven() {
    let Some(python) = python("json") else { return };
    let fixture = Fixture::new(12);
    // A torn line, and a place at which the vault went on behind damage.
    fixture.put(&[&fixture.log()[..], b"{\"seq\":14,\"ti"].concat());
    fixture.use_it();
    let sound = fixture.log();
    fixture.put(&[&sound[..], b"garbage\n"].concat());
    fixture.use_it();
    fixture.use_it();
    let lines = fixture.lines();

    let mut state = 7u64;
    let mut below = |end: usize| {
        // Knuth's numbers (MMIX): the same in every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let mut names = Vec::new();
    for case in 0..400 {
        let mut log = lines.clone();
        for _ in 0..=case % 3 {
            let (n, to) = (below(log.len()), below(log.len()));
            match below(7) {
                0 => drop(log.remove(n)),
                1 => log.swap(n, to),
                2 => log.insert(to, log[n].clone()),
                3 => log.insert(n, forged(below(40) as u64).into_bytes()),
                4 => log.insert(n, vec![b'x'; below(30_000)]),
                5 => drop(log[n].pop()),
                _ => {
                    let at = below(log[n].len().max(1));
                    if let Some(byte) = log[n].get_mut(at) {
                        *byte ^= 1 << below(7);
                    }
                }
            }
        }
        let name = fixture.path(&format!("{case}.log"));
        fs::write(&name, log.concat()).unwrap();
        names.push(name);
    }
    let (vault, key) = (fixture.path("keys.vault"), fixture.path("root.key"));
    let mut args = vec!["-c", READER, text(&vault), text(&key)];
    args.extend(names.iter().map(|name| text(name)));
    let printed = run(&python, &args);
    let (mut all, mut fewer) = (0, 0);
    for (name, printed) in names.iter().zip(printed.lines()) {
        fixture.put(&fs::read(name).unwrap());
        let (found, _) = fixture.past_damage();
        let found: Vec<String> = seqs(&found).iter().map(u64::to_string).collect();
        assert_eq!(found.join(" "), printed, "{}", name.display());
        *if found.len() < 16 { &mut fewer } else { &mut all } += 1;
    }
    assert!(all > 50 && fewer > 200, "{all} {fewer}");
}

#[test]
fn entries_of_before_do_not_pass_for_new_ones() {
    let fixture = Fixture::new(6);
    let lines = fixture.lines();
    // A run of lines that prove each other, copied to the end.
    fixture.put(&[&lines[..], &lines[2..6]].concat().concat());
    let (found, damage) = fixture.past_damage();
    assert!(seqs(&found) == [1, 2, 3, 4, 5, 6, 7] && damage.len() == 1, "{damage:?}");
    fixture.use_it();
    let (found, damage) = fixture.past_damage();
    assert!(seqs(&found) == [1, 2, 3, 4, 5, 6, 7, 8] && damage.len() == 1, "{damage:?}");
}

#[test]
fn a_long_log_of_a_vault_of_version_2_goes_on() {
    let fixture = Fixture::new(700);
    assert!(fixture.log().len() > 64 << 10);
    fixture.edit(|body| {
        body["version"] = 2.into();
        body["audit"].as_object_mut().unwrap().remove("length");
    });
    fixture.use_it();
    assert_eq!(fixture.read().len(), 702);
    fixture.open().rotate_key("disks").unwrap();
    assert!(fs::read_to_string(fixture.path("keys.vault")).unwrap().contains("\"version\": 3,\n  \"uuid\""));
    let head: AuditHead = fixture.open().audit_head().unwrap();
    assert_eq!(head.seq(), 703);
    assert_eq!(fixture.open().audit().unwrap().including(head).map(Result::unwrap).count(), 703);
}
