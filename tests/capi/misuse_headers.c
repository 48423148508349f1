// Misuse of passphrases, keyslots and headers.
#include "checks.h"

static atrest_keyslot_options cheap(void)
{
    static atrest_kdf kdf = ATREST_KDF_INIT;
    atrest_keyslot_options options = ATREST_KEYSLOT_OPTIONS_INIT;
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.iterations = 1000;
    options.kdf = &kdf;
    return options;
}

static atrest_protector by_passphrase(const char *passphrase)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = passphrase;
    protector.passphrase_len = strlen(passphrase);
    return protector;
}

static atrest_credential opens(const char *passphrase)
{
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = passphrase;
    credential.passphrase_len = strlen(passphrase);
    return credential;
}

static void benchmark(void)
{
    atrest_kdf kdf = ATREST_KDF_INIT, before = kdf;
#define NO_KDF(wanted, call)                                                                        \
    do {                                                                                            \
        IS(wanted, call);                                                                           \
        CHECK(memcmp(&kdf, &before, sizeof kdf) == 0);                                              \
    } while (0)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_kdf_benchmark(ATREST_KDF_PBKDF2, 0, 1, 0, 0, NULL));
    NO_KDF(ATREST_ERR_BAD_ENUM, atrest_kdf_benchmark(0, 0, 1, 0, 0, &kdf));
    NO_KDF(ATREST_ERR_BAD_ENUM, atrest_kdf_benchmark(4, 0, 1, 0, 0, &kdf));
    NO_KDF(ATREST_ERR_BAD_ENUM, atrest_kdf_benchmark(ATREST_KDF_PBKDF2, 4, 1, 0, 0, &kdf));
    NO_KDF(ATREST_ERR_INVALID_OPTION, atrest_kdf_benchmark(ATREST_KDF_PBKDF2, ATREST_HASH_SHA1, 1, 0, 0, &kdf));
    NO_KDF(ATREST_ERR_INVALID_OPTION, atrest_kdf_benchmark(ATREST_KDF_ARGON2ID, 0, 1, 1000, 0, &kdf));
    NO_KDF(ATREST_ERR_INVALID_OPTION, atrest_kdf_benchmark(ATREST_KDF_ARGON2ID, 0, 1, 0, 17, &kdf));
    kdf.struct_size = before.struct_size = 4;
    NO_KDF(ATREST_ERR_STRUCT_SIZE, atrest_kdf_benchmark(ATREST_KDF_PBKDF2, 0, 1, 0, 0, &kdf));
    kdf.struct_size = sizeof kdf;
    OK(atrest_kdf_benchmark(ATREST_KDF_PBKDF2, ATREST_HASH_SHA512, 1, 0, 0, &kdf));
    CHECK(kdf.struct_size == sizeof kdf && kdf.kind == ATREST_KDF_PBKDF2 && kdf.hash == ATREST_HASH_SHA512);
    CHECK(kdf.iterations >= 1000 && kdf.memory_kib == 0 && kdf.passes == 0 && kdf.lanes == 0);
    OK(atrest_kdf_benchmark(ATREST_KDF_ARGON2I, 0, 1, 32 << 10, 2, &kdf));
    CHECK(kdf.kind == ATREST_KDF_ARGON2I && kdf.memory_kib == 32 << 10 && kdf.passes >= 4 && kdf.lanes == 2);
    CHECK(kdf.hash == 0 && kdf.iterations == 0);
}

