// Stream ciphers and the prefixes of files, called with every wrong argument: see checks.h.
#include "checks.h"

static void ciphers(const atrest_vault *vault)
{
    const uint8_t nonce[ATREST_NONCE_SIZE] = {0xff, 0xff, 1};
    uint32_t algorithm;
    atrest_dek *dek, *again;
    atrest_stream_cipher *cipher, *other;
    OK(atrest_dek_generate(ATREST_AES_256_CTR, &dek));
    OK(atrest_dek_algorithm(dek, &algorithm));
    CHECK(algorithm == ATREST_AES_256_CTR);

    // One key serves one mode.
    for (uint32_t number = ATREST_AES_128_XTS; number < ATREST_AES_256_CTR; number++) {
        atrest_dek *wrong;
        OK(atrest_dek_generate(number, &wrong));
        NO_HANDLE(atrest_stream_cipher, ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest_stream_cipher_new(wrong, nonce, &out));
        atrest_dek_free(wrong);
    }
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_UNSUPPORTED_ALGORITHM,
              atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &out));

    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_new(NULL, nonce, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_new(dek, NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_new(dek, nonce, NULL));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_INVALID_HANDLE,
              atrest_stream_cipher_new((const atrest_dek *)(const void *)vault, nonce, &out));
    OK(atrest_stream_cipher_new(dek, nonce, &cipher));

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_apply(NULL, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_apply(cipher, 0, NULL, 512));
    OK(atrest_stream_cipher_apply(cipher, 0, NULL, 0));
    OK(atrest_stream_cipher_apply(cipher, UINT64_MAX, bytes, 1));
    NO_BYTES(ATREST_ERR_STREAM_OVERFLOW, atrest_stream_cipher_apply(cipher, UINT64_MAX, bytes, 2));
    NO_BYTES(ATREST_ERR_LENGTH, atrest_stream_cipher_apply(cipher, 0, bytes, (size_t)-1));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_apply_to(NULL, 0, marked, bytes, 16));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_apply_to(cipher, 0, NULL, bytes, 16));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_apply_to(cipher, 0, marked, NULL, 16));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_stream_cipher_apply_to(cipher, 0, bytes, bytes + 15, 16));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_stream_cipher_apply_to(cipher, 0, bytes + 1, bytes, 16));
    NO_BYTES(ATREST_ERR_STREAM_OVERFLOW, atrest_stream_cipher_apply_to(cipher, UINT64_MAX - 3, marked, bytes, 5));

    // The three forms agree, at any offset, in any pieces, and after the DEK went through an envelope.
    static unsigned char plain[1000], whole[1000], pieces[1000], envelope[ATREST_ENVELOPE_MAX];
    size_t envelope_len;
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (unsigned char)(i * 7);
    OK(atrest_stream_cipher_apply_to(cipher, 5, plain, whole, sizeof plain));
    CHECK(memcmp(plain, whole, sizeof plain) != 0);
    for (size_t i = 0; i < sizeof plain; i += 100)
        OK(atrest_stream_cipher_apply_to(cipher, 5 + i, plain + i, pieces + i, 100));
    CHECK(memcmp(pieces, whole, sizeof whole) == 0);
    OK(atrest_envelope_seal(dek, vault, "disks", "file", 4, envelope, sizeof envelope, &envelope_len));
    OK(atrest_envelope_unseal(vault, envelope, envelope_len, "file", 4, &again));
    OK(atrest_dek_algorithm(again, &algorithm));
    CHECK(algorithm == ATREST_AES_256_CTR);
    OK(atrest_stream_cipher_new(again, nonce, &other));
    OK(atrest_stream_cipher_apply(other, 5, whole, sizeof whole));
    OK(atrest_stream_cipher_apply_to(other, 5, pieces, pieces, sizeof pieces));
    CHECK(memcmp(whole, plain, sizeof plain) == 0 && memcmp(pieces, plain, sizeof plain) == 0);

    // A cipher outlives its DEK.
    atrest_dek_free(dek);
    atrest_dek_free(again);
    OK(atrest_stream_cipher_apply(cipher, 0, bytes, 100));
    atrest_stream_cipher_free(cipher);
    NO_BYTES(ATREST_ERR_INVALID_HANDLE, atrest_stream_cipher_apply(cipher, 0, bytes, 100));
    NO_BYTES(ATREST_ERR_INVALID_HANDLE,
             atrest_stream_cipher_apply((const atrest_stream_cipher *)(const void *)vault, 0, bytes, 100));
    atrest_stream_cipher_free(cipher);
    atrest_stream_cipher_free(NULL);
    atrest_stream_cipher_free(other);
}

