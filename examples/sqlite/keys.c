// The key of a database: see keys.h.
#define _GNU_SOURCE // explicit_bzero
#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSPHRASE_MAX 4096

static _Thread_local char error_text[1024];

const char *last_error(void)
{
    return error_text;
}

int failed(int rc, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sqlite3_vsnprintf(sizeof error_text, error_text, format, arguments);
    va_end(arguments);
    sqlite3_log(rc, "atrest: %s", error_text);
    return rc;
}

// SQLite has one text for each of its codes: so these are told apart, and atrest_error() has the rest.
static int code_of(atrest_status status)
{
    switch (status) {
    case ATREST_ERR_NO_MEMORY:
        return SQLITE_NOMEM;
    case ATREST_ERR_INVALID_PREFIX:
    case ATREST_ERR_UNSUPPORTED_ALGORITHM:
        return SQLITE_NOTADB;
    case ATREST_ERR_IO:
    case ATREST_ERR_NOT_FOUND:
        return SQLITE_CANTOPEN;
    case ATREST_ERR_CALLBACK_FAILED:
        return SQLITE_IOERR;
    default:
        return SQLITE_AUTH;
    }
}

int checked(atrest_status status, const char *what)
{
    if (status == ATREST_OK)
        return SQLITE_OK;
    // The name first, since SQLite's log cuts long texts.
    return failed(code_of(status), "%s (%s): %s", what, atrest_status_name(status), atrest_last_error_message());
}

// ---------------------------------------------------------------------------------------------------------------------
// SETTINGS

static const char *setting(sqlite3_filename database, const char *parameter, const char *variable)
{
    const char *value = sqlite3_uri_parameter(database, parameter);
    return value != NULL || variable == NULL ? value : getenv(variable);
}

// The first line of a file: a command line or an environment would show it to others.
static int read_passphrase(const char *path, char passphrase[PASSPHRASE_MAX])
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    if (file != NULL) {
        setvbuf(file, NULL, _IONBF, 0); // no copy in a buffer that nobody wipes
        line = fgets(passphrase, PASSPHRASE_MAX, file);
        fclose(file);
    }
    if (line == NULL)
        return failed(SQLITE_CANTOPEN, "there is no passphrase in %s", path);
    line[strcspn(line, "\r\n")] = '\0';
    return SQLITE_OK;
}

static int open_vault(const char *path, const char *root_key, const char *passphrase_file, atrest_vault **vault)
{
    char passphrase[PASSPHRASE_MAX];
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.key_file = root_key;
    if (root_key == NULL) {
        int rc = read_passphrase(passphrase_file, passphrase);
        if (rc != SQLITE_OK)
            return rc;
        unlock.passphrase = passphrase;
        unlock.passphrase_len = strlen(passphrase);
    }
    int rc = checked(atrest_vault_open_file(path, &unlock, vault), "opening the vault");
    explicit_bzero(passphrase, sizeof passphrase);
    return rc;
}

int key_settings(struct key *key, sqlite3_filename database)
{
    const char *vault = setting(database, "vault", "ATREST_VAULT");
    // What opens a vault comes from where the vault does.
    int here = sqlite3_uri_parameter(database, "vault") != NULL;
    const char *root_key = setting(database, "root-key", here ? NULL : "ATREST_ROOT_KEY");
    const char *passphrase_file = setting(database, "passphrase-file", here ? NULL : "ATREST_PASSPHRASE_FILE");
    const char *name = setting(database, "key", "ATREST_KEY");
    const char *context = setting(database, "context", "ATREST_CONTEXT");
    if (vault == NULL || (root_key == NULL && passphrase_file == NULL))
        return failed(SQLITE_CANTOPEN, "%s needs vault=FILE, and root-key=FILE or passphrase-file=FILE", database);
    key->context = sqlite3_mprintf("%s", context != NULL ? context : "sqlite");
    key->name = name != NULL ? sqlite3_mprintf("%s", name) : NULL;
    if (key->context == NULL || (name != NULL && key->name == NULL))
        return SQLITE_NOMEM;
    return open_vault(vault, root_key, passphrase_file, &key->vault);
}

void key_free(struct key *key)
{
    atrest_sector_cipher_free(key->cipher);
    atrest_vault_free(key->vault);
    sqlite3_free(key->name);
    sqlite3_free(key->context);
    memset(key, 0, sizeof *key);
}

int key_temporary(struct key *key)
{
    atrest_dek *dek = NULL;
    int rc = checked(atrest_dek_generate(ATREST_AES_256_XTS, &dek), "a key for a temporary file");
    if (rc == SQLITE_OK)
        rc = checked(atrest_sector_cipher_new(dek, SECTOR, ATREST_UNIT_512, &key->cipher), "a temporary file");
    atrest_dek_free(dek);
    return rc;
}

// ---------------------------------------------------------------------------------------------------------------------
// THE PREFIX

