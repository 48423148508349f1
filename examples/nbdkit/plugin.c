// An nbdkit plugin: a volume of atrest, served as a block device. README.md says how it is built and run.
//
// nbdkit calls it from many threads at once, each time to read or write whole sectors. A volume takes that as it is.
#define _GNU_SOURCE // explicit_bzero
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <atrest.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

// Where the data begins in a volume that is made here: the library's default, which leaves room for 32 keyslots.
#define DATA_OFFSET (16 << 20)
#define LARGEST_REQUEST (32 << 20)
#define PASSPHRASE_MAX 4096

// What the command line says.
static char *disk, *vault_file, *root_key, *key_file, *key_name, *context;
static char *passphrase;
static size_t passphrase_len;
static int read_only, direct_io, discard;
static uint64_t create_size;
static uint32_t sector_size, chunk_size;

// What is served, from after_fork() to cleanup().
static atrest_volume *volume;
static uint64_t volume_size;
static uint32_t volume_sector_size;
static uint32_t volume_chunk_size; // of its map of written chunks, or 0

// NBD knows few errors: what isn't one of them, nbdkit would send as EINVAL.
static int errno_of(atrest_status status)
{
    switch (status) {
    case ATREST_ERR_READ_ONLY:
    case ATREST_ERR_DISK_SUSPENDED:
        return EPERM;
    case ATREST_ERR_MISALIGNED:
    case ATREST_ERR_OUT_OF_BOUNDS:
        return EINVAL;
    case ATREST_ERR_NO_MEMORY:
        return ENOMEM;
    default:
        return EIO;
    }
}

// 0, or -1 and an error that the client and the log get. The library's messages hold no secrets.
static int checked(atrest_status status, const char *what)
{
    if (status == ATREST_OK)
        return 0;
    nbdkit_error("%s: %s (%s)", what, atrest_last_error_message(), atrest_status_name(status));
    nbdkit_set_error(errno_of(status));
    return -1;
}

// ---------------------------------------------------------------------------------------------------------------------
// PARAMETERS

