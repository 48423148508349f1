"""Vault files: keys, identities, audit, URLs."""

import unittest

from common import CHEAP, MIB, SECRET, InFolder, options

from atrest_storage import (
    Device,
    FileVault,
    KeyFile,
    KeyVault,
    Passphrase,
    VaultOptions,
    Volume,
    any_vault,
    errors,
    hazmat,
    open_vault,
    vault_schemes,
)


class Vaults(InFolder):
    def test_keys_live_and_die(self):
        vault = self.vault()
        first = vault.create_key("disks")
        self.assertEqual(str(first), f"{vault.id}/keys/disks/1")
        second = vault.rotate_key("disks")
        imported = vault.import_key("given", bytes(range(32)))
        self.assertEqual((second.version, imported.key), ("2", "given"))
        disks, given = sorted(vault.keys(), key=lambda key: key.name)
        self.assertEqual([version.id for version in disks.versions], [first, second])
        self.assertTrue(given.versions[0].is_imported and not disks.versions[0].is_imported)
        self.assertEqual(vault.describe("disks").id, second)
        vault.set_enabled(str(second), False)
        self.assertFalse(vault.describe("disks", "2").enabled)
        vault.set_validity(second, expires=1)
        self.assertEqual(vault.describe("disks", "2").expires, 1)
        vault.delete_key("disks")
        self.assertEqual([key.name for key in vault.deleted_keys()], ["disks"])
        vault.recover_key("disks")
        self.assertEqual(vault.deleted_keys(), [])
        vault.delete_key("disks")
        hazmat.purge_key(vault, "disks")
        self.assertEqual([key.name for key in vault.keys()], ["given"])
        with self.assertRaises(errors.KeyExists):
            vault.import_key("given", bytes(32))
        with self.assertRaises(ValueError):
            vault.create_key("rsa", "RSA-1")

    def test_why_a_key_is_refused(self):
        vault = self.vault()
        id = vault.create_key("disks")
        vault.create_key("others")
        device = Device.memory(20 * MIB)
        for spoil, reason in [
            (lambda: vault.set_enabled(id, False), "key-disabled"),
            (lambda: vault.delete_key("disks"), "key-deleted"),
        ]:
            spoil()
            with self.assertRaises(errors.KeyRefused) as raised:
                Volume.format(device, vault.key("disks"), options())
            self.assertEqual(raised.exception.reason, reason)
            self.assertIn("disks", raised.exception.key)
            self.assertIsInstance(raised.exception, errors.KeyUnusable)
        with self.assertRaises(errors.KeyRefused) as raised:
            Volume.format(device, vault.key("none"), options())
        self.assertEqual(raised.exception.reason, "no-such-key")
        with self.assertRaises(errors.KeyRefused) as raised:
            Volume.format(device, vault.as_identity("guest").key("others"), options())
        self.assertEqual(raised.exception.reason, "access-denied")

    def test_identities_and_the_audit_log(self):
        vault = self.vault()
        vault.create_key("disks")
        guest = vault.as_identity("guest")
        vault.grant("guest", ["get"])
        self.assertEqual([(grant.identity, grant.operations) for grant in vault.grants()], [("guest", ["get"])])
        self.assertEqual(guest.describe("disks").kind, "AES-256")
        vault.grant("guest")
        Volume.format(Device.memory(20 * MIB), guest.key("disks"), options())
        vault.revoke("guest", ["wrapKey"])
        vault.revoke("guest")
        with self.assertRaises(errors.KeyRefused):
            guest.describe("disks")
        entries = list(vault.audit())
        self.assertEqual([entry.seq for entry in entries], list(range(1, len(entries) + 1)))
        last = entries[-1]
        self.assertEqual((last.identity, last.operation, last.key, last.outcome), ("guest", "get", "disks", "access-denied"))
        head = vault.audit_head()
        archive = self.folder / "archive"
        vault.archive_audit(archive)
        self.assertTrue(archive.exists())
        self.assertEqual([entry.operation for entry in vault.audit(including=head)], [])
        log = self.folder / "keys.vault.audit"
        vault.describe("disks")
        log.write_bytes(log.read_bytes().replace(b"get", b"got"))
        with self.assertRaises(errors.DamagedVault):
            list(vault.audit())
        with self.assertRaises(ValueError):
            vault.grant("guest", ["everything"])

    def test_unlocking(self):
        key = self.folder / "root.key"
        FileVault.generate_key_file(key)
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        path = self.folder / "keys.vault"
        made = VaultOptions(id="https://vault.example", region="here", retention_days=7, purge_protection=True)
        vault = FileVault.open_or_create(path, KeyFile(key), made)
        again = FileVault.open_or_create(path, KeyFile(key))
        properties = again.properties()
        self.assertEqual((again.id, vault.id, properties.region), ("https://vault.example",) * 2 + ("here",))
        self.assertTrue(properties.purge_protection)
        vault.change_unlock(SECRET, CHEAP)
        with self.assertRaises(errors.WrongVaultPassphrase):
            FileVault.open(path, Passphrase("wrong"))
        self.assertEqual(FileVault.open(path, Passphrase(bytearray(b"correct horse"))).id, vault.id)
        with self.assertRaisesRegex(TypeError, "Passphrase or a KeyFile"):
            FileVault.open(path, b"correct horse")

    def test_urls(self):
        vault = self.vault()
        id = vault.create_key("disks")
        url = f"file:{self.folder}/keys.vault"
        asked = []
        opened = open_vault(url, secrets=lambda name: asked.append(name) or b"correct horse")
        self.assertIsInstance(opened, FileVault)
        self.assertEqual((opened.describe("disks").id, asked), (id, ["ATREST_PASSPHRASE"]))
        self.assertIsInstance(open_vault(url, secrets=lambda _: "correct horse", deadline=1.5), KeyVault)

        def fail(_name):
            raise RuntimeError("of the caller")

        with self.assertRaisesRegex(RuntimeError, "of the caller"):
            open_vault(url, secrets=fail)
        self.assertIn("file:", vault_schemes())
        with self.assertRaises(errors.InvalidOption) as raised:
            open_vault("nothing://secret-in-a-url")
        self.assertNotIn("secret-in-a-url", str(raised.exception))

    def test_several_vaults_as_one(self):
        one, two = self.vault("one"), self.vault("two")
        two.create_key("disks")
        path = self.folder / "disk.img"
        Volume.format(Device.create(path, 20 * MIB), two.key("disks"), options()).close()
        with self.assertRaises(errors.Error):
            Volume.open(path, one)
        with Volume.open(path, any_vault([one, two])) as volume:
            self.assertEqual(volume.size, 4 * MIB)


if __name__ == "__main__":
    unittest.main()
