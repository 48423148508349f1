"""Reads the first sectors of the volume that examples/volume.c makes: `python3 read.py FOLDER`."""

import sys

if len(sys.argv) > 2 or sys.argv[1:] and sys.argv[1].startswith("-"):
    print("usage: python3 read.py [FOLDER], with what examples/volume.c made there", file=sys.stderr)
    sys.exit(0 if sys.argv[1:] == ["--help"] else 2)

from atrest import Error, Volume  # noqa: E402, since --help needs no library

folder = sys.argv[1] if len(sys.argv) > 1 else "."
try:
    with Volume(f"{folder}/disk.img", f"{folder}/keys.vault", "correct horse battery staple") as volume:
        sectors = volume.read(0, 4096)
        print(f"{volume.size} bytes, of which the first are {sectors.rstrip(bytes(1)).decode()!r}")
except Error as error:
    name, message = error.args
    sys.exit(f"error: {message} ({name})")
