// Use and misuse of the secrets of a vault file, and of the passphrase that a token gives.
#include "checks.h"

#define VALUE "what opens the disk"

typedef struct {
    int calls;
    const char *version, *first_value;
    size_t tags;
    atrest_status answer;
} read_of;

static atrest_status see(void *user, const atrest_read_secret *read)
{
    read_of *r = (read_of *)user;
    r->calls++;
    CHECK(read->struct_size == sizeof *read && strcmp(read->version, r->version) == 0 && read->tags_count == r->tags);
    // They are ordered by name.
    for (size_t i = 1; i < read->tags_count; i++)
        CHECK(strcmp(read->tags[i - 1].name, read->tags[i].name) < 0);
    if (r->first_value != NULL)
        CHECK(strcmp(read->tags[0].value, r->first_value) == 0);
    return r->answer;
}

typedef struct {
    char all[4096]; // more than the longest tags
    uint64_t created;
    int stop;
} list;

static atrest_status see_version(void *user, const atrest_secret_version *v)
{
    list *l = (list *)user;
    CHECK(v->struct_size == sizeof *v && v->created > 1600000000 && v->created >= l->created);
    l->created = v->created;
    size_t at = strlen(l->all);
    snprintf(l->all + at, sizeof l->all - at, "%s/%s%s:%d-%d", v->secret_name, v->version, v->enabled ? "" : "!",
             (int)v->not_before, (int)v->expires);
    for (size_t i = 0; i < v->tags_count; i++) {
        at = strlen(l->all);
        snprintf(l->all + at, sizeof l->all - at, " %s=%s", v->tags[i].name, v->tags[i].value);
    }
    strcat(l->all, ";");
    return l->stop ? 5 : ATREST_OK;
}

static atrest_status see_deleted(void *user, const atrest_deleted_key *secret)
{
    CHECK(secret->struct_size == sizeof *secret && strcmp(secret->key_name, "guest") == 0);
    CHECK(secret->retained_until == secret->deleted + 7 * 86400);
    ++*(int *)user;
    return ATREST_OK;
}

static atrest_status see_entry(void *user, const atrest_audit_entry *entry)
{
    if (entry->key_name != NULL && strcmp(entry->key_name, "secrets/guest") == 0 &&
        strcmp(entry->operation, "getSecret") == 0)
        ++*(int *)user;
    return ATREST_OK;
}

static const char *listed(const atrest_vault *vault)
{
    static list l;
    memset(&l, 0, sizeof l);
    OK(atrest_vault_secrets(vault, see_version, &l));
    return l.all;
}

