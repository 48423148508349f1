// State that every call must leave unchanged, on success and on failure: errno, the locale, the signal mask, the
// handlers of signals, the file mode mask. It also tests a fork, after which locked memory must be locked again.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "checks.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERRNO 1234

static char locale_before[256];
static sigset_t mask_before;
static struct sigaction handlers_before[NSIG];

static void remember_surroundings(void)
{
    // A locale that every system has, and that isn't the initial one of a program.
    CHECK(setlocale(LC_ALL, "C.UTF-8") != NULL);
    snprintf(locale_before, sizeof locale_before, "%s", setlocale(LC_ALL, NULL));
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGPIPE);
    CHECK(sigprocmask(SIG_SETMASK, &blocked, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &mask_before) == 0);
    umask(0027);
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, NULL, &handlers_before[number]);
}

static void surroundings_are_as_before(void)
{
    sigset_t mask;
    CHECK(strcmp(setlocale(LC_ALL, NULL), locale_before) == 0);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction handler;
        CHECK(sigismember(&mask, number) == sigismember(&mask_before, number));
        if (sigaction(number, NULL, &handler) == 0)
            CHECK(handler.sa_handler == handlers_before[number].sa_handler);
    }
    mode_t mode = umask(0027);
    CHECK(mode == 0027);
}

// A call that ends with `wanted`, and leaves the surroundings alone.
#define KEEPS(wanted, call)                                                                         \
    do {                                                                                            \
        errno = ERRNO;                                                                              \
        atrest_status kept = (call);                                                                \
        int errno_after = errno;                                                                    \
        IS(wanted, kept);                                                                           \
        CHECK(errno_after == ERRNO);                                                                \
        surroundings_are_as_before();                                                               \
    } while (0)

#define FREES(call)                                                                                 \
    do {                                                                                            \
        errno = ERRNO;                                                                              \
        call;                                                                                       \
        CHECK(errno == ERRNO);                                                                      \
        surroundings_are_as_before();                                                               \
    } while (0)

static atrest_status each_version(void *user, const atrest_key_version *version)
{
    (void)user, (void)version;
    errno = 1; // a callback of the caller's may
    return ATREST_OK;
}

static atrest_status stop_at_version(void *user, const atrest_key_version *version)
{
    (void)user, (void)version;
    errno = 1;
    return 7;
}

static atrest_status each_entry(void *user, const atrest_audit_entry *entry)
{
    (void)user, (void)entry;
    errno = 1;
    return ATREST_OK;
}

static atrest_status each_url(void *user, const char *url)
{
    (void)user, (void)url;
    errno = 1;
    return ATREST_OK;
}

static void texts(void)
{
    FREES((void)atrest_version());
    FREES((void)atrest_status_name(ATREST_ERR_IO));
    FREES((void)atrest_last_error_message());
}

