// Use and misuse of a vault file's versions, deletions, identities and log, and of a vault of callbacks that describes
// keys.
#include "checks.h"

typedef struct {
    int calls;
    uint32_t kind, enabled;
    uint64_t not_before, expires;
    char version[ATREST_NAME_SIZE];
    atrest_status answer;
} seen;

static atrest_status see(void *user, const atrest_key_version *version)
{
    seen *s = (seen *)user;
    CHECK(version->struct_size == sizeof *version && strcmp(version->key_name, "disks") == 0);
    CHECK(strstr(version->url, "/keys/disks/") != NULL);
    // Wrapping under an AES key needs the key.
    CHECK(version->authenticated == (version->kind == ATREST_KEY_AES_256));
    s->calls++;
    s->kind = version->kind;
    s->enabled = version->enabled;
    s->not_before = version->not_before;
    s->expires = version->expires;
    snprintf(s->version, sizeof s->version, "%s", version->version);
    return s->answer;
}

static atrest_status count_deleted(void *user, const atrest_deleted_key *key)
{
    CHECK(key->struct_size == sizeof *key && strcmp(key->key_name, "disks") == 0);
    CHECK(key->retained_until == key->deleted + 7 * 86400);
    ++*(int *)user;
    return ATREST_OK;
}

static atrest_status see_grant(void *user, const char *identity, uint32_t operations)
{
    CHECK(strcmp(identity, "set-1") == 0);
    *(uint32_t *)user += operations;
    return ATREST_OK;
}

static uint64_t last_entry;

static atrest_status see_entry(void *user, const atrest_audit_entry *entry)
{
    (void)user;
    CHECK(entry->seq > last_entry && entry->after == 0);
    last_entry = entry->seq;
    return ATREST_OK;
}

static atrest_status count_entry(void *user, const atrest_audit_entry *entry)
{
    CHECK(entry->struct_size == sizeof *entry && entry->seq == (uint64_t)++*(int *)user && entry->torn == 0);
    CHECK(entry->operation != NULL && entry->outcome != NULL && entry->time > 1600000000);
    // The grant of no operation failed. A denied use names no version.
    const char *outcome = entry->seq == 2 ? "failed" : entry->identity && !entry->version ? "access-denied" : "ok";
    return strcmp(entry->outcome, outcome) == 0 ? ATREST_OK : 5;
}

static void options(void)
{
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault_options options = ATREST_VAULT_OPTIONS_INIT, bad;
#define CREATE(options) atrest_vault_create_file_with(in_folder("o"), &unlock, options, &out)
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_create_file_with(NULL, &unlock, &options, &out));
    bad = options;
    bad.struct_size--;
    NO_HANDLE(atrest_vault, ATREST_ERR_STRUCT_SIZE, CREATE(&bad));
    bad = options;
    bad.retention_days = 6;
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, CREATE(&bad));
    bad = options;
    bad.id = "not visible";
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_NAME, CREATE(&bad));
    bad = options;
    bad.region = "";
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, CREATE(&bad));
    bad = options;
    bad.tenant = BAD_UTF8;
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_UTF8, CREATE(&bad));
    bad = options;
    bad.purge_protection = 2;
    NO_HANDLE(atrest_vault, ATREST_ERR_BAD_ENUM, CREATE(&bad));
    bad = options;
    bad.refuse_expired = 256;
    NO_HANDLE(atrest_vault, ATREST_ERR_BAD_ENUM, CREATE(&bad));
    CHECK(fopen(in_folder("o"), "r") == NULL);
    options.id = "https://contoso.vault.example";
    atrest_vault *vault;
    OK(atrest_vault_create_file_with(in_folder("o"), &unlock, &options, &vault));
    OK(atrest_vault_id(vault, TEXT, sizeof bytes, NULL));
    CHECK(strcmp(TEXT, options.id) == 0);
    atrest_vault_free(vault);
    OK(atrest_vault_create_file_with(in_folder("n"), &unlock, NULL, &vault));
    atrest_vault_free(vault);