static void setting(atrest_vault *vault)
{
    char version[ATREST_NAME_SIZE], long_text[1026];
    unsigned char value[ATREST_VAULT_SECRET_MAX + 1];
    atrest_secret_options options = ATREST_SECRET_OPTIONS_INIT;
    atrest_tag tags[33];
    memset(value, 'v', sizeof value);
    memset(long_text, 't', sizeof long_text);
    long_text[1025] = 0;
#define SET(name, value, len, options) \
    atrest_vault_set_secret(vault, name, value, len, options, TEXT, sizeof bytes)
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_set_secret(NULL, "guest", VALUE, 1, NULL, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, SET(NULL, VALUE, 1, NULL));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, SET("guest", NULL, 1, NULL));
    NO_BYTES(ATREST_ERR_INVALID_NAME, SET("", VALUE, 1, NULL));
    NO_BYTES(ATREST_ERR_INVALID_NAME, SET("a/b", VALUE, 1, NULL));
    NO_BYTES(ATREST_ERR_NOT_UTF8, SET(BAD_UTF8, VALUE, 1, NULL));
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", VALUE, 0, NULL));
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", NULL, 0, NULL));
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", value, sizeof value, NULL));
    NO_BYTES(ATREST_ERR_LENGTH, SET("guest", value, (size_t)-1, NULL));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT,
             atrest_vault_set_secret(vault, "guest", VALUE, 1, NULL, TEXT, ATREST_NAME_SIZE - 1));
    // The impossible name comes first: more room wouldn't help.
    NO_BYTES(ATREST_ERR_INVALID_NAME, atrest_vault_set_secret(vault, "", VALUE, 1, NULL, TEXT, 1));

    options.struct_size++;
    NO_BYTES(ATREST_ERR_STRUCT_SIZE, SET("guest", VALUE, 1, &options));
    options.struct_size--;
    options.tags_count = 1;
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, SET("guest", VALUE, 1, &options));
    options.tags = tags;
    static const struct {
        const char *name, *value;
        atrest_status refused;
    } bad[] = {
        {NULL, "v", ATREST_ERR_NULL_ARGUMENT},      {"n", NULL, ATREST_ERR_NULL_ARGUMENT},
        {"", "v", ATREST_ERR_INVALID_OPTION},       {"n\n", "v", ATREST_ERR_INVALID_OPTION},
        {"n", "\x7f", ATREST_ERR_INVALID_OPTION},   {BAD_UTF8, "v", ATREST_ERR_NOT_UTF8},
        {"n", BAD_UTF8, ATREST_ERR_NOT_UTF8},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tags[0].name = bad[i].name;
        tags[0].value = bad[i].value;
        NO_BYTES(bad[i].refused, SET("guest", VALUE, 1, &options));
    }
    tags[0].name = "n";
    tags[0].value = long_text;
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", VALUE, 1, &options));
    tags[0].name = long_text;
    tags[0].value = "v";
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", VALUE, 1, &options));
    // Two of one name: neither is dropped in silence.
    tags[0].name = tags[1].name = "n";
    tags[0].value = "v";
    tags[1].value = "w";
    options.tags_count = 2;
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", VALUE, 1, &options));
    static char names[33][4];
    for (int i = 0; i < 33; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        tags[i].name = names[i];
        tags[i].value = "";
    }
    options.tags_count = 33;
    NO_BYTES(ATREST_ERR_INVALID_OPTION, SET("guest", VALUE, 1, &options));
    options.tags_count = (size_t)-1;
    NO_BYTES(ATREST_ERR_LENGTH, SET("guest", VALUE, 1, &options));
    CHECK(strcmp(listed(vault), "") == 0);

    // The longest of all, and the versions that follow.
    options.tags_count = 32;
    long_text[1024] = 0;
    tags[0].name = tags[0].value = long_text;
    OK(atrest_vault_set_secret(vault, "guest", value, ATREST_VAULT_SECRET_MAX, &options, version, sizeof version));
    CHECK(strcmp(version, "1") == 0);
    read_of r = {0, "1", "", 32, ATREST_OK};
    OK(atrest_vault_secret(vault, "guest", NULL, see, &r, bytes, sizeof bytes, &len));
    CHECK(r.calls == 1 && len == ATREST_VAULT_SECRET_MAX && memcmp(bytes, value, len) == 0);
    tags[0].name = "host";
    tags[0].value = "h-1";
    tags[1].name = "disk";
    tags[1].value = "d-2";
    options.tags_count = 2;
    OK(atrest_vault_set_secret(vault, "guest", VALUE, strlen(VALUE), &options, NULL, 0));
    // The bytes of a value are any.
    OK(atrest_vault_set_secret(vault, "guest", "\0\xff", 2, NULL, version, sizeof version));
    CHECK(strcmp(version, "3") == 0);
}

static void reading(atrest_vault *vault)
{
    read_of r = {0, "2", "d-2", 2, ATREST_OK};
#define READ(name, version) atrest_vault_secret(vault, name, version, see, &r, bytes, sizeof bytes, &len)
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_secret(NULL, "guest", "2", see, &r, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, READ(NULL, "2"));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_secret(vault, "guest", "2", see, &r, NULL, 99, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_secret(vault, "guest", "2", see, &r, bytes, sizeof bytes, NULL));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, READ("gues", NULL));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, READ("guest", "4"));
    // A version has one spelling.
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, READ("guest", "02"));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, READ("guest", ""));
    NO_BYTES(ATREST_ERR_NOT_UTF8, READ("guest", BAD_UTF8));
    // A buffer that is too short is told before `each` is called.
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT,
             atrest_vault_secret(vault, "guest", "2", see, &r, bytes, strlen(VALUE) - 1, &len));
    CHECK(len == strlen(VALUE));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_secret(vault, "guest", "2", see, &r, NULL, 0, &len));
    CHECK(len == strlen(VALUE) && r.calls == 0);
    r.answer = 9;
    NO_BYTES(ATREST_ERR_CALLBACK_FAILED, READ("guest", "2"));
    r.answer = ATREST_OK;
    OK(atrest_vault_secret(vault, "guest", "2", see, &r, bytes, strlen(VALUE), &len));
    CHECK(r.calls == 2 && len == strlen(VALUE) && memcmp(bytes, VALUE, len) == 0);
    OK(atrest_vault_secret(vault, "guest", NULL, NULL, NULL, bytes, sizeof bytes, &len));
    CHECK(len == 2 && bytes[0] == 0 && bytes[1] == 0xff);

    // The log has each read, those for a length and those that a callback ended too.
    int reads = 0;
    OK(atrest_vault_audit(vault, NULL, see_entry, &reads));
    CHECK(reads >= 7);
}

