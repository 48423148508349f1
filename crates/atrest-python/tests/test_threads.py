"""Other threads run during calls: where they couldn't, these tests hang or fail."""

import fcntl
import os
import termios
import threading
import time
import unittest

from common import MIB, SECRET, InFolder, options

from atrest_storage import Device, FileVault, Kdf, KeyFile, Passphrase, SectorCipher, VaultOptions, Volume


class Threads(InFolder):
    def overlaps(self, call) -> None:
        """Python runs in this thread for at least half of the time that the call takes in another."""
        span, seen = [], []

        def work() -> None:
            began = time.monotonic()
            call()
            span.extend([began, time.monotonic()])

        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            seen.append(time.monotonic())
        worker.join()
        began, ended = span
        gaps = [b - a for a, b in zip(seen, seen[1:]) if began < b and a < ended]
        self.assertTrue(gaps)
        self.assertLess(max(gaps), (ended - began) / 2, f"of {ended - began} s")

    def test_a_key_file_that_another_thread_fills(self):
        path, fifo = self.folder / "disk.img", self.folder / "fifo"
        Volume.format(Device.create(path, 20 * MIB), SECRET, options()).close()
        os.mkfifo(fifo)
        opened = []
        thread = threading.Thread(target=lambda: opened.append(Volume.open(path, KeyFile(fifo))))
        # For both directions, so that it doesn't wait, and is there first: a pipe without a writer reads as empty.
        writer = os.open(fifo, os.O_RDWR)
        thread.start()
        os.write(writer, b"correct horse")
        # The reader waits for the end: with the lock of the interpreter held, it would wait for ever.
        while fcntl.ioctl(writer, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.001)
        os.close(writer)
        thread.join()
        self.assertEqual(opened[0].size, 4 * MIB)

    def test_sectors_of_a_cipher(self):
        cipher = SectorCipher(bytes(range(64)), sector_size=4096, unit="512")
        room = bytearray(256 * MIB)

        def call() -> None:
            for _ in range(2):
                cipher.encrypt(0, room)

        self.overlaps(call)

    def test_a_passphrase_that_is_stretched(self):
        kdf = Kdf("pbkdf2", iterations=2_000_000)
        path = self.folder / "vault"
        self.overlaps(lambda: FileVault.create(path, Passphrase("x"), VaultOptions(kdf=kdf)))

    def test_data_of_a_volume(self):
        volume = Volume.format(Device.memory(272 * MIB), SECRET, options())
        room = bytearray(256 * MIB)
        self.overlaps(lambda: volume.write_at(0, room))
        self.overlaps(lambda: volume.read_into_at(0, room))
        self.overlaps(lambda: volume.read_at(0, len(room)))


if __name__ == "__main__":
    unittest.main()
