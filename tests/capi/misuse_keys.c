// Misuse of statuses, vaults, DEKs, ciphers and key wrap.
#include "checks.h"

static void statuses(void)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", ATREST_VERSION_MAJOR, ATREST_VERSION_MINOR, ATREST_VERSION_PATCH);
    CHECK(strcmp(version, atrest_version()) == 0);
    CHECK(strcmp(atrest_last_error_message(), "") == 0);
    CHECK(strcmp(atrest_status_name(ATREST_OK), "ATREST_OK") == 0);
    CHECK(strcmp(atrest_status_name(ATREST_ERR_NO_MEMORY), "ATREST_ERR_NO_MEMORY") == 0);
    CHECK(strcmp(atrest_status_name(4711), "unknown status") == 0);
    atrest_vault_free(NULL);
    atrest_dek_free(NULL);
    atrest_sector_cipher_free(NULL);
    atrest_device_free(NULL);
    atrest_volume_free(NULL);
    CHECK(strcmp(atrest_last_error_message(), "") == 0);
}

static atrest_status stop(void *user, const atrest_key_version *version)
{
    CHECK(version->struct_size == sizeof *version);
    CHECK(strcmp(version->key_name, "disks") == 0 && strcmp(version->version, "1") == 0);
    CHECK(strstr(version->url, "/keys/disks/1") != NULL);
    CHECK(version->origin == ATREST_ORIGIN_GENERATED && version->created > 1600000000);
    ++*(int *)user;
    return 77;
}

static void vault_files(void)
{
    atrest_unlock unlock = with_passphrase("passphrase"), wrong = with_passphrase("Passphrase"), bad = unlock;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_file(NULL, &unlock, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_file(in_folder("v"), NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_file(in_folder("v"), &unlock, NULL));
    CHECK(fopen(in_folder("v"), "r") == NULL);

    bad.struct_size--;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad.struct_size = 0;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad.struct_size = (size_t)-1;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad = unlock;
    bad.passphrase = NULL;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad = unlock;
    bad.key_file = "key";
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad = with_passphrase("");
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad = unlock;
    bad.passphrase_len = (size_t)-1;
    NO_HANDLE(atrest_vault, ATREST_ERR_LENGTH, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad = unlock;
    bad.kdf_lanes = 17;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    atrest_kdf kdf = ATREST_KDF_INIT;
    bad = unlock;
    bad.kdf = &kdf;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    bad.kdf_memory_kib = bad.kdf_passes = bad.kdf_lanes = 0;
    NO_HANDLE(atrest_vault, ATREST_ERR_BAD_ENUM, atrest_vault_create_file(in_folder("v"), &bad, &out));
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.iterations = 999;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    kdf.iterations = 1000;
    kdf.hash = ATREST_HASH_SHA1;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_create_file(in_folder("v"), &bad, &out));
    kdf.hash = ATREST_HASH_SHA512;
    kdf.struct_size = 1;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, atrest_vault_create_file(in_folder("v"), &bad, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_FOUND, atrest_vault_open_file(in_folder("v"), &unlock, &out));

    atrest_vault *vault = new_vault("v");
    NO_HANDLE(atrest_vault, ATREST_ERR_ALREADY_EXISTS, atrest_vault_create_file(in_folder("v"), &unlock, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_WRONG_PASSPHRASE, atrest_vault_open_file(in_folder("v"), &wrong, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_change_unlock(NULL, &unlock));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_change_unlock(vault, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, atrest_vault_change_unlock(vault, &bad));
    kdf.struct_size = sizeof kdf;
    bad.passphrase = NULL;
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_change_unlock(vault, &bad));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_generate_key_file(NULL));
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_vault_generate_key_file(in_folder("v")));

    FILE *damaged = fopen(in_folder("damaged"), "w");
    fputs("nothing", damaged);
    fclose(damaged);
    NO_HANDLE(atrest_vault, ATREST_ERR_DAMAGED_VAULT, atrest_vault_open_file(in_folder("damaged"), &unlock, &out));

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_id(NULL, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_id(vault, NULL, 10, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_id(vault, TEXT, 45, &len));
    CHECK(len == 45); // "urn:uuid:" and 36 characters
    OK(atrest_vault_id(vault, TEXT, 46, NULL));
    CHECK(strlen(TEXT) == 45);

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_key(NULL, "new", TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_key(vault, NULL, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NOT_UTF8, atrest_vault_create_key(vault, BAD_UTF8, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_create_key(vault, "a/b", TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_KEY_EXISTS, atrest_vault_create_key(vault, "disks", TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_create_key(vault, "new", TEXT, ATREST_KEY_URL_SIZE - 1));
    // A refused name is reported first: more room would not help.
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_create_key(vault, "a/b", TEXT, 10));
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_create_key_of(vault, "a/b", ATREST_KEY_AES_256, TEXT, 10));
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_rotate_key(vault, "a/b", TEXT, 10));
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_import_key(vault, "a/b", marked, 32, TEXT, 10));
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_import_version(vault, "a/b", marked, 32, TEXT, 10));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, atrest_vault_rotate_key(vault, "new", TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_rotate_key(vault, "disks", TEXT, 10));
    NO_BYTES(ATREST_ERR_KEK_LENGTH, atrest_vault_import_key(vault, "new", marked, 31, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_import_key(vault, "new", NULL, 32, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_KEY_EXISTS, atrest_vault_import_key(vault, "disks", marked, 32, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, atrest_vault_import_version(vault, "new", marked, 32, TEXT, sizeof bytes));
    IS(ATREST_ERR_INVALID_NAME, atrest_hazmat_vault_destroy_version(vault, "disks"));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_hazmat_vault_destroy_version(vault, "https://other/keys/disks/1"));

    int calls = 0;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_keys(vault, NULL, NULL));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_keys(vault, stop, &calls));
    CHECK(calls == 1 && strstr(atrest_last_error_message(), "77") != NULL);

    atrest_vault_free(vault);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_vault_create_key(vault, "new", NULL, 0));
    CHECK(strstr(atrest_last_error_message(), "freed") != NULL);
    atrest_vault_free(vault);
}