// Whether this may be a copy of a prefix that was never finished: what was to be written, or nothing yet.
static int is_begun(const unsigned char *copy)
{
    return memcmp(copy, "atrestFP", 8) == 0 || memcmp(copy, "\0\0\0\0\0\0\0\0", 8) == 0;
}

// Reads a whole prefix; `*found` is 0 where the file is empty, or who made its prefix was cut off: there are no pages then.
static int read_prefix(sqlite3_file *file, unsigned char prefix[PREFIX], int *found)
{
    char url[ATREST_KEY_URL_SIZE];
    sqlite3_int64 size;
    *found = 0;
    int rc = file->pMethods->xFileSize(file, &size);
    if (rc != SQLITE_OK || size == 0)
        return rc;
    rc = file->pMethods->xRead(file, prefix, PREFIX, 0);
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
        return rc;
    if (memcmp(prefix, "SQLite format 3", 16) == 0)
        return failed(SQLITE_NOTADB, "the database is not encrypted");
    *found = size > PREFIX || !is_begun(prefix) || !is_begun(prefix + PREFIX / 2) ||
             atrest_file_prefix_key_url(prefix, PREFIX, url, sizeof url, NULL) == ATREST_OK;
    return SQLITE_OK;
}

int key_load(struct key *key, sqlite3_file *file)
{
    unsigned char prefix[PREFIX];
    int found;
    int rc = read_prefix(file, prefix, &found);
    if (rc != SQLITE_OK || !found)
        return rc;
    return checked(atrest_file_prefix_open_sectors(key->vault, prefix, PREFIX, key->context, strlen(key->context), SECTOR,
                                                   ATREST_UNIT_512, &key->cipher), "opening the database");
}

int key_make(struct key *key, sqlite3_file *file)
{
    unsigned char prefix[PREFIX];
    atrest_sector_cipher *cipher;
    size_t len;
    int rc = key_load(key, file);
    if (rc != SQLITE_OK || key->cipher != NULL)
        return rc;
    if (key->name == NULL)
        return failed(SQLITE_CANTOPEN, "a new database needs key=NAME, the key of the vault that protects it");
    rc = checked(atrest_file_prefix_create_sectors(key->vault, key->name, key->context, strlen(key->context), SECTOR,
                                                   ATREST_UNIT_512, prefix, PREFIX, &len, &cipher), "making the database");
    if (rc != SQLITE_OK)
        return rc;
    // On the disk before anything that needs it.
    rc = file->pMethods->xWrite(file, prefix, PREFIX, 0);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (rc == SQLITE_OK)
        key->cipher = cipher;
    else
        atrest_sector_cipher_free(cipher);
    return rc;
}

int key_url(sqlite3_file *file, char url[ATREST_KEY_URL_SIZE])
{
    unsigned char prefix[PREFIX];
    int found;
    int rc = read_prefix(file, prefix, &found);
    if (rc == SQLITE_OK && !found)
        return failed(SQLITE_EMPTY, "the database is empty, and has no key yet");
    if (rc != SQLITE_OK)
        return rc;
    return checked(atrest_file_prefix_key_url(prefix, PREFIX, url, ATREST_KEY_URL_SIZE, NULL), "reading the prefix");
}

// The file as a device of the library's. Opened a second time, it would lose the process its locks when that was closed:
// such are POSIX locks.
static atrest_status device_read(void *user, uint64_t offset, void *bytes, size_t len)
{
    sqlite3_file *file = user;
    return (atrest_status)file->pMethods->xRead(file, bytes, (int)len, (sqlite3_int64)offset);
}

static atrest_status device_write(void *user, uint64_t offset, const void *bytes, size_t len)
{
    sqlite3_file *file = user;
    return (atrest_status)file->pMethods->xWrite(file, bytes, (int)len, (sqlite3_int64)offset);
}

static atrest_status device_sync(void *user)
{
    sqlite3_file *file = user;
    return (atrest_status)file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

int key_rotate(const struct key *key, sqlite3_file *file, char url[ATREST_KEY_URL_SIZE])
{
    atrest_device_callbacks callbacks = ATREST_DEVICE_CALLBACKS_INIT;
    atrest_device *device;
    callbacks.user = file;
    callbacks.size = PREFIX;
    callbacks.read_at = device_read;
    callbacks.write_at = device_write;
    callbacks.sync = device_sync;
    int rc = key_url(file, url); // an empty database has nothing to wrap
    if (rc != SQLITE_OK)
        return rc;
    rc = checked(atrest_device_from_callbacks(&callbacks, &device), "rotating");
    if (rc != SQLITE_OK)
        return rc;
    rc = checked(atrest_file_prefix_rotate_kek(device, key->vault, key->context, strlen(key->context), url,
                                               ATREST_KEY_URL_SIZE), "rotating");
    atrest_device_free(device);
    return rc;
}