static atrest_vault *vaults(void)
{
    char url[ATREST_KEY_URL_SIZE], missing[ATREST_KEY_URL_SIZE + 1];
    atrest_unlock unlock = with_passphrase("passphrase"), wrong = with_passphrase("wrong"), both = unlock, by_file = unlock;
    atrest_vault *vault, *again;
    KEEPS(ATREST_OK, atrest_vault_create_file(in_folder("vault"), &unlock, &vault));
    KEEPS(ATREST_ERR_ALREADY_EXISTS, atrest_vault_create_file(in_folder("vault"), &unlock, &again));
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_vault_create_file(in_folder("none/vault"), &unlock, &again));
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_vault_open_file(in_folder("none"), &unlock, &again));
    KEEPS(ATREST_ERR_WRONG_PASSPHRASE, atrest_vault_open_file(in_folder("vault"), &wrong, &again));
    KEEPS(ATREST_OK, atrest_vault_open_file(in_folder("vault"), &unlock, &again));
    FREES(atrest_vault_free(again));
    both.key_file = "none";
    KEEPS(ATREST_ERR_INVALID_OPTION, atrest_vault_open_file(in_folder("vault"), &both, &again));
    by_file.passphrase = NULL;
    by_file.passphrase_len = 0;
    by_file.key_file = "/there/is/no/such/file";
    KEEPS(ATREST_ERR_WRONG_PASSPHRASE, atrest_vault_open_file(in_folder("vault"), &by_file, &again));
    KEEPS(ATREST_OK, atrest_vault_generate_key_file(in_folder("key")));
    KEEPS(ATREST_ERR_ALREADY_EXISTS, atrest_vault_generate_key_file(in_folder("key")));
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_vault_create_file(in_folder("by key"), &by_file, &again));

    KEEPS(ATREST_OK, atrest_vault_create_key(vault, "disks", url, sizeof url));
    KEEPS(ATREST_ERR_KEY_EXISTS, atrest_vault_create_key(vault, "disks", url, sizeof url));
    KEEPS(ATREST_ERR_INVALID_NAME, atrest_vault_create_key(vault, "a b", url, sizeof url));
    KEEPS(ATREST_OK, atrest_vault_rotate_key(vault, "disks", NULL, 0));
    KEEPS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_rotate_key(vault, "none", NULL, 0));
    KEEPS(ATREST_OK, atrest_vault_keys(vault, each_version, NULL));
    KEEPS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_keys(vault, stop_at_version, NULL));
    KEEPS(ATREST_OK, atrest_vault_describe(vault, "disks", NULL, each_version, NULL));
    KEEPS(ATREST_OK, atrest_hazmat_vault_destroy_version(vault, url));
    snprintf(missing, sizeof missing, "%s9", url);
    KEEPS(ATREST_ERR_NO_SUCH_KEY, atrest_hazmat_vault_destroy_version(vault, missing));
    KEEPS(ATREST_OK, atrest_vault_grant(vault, "somebody", ATREST_OPERATION_GET));
    KEEPS(ATREST_OK, atrest_vault_as_identity(vault, "somebody", &again));
    KEEPS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_describe(again, "none", NULL, each_version, NULL));
    FREES(atrest_vault_free(again));
    KEEPS(ATREST_OK, atrest_vault_audit(vault, NULL, each_entry, NULL));
    KEEPS(ATREST_OK, atrest_vault_audit_head(vault, TEXT, sizeof bytes, NULL));
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_vault_archive_audit(vault, in_folder("none/log")));
    KEEPS(ATREST_OK, atrest_vault_id(vault, TEXT, sizeof bytes, NULL));
    KEEPS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_id(vault, TEXT, 1, &len));
    return vault;
}

static void keys(const atrest_vault *vault)
{
    unsigned char envelope[ATREST_ENVELOPE_MAX], kek[32] = {1}, wrapped[40];
    size_t envelope_len, wrapped_len;
    atrest_dek *dek, *again;
    KEEPS(ATREST_OK, atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    KEEPS(ATREST_ERR_BAD_ENUM, atrest_dek_generate(77, &again));
    KEEPS(ATREST_OK, atrest_envelope_seal(dek, vault, "disks", "a", 1, envelope, sizeof envelope, &envelope_len));
    KEEPS(ATREST_ERR_NO_SUCH_KEY, atrest_envelope_seal(dek, vault, "none", "a", 1, bytes, sizeof bytes, &len));
    KEEPS(ATREST_OK, atrest_envelope_unseal(vault, envelope, envelope_len, "a", 1, &again));
    FREES(atrest_dek_free(again));
    KEEPS(ATREST_ERR_CONTEXT_MISMATCH, atrest_envelope_unseal(vault, envelope, envelope_len, "b", 1, &again));
    KEEPS(ATREST_ERR_INVALID_ENVELOPE, atrest_envelope_unseal(vault, envelope, envelope_len - 1, "a", 1, &again));
    KEEPS(ATREST_OK, atrest_aes_kw_wrap(kek, 32, kek, 32, wrapped, sizeof wrapped, &wrapped_len));
    wrapped[0] ^= 1;
    KEEPS(ATREST_ERR_UNWRAP_FAILED, atrest_aes_kw_unwrap(kek, 32, wrapped, wrapped_len, bytes, sizeof bytes, &len));

    atrest_sector_cipher *cipher;
    KEEPS(ATREST_OK, atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &cipher));
    KEEPS(ATREST_OK, atrest_sector_cipher_encrypt(cipher, 0, bytes, sizeof bytes));
    KEEPS(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_encrypt(cipher, 0, bytes, 100));
    KEEPS(ATREST_OK, atrest_sector_cipher_decrypt(cipher, 0, bytes, sizeof bytes));
    FREES(atrest_sector_cipher_free(cipher));
    FREES(atrest_dek_free(dek));
    FREES(atrest_dek_free(dek)); // refused, with a message
    KEEPS(ATREST_ERR_INVALID_HANDLE, atrest_dek_algorithm(dek, (uint32_t *)(void *)bytes));
}

