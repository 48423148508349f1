// A loadable extension of SQLite: the VFS `atrest`, which encrypts what SQLite stores. README.md says how it is built, run,
// and what it does.
//
// It lies over SQLite's own VFS for Unix, and does of its own only what concerns the contents of files.
#include "file.h"

#include <pthread.h>
#include <string.h>

SQLITE_EXTENSION_INIT1

static sqlite3_vfs *below; // SQLite's VFS for Unix
static sqlite3_vfs vfs;

static pthread_mutex_t databases_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file *databases; // those that are open

// ---------------------------------------------------------------------------------------------------------------------
// FILES

static struct file *file_of(sqlite3_file *base)
{
    return (struct file *)base;
}

static sqlite3_file *below_of(sqlite3_file *base)
{
    return file_of(base)->below;
}

static int file_close(sqlite3_file *base)
{
    struct file *file = file_of(base);
    pthread_mutex_lock(&databases_mutex);
    for (struct file **place = &databases; *place != NULL; place = &(*place)->next) {
        if (*place == file) {
            *place = file->next;
            break;
        }
    }
    pthread_mutex_unlock(&databases_mutex);
    int rc = file->below->pMethods->xClose(file->below);
    key_free(&file->key);
    sqlite3_free(file->scratch);
    return rc;
}

static int file_sync(sqlite3_file *base, int flags)
{
    return below_of(base)->pMethods->xSync(below_of(base), flags);
}

// A new database gets its key with the lock of who writes to it first, since only one has that at a time.
static int file_lock(sqlite3_file *base, int lock)
{
    struct file *file = file_of(base);
    int rc = file->below->pMethods->xLock(file->below, lock);
    if (rc != SQLITE_OK)
        return rc;
    if (lock >= SQLITE_LOCK_RESERVED && (file->flags & SQLITE_OPEN_READWRITE)) {
        rc = file_ready(file, 1);
        if (rc != SQLITE_OK) {
            file->below->pMethods->xUnlock(file->below, file->lock);
            return rc;
        }
    }
    file->lock = lock;
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *base, int lock)
{
    file_of(base)->lock = lock;
    return below_of(base)->pMethods->xUnlock(below_of(base), lock);
}

static int file_reserved(sqlite3_file *base, int *reserved)
{
    return below_of(base)->pMethods->xCheckReservedLock(below_of(base), reserved);
}

static int file_sector_size(sqlite3_file *base)
{
    return below_of(base)->pMethods->xSectorSize(below_of(base));
}

// Nothing that is atomic below stays so for sure behind a prefix. POWERSAFE_OVERWRITE stays: see README.md.
static int file_characteristics(sqlite3_file *base)
{
    int same = SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN | SQLITE_IOCAP_IMMUTABLE;
    return below_of(base)->pMethods->xDeviceCharacteristics(below_of(base)) & same;
}

static int file_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **memory)
{
    return below_of(base)->pMethods->xShmMap(below_of(base), region, size, extend, memory);
}

static int file_shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    return below_of(base)->pMethods->xShmLock(below_of(base), offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *base)
{
    below_of(base)->pMethods->xShmBarrier(below_of(base));
}

static int file_shm_unmap(sqlite3_file *base, int remove)
{
    return below_of(base)->pMethods->xShmUnmap(below_of(base), remove);
}

// PRAGMA atrest_rotate: under the lock of writers, so that nobody else rotates, or makes a prefix.
static int rotate(struct file *file, char url[ATREST_KEY_URL_SIZE])
{
    const sqlite3_io_methods *methods = file->below->pMethods;
    int rc = SQLITE_OK;
    if (!(file->flags & SQLITE_OPEN_READWRITE))
        return failed(SQLITE_READONLY, "the database is open for reading");
    if (file->lock < SQLITE_LOCK_SHARED)
        rc = methods->xLock(file->below, SQLITE_LOCK_SHARED);
    if (rc == SQLITE_OK && file->lock < SQLITE_LOCK_RESERVED)
        rc = methods->xLock(file->below, SQLITE_LOCK_RESERVED);
    if (rc == SQLITE_OK)
        rc = key_rotate(&file->key, file->below, url);
    else
        failed(rc, "somebody is writing to the database, or rotates its key");
    if (file->lock < SQLITE_LOCK_RESERVED)
        methods->xUnlock(file->below, file->lock);
    return rc;
}

