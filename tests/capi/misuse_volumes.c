// Misuse of devices and volumes.
#include "checks.h"

// A device of callbacks that fails on request.
static struct {
    unsigned char *memory;
    int fail_read, fail_write, fail_sync, released;
    atrest_status fail_discard;
    uint64_t discarded_from, discarded;
} disk;

#define DISK_SIZE ((size_t)2 << 20)

static atrest_status read_at(void *user, uint64_t offset, void *to, size_t count)
{
    CHECK(user == &disk && offset + count <= DISK_SIZE);
    memcpy(to, disk.memory + offset, count);
    return disk.fail_read ? 5 : ATREST_OK;
}

static atrest_status write_at(void *user, uint64_t offset, const void *from, size_t count)
{
    CHECK(user == &disk && offset + count <= DISK_SIZE);
    if (disk.fail_write)
        return 6;
    memcpy(disk.memory + offset, from, count);
    return ATREST_OK;
}

static atrest_status discard(void *user, uint64_t offset, uint64_t count)
{
    CHECK(user == &disk && offset + count <= DISK_SIZE);
    if (disk.fail_discard != ATREST_OK)
        return disk.fail_discard;
    memset(disk.memory + offset, 0xDD, count);
    disk.discarded_from = offset;
    disk.discarded += count;
    return ATREST_OK;
}

static atrest_status sync_disk(void *user)
{
    CHECK(user == &disk);
    return disk.fail_sync ? 7 : ATREST_OK;
}

static void release_disk(void *user)
{
    CHECK(user == &disk);
    disk.released++;
}

static void devices(void)
{
    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_open_file(NULL, 0, &out));
    NO_HANDLE(atrest_device, ATREST_ERR_NOT_FOUND, atrest_device_open_file(in_folder("none"), 0, &out));
    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_create_file(NULL, 10, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_device_create_file(in_folder("none"), 10, NULL));
    NO_HANDLE(atrest_device, ATREST_ERR_NO_MEMORY, atrest_device_memory((size_t)-1, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_device_memory(10, NULL));

    atrest_device *device;
    OK(atrest_device_create_file(in_folder("device"), 4096, &device));
    NO_HANDLE(atrest_device, ATREST_ERR_ALREADY_EXISTS, atrest_device_create_file(in_folder("device"), 10, &out));
    NO_HANDLE(atrest_device, ATREST_ERR_BUSY, atrest_device_open_file(in_folder("device"), 0, &out));
    NO_HANDLE(atrest_device, ATREST_ERR_BAD_ENUM, atrest_device_open_file(in_folder("device"), 4, &out));
    atrest_device_free(device);
    atrest_device_free(device);
    // Not every file system can do that.
    if (atrest_device_open_file(in_folder("device"), ATREST_DEVICE_DIRECT_IO, &device) == ATREST_OK)
        atrest_device_free(device);

    atrest_device_callbacks callbacks = ATREST_DEVICE_CALLBACKS_INIT;
    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_from_callbacks(NULL, &out));
    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_from_callbacks(&callbacks, &out));
    callbacks.read_at = read_at;
    callbacks.write_at = write_at;
    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_from_callbacks(&callbacks, &out));
    callbacks.sync = sync_disk;
    callbacks.alignment = 1000;
    NO_HANDLE(atrest_device, ATREST_ERR_INVALID_OPTION, atrest_device_from_callbacks(&callbacks, &out));
    callbacks.struct_size += 8;
    NO_HANDLE(atrest_device, ATREST_ERR_STRUCT_SIZE, atrest_device_from_callbacks(&callbacks, &out));
}

// Ranges without a buffer. Discards are allowed or not.
static void ranges(atrest_volume *volume, uint64_t size, uint64_t data, int discards)
{
    unsigned char plain[8192], back[8192];
    uint32_t says = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_discards(NULL, &says));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_discards(volume, NULL));
    CHECK(says == 77);
    OK(atrest_volume_discards(volume, &says));
    CHECK(says == (uint32_t)discards);
