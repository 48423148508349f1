"""What read.py uses of libatrest, by ctypes: one class over the functions of include/atrest.h.

The structs are those of the header, member by member. `struct_size` comes first, and says which version of a struct this
is, so that a later library takes it as it is.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p

OPEN_READ_ONLY = DEVICE_READ_ONLY = 1
CREDENTIAL_VAULT = 1


class Struct(ctypes.Structure):
    def __init__(self, **members):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **members)


class Unlock(Struct):
    _fields_ = [("struct_size", c_size_t), ("passphrase", c_char_p), ("passphrase_len", c_size_t),
                ("key_file", c_char_p), ("kdf_memory_kib", c_uint32), ("kdf_passes", c_uint32),
                ("kdf_lanes", c_uint32)]


class Credential(Struct):
    _fields_ = [("struct_size", c_size_t), ("kind", c_uint32), ("vault", c_void_p), ("dek", c_void_p),
                ("passphrase", c_char_p), ("passphrase_len", c_size_t), ("key_file", c_char_p)]


class OpenOptions(Struct):
    _fields_ = [("struct_size", c_size_t), ("flags", c_uint32), ("context", c_void_p), ("context_len", c_size_t),
                ("header", c_void_p), ("keyslot", c_uint32), ("kdf_max_memory_kib", c_uint32),
                ("kdf_max_kib_passes", c_uint64), ("kdf_max_iterations", c_uint32), ("kdf_max_lanes", c_uint32)]


class Error(Exception):
    """A call that failed: the name of its status, and what the library says of it."""


lib = ctypes.CDLL("libatrest.so")  # found as any shared library is: LD_LIBRARY_PATH, ldconfig
lib.atrest_last_error_message.restype = lib.atrest_status_name.restype = c_char_p


def declare(name, *arguments):
    """Gives a function its types, without which ctypes passes pointers as ints, and checks its status."""
    function = getattr(lib, "atrest_" + name)
    function.argtypes, function.restype = arguments, c_uint32

    def call(*values):
        status = function(*values)
        if status != 0:
            raise Error(lib.atrest_status_name(status).decode(), lib.atrest_last_error_message().decode())
    return call


def destroyer(name):
    function = getattr(lib, "atrest_" + name)
    function.argtypes, function.restype = [c_void_p], None
    return function


open_vault = declare("vault_open_file", c_char_p, POINTER(Unlock), POINTER(c_void_p))
open_device = declare("device_open_file", c_char_p, c_uint32, POINTER(c_void_p))
open_volume = declare("volume_open", c_void_p, POINTER(Credential), POINTER(OpenOptions), POINTER(c_void_p))
volume_size = declare("volume_size", c_void_p, POINTER(c_uint64))
read_at = declare("volume_read_at", c_void_p, c_uint64, c_void_p, c_size_t)
free_vault, free_device, free_volume = map(destroyer, ("vault_free", "device_free", "volume_free"))


class Volume:
    """A volume that a vault opens, to be read. It is closed at the end of `with`."""

    def __init__(self, disk, vault, passphrase):
        vault_handle, device, self._volume = c_void_p(), c_void_p(), c_void_p()
        unlock = Unlock(passphrase=passphrase.encode(), passphrase_len=len(passphrase.encode()))
        try:
            open_vault(str(vault).encode(), byref(unlock), byref(vault_handle))
            open_device(str(disk).encode(), DEVICE_READ_ONLY, byref(device))
            credential = Credential(kind=CREDENTIAL_VAULT, vault=vault_handle)
            open_volume(device, byref(credential), byref(OpenOptions(flags=OPEN_READ_ONLY)), byref(self._volume))
        finally:
            # The volume keeps what it needs of them. Of what wasn't opened, there is nothing to be freed.
            free_device(device)
            free_vault(vault_handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        free_volume(self._volume)
        self._volume = c_void_p()

    @property
    def size(self):
        size = c_uint64()
        volume_size(self._volume, byref(size))
        return size.value

    def read(self, offset, length):
        """`length` bytes at `offset`: both are multiples of the sector size."""
        sectors = ctypes.create_string_buffer(length)
        read_at(self._volume, offset, sectors, length)
        return sectors.raw
