//! Re-encryption of a volume in use: what it changes, what it keeps, and what it refuses.

use atrest::key::EncryptionType;
use atrest::volume::{Header, LuksVersion, ProtectorId, ReencryptOptions, Resilience};
use atrest::{
    BlockDevice, Credential, Dek, DekAlgorithm, Error, FormatOptions, OpenOptions, Protector, Volume, hazmat,
};
use serde_json::json;

use crate::common::header;
use crate::common::keyslots::{NEW, OLD, cost};
use crate::common::model;
use crate::common::reencryption::{Case, Disks, SECTOR_SIZES, content, finish, noise, vaults};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{DATA, shared};

pub(super) const SIZE: usize = 64 << 10;
pub(super) const PLAIN: Case = Case { old: 512, new: 512, resilience: Resilience::Checksum, detached: false };

/// A volume of noise under the first vault, and what it holds.
pub(super) fn start(
    case: Case,
    size: usize,
    vault: &MemoryVault,
) -> (Disks, Volume<std::sync::Arc<crate::common::device::TestDevice>>, Vec<u8>) {
    let disks = case.disks(size);
    let volume = disks.format(Protector::Vault(vault, "disks"), case.format_options());
    let plain = noise(size, u64::from(case.old + 2 * case.new));
    volume.write_at(0, &plain).unwrap();
    (disks, volume, plain)
}

/// The header is that of a volume which never was anything else.
pub(super) fn is_ordinary(disks: &Disks, sector_size: u32) {
    let bytes = disks.header.bytes();
    assert!(header::is_whole(&bytes));
    let json = header::json(&bytes, 0);
    assert!(json["config"]["requirements"].is_null(), "{json:#}");
    let segments = json["segments"].as_object().unwrap();
    assert_eq!(segments.len(), 1, "{json:#}");
    assert_eq!(segments["0"]["size"], "dynamic");
    assert_eq!(segments["0"]["iv_tweak"], "0");
    assert_eq!(segments["0"]["offset"], DATA.to_string());
    assert_eq!(segments["0"]["sector_size"], sector_size);
    assert!(segments["0"]["flags"].is_null());
    assert_eq!(json["digests"].as_object().unwrap().len(), 1, "{json:#}");
    assert!(json["keyslots"].as_object().unwrap().values().all(|keyslot| keyslot["type"] == "luks2"), "{json:#}");
    assert!(json["tokens"].as_object().unwrap().values().all(|token| token["type"] == "atrest"), "{json:#}");
}

#[test]
fn every_pair_of_sector_sizes_keeps_the_data_and_what_is_written_meanwhile() {
    let [one, two] = vaults();
    for case in Case::all() {
        let (disks, volume, mut plain) = start(case, SIZE, &one);
        let old = volume.fingerprint().unwrap();
        volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &case.options()).unwrap();
        assert_ne!(volume.fingerprint().unwrap(), old);
        assert_eq!(volume.sector_size().bytes() as usize, case.unit(), "{case:?}");
        assert_eq!(volume.size(), SIZE as u64);
        let (mut at, mut before) = (0, 0);
        loop {
            assert!(content(&volume) == plain, "{case:?} at {before}");
            // Of an odd number of sectors, over the end of the zone.
            let bytes = noise(5 * case.unit(), at as u64);
            let part = at..at + bytes.len();
            volume.write_at(at as u64, &bytes).unwrap();
            plain[part].copy_from_slice(&bytes);
            at += 11 << 10 >> 12 << 12;
            let progress = volume.reencrypt_step(20_000).unwrap();
            assert_eq!(progress.total, SIZE as u64);
            assert!(
                progress.done > before && progress.done.is_multiple_of(case.unit() as u64),
                "{case:?}: {progress:?}"
            );
            assert!(progress.rate.is_some());
            before = progress.done;
            if progress.is_finished() {
                break;
            }
            assert_eq!(volume.reencryption().map(|p| (p.done, p.total)), Some((before, SIZE as u64)));
        }
        assert!(volume.reencryption().is_none());
        assert_eq!(volume.sector_size().bytes(), case.new);
        assert!(content(&volume) == plain, "{case:?}");
        is_ordinary(&disks, case.new);
        let key = hazmat::dek_bytes(&volume.dek()).expose().to_vec();
        drop(volume);
        // Another's XTS agrees.
        let mut theirs = plain.clone();
        model::encrypt(&key, 0, u64::from(case.new / 512), case.new as usize, &mut theirs);
        assert!(disks.data.bytes()[DATA..] == theirs, "{case:?}");
        assert!(content(&disks.open(Credential::Vault(&two)).unwrap()) == plain, "{case:?}");
        assert!(matches!(disks.open(Credential::Vault(&one)), Err(Error::NotThisVault { .. })), "{case:?}");
    }
}

