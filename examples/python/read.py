"""Reads the first sectors of the volume that examples/volume.c makes: `python3 read.py FOLDER`."""

import sys

from atrest import Error, Volume

folder = sys.argv[1] if len(sys.argv) > 1 else "."
try:
    with Volume(f"{folder}/disk.img", f"{folder}/keys.vault", "correct horse battery staple") as volume:
        sectors = volume.read(0, 4096)
        print(f"{volume.size} bytes, of which the first are {sectors.rstrip(bytes(1)).decode()!r}")
except Error as error:
    name, message = error.args
    sys.exit(f"error: {message} ({name})")
