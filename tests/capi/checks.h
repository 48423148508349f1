// What the C programs of this folder share. misuse_*.c call the library with every wrong argument, which must be refused
// with a status of its own and leave the outputs alone.
#ifndef CHECKS_H
#define CHECKS_H

#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed;

#define CHECK(condition)                                                                            \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition,             \
                    atrest_last_error_message());                                                   \
            exit(1);                                                                                \
        }                                                                                           \
        __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);                                           \
    } while (0)

#define OK(call) IS(ATREST_OK, call)

#define IS(wanted, call)                                                                            \
    do {                                                                                            \
        atrest_status found = (call);                                                               \
        if (found != (wanted)) {                                                                    \
            fprintf(stderr, "%s:%d: %s: %s where %s is due (%s)\n", __FILE__, __LINE__, #call,      \
                    atrest_status_name(found), atrest_status_name(wanted), atrest_last_error_message()); \
            exit(1);                                                                                \
        }                                                                                           \
        CHECK(found == ATREST_OK || atrest_last_error_message()[0] != 0);                           \
        __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);                                           \
    } while (0)

// A call that would set the handle `out`, and must not.
#define NO_HANDLE(type, wanted, call)                                                               \
    do {                                                                                            \
        type *out = (type *)(void *)&passed;                                                        \
        IS(wanted, call);                                                                           \
        CHECK(out == (type *)(void *)&passed);                                                      \
    } while (0)

// Calls that would write into `bytes` and `len`, and must not.
static unsigned char bytes[4096] __attribute__((unused)), marked[4096] __attribute__((unused));
static size_t len __attribute__((unused));

#define NO_BYTES(wanted, call)                                                                      \
    do {                                                                                            \
        memset(bytes, 0xa5, sizeof bytes);                                                          \
        memset(marked, 0xa5, sizeof marked);                                                        \
        len = 12345;                                                                                \
        IS(wanted, call);                                                                           \
        CHECK(memcmp(bytes, marked, sizeof bytes) == 0);                                            \
        CHECK((wanted) == ATREST_ERR_BUFFER_TOO_SHORT || len == 12345);                             \
    } while (0)

#define TEXT ((char *)bytes)
// A handle of another type than it is.
#define PASSED_AS(type, handle) ((type *)(void *)(handle))
#define BAD_UTF8 "disk\xff"

static char folder[256];

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static atrest_unlock with_passphrase(const char *passphrase)
{
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = passphrase;
    unlock.passphrase_len = strlen(passphrase);
    unlock.kdf_memory_kib = 64;
    unlock.kdf_passes = 1;
    unlock.kdf_lanes = 1;
    return unlock;
}

static inline atrest_vault *new_vault(const char *name)
{
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault *vault;
    OK(atrest_vault_create_file(in_folder(name), &unlock, &vault));
    OK(atrest_vault_create_key(vault, "disks", NULL, 0));
    return vault;
}

static inline atrest_protector with_vault(const atrest_vault *vault)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_VAULT;
    protector.vault = vault;
    protector.key_name = "disks";
    return protector;
}

#endif
