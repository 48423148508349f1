"""Prints the licences of all packages that one or several of this project contain when they are built:
`python3 packages/third_party.py ROOT TARGET PACKAGE...`.

TARGET is what they are built for, as Rust names it; "" is this machine. A package may name features: atrest-cli/mount."""

import json
import subprocess
import sys
from pathlib import Path

NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

root, target, *wanted = sys.argv[1:]
if not target:
    rustc = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    target = next(line.split()[1] for line in rustc.splitlines() if line.startswith("host:"))
built = {name.split("/")[0] for name in wanted}
features = [name for name in wanted if "/" in name]
command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
command += ["--features", ",".join(features)] if features else []
metadata = json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

# What is linked: neither what tests need, nor what builds and macros run.
seen, left = set(), [id for id, package in packages.items() if package["name"] in built]
while left:
    id = left.pop()
    if id in seen or any("proc-macro" in target["kind"] for target in packages[id]["targets"]):
        continue
    seen.add(id)
    for dependency in nodes[id]["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            left.append(dependency["pkg"])

foreign = sorted((packages[id] for id in seen if packages[id]["source"]), key=lambda p: (p["name"], p["version"]))
names = " and ".join(sorted(built))
print(f"What is built of {names} contains the standard library of Rust (MIT OR Apache-2.0, https://www.rust-lang.org)")
print("and the packages below, each under its own licence.")
for package in foreign:
    print(f"\n{'=' * 72}\n{package['name']} {package['version']}: {package['license'] or 'see below'}")
    print(package["repository"] or f"the package {package['name']} of Cargo's registry")
    folder = Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.upper().startswith(NAMES))
    for file in files:
        print(f"\n--- {file.name}\n\n{file.read_text(errors='replace').strip()}")