// `text` is as in SQLITE_FCNTL_PRAGMA: the result or error, and the name of the pragma.
static int pragma(struct file *file, char **text)
{
    char url[ATREST_KEY_URL_SIZE];
    int rc;
    if (sqlite3_stricmp(text[1], "atrest_rotate") == 0)
        rc = rotate(file, url);
    else if (sqlite3_stricmp(text[1], "atrest_key") == 0)
        rc = key_url(file->below, url);
    else
        return file->below->pMethods->xFileControl(file->below, SQLITE_FCNTL_PRAGMA, text);
    text[0] = sqlite3_mprintf("%s", rc == SQLITE_OK ? url : last_error());
    return rc;
}

static int file_control(sqlite3_file *base, int operation, void *argument)
{
    int rc;
    switch (operation) {
    case SQLITE_FCNTL_PRAGMA:
        return pragma(file_of(base), argument);
    case SQLITE_FCNTL_SIZE_HINT:
    case SQLITE_FCNTL_CHUNK_SIZE: // sizes without the prefix; hints that need no heeding
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE: // none of it: what is mapped is ciphertext
        *(sqlite3_int64 *)argument = 0;
        return SQLITE_OK;
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
        return SQLITE_NOTFOUND;
    default:
        rc = below_of(base)->pMethods->xFileControl(below_of(base), operation, argument);
        if (operation == SQLITE_FCNTL_VFSNAME && rc == SQLITE_OK)
            *(char **)argument = sqlite3_mprintf("atrest/%z", *(char **)argument);
        return rc;
    }
}

// Version 2 has shared memory for a WAL; version 3 would map files.
#define METHODS(version)                                                                                                \
    {                                                                                                                   \
        .iVersion = version, .xClose = file_close, .xRead = file_read, .xWrite = file_write,                            \
        .xTruncate = file_truncate, .xSync = file_sync, .xFileSize = file_size, .xLock = file_lock,                     \
        .xUnlock = file_unlock, .xCheckReservedLock = file_reserved, .xFileControl = file_control,                      \
        .xSectorSize = file_sector_size, .xDeviceCharacteristics = file_characteristics, .xShmMap = file_shm_map,       \
        .xShmLock = file_shm_lock, .xShmBarrier = file_shm_barrier, .xShmUnmap = file_shm_unmap,                        \
    }
static const sqlite3_io_methods without_shm = METHODS(1), with_shm = METHODS(2);

// ---------------------------------------------------------------------------------------------------------------------
// OPENING

static int open_database(struct file *file, sqlite3_filename name)
{
    file->kind = DATABASE;
    file->name = name; // SQLite keeps it as long as the file is open
    int rc = key_load(&file->key, file->below);
    if (rc != SQLITE_OK)
        return rc;
    pthread_mutex_lock(&databases_mutex);
    file->next = databases;
    databases = file;
    pthread_mutex_unlock(&databases_mutex);
    return SQLITE_OK;
}

// A journal or WAL is under the key of its database, which SQLite has open, and closes later.
static int open_beside(struct file *file, sqlite3_filename name, enum kind kind)
{
    sqlite3_file *database = sqlite3_database_file_object(name);
    file->kind = kind;
    if (database->pMethods != &with_shm && database->pMethods != &without_shm)
        return failed(SQLITE_CANTOPEN, "another VFS lies between SQLite and %s", name);
    file->database = file_of(database);
    return SQLITE_OK;
}

// The cipher of a database that SQLite may not have open, by the vaults of those that it has. None, if it isn't encrypted.
static int find_cipher(const char *name, atrest_sector_cipher **cipher)
{
    sqlite3_filename database = sqlite3_create_filename(name, "", "", 0, NULL);
    sqlite3_file *file = sqlite3_malloc(below->szOsFile);
    int rc = database != NULL && file != NULL ? SQLITE_OK : SQLITE_NOMEM;
    // As a database: so the VFS knows that it must not lose the locks of this process when it closes the file.
    if (rc == SQLITE_OK)
        rc = below->xOpen(below, database, file, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READONLY, NULL);
    if (rc == SQLITE_OK) {
        rc = SQLITE_CANTOPEN;
        pthread_mutex_lock(&databases_mutex);
        for (struct file *open = databases; open != NULL && rc != SQLITE_OK && rc != SQLITE_NOTADB; open = open->next) {
            struct key key = {.vault = open->key.vault, .context = open->key.context};
            rc = key_load(&key, file);
            *cipher = key.cipher;
        }
        pthread_mutex_unlock(&databases_mutex);
        file->pMethods->xClose(file);
    } else if (rc == SQLITE_CANTOPEN) {
        rc = SQLITE_NOTADB; // it is gone
    }
    sqlite3_free(file);
    sqlite3_free_filename(database);
    return rc == SQLITE_NOTADB ? SQLITE_OK : rc;
}