// The passphrase is needed before nbdkit forks and after. In memory that both processes share, it is wiped in both.
static int keep_passphrase(const char *value)
{
    // nbdkit would take it from the command line, too, where everybody on the machine can read it.
    if (value[0] != '+' && value[0] != '-') {
        nbdkit_error("give the passphrase as passphrase=+FILE, passphrase=-FD or passphrase=- (asks), not as it is");
        return -1;
    }
    char *text;
    if (passphrase != NULL) {
        nbdkit_error("there is more than one passphrase");
        return -1;
    }
    if (nbdkit_read_password(value, &text) == -1)
        return -1;
    size_t len = strlen(text);
    void *shared = len <= PASSPHRASE_MAX ? mmap(NULL, PASSPHRASE_MAX, PROT_READ | PROT_WRITE,
                                                MAP_SHARED | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    if (shared != MAP_FAILED) {
        // Both as far as the system lets us: the passphrase is better unlocked than not there.
        (void)mlock(shared, PASSPHRASE_MAX);
        (void)madvise(shared, PASSPHRASE_MAX, MADV_DONTDUMP);
        passphrase = (char *)memcpy(shared, text, len);
        passphrase_len = len;
    } else {
        nbdkit_error("the passphrase is over %d bytes, or there is no memory for it", PASSPHRASE_MAX);
    }
    explicit_bzero(text, len);
    free(text);
    return passphrase != NULL ? 0 : -1;
}

static void forget_passphrase(void)
{
    if (passphrase == NULL)
        return;
    explicit_bzero(passphrase, PASSPHRASE_MAX);
    munmap(passphrase, PASSPHRASE_MAX);
    passphrase = NULL;
}

static int keep(char **place, char *value)
{
    free(*place);
    *place = value;
    return value != NULL ? 0 : -1;
}

static int keep_text(char **place, const char *value)
{
    char *copy = strdup(value);
    if (copy == NULL)
        nbdkit_error("there is no memory for the parameters");
    return keep(place, copy);
}

static int plugin_config(const char *key, const char *value)
{
    // Absolute, because nbdkit goes to another folder when it goes into the background.
    if (strcmp(key, "disk") == 0)
        return keep(&disk, nbdkit_absolute_path(value));
    if (strcmp(key, "vault") == 0)
        return keep(&vault_file, nbdkit_absolute_path(value));
    if (strcmp(key, "root-key") == 0)
        return keep(&root_key, nbdkit_absolute_path(value));
    if (strcmp(key, "key-file") == 0)
        return keep(&key_file, nbdkit_absolute_path(value));
    if (strcmp(key, "passphrase") == 0)
        return keep_passphrase(value);
    if (strcmp(key, "context") == 0)
        return keep_text(&context, value);
    if (strcmp(key, "key") == 0)
        return keep_text(&key_name, value);
    if (strcmp(key, "sector-size") == 0)
        return nbdkit_parse_uint32_t("sector-size", value, &sector_size);
    if (strcmp(key, "written-map") == 0)
        return nbdkit_parse_uint32_t("written-map", value, &chunk_size);
    if (strcmp(key, "read-only") == 0)
        return (read_only = nbdkit_parse_bool(value)) == -1 ? -1 : 0;
    if (strcmp(key, "direct-io") == 0)
        return (direct_io = nbdkit_parse_bool(value)) == -1 ? -1 : 0;
    if (strcmp(key, "discard") == 0)
        return (discard = nbdkit_parse_bool(value)) == -1 ? -1 : 0;
    if (strcmp(key, "create") == 0) {
        int64_t size = nbdkit_parse_size(value);
        create_size = size > 0 ? (uint64_t)size : 0;
        if (size == 0)
            nbdkit_error("create=0: a disk has at least one sector");
        return size > 0 ? 0 : -1;
    }
    nbdkit_error("there is no parameter '%s'", key);
    return -1;
}

static int plugin_config_complete(void)
{
    const char *wrong = NULL;
    if (disk == NULL)
        wrong = "disk=FILE is needed";
    else if (vault_file != NULL && key_file != NULL)
        wrong = "key-file= opens a disk without a vault; a vault's file is root-key=";
    else if (vault_file != NULL && (root_key != NULL) == (passphrase != NULL))
        wrong = "the vault needs either root-key= or passphrase=";
    else if (vault_file == NULL && (key_file != NULL) == (passphrase != NULL))
        wrong = "the disk needs vault=, or either passphrase= or key-file=";
    else if (vault_file == NULL && (root_key != NULL || context != NULL || key_name != NULL))
        wrong = "root-key=, context= and key= go with vault=";
    else if (create_size != 0 && read_only)
        wrong = "a disk that is made can't be read-only";
    else if (create_size != 0 && vault_file != NULL && key_name == NULL)
        wrong = "create= in a vault needs key=, the name of the key that shall protect the disk";
    else if (create_size == 0 && (key_name != NULL || sector_size != 0 || chunk_size != 0))
        wrong = "key=, sector-size= and written-map= go with create=";
    else if (chunk_size != 0 && create_size % chunk_size != 0)
        wrong = "with written-map= the size is a whole number of chunks";
    if (wrong != NULL)
        nbdkit_error("%s", wrong);
    return wrong != NULL ? -1 : 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// THE VOLUME

static int open_vault(atrest_vault **vault)
{
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = passphrase;
    unlock.passphrase_len = passphrase_len;
    unlock.key_file = root_key;
    return checked(atrest_vault_open_file(vault_file, &unlock, vault), "opening the vault");
}

static int create_volume(void)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    atrest_vault *vault = NULL;
    atrest_device *device;
    atrest_volume *made = NULL;
    int result;

    if (vault_file != NULL) {
        if (open_vault(&vault) == -1)
            return -1;
        protector.kind = ATREST_PROTECTOR_VAULT;
        protector.vault = vault;
        protector.key_name = key_name;
        options.context = context;
        options.context_len = context != NULL ? strlen(context) : 0;
    } else {
        protector.kind = key_file != NULL ? ATREST_PROTECTOR_KEY_FILE : ATREST_PROTECTOR_PASSPHRASE;
        protector.passphrase = passphrase;
        protector.passphrase_len = passphrase_len;
        protector.key_file = key_file;
    }
    options.sector_size = sector_size;
    options.data_offset = DATA_OFFSET;
    options.written_chunk_size = chunk_size;
    result = checked(atrest_device_create_file(disk, DATA_OFFSET + create_size, &device), "making the disk");
    if (result == 0) {
        result = checked(atrest_volume_format(device, &protector, &options, &made), "formatting the disk");
        atrest_device_free(device);
        atrest_volume_free(made);
        // There was no file before, so that nothing is lost with this one.
        if (result == -1)
            unlink(disk);
    }
    atrest_vault_free(vault);
    return result;
}

static int open_volume(atrest_volume **opened)
{
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    atrest_vault *vault = NULL;
    atrest_device *device;
    int result;

    if (vault_file != NULL) {
        if (open_vault(&vault) == -1)
            return -1;
        credential.kind = ATREST_CREDENTIAL_VAULT;
        credential.vault = vault;
        options.context = context;
        options.context_len = context != NULL ? strlen(context) : 0;
    } else {
        credential.kind = key_file != NULL ? ATREST_CREDENTIAL_KEY_FILE : ATREST_CREDENTIAL_PASSPHRASE;
        credential.passphrase = passphrase;
        credential.passphrase_len = passphrase_len;
        credential.key_file = key_file;
    }
    options.flags = (read_only ? ATREST_OPEN_READ_ONLY : 0) | (discard ? ATREST_OPEN_DISCARD : 0);
    uint32_t flags = (read_only ? ATREST_DEVICE_READ_ONLY : 0) | (direct_io ? ATREST_DEVICE_DIRECT_IO : 0);
    result = checked(atrest_device_open_file(disk, flags, &device), "opening the disk");
    if (result == 0) {
        result = checked(atrest_volume_open(device, &credential, &options, opened), "opening the volume");
        atrest_device_free(device);
    }
    // The vault's keys aren't needed any more.
    atrest_vault_free(vault);
    return result;
}

// Whatever is wrong shall be told while somebody is looking. But what is opened here leaves its keys in the process that
// stays in front, and locked memory doesn't survive a fork: so this is a test, and after_fork() opens the volume.
static int plugin_get_ready(void)
{
    atrest_volume *tried = NULL;
    if (create_size != 0)
        return create_volume();
    int result = open_volume(&tried);
    atrest_volume_free(tried);
    return result;
}

static int plugin_after_fork(void)
{
    int result = open_volume(&volume);
    forget_passphrase();
    if (result == -1 || checked(atrest_volume_size(volume, &volume_size), "asking for the size") == -1)
        return -1;
    if (checked(atrest_volume_written_chunk_size(volume, &volume_chunk_size), "asking for the chunk size") == -1)
        return -1;
    return checked(atrest_volume_sector_size(volume, &volume_sector_size), "asking for the sector size");
}

static void plugin_cleanup(void)
{
    if (volume != NULL && !read_only)
        (void)checked(atrest_volume_sync(volume), "syncing at the end");
    atrest_volume_free(volume);
    volume = NULL;
}

static void plugin_unload(void)
{
    forget_passphrase();
    free(disk);
    free(vault_file);
    free(root_key);
    free(key_file);
    free(key_name);
    free(context);
}

static void plugin_dump(void)
{
    printf("atrest_version=%s\n", atrest_version());
}

// ---------------------------------------------------------------------------------------------------------------------
// REQUESTS
//
// There is one volume for all connections, so a connection has no state of its own.

static void *plugin_open(int readonly)
{
    (void)readonly; // nbdkit itself refuses writes then
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
    (void)handle;
    return (int64_t)volume_size;
}

// Clients that ask are told to send whole sectors; for others there is nbdkit's filter `blocksize`.
static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    (void)handle;
    *minimum = volume_sector_size;
    *preferred = 4096; // the largest sector, and a page
    *maximum = LARGEST_REQUEST;
    return 0;
}

