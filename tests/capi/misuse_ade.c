// Misuse of disks of Azure Disk Encryption, on a vault of callbacks: by the secret, wrapped and not, by the token, taken over, and
// with new passphrases. A library that was built without the feature says so.
#include "checks.h"

#define ID "https://contoso.vault.azure.net"
#define VERSION "0123456789abcdef0123456789abcdef"
#define SECRET ID "/secrets/b3284aaa/"
#define KEK "https://Contoso.vault.azure.net:443/keys/disks/" VERSION

enum { MOST = 6, DISK_SIZE = (16 << 20) + (64 << 10) };

// What the vault holds: versions of one secret.
static struct {
    size_t count, asked, released;
    unsigned char values[MOST][1024];
    size_t lens[MOST];
    char tags[MOST][1024];
    size_t tags_lens[MOST];
    // How it answers.
    atrest_status fails;
    int lies;
} vault;

// The length of a list of tags, with its last zero byte.
static size_t tags_len(const char *tags)
{
    const char *at = tags;
    while (*at != 0)
        at += strlen(at) + 1;
    return (size_t)(at - tags) + 1;
}

static void version_of(size_t number, char *text, size_t size)
{
    snprintf(text, size, "%032u", (unsigned)number);
}

static atrest_status get(void *user, const char *name, atrest_ade_secret *secret)
{
    char version[ATREST_NAME_SIZE];
    size_t at = vault.count;
    CHECK(user == &vault && secret->struct_size == sizeof *secret && secret->value_cap == ATREST_SECRET_MAX);
    vault.asked++;
    if (vault.fails != ATREST_OK) {
        CHECK(atrest_set_callback_message("the line is cut") == ATREST_OK);
        return vault.fails;
    }
    if (strcmp(name, "b3284aaa") != 0)
        return ATREST_ERR_NO_SUCH_KEY;
    while (at-- > 0) {
        version_of(at, version, sizeof version);
        if (secret->version[0] == 0 || strcmp(secret->version, version) == 0) {
            memcpy(secret->version, version, sizeof version);
            memcpy(secret->value, vault.values[at], vault.lens[at]);
            secret->value_len = vault.lens[at];
            memcpy(secret->tags, vault.tags[at], vault.tags_lens[at]);
            if (vault.lies == 1)
                secret->value_len = secret->value_cap + 1;
            if (vault.lies == 2)
                secret->version[0] = 0;
            if (vault.lies == 3)
                memset(secret->tags, 'x', sizeof secret->tags);
            if (vault.lies == 4)
                memcpy(secret->tags, "\xff\0x\0", 5);
            if (vault.lies == 5)
                secret->version[0] = 'x';
            return ATREST_OK;
        }
    }
    return ATREST_ERR_NO_SUCH_KEY;
}

static atrest_status set(void *user, const char *name, const uint8_t *value, size_t value_len, const char *tags,
                         char *version, size_t version_cap)
{
    CHECK(user == &vault && strcmp(name, "b3284aaa") == 0 && vault.count < MOST && version_cap == ATREST_NAME_SIZE);
    CHECK(value_len <= sizeof vault.values[0] && tags_len(tags) <= sizeof vault.tags[0]);
    memcpy(vault.values[vault.count], value, value_len);
    vault.lens[vault.count] = value_len;
    vault.tags_lens[vault.count] = tags_len(tags);
    memcpy(vault.tags[vault.count], tags, tags_len(tags));
    version_of(vault.count++, version, version_cap);
    return ATREST_OK;
}

// No secret wrap: what matters is that key, version and algorithm arrive.
static atrest_status wrap(void *user, const uint8_t *passphrase, size_t passphrase_len, atrest_wrapped_dek *wrapped)
{
    CHECK(user == &vault && strcmp(wrapped->vault_id, ID) == 0 && strcmp(wrapped->key_name, "disks") == 0);
    CHECK(strcmp(wrapped->version, VERSION) == 0);
    wrapped->bytes_len = passphrase_len + 1;
    wrapped->bytes[0] = (uint8_t)wrapped->algorithm;
    for (size_t i = 0; i < passphrase_len; i++)
        wrapped->bytes[i + 1] = passphrase[i] ^ 0x5a;
    if (vault.lies == 6)
        wrapped->version[0] = 'x';
    if (vault.lies == 7)
        wrapped->bytes_len = sizeof wrapped->bytes + 1;
    if (vault.lies == 8)
        wrapped->bytes_len = 0;
    return vault.fails;
}

