"""What the tests share."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from atrest_storage import FileVault, FormatOptions, Kdf, KeyslotOptions, Passphrase, VaultOptions

CHEAP = Kdf("argon2id", memory_kib=64, passes=1, lanes=1)
KEYSLOT = KeyslotOptions(kdf=CHEAP)
SECRET = Passphrase(b"correct horse")
MIB = 1 << 20


def options(**members) -> FormatOptions:
    """Options of a volume that is made fast."""
    return FormatOptions(keyslot=KEYSLOT, **members)


class InFolder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def vault(self, name: str = "keys.vault") -> FileVault:
        return FileVault.create(self.folder / name, SECRET, VaultOptions(kdf=CHEAP))

    def cryptsetup(self, *arguments: object, secret: bytes = b"correct horse") -> bytes:
        """Its output; a failure of it is one of the test."""
        if shutil.which("cryptsetup") is None:
            if os.environ.get("ATREST_REQUIRE_PEERS") == "1":
                self.fail("there is no cryptsetup")
            self.skipTest("there is no cryptsetup")
        ran = subprocess.run(["cryptsetup", *map(str, arguments)], input=secret, capture_output=True, timeout=60)
        self.assertEqual(ran.returncode, 0, ran.stderr.decode())
        return ran.stdout
