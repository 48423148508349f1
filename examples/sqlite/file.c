// An encrypted file of SQLite's: see file.h, and README.md for the reasons.
//
// A database, a journal and a temporary file are sectors of 512 bytes: data units of XTS, each of 32 blocks of 16 bytes that
// are encrypted one by one. So what is read and written below are whole blocks, though SQLite asks for any bytes.
//
// A WAL is what SQLite makes of it: a header of 32 bytes, and frames, which are a header of 24 and a page each. Each of these
// is a data unit as it is. So no block has bytes of two of them: readers read a frame while the next one is written.
#include "file.h"

#include <string.h>

#define BLOCK 16
#define FIRST_OF_JOURNAL (UINT64_C(1) << 62) // the number of a journal's first sector: over that of any page's
#define WAL_HEADER 32
#define FRAME_HEADER 24

// The bytes of a file that a request needs, as offsets without the prefix.
struct span {
    sqlite3_int64 io, io_end;     // what is read or written: whole blocks, or units of a WAL
    sqlite3_int64 unit, unit_end; // what goes through the cipher: whole data units
};

static sqlite3_int64 down(sqlite3_int64 offset, int unit)
{
    return offset / unit * unit;
}

static sqlite3_int64 up(sqlite3_int64 offset, int unit)
{
    return down(offset + unit - 1, unit);
}

static sqlite3_int64 least(sqlite3_int64 a, sqlite3_int64 b)
{
    return a < b ? a : b;
}

static const atrest_sector_cipher *cipher_of(const struct file *file)
{
    return file->database != NULL ? file->database->key.cipher : file->key.cipher;
}

static sqlite3_int64 front(const struct file *file)
{
    return file->kind == DATABASE ? PREFIX : 0;
}

// A journal may end within a block, whose rest is there too: the file below is longer by a whole one, so that its size
// tells at which byte. A database ends with a page, and a WAL with a unit.
static int rear(const struct file *file)
{
    return file->kind == JOURNAL || file->kind == TEMPORARY ? BLOCK : 0;
}

int file_ready(struct file *file, int make)
{
    struct file *owner = file->database != NULL ? file->database : file;
    if (owner->key.cipher != NULL)
        return SQLITE_OK;
    return make ? key_make(&owner->key, owner->below) : key_load(&owner->key, owner->below);
}

// ---------------------------------------------------------------------------------------------------------------------
// DATA UNITS

// The unit of a WAL that has the byte at `offset`.
static sqlite3_int64 wal_unit(const struct file *file, sqlite3_int64 offset, sqlite3_int64 *len)
{
    if (offset < WAL_HEADER) {
        *len = WAL_HEADER;
        return 0;
    }
    sqlite3_int64 within = (offset - WAL_HEADER) % (FRAME_HEADER + file->wal_page);
    sqlite3_int64 frame = offset - within;
    *len = within < FRAME_HEADER ? FRAME_HEADER : file->wal_page;
    return within < FRAME_HEADER ? frame : frame + FRAME_HEADER;
}

static struct span span_of(const struct file *file, sqlite3_int64 offset, int len)
{
    sqlite3_int64 end = offset + len, last;
    struct span span;
    if (file->kind == WAL) {
        span.unit = span.io = wal_unit(file, offset, &last);
        span.unit_end = wal_unit(file, end - 1, &last);
        span.unit_end = span.io_end = span.unit_end + last;
    } else {
        span.io = down(offset, BLOCK), span.io_end = up(end, BLOCK);
        span.unit = down(offset, SECTOR), span.unit_end = up(end, SECTOR);
    }
    return span;
}

typedef atrest_status run_function(const atrest_sector_cipher *, uint64_t, const void *, void *, size_t);
typedef atrest_status unit_function(const atrest_sector_cipher *, const uint8_t *, const void *, void *, size_t);

