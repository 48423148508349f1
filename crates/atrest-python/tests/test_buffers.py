"""Buffers in and out: what is taken without a copy, and what is refused."""

import array
import mmap
import unittest

import numpy
from common import MIB, SECRET, options

from atrest_storage import Device, SectorCipher, Volume

KEY = bytes(range(64))


class Buffers(unittest.TestCase):
    def setUp(self) -> None:
        self.volume = Volume.format(Device.memory(20 * MIB), SECRET, options())
        self.content = bytes(n % 251 for n in range(4096))
        self.volume.write_at(0, self.content)

    def test_all_kinds_of_buffers(self):
        anonymous = mmap.mmap(-1, 4096)
        for target in [
            bytearray(4096),
            memoryview(bytearray(4096)),
            array.array("Q", bytes(4096)),
            anonymous,
            numpy.zeros(512, dtype="<u8"),
            numpy.zeros((64, 64), dtype="u1"),
            numpy.zeros(256, dtype=[("Object", "<u8"), ("b", "<u8")]),
            memoryview(bytearray(8192))[2048:6144],
        ]:
            with self.subTest(type=type(target)):
                self.volume.read_into_at(0, target)
                self.assertEqual(bytes(target), self.content)
                self.volume.write_at(4096, target)
                self.assertEqual(self.volume.read_at(4096, 4096), self.content)
                self.assertEqual(self.volume.pwrite(8192 + 3, target), 4096)
                target[:] = target[::-1]
                self.assertEqual(self.volume.pread_into(8192 + 3, target), 4096)
                self.assertEqual(bytes(target), self.content)

    def test_the_bytes_around_a_slice_stay(self):
        room = bytearray(b"x" * 2048)
        self.volume.read_into_at(512, memoryview(room)[512:1024])
        self.assertEqual(room, b"x" * 512 + self.content[512:1024] + b"x" * 1024)

    def test_a_buffer_in_use_cannot_be_resized_and_is_free_afterwards(self):
        room = bytearray(512)
        with memoryview(room) as view:
            self.volume.read_into_at(0, view)
        self.volume.read_into_at(0, room)
        room.extend(b"more")  # which raises BufferError while it is exported
        self.assertEqual(len(room), 516)

    def test_what_is_refused(self):
        for wrong in [memoryview(bytearray(2048))[::2], numpy.zeros((64, 64), dtype="u1")[:, ::2]]:
            for call in [self.volume.read_into_at, self.volume.write_at, self.volume.pread_into, self.volume.pwrite]:
                with self.assertRaisesRegex(BufferError, "contiguous"):
                    call(0, wrong)
        frozen = numpy.zeros(512, dtype="u1")
        frozen.flags.writeable = False
        for wrong in [bytes(512), memoryview(bytes(512)), memoryview(bytearray(512)).toreadonly(), frozen]:
            for call in [self.volume.read_into_at, self.volume.pread_into]:
                with self.assertRaisesRegex(TypeError, "read-only"):
                    call(0, wrong)
            self.volume.write_at(8192, wrong)
        for objects in [numpy.full(64, None, dtype=object), numpy.zeros(32, dtype=[("a", object), ("b", "u8")])]:
            with self.assertRaises((BufferError, ValueError)):
                self.volume.read_into_at(0, objects)
            with self.assertRaises((BufferError, ValueError)):
                self.volume.write_at(0, objects)
        for wrong in ["text", 5, None, [1, 2]]:
            with self.assertRaises(TypeError):
                self.volume.write_at(0, wrong)

    def test_nothing_at_all(self):
        for empty in [b"", bytearray(), memoryview(b""), numpy.zeros(0)]:
            self.volume.write_at(0, empty)
            self.assertEqual(self.volume.pwrite(5, empty), 0)
        self.volume.read_into_at(0, bytearray())
        self.assertEqual(self.volume.read_at(512, 0), b"")
        self.assertEqual(self.volume.pread_into(1 << 60, bytearray(5)), 0)

    def test_source_and_destination_that_share_memory(self):
        cipher = SectorCipher(KEY, sector_size=512, unit="512")
        room = bytearray(2048)
        view = memoryview(room)
        for src, dst in [(view[:512], view[:512]), (view[:1024], view[512:1536]), (view[512:1024], view[:1024])]:
            with self.assertRaisesRegex(ValueError, "share memory"):
                cipher.encrypt_to(0, src, dst)
        cipher.encrypt_to(0, view[:512], view[512:1024])
        self.assertEqual((room[:512], room[1024:]), (bytes(512), bytes(1024)))


if __name__ == "__main__":
    unittest.main()