#[test]
fn odd_budgets_are_whole_sectors() {
    let [one, two] = vaults();
    for (old, new) in [(512, 512), (512, 4096), (2048, 512)] {
        let case = Case { old, new, ..PLAIN };
        let unit = case.unit() as u64;
        for (budget, steps) in
            [(0, 1), (1, 1), (512, 1), (unit, 1), (unit + 1, 1), (4096, 4096 / unit), (100_000, 16), (1 << 20, 16)]
        {
            let (disks, volume, plain) = start(case, 16 * unit as usize, &one);
            volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &case.options()).unwrap();
            // The budget is used up, by whole zones of at least a sector.
            let progress = volume.reencrypt_step(budget).unwrap();
            let least = budget.min(16 * unit).next_multiple_of(unit).max(unit);
            assert!((steps.min(16) * unit..=least).contains(&progress.done), "{budget}: {progress:?}");
            assert!(content(&volume) == plain);
            finish(&volume, budget.max(4096));
            assert!(content(&volume) == plain, "{old} to {new}, {budget}");
            is_ordinary(&disks, new);
        }
    }
}

/// A volume of an old cipher, as another tool made it: its key has 32 bytes.
pub(super) fn cbc(cipher: &str) -> (Disks, Vec<u8>) {
    let disks = PLAIN.disks(SIZE);
    let dek = Dek::generate(DekAlgorithm::Aes128Xts).unwrap();
    drop(disks.format(Protector::Passphrase(OLD), PLAIN.format_options().hazmat_dek(&dek)));
    disks.data.edit(|bytes| header::edit_json(bytes, |json| json["segments"]["0"]["encryption"] = json!(cipher)));
    let plain = noise(SIZE, 3);
    let volume = disks.open(Credential::Passphrase(OLD)).unwrap();
    assert_eq!(volume.cipher().name(), cipher);
    volume.write_at(0, &plain).unwrap();
    (disks, plain)
}

#[test]
fn every_cipher_becomes_every_new_one() {
    let new = [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts, DekAlgorithm::Aes256Hctr2];
    let old = new.map(|algorithm| {
        let disks = PLAIN.disks(SIZE);
        let volume = disks.format(Protector::Passphrase(OLD), PLAIN.format_options().dek_algorithm(algorithm));
        let plain = noise(SIZE, 4);
        volume.write_at(0, &plain).unwrap();
        (disks, plain)
    });
    let old = old.into_iter().chain(["aes-cbc-essiv:sha256", "aes-cbc-plain64"].map(cbc));
    for (start, plain) in old {
        for algorithm in new {
            for credential in [OLD, NEW] {
                let disks = start.copy();
                let volume = disks.open(Credential::Passphrase(OLD)).unwrap();
                let (from, new) =
                    (volume.cipher().name(), if algorithm == DekAlgorithm::Aes256Xts { 4096 } else { 512 });
                let options = Case { new, ..PLAIN }.options().dek_algorithm(algorithm);
                volume.begin_reencryption(&[Protector::Passphrase(credential)], &options).unwrap();
                volume.reencrypt_step(16 << 10).unwrap();
                volume.reencrypt_step(16 << 10).unwrap();
                assert!(content(&volume) == plain);
                drop(volume);
                let volume = disks.open(Credential::Passphrase(credential)).unwrap();
                assert!(content(&volume) == plain, "{from} to {algorithm:?}");
                finish(&volume, 16 << 10);
                assert_eq!(volume.dek().algorithm(), algorithm);
                drop(volume);
                let volume = disks.open(Credential::Passphrase(credential)).unwrap();
                assert!(content(&volume) == plain, "{from} to {algorithm:?}");
                let other = if credential == OLD { NEW } else { OLD };
                assert!(matches!(disks.open(Credential::Passphrase(other)), Err(Error::WrongPassphrase)));
                is_ordinary(&disks, new);
            }
        }
    }
}