#define BAD_RANGE(wanted, volume, offset, len)                                                      \
    do {                                                                                            \
        IS(wanted, atrest_volume_write_zeroes(volume, offset, len));                                \
        IS(wanted, atrest_volume_discard(volume, offset, len));                                     \
    } while (0)
    BAD_RANGE(ATREST_ERR_NULL_ARGUMENT, NULL, 0, 4096);
    BAD_RANGE(ATREST_ERR_MISALIGNED, volume, 512, 4096);
    BAD_RANGE(ATREST_ERR_MISALIGNED, volume, 0, 512);
    BAD_RANGE(ATREST_ERR_OUT_OF_BOUNDS, volume, size, 4096);
    BAD_RANGE(ATREST_ERR_OUT_OF_BOUNDS, volume, 4096, UINT64_MAX - 4095);
    BAD_RANGE(ATREST_ERR_OUT_OF_BOUNDS, volume, UINT64_MAX - 4095, 4096);
    memset(plain, 5, sizeof plain);
    OK(atrest_volume_write_at(volume, 4096, plain, 8192));
    disk.fail_write = 1;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_volume_write_zeroes(volume, 4096, 4096));
    disk.fail_write = 0;
    OK(atrest_volume_write_zeroes(volume, 4096, 4096));
    OK(atrest_volume_write_zeroes(volume, size, 0));
    memset(plain, 0, 4096);
    OK(atrest_volume_read_at(volume, 4096, back, 8192));
    CHECK(memcmp(back, plain, 8192) == 0 && memcmp(disk.memory + data + 4096, plain, 4096) != 0);

    disk.discarded = 0;
    OK(atrest_volume_discard(volume, 0, 0));
    OK(atrest_volume_discard(volume, 4096, 4096));
    CHECK(disk.discarded == (discards ? 4096u : 0));
    CHECK(!discards || (disk.discarded_from == data + 4096 && disk.memory[data + 4096] == 0xDD));
    OK(atrest_volume_read_at(volume, 8192, back, 4096));
    CHECK(memcmp(back, plain + 4096, 4096) == 0);
    disk.fail_discard = 8;
    IS(discards ? ATREST_ERR_CALLBACK_FAILED : ATREST_OK, atrest_volume_discard(volume, 4096, 4096));
    // That it can't is no failure.
    disk.fail_discard = ATREST_ERR_UNSUPPORTED;
    OK(atrest_volume_discard(volume, 4096, 4096));
    disk.fail_discard = ATREST_OK;
}

