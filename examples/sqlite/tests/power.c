// What `check` tries of power that fails: `power EXTENSION VFS MODE FOLDER FOLDER`, with the vault in the environment.
//
// A VFS below SQLite's own records what is written to the disk, and when it is synced, while transactions are committed.
// Then the disk is made that a power failure may have left: what was synced, and of the rest each write, or some of its
// sectors, or none. The database on it must be whole, and have every transaction that was committed.
//
// Sectors are written whole or not at all (SQLITE_IOCAP_POWERSAFE_OVERWRITE); files that were made are there, and those that
// were deleted aren't, which `synchronous=EXTRA` sees to.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRANSACTIONS 25
#define FAILURES 80
#define SECTOR 512
#define FILES 3
#define LARGEST (4 << 20)

enum what { MADE, WRITTEN, TRUNCATED, SYNCED, DELETED };

struct step {
    enum what what;
    int file;      // its place in `suffixes`
    int committed; // how many transactions were before
    sqlite3_int64 offset;
    int len;
    unsigned char *bytes;
};

struct image {
    int exists;
    sqlite3_int64 size;
    unsigned char bytes[LARGEST];
};

struct recorded {
    sqlite3_file base;
    sqlite3_file *below;
    int file; // -1 for one that isn't recorded
};

static const char *const suffixes[FILES] = {"test.db", "test.db-journal", "test.db-wal"};
static sqlite3_vfs *below, recorder;
static sqlite3_io_methods methods;
static struct step *steps;
static size_t count;
static int recording, committed;
static struct image images[FILES];

