"""The file object, compared with a bytearray, and by the rules of the module io."""

import errno
import io
import os
import random
import threading
import unittest

from common import MIB, SECRET, InFolder, options

from atrest_storage import Device, Volume, VolumeFile


class Files(InFolder):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "disk.img"
        self.volume = Volume.format(Device.create(self.path, 20 * MIB), SECRET, options(sector_size=4096))
        self.addCleanup(self.volume.close)
        self.volume.write_zeroes(0, self.volume.size)

    def test_any_byte_as_a_bytearray_has_it(self):
        model = bytearray(self.volume.size)
        random.seed(1)
        file = self.volume.file()
        for _ in range(400):
            length = random.choice([1, 7, 511, 4095, 4096, 4097, 8192, 20000])
            at = random.choice([random.randrange(len(model)), random.randrange(len(model) // 4096) * 4096])
            file.seek(at)
            if random.random() < 0.5:
                data = random.randbytes(length)
                written = file.write(data)
                self.assertEqual(written, min(length, len(model) - at))
                model[at : at + written] = data[:written]
            else:
                self.assertEqual(file.read(length), model[at : at + length])
            self.assertEqual(file.tell(), min(at + length, len(model)))
        file.seek(0)
        self.assertEqual(file.readall(), model)
        self.assertEqual(file.read(5), b"")
        file.flush()
        self.volume.close()
        with Volume.open(self.path, SECRET) as volume:
            self.assertEqual(volume.read_at(0, len(model)), model)

    def test_it_is_a_raw_file(self):
        file = self.volume.file()
        self.assertIsInstance(file, VolumeFile)
        self.assertIsInstance(file, io.RawIOBase)
        self.assertTrue(file.readable() and file.writable() and file.seekable())
        self.assertFalse(file.isatty())
        with self.assertRaises(io.UnsupportedOperation):
            file.fileno()
        for size in [(), (0,), (5,)]:
            with self.assertRaises(io.UnsupportedOperation):
                file.truncate(*size)
        self.assertEqual(file.seek(-5, os.SEEK_END), self.volume.size - 5)
        self.assertEqual(file.seek(2, os.SEEK_CUR), self.volume.size - 3)
        # It ends as a disk does: first with a part, then with no room.
        self.assertEqual(file.write(b"12345"), 3)
        with self.assertRaises(OSError) as raised:
            file.write(b"45")
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        self.assertEqual((file.write(b""), file.read(), file.readinto(bytearray(3))), (0, b"", 0))
        self.assertEqual(file.seek(1 << 40), 1 << 40)
        self.assertEqual(file.read(), b"")
        for offset, whence in [(-1, 0), (-self.volume.size - 1, 2), (1 << 63, 0)]:
            with self.assertRaises(OSError):
                file.seek(offset, whence)
        with self.assertRaises(ValueError):
            file.seek(0, 9)
        self.assertEqual(file.tell(), 1 << 40)

    def test_closing(self):
        file = self.volume.file()
        file.close()
        file.close()
        self.assertTrue(file.closed and not self.volume.closed)
        for call in [file.tell, file.read, lambda: file.write(b"x"), lambda: file.seek(0), file.readable, file.flush]:
            with self.assertRaises(ValueError):
                call()
        with self.volume.file(closefd=True) as file:
            file.write(b"x")
        self.assertTrue(self.volume.closed)
        with Volume.open(self.path, SECRET) as volume:
            self.assertEqual(volume.file().read(2), b"x\0")
            left = volume.file()
        del left  # of a volume that is closed: nothing is raised in its finalizer

    def test_buffered_and_text(self):
        with io.BufferedRandom(self.volume.file()) as file:
            for n in range(3000):
                file.write(b"%06d\n" % n)
            file.seek(7 * 1000)
            self.assertEqual(file.readline(), b"001000\n")
            file.seek(7 * 1000)
            file.write(b"xxxxxx")
        with io.BufferedReader(self.volume.file()) as file:
            lines = file.read(7 * 3000).splitlines()
        self.assertEqual((lines[999], lines[1000], lines[1001]), (b"000999", b"xxxxxx", b"001001"))
        with io.TextIOWrapper(io.BufferedReader(self.volume.file()), encoding="ascii") as text:
            self.assertEqual(next(text), "000000\n")

    def test_parts_of_one_sector_by_many_threads(self):
        def fill(n: int) -> None:
            for _ in range(40):
                for at in range(n, 4096, 8):
                    self.volume.pwrite(at, bytes([n + 1]))

        threads = [threading.Thread(target=fill, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        # Whole sectors beside them, too.
        for _ in range(200):
            self.volume.write_at(4096, b"y" * 4096)
        for thread in threads:
            thread.join()
        self.assertEqual(self.volume.read_at(0, 4096), bytes(range(1, 9)) * 512)
        self.assertEqual(self.volume.read_at(4096, 4096), b"y" * 4096)


if __name__ == "__main__":
    unittest.main()