#define OPEN_OR_CREATE(name, options) atrest_vault_open_or_create_file(in_folder(name), &unlock, options, &out)
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_open_or_create_file(NULL, &unlock, &options, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_open_or_create_file(in_folder("p"), NULL, &options, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_open_or_create_file(in_folder("p"), &unlock, &options, NULL));
    NO_HANDLE(atrest_vault, ATREST_ERR_BAD_ENUM, OPEN_OR_CREATE("p", &bad));
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_FOUND, OPEN_OR_CREATE("none/p", &options));
    CHECK(fopen(in_folder("p"), "r") == NULL);
    OK(atrest_vault_open_or_create_file(in_folder("p"), &unlock, &options, &vault));
    atrest_vault_free(vault);
    // The id in the options is for a new vault only.
    options.id = "https://another.vault.example";
    OK(atrest_vault_open_or_create_file(in_folder("p"), &unlock, &options, &vault));
    OK(atrest_vault_id(vault, TEXT, sizeof bytes, NULL));
    CHECK(strcmp(TEXT, "https://contoso.vault.example") == 0);
    atrest_vault_free(vault);
    OK(atrest_vault_open_or_create_file(in_folder("q"), &unlock, NULL, &vault));
    atrest_vault_free(vault);
    unlock = with_passphrase("wrong");
    NO_HANDLE(atrest_vault, ATREST_ERR_WRONG_PASSPHRASE, OPEN_OR_CREATE("p", &options));
}

static void states(const atrest_dek *dek)
{
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault_options options = ATREST_VAULT_OPTIONS_INIT;
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    atrest_vault *vault;
    char url[ATREST_KEY_URL_SIZE];
    seen s;
    memset(&s, 0, sizeof s);
    options.retention_days = 7;
    OK(atrest_vault_create_file_with(in_folder("s"), &unlock, &options, &vault));
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_vault_create_key_of(vault, "disks", 0, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_vault_create_key_of(vault, "disks", 5, TEXT, sizeof bytes));
    OK(atrest_vault_create_key_of(vault, "disks", ATREST_KEY_AES_256, url, sizeof url));
    atrest_status rsa = atrest_vault_create_key_of(vault, "rsa", ATREST_KEY_RSA_2048, NULL, 0);
    CHECK(rsa == ATREST_OK || rsa == ATREST_ERR_UNSUPPORTED);
    atrest_status import = rsa == ATREST_OK ? ATREST_ERR_UNSUPPORTED_ALGORITHM : ATREST_ERR_UNSUPPORTED;
    NO_BYTES(import, atrest_vault_import_rsa_key(vault, "new", marked, 99, TEXT, sizeof bytes));
    NO_BYTES(import, atrest_vault_import_rsa_version(vault, "disks", marked, 99, TEXT, sizeof bytes));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_vault_import_rsa_key(vault, "new", NULL, 99, TEXT, sizeof bytes));

    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    CHECK(s.calls == 1 && s.kind == ATREST_KEY_AES_256 && s.enabled == 1 && s.not_before == 0 && s.expires == 0);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_describe(vault, NULL, NULL, see, &s));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_describe(vault, "disks", NULL, NULL, &s));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_describe(vault, "tapes", NULL, see, &s));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_describe(vault, "disks", "2", see, &s));
    IS(ATREST_ERR_INVALID_NAME, atrest_vault_describe(vault, "disks", "2/3", see, &s));
    s.answer = 9;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    s.answer = ATREST_OK;

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_set_version(vault, url, NULL));
    IS(ATREST_ERR_INVALID_NAME, atrest_vault_set_version(vault, "disks", &change));
    change.changes = 16;
    IS(ATREST_ERR_BAD_ENUM, atrest_vault_set_version(vault, url, &change));
    change.changes = ATREST_CHANGE_AUTHENTICATED;
    change.authenticated = 2;
    IS(ATREST_ERR_BAD_ENUM, atrest_vault_set_version(vault, url, &change));
    change.authenticated = 0;
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_set_version(vault, url, &change));
    change.authenticated = 1;
    OK(atrest_vault_set_version(vault, url, &change));
    // A program of an earlier version has no such member.
    change.struct_size = offsetof(atrest_version_change, authenticated);
    change.changes = ATREST_CHANGE_NOT_BEFORE;
    OK(atrest_vault_set_version(vault, url, &change));
    change.struct_size = sizeof change;
    if (rsa == ATREST_OK) {
        char rsa_url[ATREST_KEY_URL_SIZE];
        uint8_t wrapped[1024];
        size_t wrapped_len;
        snprintf(rsa_url, sizeof rsa_url, "%.*s/keys/rsa/1", (int)(strstr(url, "/keys/") - url), url);
        change.changes = ATREST_CHANGE_AUTHENTICATED;
        OK(atrest_vault_set_version(vault, rsa_url, &change));
        OK(atrest_envelope_seal(dek, vault, "rsa", "c", 1, wrapped, sizeof wrapped, &wrapped_len));
        // Envelopes have the number of the algorithm in their bytes 12 and 13.
        CHECK(wrapped[12] == 0 && wrapped[13] == ATREST_WRAP_RSA_OAEP_256_HS256);
    }
    change.changes = ATREST_CHANGE_ENABLED;
    change.enabled = 2;
    IS(ATREST_ERR_BAD_ENUM, atrest_vault_set_version(vault, url, &change));
    change.changes = ATREST_CHANGE_NOT_BEFORE | ATREST_CHANGE_EXPIRES;
    change.not_before = change.expires = 5;
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_set_version(vault, url, &change));
    change.struct_size = 1;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_vault_set_version(vault, url, &change));

