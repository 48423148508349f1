//! Headers of re-encryptions changed by an attacker without keys, with a right checksum. Where a token of a vault proves the
//! header, every change is refused or harmless: no read ever gives other data. Where there are passphrases only, nothing proves
//! how far it is, as nothing proves the segments of any such volume; how it is done is proven by the digest.

use std::time::Duration;

use crate::common::device::{Call, Op, TestDevice};
use crate::common::header;
use crate::common::keyslots::{NEW, cost};
use crate::common::reencryption::{Case, Disks, Keys, content, finish, noise};
use crate::common::spent::spent;
use crate::common::volumes::{DATA, shared};
use atrest::volume::Resilience;
use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Volume};
use serde_json::{Value, json};

const SIZE: usize = 64 << 10;
const ZONE: u64 = 16 << 10;
const CASE: Case = Case { old: 512, new: 1024, resilience: Resilience::Checksum, detached: false };

/// The plain data of a decryption over its header: 256 KiB are moved first, and then a zone after the other.
const DECRYPTED: usize = (256 + 100) << 10;

/// A decryption over its header, of which a zone is done; if `torn`, the next was being rewritten. The header is on its own device.
struct Decryption {
    header: Vec<u8>,
    data: Vec<u8>,
    plain: Vec<u8>,
}

impl Decryption {
    fn half_done(keys: &Keys, torn: bool) -> Self {
        let (header, data) = (shared(vec![0; DATA]), shared(vec![0; DATA + DECRYPTED]));
        let options = FormatOptions::new().keyslot(cost()).data_offset(DATA as u64);
        let volume = Volume::format(data.clone(), keys.protector(0), &options).unwrap();
        let plain = noise(DECRYPTED, 9);
        volume.write_at(0, &plain).unwrap();
        volume.begin_decryption_beside(header.clone(), Resilience::Checksum).unwrap();
        volume.reencrypt_step(ZONE).unwrap();
        if torn {
            // The header is elsewhere: the first write is that of the zone.
            data.fail(Call::Write, 0, false);
            volume.reencrypt_step(ZONE).unwrap_err();
        }
        drop(volume);
        let (header, data) = (header.bytes(), data.bytes());
        let json = header::json(&header, 0);
        assert_eq!(json.pointer(&format!("{}/area/type", keyslot_of(&json))).unwrap(), "datashift-checksum");
        let flags = |flag| move |segment: &&Value| segment["flags"] == json!([flag]);
        let hot = json["segments"].as_object().unwrap().values().filter(flags("in-reencryption")).count();
        assert_eq!(hot, usize::from(torn));
        Decryption { header, data, plain }
    }

    fn open(&self, header: &[u8], keys: &Keys) -> Result<Volume<std::sync::Arc<TestDevice>>, Error> {
        let options = OpenOptions::new().header(shared(header.to_vec())).hazmat_allow_unencrypted(true);
        Volume::open(shared(self.data.clone()), keys.credential(0), &options)
    }
}

/// A re-encryption of which a zone is done; if `torn`, the next was being rewritten.
fn half_done(case: Case, keys: &Keys, torn: bool) -> (Vec<u8>, Vec<u8>) {
    let disks = case.disks(SIZE);
    let volume = disks.format(keys.protector(0), case.format_options());
    let plain = noise(SIZE, 8);
    volume.write_at(0, &plain).unwrap();
    volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
    volume.reencrypt_step(ZONE).unwrap();
    for n in 0..if torn { 30 } else { 0 } {
        disks.data.take_log();
        disks.data.fail(Call::Write, n, false);
        volume.reencrypt_step(ZONE).unwrap_err();
        if disks.data.take_log().iter().any(|op| matches!(op, Op::Write { offset, .. } if *offset >= DATA as u64)) {
            break;
        }
    }
    let image = disks.data.bytes();
    let segments = header::json(&image, 0)["segments"].as_object().unwrap().len();
    assert_eq!(segments, if torn { 5 } else { 4 });
    (image, plain)
}

fn open(image: &[u8], keys: &Keys) -> Result<Volume<std::sync::Arc<TestDevice>>, Error> {
    Volume::open(shared(image.to_vec()), keys.credential(1), &OpenOptions::new())
}

type Edit = Box<dyn Fn(&mut Value)>;