// What engines need: in place, in segments, and by I/O of their own.
static void engines(atrest_volume *volume, uint64_t size, uint64_t data)
{
    unsigned char plain[8192], back[8192], cipher[8192];
    uint64_t at = 77;
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (unsigned char)(i / 5);
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_in_place(NULL, 0, bytes, 4096));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_in_place(volume, 0, NULL, 4096));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_write_in_place(volume, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_write_in_place(volume, size, bytes, 4096));
    memcpy(cipher, plain, sizeof cipher);
    OK(atrest_volume_write_in_place(volume, 4096, cipher, 8192));
    CHECK(memcmp(cipher, plain, 8192) != 0 && memcmp(cipher, disk.memory + data + 4096, 8192) == 0);
    OK(atrest_volume_read_at(volume, 4096, back, 8192));
    CHECK(memcmp(back, plain, 8192) == 0);

    atrest_segment two[2] = {{plain, 4096}, {plain + 4096, 4096}}, twice[2] = {{bytes, 4096}, {bytes, 4096}};
    atrest_segment part[1] = {{bytes, 100}}, null[1] = {{NULL, 4096}}, into[3] = {{back + 4096, 4096}, {NULL, 0}, {back, 4096}};
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_vectored_at(NULL, 0, two, 2));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_vectored_at(volume, 0, NULL, 2));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_vectored_at(volume, 0, null, 1));
    IS(ATREST_ERR_MISALIGNED, atrest_volume_write_vectored_at(volume, 0, part, 1));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_write_vectored_at(volume, size - 4096, two, 2));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_read_vectored_at(NULL, 0, part, 1));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_read_vectored_at(volume, 0, null, 1));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_read_vectored_at(volume, 0, part, 1));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_volume_read_vectored_at(volume, 0, twice, 2));
    OK(atrest_volume_write_vectored_at(volume, 0, two, 2));
    OK(atrest_volume_read_vectored_at(volume, 0, into, 3));
    CHECK(memcmp(back + 4096, plain, 4096) == 0 && memcmp(back, plain + 4096, 4096) == 0);
    OK(atrest_volume_write_vectored_at(volume, 0, NULL, 0));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_read(NULL, 0, 4096, &at));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_read(volume, 0, 4096, NULL));
    IS(ATREST_ERR_MISALIGNED, atrest_volume_begin_read(volume, 1, 4096, &at));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_begin_read(volume, size, 4096, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_complete_read(NULL, 0, bytes, 4096));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_complete_read(volume, 0, NULL, 4096));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_complete_read(volume, 0, bytes, 100));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_complete_read(volume, size, bytes, 4096));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write(NULL, 0, bytes, 4096, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write(volume, 0, NULL, 4096, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write(volume, 0, bytes, 4096, NULL));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_begin_write(volume, 0, bytes, 100, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write_from(volume, 0, NULL, bytes, 4096, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write_from(volume, 0, plain, NULL, 4096, &at));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_begin_write_from(volume, 0, plain, bytes, 4096, NULL));
    NO_BYTES(ATREST_ERR_OVERLAP, atrest_volume_begin_write_from(volume, 0, bytes + 16, bytes, 2048, &at));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_begin_write_from(volume, size, plain, bytes, 4096, &at));
    CHECK(at == 77);
    OK(atrest_volume_begin_write_from(volume, 8192, plain, cipher, 8192, &at));
    CHECK(at == data + 8192);
    memcpy(back, plain, sizeof back);
    OK(atrest_volume_begin_write(volume, 8192, back, 8192, &at));
    CHECK(memcmp(back, cipher, 8192) == 0);
    memcpy(disk.memory + at, back, 8192);
    OK(atrest_volume_read_at(volume, 8192, back, 8192));
    CHECK(memcmp(back, plain, 8192) == 0);
    OK(atrest_volume_begin_read(volume, 8192, 8192, &at));
    memcpy(back, disk.memory + at, 8192);
    OK(atrest_volume_complete_read(volume, 8192, back, 8192));
    CHECK(memcmp(back, plain, 8192) == 0);
    // The same buffer is one in place.
    OK(atrest_volume_begin_write_from(volume, 8192, back, back, 8192, &at));
    CHECK(memcmp(back, cipher, 8192) == 0);
}

static atrest_device *new_disk(void)
{
    atrest_device_callbacks callbacks = ATREST_DEVICE_CALLBACKS_INIT;
    callbacks.user = &disk;
    callbacks.size = DISK_SIZE;
    callbacks.read_at = read_at;
    callbacks.write_at = write_at;
    callbacks.discard = discard;
    callbacks.sync = sync_disk;
    callbacks.release = release_disk;
    atrest_device *device;
    disk.memory = (unsigned char *)calloc(1, DISK_SIZE);
    CHECK(disk.memory != NULL);
    OK(atrest_device_from_callbacks(&callbacks, &device));
    return device;
}

static void formatting(atrest_device *device, const atrest_vault *vault)
{
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT, bad;
    options.data_offset = 1 << 20;
#define NO_FORMAT(wanted, device, protector, options)                                               \
    NO_HANDLE(atrest_volume, wanted, atrest_volume_format(device, protector, options, &out))
    atrest_protector protector = with_vault(vault), wrong;
    NO_FORMAT(ATREST_ERR_NULL_ARGUMENT, NULL, &protector, &options);
    NO_FORMAT(ATREST_ERR_NULL_ARGUMENT, device, NULL, &options);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_format(device, &protector, &options, NULL));
    NO_FORMAT(ATREST_ERR_DEVICE_TOO_SMALL, device, &protector, NULL);
#define BAD_PROTECTOR(wanted, member, value)                                                        \
    do {                                                                                            \
        wrong = protector;                                                                          \
        wrong.member = value;                                                                       \
        NO_FORMAT(wanted, device, &wrong, &options);                                                \
    } while (0)
    BAD_PROTECTOR(ATREST_ERR_STRUCT_SIZE, struct_size, 1);
    BAD_PROTECTOR(ATREST_ERR_BAD_ENUM, kind, 0);
    BAD_PROTECTOR(ATREST_ERR_BAD_ENUM, kind, ATREST_CREDENTIAL_DEK);
    BAD_PROTECTOR(ATREST_ERR_NULL_ARGUMENT, vault, NULL);
    BAD_PROTECTOR(ATREST_ERR_INVALID_HANDLE, vault, (const atrest_vault *)(void *)device);
    BAD_PROTECTOR(ATREST_ERR_NULL_ARGUMENT, key_name, NULL);
    BAD_PROTECTOR(ATREST_ERR_NOT_UTF8, key_name, BAD_UTF8);
    BAD_PROTECTOR(ATREST_ERR_NO_SUCH_KEY, key_name, "none");
    BAD_PROTECTOR(ATREST_ERR_INVALID_NAME, key_name, "");
    BAD_PROTECTOR(ATREST_ERR_NULL_ARGUMENT, kind, ATREST_PROTECTOR_KEY_FILE);
    BAD_PROTECTOR(ATREST_ERR_INVALID_OPTION, kind, ATREST_PROTECTOR_PASSPHRASE);