static void keyslot_options(atrest_device *device)
{
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_keyslot_options keyslot = cheap(), bad;
    atrest_protector protector = by_passphrase("first");
    atrest_kdf kdf = *keyslot.kdf;
    options.data_offset = 1 << 20;
    options.keyslot = &bad;
#define BAD_KEYSLOT(wanted, member, value)                                                          \
    do {                                                                                            \
        bad = keyslot;                                                                              \
        bad.member = value;                                                                         \
        NO_HANDLE(atrest_volume, wanted, atrest_volume_format(device, &protector, &options, &out)); \
    } while (0)
    BAD_KEYSLOT(ATREST_ERR_STRUCT_SIZE, struct_size, 0);
    BAD_KEYSLOT(ATREST_ERR_BAD_ENUM, flags, 2);
    BAD_KEYSLOT(ATREST_ERR_BAD_ENUM, priority, 3);
#define BAD_KDF(wanted, member, value)                                                              \
    do {                                                                                            \
        kdf = *keyslot.kdf;                                                                         \
        kdf.member = value;                                                                         \
        BAD_KEYSLOT(wanted, kdf, &kdf);                                                             \
    } while (0)
    BAD_KDF(ATREST_ERR_STRUCT_SIZE, struct_size, 3);
    BAD_KDF(ATREST_ERR_BAD_ENUM, kind, 0);
    BAD_KDF(ATREST_ERR_BAD_ENUM, hash, 4);
    BAD_KDF(ATREST_ERR_INVALID_OPTION, hash, ATREST_HASH_SHA1);
    BAD_KDF(ATREST_ERR_INVALID_OPTION, iterations, 0);
    BAD_KDF(ATREST_ERR_INVALID_OPTION, iterations, 50000001);
    BAD_KDF(ATREST_ERR_INVALID_OPTION, kind, ATREST_KDF_ARGON2ID);
    protector.passphrase_len = 0;
    BAD_KEYSLOT(ATREST_ERR_INVALID_OPTION, flags, 0);
    protector.passphrase_len = ((size_t)8 << 20) + 1;
    protector.passphrase = (const char *)calloc(1, protector.passphrase_len);
    BAD_KEYSLOT(ATREST_ERR_INVALID_OPTION, flags, 0);
    free((void *)protector.passphrase);
    protector = by_passphrase("first");
    protector.kind = ATREST_PROTECTOR_KEY_FILE;
    protector.key_file = in_folder("none");
    BAD_KEYSLOT(ATREST_ERR_NOT_FOUND, flags, 0);
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    options.context = "disk-17";
    options.context_len = 7;
    BAD_KEYSLOT(ATREST_ERR_INVALID_OPTION, flags, 0);
}

static void protectors(atrest_volume *volume, const atrest_vault *vault)
{
    atrest_keyslot_options keyslot = cheap(), bad = keyslot;
    atrest_protector protector = by_passphrase("second"), vaults = with_vault(vault);
    uint32_t id = 77;
#define NO_ID(wanted, call)                                                                         \
    do {                                                                                            \
        IS(wanted, call);                                                                           \
        CHECK(id == 77);                                                                            \
    } while (0)
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_volume_add_protector(NULL, &protector, &keyslot, &id));
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_volume_add_protector(volume, NULL, &keyslot, &id));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_add_protector(volume, &protector, &keyslot, NULL));
    bad.flags = ATREST_KEYSLOT_ID;
    NO_ID(ATREST_ERR_NO_ROOM, atrest_volume_add_protector(volume, &protector, &bad, &id));
    bad.flags = 4;
    NO_ID(ATREST_ERR_BAD_ENUM, atrest_volume_add_protector(volume, &protector, &bad, &id));
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_volume_change_keyslot(NULL, 0, &protector, &keyslot, &id));
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_volume_change_keyslot(volume, 0, NULL, &keyslot, &id));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_change_keyslot(volume, 0, &protector, &keyslot, NULL));
    NO_ID(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_volume_change_keyslot(volume, 5, &protector, &keyslot, &id));
    NO_ID(ATREST_ERR_INVALID_OPTION, atrest_volume_change_keyslot(volume, 0, &vaults, &keyslot, &id));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_remove_keyslot(NULL, 0));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_volume_remove_keyslot(volume, 1));
    IS(ATREST_ERR_LAST_PROTECTOR, atrest_volume_remove_keyslot(volume, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_volume_remove_token(NULL, 0));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_volume_remove_token(volume, 0));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_volume_cipher(NULL, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_volume_cipher(volume, TEXT, 15, &len));
    OK(atrest_volume_cipher(volume, TEXT, 16, &len));
    CHECK(len == 15 && strcmp(TEXT, "aes-xts-plain64") == 0);

    OK(atrest_volume_add_protector(volume, &vaults, NULL, &id));
    CHECK(id == 0);
    OK(atrest_volume_remove_keyslot(volume, 0));
    IS(ATREST_ERR_LAST_PROTECTOR, atrest_volume_remove_token(volume, 0));
    bad = keyslot;
    bad.flags = ATREST_KEYSLOT_ID;
    bad.id = 31;
    bad.priority = ATREST_PRIORITY_IGNORE;
    OK(atrest_volume_add_protector(volume, &protector, &bad, &id));
    CHECK(id == 31);
    OK(atrest_volume_remove_token(volume, 0));
}