#[test]
fn a_cipher_that_new_volumes_do_not_get_becomes_the_usual_one() {
    let (disks, plain) = cbc("aes-cbc-essiv:sha256");
    let volume = disks.open(Credential::Passphrase(OLD)).unwrap();
    let options = ReencryptOptions::new().keyslot(cost());
    volume.begin_reencryption(&[Protector::Passphrase(OLD)], &options).unwrap();
    finish(&volume, 1 << 20);
    assert_eq!(volume.cipher().name(), "aes-xts-plain64");
    assert!(content(&volume) == plain);
    for algorithm in [DekAlgorithm::Aes256Cbc, DekAlgorithm::Aes256Ctr] {
        let options = options.clone().dek_algorithm(algorithm);
        let begun = volume.begin_reencryption(&[Protector::Passphrase(OLD)], &options);
        assert!(matches!(begun, Err(Error::InvalidOption(_))), "{begun:?}");
    }
}

#[test]
fn vaults_and_passphrases_are_ways_in_from_the_beginning_and_the_old_ones_are_not() {
    let [one, two] = vaults();
    let three = MemoryVault::new("memory:three");
    let disks = PLAIN.disks(SIZE);
    let options = PLAIN.format_options().context(b"disk-17").encryption_type(EncryptionType::PlatformAndCustomerKeys);
    let volume = disks.format(Protector::Vault(&one, "disks"), options);
    volume.add_protector(Protector::Passphrase(OLD), &cost()).unwrap();
    let (plain, old) = (noise(SIZE, 5), volume.fingerprint().unwrap());
    volume.write_at(0, &plain).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"the key of a file").unwrap();
    let protectors = [
        Protector::Vault(&two, "disks"),
        Protector::Passphrase(NEW),
        Protector::Vault(&three, "disks"),
        Protector::KeyFile(file.path()),
    ];
    volume.begin_reencryption(&protectors, &PLAIN.options()).unwrap();
    let new = volume.fingerprint().unwrap();
    assert_eq!(volume.keks().len(), 2);
    drop(volume);
    let ways = [
        Credential::Vault(&two),
        Credential::Passphrase(NEW),
        Credential::Vault(&three),
        Credential::KeyFile(file.path()),
    ];
    for step in 0..4 {
        for credential in ways {
            let open = |expected| disks.open_with(credential, OpenOptions::new().context(b"disk-17").expect(expected));
            let volume = open(new).unwrap();
            assert!(content(&volume) == plain, "{credential:?} {step}");
            // Until the end, the old fingerprint is right too.
            assert_eq!(open(old).is_ok(), step < 3, "{credential:?} {step}");
            let other = open(Dek::generate(DekAlgorithm::Aes256Xts).unwrap().fingerprint().unwrap());
            assert!(matches!(other, Err(Error::OtherDek)), "{credential:?} {step}: {other:?}");
        }
        let by_vault = disks.open(Credential::Vault(&one));
        assert!(matches!(by_vault, Err(Error::NotThisVault { .. })), "{step}: {by_vault:?}");
        let by_passphrase = disks.open(Credential::Passphrase(OLD));
        assert!(matches!(by_passphrase, Err(Error::WrongPassphrase)), "{step}: {by_passphrase:?}");
        let tokens = &header::json(&disks.header.bytes(), 0)["tokens"];
        let ours = tokens.as_object().unwrap().values().filter(|token| token["type"] == "atrest");
        assert!(ours.clone().all(|token| token["encryption_type"] == "platform-and-customer-keys"), "{tokens:#}");
        assert_eq!(ours.count(), 2);
        match step {
            0 | 1 => drop(disks.open(ways[step]).unwrap().reencrypt_step(16 << 10).unwrap()),
            2 => finish(&disks.open(ways[3]).unwrap(), 8 << 10),
            _ => {}
        }
    }
    is_ordinary(&disks, 512);
}