#define BAD_OPTION(wanted, member, value)                                                           \
    do {                                                                                            \
        bad = options;                                                                              \
        bad.member = value;                                                                         \
        NO_FORMAT(wanted, device, &protector, &bad);                                                \
    } while (0)
    BAD_OPTION(ATREST_ERR_STRUCT_SIZE, struct_size, 0);
    BAD_OPTION(ATREST_ERR_BAD_ENUM, flags, 2);
    BAD_OPTION(ATREST_ERR_SECTOR_SIZE, sector_size, 100);
    BAD_OPTION(ATREST_ERR_SECTOR_SIZE, sector_size, 8192);
    BAD_OPTION(ATREST_ERR_BAD_ENUM, dek_algorithm, ATREST_AES_192_XTS + 1);
    BAD_OPTION(ATREST_ERR_INVALID_OPTION, dek_algorithm, ATREST_AES_256_CBC);
    BAD_OPTION(ATREST_ERR_INVALID_OPTION, dek_algorithm, ATREST_AES_256_CTR);
    BAD_OPTION(ATREST_ERR_BAD_ENUM, encryption_type, 4);
    BAD_OPTION(ATREST_ERR_INVALID_OPTION, data_offset, 4096);
    BAD_OPTION(ATREST_ERR_INVALID_OPTION, label, "a label that is much too long for the header of a LUKS2 volume");
    BAD_OPTION(ATREST_ERR_NOT_UTF8, subsystem, BAD_UTF8);
    BAD_OPTION(ATREST_ERR_NULL_ARGUMENT, context_len, 1);
    BAD_OPTION(ATREST_ERR_BAD_ENUM, luks_version, 3);
    BAD_OPTION(ATREST_ERR_INVALID_OPTION, luks_version, ATREST_LUKS1);
    BAD_OPTION(ATREST_ERR_INVALID_HANDLE, header, (atrest_device *)(void *)vault);
    BAD_OPTION(ATREST_ERR_INVALID_HANDLE, hazmat_dek, (const atrest_dek *)(const void *)vault);
    disk.fail_read = 1;
    NO_FORMAT(ATREST_ERR_CALLBACK_FAILED, device, &protector, &options);
    disk.fail_read = 0;
    disk.fail_write = 1;
    NO_FORMAT(ATREST_ERR_CALLBACK_FAILED, device, &protector, &options);
    disk.fail_write = 0;
    disk.memory[4242] = 1;
    NO_FORMAT(ATREST_ERR_DEVICE_NOT_BLANK, device, &protector, &options);
}

static atrest_status stop_urls(void *user, const char *url)
{
    (void)user;
    CHECK(strstr(url, "/keys/disks/1") != NULL);
    return 78;
}

