//! Re-encryptions near an end: of the device, of the header's room, of a key's use, and of the work itself.

use atrest::volume::Resilience;
use atrest::{Credential, Error, KeyUsage, OpenOptions, Protector, SectorSize, Volume, hazmat};
use base64ct::{Base64, Encoding};
use serde_json::json;

use super::reencrypt::{PLAIN, SIZE, is_ordinary, start};
use crate::common::device::{Call, Op};
use crate::common::header;
use crate::common::keyslots::{NEW, OLD};
use crate::common::reencryption::{Case, content, finish, noise, vaults};
use crate::common::volumes::{DATA, shared};

#[test]
fn a_truncated_device_is_refused_and_keeps_its_data() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE, &one);
    volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()).unwrap();
    volume.reencrypt_step(32 << 10).unwrap();
    drop(volume);
    for cut in [SIZE / 4, SIZE * 3 / 4] {
        let mut bytes = disks.data.bytes();
        bytes.truncate(DATA + cut);
        let opened = Volume::open(shared(bytes), Credential::Vault(&two), &OpenOptions::new());
        assert!(matches!(opened, Err(Error::DeviceTooSmall { .. })), "{cut}: {opened:?}");
    }
    let volume = disks.open(Credential::Vault(&two)).unwrap();
    assert!(content(&volume) == plain);
    assert_eq!(volume.sector_size(), SectorSize::B512);
}

/// What the digest of a re-encryption is over, by the letter of the specification (figure 6).
fn proof(json: &serde_json::Value, keyslot: &str, keys: [&[u8]; 2]) -> Vec<u8> {
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap().to_be_bytes();
    let text = |value: &serde_json::Value| value.as_str().unwrap().as_bytes().to_vec();
    let short = |value: &serde_json::Value| (value.as_u64().unwrap() as u32).to_be_bytes();
    let slot = &json["keyslots"][keyslot];
    let area = &slot["area"];
    let mut bytes = [&b"v2"[..], keys[0], keys[1]].concat();
    [&slot["mode"], &slot["direction"], &area["type"]].into_iter().for_each(|field| bytes.extend(text(field)));
    [&area["offset"], &area["size"]].into_iter().for_each(|field| bytes.extend(number(field)));
    bytes.extend(text(&area["hash"]));
    bytes.extend(short(&area["sector_size"]));
    for flag in ["backup-previous", "backup-final"] {
        let segments = json["segments"].as_object().unwrap();
        let segment = segments.values().find(|segment| segment["flags"] == json!([flag])).unwrap();
        bytes.extend(text(&segment["type"]));
        bytes.extend(number(&segment["offset"]));
        bytes.extend(text(&segment["size"])); // "dynamic"
        bytes.extend(number(&segment["iv_tweak"]));
        bytes.extend(text(&segment["encryption"]));
        bytes.extend(short(&segment["sector_size"]));
    }
    bytes
}

#[test]
fn what_is_all_done_and_not_finished_is_finished_from_either_end() {
    // As another tool leaves it that is killed between the last zone and the end.
    let disks = PLAIN.disks(SIZE);
    let volume = disks.format(Protector::Passphrase(OLD), PLAIN.format_options());
    let (plain, old) = (noise(SIZE, 6), hazmat::dek_bytes(&volume.dek()).expose().to_vec());
    volume.write_at(0, &plain).unwrap();
    volume.begin_reencryption(&[Protector::Passphrase(NEW)], &PLAIN.options()).unwrap();
    let header = disks.data.bytes()[..DATA].to_vec();
    finish(&volume, 1 << 20);
    let new = hazmat::dek_bytes(&volume.dek()).expose().to_vec();
    drop(volume);
    disks.data.edit(|bytes| bytes[..DATA].copy_from_slice(&header));
    for direction in ["forward", "backward"] {
        let disks = disks.copy();
        disks.data.edit(|bytes| {
            header::edit_json(bytes, |json| {
                let is_of = |json: &serde_json::Value, group: &str, field: &str, value: serde_json::Value| {
                    let found = json[group].as_object().unwrap().iter().find(|(_, object)| object[field] == value);
                    found.unwrap_or_else(|| panic!("{json:#}")).0.clone()
                };
                let last = is_of(json, "segments", "flags", json!(["backup-final"]));
                let digest = is_of(json, "digests", "segments", json!([last]));
                let slot = is_of(json, "keyslots", "type", json!("reencrypt"));
                let proves = is_of(json, "digests", "keyslots", json!([slot]));
                let mut data = json["segments"][&last].clone();
                data.as_object_mut().unwrap().remove("flags");
                json["segments"]["0"] = data;
                json["keyslots"][&slot]["direction"] = json!(direction);
                for (_, found) in json["digests"].as_object_mut().unwrap() {
                    found["segments"].as_array_mut().unwrap().retain(|segment| segment != "0");
                }
                json["digests"][&digest]["segments"].as_array_mut().unwrap().push(json!("0"));
                let proof = proof(json, &slot, [&old, &new]);
                let salt = Base64::decode_vec(json["digests"][&proves]["salt"].as_str().unwrap()).unwrap();
                let mut bytes = [0; 32];
                pbkdf2::pbkdf2_hmac::<sha2::Sha256>(&proof, &salt, 1000, &mut bytes);
                let ours = json["digests"][&proves]["digest"] == Base64::encode_string(&bytes);
                assert_eq!(ours, direction == "forward", "our digest isn't that of the specification");
                json["digests"][&proves]["digest"] = json!(Base64::encode_string(&bytes));
            });
        });
        let volume = disks.open(Credential::Passphrase(NEW)).unwrap();
        assert!(content(&volume) == plain, "{direction}");
        assert!(volume.reencrypt_step(1).unwrap().is_finished(), "{direction}");
        assert!(content(&volume) == plain, "{direction}");
        is_ordinary(&disks, 512);
    }
}

