// Use and misuse of re-encryption, encryption and decryption in place, and resizing.
#include "checks.h"

enum { MIB = 1 << 20 };

static atrest_keyslot_options keyslot = ATREST_KEYSLOT_OPTIONS_INIT;
static atrest_kdf cheap = ATREST_KDF_INIT;
static char sectors[8192], written[8192];

static atrest_protector by_passphrase(const char *passphrase)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = passphrase;
    protector.passphrase_len = strlen(passphrase);
    return protector;
}

static atrest_status open_with(atrest_device *device, const char *passphrase, atrest_device *header, uint32_t flags,
                               atrest_volume **volume)
{
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = passphrase;
    credential.passphrase_len = strlen(passphrase);
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    options.flags = flags;
    options.header = header;
    return atrest_volume_open(device, &credential, &options, volume);
}

static void finish(atrest_volume *volume, uint64_t total)
{
    atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
    OK(atrest_volume_reencryption(volume, &progress));
    CHECK(progress.under_way == 1 && progress.total == total);
    do {
        OK(atrest_volume_reencrypt_step(volume, 512 << 10, &progress));
        CHECK(progress.done <= progress.total && progress.rate > 0);
    } while (progress.under_way);
    CHECK(progress.done == total && progress.total == total);
    OK(atrest_volume_reencrypt_step(volume, 1, NULL));
    OK(atrest_volume_reencryption(volume, &progress));
    CHECK(progress.under_way == 0 && progress.total == 0 && progress.time_left_ms == 0);
    OK(atrest_volume_read_at(volume, 0, sectors, sizeof sectors));
    CHECK(memcmp(sectors, written, sizeof written) == 0);
}

static void reencrypting(atrest_volume *volume)
{
    atrest_protector first = by_passphrase("second"), none = ATREST_PROTECTOR_INIT;
    const atrest_protector *protectors[] = {&first}, *bad[] = {&first, NULL}, *kindless[] = {&none};
    atrest_reencrypt_options options = ATREST_REENCRYPT_OPTIONS_INIT;
    options.keyslot = &keyslot;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_reencryption(NULL, protectors, 1, &options));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_reencryption(volume, NULL, 1, &options));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_reencryption(volume, bad, 2, &options));
    IS(ATREST_ERR_INVALID_OPTION, atrest_volume_begin_reencryption(volume, protectors, 0, &options));
    IS(ATREST_ERR_BAD_ENUM, atrest_volume_begin_reencryption(volume, kindless, 1, &options));
    options.resilience = 9;
    IS(ATREST_ERR_BAD_ENUM, atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    options.resilience = ATREST_RESILIENCE_JOURNAL;
    options.dek_algorithm = 99;
    IS(ATREST_ERR_BAD_ENUM, atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    options.dek_algorithm = ATREST_AES_256_CTR;
    IS(ATREST_ERR_INVALID_OPTION, atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    options.dek_algorithm = ATREST_AES_128_XTS;
    options.sector_size = 1000;
    CHECK(atrest_volume_begin_reencryption(volume, protectors, 1, &options) != ATREST_OK);
    options.sector_size = 4096;
    options.struct_size = 8;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    options.struct_size = sizeof options;
    OK(atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    IS(ATREST_ERR_BUSY, atrest_volume_begin_reencryption(volume, protectors, 1, &options));
    IS(ATREST_ERR_BUSY, atrest_volume_resize(volume, 0, NULL));
    CHECK(atrest_volume_remove_keyslot(volume, 0) != ATREST_OK);
    atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
    progress.struct_size = 3;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_volume_reencrypt_step(volume, 1, &progress));
    IS(ATREST_ERR_STRUCT_SIZE, atrest_volume_reencryption(volume, &progress));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_reencrypt_step(NULL, 1, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_reencryption(volume, NULL));
    OK(atrest_volume_reencrypt_step(volume, 1, NULL));
    IS(ATREST_ERR_MISALIGNED, atrest_volume_read_at(volume, 0, sectors, 512));
    finish(volume, 4 * MIB);
}

static void resizing(atrest_volume *volume)
{
    uint64_t size = 0;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_resize(NULL, 0, &size));
    IS(ATREST_ERR_INVALID_OPTION, atrest_volume_resize(volume, 4 * MIB + 4096, &size));
    IS(ATREST_ERR_INVALID_OPTION, atrest_volume_resize(volume, 4095, &size));
    OK(atrest_volume_resize(volume, MIB, &size));
    CHECK(size == MIB);
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_read_at(volume, MIB, sectors, 4096));
    OK(atrest_volume_resize(volume, 0, NULL));
    OK(atrest_volume_read_at(volume, MIB, sectors, 4096));
}

