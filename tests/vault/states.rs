//! The life of a key in a vault file: enabled, disabled, not yet valid, expired, deleted, purged.

use std::sync::Arc;
use std::time::Duration;

use crate::common::PASSPHRASE;
use atrest::key::{KeyId, KeyKind, KeyVault, WrappedDek};
use atrest::vault::{FileVault, KdfCost, Unlock, VaultOptions, VersionChange};
use atrest::{Error, KeyRefusal, ManualClock, Result, Secret};

const START: u64 = 1_700_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    vault: FileVault,
}

impl Fixture {
    fn new(options: VaultOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let options = options.kdf_cost(KdfCost::new(64, 1, 1));
        let path = folder.path().join("keys.vault");
        let vault = FileVault::create_with(path, Unlock::Passphrase(PASSPHRASE), &options).unwrap();
        let vault = vault.with_clock(clock.clone());
        vault.create_key("disks").unwrap();
        Fixture { folder, clock, vault }
    }

    /// The vault as another process opens it.
    fn again(&self) -> FileVault {
        let path = self.folder.path().join("keys.vault");
        FileVault::open(path, Unlock::Passphrase(PASSPHRASE)).unwrap().with_clock(self.clock.clone())
    }

    fn wrap(&self) -> Result<WrappedDek> {
        self.vault.wrap("disks", &dek())
    }

    /// The answers of both handles for a wrapped DEK.
    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let other = self.again().unwrap(wrapped);
        let this = self.vault.unwrap(wrapped);
        assert_eq!(format!("{this:?}"), format!("{other:?}"));
        if let Ok(Some(dek)) = &this {
            assert_eq!(dek.expose(), self::dek().expose());
        }
        this
    }

    fn version(&self, number: u32) -> KeyId {
        KeyId::new(self.vault.id(), "disks", &number.to_string()).unwrap()
    }
}

fn dek() -> Secret {
    Secret::copy_from(&[0x5a; 64])
}

