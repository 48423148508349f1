// What `check` tries below SQL: files of the VFS are read, written and truncated at random bytes, beside an array that is
// what they must hold. `files EXTENSION FILE`, with the vault in the environment.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 40000
#define PAGE 512
#define FRAME (24 + PAGE)

static unsigned char model[MOST + 1], buffer[MOST], plain[MOST];
static int size;
static sqlite3 *database;
static const char *current = "";

#define CHECK(condition)                                                                                                \
    do {                                                                                                                \
        if (!(condition)) {                                                                                             \
            fprintf(stderr, "%s, line %d: %s is not so (%s)\n", current, __LINE__, #condition, sqlite3_errmsg(database)); \
            exit(1);                                                                                                    \
        }                                                                                                               \
    } while (0)

static void run(const char *sql)
{
    CHECK(sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static void read_some(sqlite3_file *file)
{
    int offset = rand() % MOST, len = 1 + rand() % (rand() % 4 ? 600 : 20000);
    if (offset + len > MOST)
        len = MOST - offset;
    memset(buffer, 0xee, (size_t)len);
    int rc = file->pMethods->xRead(file, buffer, len, offset);
    CHECK(rc == (offset + len <= size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ));
    // The model is zero behind its end.
    CHECK(memcmp(buffer, model + offset, (size_t)len) == 0);
}

static void write_some(sqlite3_file *file, int offset, int len)
{
    for (int i = 0; i < len; i++)
        plain[i] = buffer[i] = (unsigned char)rand();
    CHECK(file->pMethods->xWrite(file, buffer, len, offset) == SQLITE_OK);
    CHECK(memcmp(buffer, plain, (size_t)len) == 0); // it is SQLite's
    memcpy(model + offset, plain, (size_t)len);
    size = offset + len > size ? offset + len : size;
}

static void compare_size(sqlite3_file *file)
{
    sqlite3_int64 found;
    CHECK(file->pMethods->xFileSize(file, &found) == SQLITE_OK && found == size);
}

// `unit` is what sizes are multiples of. What was never written is noise: so nothing begins behind the end.
static void bytes_at_random(const char *name, sqlite3_file *file, int unit)
{
    current = name;
    CHECK(file->pMethods->xTruncate(file, 0) == SQLITE_OK);
    memset(model, 0, sizeof model);
    size = 0;
    for (int turn = 0; turn < 4000; turn++) {
        if (rand() % 50 == 0) {
            size = rand() % (size + 1) / unit * unit;
            CHECK(file->pMethods->xTruncate(file, size) == SQLITE_OK);
            memset(model + size, 0, sizeof model - (size_t)size);
        } else if (rand() % 2) {
            int offset = rand() % (size + 1), len = 1 + rand() % 2000;
            if (offset + len > size) // by whole units
                len = (offset + len + unit - 1) / unit * unit - offset;
            if (offset + len <= MOST)
                write_some(file, offset, len);
        }
        read_some(file);
        compare_size(file);
    }
    printf("ok: %s, at random bytes\n", name);
}

// A WAL grows by what SQLite makes of it, and is then read and written over at random bytes.
static void wal(sqlite3_file *file)
{
    static const unsigned char header[32] = {0x37, 0x7f, 0x06, 0x82, [10] = PAGE >> 8};
    current = "a WAL";
    CHECK(file->pMethods->xTruncate(file, 0) == SQLITE_OK);
    memset(model, 0, sizeof model);
    size = 32;
    CHECK(file->pMethods->xWrite(file, header, 32, 0) == SQLITE_OK);
    memcpy(model, header, 32);
    while (size + FRAME <= MOST) {
        write_some(file, size, 24);
        read_some(file);
        write_some(file, size, PAGE);
        read_some(file);
        compare_size(file);
    }
    for (int turn = 0; turn < 4000; turn++) {
        int offset = 32 + rand() % (size - 32), len = 1 + rand() % 2000;
        write_some(file, offset, offset + len > size ? size - offset : len);
        read_some(file);
        compare_size(file);
    }
    printf("ok: a WAL, at random bytes\n");
}

static sqlite3_file *pointer(int operation)
{
    sqlite3_file *file = NULL;
    CHECK(sqlite3_file_control(database, "main", operation, &file) == SQLITE_OK && file->pMethods != NULL);
    return file;
}

int main(int argc, char **argv)
{
    sqlite3 *loader;
    char *name = argc > 2 ? sqlite3_mprintf("file:%s?vfs=atrest", argv[2]) : NULL;
    CHECK(sqlite3_open(":memory:", &loader) == SQLITE_OK && sqlite3_enable_load_extension(loader, 1) == SQLITE_OK);
    CHECK(sqlite3_load_extension(loader, argv[1], NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_open_v2(name, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL) == 0);
    sqlite3_free(name);

    run("PRAGMA page_size=512; PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=PERSIST; CREATE TABLE t(i)");
    bytes_at_random("a journal", pointer(SQLITE_FCNTL_JOURNAL_POINTER), 1);
    CHECK(pointer(SQLITE_FCNTL_JOURNAL_POINTER)->pMethods->xTruncate(pointer(SQLITE_FCNTL_JOURNAL_POINTER), 0) == 0);
    run("PRAGMA journal_mode=WAL; INSERT INTO t VALUES (1)");
    wal(pointer(SQLITE_FCNTL_JOURNAL_POINTER));
    bytes_at_random("a database", pointer(SQLITE_FCNTL_FILE_POINTER), 512);

    sqlite3_vfs *vfs = sqlite3_vfs_find("atrest");
    sqlite3_file *file = sqlite3_malloc(vfs->szOsFile);
    int flags = SQLITE_OPEN_TEMP_JOURNAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE;
    CHECK(vfs->xOpen(vfs, NULL, file, flags | SQLITE_OPEN_DELETEONCLOSE, NULL) == SQLITE_OK);
    bytes_at_random("a temporary file", file, 1);
    file->pMethods->xClose(file);
    return 0; // without closing the database, whose contents are none
}
