"""Ciphers, envelopes and file prefixes, compared with the package cryptography."""

import os
import struct
import unittest

from common import InFolder
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from atrest_storage import Dek, Device, Envelope, FilePrefix, SectorCipher, errors, hazmat


def xts(key: bytes, number: int, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.XTS(struct.pack("<QQ", number, 0))).encryptor().update(data)


class Ciphers(InFolder):
    def test_sectors_as_cryptography_has_them(self):
        for key_len in [32, 64]:
            for size, unit, step in [(512, "512", 1), (4096, "512", 8), (4096, "sector", 1), (4096, "512-any-offset", 8)]:
                key, data = os.urandom(key_len), os.urandom(4 * size)
                first = 8 * 12345
                want = b"".join(xts(key, first + n * step, data[n * size : (n + 1) * size]) for n in range(4))
                cipher = SectorCipher(key, sector_size=size, unit=unit)
                self.assertEqual(cipher.sector_size, size)
                out = bytearray(len(data))
                cipher.encrypt_to(first, data, out)
                self.assertEqual(out, want)
                cipher.decrypt(first, out)
                self.assertEqual(out, data)
                cipher.encrypt(first, out)
                back = bytearray(len(data))
                cipher.decrypt_to(first, out, back)
                self.assertEqual((out, back), (want, data))
                # A thread counts ahead of what it encrypts.
                self.assertGreaterEqual(cipher.usage().blocks, 2 * len(data) // 16)

    def test_a_stream_as_cryptography_has_it(self):
        key, nonce, data = os.urandom(32), os.urandom(16), os.urandom(1000)
        cipher = hazmat.dek_from_bytes(key, "AES-256-CTR").stream_cipher(nonce)
        want = Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(data)
        out = bytearray(1000)
        cipher.apply_to(0, data, out)
        self.assertEqual(out, want)
        part = bytearray(data[333:777])
        cipher.apply(333, part)
        self.assertEqual(part, want[333:777])

    def test_what_a_cipher_refuses(self):
        for key, error in [(bytes(63), errors.KeyLength), (b"x" * 64, errors.EqualKeyHalves)]:
            with self.assertRaises(error):
                SectorCipher(key, sector_size=512, unit="512")
        key = bytes(range(64))
        with self.assertRaises(errors.SectorSize):
            SectorCipher(key, sector_size=7, unit="512")
        with self.assertRaises(ValueError):
            SectorCipher(key, sector_size=512, unit="bytes")
        cipher = SectorCipher(key, sector_size=4096, unit="512")
        with self.assertRaises(errors.SectorNumber):
            cipher.encrypt(1, bytearray(4096))
        with self.assertRaises(errors.PartialSector) as raised:
            cipher.encrypt(0, bytearray(5000))
        self.assertEqual((raised.exception.len, raised.exception.sector_size), (5000, 4096))
        with self.assertRaises(errors.LengthMismatch):
            cipher.encrypt_to(0, bytes(4096), bytearray(8192))

    def test_envelopes(self):
        vault = self.vault()
        id = vault.create_key("chunks")
        dek = Dek.generate("AES-128-XTS")
        stored = bytes(Envelope.seal(dek, vault.key("chunks"), b"chunk 7"))
        envelope = Envelope.from_bytes(bytearray(stored))
        self.assertEqual((envelope.kek, envelope.dek_algorithm, envelope.context), (id, "AES-128-XTS", b"chunk 7"))
        self.assertEqual(envelope.unseal(vault, b"chunk 7"), dek)
        self.assertNotEqual(dek, Dek.generate("AES-128-XTS"))
        self.assertNotIn(hazmat.dek_bytes(dek), stored)
        with self.assertRaises(errors.ContextMismatch):
            envelope.unseal(vault, b"chunk 8")
        with self.assertRaises(errors.InvalidEnvelope):
            Envelope.from_bytes(stored[:-1])
        altered = bytearray(stored)
        altered[-40] ^= 1
        with self.assertRaises(errors.Error):
            Envelope.from_bytes(altered).unseal(vault, b"chunk 7")

    def test_file_prefixes(self):
        vault = self.vault()
        vault.create_key("tables")
        prefix, cipher = FilePrefix.create(vault.key("tables"), b"db")
        data = bytearray(b"what the engine writes")
        cipher.apply(100, data)
        stored = bytes(prefix)
        self.assertEqual(len(stored), FilePrefix.LEN)
        path = self.folder / "file"
        path.write_bytes(stored + bytes(100) + data)
        second = vault.rotate_key("tables")
        with Device.open(path) as device:
            self.assertEqual(FilePrefix.rotate_kek(device, vault, b"db"), second)
        with path.open("rb") as file:
            again = FilePrefix.from_bytes(file.read(FilePrefix.LEN))
            file.seek(100, 1)
            found = bytearray(file.read())
        self.assertEqual((again.kek, again.context), (second, b"db"))
        again.expect(again.fingerprint(vault, b"db")).open(vault, b"db").apply(100, found)
        self.assertEqual(found, b"what the engine writes")
        with self.assertRaises(errors.OtherDek):
            again.expect(bytes(32)).open(vault, b"db")
        with self.assertRaises(errors.UnsupportedAlgorithm):
            again.open_sectors(vault, b"db", sector_size=4096, unit="sector")

        prefix, cipher = FilePrefix.create_sectors(vault.key("tables"), b"", sector_size=4096, unit="sector")
        page = bytearray(b"p" * 4096)
        cipher.encrypt(3, page)
        prefix.open_sectors(vault, b"", sector_size=4096, unit="sector").decrypt(3, page)
        self.assertEqual(page, b"p" * 4096)


if __name__ == "__main__":
    unittest.main()
