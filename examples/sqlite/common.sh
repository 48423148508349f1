# What `check` and `bench` share: the extension built. Bash sources it.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/common/peers.sh"

need sqlite3
echo '#include <sqlite3ext.h>' | cc -E - > /dev/null 2>&1 || missing "there are no headers of SQLite"
# A Python may be built without extensions; the system's isn't.
python=""
for candidate in python3 /usr/bin/python3; do
    "$candidate" -c 'import sqlite3; sqlite3.Connection.enable_load_extension' 2> /dev/null || continue
    python=$candidate
    break
done
[[ -n $python ]] || missing "there is no Python whose sqlite3 module loads extensions"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Into $work/atrest.so, which is `./atrest` to SQLite. Other libraries of the process see none of the functions within.
build_extension() {
    # shellcheck disable=SC2046 # several words
    cc -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I"$root/include" \
        "$root"/examples/sqlite/*.c $(static_library) -Wl,--exclude-libs,ALL -o "$work/atrest.so"
}

# A vault, $ATREST_VAULT, with the key `disks`; and `./rotate [URL]`, which makes a new version of it, or destroys one.
make_vault() {
    build_example sectors "$work/sectors"
    (cd "$work" && ./sectors . > /dev/null)
    export ATREST_VAULT=$work/sectors.vault ATREST_ROOT_KEY=$work/sectors.key ATREST_KEY=disks
    cat > "$work/rotate.c" << 'END'
#include <atrest.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    atrest_vault *vault;
    unlock.key_file = getenv("ATREST_ROOT_KEY");
    if (atrest_vault_open_file(getenv("ATREST_VAULT"), &unlock, &vault) != ATREST_OK)
        return 1;
    atrest_status status = argc > 1 ? atrest_hazmat_vault_destroy_version(vault, argv[1])
                                    : atrest_vault_rotate_key(vault, "disks", NULL, 0);
    atrest_vault_free(vault);
    return status != ATREST_OK;
}
END
    # shellcheck disable=SC2046 # several words
    cc -std=c99 -I"$root/include" "$work/rotate.c" $(static_library) -o "$work/rotate"
}