static void in_place(void)
{
    atrest_device *plain, *header;
    atrest_volume *volume = NULL;
    OK(atrest_device_memory(4 * MIB, &plain));
    OK(atrest_device_memory(16 * MIB, &header));
    atrest_protector by = by_passphrase("first");
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    options.keyslot = &keyslot;
    // Without a free end there is no room for a header.
    options.data_offset = MIB;
    NO_HANDLE(atrest_volume, ATREST_ERR_INVALID_OPTION,
              atrest_volume_begin_encryption(plain, &by, &options, 2 * MIB - 1, &out));
    NO_HANDLE(atrest_volume, ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_encryption(NULL, &by, &options, 0, &out));
    NO_HANDLE(atrest_volume, ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_encryption(plain, NULL, &options, 0, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_encryption(plain, &by, &options, 0, NULL));
    options.data_offset = 0;
    options.header = header;
    NO_HANDLE(atrest_volume, ATREST_ERR_INVALID_OPTION,
              atrest_volume_begin_encryption(plain, &by, &options, MIB, &out));
    OK(atrest_volume_begin_encryption(plain, &by, &options, 0, &volume));
    OK(atrest_volume_write_at(volume, 0, written, sizeof written));
    NO_HANDLE(atrest_volume, ATREST_ERR_BUSY, atrest_volume_begin_encryption(plain, &by, &options, 0, &out));
    atrest_volume_free(volume);
    NO_HANDLE(atrest_volume, ATREST_ERR_UNSUPPORTED_HEADER, open_with(plain, "first", header, 0, &out));
    OK(open_with(plain, "first", header, ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED, &volume));
    finish(volume, 4 * MIB);
    atrest_volume_free(volume);

    OK(open_with(plain, "first", header, 0, &volume));
    IS(ATREST_ERR_BAD_ENUM, atrest_volume_begin_decryption(volume, 7));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_decryption(NULL, ATREST_RESILIENCE_CHECKSUM));
    OK(atrest_volume_begin_decryption(volume, ATREST_RESILIENCE_CHECKSUM));
    finish(volume, 4 * MIB);
    atrest_volume_free(volume);
    NO_HANDLE(atrest_volume, ATREST_ERR_NOT_LUKS, open_with(plain, "first", header, 0, &out));
    atrest_device_free(header);
    atrest_device_free(plain);
}

static void over_the_header(atrest_device *device)
{
    atrest_device *small, *header;
    atrest_volume *volume = NULL;
    OK(atrest_device_memory(MIB, &small));
    OK(atrest_device_memory(2 * MIB, &header));
    OK(open_with(device, "second", NULL, ATREST_OPEN_HAZMAT_IGNORE_TOKENS, &volume));
    OK(atrest_volume_write_at(volume, 0, written, sizeof written));
    uint32_t how = ATREST_RESILIENCE_JOURNAL;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_decryption_beside(NULL, header, how));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_decryption_beside(volume, NULL, how));
    IS(ATREST_ERR_BAD_ENUM, atrest_volume_begin_decryption_beside(volume, header, 7));
    IS(ATREST_ERR_DEVICE_TOO_SMALL, atrest_volume_begin_decryption_beside(volume, small, how));
    IS(ATREST_ERR_DEVICE_NOT_BLANK, atrest_volume_begin_decryption_beside(volume, device, how));
    OK(atrest_volume_begin_decryption_beside(volume, header, how));
    atrest_volume_free(volume);
    NO_HANDLE(atrest_volume, ATREST_ERR_NOT_LUKS, open_with(device, "second", NULL, 0, &out));
    OK(open_with(device, "second", header, ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED, &volume));
    IS(ATREST_ERR_BUSY, atrest_volume_begin_decryption_beside(volume, header, how));
    finish(volume, 4 * MIB);
    atrest_volume_free(volume);
    atrest_device_free(header);
    atrest_device_free(small);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    cheap.kind = ATREST_KDF_PBKDF2;
    cheap.iterations = 1000;
    keyslot.kdf = &cheap;
    (void)bytes, (void)len;
    memset(written, 0x5A, sizeof written);

    atrest_device *device;
    atrest_volume *volume = NULL;
    atrest_protector by = by_passphrase("first");
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    options.keyslot = &keyslot;
    options.data_offset = 2 * MIB;
    OK(atrest_device_memory(6 * MIB, &device));
    OK(atrest_volume_format(device, &by, &options, &volume));
    OK(atrest_volume_write_at(volume, 0, written, sizeof written));
    IS(ATREST_ERR_UNSUPPORTED_HEADER, atrest_volume_begin_decryption(volume, ATREST_RESILIENCE_CHECKSUM));
    IS(ATREST_ERR_INVALID_OPTION, atrest_hazmat_volume_resume_unprotected(volume, ATREST_RESILIENCE_CHECKSUM));
    IS(ATREST_ERR_BAD_ENUM, atrest_hazmat_volume_resume_unprotected(volume, 7));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_volume_resume_unprotected(NULL, ATREST_RESILIENCE_CHECKSUM));
    reencrypting(volume);
    resizing(volume);
    atrest_volume_free(volume);
    NO_HANDLE(atrest_volume, ATREST_ERR_WRONG_PASSPHRASE, open_with(device, "first", NULL, 0, &out));
    OK(open_with(device, "second", NULL, ATREST_OPEN_HAZMAT_IGNORE_TOKENS, &volume));
    atrest_volume_free(volume);
    NO_HANDLE(atrest_volume, ATREST_ERR_BAD_ENUM, open_with(device, "second", NULL, 1u << 20, &out));
    over_the_header(device);
    atrest_device_free(device);
    in_place();
    printf("%d checks passed\n", passed);
    return 0;
}