// Files of sectors: `stream` is the prefix of one with a stream, `none` is no prefix.
static void sectors(atrest_vault *vault, const uint8_t *stream, const uint8_t *none)
{
    static uint8_t prefix[ATREST_FILE_PREFIX_SIZE], blank[ATREST_FILE_PREFIX_SIZE];
    const size_t size = sizeof prefix;
    size_t prefix_len = 1;
    uint8_t sector[512], again[512];
    char url[ATREST_KEY_URL_SIZE];
    atrest_sector_cipher *made, *opened;

#define CREATE(vault, key, context, sector_size, unit, prefix, cap, len) \
    atrest_file_prefix_create_sectors(vault, key, context, 2, sector_size, unit, prefix, cap, len, &out)
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              CREATE(NULL, "disks", "db", 512, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              CREATE(vault, NULL, "db", 512, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              CREATE(vault, "disks", NULL, 512, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              CREATE(vault, "disks", "db", 512, ATREST_UNIT_512, NULL, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT,
              CREATE(vault, "disks", "db", 512, ATREST_UNIT_512, prefix, size, NULL));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NO_SUCH_KEY,
              CREATE(vault, "tapes", "db", 512, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE,
              CREATE(vault, "disks", "db", 511, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE,
              CREATE(vault, "disks", "db", 520, ATREST_UNIT_512, prefix, size, &prefix_len));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_BAD_ENUM,
              CREATE(vault, "disks", "db", 512, 0, prefix, size, &prefix_len));
    CHECK(prefix_len == 1);
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_BUFFER_TOO_SHORT,
              CREATE(vault, "disks", "db", 512, ATREST_UNIT_512, prefix, size - 1, &prefix_len));
    CHECK(prefix_len == size && memcmp(prefix, blank, size) == 0);
#undef CREATE
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_create_sectors(vault, "disks", "db", 2, 512, ATREST_UNIT_512, prefix,
                                                                   size, &prefix_len, NULL));
    OK(atrest_file_prefix_create_sectors(vault, "disks", "db", 2, 512, ATREST_UNIT_512, prefix, size, &prefix_len, &made));
    OK(atrest_file_prefix_key_url(prefix, size, url, sizeof url, NULL));

#define OPEN(vault, prefix, len, context, sector_size, unit) \
    atrest_file_prefix_open_sectors(vault, prefix, len, context, 2, sector_size, unit, &out)
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT, OPEN(NULL, prefix, size, "db", 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT, OPEN(vault, NULL, size, "db", 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_NULL_ARGUMENT, OPEN(vault, prefix, size, NULL, 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE, OPEN(vault, prefix, size, "db", 65537, ATREST_UNIT_SECTOR));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_SECTOR_SIZE, OPEN(vault, prefix, size, "db", 520, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_BAD_ENUM, OPEN(vault, prefix, size, "db", 512, 4));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_CONTEXT_MISMATCH, OPEN(vault, prefix, size, "dc", 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_INVALID_PREFIX, OPEN(vault, prefix, size - 1, "db", 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_INVALID_PREFIX, OPEN(vault, none, size, "db", 512, ATREST_UNIT_512));
    // The one sort of file doesn't open as the other.
    NO_HANDLE(atrest_sector_cipher, ATREST_ERR_UNSUPPORTED_ALGORITHM,
              OPEN(vault, stream, size, "db", 512, ATREST_UNIT_512));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_UNSUPPORTED_ALGORITHM,
              atrest_file_prefix_open(vault, prefix, size, "db", 2, &out));
#undef OPEN
    IS(ATREST_ERR_NULL_ARGUMENT,
       atrest_file_prefix_open_sectors(vault, prefix, size, "db", 2, 512, ATREST_UNIT_512, NULL));
    OK(atrest_file_prefix_open_sectors(vault, prefix, size, "db", 2, 512, ATREST_UNIT_512, &opened));
    memset(sector, 7, sizeof sector);
    OK(atrest_sector_cipher_encrypt_to(made, 9, sector, again, sizeof sector));
    CHECK(memcmp(sector, again, sizeof sector) != 0);
    OK(atrest_sector_cipher_decrypt(opened, 9, again, sizeof again));
    CHECK(memcmp(sector, again, sizeof sector) == 0);
    atrest_sector_cipher_free(made);
    atrest_sector_cipher_free(opened);
}

static void prefixes(atrest_vault *vault)
{
    static uint8_t prefix[ATREST_FILE_PREFIX_SIZE], file[ATREST_FILE_PREFIX_SIZE + 100], small[ATREST_FILE_PREFIX_SIZE];
    const size_t size = sizeof prefix;
    size_t prefix_len = 1;
    char url[ATREST_KEY_URL_SIZE];
    atrest_stream_cipher *cipher, *again;

    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_file_prefix_create(NULL, "disks", "db", 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_file_prefix_create(vault, NULL, "db", 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_file_prefix_create(vault, "disks", NULL, 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_file_prefix_create(vault, "disks", "db", 2, NULL, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT,
              atrest_file_prefix_create(vault, "disks", "db", 2, prefix, size, NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_create(vault, "disks", "db", 2, prefix, size, &prefix_len, NULL));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NO_SUCH_KEY,
              atrest_file_prefix_create(vault, "tapes", "db", 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_INVALID_NAME,
              atrest_file_prefix_create(vault, "a/b", "db", 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NOT_UTF8,
              atrest_file_prefix_create(vault, BAD_UTF8, "db", 2, prefix, size, &prefix_len, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_CONTEXT_LENGTH,
              atrest_file_prefix_create(vault, "disks", prefix, ATREST_CONTEXT_MAX + 1, prefix, size, &prefix_len, &out));
    CHECK(prefix_len == 1 && memcmp(prefix, small, size) == 0);
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_BUFFER_TOO_SHORT,
              atrest_file_prefix_create(vault, "disks", "db", 2, prefix, size - 1, &prefix_len, &out));
    CHECK(prefix_len == size && memcmp(prefix, small, size) == 0);

    OK(atrest_file_prefix_create(vault, "disks", "db", 2, prefix, size, &prefix_len, &cipher));
    CHECK(prefix_len == size);
    OK(atrest_file_prefix_key_url(prefix, size, url, sizeof url, NULL));
    CHECK(strcmp(url + strlen(url) - 13, "/keys/disks/1") == 0);
    unsigned char print[ATREST_FINGERPRINT_SIZE] = {0}, same[ATREST_FINGERPRINT_SIZE] = {0};
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_fingerprint(vault, prefix, size, "db", 2, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_fingerprint(NULL, prefix, size, "db", 2, print));
    IS(ATREST_ERR_CONTEXT_MISMATCH, atrest_file_prefix_fingerprint(vault, prefix, size, "dc", 2, print));
    CHECK(memcmp(print, same, sizeof print) == 0);
    OK(atrest_file_prefix_fingerprint(vault, prefix, size, "db", 2, print));
    OK(atrest_file_prefix_fingerprint(vault, prefix, size, "db", 2, same));
    CHECK(memcmp(print, same, sizeof print) == 0);
    NO_BYTES(ATREST_ERR_INVALID_PREFIX, atrest_file_prefix_key_url(small, size, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_key_url(NULL, size, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_file_prefix_key_url(prefix, size, NULL, 0, &len));
    CHECK(len == strlen(url));

    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_open(NULL, prefix, size, "db", 2, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_open(vault, NULL, size, "db", 2, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_open(vault, prefix, size, NULL, 2, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_open(vault, prefix, size, "db", 2, NULL));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_CONTEXT_MISMATCH,
              atrest_file_prefix_open(vault, prefix, size, "dc", 2, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_INVALID_PREFIX, atrest_file_prefix_open(vault, NULL, 0, "db", 2, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_INVALID_PREFIX,
              atrest_file_prefix_open(vault, prefix, size - 1, "db", 2, &out));
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_INVALID_PREFIX, atrest_file_prefix_open(vault, small, size, "db", 2, &out));
    sectors(vault, prefix, small);
    atrest_vault *other = new_vault("others");
    NO_HANDLE(atrest_stream_cipher, ATREST_ERR_NOT_THIS_VAULT,
              atrest_file_prefix_open(other, prefix, size, "db", 2, &out));

    // A file that is made, rotated and opened. First, a device that is too small and one without a prefix are refused.
    memcpy(file, prefix, size);
    memset(file + size, 7, 100);
    OK(atrest_stream_cipher_apply(cipher, 0, file + size, 100));
    atrest_device *device, *short_device;
    OK(atrest_device_memory(sizeof file, &device));
    OK(atrest_device_memory(size - 1, &short_device));
    IS(ATREST_ERR_DEVICE_TOO_SMALL, atrest_file_prefix_rotate_kek(short_device, vault, "db", 2, NULL, 0));
    IS(ATREST_ERR_INVALID_PREFIX, atrest_file_prefix_rotate_kek(device, vault, "db", 2, NULL, 0));
    atrest_device_free(short_device);
    atrest_device_free(device);
    FILE *made = fopen(in_folder("file"), "wb");
    CHECK(made && fwrite(file, sizeof file, 1, made) == 1 && fclose(made) == 0);
    OK(atrest_device_open_file(in_folder("file"), 0, &device));
    OK(atrest_vault_rotate_key(vault, "disks", NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek(NULL, vault, "db", 2, NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek(device, NULL, "db", 2, NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek(device, vault, NULL, 2, NULL, 0));
    IS(ATREST_ERR_CONTEXT_MISMATCH, atrest_file_prefix_rotate_kek(device, vault, "dc", 2, NULL, 0));
    IS(ATREST_ERR_NOT_THIS_VAULT, atrest_file_prefix_rotate_kek(device, other, "db", 2, NULL, 0));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_file_prefix_rotate_kek(device, vault, "db", 2, TEXT, 10));
    same[0] ^= 1;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek_expecting(device, vault, "db", 2, NULL, NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek_expecting(NULL, vault, "db", 2, print, NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_file_prefix_rotate_kek_expecting(device, NULL, "db", 2, print, NULL, 0));
    IS(ATREST_ERR_OTHER_DEK, atrest_file_prefix_rotate_kek_expecting(device, vault, "db", 2, same, NULL, 0));
    OK(atrest_file_prefix_rotate_kek_expecting(device, vault, "db", 2, print, url, sizeof url));
    CHECK(strcmp(url + strlen(url) - 13, "/keys/disks/2") == 0);
    OK(atrest_file_prefix_rotate_kek(device, vault, "db", 2, url, sizeof url));
    CHECK(strcmp(url + strlen(url) - 13, "/keys/disks/2") == 0);
    OK(atrest_file_prefix_rotate_kek(device, vault, "db", 2, NULL, 0));
    atrest_device_free(device);

    made = fopen(in_folder("file"), "rb");
    CHECK(made && fread(file, sizeof file, 1, made) == 1 && fclose(made) == 0);
    OK(atrest_file_prefix_open(vault, file, size, "db", 2, &again));
    OK(atrest_stream_cipher_apply(again, 0, file + size, 100));
    CHECK(file[size] == 7 && memcmp(file + size, file + size + 1, 99) == 0);
    // The prefix from before still opens, as long as the old version is there.
    atrest_stream_cipher_free(again);
    OK(atrest_file_prefix_open(vault, prefix, size, "db", 2, &again));
    atrest_stream_cipher_free(again);
    atrest_stream_cipher_free(cipher);
    atrest_vault_free(other);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_vault *vault = new_vault("streams");
    ciphers(vault);
    prefixes(vault);
    atrest_vault_free(vault);
    printf("%d checks passed\n", passed);
    return 0;
}
