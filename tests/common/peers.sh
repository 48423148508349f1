# Shared code of the scripts that try the project against other programs. Bash sources it, under `set -euo pipefail`.
#
# Status 0: all is well. 77: it can't be done here; the last line is the reason. With ATREST_REQUIRE_PEERS=1, as in CI,
# a tool that is missing is an error.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

missing() {
    [[ ${ATREST_REQUIRE_PEERS:-} != 1 ]] || { echo "missing: $*" && exit 1; }
    echo "skipped: $*"
    exit 77
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" > /dev/null || missing "there is no $program"
    done
}

# passes WHAT COMMAND...: reports success of the command, and ends the script on a failure.
passes() {
    local what=$1 output
    shift
    output=$("$@" 2>&1) || { echo "FAILED: $what: $*: $output" && exit 1; }
    echo "ok: $what"
}

# fails WHAT WORDS COMMAND...: the command fails, and says WORDS. Its log is in $output afterwards.
fails() {
    local what=$1 words=$2
    shift 2
    if output=$("$@" 2>&1); then
        echo "FAILED: $what: it succeeds: $*" && exit 1
    fi
    grep -qF -- "$words" <<< "$output" || { echo "FAILED: $what: it fails without '$words': $output" && exit 1; }
    echo "ok: $what fails, as it must"
}

# Builds the C libraries; they are in $libraries afterwards.
build_libraries() {
    need cargo cc
    local target=${CARGO_TARGET_DIR:-$root/target}
    (cd "$root" && cargo build --quiet --release --locked -p atrest-c)
    libraries=$(cd "$root" && cd "$target" && pwd)/release
}

# The static library for a C compiler, and the libraries that it needs.
static_library() {
    echo "$libraries/libatrest.a" -lm -lpthread -ldl
}

# build_example NAME OUTPUT: a program of examples/, in C.
build_example() {
    # shellcheck disable=SC2046 # several words
    cc -std=c99 -I"$root/include" "$root/examples/$1.c" $(static_library) -o "$2"
}

# Makes the output of examples/volume.c in $work: a vault, and a volume that it opens. A program of another language reads
# the volume by libatrest.so, and must print $wanted.
make_volume() {
    build_libraries
    build_example volume "$work/volume"
    (cd "$work" && ./volume .)
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    wanted="16777216 bytes, of which the first are 'secret plans'"
}
