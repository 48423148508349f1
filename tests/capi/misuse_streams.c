// Stream ciphers, called with every wrong argument: see checks.h.
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
    OK(atrest_dek_wrap(dek, vault, "disks", "file", 4, envelope, sizeof envelope, &envelope_len));
    OK(atrest_dek_unwrap(vault, envelope, envelope_len, "file", 4, &again));
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

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_vault *vault = new_vault("streams");
    ciphers(vault);
    atrest_vault_free(vault);
    printf("%d checks passed\n", passed);
    return 0;
}