static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, uint8_t *passphrase, size_t passphrase_cap,
                            size_t *passphrase_len)
{
    CHECK(user == &vault && strcmp(wrapped->key_name, "disks") == 0 && passphrase_cap == ATREST_SECRET_MAX);
    if (wrapped->bytes_len == 0 || wrapped->bytes[0] != wrapped->algorithm)
        return ATREST_ERR_UNWRAP_FAILED;
    *passphrase_len = wrapped->bytes_len - 1;
    for (size_t i = 0; i < *passphrase_len; i++)
        passphrase[i] = wrapped->bytes[i + 1] ^ 0x5a;
    if (vault.lies == 9)
        *passphrase_len = passphrase_cap + 1;
    return ATREST_OK;
}

static void release(void *user)
{
    CHECK(user == &vault);
    vault.released++;
}

static atrest_ade_vault_callbacks callbacks(void)
{
    atrest_ade_vault_callbacks all = ATREST_ADE_VAULT_CALLBACKS_INIT;
    all.user = &vault;
    all.id = ID;
    all.get = get;
    all.set = set;
    all.wrap = wrap;
    all.unwrap = unwrap;
    all.release = release;
    return all;
}

static atrest_keyslot_options quick(const atrest_kdf *kdf)
{
    atrest_keyslot_options options = ATREST_KEYSLOT_OPTIONS_INIT;
    options.kdf = kdf;
    return options;
}

static atrest_kdf pbkdf2(void)
{
    atrest_kdf kdf = ATREST_KDF_INIT;
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.iterations = 1000;
    return kdf;
}

static const char *url_of(size_t number)
{
    static char url[256];
    snprintf(url, sizeof url, SECRET);
    version_of(number, url + strlen(url), 64);
    return url;
}

// A disk with a passphrase of the length that ADE's have.
static atrest_device *new_disk(const unsigned char *passphrase, const char *token)
{
    atrest_device *device;
    atrest_volume *volume;
    unsigned char data[4096];
    const atrest_kdf kdf = pbkdf2();
    const atrest_keyslot_options keyslot = quick(&kdf);
    atrest_format_options format = ATREST_FORMAT_OPTIONS_INIT;
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    format.keyslot = &keyslot;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = (const char *)passphrase;
    protector.passphrase_len = ATREST_ADE_PASSPHRASE_LEN;
    OK(atrest_device_memory(DISK_SIZE, &device));
    OK(atrest_volume_format(device, &protector, &format, &volume));
    memset(data, 0x33, sizeof data);
    OK(atrest_volume_write_at(volume, 0, data, sizeof data));
    atrest_volume_free(volume);
    if (token != NULL) {
        atrest_header *header;
        uint32_t id;
        OK(atrest_header_load(device, &header));
        OK(atrest_header_import_token(header, token, &id));
        atrest_header_free(header);
    }
    return device;
}

static int has_content(atrest_volume *volume)
{
    unsigned char data[4096];
    OK(atrest_volume_read_at(volume, 0, data, sizeof data));
    for (size_t i = 0; i < sizeof data; i++)
        if (data[i] != 0x33)
            return 0;
    return 1;
}

static void add_secret(const void *value, size_t value_len, const char *tags)
{
    char version[ATREST_NAME_SIZE];
    OK(set(&vault, "b3284aaa", (const uint8_t *)value, value_len, tags, version, sizeof version));
}