#[test]
fn a_vault_is_added_after_a_passphrase_alone() {
    let [one, _] = vaults();
    let disks = PLAIN.disks(SIZE);
    let volume = disks.format(Protector::Passphrase(OLD), PLAIN.format_options());
    volume.begin_reencryption(&[Protector::Vault(&one, "disks")], &PLAIN.options()).unwrap();
    drop(volume);
    let volume = disks.open(Credential::Vault(&one)).unwrap();
    finish(&volume, 1 << 20);
    drop(volume);
    assert!(matches!(disks.open(Credential::Passphrase(OLD)), Err(Error::NoSuchProtector(_))));
    disks.open(Credential::Vault(&one)).unwrap();
}

#[test]
fn the_header_is_edited_afterwards_and_not_meanwhile_but_keys_of_vaults_rotate() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE, &one);
    let early = volume.header().backup().unwrap();
    volume
        .begin_reencryption(&[Protector::Vault(&two, "disks"), Protector::Passphrase(NEW)], &PLAIN.options())
        .unwrap();
    volume.reencrypt_step(16 << 10).unwrap();
    let unsupported = |result: atrest::Result<()>| {
        let Err(Error::UnsupportedHeader(text)) = result else { panic!("{result:?}") };
        assert!(text.contains("reencrypt_step"), "{text}");
    };
    let before = disks.header.bytes();
    unsupported(volume.add_protector(Protector::Passphrase(OLD), &cost()).map(drop));
    unsupported(volume.add_protector(Protector::Vault(&one, "disks"), &cost()).map(drop));
    let mut snapshot = volume.header();
    unsupported(snapshot.set_label("x", ""));
    unsupported(snapshot.import_token(r#"{"type":"x","keyslots":[]}"#).map(drop));
    let keyslot = snapshot.keyslots().iter().find(|keyslot| keyslot.kind == "luks2").unwrap().id;
    let token = snapshot.tokens().iter().find(|token| token.kind == "atrest").unwrap().id;
    unsupported(snapshot.remove_protector(ProtectorId::Keyslot(keyslot)));
    unsupported(snapshot.remove_protector(ProtectorId::Token(token)));
    unsupported(volume.change_keyslot(keyslot, Protector::Passphrase(OLD), &cost()).map(drop));
    assert_eq!(snapshot.requirements(), ["online-reencrypt-v2"]);
    drop(snapshot);
    let backup = volume.header().backup().unwrap();
    unsupported(Header::restore(&disks.header, &early));
    unsupported(Header::restore(&disks.header, &backup));
    assert!(disks.header.bytes() == before);

    two.rotate();
    assert_eq!(volume.rotate_kek(&two).unwrap().version(), "2");
    two.destroy(1);
    volume.reencrypt_step(16 << 10).unwrap();
    drop(volume);
    let volume = disks.open(Credential::Vault(&two)).unwrap();
    assert!(content(&volume) == plain);
    two.rotate();
    volume.rotate_kek(&two).unwrap();
    assert_eq!(volume.record_size().unwrap(), SIZE as u64);
    finish(&volume, 1 << 20);
    two.destroy(2);
    let restored = Header::restore(&disks.header, &early);
    assert!(matches!(restored, Err(Error::OtherHeader(_))), "{restored:?}");
    volume.header().set_label("x", "").unwrap();
    volume.add_protector(Protector::Passphrase(OLD), &cost()).unwrap();
    drop(volume);
    for credential in [Credential::Vault(&two), Credential::Passphrase(OLD), Credential::Passphrase(NEW)] {
        assert!(content(&disks.open(credential).unwrap()) == plain, "{credential:?}");
    }
}

#[test]
fn what_cannot_begin_is_refused_and_changes_nothing() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE + 512, &one);
    let vault = Protector::Vault(&two, "disks");
    let before = disks.data.bytes();
    let begin = |protectors: &[Protector<'_>], options: &ReencryptOptions| {
        let error = volume.begin_reencryption(protectors, options).unwrap_err();
        assert!(disks.data.bytes() == before, "{error:?}");
        assert!(volume.reencryption().is_none());
        error
    };
    assert!(matches!(begin(&[], &PLAIN.options()), Error::InvalidOption(_)));
    assert!(matches!(begin(&[Protector::Vault(&two, "tapes")], &PLAIN.options()), Error::KeyRefused { .. }));
    // Of 129 sectors.
    for new in [1024, 2048, 4096] {
        assert!(matches!(begin(&[vault], &Case { new, ..PLAIN }.options()), Error::InvalidOption(_)), "{new}");
    }
    // So many keyslots that none of the 32, or no room, is left.
    let many = vec![Protector::Passphrase(NEW); 32];
    assert!(matches!(begin(&many, &PLAIN.options()), Error::NoRoom(_)));
    volume.begin_reencryption(&[vault], &PLAIN.options()).unwrap();
    let again = volume.begin_reencryption(&[vault], &PLAIN.options());
    assert!(matches!(again, Err(Error::Busy { .. })), "{again:?}");
    assert!(content(&volume) == plain);
    drop(volume);
    let read_only = disks.open_with(Credential::Vault(&two), OpenOptions::new().read_only(true)).unwrap();
    assert!(matches!(read_only.reencrypt_step(512), Err(Error::ReadOnly)));
    assert!(matches!(read_only.begin_reencryption(&[vault], &PLAIN.options()), Err(Error::ReadOnly)));
    assert!(content(&read_only) == plain);
}