static void reading_and_writing(atrest_volume *volume, const atrest_vault *vault)
{
    uint64_t size = 0, offset = 0;
    uint32_t sector_size = 0;
    OK(atrest_volume_size(volume, &size));
    OK(atrest_volume_data_offset(volume, &offset));
    OK(atrest_volume_sector_size(volume, &sector_size));
    CHECK(size == 1 << 20 && offset == 1 << 20 && sector_size == 4096);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_size(volume, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_size(NULL, &size));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_data_offset(volume, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_sector_size(volume, NULL));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_volume_uuid(volume, TEXT, 36, &len));
    CHECK(len == 36);
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_volume_dek(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_dek(volume, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_key_urls(volume, NULL, NULL));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_volume_key_urls(volume, stop_urls, NULL));

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_read_at(NULL, 0, bytes, 4096));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_read_at(volume, 0, NULL, 4096));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_read_at(volume, 512, bytes, 4096));
    NO_BYTES(ATREST_ERR_MISALIGNED, atrest_volume_read_at(volume, 0, bytes, 512));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_read_at(volume, size, bytes, 4096));
    NO_BYTES(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_read_at(volume, UINT64_MAX - 4095, bytes, 4096));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_at(NULL, 0, marked, 4096));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_write_at(volume, 0, NULL, 4096));
    IS(ATREST_ERR_MISALIGNED, atrest_volume_write_at(volume, 1, marked, 4096));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_write_at(volume, size, marked, 4096));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_sync(NULL));
    disk.fail_read = disk.fail_write = disk.fail_sync = 1;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_volume_read_at(volume, 0, bytes, 4096));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_volume_write_at(volume, 0, marked, 4096));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_volume_sync(volume));
    disk.fail_read = disk.fail_write = disk.fail_sync = 0;
    OK(atrest_volume_write_at(volume, 0, marked, 4096));
    OK(atrest_volume_read_at(volume, 0, bytes, 4096));
    CHECK(memcmp(bytes, marked, 4096) == 0 && memcmp(bytes, disk.memory + offset, 4096) != 0);
    engines(volume, size, offset);
    ranges(volume, size, offset, 0);

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_rotate_kek(NULL, vault, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_rotate_kek(volume, NULL, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_volume_rotate_kek(volume, vault, TEXT, 100));
    atrest_vault *other = new_vault("another");
    NO_BYTES(ATREST_ERR_NOT_THIS_VAULT, atrest_volume_rotate_kek(volume, other, TEXT, sizeof bytes));
    atrest_vault_free(other);
}