static void opening(atrest_device *device)
{
    atrest_credential credential = opens("second"), key_file = ATREST_CREDENTIAL_INIT;
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    atrest_volume *volume;
#define NO_VOLUME(wanted)                                                                           \
    NO_HANDLE(atrest_volume, wanted, atrest_volume_open(device, &credential, &options, &out))
    // Its priority says so.
    NO_VOLUME(ATREST_ERR_NO_SUCH_PROTECTOR);
    options.keyslot = 31;
    NO_VOLUME(ATREST_ERR_NO_SUCH_PROTECTOR);
    options.flags = ATREST_OPEN_KEYSLOT;
    options.kdf_max_iterations = 999;
    NO_VOLUME(ATREST_ERR_UNSUPPORTED_HEADER);
    options.kdf_max_iterations = 1000;
    options.keyslot = 0;
    NO_VOLUME(ATREST_ERR_NO_SUCH_PROTECTOR);
    options.keyslot = 31;
    credential.passphrase_len--;
    NO_VOLUME(ATREST_ERR_WRONG_PASSPHRASE);
    credential.passphrase_len++;
    OK(atrest_volume_open(device, &credential, &options, &volume));
    atrest_volume_free(volume);

    FILE *file = fopen(in_folder("passphrase"), "wb");
    CHECK(file != NULL && fputs("second", file) >= 0 && fclose(file) == 0);
    key_file.kind = ATREST_CREDENTIAL_KEY_FILE;
    key_file.key_file = in_folder("passphrase");
    options.flags |= ATREST_OPEN_READ_ONLY | ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED;
    OK(atrest_volume_open(device, &key_file, &options, &volume));
    atrest_protector protector = by_passphrase("third");
    uint32_t id = 77;
    NO_ID(ATREST_ERR_READ_ONLY, atrest_volume_add_protector(volume, &protector, NULL, &id));
    NO_ID(ATREST_ERR_READ_ONLY, atrest_volume_change_keyslot(volume, 31, &protector, NULL, &id));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_remove_keyslot(volume, 31));
    IS(ATREST_ERR_READ_ONLY, atrest_volume_remove_token(volume, 0));
    atrest_volume_free(volume);
}

static int listed;

static atrest_status stop(void *user, const char *text)
{
    CHECK(user == &listed && text != NULL);
    return 78;
}

static atrest_status each_keyslot(void *user, const atrest_keyslot_info *keyslot)
{
    CHECK(user == &listed && keyslot->struct_size == sizeof *keyslot && keyslot->id == 31);
    CHECK(strcmp(keyslot->kind, "luks2") == 0 && strcmp(keyslot->kdf, "pbkdf2") == 0);
    CHECK(strcmp(keyslot->hash, "sha256") == 0 && strcmp(keyslot->cipher, "aes-xts-plain64") == 0);
    CHECK(keyslot->iterations == 1000 && keyslot->memory_kib == 0 && keyslot->passes == 0 && keyslot->lanes == 0);
    CHECK(keyslot->key_bits == 512 && keyslot->area_key_bits == 512 && keyslot->salt_len == 32);
    CHECK(keyslot->digests_count == 1 && keyslot->digests[0] == 0 && keyslot->holds_data_key == 1);
    CHECK(keyslot->priority == ATREST_PRIORITY_PREFER && keyslot->af_stripes == 4000 && keyslot->area_size >= 256000);
    return listed++ == 0 ? ATREST_OK : 78;
}

