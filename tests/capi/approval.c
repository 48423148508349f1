// Self-tests, limits of keys, and the mode of approved algorithms, which has no way back: so they have a program of their
// own. See checks.h.
#include "checks.h"

static uint32_t since_reset(const char *expected)
{
    uint32_t approval = 0;
    OK(atrest_approval_since_reset(&approval, TEXT, sizeof bytes, &len));
    CHECK(strstr(TEXT, expected) != NULL && len == strlen(TEXT));
    return approval;
}

static void limits(atrest_volume *volume)
{
    atrest_dek *dek, *stream_dek;
    atrest_sector_cipher *cipher;
    atrest_stream_cipher *stream;
    const uint8_t nonce[ATREST_NONCE_SIZE] = {1};
    uint64_t blocks = 7;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    OK(atrest_dek_generate(ATREST_AES_256_CTR, &stream_dek));
    OK(atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &cipher));
    OK(atrest_stream_cipher_new(stream_dek, nonce, &stream));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_usage(NULL, &blocks));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_usage(cipher, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_sector_cipher_count_in(NULL, 1));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_usage(NULL, &blocks));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_stream_cipher_usage(stream, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_stream_cipher_usage((atrest_stream_cipher *)(void *)cipher, &blocks));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_usage(NULL, &blocks));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_usage(volume, NULL));
    CHECK(blocks == 7);

    OK(atrest_sector_cipher_encrypt(cipher, 0, bytes, 512));
    OK(atrest_sector_cipher_usage(cipher, &blocks));
    CHECK(blocks == 32 && blocks < ATREST_BLOCKS_DUE);
    OK(atrest_sector_cipher_count_in(cipher, ATREST_BLOCKS_MAX - 64));
    NO_BYTES(ATREST_ERR_KEY_EXHAUSTED, atrest_sector_cipher_encrypt(cipher, 0, bytes, 1024));
    CHECK(strstr(atrest_last_error_message(), "4 PiB") != NULL);
    OK(atrest_sector_cipher_encrypt(cipher, 0, bytes, 512));
    OK(atrest_sector_cipher_decrypt(cipher, 0, bytes, 512));
    OK(atrest_stream_cipher_apply(stream, 4096 - 16, bytes, 16));
    OK(atrest_stream_cipher_usage(stream, &blocks));
    CHECK(blocks == 256);
    OK(atrest_volume_usage(volume, &blocks));
    CHECK(blocks == ATREST_BLOCKS_DUE);
    atrest_sector_cipher_free(cipher);
    atrest_stream_cipher_free(stream);
    atrest_dek_free(dek);
    atrest_dek_free(stream_dek);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    OK(atrest_self_test());

    // A vault under a passphrase needs Argon2; one under a key file doesn't.
    OK(atrest_approval_reset());
    CHECK(since_reset("approved") == ATREST_APPROVED);
    atrest_vault *old = new_vault("passphrase");
    CHECK(since_reset("Argon2id is not approved") == ATREST_NOT_APPROVED);
    char root[512];
    snprintf(root, sizeof root, "%s", in_folder("root"));
    OK(atrest_vault_generate_key_file(root));
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.key_file = root;
    atrest_vault *vault;
    OK(atrest_approval_reset());
    OK(atrest_vault_create_file(in_folder("keys"), &unlock, &vault));
    OK(atrest_vault_create_key(vault, "disks", NULL, 0));
    CHECK(since_reset("approved") == ATREST_APPROVED);

    uint32_t approval = 77;
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_approval_since_reset(NULL, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_approval_since_reset(&approval, TEXT, 8, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_approval_since_reset(&approval, NULL, 8, &len));
    CHECK(approval == 77);
    OK(atrest_approval_since_reset(&approval, NULL, 0, NULL));
    CHECK(approval == ATREST_APPROVED);

    atrest_device *device, *other;
    atrest_volume *volume, *hctr2;
    atrest_protector protector = with_vault(vault);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    atrest_format_options format = ATREST_FORMAT_OPTIONS_INIT;
    format.data_offset = 1 << 20;
    OK(atrest_device_create_file(in_folder("disk"), 2 << 20, &device));
    OK(atrest_volume_format(device, &protector, &format, &volume));
    atrest_volume_free(volume);
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    options.used_blocks = ATREST_BLOCKS_DUE;
    OK(atrest_volume_open(device, &credential, &options, &volume));
    format.dek_algorithm = ATREST_AES_256_HCTR2;
    OK(atrest_device_create_file(in_folder("other"), 2 << 20, &other));
    OK(atrest_volume_format(other, &protector, &format, &hctr2));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_approval(NULL, &approval, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_approval(volume, NULL, TEXT, sizeof bytes, &len));
    OK(atrest_volume_approval(volume, &approval, NULL, 0, NULL));
    CHECK(approval == ATREST_APPROVED);
    OK(atrest_volume_approval(hctr2, &approval, TEXT, sizeof bytes, &len));
    CHECK(approval == ATREST_NOT_APPROVED && strncmp(TEXT, "AES-HCTR2 is not approved: ", 27) == 0);
    limits(volume);

    uint32_t only = 7;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_is_approved_only(NULL));
    OK(atrest_is_approved_only(&only));
    CHECK(only == 0);
    // Moved to PBKDF2, the same passphrase opens it here.
    atrest_vault *moved = new_vault("moved");
    atrest_kdf kdf = ATREST_KDF_INIT;
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.iterations = 1000;
    unlock = with_passphrase("passphrase");
    unlock.kdf_memory_kib = unlock.kdf_passes = unlock.kdf_lanes = 0;
    unlock.kdf = &kdf;
    OK(atrest_vault_change_unlock(moved, &unlock));
    OK(atrest_vault_create_key(moved, "more", NULL, 0));
    atrest_vault_free(moved);
    OK(atrest_approved_only());
    OK(atrest_is_approved_only(&only));
    CHECK(only == 1);
    OK(atrest_self_test());
    unlock = with_passphrase("passphrase");
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_APPROVED, atrest_vault_open_file(in_folder("passphrase"), &unlock, &out));
    CHECK(strstr(atrest_last_error_message(), "Argon2id is not approved") != NULL);
    CHECK(strstr(atrest_last_error_message(), "change_unlock") != NULL);
    OK(atrest_vault_open_file(in_folder("moved"), &unlock, &moved));
    // So does a new one unless another KDF is named.
    unlock.kdf_memory_kib = unlock.kdf_passes = unlock.kdf_lanes = 0;
    atrest_vault *made;
    OK(atrest_vault_create_file(in_folder("made"), &unlock, &made));
    unlock.kdf_memory_kib = 64;
    unlock.kdf_passes = unlock.kdf_lanes = 1;
    IS(ATREST_ERR_NOT_APPROVED, atrest_vault_change_unlock(made, &unlock));
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_APPROVED, atrest_vault_create_file(in_folder("costs"), &unlock, &out));
    unlock.kdf_memory_kib = unlock.kdf_passes = unlock.kdf_lanes = 0;
    OK(atrest_vault_change_unlock(made, &unlock));
    atrest_vault_free(made);
    atrest_vault_free(moved);
    IS(ATREST_ERR_NOT_APPROVED, atrest_volume_read_at(hctr2, 0, bytes, 4096));
    IS(ATREST_ERR_NOT_APPROVED, atrest_volume_write_at(hctr2, 0, bytes, 4096));
    OK(atrest_volume_write_at(volume, 0, bytes, 4096));
    OK(atrest_volume_read_at(volume, 0, bytes, 4096));

    atrest_volume_free(volume);
    atrest_volume_free(hctr2);
    atrest_device_free(device);
    atrest_device_free(other);
    atrest_vault_free(vault);
    atrest_vault_free(old);
    printf("%d checks passed\n", passed);
    return 0;
}