#define WRAP atrest_envelope_seal(dek, vault, "disks", "c", 1, bytes, sizeof bytes, &len)
    atrest_version_change first = ATREST_VERSION_CHANGE_INIT;
    first.changes = ATREST_CHANGE_ENABLED;
    OK(atrest_vault_set_version(vault, url, &first));
    NO_BYTES(ATREST_ERR_KEY_DISABLED, WRAP);
    first.enabled = 1;
    first.changes = ATREST_CHANGE_ENABLED | ATREST_CHANGE_EXPIRES;
    first.expires = 1000;
    OK(atrest_vault_set_version(vault, url, &first));
    NO_BYTES(ATREST_ERR_KEY_EXPIRED, WRAP);
    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    CHECK(s.expires == 1000 && strcmp(s.version, "1") == 0);
    first.changes = ATREST_CHANGE_NOT_BEFORE | ATREST_CHANGE_EXPIRES;
    first.expires = 0;
    first.not_before = (uint64_t)1 << 60;
    OK(atrest_vault_set_version(vault, url, &first));
    NO_BYTES(ATREST_ERR_KEY_NOT_YET_VALID, WRAP);
    first.not_before = 0;
    OK(atrest_vault_set_version(vault, url, &first));
    OK(WRAP);

    int deleted = 0;
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_delete_key(vault, "tapes"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_delete_key(vault, NULL));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_vault_recover_key(vault, "disks"));
    IS(ATREST_ERR_NO_SUCH_KEY, atrest_hazmat_vault_purge_key(vault, "disks"));
    OK(atrest_vault_delete_key(vault, "disks"));
    NO_BYTES(ATREST_ERR_KEY_DELETED, WRAP);
    IS(ATREST_ERR_KEY_DELETED, atrest_vault_create_key(vault, "disks", NULL, 0));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_deleted_keys(vault, NULL, &deleted));
    OK(atrest_vault_deleted_keys(vault, count_deleted, &deleted));
    CHECK(deleted == 1);
    OK(atrest_vault_recover_key(vault, "disks"));
    OK(WRAP);
    OK(atrest_vault_enable_purge_protection(vault));
    OK(atrest_vault_delete_key(vault, "disks"));
    IS(ATREST_ERR_PURGE_PROTECTED, atrest_hazmat_vault_purge_key(vault, "disks"));
    OK(atrest_vault_recover_key(vault, "disks"));
    IS(ATREST_ERR_PURGE_PROTECTED, atrest_hazmat_vault_destroy_version(vault, url));
    atrest_vault_free(vault);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_vault_delete_key(vault, "disks"));
}

