"""Exceptions: their classes, attributes and messages."""

import inspect
import os
import pickle
import re
import unittest
from pathlib import Path

from common import MIB, SECRET, InFolder, options

from atrest_storage import Device, FileVault, Passphrase, RecoveryPassword, Volume, errors

SOURCE = Path(__file__).parents[3] / "src/error.rs"


class Errors(InFolder):
    def test_each_error_of_the_library_has_a_class(self):
        """But those of managed disks, which this package doesn't have."""
        body = SOURCE.read_text().split("pub enum Error {")[1].split("\n}")[0]
        variants = set(re.findall(r"^    ([A-Z]\w+)(?=[ ,({])", body, re.M))
        managed = {"DiskSuspended", "OlderHeader", "OlderDevice", "NoSuchResource", "ResourceExists", "NotAllowed"}
        classes = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
        renamed = {"Vault": "VaultFailed"}
        self.assertGreater(len(variants), 50)
        self.assertEqual({renamed.get(name, name) for name in variants - managed} - classes, set())
        groups = {"Error", "InvalidArgument", "WrongCredential", "KeyUnusable", "Damaged", "Replaced", "Unsupported"}
        self.assertEqual(classes - groups - {renamed.get(name, name) for name in variants}, set())

    def test_files(self):
        with self.assertRaises(errors.NotFound) as raised:
            FileVault.open(self.folder / "none", SECRET)
        self.assertIsInstance(raised.exception, FileNotFoundError)
        self.assertEqual((raised.exception.errno, Path(raised.exception.filename).name), (2, "none"))
        self.vault()
        with self.assertRaises(FileExistsError):
            self.vault()
        with self.assertRaises(errors.NotAVault):
            (self.folder / "text").write_text("text")
            FileVault.open(self.folder / "text", SECRET)
        with self.assertRaises(errors.Io) as raised:
            Device.open(self.folder)
        self.assertIsInstance(raised.exception, OSError)
        self.assertIn(str(self.folder), str(raised.exception))

    def test_credentials_and_locks(self):
        path = self.folder / "disk.img"
        volume = Volume.format(Device.create(path, 20 * MIB), SECRET, options())
        with self.assertRaises(errors.Busy) as raised:
            Volume.open(path, SECRET)
        self.assertIn("disk.img", raised.exception.what)
        volume.close()
        with self.assertRaises(errors.WrongPassphrase) as raised:
            Volume.open(path, Passphrase(b"swordfish"))
        self.assertIsInstance(raised.exception, errors.WrongCredential)
        self.assertNotIn("swordfish", repr(raised.exception))
        with self.assertRaises(errors.DeviceNotBlank) as raised:
            Volume.format(path, SECRET, options())
        self.assertEqual((raised.exception.offset, type(raised.exception.found)), (0, str))

    def test_what_a_device_is_too_small_for(self):
        path, cut = self.folder / "disk.img", self.folder / "cut.img"
        vault = self.vault()
        vault.create_key("disks")
        Volume.format(Device.create(path, 20 * MIB), vault.key("disks"), options()).close()
        cut.write_bytes(path.read_bytes()[:4096])
        os.truncate(path, 18 * MIB)
        for small, use in [
            ("new-volume", lambda: Volume.format(Device.memory(MIB), SECRET, options())),
            ("header", lambda: Volume.open(cut, vault)),
            ("volume", lambda: Volume.open(path, vault)),
        ]:
            with self.assertRaises(errors.DeviceTooSmall) as raised:
                use()
            self.assertEqual(raised.exception.what, small)
            self.assertGreater(raised.exception.needed, raised.exception.size)

    def test_they_can_be_pickled(self):
        with self.assertRaises(errors.Error) as raised:
            Volume.format(Device.memory(5), SECRET, options())
        again = pickle.loads(pickle.dumps(raised.exception))
        self.assertEqual((type(again), str(again)), (type(raised.exception), str(raised.exception)))
        self.assertEqual(vars(again), vars(raised.exception))

    def test_secrets_are_not_shown(self):
        for secret in [Passphrase(b"swordfish"), Passphrase("swordfish"), RecoveryPassword("swordfish")]:
            self.assertNotIn("swordfish", repr(secret) + str(secret))
            with self.assertRaises(TypeError):
                pickle.dumps(secret)


if __name__ == "__main__":
    unittest.main()