static int plugin_can_write(void *handle)
{
    (void)handle;
    return !read_only;
}

// A flush by one connection keeps what all of them wrote.
static int plugin_can_multi_conn(void *handle)
{
    (void)handle;
    return 1;
}

// Trim shows on the disk which sectors are in use, so it is there only if the command line says so; or if the volume has a map
// of written chunks, for which it is enough to write what is in use into that.
static int plugin_can_trim(void *handle)
{
    (void)handle;
    uint32_t discards = 0;
    if (volume_chunk_size != 0)
        return !read_only;
    return checked(atrest_volume_discards(volume, &discards), "asking for discards") == -1 ? -1 : (int)discards;
}

static int plugin_can_zero(void *handle)
{
    return plugin_can_write(handle);
}

// A volume with a map of written chunks knows what reads as zeros.
static int plugin_can_extents(void *handle)
{
    (void)handle;
    return volume_chunk_size != 0;
}

// Clients may ask for zeros that are quicker than other data. Without a map they are none, and are told so at once.
static int plugin_can_fast_zero(void *handle)
{
    return plugin_can_write(handle);
}

// nbdkit makes FUA into a flush, since the plugin has none of its own.

static int plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle, (void)flags;
    return checked(atrest_volume_read_at(volume, offset, buffer, count), "reading");
}

