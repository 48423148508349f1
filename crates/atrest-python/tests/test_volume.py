"""Volumes, compared with cryptsetup and with AES-XTS of the package cryptography."""

import io
import os
import struct
import unittest
from pathlib import Path

from common import CHEAP, KEYSLOT, MIB, SECRET, InFolder, options
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from atrest_storage import (
    ClearKey,
    Device,
    FormatOptions,
    Kdf,
    KeyFile,
    KeyslotOptions,
    OpenOptions,
    Passphrase,
    ProtectorId,
    RecoveryPassword,
    ReencryptOptions,
    StartupKey,
    Volume,
    errors,
    hazmat,
)


def decrypted(key: bytes, image: bytes, sector_size: int) -> bytes:
    """The data of a volume, whose sectors are numbered in units of 512 bytes."""
    out = bytearray()
    for at in range(0, len(image), sector_size):
        cipher = Cipher(algorithms.AES(key), modes.XTS(struct.pack("<QQ", at // 512, 0))).decryptor()
        out += cipher.update(image[at : at + sector_size])
    return bytes(out)


class AgainstCryptsetup(InFolder):
    def volume_key(self, path, secret: bytes = b"correct horse") -> bytes:
        """The DEK, as cryptsetup unwraps it."""
        file = self.folder / "volume.key"
        file.unlink(missing_ok=True)
        self.cryptsetup("luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", file, path, secret=secret)
        return file.read_bytes()

    def data(self, path, sector_size: int, length: int, secret: bytes = b"correct horse") -> bytes:
        """The first bytes of the data, without this library."""
        with Device.open(path, read_only=True) as device:
            (segment,) = device.header().segments
        image = path.read_bytes()[segment.offset : segment.offset + length]
        return decrypted(self.volume_key(path, secret), image, sector_size)

    def test_what_it_makes_cryptsetup_opens(self):
        for version, sector_size in [(2, 512), (2, 4096), (1, 512)]:
            with self.subTest(version=version, sector_size=sector_size):
                path = self.folder / f"disk-{version}-{sector_size}"
                content = os.urandom(1 << 16)
                kdf = CHEAP if version == 2 else Kdf("pbkdf2", iterations=1000)
                keyslot = KeyslotOptions(kdf=kdf)
                made = FormatOptions(version=version, sector_size=sector_size, keyslot=keyslot)
                with Volume.format(Device.create(path, 20 * MIB), SECRET, made) as volume:
                    self.assertEqual((volume.sector_size, volume.cipher), (sector_size, "aes-xts-plain64"))
                    volume.write_at(0, content)
                self.cryptsetup("open", "--test-passphrase", path)
                self.assertEqual(self.data(path, sector_size, len(content)), content)
                said = self.cryptsetup("luksUUID", path).decode().strip()
                with Volume.open(path, SECRET) as volume:
                    self.assertEqual(volume.uuid, said)
                    self.assertEqual(volume.read_at(0, len(content)), content)

    def test_what_cryptsetup_makes_it_opens(self):
        for kind, more in [("luks2", ["--sector-size", "4096"]), ("luks2", ["--sector-size", "512"]), ("luks1", [])]:
            with self.subTest(kind=kind, more=more):
                path = self.folder / "disk.img"
                path.write_bytes(bytes(20 * MIB))
                cost = ["--pbkdf-force-iterations", "1000"] + (["--pbkdf", "pbkdf2"] if kind == "luks2" else [])
                arguments = ["--batch-mode", "--type", kind, *cost, "--key-size", "512", *more]
                self.cryptsetup("luksFormat", *arguments, path)
                content = os.urandom(1 << 16)
                with Volume.open(path, SECRET) as volume:
                    sector_size = volume.sector_size
                    volume.write_at(0, content)
                self.assertEqual(sector_size, 4096 if "4096" in more else 512)
                self.assertEqual(self.data(path, sector_size, len(content)), content)

    def test_a_key_of_hazmat_is_cryptsetups(self):
        path = self.folder / "disk.img"
        Volume.format(Device.create(path, 20 * MIB), SECRET, options()).close()
        key = self.volume_key(path)
        dek = hazmat.dek_from_bytes(key)
        self.assertEqual(hazmat.dek_bytes(dek), key)
        with Volume.open(path, dek) as volume:
            self.assertEqual(volume.fingerprint(), dek.fingerprint())
        with self.assertRaises(errors.WrongKey):
            Volume.open(path, hazmat.dek_from_bytes(os.urandom(64)))

    def test_a_header_backup_is_cryptsetups(self):
        path, theirs = self.folder / "disk.img", self.folder / "backup"
        Volume.format(Device.create(path, 20 * MIB), SECRET, options()).close()
        self.cryptsetup("luksHeaderBackup", "--header-backup-file", theirs, path)
        with Volume.open(path, SECRET) as volume:
            ours = volume.header_backup()
        self.assertEqual(ours, theirs.read_bytes())
        with Device.open(path) as device:
            self.assertEqual(device.header_backup(), ours)
            device.erase_header()
            with self.assertRaises(errors.Error):
                Volume.open(device, SECRET)
            device.restore_header(ours)
        self.cryptsetup("open", "--test-passphrase", path)

    def test_protectors_come_and_go(self):
        path, key_file = self.folder / "disk.img", self.folder / "key"
        key_file.write_bytes(os.urandom(64))
        vault = self.vault()
        vault.create_key("disks")
        with Volume.format(Device.create(path, 20 * MIB), vault.key("disks"), options()) as volume:
            self.assertEqual(volume.header().keyslots, [])
            added = volume.add_protector(SECRET, KEYSLOT)
            self.assertEqual(added, ProtectorId("keyslot", 0))
            of_file = volume.add_protector(KeyFile(key_file), KEYSLOT)
            changed = volume.change_keyslot(added.id, Passphrase("another"), KEYSLOT)
            volume.set_priority(changed, "prefer")
            volume.set_label("label", "subsystem")
            header = volume.header()
            self.assertEqual((header.format, header.label, header.subsystem), ("LUKS2", "label", "subsystem"))
            self.assertEqual([slot.kdf for slot in header.keyslots], ["argon2id"] * 2)
            (token,) = header.tokens
            self.assertEqual((token.kind, token.key_url), ("atrest", str(volume.keks()[0])))
        self.cryptsetup("open", "--test-passphrase", path, secret=b"another")
        self.cryptsetup("open", "--test-passphrase", "--key-file", key_file, path, secret=b"")
        with Volume.open(path, KeyFile(key_file)) as volume:
            volume.remove_protector(of_file)
        with self.assertRaises(errors.WrongPassphrase):
            Volume.open(path, KeyFile(key_file))
        with Volume.open(path, vault) as volume:
            volume.remove_protector(ProtectorId("keyslot", changed))
            with self.assertRaises(errors.LastProtector):
                volume.remove_protector(ProtectorId("token", token.id))

    def test_reencryption_tells_its_progress_and_can_be_stopped(self):
        path = self.folder / "disk.img"
        content = os.urandom(40 * MIB)
        with Volume.format(Device.create(path, 60 * MIB), SECRET, options()) as volume:
            volume.write_at(0, content)
            old = volume.fingerprint()
            self.assertIsNone(volume.reencryption())
            volume.begin_reencryption([SECRET], ReencryptOptions(sector_size=4096, keyslot=KEYSLOT))
            told = []
            reached = volume.reencrypt(lambda progress: told.append(progress) or False)
            self.assertEqual(told, [reached])
            self.assertTrue(0 < reached.done < reached.total and not reached.is_finished, reached)

            def fail(_progress):
                raise RuntimeError("of the caller")

            with self.assertRaisesRegex(RuntimeError, "of the caller"):
                volume.reencrypt(fail)
            with self.assertRaises(errors.Misaligned):
                volume.read_at(512, 512)
            self.assertEqual(volume.pread_into(513, bytearray(3)), 3)
        with Volume.open(path, SECRET) as volume:
            self.assertGreater(volume.reencryption().done, reached.done)
            self.assertEqual(volume.read_at(0, len(content)), content)
            self.assertTrue(volume.reencrypt().is_finished)
            self.assertNotEqual(volume.fingerprint(), old)
        self.assertEqual(self.data(path, 4096, len(content)), content)

    def test_data_is_encrypted_where_it_lies_and_decrypted_again(self):
        data, header = self.folder / "data.img", self.folder / "header.img"
        content = os.urandom(4 * MIB)
        data.write_bytes(content)
        made = options(header=Device.create(header, 16 * MIB), data_offset=0)
        with Volume.begin_encryption(data, SECRET, made) as volume:
            self.assertTrue(volume.reencrypt().is_finished)
            self.assertEqual(volume.read_at(0, len(content)), content)
        key = self.volume_key(header)
        self.assertEqual(decrypted(key, data.read_bytes(), 512), content)
        with Volume.open(data, SECRET, OpenOptions(header=Device.open(header))) as volume:
            volume.begin_decryption()
            self.assertTrue(volume.reencrypt().is_finished)
        self.assertEqual(data.read_bytes(), content)


class BitLocker(InFolder):
    def test_a_recovery_password_is_cryptsetups(self):
        path, password = self.folder / "windows.img", RecoveryPassword.generate()
        with Volume.format_bitlocker(Device.create(path, 64 * MIB), password) as volume:
            volume.write_at(0, b"x" * 512)
        self.assertIn(b"BITLK", self.cryptsetup("bitlkDump", path))
        key = self.folder / "bitlocker.key"
        arguments = ["--batch-mode", "--dump-volume-key", "--volume-key-file", key]
        self.cryptsetup("bitlkDump", *arguments, path, secret=password.expose().encode())
        with Volume.open(path, RecoveryPassword(password.expose())) as volume:
            self.assertEqual(volume.read_at(0, 512), b"x" * 512)
            self.assertEqual(volume.header().format, "BitLocker")
        self.assertEqual(len(key.read_bytes()), 64)
        with self.assertRaises(errors.UnsupportedHeader):
            Volume.open(path, hazmat.dek_from_bytes(key.read_bytes()))
        with self.assertRaises(errors.WrongPassphrase):
            Volume.open(path, RecoveryPassword.generate())
        with self.assertRaises(errors.NotFound):
            Volume.open(path, StartupKey(self.folder / "none.BEK"))
        with self.assertRaises(errors.Error):
            Volume.open(path, ClearKey())

    def test_a_startup_key_opens_it_and_protection_is_suspended_and_resumed(self):
        path, stick = self.folder / "windows.img", self.folder / "stick"
        stick.mkdir()
        key = StartupKey.generate(stick)
        self.assertEqual([Path(key.path)], list(stick.iterdir()))
        self.assertRegex(Path(key.path).name, r"^[0-9A-F-]{36}\.BEK$")
        with Volume.format_bitlocker(Device.create(path, 4 * MIB), key) as volume:
            volume.write_at(0, b"x" * 512)
            other = StartupKey.generate(self.folder / "other.bek")
            self.assertEqual(volume.add_protector(other), ProtectorId("keyslot", 1))
            with self.assertRaises(errors.AlreadyExists):
                StartupKey.generate(other.path)
            self.assertEqual(hazmat.suspend_protection(volume), ProtectorId("keyslot", 2))
        with Volume.open(path, ClearKey()) as volume:
            self.assertEqual(volume.read_at(0, 512), b"x" * 512)
            self.assertTrue(volume.resume_protection())
            self.assertFalse(volume.resume_protection())
            volume.change_keyslot(1, RecoveryPassword.generate())
            self.assertEqual([slot.kind for slot in volume.header().keyslots], ["startup key", "recovery password"])
        for gone in [ClearKey(), other]:
            with self.assertRaises(errors.NoSuchProtector):
                Volume.open(path, gone)
        self.cryptsetup("open", "--type", "bitlk", "--test-passphrase", "--key-file", key.path, path)
        with Device.open(path) as device:
            device.erase_header()
        with self.assertRaises(errors.NoSuchProtector):
            Volume.open(path, key)


class Volumes(InFolder):
    def test_a_vault_opens_a_volume_and_its_rotation_touches_no_sector(self):
        vault = self.vault()
        first = vault.create_key("disks")
        path = self.folder / "disk.img"
        with Volume.format(Device.create(path, 20 * MIB), vault.key("disks"), options(context=b"disk-1")) as volume:
            fingerprint = volume.fingerprint()
            volume.write_at(512, b"x" * 512)
            self.assertEqual(volume.keks(), [first])
        before = path.read_bytes()[16 * MIB :]
        second = vault.rotate_key("disks")
        opening = OpenOptions(context=b"disk-1", expect=fingerprint, expect_key="disks")
        with Volume.open(path, vault, opening) as volume:
            self.assertEqual(volume.rotate_kek(vault), second)
        vault.set_enabled(first, False)
        with Volume.open(path, vault, opening) as volume:
            self.assertEqual(volume.read_at(512, 512), b"x" * 512)
        self.assertEqual(path.read_bytes()[16 * MIB :], before)
        for wrong, error in [
            (OpenOptions(context=b"disk-2"), errors.ContextMismatch),
            (OpenOptions(expect=bytes(32)), errors.OtherDek),
            (OpenOptions(expect_key="others"), errors.OtherKey),
        ]:
            with self.assertRaises(error) as raised:
                Volume.open(path, vault, wrong)
            self.assertIsInstance(raised.exception, errors.Replaced)

    def test_a_failure_leaves_the_device_to_the_caller(self):
        with Device.memory(20 * MIB) as device:
            with self.assertRaises(errors.NotLuks):
                Volume.open(device, SECRET)
            Volume.format(device, SECRET, options())
            with self.assertRaisesRegex(ValueError, "taken it over"):
                Volume.open(device, SECRET)

    def test_what_is_no_credential(self):
        for wrong in ["text", b"bytes", None, 5]:
            with self.assertRaisesRegex(TypeError, "a credential is a KeyVault"):
                Volume.open(self.folder / "disk.img", wrong)
            with self.assertRaisesRegex(TypeError, "a protector is a VaultKey"):
                Volume.format(Device.memory(20 * MIB), wrong)

    def test_read_only_closed_and_out_of_bounds(self):
        path = self.folder / "disk.img"
        with Volume.format(Device.create(path, 20 * MIB), SECRET, options()) as volume:
            size = volume.size
            self.assertEqual(size, 4 * MIB)
            for offset, length in [(size, 512), (0, size + 512), (2**64 - 512, 512), (0, 2**62)]:
                with self.assertRaises(errors.OutOfBounds):
                    volume.read_at(offset, length)
            with self.assertRaises(OverflowError):
                volume.read_at(-1, 512)
        self.assertTrue(volume.closed)
        volume.close()
        for call in [volume.sync, volume.header, lambda: volume.read_at(0, 512), lambda: volume.size]:
            with self.assertRaisesRegex(ValueError, "closed"):
                call()
        path.chmod(0o400)
        with Volume.open(path, SECRET, OpenOptions(read_only=True)) as volume:
            self.assertTrue(volume.is_read_only)
            with self.assertRaises(errors.ReadOnly):
                volume.write_at(0, bytes(512))
            with self.assertRaises(io.UnsupportedOperation):
                volume.file().write(b"x")

    def test_a_map_of_written_chunks(self):
        with Volume.format(Device.memory(24 * MIB), SECRET, options(written_map=1 << 16)) as volume:
            self.assertEqual(volume.read_at(1 << 20, 512), bytes(512))
            volume.write_at(1 << 16, b"x" * 512)
            written = [(e.offset, e.length) for e in volume.extents(0, volume.size) if e.is_written]
            self.assertEqual(written, [(1 << 16, 1 << 16)])
            volume.discard(1 << 16, 1 << 16)
            self.assertEqual(volume.read_at(1 << 16, 512), bytes(512))

    def test_zeros_and_resizing(self):
        path = self.folder / "disk.img"
        with Volume.format(Device.create(path, 20 * MIB), SECRET, options()) as volume:
            volume.write_at(0, b"x" * 4096)
            volume.write_zeroes(512, 1024)
            self.assertEqual(volume.read_at(0, 4096), b"x" * 512 + bytes(1024) + b"x" * 2560)
            self.assertEqual(volume.resize(2 * MIB), 2 * MIB)
            self.assertEqual((volume.size, volume.resize()), (2 * MIB, 4 * MIB))

    def test_options_that_cannot_be(self):
        for wrong in [FormatOptions(sector_size=1000), options(data_offset=5), options(dek_algorithm="AES-256-CTR")]:
            with self.assertRaises(errors.InvalidArgument):
                Volume.format(Device.memory(20 * MIB), SECRET, wrong)
        for wrong in [options(dek_algorithm="DES"), options(version=3), options(uuid=b"short")]:
            with self.assertRaises((TypeError, ValueError)):
                Volume.format(Device.memory(20 * MIB), SECRET, wrong)


if __name__ == "__main__":
    unittest.main()
