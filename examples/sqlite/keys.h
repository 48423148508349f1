// The key of a database: in a prefix in front of its pages, wrapped by a vault.
#ifndef ATREST_SQLITE_KEYS_H
#define ATREST_SQLITE_KEYS_H

#include <atrest.h>
#include <sqlite3ext.h>

// SQLite gives an extension its functions by a pointer, which extension.c has.
SQLITE_EXTENSION_INIT3

#define PREFIX ATREST_FILE_PREFIX_SIZE
#define SECTOR 512 // divides every page size of SQLite's

// What opens a database, and its cipher, which is NULL as long as the file has no prefix: a new one that is still empty.
struct key {
    atrest_vault *vault;
    char *name;    // the key of the vault that wraps those of new databases; may be NULL
    char *context; // what the databases are bound to
    atrest_sector_cipher *cipher;
};

// Opens the vault that the parameters of a database's URI name, or else the environment.
int key_settings(struct key *key, sqlite3_filename database);

// Looks for a prefix in `file`, the database below, and has the vault unwrap its DEK. An empty file has none, and is fine.
int key_load(struct key *key, sqlite3_file *file);

// Puts a prefix into an empty file, unless somebody else has done that meanwhile. Nobody else may write.
int key_make(struct key *key, sqlite3_file *file);

// Has the vault wrap the DEK anew. Nobody else may write the prefix. The URL of the version is in `url` afterwards.
int key_rotate(const struct key *key, sqlite3_file *file, char url[ATREST_KEY_URL_SIZE]);

// The URL of the version that wraps the DEK.
int key_url(sqlite3_file *file, char url[ATREST_KEY_URL_SIZE]);

// A fresh key that is never stored.
int key_temporary(struct key *key);

void key_free(struct key *key);

// What went wrong last in this thread, for SQLite's own texts can't say it. Never NULL.
const char *last_error(void);

// Keeps a text as last_error(), tells SQLite's log, and returns `rc`.
int failed(int rc, const char *format, ...);

// SQLITE_OK, or a failure of the library's: as failed().
int checked(atrest_status status, const char *what);

#endif