static atrest_status each_token(void *user, const atrest_token_info *token)
{
    CHECK(user == &listed && token->struct_size == sizeof *token && token->id == 0);
    CHECK(strcmp(token->kind, "ours") == 0 && token->key_url == NULL && strstr(token->json, "\"ours\"") != NULL);
    CHECK(token->keyslots_count == 1 && token->keyslots[0] == 31);
    return listed++ == 0 ? ATREST_OK : 78;
}

static atrest_status each_segment(void *user, const atrest_segment_info *segment)
{
    CHECK(user == &listed && segment->struct_size == sizeof *segment && segment->id == 0);
    CHECK(strcmp(segment->kind, "crypt") == 0 && strcmp(segment->cipher, "aes-xts-plain64") == 0);
    CHECK(segment->offset == 1 << 20 && segment->size == 0 && segment->sector_size == 512 && segment->iv_tweak == 0);
    CHECK(*segment->flags == 0);
    return listed++ == 0 ? ATREST_OK : 78;
}

static atrest_status each_digest(void *user, const atrest_digest_info *digest)
{
    CHECK(user == &listed && digest->struct_size == sizeof *digest && digest->id == 0);
    CHECK(strcmp(digest->kind, "pbkdf2") == 0 && strcmp(digest->hash, "sha256") == 0 && digest->iterations == 1000);
    CHECK(digest->salt_len == 32 && digest->digest_len == 32 && digest->key_bits == 512);
    CHECK(digest->keyslots_count == 1 && digest->keyslots[0] == 31);
    CHECK(digest->segments_count == 1 && digest->segments[0] == 0);
    return listed++ == 0 ? ATREST_OK : 78;
}

// Every question, with no header, a wrong one, and no place for the answer.
static void questions(atrest_header *header, atrest_device *device)
{
    atrest_header *none = NULL, *wrong = (atrest_header *)(void *)device;
    uint32_t small = 77;
    uint64_t large = 77;
#define NUMBER(ask, number)                                                                         \
    do {                                                                                            \
        number = 77;                                                                                \
        IS(ATREST_ERR_NULL_ARGUMENT, ask(none, &number));                                           \
        IS(ATREST_ERR_INVALID_HANDLE, ask(wrong, &number));                                         \
        IS(ATREST_ERR_NULL_ARGUMENT, ask(header, NULL));                                            \
        CHECK(number == 77);                                                                        \
        OK(ask(header, &number));                                                                   \
    } while (0)
    NUMBER(atrest_header_format, small);
    CHECK(small == ATREST_LUKS2);
    NUMBER(atrest_header_needs_repair, small);
    CHECK(small == 0);
    NUMBER(atrest_header_epoch, large);
    CHECK(large > 0 && large != 77);
    NUMBER(atrest_header_size, large);
    CHECK(large == 1 << 20);
    NUMBER(atrest_header_metadata_size, large);
    CHECK(large == 16384);
    NUMBER(atrest_header_keyslots_size, large);
    CHECK(large == (1 << 20) - 2 * 16384);
#define ANSWER(ask, text)                                                                           \
    do {                                                                                            \
        NO_BYTES(ATREST_ERR_NULL_ARGUMENT, ask(none, TEXT, sizeof bytes, &len));                    \
        NO_BYTES(ATREST_ERR_INVALID_HANDLE, ask(wrong, TEXT, sizeof bytes, &len));                  \
        NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, ask(header, TEXT, strlen(text), &len));               \
        CHECK(len == strlen(text));                                                                 \
        OK(ask(header, TEXT, sizeof bytes, NULL));                                                  \
        CHECK(strcmp(TEXT, text) == 0);                                                             \
    } while (0)
    ANSWER(atrest_header_uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f");
    ANSWER(atrest_header_label, "one");
    ANSWER(atrest_header_subsystem, "two");
#define LIST(ask, each, count)                                                                      \
    do {                                                                                            \
        listed = 0;                                                                                 \
        IS(ATREST_ERR_NULL_ARGUMENT, ask(none, each, &listed));                                     \
        IS(ATREST_ERR_INVALID_HANDLE, ask(wrong, each, &listed));                                   \
        IS(ATREST_ERR_NULL_ARGUMENT, ask(header, NULL, &listed));                                   \
        OK(ask(header, each, &listed));                                                             \
        CHECK(listed == (count));                                                                   \
        IS((count) == 0 ? ATREST_OK : ATREST_ERR_CALLBACK_FAILED, ask(header, each, &listed));      \
    } while (0)
    LIST(atrest_header_keyslots, each_keyslot, 1);
    LIST(atrest_header_tokens, each_token, 1);
    LIST(atrest_header_segments, each_segment, 1);
    LIST(atrest_header_digests, each_digest, 1);
    LIST(atrest_header_requirements, stop, 0);
    LIST(atrest_header_flags, stop, 0);
}