fn set(path: &str, value: Value) -> (String, Edit) {
    let (what, path) = (format!("{path} = {value}"), path.to_owned());
    let edit = move |json: &mut Value| {
        let (parent, name) = path.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[name] = value.clone();
    };
    (what, Box::new(edit))
}

fn swap(a: String, b: String) -> (String, Edit) {
    let what = format!("{a} and {b} swapped");
    let edit = move |json: &mut Value| {
        let first = json.pointer(&a).unwrap().clone();
        let second = std::mem::replace(json.pointer_mut(&b).unwrap(), first);
        *json.pointer_mut(&a).unwrap() = second;
    };
    (what, Box::new(edit))
}

fn remove(parent: &str, name: &str) -> (String, Edit) {
    let (what, parent, name) = (format!("no {parent}/{name}"), parent.to_owned(), name.to_owned());
    (what, Box::new(move |json| drop(json.pointer_mut(&parent).unwrap().as_object_mut().unwrap().remove(&name))))
}

/// The keyslot of the re-encryption.
fn keyslot(json: &Value) -> String {
    let keyslots = json["keyslots"].as_object().unwrap();
    keyslots.iter().find(|(_, keyslot)| keyslot["type"] == "reencrypt").unwrap().0.clone()
}

/// The same, as a path.
fn keyslot_of(json: &Value) -> String {
    format!("/keyslots/{}", keyslot(json))
}

fn edits_of_segments(json: &Value, backup: bool) -> Vec<(String, Edit)> {
    let mut edits = Vec::new();
    for (id, segment) in json["segments"].as_object().unwrap() {
        let flags = segment["flags"].as_array();
        if flags.is_some_and(|flags| flags[0].as_str().unwrap().starts_with("backup")) != backup {
            continue;
        }
        let at = format!("/segments/{id}");
        let offset: u64 = segment["offset"].as_str().unwrap().parse().unwrap();
        let others = [0, offset.wrapping_sub(512), offset + 512, offset + 1024, offset + 4096, u64::MAX - 511];
        for other in others.into_iter().filter(|&other| other != offset) {
            edits.push(set(&format!("{at}/offset"), json!(other.to_string())));
        }
        for size in ["dynamic", "0", "512", "1024", "4096", "16384", "32768", "18446744073709551104"] {
            if segment["size"] != size {
                edits.push(set(&format!("{at}/size"), json!(size)));
            }
        }
        let flags = ["in-reencryption", "backup-previous", "backup-final", "backup-moved-segment", "x"];
        for flags in flags.map(|flag| json!([flag])).into_iter().chain([json!([])]) {
            if segment["flags"] != flags && !(segment["flags"].is_null() && flags == json!([])) {
                edits.push(set(&format!("{at}/flags"), flags));
            }
        }
        edits.push(remove("/segments", id));
        let others = ["linear", "crypt", "x"].into_iter().filter(|kind| segment["type"] != **kind);
        edits.extend(others.map(|kind| set(&format!("{at}/type"), json!(kind))));
        if segment["type"] == "linear" {
            // It has no cipher, whatever another member says.
            continue;
        }
        for tweak in ["0", "1", "32", "64", "18446744073709551615"] {
            if segment["iv_tweak"] != tweak {
                edits.push(set(&format!("{at}/iv_tweak"), json!(tweak)));
            }
        }
        for cipher in ["aes-cbc-essiv:sha256", "aes-xts-plain", "aes-hctr2-plain64", "cipher_null-ecb"] {
            edits.push(set(&format!("{at}/encryption"), json!(cipher)));
        }
        for size in [0, 512, 1024, 2048, 4096, 8192] {
            if segment["sector_size"] != size {
                edits.push(set(&format!("{at}/sector_size"), json!(size)));
            }
        }
    }
    edits
}