static int plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle, (void)flags;
    return checked(atrest_volume_write_at(volume, offset, buffer, count), "writing");
}

// Zeros are encrypted and written, but for whole chunks of a map of written chunks. A hole (NBDKIT_FLAG_MAY_TRIM) elsewhere
// wouldn't read as zeros, but as what zeros decrypt to.
static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    if (flags & NBDKIT_FLAG_FAST_ZERO && volume_chunk_size == 0) {
        nbdkit_set_error(EOPNOTSUPP);
        return -1;
    }
    // Whole chunks of it; the rest becomes zeros below.
    if (flags & NBDKIT_FLAG_MAY_TRIM && volume_chunk_size != 0
        && checked(atrest_volume_discard(volume, offset, count), "discarding") == -1)
        return -1;
    return checked(atrest_volume_write_zeroes(volume, offset, count), "writing zeros");
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle, (void)flags;
    return checked(atrest_volume_discard(volume, offset, count), "discarding");
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
    (void)handle;
    const uint64_t end = offset + count;
    while (offset < end) {
        uint64_t len;
        uint32_t is_written;
        if (checked(atrest_volume_extent(volume, offset, &len, &is_written), "asking what was written") == -1)
            return -1;
        if (nbdkit_add_extent(extents, offset, len, is_written ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) == -1)
            return -1;
        offset += len;
        if (flags & NBDKIT_FLAG_REQ_ONE)
            break;
    }
    return 0;
}

static int plugin_flush(void *handle, uint32_t flags)
{
    (void)handle, (void)flags;
    return checked(atrest_volume_sync(volume), "syncing");
}

static struct nbdkit_plugin plugin = {
    .name = "atrest",
    .longname = "atrest encrypted volume",
    .description = "Serve a LUKS volume that atrest opens, by a vault, a passphrase or a key file",
    .magic_config_key = "disk",
    .config_help =
        "disk=FILE          (required) The volume, a file or a block device.\n"
        "vault=FILE         The vault file that opens it, with root-key=FILE or passphrase=...\n"
        "passphrase=+FILE   Without vault=: the passphrase of one of its keyslots. Also -FD, and - to be asked.\n"
        "key-file=FILE      Without vault=: a file whose bytes are such a passphrase.\n"
        "context=TEXT       With vault=: what the volume must be bound to.\n"
        "read-only=true     Write nothing at all.\n"
        "direct-io=true     Read and write past the page cache.\n"
        "discard=true       Let clients trim. The disk then shows which sectors are in use.\n"
        "create=SIZE        Make the volume, in a new file. With vault=, key=NAME is its key there.\n"
        "sector-size=BYTES  With create=: 512 (default), 1024, 2048 or 4096.\n"
        "written-map=BYTES  With create=: keep a map of written chunks of so many bytes, as 65536.",
    .config = plugin_config,
    .config_complete = plugin_config_complete,
    .get_ready = plugin_get_ready,
    .after_fork = plugin_after_fork,
    .cleanup = plugin_cleanup,
    .unload = plugin_unload,
    .dump_plugin = plugin_dump,
    .open = plugin_open,
    .get_size = plugin_get_size,
    .block_size = plugin_block_size,
    .can_write = plugin_can_write,
    .can_trim = plugin_can_trim,
    .can_extents = plugin_can_extents,
    .can_zero = plugin_can_zero,
    .can_fast_zero = plugin_can_fast_zero,
    .can_multi_conn = plugin_can_multi_conn,
    .pread = plugin_pread,
    .pwrite = plugin_pwrite,
    .zero = plugin_zero,
    .trim = plugin_trim,
    .extents = plugin_extents,
    .flush = plugin_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