// A vault of callbacks that misbehaves on request.
static struct {
    atrest_status wrap, unwrap;
    const char *version;
    uint32_t algorithm;
    size_t wrapped_len, dek_len;
    int released;
} answer;

static atrest_status wrap(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped)
{
    CHECK(user == &answer && wrapped->struct_size == sizeof *wrapped && strcmp(wrapped->vault_id, "https://v") == 0);
    memcpy(wrapped->bytes, dek, dek_len);
    snprintf(wrapped->version, sizeof wrapped->version, "%s", answer.version);
    wrapped->algorithm = answer.algorithm;
    wrapped->bytes_len = answer.wrapped_len;
    return answer.wrap;
}

static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap,
                            size_t *dek_len)
{
    CHECK(user == &answer && dek_cap == ATREST_DEK_MAX && wrapped->bytes_len == 64);
    CHECK(strcmp(wrapped->key_name, "disks") == 0 && strcmp(wrapped->version, "1") == 0);
    memcpy(dek, wrapped->bytes, wrapped->bytes_len);
    *dek_len = answer.dek_len;
    return answer.unwrap;
}

static void release(void *user)
{
    CHECK(user == &answer);
    answer.released++;
}

static void behave(void)
{
    answer.wrap = answer.unwrap = ATREST_OK;
    answer.version = "1";
    answer.algorithm = ATREST_WRAP_OPAQUE;
    answer.wrapped_len = answer.dek_len = 64;
}