// Encrypts or decrypts whole data units, the first of which is at `at`.
static int crypt(const struct file *file, int encrypt, sqlite3_int64 at, const unsigned char *src, unsigned char *dst,
                 sqlite3_int64 len)
{
    const atrest_sector_cipher *cipher = cipher_of(file);
    if (file->kind != WAL) {
        run_function *run = encrypt ? atrest_sector_cipher_encrypt_to : atrest_sector_cipher_decrypt_to;
        uint64_t first = file->kind == JOURNAL ? FIRST_OF_JOURNAL : 0;
        return checked(run(cipher, first + (uint64_t)at / SECTOR, src, dst, (size_t)len), "a sector");
    }
    unit_function *unit = encrypt ? atrest_sector_cipher_encrypt_unit_to : atrest_sector_cipher_decrypt_unit_to;
    int rc = SQLITE_OK;
    for (sqlite3_int64 done = 0, step; done < len && rc == SQLITE_OK; done += step) {
        // The number is the offset, and 2^64 more: over all numbers of sectors.
        uint8_t tweak[16] = {[8] = 1};
        for (int i = 0; i < 8; i++)
            tweak[i] = (uint8_t)((uint64_t)(at + done) >> 8 * i);
        (void)wal_unit(file, at + done, &step);
        rc = checked(unit(cipher, tweak, src + done, dst + done, (size_t)step), "a frame");
    }
    return rc;
}

// Takes the length of pages from the header of a WAL.
static void learn_pages(struct file *file, const unsigned char header[WAL_HEADER])
{
    static const unsigned char magic[] = {0x37, 0x7f, 0x06};
    sqlite3_int64 page = (sqlite3_int64)header[8] << 24 | header[9] << 16 | header[10] << 8 | header[11];
    if (memcmp(header, magic, sizeof magic) == 0 && page >= 512 && page <= 65536 && (page & (page - 1)) == 0)
        file->wal_page = page;
}

// Sees to it that it is known where the units are that hold these bytes. Another process may have written the header. As
// long as anybody uses a WAL, the length of pages doesn't change.
static int know_pages(struct file *file, sqlite3_int64 end)
{
    unsigned char header[WAL_HEADER];
    if (file->kind != WAL || file->wal_page != 0 || end <= WAL_HEADER)
        return SQLITE_OK;
    int rc = file_read(&file->base, header, WAL_HEADER, 0);
    if (rc == SQLITE_OK)
        learn_pages(file, header);
    if (rc == SQLITE_OK && file->wal_page == 0)
        return failed(SQLITE_IOERR, "the header of a WAL is none");
    return rc;
}

// ---------------------------------------------------------------------------------------------------------------------
// READING AND WRITING

static int below_size(struct file *file, sqlite3_int64 *size)
{
    int rc = file->below->pMethods->xFileSize(file->below, size);
    *size -= least(*size, front(file));
    return rc;
}

int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct file *file = (struct file *)base;
    int rc = below_size(file, size);
    *size -= least(*size, rear(file));
    return rc;
}

int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *file = (struct file *)base;
    if (size > 0)
        size += rear(file);
    else if (cipher_of(file) == NULL)
        return SQLITE_OK; // it is empty, and has not even a prefix
    return file->below->pMethods->xTruncate(file->below, size + front(file));
}

static int make_room(struct file *file, sqlite3_int64 size)
{
    if (size <= file->scratch_size)
        return SQLITE_OK;
    unsigned char *scratch = sqlite3_realloc64(file->scratch, (sqlite3_uint64)size);
    if (scratch == NULL)
        return SQLITE_IOERR_NOMEM;
    file->scratch = scratch;
    file->scratch_size = size;
    return SQLITE_OK;
}