#[test]
fn a_disabled_version_is_refused_until_it_is_enabled_again() {
    let fixture = Fixture::new(VaultOptions::new());
    let (vault, first) = (&fixture.vault, fixture.version(1));
    let wrapped = fixture.wrap().unwrap();
    vault.set_version(&first, VersionChange::new().enabled(false)).unwrap();
    for error in [fixture.unwrap(&wrapped).unwrap_err(), fixture.wrap().unwrap_err()] {
        assert!(
            matches!(&error, Error::KeyRefused { key, reason: KeyRefusal::Disabled } if *key == first.to_string()),
            "{error:?}"
        );
    }
    assert!(
        matches!(vault.describe("disks", None), Err(Error::KeyRefused { key, reason: KeyRefusal::Disabled }) if key == "disks")
    );
    assert!(!vault.describe("disks", Some("1")).unwrap().unwrap().enabled);
    // A new version wraps. DEKs wrapped by the old one stay out of reach.
    assert_eq!(vault.rotate_key("disks").unwrap(), fixture.version(2));
    assert_eq!(fixture.wrap().unwrap().kek, fixture.version(2));
    assert!(matches!(fixture.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    vault.set_version(&first, VersionChange::new().enabled(true)).unwrap();
    fixture.unwrap(&wrapped).unwrap().unwrap();
}

#[test]
fn the_latest_version_that_may_be_used_wraps() {
    let fixture = Fixture::new(VaultOptions::new());
    let vault = &fixture.vault;
    let wraps = || fixture.wrap().map(|wrapped| wrapped.kek.version().to_owned());
    vault.rotate_key("disks").unwrap();
    vault.rotate_key("disks").unwrap();
    vault.set_version(&fixture.version(3), VersionChange::new().not_before(Some(START + 10))).unwrap();
    vault.set_version(&fixture.version(2), VersionChange::new().expires(Some(START + 5))).unwrap();
    let described = |vault: &FileVault| vault.describe("disks", None).unwrap().unwrap().id.version().to_owned();
    assert_eq!((wraps().unwrap().as_str(), described(vault).as_str()), ("2", "2"));
    fixture.clock.set(START + 4);
    assert_eq!(wraps().unwrap(), "2");
    fixture.clock.set(START + 5);
    assert_eq!((wraps().unwrap().as_str(), described(vault).as_str()), ("1", "1"));
    fixture.clock.set(START + 9);
    assert_eq!(wraps().unwrap(), "1");
    fixture.clock.set(START + 10);
    assert_eq!(wraps().unwrap(), "3");

    // Where none may be used, the latest says why, and the latest enabled one is described.
    fixture.clock.set(START + 6);
    vault.set_version(&fixture.version(1), VersionChange::new().enabled(false)).unwrap();
    assert!(
        matches!(wraps(), Err(Error::KeyRefused { key, reason: KeyRefusal::NotYetValid }) if key == fixture.version(3).to_string())
    );
    assert_eq!(described(vault), "3");
    vault.set_version(&fixture.version(3), VersionChange::new().enabled(false)).unwrap();
    let said = vault.describe("disks", None).unwrap().unwrap();
    assert_eq!((said.id, said.expires, said.kind), (fixture.version(2), Some(START + 5), KeyKind::Aes256));
}

#[test]
fn an_expired_version_unwraps_unless_the_vault_was_told_otherwise() {
    for refuse in [false, true] {
        let fixture = Fixture::new(VaultOptions::new().refuse_expired(refuse));
        let wrapped = fixture.wrap().unwrap();
        fixture.vault.set_version(&fixture.version(1), VersionChange::new().expires(Some(START + 60))).unwrap();
        fixture.unwrap(&wrapped).unwrap();
        fixture.clock.advance(Duration::from_secs(60));
        assert!(matches!(fixture.wrap(), Err(Error::KeyRefused { reason: KeyRefusal::Expired, .. })));
        match fixture.unwrap(&wrapped) {
            Ok(Some(_)) => assert!(!refuse),
            Err(Error::KeyRefused { key, reason: KeyRefusal::Expired }) => {
                assert!(refuse && key == fixture.version(1).to_string())
            }
            other => panic!("{other:?}"),
        }
        fixture.vault.set_version(&fixture.version(1), VersionChange::new().expires(None)).unwrap();
        fixture.unwrap(&wrapped).unwrap();
    }
}

#[test]
fn a_version_that_is_not_yet_valid_neither_wraps_nor_unwraps() {
    let fixture = Fixture::new(VaultOptions::new());
    let wrapped = fixture.wrap().unwrap();
    let first = fixture.version(1);
    fixture.vault.set_version(&first, VersionChange::new().not_before(Some(START + 60))).unwrap();
    assert!(matches!(fixture.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::NotYetValid, .. })));
    assert!(matches!(fixture.wrap(), Err(Error::KeyRefused { reason: KeyRefusal::NotYetValid, .. })));
    fixture.clock.advance(Duration::from_secs(60));
    fixture.unwrap(&wrapped).unwrap();
    // A version can't expire before it is valid, whichever date is changed.
    for change in [
        VersionChange::new().expires(Some(START + 60)),
        VersionChange::new().expires(Some(0)),
        VersionChange::new().not_before(Some(9)).expires(Some(9)),
    ] {
        assert!(matches!(fixture.vault.set_version(&first, change), Err(Error::InvalidOption(_))));
    }
    fixture.vault.set_version(&first, VersionChange::new().not_before(None).expires(Some(1))).unwrap();
    let missing = fixture.vault.set_version(&fixture.version(2), VersionChange::new());
    assert!(matches!(missing, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
}

#[test]
fn a_deleted_key_can_be_recovered_until_it_is_purged() {
    // Behaviour 16
    let fixture = Fixture::new(VaultOptions::new().retention_days(7));
    let vault = &fixture.vault;
    vault.create_key("tapes").unwrap();
    let (wrapped, first) = (fixture.wrap().unwrap(), fixture.version(1));
    vault.delete_key("disks").unwrap();
    assert!(
        matches!(fixture.unwrap(&wrapped), Err(Error::KeyRefused { key, reason: KeyRefusal::Deleted }) if key == first.to_string())
    );
    for refused in [
        fixture.wrap().map(drop),
        vault.describe("disks", None).map(drop),
        vault.describe("disks", Some("1")).map(drop),
        vault.create_key("disks").map(drop),
        vault.import_key("disks", &Secret::zeroed(32)).map(drop),
        vault.rotate_key("disks").map(drop),
        vault.set_version(&first, VersionChange::new().enabled(true)),
        vault.hazmat_destroy_version(&first),
        vault.delete_key("disks"),
    ] {
        assert!(matches!(refused, Err(Error::KeyRefused { reason: KeyRefusal::Deleted, .. })), "{refused:?}");
    }
    assert_eq!(vault.keys().unwrap().iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["tapes"]);
    let deleted = fixture.again().deleted_keys().unwrap();
    assert_eq!(deleted.len(), 1);
    assert_eq!((deleted[0].name.as_str(), deleted[0].deleted), ("disks", START));
    assert_eq!(deleted[0].retained_until, START + 7 * 24 * 60 * 60);

    // Long after its retention nothing is lost yet.
    fixture.clock.advance(100 * DAY);
    vault.recover_key("disks").unwrap();
    fixture.unwrap(&wrapped).unwrap().unwrap();
    assert!(matches!(vault.recover_key("disks"), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
    assert!(
        matches!(vault.hazmat_purge_key("disks"), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })),
        "a key in use was purged"
    );

    vault.delete_key("disks").unwrap();
    vault.hazmat_purge_key("disks").unwrap();
    assert!(matches!(fixture.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
    assert!(matches!(vault.recover_key("disks"), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
    assert!(vault.deleted_keys().unwrap().is_empty());
    // The name is free, and the old URL never names the new key.
    assert_eq!(vault.create_key("disks").unwrap(), fixture.version(2));
    assert!(matches!(fixture.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })));
    fixture.unwrap(&fixture.wrap().unwrap()).unwrap().unwrap();
}

#[test]
fn purge_protection_keeps_a_key_until_its_retention_is_over() {
    let fixture = Fixture::new(VaultOptions::new().retention_days(7).purge_protection(true));
    let vault = &fixture.vault;
    let wrapped = fixture.wrap().unwrap();
    assert!(matches!(vault.hazmat_destroy_version(&fixture.version(1)), Err(Error::PurgeProtected { .. })));
    vault.delete_key("disks").unwrap();
    fixture.clock.advance(7 * DAY - Duration::from_secs(1));
    assert!(matches!(vault.hazmat_purge_key("disks"), Err(Error::PurgeProtected { key }) if key == "disks"));
    vault.recover_key("disks").unwrap();
    fixture.unwrap(&wrapped).unwrap().unwrap();
    // Deleted anew, its retention begins anew.
    vault.delete_key("disks").unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    assert!(matches!(vault.hazmat_purge_key("disks"), Err(Error::PurgeProtected { .. })));
    fixture.clock.advance(7 * DAY);
    vault.hazmat_purge_key("disks").unwrap();
}

#[test]
fn purge_protection_can_be_turned_on_later() {
    let fixture = Fixture::new(VaultOptions::new());
    assert!(!fixture.vault.properties().unwrap().purge_protection);
    fixture.vault.enable_purge_protection().unwrap();
    assert!(fixture.again().properties().unwrap().purge_protection);
    fixture.vault.delete_key("disks").unwrap();
    fixture.clock.advance(89 * DAY);
    assert!(matches!(fixture.vault.hazmat_purge_key("disks"), Err(Error::PurgeProtected { .. })));
    fixture.clock.advance(DAY);
    fixture.vault.hazmat_purge_key("disks").unwrap();
}

#[test]
fn what_a_vault_was_told_is_there_after_a_reopen_and_in_its_urls() {
    // Behaviours 15, 16
    let id = "https://contoso.vault.example";
    let options = VaultOptions::new().id(id).region("westeurope").tenant("contoso").retention_days(30);
    let fixture = Fixture::new(options);
    for vault in [&fixture.vault, &fixture.again()] {
        let said = vault.properties().unwrap();
        assert_eq!((said.id.as_str(), said.retention_days), (id, 30));
        assert_eq!((said.region.as_deref(), said.tenant.as_deref()), (Some("westeurope"), Some("contoso")));
        assert_eq!(vault.keys().unwrap()[0].versions[0].id.to_string(), format!("{id}/keys/disks/1"));
    }
    fixture.unwrap(&fixture.wrap().unwrap()).unwrap().unwrap();
    // Another vault's key of the same name is not its own.
    let mut wrapped = fixture.wrap().unwrap();
    wrapped.kek = KeyId::new("https://fabrikam.vault.example", "disks", "1").unwrap();
    assert!(fixture.unwrap(&wrapped).unwrap().is_none());
}

#[test]
fn options_out_of_bounds_are_refused_before_a_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let create = |options| FileVault::create_with(&path, Unlock::Passphrase(PASSPHRASE), &options).map(drop);
    for options in [
        VaultOptions::new().retention_days(6),
        VaultOptions::new().retention_days(91),
        VaultOptions::new().region(""),
        VaultOptions::new().tenant("two words"),
        VaultOptions::new().region(&"x".repeat(128)),
    ] {
        assert!(matches!(create(options.clone()), Err(Error::InvalidOption(_))), "{options:?}");
    }
    for id in ["", "a b", &"x".repeat(513)] {
        assert!(matches!(create(VaultOptions::new().id(id)), Err(Error::InvalidName(_))), "{id:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_version_that_is_told_wraps_while_it_may_be_used_and_no_other_does() {
    let fixture = Fixture::new(VaultOptions::new());
    fixture.vault.rotate_key("disks").unwrap();
    let (first, second) = (fixture.version(1), fixture.version(2));
    for vault in [&fixture.vault as &dyn KeyVault, &fixture.again()] {
        let wrapped = vault.wrap_version(&first, &dek()).unwrap();
        assert_eq!(wrapped.kek, first);
        assert_eq!(fixture.unwrap(&wrapped).unwrap().unwrap().expose(), dek().expose());
    }
    fixture.vault.set_version(&first, VersionChange::new().enabled(false)).unwrap();
    assert!(matches!(
        fixture.vault.wrap_version(&first, &dek()),
        Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })
    ));
    assert_eq!(fixture.vault.wrap_version(&second, &dek()).unwrap().kek, second);
    assert!(matches!(
        fixture.vault.wrap_version(&fixture.version(3), &dek()),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    let elsewhere = KeyId::new("https://fabrikam.vault.example", "disks", "2").unwrap();
    assert!(matches!(
        fixture.vault.wrap_version(&elsewhere, &dek()),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    let last = fixture.vault.audit().unwrap().last().unwrap().unwrap();
    assert_eq!((last.operation.as_str(), last.version.as_deref()), ("wrapKey", Some("2")));
}