static void vaults_of_callbacks(const atrest_dek *dek)
{
    atrest_vault_callbacks callbacks = ATREST_VAULT_CALLBACKS_INIT, bad;
    callbacks.user = &answer;
    callbacks.id = "https://v";
    callbacks.wrap = wrap;
    callbacks.unwrap = unwrap;
    callbacks.release = release;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_from_callbacks(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_from_callbacks(&callbacks, NULL));
    bad = callbacks;
    bad.struct_size = 8;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, atrest_vault_from_callbacks(&bad, &out));
    bad = callbacks;
    bad.id = NULL;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_from_callbacks(&bad, &out));
    bad.id = "not visible";
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_NAME, atrest_vault_from_callbacks(&bad, &out));
    bad = callbacks;
    bad.wrap = NULL;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_from_callbacks(&bad, &out));
    bad = callbacks;
    bad.unwrap = NULL;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_from_callbacks(&bad, &out));

    atrest_vault *vault;
    OK(atrest_vault_from_callbacks(&callbacks, &vault));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_create_key(vault, "new", NULL, 0));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_rotate_key(vault, "new", NULL, 0));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_import_key(vault, "new", marked, 32, NULL, 0));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_import_version(vault, "new", marked, 32, NULL, 0));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_keys(vault, stop, NULL));
    IS(ATREST_ERR_UNSUPPORTED, atrest_hazmat_vault_destroy_version(vault, "https://v/keys/disks/1"));

#define WRAP(key) atrest_envelope_seal(dek, vault, key, "c", 1, bytes, sizeof bytes, &len)
    behave();
    answer.wrap = 4711;
    NO_BYTES(ATREST_ERR_CALLBACK_FAILED, WRAP("disks"));
    CHECK(strstr(atrest_last_error_message(), "4711") != NULL);
    answer.wrap = ATREST_ERR_NO_SUCH_KEY;
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, WRAP("disks"));
    behave();
    answer.version = "";
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    answer.version = "1/2";
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    behave();
    answer.algorithm = 0;
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    answer.algorithm = 65536 + ATREST_WRAP_OPAQUE;
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    behave();
    answer.wrapped_len = 0;
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    answer.wrapped_len = ATREST_WRAPPED_MAX + 1;
    NO_BYTES(ATREST_ERR_VAULT, WRAP("disks"));
    NO_BYTES(ATREST_ERR_INVALID_NAME, WRAP("a b"));

    unsigned char envelope[ATREST_ENVELOPE_MAX];
    size_t envelope_len;
    behave();
    OK(atrest_envelope_seal(dek, vault, "disks", "c", 1, envelope, sizeof envelope, &envelope_len));
#define UNWRAP atrest_envelope_unseal(vault, envelope, envelope_len, "c", 1, &out)
    answer.unwrap = 4711;
    NO_HANDLE(atrest_dek, ATREST_ERR_CALLBACK_FAILED, UNWRAP);
    answer.unwrap = ATREST_ERR_NOT_THIS_VAULT;
    NO_HANDLE(atrest_dek, ATREST_ERR_NOT_THIS_VAULT, UNWRAP);
    answer.unwrap = ATREST_ERR_UNWRAP_FAILED;
    NO_HANDLE(atrest_dek, ATREST_ERR_UNWRAP_FAILED, UNWRAP);
    answer.unwrap = ATREST_ERR_NO_SUCH_KEY;
    NO_HANDLE(atrest_dek, ATREST_ERR_NO_SUCH_KEY, UNWRAP);
    behave();
    answer.dek_len = 65;
    NO_HANDLE(atrest_dek, ATREST_ERR_VAULT, UNWRAP);
    answer.dek_len = 32;
    NO_HANDLE(atrest_dek, ATREST_ERR_INVALID_ENVELOPE, UNWRAP);
    answer.dek_len = 0;
    NO_HANDLE(atrest_dek, ATREST_ERR_INVALID_ENVELOPE, UNWRAP);

    CHECK(answer.released == 0);
    atrest_vault_free(vault);
    CHECK(answer.released == 1);
    atrest_vault_free(vault);
    CHECK(answer.released == 1);
}