fn edits_of_the_plan(json: &Value) -> Vec<(String, Edit)> {
    let (id, at) = (keyslot(json), keyslot_of(json));
    let mut edits = edits_of_segments(json, true);
    let mut other = |member: &str, values: &[&str]| {
        let path = format!("{at}/{member}");
        let others = values.iter().filter(|value| json.pointer(&path).unwrap() != **value);
        edits.extend(others.map(|value| set(&path, json!(value))));
    };
    other("mode", &["encrypt", "decrypt", "reencrypt", "x"]);
    other("direction", &["backward", "forward", "x"]);
    other("area/type", &["none", "journal", "checksum", "datashift", "datashift-journal", "datashift-checksum", "x"]);
    if json.pointer(&format!("{at}/area/shift_size")).is_some() {
        other("area/shift_size", &["0", "512", "4096", "524288", "2097152", "18446744073709547520", "x"]);
        edits.push(remove(&format!("{at}/area"), "shift_size"));
    }
    let shift = set(
        &format!("{at}/area"),
        json!({"type": "datashift", "offset": "65536", "size": "4096", "shift_size": "4096"}),
    );
    edits.push(shift);
    for offset in ["0", "32768", "65536", "1044480", "18446744073709551104"] {
        if json.pointer(&format!("{at}/area/offset")).unwrap() != offset {
            edits.push(set(&format!("{at}/area/offset"), json!(offset)));
        }
    }
    for size in ["0", "512", "4096", "8192", "18446744073709547520"] {
        edits.push(set(&format!("{at}/area/size"), json!(size)));
    }
    for hash in ["sha1", "sha512", "md5", ""] {
        edits.push(set(&format!("{at}/area/hash"), json!(hash)));
    }
    for size in [0, 1, 512, 1000, 2048, 4096, 4_294_967_295u32] {
        edits.push(set(&format!("{at}/area/sector_size"), json!(size)));
    }
    edits.push(set(&format!("{at}/type"), json!("x")));
    edits.push(remove("/keyslots", &id));
    edits.push(remove("/config", "requirements"));
    edits.push(set("/config/requirements/mandatory", json!(["online-reencrypt-v3"])));
    edits.push(set("/config/requirements/mandatory", json!(["online-reencrypt"])));
    edits.push(set("/config/requirements/mandatory", json!(["online-reencrypt-v2", "online-reencrypt-v3"])));
    edits
}

fn edits_of_digests(json: &Value) -> Vec<(String, Edit)> {
    let mut edits = Vec::new();
    let ids: Vec<&String> = json["digests"].as_object().unwrap().keys().collect();
    for (i, id) in ids.iter().enumerate() {
        let at = format!("/digests/{id}");
        for other in &ids[..i] {
            edits.push(swap(at.clone(), format!("/digests/{other}")));
            for part in ["digest", "salt", "segments", "keyslots"] {
                edits.push(swap(format!("{at}/{part}"), format!("/digests/{other}/{part}")));
            }
        }
        for iterations in [0, 1001, 4_294_967_295u32] {
            edits.push(set(&format!("{at}/iterations"), json!(iterations)));
        }
        edits.push(set(&format!("{at}/hash"), json!("sha512")));
        edits.push(set(&format!("{at}/hash"), json!("md5")));
        edits.push(set(&format!("{at}/type"), json!("x")));
        edits.push(set(&format!("{at}/segments"), json!([])));
        edits.push(set(&format!("{at}/segments"), json!(["0", "1", "2", "3"])));
        edits.push(set(&format!("{at}/keyslots"), json!([])));
        edits.push(remove("/digests", id));
    }
    edits
}