int file_read(sqlite3_file *base, void *buffer, int len, sqlite3_int64 offset)
{
    struct file *file = (struct file *)base;
    int rc = file_ready(file, 0);
    if (rc == SQLITE_OK && cipher_of(file) == NULL)
        rc = SQLITE_IOERR_SHORT_READ; // the database is empty, and so is what belongs to it
    if (rc == SQLITE_OK)
        rc = know_pages(file, offset + len);
    if (rc != SQLITE_OK) {
        memset(buffer, 0, (size_t)len);
        return rc;
    }
    struct span span = span_of(file, offset, len);
    unsigned char *units = buffer;
    if (span.unit != offset || span.unit_end != offset + len) {
        rc = make_room(file, span.unit_end - span.unit);
        if (rc != SQLITE_OK)
            return rc;
        units = file->scratch;
    }
    int found = file->below->pMethods->xRead(file->below, units + (span.io - span.unit), (int)(span.io_end - span.io),
                                             span.io + front(file));
    if (found != SQLITE_OK && found != SQLITE_IOERR_SHORT_READ)
        return found;
    // Blocks that weren't read come out as noise, and go nowhere.
    rc = crypt(file, 0, span.unit, units, units, span.unit_end - span.unit);
    if (rc != SQLITE_OK)
        return rc;
    if (units != buffer)
        memcpy(buffer, units + (offset - span.unit), (size_t)len);
    if (found == SQLITE_OK && rear(file) == 0)
        return SQLITE_OK;
    // As SQLite wants it: zeros behind the end.
    sqlite3_int64 size;
    rc = file_size(base, &size);
    if (rc != SQLITE_OK || size >= offset + len)
        return rc;
    sqlite3_int64 there = size > offset ? size - offset : 0;
    memset((unsigned char *)buffer + there, 0, (size_t)(len - there));
    return SQLITE_IOERR_SHORT_READ;
}

int file_write(sqlite3_file *base, const void *buffer, int len, sqlite3_int64 offset)
{
    struct file *file = (struct file *)base;
    sqlite3_int64 end = offset + len, size = 0;
    if (file->kind == WAL && offset == 0 && len >= WAL_HEADER)
        learn_pages(file, buffer);
    int rc = file_ready(file, 1); // it is there, unless SQLite was told to do without locks
    if (rc == SQLITE_OK)
        rc = know_pages(file, end);
    if (rc != SQLITE_OK)
        return rc;
    struct span span = span_of(file, offset, len);
    int parts = span.io != offset || span.io_end != end;
    rc = make_room(file, span.unit_end - span.unit + BLOCK);
    if (rc == SQLITE_OK && (parts || rear(file) != 0))
        rc = below_size(file, &size);
    unsigned char *units = file->scratch;
    const unsigned char *plain = buffer;
    if (rc == SQLITE_OK && parts) {
        // What else is in these blocks stays as it is. What is behind the end in the last one is anything.
        sqlite3_int64 there = least(size, span.io_end) - span.io;
        if (there > 0)
            rc = file->below->pMethods->xRead(file->below, units + (span.io - span.unit), (int)there,
                                              span.io + front(file));
        if (rc == SQLITE_OK && there > 0)
            rc = crypt(file, 0, span.unit, units, units, span_of(file, span.io, (int)there).unit_end - span.unit);
    }
    if (rc != SQLITE_OK)
        return rc;
    if (span.unit != offset || span.unit_end != end) {
        memcpy(units + (offset - span.unit), buffer, (size_t)len);
        plain = units;
    }
    // In scratch memory, since the buffer is SQLite's. Blocks outside of `io` are encrypted for nothing, and go nowhere.
    rc = crypt(file, 1, span.unit, plain, units, span.unit_end - span.unit);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_int64 io_end = span.io_end;
    if (rear(file) != 0 && end + rear(file) > size) {
        memset(units + (span.io_end - span.unit), 0, BLOCK);
        io_end = end + rear(file);
    }
    return file->below->pMethods->xWrite(file->below, units + (span.io - span.unit), (int)(io_end - span.io),
                                         span.io + front(file));
}