static void volumes(const atrest_vault *vault)
{
    atrest_protector protector = with_vault(vault);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    options.data_offset = 1 << 20;
    atrest_device *device, *again;
    atrest_volume *volume, *other;
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_device_open_file(in_folder("disk"), 0, &device));
    KEEPS(ATREST_ERR_NOT_FOUND, atrest_device_create_file(in_folder("none/disk"), 2 << 20, &device));
    KEEPS(ATREST_OK, atrest_device_create_file(in_folder("disk"), 2 << 20, &device));
    KEEPS(ATREST_ERR_BUSY, atrest_device_open_file(in_folder("disk"), 0, &again));
    KEEPS(ATREST_ERR_NO_MEMORY, atrest_device_memory((size_t)1 << (sizeof(size_t) * 8 - 2), &again));
    KEEPS(ATREST_ERR_NOT_LUKS, atrest_volume_open(device, &credential, NULL, &volume));
    KEEPS(ATREST_OK, atrest_volume_format(device, &protector, &options, &volume));
    KEEPS(ATREST_ERR_DEVICE_NOT_BLANK, atrest_volume_format(device, &protector, &options, &other));
    KEEPS(ATREST_OK, atrest_volume_write_at(volume, 0, bytes, sizeof bytes));
    KEEPS(ATREST_ERR_MISALIGNED, atrest_volume_write_at(volume, 1, bytes, sizeof bytes));
    KEEPS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_write_at(volume, 1 << 20, bytes, sizeof bytes));
    KEEPS(ATREST_OK, atrest_volume_read_at(volume, 0, bytes, sizeof bytes));
    KEEPS(ATREST_OK, atrest_volume_sync(volume));
    KEEPS(ATREST_OK, atrest_volume_rotate_kek(volume, vault, NULL, 0));
    KEEPS(ATREST_OK, atrest_volume_key_urls(volume, each_url, NULL));
    KEEPS(ATREST_OK, atrest_volume_uuid(volume, TEXT, sizeof bytes, NULL));
    // The disk shrinks under the volume, so that reads go past its end.
    CHECK(truncate(in_folder("disk"), 1 << 20) == 0);
    KEEPS(ATREST_ERR_IO, atrest_volume_read_at(volume, 0, bytes, sizeof bytes));
    FREES(atrest_volume_free(volume));
    KEEPS(ATREST_ERR_DEVICE_TOO_SMALL, atrest_volume_open(device, &credential, NULL, &volume));

    atrest_header *header;
    KEEPS(ATREST_OK, atrest_header_load(device, &header));
    KEEPS(ATREST_OK, atrest_header_set_label(header, "label", ""));
    KEEPS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_header_remove_keyslot(header, 3));
    KEEPS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_header_backup(header, bytes, sizeof bytes, &len));
    KEEPS(ATREST_ERR_NOT_LUKS, atrest_header_restore(device, bytes, sizeof bytes));
    FREES(atrest_header_free(header));
    FREES(atrest_device_free(device));
}

// KiB of memory that this process has locked; -1 where the system doesn't say.
static long locked_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        return -1;
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmLck: %ld", &kib) == 1)
            break;
    fclose(status);
    return kib;
}

// Locks end at a fork (mlock(2)), and a daemon forks: keys that it has afterwards must be in locked memory again.
// The child refuses its parent's handles before anything behind them is touched, and may free them.
static void a_fork(void)
{
    unsigned char sector[512] = {0};
    atrest_dek *dek, *parents;
    atrest_sector_cipher *cipher, *own;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &parents));
    OK(atrest_sector_cipher_new(parents, 512, ATREST_UNIT_512, &cipher));
    uint64_t locked = 0, unlocked = 0;
    OK(atrest_memory_protection(&locked, &unlocked));
    CHECK(locked + unlocked > 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_memory_protection(NULL, &unlocked));
    // Where locking isn't allowed the library does without.
    int locks = locked_kib() > 0, status;
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0) {
        int before = locked_kib() > 0;
        OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
        int after = locked_kib() > 0;
        CHECK(before == 0 && after == locks);
        IS(ATREST_ERR_FORKED, atrest_sector_cipher_encrypt(cipher, 0, sector, sizeof sector));
        CHECK(strstr(atrest_last_error_message(), "child") != NULL);
        IS(ATREST_ERR_FORKED, atrest_sector_cipher_new(parents, 512, ATREST_UNIT_512, &own));
        atrest_sector_cipher_free(cipher);
        atrest_dek_free(parents);
        OK(atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &own));
        OK(atrest_sector_cipher_encrypt(own, 0, sector, sizeof sector));
        atrest_sector_cipher_free(own);
        atrest_dek_free(dek);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(atrest_sector_cipher_encrypt(cipher, 0, sector, sizeof sector));
    atrest_sector_cipher_free(cipher);
    atrest_dek_free(parents);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    remember_surroundings();
    texts();
    atrest_vault *vault = vaults();
    keys(vault);
    volumes(vault);
    FREES(atrest_vault_free(vault));
    a_fork();
    printf("%d checks passed\n", passed);
    return 0;
}