static atrest_status see_properties(void *user, const atrest_vault_properties *properties)
{
    CHECK(properties->struct_size == sizeof *properties && strlen(properties->id) > 0);
    CHECK(properties->retention_days >= 7 && properties->purge_protection <= 1 && properties->refuse_expired <= 1);
    if (user != NULL)
        snprintf((char *)user, 256, "%s %s %s", properties->id, properties->region ? properties->region : "(none)",
                 properties->tenant ? properties->tenant : "(none)");
    return ATREST_OK;
}

static atrest_status refuse_properties(void *user, const atrest_vault_properties *properties)
{
    (void)user;
    (void)properties;
    return ATREST_ERR_OTHER;
}

// A copy of a vault file, and what a locked one says. `identity` isn't the owner's handle.
static void copies(atrest_vault *owner, atrest_vault *identity)
{
    char id[256] = "", said[256] = "", copy[512], expected[600];
    size_t len = 0;
    strcpy(copy, in_folder("copy"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_backup(NULL, copy));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_backup(owner, NULL));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_backup(identity, copy));
    IS(ATREST_ERR_NOT_FOUND, atrest_vault_backup(owner, in_folder("none/copy")));
    IS(ATREST_ERR_NOT_FOUND, atrest_vault_peek_file(copy, see_properties, NULL));
    OK(atrest_vault_backup(owner, copy));
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_vault_backup(owner, copy));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_peek_file(NULL, see_properties, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_peek_file(copy, NULL, NULL));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_peek_file(copy, refuse_properties, NULL));
    IS(ATREST_ERR_DAMAGED_VAULT, atrest_vault_peek_file(in_folder("copy.audit"), see_properties, said));
    CHECK(said[0] == 0);
    OK(atrest_vault_peek_file(copy, see_properties, said));
    OK(atrest_vault_id(owner, id, sizeof id, &len));
    snprintf(expected, sizeof expected, "%s ", id);
    CHECK(strncmp(said, expected, strlen(expected)) == 0);
}

static void access_and_audit(const atrest_dek *dek)
{
    atrest_vault *owner = new_vault("a"), *vault;
    uint32_t granted = 0;
    int entries = 0;
    char head[ATREST_AUDIT_HEAD_SIZE];
    seen s;
    memset(&s, 0, sizeof s);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_grant(owner, NULL, ATREST_OPERATION_GET));
    IS(ATREST_ERR_INVALID_NAME, atrest_vault_grant(owner, "two words", ATREST_OPERATION_GET));
    IS(ATREST_ERR_BAD_ENUM, atrest_vault_grant(owner, "set-1", 8));
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_grant(owner, "set-1", 0));
    IS(ATREST_ERR_BAD_ENUM, atrest_vault_revoke_operations(owner, "set-1", 8));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_as_identity(owner, NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_as_identity(owner, "set-1", NULL));
    OK(atrest_vault_as_identity(owner, "set-1", &vault));

    NO_BYTES(ATREST_ERR_ACCESS_DENIED, WRAP);
    IS(ATREST_ERR_ACCESS_DENIED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    OK(atrest_vault_grant(owner, "set-1", ATREST_OPERATION_GET | ATREST_OPERATION_WRAP_KEY | ATREST_OPERATION_UNWRAP_KEY));
    OK(WRAP);
    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    OK(atrest_vault_revoke_operations(owner, "set-1", ATREST_OPERATION_UNWRAP_KEY));
    NO_HANDLE(atrest_dek, ATREST_ERR_ACCESS_DENIED, atrest_envelope_unseal(vault, bytes, len, "c", 1, &out));
    OK(atrest_vault_grants(owner, see_grant, &granted));
    CHECK(granted == (ATREST_OPERATION_GET | ATREST_OPERATION_WRAP_KEY));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_grants(owner, NULL, NULL));

    // An identity manages nothing.
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_create_key(vault, "new", NULL, 0));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_grant(vault, "set-1", ATREST_OPERATION_UNWRAP_KEY));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_delete_key(vault, "disks"));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_audit(vault, NULL, count_entry, &entries));
    NO_HANDLE(atrest_vault, ATREST_ERR_UNSUPPORTED, atrest_vault_as_identity(vault, "set-2", &out));

    OK(atrest_vault_audit_head(owner, head, sizeof head, NULL));
    uint64_t blocks = 0;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_usage(owner, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_usage(NULL, &blocks));
    CHECK(blocks == 0);
    OK(atrest_vault_usage(owner, &blocks));
    CHECK(blocks > 0 && blocks % 48 == 0 && blocks < ATREST_BLOCKS_DUE);
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_vault_audit_head(owner, TEXT, 46, &len));
    CHECK(len == strlen(head));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_audit(owner, NULL, NULL, NULL));
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_audit(owner, "nonsense", count_entry, &entries));
    OK(atrest_vault_audit(owner, head, count_entry, &entries));
    CHECK(entries >= 8 && atoi(head) == entries);
    head[0] = '9';
    entries = 0;
    IS(ATREST_ERR_DAMAGED_VAULT, atrest_vault_audit(owner, head, count_entry, &entries));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_audit_past_damage(owner, NULL, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_audit_past_damage(NULL, NULL, count_entry, &entries));
    IS(ATREST_ERR_INVALID_OPTION, atrest_vault_audit_past_damage(owner, "nonsense", count_entry, &entries));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_audit_past_damage(vault, NULL, count_entry, &entries));
    entries = 0;
    IS(ATREST_ERR_DAMAGED_VAULT, atrest_vault_audit_past_damage(owner, head, count_entry, &entries));
    CHECK(entries >= 8);
    // A line in the middle is changed: the lines behind it are listed, and then the damage.
    FILE *log = fopen(in_folder("a.audit"), "r+b");
    CHECK(log != NULL && fseek(log, 200, SEEK_SET) == 0 && fputc(1, log) == 1 && fclose(log) == 0);
    last_entry = 0;
    IS(ATREST_ERR_DAMAGED_VAULT, atrest_vault_audit_past_damage(owner, NULL, see_entry, NULL));
    CHECK(last_entry == (uint64_t)entries);
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_vault_archive_audit(owner, in_folder("a")));
    OK(atrest_vault_archive_audit(owner, in_folder("a.old")));
    copies(owner, vault);
    atrest_vault_free(owner);
    // The handle of the identity lives on.
    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    atrest_vault_free(vault);
}