#[test]
fn volumes_of_luks1_of_several_segments_and_with_no_room_are_refused() {
    let [one, two] = vaults();
    let vault = Protector::Vault(&two, "disks");
    let options = FormatOptions::new().version(LuksVersion::Luks1).keyslot(cost()).data_offset(2 << 20);
    let volume = Volume::format(shared(vec![0; (2 << 20) + SIZE]), Protector::Passphrase(OLD), &options).unwrap();
    let begun = volume.begin_reencryption(&[Protector::Passphrase(NEW)], &PLAIN.options());
    assert!(matches!(begun, Err(Error::UnsupportedHeader(_))), "{begun:?}");

    let disks = PLAIN.disks(SIZE);
    drop(disks.format(Protector::Passphrase(OLD), PLAIN.format_options()));
    disks.data.edit(|bytes| {
        header::edit_json(bytes, |json| {
            json["segments"]["0"]["size"] = json!("4096");
            json["segments"]["1"] = json!({
                "type": "crypt", "offset": (DATA + 4096).to_string(), "size": "dynamic", "iv_tweak": "8",
                "encryption": "aes-xts-plain64", "sector_size": 512,
            });
            json["digests"]["0"]["segments"] = json!(["0", "1"]);
        });
    });
    let volume = disks.open(Credential::Passphrase(OLD)).unwrap();
    let begun = volume.begin_reencryption(&[vault], &PLAIN.options());
    assert!(matches!(&begun, Err(Error::UnsupportedHeader(text)) if text.contains("several")), "{begun:?}");

    // Keyslots take all of the room but less than a block.
    let (disks, volume, _) = start(PLAIN, SIZE, &one);
    drop(volume);
    disks.data.edit(|bytes| header::edit_json(bytes, |json| json["config"]["keyslots_size"] = json!("0")));
    let volume = disks.open(Credential::Vault(&one)).unwrap();
    let begun = volume.begin_reencryption(&[vault], &PLAIN.options());
    assert!(matches!(&begun, Err(Error::NoRoom(_))), "{begun:?}");

    // The sectors of an old volume may have any first number.
    let disks = PLAIN.disks(SIZE);
    drop(disks.format(Protector::Passphrase(OLD), PLAIN.format_options()));
    disks.data.edit(|bytes| header::edit_json(bytes, |json| json["segments"]["0"]["iv_tweak"] = json!("8")));
    let volume = disks.open(Credential::Passphrase(OLD)).unwrap();
    let begun = volume.begin_reencryption(&[vault], &PLAIN.options());
    assert!(matches!(begun, Err(Error::UnsupportedHeader(_))), "{begun:?}");
}