static void deks(const atrest_dek *dek, const atrest_vault *vault)
{
    NO_HANDLE(atrest_dek, ATREST_ERR_BAD_ENUM, atrest_dek_generate(0, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_BAD_ENUM, atrest_dek_generate(65536 + ATREST_AES_256_XTS, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_dek_generate(ATREST_AES_256_XTS, NULL));
    unsigned char print[32] = {0}, same[32] = {0}, zeros[32] = {0};
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_dek_fingerprint(dek, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_dek_fingerprint(NULL, print));
    CHECK(memcmp(print, zeros, 32) == 0);
    OK(atrest_dek_fingerprint(dek, print));
    OK(atrest_dek_fingerprint(dek, same));
    CHECK(memcmp(print, same, 32) == 0 && memcmp(print, zeros, 32) != 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_dek_algorithm(dek, NULL));
    uint32_t algorithm = 99;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_dek_algorithm(NULL, &algorithm));
    CHECK(algorithm == 99);
    OK(atrest_dek_algorithm(dek, &algorithm));
    CHECK(algorithm == ATREST_AES_256_XTS);

    for (uint32_t other = ATREST_AES_128_CBC; other <= ATREST_AES_256_HCTR2; other++) {
        atrest_dek *old = NULL;
        OK(atrest_dek_generate(other, &old));
        OK(atrest_dek_algorithm(old, &algorithm));
        CHECK(algorithm == other);
        NO_HANDLE(atrest_sector_cipher, ATREST_ERR_UNSUPPORTED_ALGORITHM,
                  atrest_sector_cipher_new(old, 512, ATREST_UNIT_512, &out));
        NO_BYTES(ATREST_ERR_UNSUPPORTED_ALGORITHM,
                 atrest_envelope_seal(old, vault, "disks", "c", 1, bytes, sizeof bytes, &len));
        atrest_dek_free(old);
    }
    NO_HANDLE(atrest_dek, ATREST_ERR_BAD_ENUM, atrest_dek_generate(ATREST_AES_192_XTS + 1, &out));

    memset(marked, 0xa5, sizeof marked);
    NO_HANDLE(atrest_dek, ATREST_ERR_KEY_LENGTH, atrest_hazmat_dek_from_bytes(marked, 48, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_KEY_LENGTH, atrest_hazmat_dek_from_bytes(NULL, 0, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_EQUAL_KEY_HALVES, atrest_hazmat_dek_from_bytes(marked, 64, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_dek_from_bytes(NULL, 64, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_LENGTH, atrest_hazmat_dek_from_bytes(marked, (size_t)-1, &out));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_hazmat_dek_bytes(dek, bytes, 63, &len));
    CHECK(len == 64);
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_hazmat_dek_bytes(dek, NULL, 0, &len));
    CHECK(len == 64);
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_dek_bytes(dek, NULL, 64, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_dek_bytes(dek, bytes, 64, NULL));

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(NULL, vault, "disks", "c", 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(dek, NULL, "disks", "c", 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(dek, vault, NULL, "c", 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(dek, vault, "disks", NULL, 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(dek, vault, "disks", "c", 1, NULL, 10, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_seal(dek, vault, "disks", "c", 1, bytes, sizeof bytes, NULL));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, atrest_envelope_seal(dek, vault, "none", "c", 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_CONTEXT_LENGTH,
             atrest_envelope_seal(dek, vault, "disks", marked, ATREST_CONTEXT_MAX + 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_INVALID_HANDLE,
             atrest_envelope_seal((const atrest_dek *)(const void *)vault, vault, "disks", "c", 1, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_envelope_seal(dek, vault, "disks", "c", 1, bytes, 100, &len));
    CHECK(len > 100 && len <= ATREST_ENVELOPE_MAX);

    unsigned char envelope[ATREST_ENVELOPE_MAX];
    size_t envelope_len;
    OK(atrest_envelope_seal(dek, vault, "disks", "c", 1, envelope, len, &envelope_len));
    CHECK(envelope_len == len);
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_envelope_unseal(NULL, envelope, len, "c", 1, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_envelope_unseal(vault, NULL, len, "c", 1, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_INVALID_ENVELOPE, atrest_envelope_unseal(vault, NULL, 0, "c", 1, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_INVALID_ENVELOPE, atrest_envelope_unseal(vault, envelope, len - 1, "c", 1, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_CONTEXT_MISMATCH, atrest_envelope_unseal(vault, envelope, len, "d", 1, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_CONTEXT_MISMATCH, atrest_envelope_unseal(vault, envelope, len, NULL, 0, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_envelope_unseal(vault, envelope, len, "c", 1, NULL));
    atrest_vault *other = new_vault("other");
    NO_HANDLE(atrest_dek, ATREST_ERR_NOT_THIS_VAULT, atrest_envelope_unseal(other, envelope, len, "c", 1, &out));
    atrest_vault_free(other);
    envelope[13] = 9;
    NO_HANDLE(atrest_dek, ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest_envelope_unseal(vault, envelope, len, "c", 1, &out));
    NO_BYTES(ATREST_ERR_UNSUPPORTED_ALGORITHM,
             atrest_envelope_key_url(envelope, envelope_len, TEXT, sizeof bytes, &len));
    envelope[13] = 1;
    envelope[envelope_len - 1] ^= 1;
    len = envelope_len;
    NO_HANDLE(atrest_dek, ATREST_ERR_INVALID_ENVELOPE, atrest_envelope_unseal(vault, envelope, len, "c", 1, &out));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_envelope_key_url(envelope, envelope_len, NULL, 0, &len));
    OK(atrest_envelope_key_url(envelope, envelope_len, TEXT, len + 1, NULL));
    CHECK(strlen(TEXT) == len);
}

static void ciphers(const atrest_dek *dek)
{
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_sector_cipher_new(NULL, 512, ATREST_UNIT_512, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, NULL));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE, atrest_sector_cipher_new(dek, 0, ATREST_UNIT_512, &out));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE, atrest_sector_cipher_new(dek, 520, ATREST_UNIT_512, &out));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_BAD_ENUM, atrest_sector_cipher_new(dek, 512, 0, &out));
    uint8_t key[64];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_sector_cipher_from_key(NULL, 64, 512, ATREST_UNIT_512, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_from_key(key, 64, 512, ATREST_UNIT_512, NULL));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_KEY_LENGTH,
              atrest_sector_cipher_from_key(key, 63, 512, ATREST_UNIT_512, &out));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE,
              atrest_sector_cipher_from_key(key, 64, 520, ATREST_UNIT_512, &out));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_BAD_ENUM, atrest_sector_cipher_from_key(key, 64, 512, 0, &out));
    memset(key, 7, sizeof key);
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_EQUAL_KEY_HALVES,
              atrest_sector_cipher_from_key(key, 64, 512, ATREST_UNIT_512, &out));

    // Vector 2 of IEEE 1619-2018, annex B.
    static const uint8_t VECTOR[32] = {0xc4, 0x54, 0x18, 0x5e, 0x6a, 0x16, 0x93, 0x6e, 0x39, 0x33, 0x40,
                                       0x38, 0xac, 0xef, 0x83, 0x8b, 0xfb, 0x18, 0x6f, 0xff, 0x74, 0x80,
                                       0xad, 0xc4, 0x28, 0x93, 0x82, 0xec, 0xd6, 0xd3, 0x94, 0xf0};
    static const uint8_t NUMBER[16] = {0x33, 0x33, 0x33, 0x33, 0x33};
    atrest_sector_cipher *cipher;
    uint8_t unit[32];
    memset(key, 0x11, 16);
    memset(key + 16, 0x22, 16);
    memset(unit, 0x44, sizeof unit);
    OK(atrest_sector_cipher_from_key(key, 32, 512, ATREST_UNIT_512, &cipher));
    OK(atrest_sector_cipher_encrypt_unit(cipher, NUMBER, unit, sizeof unit));
    CHECK(memcmp(unit, VECTOR, sizeof unit) == 0);
    atrest_sector_cipher_free(cipher);

    OK(atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &cipher));
    const uint8_t tweak[16] = {1};
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt(NULL, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt(cipher, 0, NULL, 512));
    OK(atrest_sector_cipher_encrypt(cipher, 0, NULL, 0));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_encrypt(cipher, 0, bytes, 513));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_decrypt(cipher, 0, bytes, 511));
    NO_BYTES(ATREST_ERR_SECTOR_OVERFLOW, atrest_sector_cipher_decrypt(cipher, UINT64_MAX, bytes, 1024));
    NO_BYTES(ATREST_ERR_LENGTH, atrest_sector_cipher_encrypt(cipher, 0, bytes, ((size_t)-1) / 512 * 512));

    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_encrypt_to(cipher, 0, bytes, bytes + 511, 512));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_encrypt_to(cipher, 0, bytes + 1, bytes, 512));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_decrypt_to(cipher, 0, bytes, bytes + 512, 1024));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_to(cipher, 0, NULL, bytes, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_decrypt_to(cipher, 0, marked, NULL, 512));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_decrypt_to(cipher, 0, marked, bytes, 100));

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_unit(cipher, NULL, bytes, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_decrypt_unit(cipher, tweak, NULL, 512));
    NO_BYTES(ATREST_ERR_DATA_UNIT_LENGTH, atrest_sector_cipher_encrypt_unit(cipher, tweak, bytes, 15));
    NO_BYTES(ATREST_ERR_DATA_UNIT_LENGTH, atrest_sector_cipher_decrypt_unit(cipher, tweak, NULL, 0));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_encrypt_unit_to(cipher, tweak, bytes, bytes + 1, 17));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_decrypt_unit_to(cipher, tweak, bytes + 1, bytes, 17));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_unit_to(cipher, NULL, marked, bytes, 17));

    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_encrypt_streaming(cipher, 0, bytes, bytes + 1, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_streaming(cipher, 0, NULL, bytes, 512));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_decrypt_streaming(cipher, 0, marked, bytes, 100));

    // Pages that are numbered 0, 1, 2 are refused where numbers count units of 512 bytes, or have tweaks of their own.
    atrest_sector_cipher *pages;
    OK(atrest_sector_cipher_new(dek, 4096, ATREST_UNIT_512, &pages));
    NO_BYTES(ATREST_ERR_SECTOR_NUMBER, atrest_sector_cipher_encrypt(pages, 1, bytes, 4096));
    NO_BYTES(ATREST_ERR_SECTOR_NUMBER, atrest_sector_cipher_decrypt(pages, 7, bytes, 4096));
    NO_BYTES(ATREST_ERR_SECTOR_NUMBER, atrest_sector_cipher_encrypt_to(pages, 2, marked, bytes, 4096));
    const atrest_segment page[] = {{bytes, 4096}};
    NO_BYTES(ATREST_ERR_SECTOR_NUMBER, atrest_sector_cipher_encrypt_segments(pages, 1, page, 1));
    OK(atrest_sector_cipher_encrypt(pages, 8, bytes, 4096));
    atrest_sector_cipher_free(pages);
    memset(marked, 0xa5, sizeof marked);
    OK(atrest_sector_cipher_new(dek, 4096, ATREST_UNIT_SECTOR, &pages));
    memset(bytes, 0xa5, sizeof bytes);
    OK(atrest_sector_cipher_encrypt_to(pages, 0, bytes, marked, 4096));
    OK(atrest_sector_cipher_encrypt(pages, 1, bytes, 4096));
    CHECK(memcmp(bytes, marked, 4096) != 0);
    atrest_sector_cipher_free(pages);
    OK(atrest_sector_cipher_new(dek, 4096, ATREST_UNIT_512_ANY_OFFSET, &pages));
    OK(atrest_sector_cipher_encrypt(pages, 1, bytes, 4096));
    atrest_sector_cipher_free(pages);

    // All segments are checked before the first is touched.
    const atrest_segment null_base[] = {{bytes, 512}, {NULL, 512}}, partial[] = {{bytes, 512}, {bytes + 512, 100}};
    const atrest_segment two[] = {{bytes, 512}, {NULL, 0}, {bytes + 512, 512}};
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments(NULL, 0, two, 3));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments(cipher, 0, NULL, 3));
    OK(atrest_sector_cipher_encrypt_segments(cipher, 0, NULL, 0));
    NO_BYTES(ATREST_ERR_LENGTH, atrest_sector_cipher_encrypt_segments(cipher, 0, two, (size_t)-1));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments(cipher, 0, null_base, 2));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_decrypt_segments(cipher, 0, partial, 2));
    NO_BYTES(ATREST_ERR_SECTOR_OVERFLOW, atrest_sector_cipher_decrypt_segments(cipher, UINT64_MAX, two, 3));

    // Segments are one run, also when it is streamed.
    memset(bytes, 7, 2048);
    OK(atrest_sector_cipher_encrypt_segments(cipher, UINT64_MAX - 1, two, 3));
    OK(atrest_sector_cipher_encrypt_streaming(cipher, UINT64_MAX - 1, bytes + 1024, bytes + 1024, 1024));
    CHECK(memcmp(bytes, bytes + 1024, 1024) == 0);
    OK(atrest_sector_cipher_decrypt_streaming(cipher, UINT64_MAX - 1, bytes, bytes + 1024, 1024));
    OK(atrest_sector_cipher_decrypt_segments(cipher, UINT64_MAX - 1, two, 3));
    CHECK(bytes[0] == 7 && memcmp(bytes, bytes + 1, 2047) == 0);

    // The four forms agree, and buffers that touch don't overlap.
    memset(bytes, 7, 1024);
    OK(atrest_sector_cipher_encrypt_to(cipher, 1, bytes, bytes + 512, 512));
    OK(atrest_sector_cipher_encrypt_to(cipher, 1, bytes, bytes, 512));
    CHECK(memcmp(bytes, bytes + 512, 512) == 0);
    OK(atrest_sector_cipher_decrypt_unit_to(cipher, tweak, bytes, bytes, 512));
    OK(atrest_sector_cipher_decrypt_unit(cipher, tweak, bytes + 512, 512));
    CHECK(bytes[0] == 7 && memcmp(bytes, bytes + 1, 1023) == 0);

    // From segments to segments, cut in different ways: what one run gives. A piece that stays where it is is done in place.
    static unsigned char plain[3 * 512], one_run[3 * 512], cut[3 * 512];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (unsigned char)(i * 7);
    OK(atrest_sector_cipher_encrypt_to(cipher, 40, plain, one_run, sizeof plain));
    const atrest_segment from[] = {{plain, 512}, {NULL, 0}, {plain + 512, 1024}};
    const atrest_segment to[] = {{cut, 1024}, {cut + 1024, 512}, {NULL, 0}};
    OK(atrest_sector_cipher_encrypt_segments_to(cipher, 40, from, 3, to, 3));
    CHECK(memcmp(cut, one_run, sizeof cut) == 0);
    OK(atrest_sector_cipher_decrypt_segments_to(cipher, 40, to, 3, to, 2));
    CHECK(memcmp(cut, plain, sizeof cut) == 0);
    OK(atrest_sector_cipher_decrypt_segments_to(cipher, 40, NULL, 0, NULL, 0));

    const atrest_segment out[] = {{bytes, 1024}, {bytes + 1024, 512}}, shorter[] = {{bytes, 1024}};
    const atrest_segment beside[] = {{plain, 1024}, {bytes + 1000, 512}}, uneven[] = {{plain, 1024}, {plain + 1024, 100}};
    const atrest_segment empty_base[] = {{plain, 1024}, {NULL, 512}};
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments_to(NULL, 0, from, 3, out, 2));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments_to(cipher, 0, NULL, 3, out, 2));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_encrypt_segments_to(cipher, 0, from, 3, NULL, 2));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_decrypt_segments_to(cipher, 0, empty_base, 2, out, 2));
    NO_BYTES(ATREST_ERR_LENGTH, atrest_sector_cipher_decrypt_segments_to(cipher, 0, from, (size_t)-1, out, 2));
    NO_BYTES(ATREST_ERR_LENGTH_MISMATCH, atrest_sector_cipher_encrypt_segments_to(cipher, 0, from, 3, shorter, 1));
    NO_BYTES(ATREST_ERR_PARTIAL_SECTOR, atrest_sector_cipher_encrypt_segments_to(cipher, 0, uneven, 2, out, 2));
    NO_BYTES(ATREST_ERR_SECTOR_OVERFLOW, atrest_sector_cipher_encrypt_segments_to(cipher, UINT64_MAX, from, 3, out, 2));
    // The second piece overlaps in part with its destination. The first is not touched either.
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_sector_cipher_encrypt_segments_to(cipher, 0, beside, 2, out, 2));

    atrest_sector_cipher_free(cipher);
    NO_BYTES(ATREST_ERR_INVALID_HANDLE, atrest_sector_cipher_encrypt(cipher, 0, bytes, 512));
    atrest_sector_cipher_free(cipher);
    NO_BYTES(ATREST_ERR_INVALID_HANDLE,
             atrest_sector_cipher_encrypt((const atrest_sector_cipher *)(const void *)dek, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_INVALID_HANDLE,
             atrest_sector_cipher_encrypt((const atrest_sector_cipher *)(const void *)(marked + 1), 0, bytes, 512));
}