// A vault of callbacks that describes keys.
static atrest_status told;
static const char *told_version;
static uint32_t told_kind;

// The error text of a callback.
static const char *told_why;

static atrest_status answered(void)
{
    if (told_why != NULL)
        OK(atrest_set_callback_message(told_why));
    return told;
}

static atrest_status no_wrap(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped)
{
    (void)user, (void)dek, (void)dek_len, (void)wrapped;
    return answered();
}

static atrest_status no_unwrap(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t cap, size_t *dek_len)
{
    (void)user, (void)wrapped, (void)dek, (void)cap, (void)dek_len;
    return answered();
}

static atrest_status tell(void *user, const char *key_name, atrest_key_description *said)
{
    CHECK(user == &told && strcmp(key_name, "disks") == 0 && said->struct_size == sizeof *said);
    CHECK(said->version[0] == 0 || strcmp(said->version, "v7") == 0);
    snprintf(said->version, sizeof said->version, "%s", told_version);
    said->kind = told_kind;
    said->enabled = 1;
    said->expires = 77;
    return answered();
}

static void callbacks(const atrest_dek *dek)
{
    atrest_vault_callbacks callbacks = ATREST_VAULT_CALLBACKS_INIT;
    atrest_vault *vault;
    seen s;
    memset(&s, 0, sizeof s);
    callbacks.user = &told;
    callbacks.id = "https://v";
    callbacks.wrap = no_wrap;
    callbacks.unwrap = no_unwrap;
    OK(atrest_vault_from_callbacks(&callbacks, &vault));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_delete_key(vault, "disks"));
    atrest_vault_free(vault);

    callbacks.describe = tell;
    OK(atrest_vault_from_callbacks(&callbacks, &vault));
    told_version = "v7";
    told_kind = ATREST_KEY_RSA_3072;
    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    OK(atrest_vault_describe(vault, "disks", "v7", see, &s));
    CHECK(s.kind == ATREST_KEY_RSA_3072 && s.expires == 77 && strcmp(s.version, "v7") == 0);
    told_kind = 5;
    IS(ATREST_ERR_VAULT, atrest_vault_describe(vault, "disks", NULL, see, &s));
    told_kind = ATREST_KEY_AES_256;
    told_version = "v8";
    IS(ATREST_ERR_VAULT, atrest_vault_describe(vault, "disks", "v7", see, &s));
    told_version = "";
    IS(ATREST_ERR_VAULT, atrest_vault_describe(vault, "disks", NULL, see, &s));
    const atrest_status revoked[] = {ATREST_ERR_NO_SUCH_KEY,  ATREST_ERR_KEY_DISABLED,      ATREST_ERR_KEY_DELETED,
                                     ATREST_ERR_KEY_EXPIRED, ATREST_ERR_KEY_NOT_YET_VALID, ATREST_ERR_ACCESS_DENIED};
    for (size_t i = 0; i < sizeof revoked / sizeof *revoked; i++) {
        told = revoked[i];
        IS(told, atrest_vault_describe(vault, "disks", NULL, see, &s));
        NO_BYTES(told, WRAP);
    }
    told = ATREST_ERR_UNSUPPORTED;
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    told = 4711;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    // The callback's text reaches the message of this call and of no other.
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_set_callback_message(NULL));
    told_why = "connection refused";
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    CHECK(strstr(atrest_last_error_message(), "4711: connection refused") != NULL);
    NO_BYTES(ATREST_ERR_CALLBACK_FAILED, WRAP);
    CHECK(strstr(atrest_last_error_message(), "4711: connection refused") != NULL);
    told_why = NULL;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    CHECK(strstr(atrest_last_error_message(), "refused") == NULL);
    told = ATREST_OK;
    told_version = "v7";
    told_why = "a warning";
    OK(atrest_vault_describe(vault, "disks", NULL, see, &s));
    told = 4711;
    told_why = NULL;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_describe(vault, "disks", NULL, see, &s));
    CHECK(strstr(atrest_last_error_message(), "warning") == NULL);
    atrest_vault_free(vault);
}