fn edits_of_tokens(json: &Value) -> Vec<(String, Edit)> {
    let tokens = json["tokens"].as_object().unwrap();
    let (id, _) = tokens.iter().find(|(_, token)| token["type"] == "atrest-previous-key").unwrap();
    vec![
        remove("/tokens", id),
        set(&format!("/tokens/{id}/wrapped"), json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        set(&format!("/tokens/{id}/wrapped"), json!("")),
        set(&format!("/tokens/{id}/wrapped"), json!(7)),
        remove(&format!("/tokens/{id}"), "wrapped"),
    ]
}

/// Opens a volume with each edit. It is refused, soon; or it holds what it held, now and when it is finished.
fn refused_or_harmless(image: &[u8], plain: &[u8], keys: &Keys, edits: Vec<(String, Edit)>) -> [usize; 2] {
    refused_or_harmless_by(image, plain, edits, |edited| open(edited, keys))
}

fn refused_or_harmless_by(
    image: &[u8],
    plain: &[u8],
    edits: Vec<(String, Edit)>,
    open: impl Fn(&[u8]) -> Result<Volume<std::sync::Arc<TestDevice>>, Error>,
) -> [usize; 2] {
    let mut count = [0; 2];
    for (what, edit) in edits {
        let mut edited = image.to_vec();
        header::edit_json(&mut edited, &edit);
        let start = spent();
        match open(&edited) {
            Err(Error::TamperedHeader | Error::InvalidHeader(_) | Error::UnsupportedHeader(_)) => count[0] += 1,
            // An area that is as large as a device, a digest of nobody.
            Err(Error::DeviceTooSmall { .. } | Error::WrongPassphrase | Error::NoSuchProtector(_)) => count[0] += 1,
            Err(error) => panic!("{what}: {error:?}"),
            Ok(volume) => {
                assert!(content(&volume) == plain, "{what}: other data");
                finish(&volume, 1 << 20);
                assert!(content(&volume) == plain, "{what}: other data at the end");
                count[1] += 1;
                println!("harmless: {what}");
            }
        }
        let took = spent() - start;
        assert!(took < Duration::from_secs(10), "{what} took {took:?}");
    }
    count
}

#[test]
fn a_header_that_a_vault_proves_is_refused_after_any_edit() {
    let keys = Keys::vaults();
    for torn in [false, true] {
        let (image, plain) = half_done(CASE, &keys, torn);
        assert!(content(&open(&image, &keys).unwrap()) == plain);
        let json = header::json(&image, 0);
        let mut edits = edits_of_segments(&json, false);
        edits.extend(edits_of_the_plan(&json));
        edits.extend(edits_of_digests(&json));
        edits.extend(edits_of_tokens(&json));
        let [refused, harmless] = refused_or_harmless(&image, &plain, &keys, edits);
        println!("{refused} edits refused, {harmless} harmless");
        assert!(refused > 200 && harmless < 10, "{refused} {harmless}");
    }
}

#[test]
fn how_a_reencryption_is_done_is_proven_by_a_passphrase_too() {
    for torn in [false, true] {
        let (image, plain) = half_done(CASE, &Keys::Passphrases, torn);
        let json = header::json(&image, 0);
        let mut edits = edits_of_the_plan(&json);
        edits.extend(edits_of_digests(&json));
        edits.extend(edits_of_tokens(&json));
        let [refused, harmless] = refused_or_harmless(&image, &plain, &Keys::Passphrases, edits);
        println!("{refused} edits refused, {harmless} harmless");
        assert!(refused > 120 && harmless < 10, "{refused} {harmless}");
    }
}

#[test]
fn how_far_a_reencryption_is_isnt_proven_without_a_token_and_does_no_more_harm() {
    // Other data may be read, as from any volume whose segments were edited. Nothing panics or hangs.
    for torn in [false, true] {
        let (image, _) = half_done(CASE, &Keys::Passphrases, torn);
        let mut opened = 0;
        for (what, edit) in edits_of_segments(&header::json(&image, 0), false) {
            let mut edited = image.clone();
            header::edit_json(&mut edited, &edit);
            let start = spent();
            if let Ok(volume) = open(&edited, &Keys::Passphrases) {
                opened += 1;
                let mut bytes = vec![0; volume.size() as usize];
                let _ = volume.read_at(0, &mut bytes);
                while volume.reencrypt_step(1 << 20).is_ok_and(|progress| !progress.is_finished()) {}
            }
            let took = spent() - start;
            assert!(took < Duration::from_secs(10), "{what} took {took:?}");
        }
        println!("{opened} edits opened");
    }
}

/// The header of a decryption that goes forward over its own place.
#[test]
fn the_header_of_a_decryption_that_a_vault_proves_is_refused_after_any_edit() {
    let keys = Keys::vaults();
    for torn in [false, true] {
        let half = Decryption::half_done(&keys, torn);
        assert!(content(&half.open(&half.header, &keys).unwrap()) == half.plain);
        let json = header::json(&half.header, 0);
        let mut edits = edits_of_segments(&json, false);
        edits.extend(edits_of_the_plan(&json));
        edits.extend(edits_of_digests(&json));
        let open = |edited: &[u8]| half.open(edited, &keys);
        let [refused, harmless] = refused_or_harmless_by(&half.header, &half.plain, edits, open);
        println!("{refused} edits refused, {harmless} harmless");
        assert!(refused > 200 && harmless < 10, "{refused} {harmless}");
    }
}

#[test]
fn how_a_decryption_is_done_is_proven_by_a_passphrase_too() {
    let keys = Keys::Passphrases;
    for torn in [false, true] {
        let half = Decryption::half_done(&keys, torn);
        let json = header::json(&half.header, 0);
        let mut edits = edits_of_the_plan(&json);
        edits.extend(edits_of_digests(&json));
        let open = |edited: &[u8]| half.open(edited, &keys);
        let [refused, harmless] = refused_or_harmless_by(&half.header, &half.plain, edits, open);
        println!("{refused} edits refused, {harmless} harmless");
        assert!(refused > 120 && harmless < 10, "{refused} {harmless}");
        // How far it is isn't proven: nothing panics or hangs.
        for (what, edit) in edits_of_segments(&json, false) {
            let mut edited = half.header.clone();
            header::edit_json(&mut edited, &edit);
            let start = spent();
            if let Ok(volume) = half.open(&edited, &keys) {
                let _ = volume.read_at(0, &mut vec![0; volume.size() as usize]);
                while volume.reencrypt_step(1 << 20).is_ok_and(|progress| !progress.is_finished()) {}
            }
            let took = spent() - start;
            assert!(took < Duration::from_secs(10), "{what} took {took:?}");
        }
    }
}

#[test]
fn a_zone_as_large_as_a_device_claims_to_be_is_refused() {
    struct Huge(TestDevice);
    impl BlockDevice for Huge {
        fn size(&self) -> std::io::Result<u64> {
            Ok(1 << 50)
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.0.write_at(offset, bytes)
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    for resilience in [Resilience::Checksum, Resilience::Journal] {
        let (mut image, _) = half_done(Case { resilience, ..CASE }, &Keys::Passphrases, true);
        header::edit_json(&mut image, |json| {
            let size = 1u64 << 46;
            json["segments"]["1"]["size"] = json!(size.to_string());
            let offset: u64 = json["segments"]["1"]["offset"].as_str().unwrap().parse().unwrap();
            json["segments"]["2"]["offset"] = json!((offset + size).to_string());
            json["segments"]["2"]["iv_tweak"] = json!(((offset + size - DATA as u64) / 512).to_string());
        });
        let opened = Volume::open(Huge(TestDevice::new(image)), Credential::Passphrase(NEW), &OpenOptions::new());
        assert!(matches!(opened, Err(Error::TamperedHeader)), "{resilience:?}: {opened:?}");
    }
}

/// An old header is genuine, whoever puts it back: what was done since reads as noise. Nothing tells it from the newest one but
/// its sequence number, which its owner can keep. It does no more harm than that.
#[test]
fn an_old_header_put_back_reads_as_noise_what_was_done_since() {
    for keys in [Keys::vaults(), Keys::Passphrases] {
        let disks = CASE.disks(SIZE);
        let volume = disks.format(keys.protector(0), CASE.format_options());
        let plain = noise(SIZE, 8);
        volume.write_at(0, &plain).unwrap();
        let mut headers = vec![disks.data.bytes()[..DATA].to_vec()];
        volume.begin_reencryption(&[keys.protector(1)], &CASE.options()).unwrap();
        headers.push(disks.data.bytes()[..DATA].to_vec());
        while !volume.reencrypt_step(ZONE).unwrap().is_finished() {
            headers.push(disks.data.bytes()[..DATA].to_vec());
        }
        drop(volume);
        for (i, header) in headers.iter().enumerate() {
            let old: Disks = disks.copy();
            old.data.edit(|bytes| bytes[..DATA].copy_from_slice(header));
            let volume = old.open(keys.credential(usize::from(i > 0))).unwrap();
            let found = content(&volume);
            let done = i.saturating_sub(1) * ZONE as usize;
            assert!(found[..done] == plain[..done], "{i}");
            let same = found[done..].chunks(16).zip(plain[done..].chunks(16)).filter(|(a, b)| a == b).count();
            assert_eq!(same, 0, "{i}");
            let _ = volume.reencrypt(|_| std::ops::ControlFlow::Continue(())).unwrap();
            assert!(content(&volume)[..done] == plain[..done], "{i}");
        }
    }
}