// A super-journal is as it is: it holds names of files, which the folder shows too. But SQLite opens as one, too, the
// journals that it names, to see whether it is still needed. Who couldn't read those would have it deleted, and the journal
// of a database that is still to be rolled back would count for nothing.
static int open_super_journal(sqlite3_filename name, sqlite3_file *base, int flags, int *out)
{
    static const char suffix[] = "-journal";
    size_t stem = strlen(name) < sizeof suffix ? 0 : strlen(name) - (sizeof suffix - 1);
    atrest_sector_cipher *cipher = NULL;
    int rc = SQLITE_OK;
    if (stem > 0 && strcmp(name + stem, suffix) == 0) {
        char *database = sqlite3_mprintf("%.*s", (int)stem, name);
        rc = database != NULL ? find_cipher(database, &cipher) : SQLITE_NOMEM;
        sqlite3_free(database);
    }
    if (rc != SQLITE_OK || cipher == NULL)
        return rc != SQLITE_OK ? rc : below->xOpen(below, name, base, flags, out);
    struct file *file = file_of(base);
    file->kind = JOURNAL;
    file->key.cipher = cipher;
    rc = below->xOpen(below, name, file->below, flags, out);
    if (rc == SQLITE_OK)
        base->pMethods = &without_shm;
    else
        key_free(&file->key);
    return rc;
}

static int vfs_open(sqlite3_vfs *self, sqlite3_filename name, sqlite3_file *base, int flags, int *out)
{
    struct file *file = file_of(base);
    (void)self;
    memset(file, 0, sizeof *file);
    file->below = (sqlite3_file *)(file + 1);
    file->flags = flags;
    if (flags & SQLITE_OPEN_SUPER_JOURNAL)
        return open_super_journal(name, base, flags, out);
    int rc = SQLITE_OK;
    // Before there is a file.
    if (flags & SQLITE_OPEN_MAIN_DB)
        rc = key_settings(&file->key, name);
    if (rc == SQLITE_OK)
        rc = below->xOpen(below, name, file->below, flags, &file->flags);
    if (rc == SQLITE_OK) {
        if (flags & SQLITE_OPEN_MAIN_DB)
            rc = open_database(file, name);
        else if (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL))
            rc = open_beside(file, name, flags & SQLITE_OPEN_WAL ? WAL : JOURNAL);
        else
            file->kind = TEMPORARY, rc = key_temporary(&file->key);
        if (rc != SQLITE_OK)
            file->below->pMethods->xClose(file->below);
    }
    if (rc != SQLITE_OK) {
        key_free(&file->key);
        return rc;
    }
    if (out != NULL)
        *out = file->flags;
    const sqlite3_io_methods *methods = file->below->pMethods;
    base->pMethods = methods->iVersion >= 2 && methods->xShmMap != NULL ? &with_shm : &without_shm;
    return SQLITE_OK;
}

// ---------------------------------------------------------------------------------------------------------------------
// THE EXTENSION

// atrest_error(): what went wrong last in this thread.
static void error_function(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count, (void)values;
    sqlite3_result_text(context, last_error(), -1, SQLITE_TRANSIENT);
}

static int add_functions(sqlite3 *database, char **error, const sqlite3_api_routines *api)
{
    (void)error, (void)api;
    return sqlite3_create_function(database, "atrest_error", 0, SQLITE_UTF8, NULL, error_function, NULL, NULL);
}

__attribute__((visibility("default"))) int sqlite3_atrest_init(sqlite3 *database, char **error,
                                                               const sqlite3_api_routines *api)
{
    SQLITE_EXTENSION_INIT2(api);
    int rc = add_functions(database, error, api);
    if (rc != SQLITE_OK)
        return rc;
    if (sqlite3_vfs_find("atrest") == NULL) {
        below = sqlite3_vfs_find("unix");
        if (below == NULL)
            return SQLITE_ERROR;
        // What has to do with names, time and chance is as below: these functions go by members that are copied.
        vfs = *below;
        vfs.zName = "atrest";
        vfs.szOsFile += (int)sizeof(struct file);
        vfs.xOpen = vfs_open;
        rc = sqlite3_vfs_register(&vfs, 0);
        if (rc == SQLITE_OK)
            rc = sqlite3_auto_extension((void (*)(void))add_functions);
    }
    // For other connections, also when this one is closed.
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}