// Events are passed to a function while it is set, and to none after that.
static unsigned told_events;
static char told_event[512];

static void keep_event(void *user, uint32_t level, const char *message)
{
    CHECK(user == told_event && level == ATREST_LOG_WARN);
    snprintf(told_event, sizeof told_event, "%s", message);
    told_events++;
}

static void tear_log(void)
{
    FILE *log = fopen(in_folder("events.vault.audit"), "ab");
    CHECK(log != NULL && fputs("half a li", log) >= 0 && fclose(log) == 0);
}

static void events(const atrest_dek *dek)
{
    const atrest_unlock unlock = with_passphrase("correct horse");
    atrest_vault *vault;
    OK(atrest_vault_create_file(in_folder("events.vault"), &unlock, &vault));
    OK(atrest_vault_create_key(vault, "disks", NULL, 0));
    IS(ATREST_ERR_BAD_ENUM, atrest_set_log(keep_event, told_event, 0));
    IS(ATREST_ERR_BAD_ENUM, atrest_set_log(NULL, NULL, 4));
    OK(atrest_set_log(keep_event, told_event, ATREST_LOG_INFO));
    OK(WRAP);
    CHECK(told_events == 0);
    tear_log();
    OK(WRAP);
    CHECK(told_events == 1 && strstr(told_event, "events.vault.audit") != NULL);
    OK(atrest_set_log(keep_event, told_event, ATREST_LOG_ERROR));
    tear_log();
    OK(WRAP);
    OK(atrest_set_log(NULL, NULL, ATREST_LOG_INFO));
    tear_log();
    OK(WRAP);
    CHECK(told_events == 1);
    atrest_vault_free(vault);
}

// A vault's secrets, and how often they were asked for and let go.
typedef struct {
    int asked, released;
    atrest_status answer;
    size_t len;
} secrets;

static atrest_status give_secret(void *user, const char *name, uint8_t *secret, size_t cap, size_t *len)
{
    secrets *s = (secrets *)user;
    CHECK(strcmp(name, "ATREST_PASSPHRASE") == 0 && cap == ATREST_SECRET_MAX);
    s->asked++;
    memcpy(secret, "passphrase", 10);
    *len = s->len;
    return s->answer;
}