static void changes(atrest_header *header)
{
    uint32_t id = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_set_label(NULL, "one", "two"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_set_label(header, NULL, "two"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_set_label(header, "one", NULL));
    IS(ATREST_ERR_NOT_UTF8, atrest_header_set_label(header, BAD_UTF8, ""));
    IS(ATREST_ERR_INVALID_OPTION, atrest_header_set_label(header, "a label that is much too long for a header of LUKS2", ""));
    OK(atrest_header_set_label(header, "one", "two"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_set_priority(NULL, 31, 0));
    IS(ATREST_ERR_BAD_ENUM, atrest_header_set_priority(header, 31, 3));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_header_set_priority(header, 0, ATREST_PRIORITY_PREFER));
    OK(atrest_header_set_priority(header, 31, ATREST_PRIORITY_PREFER));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_remove_keyslot(NULL, 31));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_header_remove_keyslot(header, 0));
    IS(ATREST_ERR_LAST_PROTECTOR, atrest_header_remove_keyslot(header, 31));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_remove_token(NULL, 0));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_header_remove_token(header, 0));
#define OURS "{\"type\":\"ours\",\"keyslots\":[\"31\"]}"
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_header_import_token(NULL, OURS, &id));
    NO_ID(ATREST_ERR_NULL_ARGUMENT, atrest_header_import_token(header, NULL, &id));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_import_token(header, OURS, NULL));
    NO_ID(ATREST_ERR_INVALID_OPTION, atrest_header_import_token(header, BAD_UTF8, &id));
    NO_ID(ATREST_ERR_INVALID_OPTION, atrest_header_import_token(header, "{", &id));
    NO_ID(ATREST_ERR_INVALID_OPTION, atrest_header_import_token(header, "{\"type\":\"atrest\",\"keyslots\":[]}", &id));
    NO_ID(ATREST_ERR_INVALID_OPTION, atrest_header_import_token(header, "{\"type\":\"t\",\"keyslots\":[\"9\"]}", &id));
    OK(atrest_header_import_token(header, "{\"type\":\"t\",\"keyslots\":[],\"label\":\"caf\xe9\"}", &id));
    OK(atrest_header_remove_token(header, id));
    OK(atrest_header_import_token(header, OURS, &id));
    CHECK(id == 0);
    OK(atrest_header_remove_token(header, 0));
    OK(atrest_header_import_token(header, OURS, &id));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_repair(NULL));
    OK(atrest_header_repair(header));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_header_repair(NULL));
    OK(atrest_hazmat_header_repair(header));
}

static atrest_status remove_tokens(void *user, const atrest_token_info *token)
{
    return atrest_header_remove_token((atrest_header *)user, token->id);
}

