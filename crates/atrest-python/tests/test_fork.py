"""A forked child has none of its parent's secrets, and says so."""

import os
import unittest

from common import MIB, SECRET, InFolder, options

from atrest_storage import Dek, Device, Envelope, FileVault, Passphrase, Volume, errors, hazmat


class Forks(InFolder):
    def test_everything_is_refused_in_a_child_that_can_open_it_again(self):
        vault = self.vault()
        vault.create_key("disks")
        path = self.folder / "disk.img"
        volume = Volume.format(Device.create(path, 20 * MIB), vault.key("disks"), options())
        other = self.folder / "other.img"
        Volume.format(Device.create(other, 20 * MIB), vault.key("disks"), options()).close()
        dek = Dek.generate()
        envelope = Envelope.seal(dek, vault.key("disks"), b"")
        cipher = dek.sector_cipher(sector_size=512, unit="512")

        def refused_or_new() -> None:
            for call in [
                lambda: volume.read_at(0, 512),
                lambda: volume.write_at(0, bytes(512)),
                lambda: volume.fingerprint(),
                lambda: vault.create_key("more"),
                lambda: envelope.unseal(vault, b""),
                lambda: cipher.encrypt(0, bytearray(512)),
                lambda: hazmat.dek_bytes(dek),
                lambda: dek == dek,
                lambda: Volume.open(other, SECRET),
                lambda: FileVault.open(vault.path, SECRET),
            ]:
                with self.assertRaises(errors.Forked):
                    call()
            again = FileVault.open(vault.path, Passphrase(b"correct horse"))
            with Volume.open(other, again) as opened:
                opened.write_at(0, b"x" * 512)

        child = os.fork()
        if child == 0:
            try:
                refused_or_new()
                os._exit(0)
            except BaseException as error:
                os.write(2, f"in the child: {error!r}\n".encode())
                os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        volume.write_at(0, bytes(512))
        volume.close()
        with Volume.open(other, vault) as opened:
            self.assertEqual(opened.read_at(0, 512), b"x" * 512)


if __name__ == "__main__":
    unittest.main()