// Arguments that no library takes, with the feature or without.
static void arguments(const atrest_ade_vault *handle, atrest_device *device)
{
    const atrest_ade_vault *vaults[] = {handle}, *null[] = {NULL};
    const atrest_ade_vault *bad[] = {PASSED_AS(const atrest_ade_vault, device)};
    atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
    char url[ATREST_ADE_URL_SIZE];
    atrest_ade_taken_over done = ATREST_ADE_TAKEN_OVER_INIT;
    atrest_vault *file = new_vault("arguments.vault");
    const size_t count = handle == NULL ? 0 : 1;
#define OPENS(wanted, vaults, count, options) \
    NO_HANDLE(atrest_volume, wanted, atrest_ade_open(&disk, vaults, count, options, &out))
    OPENS(ATREST_ERR_NULL_ARGUMENT, vaults, count, NULL);
    NO_HANDLE(atrest_volume, ATREST_ERR_NULL_ARGUMENT, atrest_ade_open(NULL, vaults, count, NULL, &out));
    disk.device = PASSED_AS(atrest_device, file);
    OPENS(ATREST_ERR_INVALID_HANDLE, vaults, count, NULL);
    disk.device = device;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_open(&disk, vaults, count, NULL, NULL));
    OPENS(ATREST_ERR_NULL_ARGUMENT, NULL, 1, NULL);
    OPENS(ATREST_ERR_NULL_ARGUMENT, null, 1, NULL);
    OPENS(ATREST_ERR_INVALID_HANDLE, bad, 1, NULL);
    disk.header = PASSED_AS(atrest_device, file);
    OPENS(ATREST_ERR_INVALID_HANDLE, vaults, count, NULL);
    disk.header = NULL;
    disk.struct_size += 1;
    OPENS(ATREST_ERR_STRUCT_SIZE, vaults, count, NULL);
    disk.struct_size -= 1;
    disk.kek_url = KEK;
    OPENS(ATREST_ERR_INVALID_OPTION, vaults, count, NULL);
    disk.secret_url = url_of(0);
    disk.kek_algorithm = ATREST_WRAP_A256KW;
    OPENS(ATREST_ERR_BAD_ENUM, vaults, count, NULL);
    disk.kek_algorithm = 0;
    disk.kek_url = BAD_UTF8;
    OPENS(ATREST_ERR_NOT_UTF8, vaults, count, NULL);
    disk.kek_url = NULL;
    disk.secret_url = BAD_UTF8;
    OPENS(ATREST_ERR_NOT_UTF8, vaults, count, NULL);
    disk.secret_url = url_of(0);
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    options.header = device;
    OPENS(ATREST_ERR_INVALID_OPTION, vaults, count, &options);
    options.header = NULL;
    options.flags = 1u << 31;
    OPENS(ATREST_ERR_BAD_ENUM, vaults, count, &options);

#define TAKES(wanted, file, key, flags, done) \
    NO_HANDLE(atrest_volume, wanted, atrest_ade_take_over(&disk, vaults, count, file, key, flags, NULL, done, &out))
    TAKES(ATREST_ERR_NULL_ARGUMENT, NULL, "disks", 0, &done);
    TAKES(ATREST_ERR_NULL_ARGUMENT, file, NULL, 0, &done);
    TAKES(ATREST_ERR_INVALID_HANDLE, PASSED_AS(atrest_vault, device), "disks", 0, &done);
    TAKES(ATREST_ERR_BAD_ENUM, file, "disks", 2, &done);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_take_over(&disk, vaults, count, file, "disks", 0, NULL, &done, NULL));
    done.struct_size = 4;
    TAKES(ATREST_ERR_STRUCT_SIZE, file, "disks", 0, &done);
    CHECK(done.removed_keyslots == 0 && done.left_tokens == 0);

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_replace_secret(NULL, vaults, count, NULL, NULL, url, sizeof url));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_replace_secret(&disk, vaults, count, NULL, NULL, NULL, 0));
    IS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_ade_replace_secret(&disk, vaults, count, NULL, NULL, url, sizeof url - 1));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_replace_token(NULL, vaults, count, NULL, NULL));

    atrest_ade_new_passphrase first = ATREST_ADE_NEW_PASSPHRASE_INIT;
    atrest_volume *volume, *other = PASSED_AS(atrest_volume, file);
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    atrest_device *memory;
    protector.kind = ATREST_PROTECTOR_VAULT;
    protector.vault = file;
    protector.key_name = "disks";
    OK(atrest_device_memory(DISK_SIZE, &memory));
    OK(atrest_volume_format(memory, &protector, NULL, &volume));