static void restoring(atrest_device *device, atrest_header *header)
{
    static unsigned char backup[1 << 20];
    atrest_header *stale;
    uint64_t before, after;
    OK(atrest_header_load(device, &stale));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_header_backup(NULL, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_header_backup(header, NULL, sizeof bytes, &len));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_backup(header, backup, sizeof backup, NULL));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_header_backup(header, bytes, sizeof bytes, &len));
    CHECK(len == sizeof backup);
    len = 0;
    IS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_header_backup(header, NULL, 0, &len));
    CHECK(len == sizeof backup);
    OK(atrest_header_backup(header, backup, sizeof backup, &len));
    CHECK(len == sizeof backup && memcmp(backup, "LUKS\xba\xbe", 6) == 0);

    // A callback may use the header that it is called for.
    OK(atrest_header_tokens(header, remove_tokens, header));
    listed = 0;
    OK(atrest_header_tokens(header, each_token, &listed));
    CHECK(listed == 0);

    // A handle that doesn't know of that reports its old state, and changes nothing.
    OK(atrest_header_epoch(stale, &before));
    IS(ATREST_ERR_BUSY, atrest_header_set_label(stale, "", ""));
    IS(ATREST_ERR_BUSY, atrest_header_erase(stale));
    IS(ATREST_ERR_BUSY, atrest_header_repair(stale));
    IS(ATREST_ERR_BUSY, atrest_hazmat_header_repair(stale));
    IS(ATREST_ERR_BUSY, atrest_header_backup(stale, backup, sizeof backup, &len));
    OK(atrest_header_epoch(stale, &after));
    CHECK(before == after);
    atrest_header_free(stale);

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_erase(NULL));
    OK(atrest_header_erase(header));
    listed = 0;
    OK(atrest_header_keyslots(header, each_keyslot, &listed));
    CHECK(listed == 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_restore(NULL, backup, sizeof backup));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_restore(device, NULL, sizeof backup));
    IS(ATREST_ERR_DEVICE_TOO_SMALL, atrest_header_restore(device, backup, sizeof backup - 1));
    IS(ATREST_ERR_NOT_LUKS, atrest_header_restore(device, marked, sizeof marked));
    IS(ATREST_ERR_NOT_LUKS, atrest_header_restore(device, backup + 65536, 65536));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_header_restore(NULL, backup, sizeof backup));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_header_restore(device, NULL, sizeof backup));
    IS(ATREST_ERR_NOT_LUKS, atrest_hazmat_header_restore(device, marked, sizeof marked));
    IS(ATREST_ERR_NOT_LUKS, atrest_hazmat_header_restore(device, backup + 65536, 65536));
    OK(atrest_header_restore(device, backup, sizeof backup));

    atrest_device *other, *small;
    OK(atrest_device_memory(2 << 20, &other));
    OK(atrest_device_memory(4096, &small));
    IS(ATREST_ERR_NOT_LUKS, atrest_header_restore(other, backup, sizeof backup));
    OK(atrest_hazmat_header_restore(other, backup, sizeof backup));
    IS(ATREST_ERR_DEVICE_TOO_SMALL, atrest_hazmat_header_restore(small, backup, sizeof backup));
    atrest_credential credential = opens("second");
    atrest_volume *volume;
    OK(atrest_volume_open(other, &credential, NULL, &volume));
    atrest_volume_free(volume);

    // Another volume's header is in the way of a backup, unless that shall not matter.
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_keyslot_options keyslot = cheap();
    atrest_protector protector = by_passphrase("first");
    options.flags = ATREST_FORMAT_OVERWRITE;
    options.data_offset = 1 << 20;
    options.keyslot = &keyslot;
    OK(atrest_volume_format(other, &protector, &options, &volume));
    atrest_volume_free(volume);
    IS(ATREST_ERR_OTHER_HEADER, atrest_header_restore(other, backup, sizeof backup));
    OK(atrest_hazmat_header_restore(other, backup, sizeof backup));
    atrest_device_free(other);
    atrest_device_free(small);
}