static void key_wrap(void)
{
    const unsigned char kek[33] = {1}, key[16] = {2};
    unsigned char wrapped[24];
    NO_BYTES(ATREST_ERR_KEK_LENGTH, atrest_aes_kw_wrap(kek, 33, key, 16, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_WRAP_LENGTH, atrest_aes_kw_wrap(kek, 32, key, 15, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_aes_kw_wrap(NULL, 32, key, 16, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_aes_kw_wrap(kek, 32, NULL, 16, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_aes_kw_wrap(kek, 32, key, 16, NULL, 24, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_aes_kw_wrap(kek, 32, key, 16, bytes, 24, NULL));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_aes_kw_wrap(kek, 32, key, 16, bytes, 23, &len));
    CHECK(len == 24);
    OK(atrest_aes_kw_wrap(kek, 32, key, 16, wrapped, sizeof wrapped, &len));
    NO_BYTES(ATREST_ERR_UNWRAP_FAILED, atrest_aes_kw_unwrap(kek, 24, wrapped, 24, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_aes_kw_unwrap(kek, 32, wrapped, 24, bytes, 15, &len));
    CHECK(len == 16);
    OK(atrest_aes_kw_unwrap(kek, 32, wrapped, 24, wrapped, sizeof wrapped, &len));
    CHECK(len == 16 && memcmp(wrapped, key, 16) == 0);

    NO_BYTES(ATREST_ERR_WRAP_LENGTH, atrest_aes_kwp_wrap(kek, 16, NULL, 0, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_KEK_LENGTH, atrest_aes_kwp_wrap(kek, 0, key, 9, bytes, sizeof bytes, &len));
    OK(atrest_aes_kwp_wrap(kek, 16, key, 9, wrapped, sizeof wrapped, &len));
    CHECK(len == 24);
    NO_BYTES(ATREST_ERR_UNWRAP_FAILED, atrest_aes_kwp_unwrap(kek, 32, wrapped, 24, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_aes_kwp_unwrap(kek, 16, wrapped, 24, bytes, 8, &len));
    CHECK(len == 9);
    OK(atrest_aes_kwp_unwrap(kek, 16, wrapped, 24, bytes, 9, &len));
    CHECK(memcmp(bytes, key, 9) == 0);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    statuses();
    vault_files();

    atrest_dek *dek;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    atrest_vault *vault = new_vault("keys");
    vaults_of_callbacks(dek);
    deks(dek, vault);
    ciphers(dek);
    key_wrap();
    atrest_vault_free(vault);
    atrest_dek_free(dek);
    printf("%d checks passed\n", passed);
    return 0;
}
