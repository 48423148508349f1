"""A volume as a file."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer as _Buffer

    from ._native import Volume


class VolumeFile(io.RawIOBase):
    """A volume as a raw file that reads and writes at any byte: `volume.file()` makes one.

    Its size is the volume's and can't change. Wrapped in io.BufferedRandom it is fast for small pieces, too. `flush` syncs the
    volume, and so does `close`. As with other raw files, threads share the position; `pread_into` and `pwrite` of the volume
    need none.
    """

    def __init__(self, volume: Volume, closefd: bool = False) -> None:
        self._volume = volume
        self._closefd = closefd
        self._position = 0

    @property
    def volume(self) -> Volume:
        """The volume."""
        return self._volume

    def readable(self) -> bool:
        self._check_open()
        return True

    def writable(self) -> bool:
        self._check_open()
        return not self._volume.is_read_only

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._volume.size}
        if whence not in bases:
            raise ValueError(f"whence is 0, 1 or 2, not {whence!r}")
        position = bases[whence] + offset
        if not 0 <= position < 1 << 63:
            raise OSError(errno.EINVAL, f"the position {position} is out of range")
        self._position = position
        return position

    def readinto(self, buffer: _Buffer, /) -> int:
        self._check_open()
        count = self._volume.pread_into(self._position, buffer)
        self._position += count
        return count

    def readall(self) -> bytes:
        self._check_open()
        rest = bytearray(max(0, self._volume.size - self._position))
        count = self.readinto(rest)
        return bytes(memoryview(rest)[:count])

    def write(self, data: _Buffer, /) -> int:
        self._check_open()
        if not self.writable():
            raise io.UnsupportedOperation("the volume was opened read-only")
        length = memoryview(data).nbytes
        count = self._volume.pwrite(self._position, data)
        if count == 0 and length > 0:
            raise OSError(errno.ENOSPC, f"the volume ends at byte {self._volume.size}")
        self._position += count
        return count

    def truncate(self, size: int | None = None, /) -> int:
        self._check_open()
        raise io.UnsupportedOperation("a volume keeps its size; Volume.resize changes it")

    def flush(self) -> None:
        super().flush()
        if not self._volume.closed and not self._volume.is_read_only:
            self._volume.sync()

    def close(self) -> None:
        if self.closed:
            return
        try:
            super().close()
        finally:
            if self._closefd:
                self._volume.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")