#define CHECK(condition, database)                                                                                      \
    do {                                                                                                                \
        if (!(condition)) {                                                                                             \
            fprintf(stderr, "FAILED: line %d: %s (%s)\n", __LINE__, #condition, sqlite3_errmsg(database));               \
            exit(1);                                                                                                    \
        }                                                                                                               \
    } while (0)

// ---------------------------------------------------------------------------------------------------------------------
// THE RECORDER

static int file_of(const char *name)
{
    const char *last = name != NULL ? strrchr(name, '/') : NULL;
    for (int file = 0; last != NULL && file < FILES; file++)
        if (strcmp(last + 1, suffixes[file]) == 0)
            return file;
    return -1;
}

static void record(enum what what, int file, sqlite3_int64 offset, const void *bytes, int len)
{
    if (!recording || file < 0)
        return;
    steps = realloc(steps, (count + 1) * sizeof *steps);
    struct step *step = &steps[count++];
    *step = (struct step){what, file, committed, offset, len, malloc((size_t)len + 1)};
    if (len > 0)
        memcpy(step->bytes, bytes, (size_t)len);
}

#define FILE_OF(base) struct recorded *file = (struct recorded *)(base)
#define BELOW file->below->pMethods

static int close_it(sqlite3_file *base) { FILE_OF(base); return BELOW->xClose(file->below); }
static int read_it(sqlite3_file *base, void *buffer, int len, sqlite3_int64 offset)
{
    FILE_OF(base);
    return BELOW->xRead(file->below, buffer, len, offset);
}
static int write_it(sqlite3_file *base, const void *buffer, int len, sqlite3_int64 offset)
{
    FILE_OF(base);
    record(WRITTEN, file->file, offset, buffer, len);
    return BELOW->xWrite(file->below, buffer, len, offset);
}
static int truncate_it(sqlite3_file *base, sqlite3_int64 size)
{
    FILE_OF(base);
    record(TRUNCATED, file->file, size, NULL, 0);
    return BELOW->xTruncate(file->below, size);
}
static int sync_it(sqlite3_file *base, int flags)
{
    FILE_OF(base);
    (void)flags; // and nothing below: the test has no need of it
    record(SYNCED, file->file, 0, NULL, 0);
    return SQLITE_OK;
}
static int size_it(sqlite3_file *base, sqlite3_int64 *size) { FILE_OF(base); return BELOW->xFileSize(file->below, size); }
static int lock_it(sqlite3_file *base, int lock) { FILE_OF(base); return BELOW->xLock(file->below, lock); }
static int unlock_it(sqlite3_file *base, int lock) { FILE_OF(base); return BELOW->xUnlock(file->below, lock); }
static int reserved_it(sqlite3_file *base, int *out) { FILE_OF(base); return BELOW->xCheckReservedLock(file->below, out); }
static int control_it(sqlite3_file *base, int operation, void *argument)
{
    FILE_OF(base);
    return BELOW->xFileControl(file->below, operation, argument);
}
static int sector_it(sqlite3_file *base) { FILE_OF(base); return BELOW->xSectorSize(file->below); }
static int device_it(sqlite3_file *base) { FILE_OF(base); return BELOW->xDeviceCharacteristics(file->below); }
static int shm_map_it(sqlite3_file *base, int region, int size, int extend, void volatile **memory)
{
    FILE_OF(base);
    return BELOW->xShmMap(file->below, region, size, extend, memory);
}
static int shm_lock_it(sqlite3_file *base, int offset, int n, int flags)
{
    FILE_OF(base);
    return BELOW->xShmLock(file->below, offset, n, flags);
}
static void shm_barrier_it(sqlite3_file *base) { FILE_OF(base); BELOW->xShmBarrier(file->below); }
static int shm_unmap_it(sqlite3_file *base, int remove) { FILE_OF(base); return BELOW->xShmUnmap(file->below, remove); }

static int open_it(sqlite3_vfs *self, const char *name, sqlite3_file *base, int flags, int *out)
{
    FILE_OF(base);
    (void)self;
    file->below = (sqlite3_file *)(file + 1);
    file->file = file_of(name);
    base->pMethods = NULL;
    int rc = below->xOpen(below, name, file->below, flags, out);
    if (rc == SQLITE_OK) {
        record(MADE, file->file, 0, NULL, 0);
        base->pMethods = &methods;
    }
    return rc;
}

static int delete_it(sqlite3_vfs *self, const char *name, int sync)
{
    (void)self;
    record(DELETED, file_of(name), 0, NULL, 0);
    return below->xDelete(below, name, sync);
}

static void install(void)
{
    below = sqlite3_vfs_find("unix");
    methods = (sqlite3_io_methods){2, close_it, read_it, write_it, truncate_it, sync_it, size_it, lock_it, unlock_it,
                                   reserved_it, control_it, sector_it, device_it, shm_map_it, shm_lock_it, shm_barrier_it,
                                   shm_unmap_it, NULL, NULL};
    recorder = *below;
    recorder.szOsFile += (int)sizeof(struct recorded);
    recorder.xOpen = open_it;
    recorder.xDelete = delete_it;
    sqlite3_vfs_register(&recorder, 1); // of the same name, and before the other
}

// ---------------------------------------------------------------------------------------------------------------------
// THE DISK

// Part of a write, if `torn`: each sector may be there or not.
static void apply(const struct step *step, int torn)
{
    struct image *image = &images[step->file];
    if (step->what == TRUNCATED) {
        if (step->offset > image->size)
            memset(image->bytes + image->size, 0, (size_t)(step->offset - image->size));
        image->size = step->offset;
    }
    if (step->what != WRITTEN)
        return;
    for (sqlite3_int64 at = step->offset, end = at + step->len, next; at < end; at = next) {
        next = (at / SECTOR + 1) * SECTOR < end ? (at / SECTOR + 1) * SECTOR : end;
        if (torn && rand() % 2)
            continue;
        if (at > image->size)
            memset(image->bytes + image->size, 0, (size_t)(at - image->size));
        memcpy(image->bytes + at, step->bytes + (at - step->offset), (size_t)(next - at));
        image->size = next > image->size ? next : image->size;
    }
}

// The disk after the first `end` steps, and how many of the unsynced ones are not whole on it.
static int fail_after(size_t end)
{
    int lost = 0;
    memset(images, 0, sizeof images);
    for (int file = 0; file < FILES; file++) {
        size_t synced = 0;
        for (size_t i = 0; i < end; i++) {
            if (steps[i].file != file)
                continue;
            if (steps[i].what == MADE || steps[i].what == DELETED)
                images[file].exists = steps[i].what == MADE;
            if (steps[i].what == DELETED)
                images[file].size = 0;
            if (steps[i].what == SYNCED || steps[i].what == DELETED) {
                for (; synced < i; synced++)
                    if (steps[synced].file == file && steps[i].what == SYNCED)
                        apply(&steps[synced], 0);
                synced = i + 1;
            }
        }
        for (; synced < end; synced++) {
            int fate = rand() % 4; // two of four: all of it
            if (steps[synced].file == file && fate < 3)
                apply(&steps[synced], fate == 2);
            lost += steps[synced].file == file && fate >= 2;
        }
    }
    return lost;
}

static void store(const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/test.db-shm", folder);
    unlink(path);
    for (int file = 0; file < FILES; file++) {
        snprintf(path, sizeof path, "%s/%s", folder, suffixes[file]);
        unlink(path);
        FILE *stream = images[file].exists ? fopen(path, "wb") : NULL;
        if (stream != NULL)
            fwrite(images[file].bytes, 1, (size_t)images[file].size, stream), fclose(stream);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// THE DATABASE

static sqlite3 *open_in(const char *folder, const char *vfs)
{
    sqlite3 *database;
    char name[700];
    snprintf(name, sizeof name, "file:%s/test.db", folder);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
    CHECK(sqlite3_open_v2(name, &database, flags, vfs) == SQLITE_OK, database);
    return database;
}

static void run(sqlite3 *database, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *sql = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    CHECK(sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK, database);
    sqlite3_free(sql);
}

static int number(sqlite3 *database, const char *sql)
{
    sqlite3_stmt *statement;
    CHECK(sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK, database);
    CHECK(sqlite3_step(statement) == SQLITE_ROW, database);
    int result = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return result;
}

static void work(const char *folder, const char *vfs, const char *mode)
{
    recording = 1;
    sqlite3 *database = open_in(folder, vfs);
    run(database, "PRAGMA page_size=1024; PRAGMA journal_mode=%s; PRAGMA synchronous=EXTRA; PRAGMA cache_size=3;"
        "PRAGMA wal_autocheckpoint=30; CREATE TABLE t(id INTEGER PRIMARY KEY, turn INTEGER, text TEXT)", mode);
    for (int turn = 1; turn <= TRANSACTIONS; turn++) {
        committed++; // the table was the first
        run(database, "BEGIN; UPDATE t SET turn = %d, text = hex(randomblob(%d)) WHERE id %% 3 = %d;"
            "INSERT INTO t(turn, text) VALUES (%d, hex(randomblob(700))); UPDATE t SET turn = %d; COMMIT",
            turn, 100 + turn * 7, turn % 3, turn, turn);
    }
    recording = 0;
    sqlite3_close(database);
}

static void look(const char *folder, const char *vfs, int told)
{
    sqlite3 *database = open_in(folder, vfs);
    CHECK(number(database, "SELECT integrity_check = 'ok' FROM pragma_integrity_check") == 1, database);
    int found = number(database, "SELECT count(*) FROM sqlite_schema");
    if (found == 1) {
        found += number(database, "SELECT count(*) FROM t");
        CHECK(number(database, "SELECT count(DISTINCT turn) <= 1 FROM t") == 1, database);
        CHECK(number(database, "SELECT coalesce(max(turn), 0) = count(*) FROM t") == 1, database);
    }
    CHECK(found == told || found == told + 1, database);
    sqlite3_close(database);
}

int main(int argc, char **argv)
{
    sqlite3 *loader;
    if (argc != 6)
        return 2;
    sqlite3_initialize();
    install();
    CHECK(sqlite3_open(":memory:", &loader) == SQLITE_OK && sqlite3_enable_load_extension(loader, 1) == 0, loader);
    CHECK(sqlite3_load_extension(loader, argv[1], NULL, NULL) == SQLITE_OK, loader);
    const char *vfs = argv[2], *mode = argv[3], *before = argv[4], *after = argv[5];
    store(before);
    work(before, vfs, mode);
    int lost = 0;
    for (int turn = 0; turn < FAILURES; turn++) {
        // In the first steps, in which a database gets its key, again and again; then anywhere.
        size_t end = turn < FAILURES / 2 ? (size_t)turn % 6 : (size_t)rand() % count;
        lost += fail_after(end);
        store(after);
        look(after, vfs, end > 0 ? steps[end - 1].committed : 0);
    }
    printf("ok: %s, %s: power failed %d times in %zu steps and kept %d writes from the disk: nothing is lost\n", vfs, mode,
           FAILURES, count, lost);
    return 0;
}