static void let_go(void *user)
{
    ((secrets *)user)->released++;
}

// Vaults by URL.
static void urls(const atrest_dek *dek)
{
    char url[600];
    atrest_vault *vault = new_vault("url.vault");
    atrest_vault_free(vault);
    snprintf(url, sizeof url, "file:%s", in_folder("url.vault"));
    atrest_vault_url_options options = ATREST_VAULT_URL_OPTIONS_INIT;
    secrets s = {0, 0, ATREST_OK, 10};
    options.user = &s;
    options.secret = give_secret;
    options.release = let_go;
#define OPEN(of, by) NO_HANDLE(atrest_vault, of, atrest_vault_open_url(url, by, &out))
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_open_url(NULL, &options, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_UTF8, atrest_vault_open_url(BAD_UTF8, &options, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_open_url(url, &options, NULL));
    options.struct_size = 1;
    OPEN(ATREST_ERR_STRUCT_SIZE, &options);
    options.struct_size = sizeof options;
    CHECK(s.asked == 0);
    // Without a secret it doesn't open.
    OPEN(ATREST_ERR_INVALID_OPTION, NULL);
    s.answer = ATREST_ERR_NOT_FOUND;
    OPEN(ATREST_ERR_INVALID_OPTION, &options);
    s.answer = ATREST_ERR_IO;
    OPEN(ATREST_ERR_INVALID_OPTION, &options);
    s.answer = ATREST_OK;
    s.len = ATREST_SECRET_MAX + 1;
    OPEN(ATREST_ERR_INVALID_OPTION, &options);
    s.len = 9;
    OPEN(ATREST_ERR_WRONG_PASSPHRASE, &options);
    CHECK(s.asked == 4 && s.released == 0);
    s.len = 10;
    OK(atrest_vault_open_url(url, &options, &vault));
    CHECK(s.asked == 5 && s.released == 1);
    // It is its owner's handle.
    OK(atrest_vault_rotate_key(vault, "disks", NULL, 0));
    OK(WRAP);
    atrest_vault_free(vault);
    CHECK(s.released == 1);

    // What the library isn't built with, and what nobody has; where it is built with it, nothing is asked yet.
    const char *others[] = {"", "s3://secret", "secret", "awskms://eu-central-1", "kmip://h?ca=/a&cert=/b&key=/c",
                            "tpm:host?keys=/nonexistent", "pkcs11:token=t?module-path=/nonexistent.so"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        vault = NULL;
        if (atrest_vault_open_url(others[i], NULL, &vault) != ATREST_OK) {
            CHECK(vault == NULL && strstr(atrest_last_error_message(), "secret") == NULL);
        } else {
            CHECK(i > 2);
            IS(ATREST_ERR_UNSUPPORTED, atrest_vault_create_key(vault, "disks", NULL, 0));
        }
        atrest_vault_free(vault);
    }
#undef OPEN
}

static atrest_volume *new_volume(const atrest_vault *vault, atrest_device **device)
{
    const atrest_protector by = with_vault(vault);
    atrest_volume *volume;
    OK(atrest_device_memory(20 << 20, device));
    OK(atrest_volume_format(*device, &by, NULL, &volume));
    return volume;
}

static atrest_status opens(atrest_device *device, const atrest_vault *vault)
{
    atrest_credential by = ATREST_CREDENTIAL_INIT;
    atrest_volume *volume = NULL;
    by.kind = ATREST_CREDENTIAL_VAULT;
    by.vault = vault;
    const atrest_status status = atrest_volume_open(device, &by, NULL, &volume);
    atrest_volume_free(volume);
    return status;
}

// Several vaults as one, and a volume that goes from one to another.
static void several(void)
{
    atrest_vault *one = new_vault("one.vault"), *two = new_vault("two.vault"), *three = new_vault("three.vault"), *any;
    const atrest_vault *both[] = {one, two}, *twice[] = {one, one}, *with_null[] = {one, NULL};
    const atrest_vault *all[] = {one, two, three}, *wrong[] = {one, PASSED_AS(atrest_vault, &passed)};
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_any(NULL, 2, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_any(with_null, 2, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_HANDLE, atrest_vault_any(wrong, 2, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_any(both, 0, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_any(twice, 2, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_LENGTH, atrest_vault_any(both, SIZE_MAX / 8, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_any(both, 2, NULL));
    OK(atrest_vault_any(both, 2, &any));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_create_key(any, "more", NULL, 0));

    atrest_device *device;
    atrest_volume *volume = new_volume(one, &device);
    char url[ATREST_KEY_URL_SIZE], id[513];
    OK(atrest_vault_id(one, id, sizeof id, NULL));
#define MOVE(v, from, to, key) atrest_volume_move_kek(v, from, to, key, url, sizeof url)
    IS(ATREST_ERR_NULL_ARGUMENT, MOVE(NULL, id, two, "disks"));
    IS(ATREST_ERR_NULL_ARGUMENT, MOVE(volume, NULL, two, "disks"));
    IS(ATREST_ERR_NULL_ARGUMENT, MOVE(volume, id, NULL, "disks"));
    IS(ATREST_ERR_NULL_ARGUMENT, MOVE(volume, id, two, NULL));
    IS(ATREST_ERR_NOT_UTF8, MOVE(volume, BAD_UTF8, two, "disks"));
    IS(ATREST_ERR_INVALID_HANDLE, MOVE(volume, id, PASSED_AS(atrest_vault, volume), "disks"));
    IS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_volume_move_kek(volume, id, two, "disks", url, 10));
    IS(ATREST_ERR_NOT_THIS_VAULT, MOVE(volume, "memory:nobody", two, "disks"));
    IS(ATREST_ERR_NO_SUCH_KEY, MOVE(volume, id, two, "none"));
    OK(MOVE(volume, id, two, "disks"));
    OK(atrest_vault_id(two, id, sizeof id, NULL));
    CHECK(strncmp(url, id, strlen(id)) == 0);
    atrest_volume_free(volume);
    IS(ATREST_ERR_NOT_THIS_VAULT, opens(device, one));
    IS(ATREST_ERR_NOT_THIS_VAULT, opens(device, three));
    OK(opens(device, two));
    OK(opens(device, any));
    atrest_device_free(device);
    atrest_vault_free(any);

    const char *names[] = {"disks", NULL, NULL};
    const char *bad_names[] = {"disks", BAD_UTF8, NULL};
    atrest_vault *board = NULL;
    const atrest_status made = atrest_vault_quorum("quorum:board", 2, all, names, 3, &board);
    if (made == ATREST_ERR_UNSUPPORTED) {
        CHECK(strstr(atrest_last_error_message(), "quorum") != NULL && board == NULL);
    } else {
        OK(made);
        NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_quorum("quorum:board", 1, all, NULL, 3, &out));
        NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_OPTION, atrest_vault_quorum("quorum:board", 4, all, NULL, 3, &out));
        NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_NAME, atrest_vault_quorum("a b", 2, all, NULL, 3, &out));
        volume = new_volume(board, &device);
        atrest_volume_free(volume);
        IS(ATREST_ERR_NOT_THIS_VAULT, opens(device, one));
        OK(opens(device, board));
        atrest_device_free(device);
        atrest_vault_free(board);
    }
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_quorum(NULL, 2, all, NULL, 3, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_quorum("q", 2, NULL, NULL, 3, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_quorum("q", 2, with_null, NULL, 2, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NOT_UTF8, atrest_vault_quorum("q", 2, all, bad_names, 3, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_quorum("q", 2, all, NULL, 3, NULL));

    // A log that is archived by itself.
    atrest_vault *rotating;
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_with_audit_rotation(NULL, 1, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_with_audit_rotation(one, 1, NULL));
    OK(atrest_vault_with_audit_rotation(one, 1, &rotating));
    OK(atrest_vault_rotate_key(rotating, "disks", NULL, 0));
    atrest_vault_free(rotating);
    atrest_vault_free(one);
    atrest_vault_free(two);
    atrest_vault_free(three);
#undef MOVE
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_dek *dek;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    options();
    states(dek);
    access_and_audit(dek);
    callbacks(dek);
    events(dek);
    urls(dek);
    several();
    atrest_dek_free(dek);
    printf("%d checks passed\n", passed);
    return 0;
}