static void luks1(const atrest_vault *vault)
{
    atrest_device *device, *detached;
    atrest_volume *volume;
    atrest_header *header;
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_open_options opening = ATREST_OPEN_OPTIONS_INIT;
    atrest_keyslot_options keyslot = cheap();
    atrest_protector protector = by_passphrase("first"), vaults = with_vault(vault);
    atrest_credential credential = opens("first");
    uint32_t id = 77, version = 0;
    uint64_t number = 77;
    OK(atrest_device_memory(1 << 20, &device));
    OK(atrest_device_memory(2 << 20, &detached));
    options.luks_version = ATREST_LUKS1;
    options.header = detached;
    options.keyslot = &keyslot;
    NO_HANDLE(atrest_volume, ATREST_ERR_INVALID_OPTION, atrest_volume_format(device, &vaults, &options, &out));
    options.label = "none";
    NO_HANDLE(atrest_volume, ATREST_ERR_INVALID_OPTION, atrest_volume_format(device, &protector, &options, &out));
    options.label = NULL;
    OK(atrest_volume_format(device, &protector, &options, &volume));
    OK(atrest_volume_write_at(volume, 0, marked, 4096));
    NO_ID(ATREST_ERR_UNSUPPORTED_HEADER, atrest_volume_add_protector(volume, &vaults, NULL, &id));
    OK(atrest_volume_add_protector(volume, &protector, &keyslot, &id));
    CHECK(id == 1);
    atrest_volume_free(volume);

    NO_HANDLE(atrest_volume, ATREST_ERR_NOT_LUKS, atrest_volume_open(device, &credential, NULL, &out));
    opening.header = (atrest_device *)(void *)vault;
    NO_HANDLE(atrest_volume, ATREST_ERR_INVALID_HANDLE, atrest_volume_open(device, &credential, &opening, &out));
    opening.header = detached;
    OK(atrest_volume_open(device, &credential, &opening, &volume));
    OK(atrest_volume_read_at(volume, 0, bytes, 4096));
    CHECK(memcmp(bytes, marked, 4096) == 0);
    atrest_volume_free(volume);

    NO_HANDLE(atrest_header, ATREST_ERR_NOT_LUKS, atrest_header_load(device, &out));
    OK(atrest_header_load(detached, &header));
    OK(atrest_header_format(header, &version));
    CHECK(version == ATREST_LUKS1);
    IS(ATREST_ERR_UNSUPPORTED, atrest_header_epoch(header, &number));
    CHECK(number == 77);
    IS(ATREST_ERR_UNSUPPORTED_HEADER, atrest_header_set_label(header, "one", "two"));
    IS(ATREST_ERR_UNSUPPORTED_HEADER, atrest_header_set_priority(header, 0, ATREST_PRIORITY_PREFER));
    id = 77;
    NO_ID(ATREST_ERR_UNSUPPORTED_HEADER, atrest_header_import_token(header, OURS, &id));
    IS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest_header_remove_token(header, 0));
    OK(atrest_header_remove_keyslot(header, 0));
    IS(ATREST_ERR_LAST_PROTECTOR, atrest_header_remove_keyslot(header, 1));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_convert_to_luks2(NULL));
    OK(atrest_header_convert_to_luks2(header));
    OK(atrest_header_convert_to_luks2(header));
    OK(atrest_header_format(header, &version));
    CHECK(version == ATREST_LUKS2);
    OK(atrest_header_set_label(header, "one", "two"));
    OK(atrest_header_erase(header));
    atrest_header_free(header);
    atrest_device_free(device);
    atrest_device_free(detached);
}

int main(int argc, char **argv)
{
    static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_keyslot_options keyslot = cheap();
    atrest_protector protector = by_passphrase("first");
    atrest_device *device;
    atrest_volume *volume;
    atrest_header *header;
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_vault *vault = new_vault("keys");
    memset(marked, 0xa5, sizeof marked);

    benchmark();
    OK(atrest_device_memory(2 << 20, &device));
    keyslot_options(device);
    options.data_offset = 1 << 20;
    options.uuid = uuid;
    options.keyslot = &keyslot;
    OK(atrest_volume_format(device, &protector, &options, &volume));
    protectors(volume, vault);
    opening(device);
    atrest_volume_free(volume);

    NO_HANDLE(atrest_header, ATREST_ERR_NULL_ARGUMENT, atrest_header_load(NULL, &out));
    NO_HANDLE(atrest_header, ATREST_ERR_INVALID_HANDLE, atrest_header_load((atrest_device *)(void *)vault, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_header_load(device, NULL));
    OK(atrest_header_load(device, &header));
    changes(header);
    questions(header, device);
    restoring(device, header);
    // The header keeps its device.
    atrest_device_free(device);
    IS(ATREST_ERR_BUSY, atrest_header_erase(header));
    atrest_header_free(header);
    atrest_header_free(header);
    atrest_header_free(NULL);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_header_erase(header));

    luks1(vault);
    atrest_vault_free(vault);
    printf("%d checks passed\n", passed);
    return 0;
}
