# What `check` and `bench` share: programs built, in a folder. Bash sources it.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/common/peers.sh"

need c++
echo '#include <rocksdb/env_encryption.h>' | c++ -std=c++17 -x c++ -E - > /dev/null 2>&1 \
    || missing "there are no headers of RocksDB"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build PROGRAM: into $work.
build() {
    local flags=(-std=c++17 -O2 -Wall -Wextra -Werror -I"$root/include") here=$root/examples/rocksdb
    [[ -e $work/encrypted_fs.o ]] || c++ "${flags[@]}" -c "$here/encrypted_fs.cc" -o "$work/encrypted_fs.o"
    # shellcheck disable=SC2046 # several words
    c++ "${flags[@]}" "$here/$1.cc" "$work/encrypted_fs.o" $(static_library) -lrocksdb -o "$work/$1"
}
