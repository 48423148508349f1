# What `check` and `bench` share: the plugin built, and served. Bash sources it.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/common/peers.sh"

need nbdkit nbdcopy
echo '#include <nbdkit-plugin.h>' | cc -E - > /dev/null 2>&1 || missing "there are no headers of nbdkit"

work=$(mktemp -d)
server="" # the process of the nbdkit that serves
uri="nbd+unix:///?socket=$work/socket"

end() {
    [[ -z $server ]] || kill -9 "$server" 2> /dev/null || true
    rm -rf "$work"
}
trap end EXIT

# Into $plugin.
build_plugin() {
    plugin=$work/nbdkit-atrest-plugin.so
    # nbdkit's functions are found when it loads the plugin. Other libraries of the process see none of atrest's.
    # shellcheck disable=SC2046 # several words
    cc -std=c99 -O2 -Wall -Wextra -Werror -pedantic -fPIC -shared -I"$root/include" "$root/examples/nbdkit/plugin.c" \
        $(static_library) -Wl,--exclude-libs,ALL -o "$plugin"
}

# serve ARGUMENTS...: at $uri, until `stop`.
serve() {
    rm -f "$work/socket" "$work/pid"
    nbdkit -f -U "$work/socket" -P "$work/pid" "$@" 2> "$work/log" &
    server=$!
    until [[ -s $work/pid ]]; do
        kill -0 "$server" 2> /dev/null || { cat "$work/log" && exit 1; }
        sleep 0.02
    done
}

stop() {
    kill "$server"
    wait "$server" || true
    server=""
}