static void states(atrest_vault *vault)
{
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    read_of r = {0, "3", NULL, 0, ATREST_OK};
    list l;
    memset(&l, 0, sizeof l);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_secrets(vault, NULL, &l));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_secrets(NULL, see_version, &l));
    l.stop = 1;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_secrets(vault, see_version, &l));
    CHECK(strchr(l.all, ';') == l.all + strlen(l.all) - 1);

#define CHANGE(name, version) atrest_vault_set_secret_version(vault, name, version, &change)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_set_secret_version(vault, "guest", "1", NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CHANGE("guest", NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CHANGE(NULL, "1"));
    IS(ATREST_ERR_NO_SUCH_KEY, CHANGE("guest", "4"));
    IS(ATREST_ERR_NO_SUCH_KEY, CHANGE("gues", "1"));
    change.changes = 16;
    IS(ATREST_ERR_BAD_ENUM, CHANGE("guest", "1"));
    change.changes = ATREST_CHANGE_AUTHENTICATED;
    change.authenticated = 1;
    IS(ATREST_ERR_INVALID_OPTION, CHANGE("guest", "1"));
    change.changes = ATREST_CHANGE_ENABLED;
    change.enabled = 2;
    IS(ATREST_ERR_BAD_ENUM, CHANGE("guest", "1"));
    change.changes = ATREST_CHANGE_NOT_BEFORE | ATREST_CHANGE_EXPIRES;
    change.not_before = change.expires = 5;
    IS(ATREST_ERR_INVALID_OPTION, CHANGE("guest", "1"));
    change.struct_size = 7;
    IS(ATREST_ERR_STRUCT_SIZE, CHANGE("guest", "1"));
    change.struct_size = sizeof change;
    change.not_before = 5;
    change.expires = 1000;
    OK(CHANGE("guest", "2"));
    NO_BYTES(ATREST_ERR_KEY_EXPIRED, READ("guest", "2"));
    change.changes = ATREST_CHANGE_NOT_BEFORE;
    change.not_before = (uint64_t)1 << 30 << 10;
    OK(CHANGE("guest", "3"));
    NO_BYTES(ATREST_ERR_KEY_NOT_YET_VALID, READ("guest", "3"));
    change.not_before = 0;
    OK(CHANGE("guest", "3"));
    change.changes = ATREST_CHANGE_ENABLED;
    change.enabled = 0;
    OK(CHANGE("guest", "3"));
    NO_BYTES(ATREST_ERR_KEY_DISABLED, READ("guest", NULL));
    const char *all = strchr(listed(vault), ';') + 1;
    CHECK(strcmp(all, "guest/2:5-1000 disk=d-2 host=h-1;guest/3!:0-0;") == 0);
    change.enabled = 1;
    OK(CHANGE("guest", "3"));
    OK(READ("guest", NULL));

    int deleted = 0;
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_delete_secret(vault, "gues"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_delete_secret(vault, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_delete_secret(NULL, "guest"));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_recover_secret(vault, "guest"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_recover_secret(vault, NULL));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_hazmat_vault_purge_secret(vault, "guest"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_hazmat_vault_purge_secret(vault, NULL));
    OK(atrest_vault_delete_secret(vault, "guest"));
    IS(ATREST_ERR_KEY_DELETED, atrest_vault_delete_secret(vault, "guest"));
    NO_BYTES(ATREST_ERR_KEY_DELETED, READ("guest", NULL));
    NO_BYTES(ATREST_ERR_KEY_DELETED, SET("guest", VALUE, 1, NULL));
    IS(ATREST_ERR_KEY_DELETED, CHANGE("guest", "3"));
    CHECK(strcmp(listed(vault), "") == 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_deleted_secrets(vault, NULL, &deleted));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_deleted_secrets(NULL, see_deleted, &deleted));
    OK(atrest_vault_deleted_secrets(vault, see_deleted, &deleted));
    CHECK(deleted == 1);
    OK(atrest_vault_recover_secret(vault, "guest"));
    OK(READ("guest", NULL));
    OK(atrest_vault_delete_secret(vault, "guest"));
    OK(atrest_hazmat_vault_purge_secret(vault, "guest"));
    NO_BYTES(ATREST_ERR_NO_SUCH_KEY, READ("guest", NULL));
    // A new secret of the name goes on behind the old versions.
    char version[ATREST_NAME_SIZE];
    OK(atrest_vault_set_secret(vault, "guest", VALUE, 1, NULL, version, sizeof version));
    CHECK(strcmp(version, "4") == 0);
    OK(atrest_vault_enable_purge_protection(vault));
    OK(atrest_vault_delete_secret(vault, "guest"));
    IS(ATREST_ERR_PURGE_PROTECTED, atrest_hazmat_vault_purge_secret(vault, "guest"));
    OK(atrest_vault_recover_secret(vault, "guest"));
}

