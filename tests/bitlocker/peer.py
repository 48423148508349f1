"""Prints the SHA-256 of some ranges of a BitLocker volume, as another program reads them.

peer.py dissect|libbde IMAGE password|recovery|file|clear SECRET OFFSET+LENGTH...
"""

import hashlib
import sys


def dissect(image, kind, secret):
    from dissect.fve.bde import BDE

    volume = BDE(open(image, "rb"))
    if kind == "password":
        volume.unlock_with_passphrase(secret)
    elif kind == "recovery":
        volume.unlock_with_recovery_password(secret)
    elif kind == "file":
        volume.unlock_with_bek(open(secret, "rb"))
    elif volume.encrypted:
        volume.unlock_with_clear_key()
    stream = volume.open()

    def read(offset, length):
        stream.seek(offset)
        return stream.read(length)

    return read


def libbde(image, kind, secret):
    import pybde

    volume = pybde.volume()
    if kind == "password":
        volume.set_password(secret)
    elif kind == "recovery":
        volume.set_recovery_password(secret)
    elif kind == "file":
        volume.read_startup_key(secret)
    volume.open(image)
    if volume.is_locked():
        raise SystemExit("libbde doesn't unlock it")
    return lambda offset, length: volume.read_buffer_at_offset(length, offset)


read = {"dissect": dissect, "libbde": libbde}[sys.argv[1]](*sys.argv[2:5])
for place in sys.argv[5:]:
    offset, length = map(int, place.split("+"))
    data = read(offset, length)
    assert len(data) == length, f"{len(data)} bytes of {length} at {offset}"
    print(hashlib.sha256(data).hexdigest())