static void opening(atrest_device *device, const atrest_vault *vault, const atrest_dek *wrong_dek)
{
    atrest_credential credential = ATREST_CREDENTIAL_INIT, bad;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
#define NO_VOLUME(wanted, credential, options)                                                      \
    NO_HANDLE(atrest_volume, wanted, atrest_volume_open(device, credential, options, &out))
    NO_HANDLE(atrest_volume, ATREST_ERR_NULL_ARGUMENT, atrest_volume_open(NULL, &credential, NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_open(device, &credential, NULL, NULL));
    NO_VOLUME(ATREST_ERR_NULL_ARGUMENT, NULL, NULL);
    bad = credential;
    bad.struct_size = 4;
    NO_VOLUME(ATREST_ERR_STRUCT_SIZE, &bad, NULL);
    bad = credential;
    bad.kind = 0;
    NO_VOLUME(ATREST_ERR_BAD_ENUM, &bad, NULL);
    bad.kind = 99;
    NO_VOLUME(ATREST_ERR_BAD_ENUM, &bad, NULL);
    bad.kind = ATREST_CREDENTIAL_KEY_FILE;
    NO_VOLUME(ATREST_ERR_NULL_ARGUMENT, &bad, NULL);
    bad.key_file = in_folder("none");
    NO_VOLUME(ATREST_ERR_NOT_FOUND, &bad, NULL);
    bad.kind = ATREST_CREDENTIAL_PASSPHRASE; // an empty one may open what another program made
    NO_VOLUME(ATREST_ERR_NO_SUCH_PROTECTOR, &bad, NULL);
    bad.passphrase_len = 4;
    NO_VOLUME(ATREST_ERR_NULL_ARGUMENT, &bad, NULL);
    bad.passphrase = "none";
    NO_VOLUME(ATREST_ERR_NO_SUCH_PROTECTOR, &bad, NULL);
    bad.kind = ATREST_CREDENTIAL_DEK;
    NO_VOLUME(ATREST_ERR_NULL_ARGUMENT, &bad, NULL);
    bad.dek = wrong_dek;
    NO_VOLUME(ATREST_ERR_WRONG_KEY, &bad, NULL);
    bad.dek = (const atrest_dek *)(const void *)vault;
    NO_VOLUME(ATREST_ERR_INVALID_HANDLE, &bad, NULL);
    atrest_vault *other = new_vault("a third");
    bad = credential;
    bad.vault = other;
    NO_VOLUME(ATREST_ERR_NOT_THIS_VAULT, &bad, NULL);
    atrest_vault_free(other);
    NO_VOLUME(ATREST_ERR_INVALID_HANDLE, &bad, NULL);

    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    options.flags = 512;
    NO_VOLUME(ATREST_ERR_BAD_ENUM, &credential, &options);
    options.flags = ATREST_OPEN_READ_ONLY;
    options.context = "disk-18";
    options.context_len = 7;
    NO_VOLUME(ATREST_ERR_CONTEXT_MISMATCH, &credential, &options);
    options.context_len = 0;
    NO_VOLUME(ATREST_ERR_CONTEXT_MISMATCH, &credential, &options);
    options.context = "disk-17";
    options.context_len = 7;
    options.struct_size++;
    NO_VOLUME(ATREST_ERR_STRUCT_SIZE, &credential, &options);
    options.struct_size--;

    atrest_volume *volume;
    unsigned char print[ATREST_FINGERPRINT_SIZE] = {0};
    options.expected_fingerprint = print;
    NO_VOLUME(ATREST_ERR_OTHER_DEK, &credential, &options);
    options.expected_fingerprint = NULL;
    options.expected_key = "tapes";
    NO_VOLUME(ATREST_ERR_OTHER_KEY, &credential, &options);
    options.expected_key = BAD_UTF8;
    NO_VOLUME(ATREST_ERR_NOT_UTF8, &credential, &options);
    options.expected_key = "disks";
    OK(atrest_volume_open(device, &credential, &options, &volume));
    OK(atrest_volume_fingerprint(volume, print));
    atrest_volume_free(volume);
    options.expected_fingerprint = print;
    atrest_header *header;
    atrest_dek *proven;
    unsigned char same[ATREST_FINGERPRINT_SIZE] = {0};
    OK(atrest_header_load(device, &header));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_unlock(header, &credential, &options, NULL));
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_header_unlock(NULL, &credential, &options, &out));
    NO_HANDLE(atrest_dek, ATREST_ERR_NULL_ARGUMENT, atrest_header_unlock(header, NULL, &options, &out));
    OK(atrest_header_unlock(header, &credential, &options, &proven));
    OK(atrest_dek_fingerprint(proven, same));
    CHECK(memcmp(print, same, sizeof print) == 0);
    atrest_dek_free(proven);
    options.context = "disk-18";
    NO_HANDLE(atrest_dek, ATREST_ERR_CONTEXT_MISMATCH, atrest_header_unlock(header, &credential, &options, &out));
    options.context = "disk-17";
    atrest_header_free(header);
    OK(atrest_volume_open(device, &credential, &options, &volume));
    uint64_t recorded = 77;
    IS(ATREST_ERR_READ_ONLY, atrest_volume_record_size(volume, &recorded));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_record_size(NULL, &recorded));
    CHECK(recorded == 77);
    atrest_volume_free(volume);
    options.flags = 0;
    OK(atrest_volume_open(device, &credential, &options, &volume));
    OK(atrest_volume_record_size(volume, NULL));
    OK(atrest_volume_record_size(volume, &recorded));
    CHECK(recorded != 77);
    atrest_volume_free(volume);
    options.flags = ATREST_OPEN_DISCARD;
    OK(atrest_volume_open(device, &credential, &options, &volume));
    ranges(volume, recorded, 1 << 20, 1);
    atrest_volume_free(volume);
    options.flags = ATREST_OPEN_READ_ONLY;
    OK(atrest_volume_open(device, &credential, &options, &volume));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_write_at(volume, 0, marked, 4096));
    uint64_t at;
    NO_BYTES(ATREST_ERR_READ_ONLY, atrest_volume_write_in_place(volume, 0, bytes, 4096));
    NO_BYTES(ATREST_ERR_READ_ONLY, atrest_volume_begin_write(volume, 0, bytes, 4096, &at));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_write_zeroes(volume, 0, 4096));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_discard(volume, 0, 4096));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_rotate_kek(volume, vault, NULL, 0));
    atrest_volume_free(volume);
    atrest_volume_free(volume);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_volume_sync(volume));

    disk.memory[100] ^= 1;
    disk.memory[16384 + 100] ^= 1;
    NO_VOLUME(ATREST_ERR_INVALID_HEADER, &credential, NULL);
    memset(disk.memory, 0, DISK_SIZE);
    NO_VOLUME(ATREST_ERR_NOT_LUKS, &credential, NULL);
}