// Secrets are the owner's alone.
static void others(atrest_vault *owner)
{
    atrest_vault *vault;
    read_of r = {0, "4", NULL, 0, ATREST_OK};
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    list l;
    int deleted = 0;
    memset(&l, 0, sizeof l);
    OK(atrest_vault_grant(owner, "set-1", ATREST_OPERATION_GET | ATREST_OPERATION_UNWRAP_KEY));
    OK(atrest_vault_as_identity(owner, "set-1", &vault));
    NO_BYTES(ATREST_ERR_UNSUPPORTED, SET("guest", VALUE, 1, NULL));
    NO_BYTES(ATREST_ERR_UNSUPPORTED, READ("guest", NULL));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_secrets(vault, see_version, &l));
    IS(ATREST_ERR_UNSUPPORTED, CHANGE("guest", "4"));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_delete_secret(vault, "guest"));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_deleted_secrets(vault, see_deleted, &deleted));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_recover_secret(vault, "guest"));
    IS(ATREST_ERR_UNSUPPORTED, atrest_hazmat_vault_purge_secret(vault, "guest"));
    CHECK(r.calls == 0 && l.all[0] == 0 && deleted == 0);
    atrest_vault_free(vault);
    NO_BYTES(ATREST_ERR_INVALID_HANDLE, READ("guest", NULL));
    NO_BYTES(ATREST_ERR_INVALID_HANDLE, SET("guest", VALUE, 1, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_vault_delete_secret(vault, "guest"));
    OK(atrest_vault_secret(owner, "guest", NULL, see, &r, bytes, sizeof bytes, &len));
}

