# Shared code of the scripts that make packages. Bash sources it, under `set -euo pipefail`.
#
# A package is the same bytes whenever it is made of the same commit by the same tools: times are those of the commit.

source "$(dirname "${BASH_SOURCE[0]}")/../tests/common/peers.sh"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
abi=$(sed -n 's/^version = "\(0\.[0-9]*\|[1-9][0-9]*\)\..*/\1/p' "$root/Cargo.toml")
target=${CARGO_TARGET_DIR:-$root/target} # what is built there already need not be built again
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2> /dev/null || date +%s)
fi
export SOURCE_DATE_EPOCH

# What a package is for, as Rust names it, if that isn't this machine, and what it has of its own: see `build_for`.
triple="" arch=$(uname -m) strip=strip
prebuilt=() runner=()

# build_for TARGET: what is made from here on is for another processor or C library. cargo-zigbuild builds it, since the C library
# and the linker come with Zig: `x86_64-unknown-linux-gnu.2.17` runs with glibc 2.17 and newer, `x86_64-unknown-linux-musl` with none.
build_for() {
    need cargo-zigbuild
    zigbuild_target=$1 triple=${1%%.*} arch=${1%%-*}
    [[ -d "$(rustc --print sysroot)/lib/rustlib/$triple/lib" ]] || { command -v rustup > /dev/null && rustup target add "$triple" >&2; } ||
        missing "Rust's target $triple can't be had here"
    (cd "$root" && cargo zigbuild --release --locked -p atrest-c --lib --target "$1" --target-dir "$target") >&2
    if [[ $arch != "$(uname -m)" ]]; then
        strip=$arch-linux-gnu-strip runner=("qemu-$arch-static" -L "/usr/$arch-linux-gnu")
        need "$strip" "${runner[0]}"
    fi
    [[ $triple != *-musl ]] || link_for_musl
    prebuilt=("-DATREST_PREBUILT=$target/$triple/release")
}

# Rust makes no shared library where it links the C library statically. All that is in the static one may lie anywhere in memory,
# so that it makes a shared one, with the same symbols, and with Rust's unwinder.
link_for_musl() {
    local folder=$target/$triple/release zig=(zig)
    command -v zig > /dev/null || zig=(python3 -m ziglang)
    { echo "{ global:" && sed 's/$/;/' "$root/include/symbols.txt" && echo "local: *; };"; } > "$work/exported"
    "${zig[@]}" cc -target "$arch-linux-musl" -shared -o "$folder/libatrest.so" "-Wl,-soname,libatrest.so.$abi" \
        "-Wl,--version-script=$work/exported" -Wl,--gc-sections -Wl,-z,relro,-z,now \
        -Wl,--whole-archive "$folder/libatrest.a" -Wl,--no-whole-archive "$(unwinder)"
}

unwinder() {
    echo "$(rustc --print sysroot)/lib/rustlib/$triple/lib/self-contained/libunwind.a"
}

# stage FOLDER PREFIX LIBDIR: installs headers and libraries below a folder, without what only a debugger reads.
stage() {
    need cargo cmake python3 "$strip"
    cmake -S "$root" -B "$work/build" -DCMAKE_INSTALL_PREFIX="$2" -DCMAKE_INSTALL_LIBDIR="$3" -DATREST_CARGO_DIR="$target" \
        "${prebuilt[@]}" > "$work/log" || { cat "$work/log" && exit 1; }
    cmake --build "$work/build" >&2
    DESTDIR=$1 cmake --install "$work/build" > "$work/log"
    "$strip" --strip-unneeded "$1$2/$3/libatrest.so.$version"
    "$strip" --strip-debug --enable-deterministic-archives "$1$2/$3/libatrest.a"
}

# The features of the program in packages.
program_features=mount

# stage_program FOLDER: installs the program below a folder, with manual pages and completions.
stage_program() {
    local share=$1/share program=$target/release/atrest
    need cargo gzip "$strip"
    if [[ -z $triple ]]; then
        (cd "$root" && cargo build --release --locked -p atrest-cli --features "$program_features" --target-dir "$target") >&2
    else
        (cd "$root" && cargo zigbuild --release --locked -p atrest-cli --features "$program_features" --target "$zigbuild_target" \
            --target-dir "$target") >&2
        program=$target/$triple/release/atrest
    fi
    install -D "$program" "$1/bin/atrest"
    "$strip" "$1/bin/atrest"
    mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
    local atrest=("${runner[@]}" "$1/bin/atrest")
    "${atrest[@]}" man --dir "$share/man/man1" >&2
    gzip --no-name -9 "$share"/man/man1/*.1
    "${atrest[@]}" completions bash > "$share/bash-completion/completions/atrest"
    "${atrest[@]}" completions zsh > "$share/zsh/site-functions/_atrest"
    "${atrest[@]}" completions fish > "$share/fish/vendor_completions.d/atrest.fish"
}

# notices FOLDER PACKAGE...: the licences of this project, and those of the packages that what is built of its packages contains.
notices() {
    local folder=$1
    shift
    mkdir -p "$folder"
    cp "$root/LICENSE-APACHE" "$root/LICENSE-MIT" "$folder"
    python3 "$root/packages/third_party.py" "$root" "$triple" "$@" > "$folder/THIRD-PARTY"
}

# needed_glibc FILE...: the newest version of the C library that files need, such as 2.34.
needed_glibc() {
    readelf --version-info --wide "$@" | grep -o 'GLIBC_[0-9.]*' | sed s/GLIBC_// | sort -uV | tail -n 1
}

# same_times FOLDER: gives all files the time of the package, and the rights of files of everybody.
same_times() {
    chmod -R u=rwX,go=rX "$1"
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}