#define SECRET_IS(wanted, to, what, url, size) IS(wanted, atrest_ade_add_secret(to, what, vaults, count, NULL, url, size))
#define TOKEN_IS(wanted, to, what) IS(wanted, atrest_ade_add_token(to, what, vaults, count, NULL))
    SECRET_IS(ATREST_ERR_NULL_ARGUMENT, NULL, &first, url, sizeof url);
    SECRET_IS(ATREST_ERR_NULL_ARGUMENT, volume, NULL, url, sizeof url);
    SECRET_IS(ATREST_ERR_NULL_ARGUMENT, volume, &first, NULL, 0);
    SECRET_IS(ATREST_ERR_BUFFER_TOO_SHORT, volume, &first, url, sizeof url - 1);
    SECRET_IS(ATREST_ERR_INVALID_HANDLE, other, &first, url, sizeof url);
    TOKEN_IS(ATREST_ERR_NULL_ARGUMENT, NULL, &first);
    TOKEN_IS(ATREST_ERR_NULL_ARGUMENT, volume, NULL);
    TOKEN_IS(ATREST_ERR_INVALID_HANDLE, other, &first);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_add_token(volume, &first, NULL, 1, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_ade_add_token(volume, &first, bad, 1, NULL));
    first.struct_size -= 1;
    SECRET_IS(ATREST_ERR_STRUCT_SIZE, volume, &first, url, sizeof url);
    TOKEN_IS(ATREST_ERR_STRUCT_SIZE, volume, &first);
    first.struct_size += 1;
    first.kek_algorithm = 99;
    SECRET_IS(ATREST_ERR_BAD_ENUM, volume, &first, url, sizeof url);
    first.kek_algorithm = 0;
    first.machine_name = BAD_UTF8;
    SECRET_IS(ATREST_ERR_NOT_UTF8, volume, &first, url, sizeof url);
    TOKEN_IS(ATREST_ERR_NOT_UTF8, volume, &first);
    first.machine_name = NULL;
    if (handle == NULL) {
        SECRET_IS(ATREST_ERR_UNSUPPORTED, volume, &first, url, sizeof url);
        TOKEN_IS(ATREST_ERR_UNSUPPORTED, volume, &first);
    } else {
        SECRET_IS(ATREST_ERR_INVALID_OPTION, volume, &first, url, sizeof url);
        TOKEN_IS(ATREST_ERR_INVALID_NAME, volume, &first);
        first.secret_url = url_of(0);
        SECRET_IS(ATREST_ERR_INVALID_OPTION, volume, &first, url, sizeof url);
        TOKEN_IS(ATREST_ERR_INVALID_OPTION, volume, &first);
    }
    atrest_volume_free(volume);
    atrest_device_free(memory);
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_ade_generate_passphrase(NULL, 172, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_ade_generate_passphrase(bytes, 171, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_ade_generate_passphrase(bytes, 172, NULL));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT,
             atrest_ade_seal(NULL, 3, NULL, 0, vaults, count, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BAD_ENUM,
             atrest_ade_seal("abc", 3, KEK, 99, vaults, count, bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_ade_seal("abc", 3, NULL, 0, vaults, count, NULL, 10, &len));
    atrest_vault_free(file);
}

static void without_ade(atrest_device *device)
{
    atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
    atrest_vault *file = new_vault("without.vault");
    char url[ATREST_ADE_URL_SIZE];
    disk.device = device;
    const atrest_ade_vault_callbacks all = callbacks();
    NO_HANDLE(atrest_ade_vault, ATREST_ERR_UNSUPPORTED, atrest_ade_vault_from_callbacks(&all, &out));
    CHECK(strstr(atrest_last_error_message(), "`ade`") != NULL && vault.released == 0);
    NO_HANDLE(atrest_ade_vault, ATREST_ERR_UNSUPPORTED, atrest_ade_vault_open_url("azurekv://x.vault.azure.net", NULL, &out));
    NO_HANDLE(atrest_volume, ATREST_ERR_UNSUPPORTED, atrest_ade_open(&disk, NULL, 0, NULL, &out));
    NO_HANDLE(atrest_volume, ATREST_ERR_UNSUPPORTED,
              atrest_ade_take_over(&disk, NULL, 0, file, "disks", 0, NULL, NULL, &out));
    IS(ATREST_ERR_UNSUPPORTED, atrest_ade_replace_token(&disk, NULL, 0, NULL, NULL));
    IS(ATREST_ERR_UNSUPPORTED, atrest_ade_replace_secret(&disk, NULL, 0, NULL, NULL, url, sizeof url));
    NO_BYTES(ATREST_ERR_UNSUPPORTED, atrest_ade_generate_passphrase(bytes, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_UNSUPPORTED, atrest_ade_seal("x", 1, NULL, 0, NULL, 0, bytes, sizeof bytes, &len));
    atrest_vault_free(file);
}

static void vaults_of_callbacks(void)
{
    atrest_ade_vault_callbacks all = callbacks();
#define BAD_VAULT(wanted) NO_HANDLE(atrest_ade_vault, wanted, atrest_ade_vault_from_callbacks(&all, &out))
    NO_HANDLE(atrest_ade_vault, ATREST_ERR_NULL_ARGUMENT, atrest_ade_vault_from_callbacks(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_vault_from_callbacks(&all, NULL));
    all.struct_size -= 1;
    BAD_VAULT(ATREST_ERR_STRUCT_SIZE);
    all.struct_size += 1;
    all.id = NULL;
    BAD_VAULT(ATREST_ERR_NULL_ARGUMENT);
    all.id = "";
    BAD_VAULT(ATREST_ERR_INVALID_NAME);
    all.id = ID;
    all.get = NULL;
    all.unwrap = NULL;
    BAD_VAULT(ATREST_ERR_INVALID_OPTION);
    CHECK(vault.released == 0);
    NO_HANDLE(atrest_ade_vault, ATREST_ERR_NULL_ARGUMENT, atrest_ade_vault_open_url(NULL, NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_ade_vault_open_url("azurekv://x.vault.azure.net?auth=managed", NULL, NULL));
    for (size_t i = 0; i < 3; i++) {
        static const char *const BAD[] = {"", "file:/nowhere", "azurekv://x.vault.azure.net.evil.example?auth=managed"};
        NO_HANDLE(atrest_ade_vault, ATREST_ERR_INVALID_OPTION, atrest_ade_vault_open_url(BAD[i], NULL, &out));
    }
    atrest_ade_vault *handle;
    OK(atrest_ade_vault_open_url("azurekv://x.vault.azure.net?auth=managed", NULL, &handle));
    atrest_ade_vault_free(handle);
    atrest_ade_vault_free(NULL);
}

// The passphrase in a secret, plain and wrapped; then a new one.
static void secrets(const atrest_ade_vault *handle, int wrapped)
{
    const atrest_ade_vault *vaults[] = {handle};
    const size_t count = 1;
    static const char TAGS[] = "DiskEncryptionKeyEncryptionAlgorithm\0RSA-OAEP-256\0DiskEncryptionKeyEncryptionKeyURL\0" KEK
                               "\0MachineName\0vm-1\0";
    static const char PLAIN[] = "DiskEncryptionKeyFileName\0LinuxPassPhraseFileName\0";
    const char *tags = wrapped ? TAGS : PLAIN;
    unsigned char passphrase[ATREST_ADE_PASSPHRASE_LEN], sealed[1024];
    size_t sealed_len;
    const atrest_kdf kdf = pbkdf2();
    const atrest_keyslot_options keyslot = quick(&kdf);
    atrest_volume *volume;
    OK(atrest_ade_generate_passphrase(passphrase, sizeof passphrase, &sealed_len));
    CHECK(sealed_len == ATREST_ADE_PASSPHRASE_LEN && passphrase[171] == '=');
    atrest_device *device = new_disk(passphrase, NULL);
    memset(&vault, 0, sizeof vault);
    OK(atrest_ade_seal(passphrase, sizeof passphrase, wrapped ? KEK : NULL, ATREST_WRAP_RSA_OAEP_256, vaults, 1,
                                  sealed, sizeof sealed, &sealed_len));
    CHECK(sealed_len == (wrapped ? 231u : 232u)); // 173 bytes in base64url without padding, or 172 in base64
    add_secret(sealed, sealed_len, tags);

    atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
    disk.device = device;
    OPENS(ATREST_ERR_NO_SUCH_PROTECTOR, vaults, 1, NULL); // it has no token
    disk.secret_url = url_of(0);
    OPENS(ATREST_ERR_NOT_THIS_VAULT, NULL, 0, NULL);
    OK(atrest_ade_open(&disk, vaults, 1, NULL, &volume));
    CHECK(has_content(volume));
    atrest_volume_free(volume);
    disk.secret_url = ID "/secrets/none";
    OPENS(ATREST_ERR_NO_SUCH_KEY, vaults, 1, NULL);
    disk.secret_url = ID "/keys/none";
    OPENS(ATREST_ERR_INVALID_NAME, vaults, 1, NULL);
    disk.secret_url = url_of(0);
    static const atrest_status REFUSALS[] = {ATREST_ERR_NO_SUCH_KEY,  ATREST_ERR_KEY_DISABLED,      ATREST_ERR_KEY_DELETED,
                                             ATREST_ERR_KEY_EXPIRED, ATREST_ERR_KEY_NOT_YET_VALID, ATREST_ERR_ACCESS_DENIED};
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        vault.fails = REFUSALS[i];
        OPENS(REFUSALS[i], vaults, 1, NULL);
    }
    vault.fails = 777;
    OPENS(ATREST_ERR_CALLBACK_FAILED, vaults, 1, NULL);
    CHECK(strstr(atrest_last_error_message(), "the line is cut") != NULL);
    vault.fails = ATREST_OK;
    for (vault.lies = 1; vault.lies <= 5; vault.lies++)
        OPENS(ATREST_ERR_VAULT, vaults, 1, NULL);
    if (wrapped) {
        vault.lies = 9;
        OPENS(ATREST_ERR_VAULT, vaults, 1, NULL);
        for (vault.lies = 6; vault.lies <= 8; vault.lies++)
            NO_BYTES(ATREST_ERR_VAULT, atrest_ade_seal(passphrase, sizeof passphrase, KEK, 0, vaults, 1, bytes,
                                                                  sizeof bytes, &len));
        vault.lies = 0;
        // Another algorithm than the tags say, and another vault's key.
        disk.kek_url = KEK;
        disk.kek_algorithm = ATREST_WRAP_RSA1_5;
        OPENS(ATREST_ERR_UNWRAP_FAILED, vaults, 1, NULL);
        disk.kek_url = "https://other.vault.azure.net/keys/disks/" VERSION;
        OPENS(ATREST_ERR_NOT_THIS_VAULT, vaults, 1, NULL);
        disk.kek_url = "https://contoso.vault.azure.net/keys/disks";
        OPENS(ATREST_ERR_INVALID_NAME, vaults, 1, NULL);
        disk.kek_url = KEK;
        disk.kek_algorithm = ATREST_WRAP_RSA_OAEP_256;
        OK(atrest_ade_open(&disk, vaults, 1, NULL, &volume));
        atrest_volume_free(volume);
        disk.kek_url = NULL;
    }
    vault.lies = 0;

    // A new version, with the same tags; the old one opens nothing then.
    char url[ATREST_ADE_URL_SIZE];
    IS(ATREST_ERR_INVALID_OPTION, atrest_ade_replace_token(&disk, vaults, 1, NULL, &keyslot));
    disk.secret_url = ID "/secrets/b3284aaa";
    IS(ATREST_ERR_INVALID_OPTION, atrest_ade_replace_secret(&disk, vaults, 1, NULL, &keyslot, url, sizeof url));
    disk.secret_url = NULL;
    IS(ATREST_ERR_INVALID_OPTION, atrest_ade_replace_secret(&disk, vaults, 1, NULL, &keyslot, url, sizeof url));
    disk.secret_url = url_of(0);
    OK(atrest_ade_replace_secret(&disk, vaults, 1, NULL, &keyslot, url, sizeof url));
    CHECK(strcmp(url, url_of(1)) == 0 && vault.count == 2);
    CHECK(vault.tags_lens[1] == vault.tags_lens[0] && memcmp(vault.tags[1], vault.tags[0], vault.tags_lens[0]) == 0);
    disk.secret_url = url_of(0);
    OPENS(ATREST_ERR_WRONG_PASSPHRASE, vaults, 1, NULL);
    disk.secret_url = url;

    // The vault of this library takes it over, and may do so again.
    atrest_vault *file = new_vault(wrapped ? "wrapped.vault" : "plain.vault");
    atrest_ade_taken_over done = ATREST_ADE_TAKEN_OVER_INIT;
    TAKES(ATREST_ERR_NO_SUCH_KEY, file, "none", 0, &done);
    OK(atrest_ade_take_over(&disk, vaults, 1, file, "disks", wrapped ? ATREST_ADE_REENCRYPT : 0, NULL, &done, &volume));
    CHECK(has_content(volume) && done.left_keyslots == 0 && done.left_tokens == 0 && done.removed_tokens == 0);
    CHECK(wrapped || (done.removed_keyslots != 0 && (done.removed_keyslots & (done.removed_keyslots - 1)) == 0));
    atrest_volume_free(volume);
    OPENS(ATREST_ERR_NO_SUCH_PROTECTOR, vaults, 1, NULL);
    OK(atrest_ade_take_over(&disk, vaults, 1, file, "disks", 0, NULL, NULL, &volume));
    atrest_volume_free(volume);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = file;
    OK(atrest_volume_open(device, &credential, NULL, &volume));
    CHECK(has_content(volume));
    atrest_volume_free(volume);
    atrest_vault_free(file);
    atrest_device_free(device);
}

// The passphrase in the disk's token, as it is.
static void tokens(const atrest_ade_vault *handle)
{
    const atrest_ade_vault *vaults[] = {handle};
    unsigned char passphrase[ATREST_ADE_PASSPHRASE_LEN];
    char token[1024];
    const atrest_kdf kdf = pbkdf2();
    const atrest_keyslot_options keyslot = quick(&kdf);
    atrest_volume *volume;
    OK(atrest_ade_generate_passphrase(passphrase, sizeof passphrase, &len));
    snprintf(token, sizeof token,
             "{\"version\":\"1.0\",\"type\":\"Azure_Disk_Encryption\",\"keyslots\":[],\"PassphraseName\":\"LUKSPassword\","
             "\"Passphrase\":\"%.172s\"}",
             (const char *)passphrase);
    atrest_device *device = new_disk(passphrase, token);
    atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
    disk.device = device;
    OK(atrest_ade_open(&disk, vaults, 1, NULL, &volume));
    CHECK(has_content(volume));
    atrest_volume_free(volume);
    OK(atrest_ade_replace_token(&disk, NULL, 0, NULL, &keyslot));
    OK(atrest_ade_open(&disk, NULL, 0, NULL, &volume));
    atrest_volume_free(volume);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = (const char *)passphrase;
    credential.passphrase_len = sizeof passphrase;
    NO_HANDLE(atrest_volume, ATREST_ERR_WRONG_PASSPHRASE, atrest_volume_open(device, &credential, NULL, &out));
    atrest_vault *file = new_vault("token.vault");
    atrest_ade_taken_over done = ATREST_ADE_TAKEN_OVER_INIT;
    OK(atrest_ade_take_over(&disk, NULL, 0, file, "disks", 0, NULL, &done, &volume));
    CHECK(done.removed_tokens != 0 && done.removed_keyslots != 0 && done.left_keyslots == 0);
    atrest_volume_free(volume);
    atrest_vault_free(file);
    atrest_device_free(device);
}

// The startup key of a BitLocker volume: a first one, and another. The tags of both name its file.
static void startup_keys(const atrest_ade_vault *handle)
{
    const atrest_ade_vault *vaults[] = {handle};
    const size_t count = 1;
    static const char *const ALGORITHMS[] = {NULL, KEK};
    for (size_t i = 0; i < 2; i++) {
        atrest_device *device;
        atrest_volume *volume;
        unsigned char data[4096];
        char first_url[ATREST_ADE_URL_SIZE], url[ATREST_ADE_URL_SIZE];
        atrest_protector protector = ATREST_PROTECTOR_INIT;
        protector.kind = ATREST_PROTECTOR_PASSPHRASE;
        protector.passphrase = "an administrator's";
        protector.passphrase_len = strlen(protector.passphrase);
        memset(&vault, 0, sizeof vault);
        OK(atrest_device_memory(4 << 20, &device));
        OK(atrest_volume_format_bitlocker(device, &protector, NULL, &volume));
        memset(data, 0x33, sizeof data);
        OK(atrest_volume_write_at(volume, 0, data, sizeof data));

        atrest_ade_new_passphrase first = ATREST_ADE_NEW_PASSPHRASE_INIT;
        first.secret_url = ID "/secrets/b3284aaa";
        first.kek_url = ALGORITHMS[i];
        first.machine_name = "vm-1";
        first.volume_letter = "F:\\";
        first.volume_label = BAD_UTF8;
        SECRET_IS(ATREST_ERR_NOT_UTF8, volume, &first, first_url, sizeof first_url);
        first.volume_label = "data";
        first.file_name = "x.BEK";
        SECRET_IS(ATREST_ERR_INVALID_OPTION, volume, &first, first_url, sizeof first_url);
        first.file_name = NULL;
        CHECK(vault.count == 0);
        OK(atrest_ade_add_secret(volume, &first, vaults, 1, NULL, first_url, sizeof first_url));
        CHECK(vault.count == 1 && strcmp(first_url, url_of(0)) == 0);
        first.secret_url = NULL;
        first.kek_url = KEK;
        TOKEN_IS(ATREST_ERR_UNSUPPORTED_HEADER, volume, &first);
        atrest_volume_free(volume);
        // 156 bytes, of which all programs read the first four as their number.
        CHECK(vault.lens[0] == (i == 0 ? 208u : 210u) && (i == 1 || memcmp(vault.values[0], "nAAAAAEAAAAwAAAAnAAAA", 21) == 0));
        const char *at = vault.tags[0], *end = at + vault.tags_lens[0] - 1;
        size_t known = 0;
        while (at < end) {
            const char *value = at + strlen(at) + 1;
            known += (strcmp(at, "VolumeLetter") == 0 && strcmp(value, "F:\\") == 0)
                     + (strcmp(at, "VolumeLabel") == 0 && strcmp(value, "data") == 0)
                     + (strcmp(at, "DiskEncryptionKeyFileName") == 0 && strlen(value) == 40
                        && strcmp(value + 36, ".BEK") == 0);
            at = value + strlen(value) + 1;
        }
        CHECK(known == 3);

        atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
        disk.device = device;
        disk.secret_url = first_url;
        OK(atrest_ade_open(&disk, vaults, 1, NULL, &volume));
        CHECK(has_content(volume));
        atrest_volume_free(volume);
        OK(atrest_ade_replace_secret(&disk, vaults, 1, NULL, NULL, url, sizeof url));
        CHECK(vault.count == 2 && strcmp(url, url_of(1)) == 0);
        // The tag names another file.
        CHECK(vault.tags_lens[1] == vault.tags_lens[0] && memcmp(vault.tags[1], vault.tags[0], vault.tags_lens[0]) != 0);
        OPENS(ATREST_ERR_NO_SUCH_PROTECTOR, vaults, 1, NULL);
        CHECK(strstr(atrest_last_error_message(), "this startup key is for the protector {") != NULL);
        disk.secret_url = url;
        OK(atrest_ade_open(&disk, vaults, 1, NULL, &volume));
        CHECK(has_content(volume));
        atrest_volume_free(volume);
        // It has no place for a vault's key; and a disk of Linux none for a startup key.
        atrest_vault *file = new_vault(i == 0 ? "startup.vault" : "startup-wrapped.vault");
        TAKES(ATREST_ERR_UNSUPPORTED_HEADER, file, "disks", 0, NULL);
        CHECK(strstr(atrest_last_error_message(), "copy its data") != NULL);
        atrest_vault_free(file);
        unsigned char passphrase[ATREST_ADE_PASSPHRASE_LEN];
        OK(atrest_ade_generate_passphrase(passphrase, sizeof passphrase, &len));
        atrest_device *linux_disk = new_disk(passphrase, NULL);
        disk.device = linux_disk;
        OPENS(ATREST_ERR_NO_SUCH_PROTECTOR, vaults, 1, NULL);
        CHECK(strstr(atrest_last_error_message(), "of a BitLocker volume of Windows") != NULL);
        atrest_device_free(linux_disk);
        add_secret("no startup key", 14, vault.tags[0]);
        disk.device = device;
        disk.secret_url = url_of(2);
        OPENS(i == 0 ? ATREST_ERR_INVALID_OPTION : ATREST_ERR_UNWRAP_FAILED, vaults, 1, NULL);
        atrest_device_free(device);
    }
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_device *device;
    atrest_ade_vault *handle;
    OK(atrest_device_memory(DISK_SIZE, &device));
    const atrest_ade_vault_callbacks all = callbacks();
    if (atrest_ade_vault_from_callbacks(&all, &handle) == ATREST_ERR_UNSUPPORTED) {
        arguments(NULL, device);
        without_ade(device);
    } else {
        arguments(handle, device);
        vaults_of_callbacks();
        secrets(handle, 0);
        secrets(handle, 1);
        tokens(handle);
        startup_keys(handle);
        CHECK(vault.released == 0);
        atrest_ade_vault_free(handle);
        CHECK(vault.released == 1);
    }
    atrest_device_free(device);
    printf("%d checks passed\n", passed);
    return 0;
}