static void tokens(atrest_vault *vault)
{
    atrest_device *device;
    atrest_volume *volume;
    atrest_header *header;
    atrest_token_options options = ATREST_TOKEN_OPTIONS_INIT;
    const atrest_protector protector = with_vault(vault);
    char *json = (char *)malloc(1 << 20), uuid[ATREST_NAME_SIZE];
    size_t json_len = 0;
    uint32_t keyslot = 99;
    CHECK(json != NULL);
    OK(atrest_vault_create_key(vault, "tapes", NULL, 0));
    OK(atrest_device_memory(17 << 20, &device));
    OK(atrest_volume_format(device, &protector, NULL, &volume));
    OK(atrest_volume_uuid(volume, uuid, sizeof uuid, NULL));
    OK(atrest_header_load(device, &header));
    OK(atrest_header_metadata_json(header, json, 1 << 20, &json_len));
    atrest_header_free(header);
#define FIND(token) \
    atrest_token_passphrase(json, json_len, uuid, token, vault, &options, bytes, sizeof bytes, &len)
    NO_BYTES(ATREST_ERR_NO_SUCH_PROTECTOR, FIND(0));
    OK(atrest_volume_bind_tokens(volume, &keyslot));
    atrest_volume_free(volume);
    // Since the keyslot is there, the header has changed.
    OK(atrest_header_load(device, &header));
    OK(atrest_header_metadata_json(header, json, 1 << 20, &json_len));
    atrest_header_free(header);

    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_token_passphrase(NULL, 9, uuid, 0, vault, &options, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_token_passphrase(json, json_len, NULL, 0, vault, &options, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_token_passphrase(json, json_len, uuid, 0, NULL, &options, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_token_passphrase(json, json_len, uuid, 0, vault, &options, NULL, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_token_passphrase(json, json_len, uuid, 0, vault, &options, bytes, sizeof bytes, NULL));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT,
             atrest_token_passphrase(json, json_len, uuid, 0, vault, &options, bytes, 63, &len));
    CHECK(len == ATREST_TOKEN_PASSPHRASE_LEN);
    NO_BYTES(ATREST_ERR_INVALID_HANDLE,
             atrest_token_passphrase(json, json_len, uuid, 0, PASSED_AS(atrest_vault, device), &options, bytes,
                                     sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_INVALID_HEADER,
             atrest_token_passphrase(json, json_len - 1, uuid, 0, vault, &options, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_INVALID_HEADER,
             atrest_token_passphrase(NULL, 0, uuid, 0, vault, &options, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NO_SUCH_PROTECTOR, FIND(1));
    options.struct_size--;
    NO_BYTES(ATREST_ERR_STRUCT_SIZE, FIND(0));
    options.struct_size++;
    options.expected_key = BAD_UTF8;
    NO_BYTES(ATREST_ERR_NOT_UTF8, FIND(0));
    options.expected_key = "tapes";
    NO_BYTES(ATREST_ERR_OTHER_KEY, FIND(0));
    options.expected_key = "disks";
    // Other metadata than those that the token's MAC is of: nothing is given out.
    uuid[0] ^= 1;
    NO_BYTES(ATREST_ERR_TAMPERED_HEADER, FIND(0));
    uuid[0] ^= 1;
    char *segment = strstr(json, "\"iv_tweak\":\"0\"");
    CHECK(segment != NULL);
    segment[12] = '8';
    NO_BYTES(ATREST_ERR_TAMPERED_HEADER, FIND(0));
    segment[12] = '0';
    atrest_vault *another = new_vault("another");
    NO_BYTES(ATREST_ERR_NOT_THIS_VAULT,
             atrest_token_passphrase(json, json_len, uuid, 0, another, &options, bytes, sizeof bytes, &len));
    atrest_vault_free(another);

    OK(FIND(0));
    CHECK(len == ATREST_TOKEN_PASSPHRASE_LEN && strspn(TEXT, "0123456789abcdef") == len);
    unsigned char again[ATREST_TOKEN_PASSPHRASE_LEN];
    size_t again_len = 0;
    OK(atrest_token_passphrase(json, json_len, uuid, 0, vault, NULL, again, sizeof again, &again_len));
    CHECK(again_len == sizeof again && memcmp(again, bytes, sizeof again) == 0);
    // It is what opens the keyslot.
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    atrest_open_options alone = ATREST_OPEN_OPTIONS_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = (const char *)again;
    credential.passphrase_len = sizeof again;
    alone.flags = ATREST_OPEN_KEYSLOT;
    alone.keyslot = keyslot;
    OK(atrest_volume_open(device, &credential, &alone, &volume));
    atrest_volume_free(volume);
    again[0] ^= 1;
    NO_HANDLE(atrest_volume, ATREST_ERR_WRONG_PASSPHRASE, atrest_volume_open(device, &credential, &alone, &out));
    free(json);
    atrest_device_free(device);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault_options options = ATREST_VAULT_OPTIONS_INIT;
    atrest_vault *vault;
    options.retention_days = 7;
    OK(atrest_vault_create_file_with(in_folder("v"), &unlock, &options, &vault));
    OK(atrest_vault_create_key(vault, "disks", NULL, 0));
    setting(vault);
    reading(vault);
    states(vault);
    others(vault);
    tokens(vault);
    atrest_vault_free(vault);
    printf("%d checks passed\n", passed);
    return 0;
}