#[test]
fn a_small_room_makes_small_zones() {
    let [one, two] = vaults();
    for (resilience, zone) in [(Resilience::Checksum, 4096 / 32 * 512), (Resilience::Journal, 4096)] {
        let case = Case { resilience, ..PLAIN };
        let (disks, volume, plain) = start(case, 2 * SIZE, &one);
        drop(volume);
        disks.data.edit(|bytes| header::edit_json(bytes, |json| json["config"]["keyslots_size"] = json!("4096")));
        let volume = disks.open(Credential::Vault(&one)).unwrap();
        volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &case.options()).unwrap();
        volume.reencrypt_step(1).unwrap();
        disks.header.take_log();
        volume.reencrypt_step(zone).unwrap();
        assert_eq!(volume.reencryption().unwrap().done, 512 + zone, "{resilience:?}");
        // A larger budget takes several zones.
        volume.reencrypt_step(2 * 4096).unwrap();
        assert!(volume.reencryption().unwrap().done >= 512 + zone + 2 * 4096);
        assert!(content(&volume) == plain);
        finish(&volume, 1 << 20);
        assert!(content(&volume) == plain);
        is_ordinary(&disks, 512);
    }
}

#[test]
fn what_a_new_key_has_encrypted_is_counted_from_the_first_zone_on() {
    let [one, two] = vaults();
    let (_, volume, _) = start(PLAIN, SIZE, &one);
    volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()).unwrap();
    assert_eq!(volume.usage().blocks(), 0);
    let mut done = 0;
    while done < SIZE as u64 {
        done = volume.reencrypt_step(16 << 10).unwrap().done;
        assert!(volume.usage().blocks() >= done / 16, "{} blocks after {done} bytes", volume.usage().blocks());
    }
}

#[test]
fn requests_of_engines_with_queues_are_refused_meanwhile() {
    let [one, two] = vaults();
    let (_, volume, plain) = start(PLAIN, SIZE, &one);
    volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()).unwrap();
    let busy = |result: atrest::Result<()>| assert!(matches!(result, Err(Error::Busy { .. })), "{result:?}");
    let mut sectors = [7; 512];
    for _ in 0..3 {
        busy(volume.begin_read(0, 512).map(drop));
        busy(volume.complete_read(0, &mut sectors));
        busy(volume.begin_write(0, &mut sectors).map(drop));
        busy(volume.begin_write_from(0, &[7; 512], &mut sectors).map(drop));
        assert_eq!(sectors, [7; 512]);
        volume.reencrypt_step(16 << 10).unwrap();
    }
    finish(&volume, 1 << 20);
    let at = volume.begin_read(512, 512).unwrap();
    volume.device().read_at(at, &mut sectors).unwrap();
    volume.complete_read(512, &mut sectors).unwrap();
    assert_eq!(sectors, plain[512..1024]);
}

#[test]
fn a_volume_is_reencrypted_again_and_again() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE, &one);
    for (round, new) in SECTOR_SIZES.into_iter().cycle().take(6).enumerate() {
        let vault = if round % 2 == 0 { &two } else { &one };
        let options = Case { new, ..PLAIN }.options();
        volume.begin_reencryption(&[Protector::Vault(vault, "disks"), Protector::Passphrase(NEW)], &options).unwrap();
        volume.reencrypt(|_| std::ops::ControlFlow::Continue(())).unwrap();
        assert!(content(&volume) == plain);
        is_ordinary(&disks, new);
        assert_eq!(Header::load(&disks.data).unwrap().keyslots().len(), 1);
        assert!(content(&disks.open(Credential::Vault(vault)).unwrap()) == plain);
    }
}

#[test]
fn a_device_that_grew_is_reencrypted_to_its_end() {
    let [one, two] = vaults();
    let (disks, volume, plain) = start(PLAIN, SIZE, &one);
    volume.begin_reencryption(&[Protector::Vault(&two, "disks")], &PLAIN.options()).unwrap();
    volume.reencrypt_step(16 << 10).unwrap();
    drop(volume);
    let mut bytes = disks.data.bytes();
    bytes.resize(bytes.len() + SIZE, 0);
    let device = shared(bytes);
    let disks = Disks { header: device.clone(), data: device };
    let volume = disks.open(Credential::Vault(&two)).unwrap();
    assert_eq!(volume.size() as usize, 2 * SIZE);
    let more = noise(SIZE, 77);
    volume.write_at(SIZE as u64, &more).unwrap();
    finish(&volume, 20 << 10);
    assert!(content(&volume) == [plain, more].concat());
    is_ordinary(&disks, 512);
}
