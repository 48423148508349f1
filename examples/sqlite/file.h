// An encrypted file of SQLite's, read and written at any byte: where its bytes lie, and under which tweak.
#ifndef ATREST_SQLITE_FILE_H
#define ATREST_SQLITE_FILE_H

#include "keys.h"

enum kind {
    DATABASE,  // pages, behind the prefix
    JOURNAL,   // the rollback journal of a database, under the database's key
    WAL,       // its write-ahead log, under the database's key
    TEMPORARY, // under a key that is never stored
};

struct file {
    sqlite3_file base;        // what SQLite has of it; the first member
    sqlite3_file *below;      // the file of the VFS below, which is behind this struct in memory
    enum kind kind;
    int flags;                // as it was opened
    int lock;                 // how SQLite has it locked
    struct key key;           // of a database, a temporary file, or a journal that was opened alone
    struct file *database;    // of a journal or WAL that has no key of its own; the database outlives it
    sqlite3_int64 wal_page;   // how long pages in a WAL are; 0 as long as it has no header
    unsigned char *scratch;
    sqlite3_int64 scratch_size;
    const char *name;         // of a database
    struct file *next;        // of the databases that are open
};

// As SQLite's xRead, xWrite, xTruncate and xFileSize.
int file_read(sqlite3_file *base, void *buffer, int len, sqlite3_int64 offset);
int file_write(sqlite3_file *base, const void *buffer, int len, sqlite3_int64 offset);
int file_truncate(sqlite3_file *base, sqlite3_int64 size);
int file_size(sqlite3_file *base, sqlite3_int64 *size);

// Sees to it that the file has its cipher, if there is a prefix; with `make`, that there is one.
int file_ready(struct file *file, int make);

#endif