static void volumes(const atrest_dek *dek, const atrest_vault *vault)
{
    atrest_device *device = new_disk();
    formatting(device, vault);

    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    options.flags = ATREST_FORMAT_OVERWRITE;
    options.data_offset = 1 << 20;
    options.sector_size = 4096;
    options.context = "disk-17";
    options.context_len = 7;
    atrest_protector protector = with_vault(vault);
    atrest_volume *volume;
    OK(atrest_volume_format(device, &protector, &options, &volume));
    reading_and_writing(volume, vault);
    opening(device, vault, dek);

    // The volume keeps its device.
    atrest_device_free(device);
    CHECK(disk.released == 0);
    OK(atrest_volume_write_at(volume, 0, marked, 4096));
    atrest_volume_free(volume);
    CHECK(disk.released == 1);
    free(disk.memory);
}

// A volume on which what was never written reads as zeros.
static void written_chunks(const atrest_vault *vault)
{
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_protector protector = with_vault(vault);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    atrest_open_options open = ATREST_OPEN_OPTIONS_INIT;
    atrest_device *device = new_disk();
    atrest_volume *volume;
    unsigned char bytes[8192], zeros[4096] = {0};
    uint64_t len = 77, size = 0;
    uint32_t says = 77;
    options.data_offset = 1 << 20;
    options.written_chunk_size = 1000;
    NO_FORMAT(ATREST_ERR_INVALID_OPTION, device, &protector, &options);
    options.written_chunk_size = 4096;
    options.written_map_for = UINT64_MAX;
    NO_FORMAT(ATREST_ERR_INVALID_OPTION, device, &protector, &options);
    options.written_map_for = 0;
    memset(disk.memory + (1 << 20), 5, DISK_SIZE - (1 << 20));
    OK(atrest_volume_format(device, &protector, &options, &volume));
    OK(atrest_volume_size(volume, &size));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_written_chunk_size(NULL, &says));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_written_chunk_size(volume, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_extent(NULL, 0, &len, &says));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_extent(volume, 0, NULL, &says));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_extent(volume, 0, &len, NULL));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_volume_extent(volume, size + 1, &len, &says));
    CHECK(len == 77 && says == 77);
    OK(atrest_volume_written_chunk_size(volume, &says));
    CHECK(says == 4096);
    OK(atrest_volume_extent(volume, size, &len, &says));
    CHECK(len == 0 && says == 0);
    memset(bytes, 7, sizeof bytes);
    OK(atrest_volume_write_at(volume, 8192 + 512, bytes, 512));
    OK(atrest_volume_extent(volume, 100, &len, &says));
    CHECK(len == 8092 && says == 0);
    OK(atrest_volume_extent(volume, 8192, &len, &says));
    CHECK(len == 4096 && says == 1);
    OK(atrest_volume_read_at(volume, 8192, bytes, 8192));
    CHECK(memcmp(bytes, zeros, 512) == 0 && bytes[512] == 7 && memcmp(bytes + 1024, zeros, 4096) == 0);
    OK(atrest_volume_discard(volume, 8192, 4096));
    OK(atrest_volume_extent(volume, 0, &len, &says));
    CHECK(len == size && says == 0);
    OK(atrest_volume_sync(volume));
    atrest_volume_free(volume);

    // Both copies of the only page of the map.
    disk.memory[(1 << 20) - 4096] ^= 1;
    disk.memory[(1 << 20) - 8192] ^= 1;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    NO_HANDLE(atrest_volume, ATREST_ERR_DAMAGED_MAP, atrest_volume_open(device, &credential, &open, &out));
    open.flags = ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP;
    OK(atrest_volume_open(device, &credential, &open, &volume));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_write_at(volume, 0, bytes, 512));
    OK(atrest_volume_written_chunk_size(volume, &says));
    CHECK(says == 0);
    OK(atrest_volume_extent(volume, 512, &len, &says));
    CHECK(len == size - 512 && says == 1);
    atrest_volume_free(volume);
    atrest_device_free(device);
    free(disk.memory);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    devices();

    atrest_dek *dek;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    atrest_vault *vault = new_vault("keys");
    volumes(dek, vault);
    written_chunks(vault);
    atrest_vault_free(vault);
    atrest_dek_free(dek);
    printf("%d checks passed\n", passed);
    return 0;
}