#[test]
fn what_begins_has_room_in_the_header_for_all_that_it_will_say() {
    let [one, two] = vaults();
    let (mut begun, mut refused) = (0, 0);
    for pad in (7000..10_500).step_by(125) {
        let (disks, volume, plain) = start(PLAIN, SIZE, &one);
        let token = json!({"type": "x", "keyslots": [], "pad": "x".repeat(pad)});
        volume.header().import_token(token.to_string()).unwrap();
        let before = disks.data.bytes();
        match volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()) {
            Ok(()) => {
                begun += 1;
                finish(&volume, 16 << 10);
            }
            Err(Error::NoRoom(_)) => {
                refused += 1;
                assert!(disks.data.bytes() == before, "{pad}");
            }
            Err(error) => panic!("{pad}: {error:?}"),
        }
        assert!(content(&volume) == plain, "{pad}");
    }
    assert!(begun > 2 && refused > 2, "{begun} {refused}");
}

#[test]
fn who_has_an_older_header_leaves_what_a_crash_is_recovered_from_alone() {
    let [one, two] = vaults();
    for resilience in [Resilience::Checksum, Resilience::Journal] {
        let case = Case { resilience, ..PLAIN };
        let (disks, volume, plain) = start(case, SIZE, &one);
        volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &case.options()).unwrap();
        // A device without a lock, opened twice.
        let late = disks.open(Credential::Vault(&two)).unwrap();
        volume.reencrypt_step(16 << 10).unwrap();
        let stopped = (0..20).find(|n| {
            disks.data.take_log();
            disks.data.fail(Call::Write, *n, false);
            volume.reencrypt_step(16 << 10).unwrap_err();
            disks.data.take_log().iter().any(|op| matches!(op, Op::Write { offset, .. } if *offset >= DATA as u64))
        });
        assert!(stopped.is_some());
        drop(volume);
        let before = disks.data.bytes();
        let stepped = late.reencrypt_step(16 << 10);
        assert!(matches!(stepped, Err(Error::Busy { .. })), "{stepped:?}");
        assert!(disks.data.bytes() == before, "{resilience:?}");
        drop(late);
        // A torn zone is for who may write.
        let read_only = disks.open_with(Credential::Vault(&two), OpenOptions::new().read_only(true));
        assert!(matches!(&read_only, Err(Error::UnsupportedHeader(text)) if text.contains("for writing")));
        assert!(disks.data.bytes() == before);
        let volume = disks.open(Credential::Vault(&two)).unwrap();
        assert!(content(&volume) == plain, "{resilience:?}");
    }
}

#[test]
fn a_key_that_may_encrypt_nothing_more_is_replaced() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE, &one);
    drop(volume);
    let options = OpenOptions::new().used_blocks(KeyUsage::MAX);
    let volume = disks.open_with(Credential::Vault(&one), options).unwrap();
    let exhausted = |volume: &Volume<_>| matches!(volume.write_at(0, &[7; 512]), Err(Error::KeyExhausted { .. }));
    assert!(exhausted(&volume));
    volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()).unwrap();
    assert!(exhausted(&volume), "some of it would be under the old key");
    finish(&volume, 20 << 10);
    assert!(content(&volume) == plain);
    volume.write_at(0, &[7; 512]).unwrap();
}
