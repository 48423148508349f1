# Shared code of the scripts that make packages. Bash sources it, under `set -euo pipefail`.
#
# A package is the same bytes whenever it is made of the same commit by the same tools: times are those of the commit.

source "$(dirname "${BASH_SOURCE[0]}")/../tests/common/peers.sh"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
target=${CARGO_TARGET_DIR:-$root/target} # what is built there already need not be built again
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2> /dev/null || date +%s)
fi
export SOURCE_DATE_EPOCH

# stage FOLDER PREFIX LIBDIR: installs headers and libraries below a folder, without what only a debugger reads.
stage() {
    need cargo cmake python3 strip
    cmake -S "$root" -B "$work/build" -DCMAKE_INSTALL_PREFIX="$2" -DCMAKE_INSTALL_LIBDIR="$3" -DATREST_CARGO_DIR="$target" > "$work/log" ||
        { cat "$work/log" && exit 1; }
    cmake --build "$work/build" >&2
    DESTDIR=$1 cmake --install "$work/build" > "$work/log"
    strip --strip-unneeded "$1$2/$3/libatrest.so.$version"
    strip --strip-debug --enable-deterministic-archives "$1$2/$3/libatrest.a"
}

# notices FOLDER PACKAGE: the licences of this project, and those of the packages that what is built of one of its packages contains.
notices() {
    mkdir -p "$1"
    cp "$root/LICENSE-APACHE" "$root/LICENSE-MIT" "$1"
    python3 "$root/packages/third_party.py" "$root" "$2" > "$1/THIRD-PARTY"
}

# The newest symbols of the C library that a shared library needs, such as 2.34.
needed_glibc() {
    objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sed s/GLIBC_// | sort -uV | tail -n 1
}

# same_times FOLDER: gives all files the time of the package, and the rights of files of everybody.
same_times() {
    chmod -R u=rwX,go=rX "$1"
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}
