// Use and misuse of managed disks with devices, vaults and a clock that are callbacks. The callbacks fail and lie, and
// threads use them.
#include "misuse_managed.h"

#include <pthread.h>

// As CHECK, where several threads may be.
#define MUST(condition)                                                                             \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                 \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

// The behaviour of a callback in place of its work.
enum lie { HONEST, FAILS, IS_BUSY, GIVES_NOTHING, GIVES_FREED, GIVES_ANOTHER_TYPE, GIVES_SMALL, GIVES_DIRTY };

// A backend in memory. It keeps a handle of each device and gives others away.
static struct pool {
    char ids[64][ATREST_ID_SIZE];
    atrest_device *devices[64];
    int count, released;
    enum lie create, open, remove, resize;
    // What list() returns; and what it says in place of an id.
    atrest_status list;
    const char *also;
    // Whether new devices are of callbacks.
    int of_callbacks;
} pool;

// A device of callbacks whose size can be set.
struct growing {
    unsigned char *bytes;
    uint64_t size;
};

static atrest_status growing_read(void *user, uint64_t offset, void *out, size_t len)
{
    struct growing *device = (struct growing *)user;
    MUST(offset + len <= device->size);
    memcpy(out, device->bytes + offset, len);
    return ATREST_OK;
}

static atrest_status growing_write(void *user, uint64_t offset, const void *in, size_t len)
{
    struct growing *device = (struct growing *)user;
    MUST(offset + len <= device->size);
    memcpy(device->bytes + offset, in, len);
    return ATREST_OK;
}

static atrest_status growing_sync(void *user)
{
    MUST(user != NULL);
    return ATREST_OK;
}

static atrest_status growing_set_size(void *user, uint64_t size)
{
    struct growing *device = (struct growing *)user;
    if (pool.resize != HONEST)
        return pool.resize == FAILS ? 77 : ATREST_ERR_UNSUPPORTED;
    device->bytes = (unsigned char *)realloc(device->bytes, (size_t)size);
    MUST(device->bytes != NULL && size > device->size);
    memset(device->bytes + device->size, 0, (size_t)(size - device->size));
    device->size = size;
    return ATREST_OK;
}

static void growing_release(void *user)
{
    struct growing *device = (struct growing *)user;
    free(device->bytes);
    free(device);
}

static atrest_device *growing_device(uint64_t size)
{
    struct growing *made = (struct growing *)malloc(sizeof *made);
    atrest_device_callbacks callbacks = ATREST_DEVICE_CALLBACKS_INIT;
    atrest_device *device;
    MUST(made != NULL);
    made->bytes = (unsigned char *)calloc(1, (size_t)size);
    made->size = callbacks.size = size;
    MUST(made->bytes != NULL);
    callbacks.user = made;
    callbacks.read_at = growing_read;
    callbacks.write_at = growing_write;
    callbacks.sync = growing_sync;
    callbacks.set_size = growing_set_size;
    callbacks.release = growing_release;
    OK(atrest_device_from_callbacks(&callbacks, &device));
    return device;
}

static atrest_device *small_device(void)
{
    atrest_device *device;
    OK(atrest_device_memory(512, &device));
    return device;
}

static atrest_status give(enum lie lie, atrest_device *device, atrest_device **out)
{
    switch (lie) {
    case FAILS: return 77;
    case IS_BUSY: return ATREST_ERR_BUSY;
    case GIVES_NOTHING: return ATREST_OK;
    case GIVES_FREED: *out = small_device(); atrest_device_free(*out); return ATREST_OK;
    case GIVES_ANOTHER_TYPE: *out = PASSED_AS(atrest_device, contoso); return ATREST_OK;
    case GIVES_SMALL: *out = small_device(); return ATREST_OK;
    default: return atrest_device_clone(device, out);
    }
}

static int found(const char *id)
{
    int n = 0;
    while (n < pool.count && strcmp(pool.ids[n], id) != 0)
        n++;
    return n;
}

static atrest_status create(void *user, const char *region, const char *id, uint64_t size, atrest_device **out)
{
    CHECK(user == &pool && strcmp(region, "north") == 0 && strlen(id) == ATREST_ID_SIZE - 1 && found(id) == pool.count);
    CHECK(pool.count < 64 && size >= 64 << 10);
    atrest_device *device;
    if (pool.of_callbacks)
        device = growing_device(size);
    else
        OK(atrest_device_memory((size_t)size, &device));
    if (pool.create == GIVES_DIRTY) {
        atrest_volume *volume;
        atrest_protector protector = with_vault(platform);
        atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
        options.data_offset = 1 << 20;
        OK(atrest_volume_format(device, &protector, &options, &volume));
        atrest_volume_free(volume);
    }
    snprintf(pool.ids[pool.count], ATREST_ID_SIZE, "%s", id);
    pool.devices[pool.count++] = device;
    return give(pool.create, device, out);
}

static atrest_status open_device(void *user, const char *region, const char *id, atrest_device **out)
{
    MUST(user == &pool && strcmp(region, "north") == 0 && found(id) < pool.count);
    return give(pool.open, pool.devices[found(id)], out);
}

static atrest_status remove_device(void *user, const char *region, const char *id)
{
    int n = found(id);
    CHECK(user == &pool && strcmp(region, "north") == 0);
    if (pool.remove == FAILS)
        return 77;
    if (n < pool.count) {
        atrest_device_free(pool.devices[n]);
        pool.devices[n] = pool.devices[--pool.count];
        memcpy(pool.ids[n], pool.ids[pool.count], ATREST_ID_SIZE);
    }
    return ATREST_OK;
}

static atrest_status list_devices(void *user, const char *region, atrest_status (*each)(void *ids, const char *id),
    void *ids)
{
    CHECK(user == &pool && strcmp(region, "north") == 0);
    IS(ATREST_ERR_NULL_ARGUMENT, each(NULL, "6f6f6f6f-0000-4000-8000-000000000001"));
    if (pool.list != ATREST_OK)
        return pool.list;
    for (int n = 0; n < pool.count; n++)
        OK(each(ids, pool.ids[n]));
    return pool.also == NULL ? ATREST_OK : each(ids, strcmp(pool.also, "NULL") == 0 ? NULL : pool.also);
}

static void release_pool(void *user)
{
    CHECK(user == &pool);
    pool.released++;
    while (pool.count > 0)
        atrest_device_free(pool.devices[--pool.count]);
}

// A vault with versions 1 to 4 of one key, as the caller's own client of a key service would be.
static struct key_service {
    int latest, ignores_version, released, opened, described;
    // The answer in place of the work; for wrap, after so many calls more.
    atrest_status wrap, unwrap, describe;
    int wraps_left;
} key_service;

static void kek_of(const char *version, unsigned char kek[32])
{
    memset(kek, 0x10 + atoi(version), 32);
}

static atrest_status wrap(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped)
{
    unsigned char kek[32];
    MUST(user == &key_service && strcmp(wrapped->vault_id, CONTOSO) == 0);
    if (!wrapped->version[0] || key_service.ignores_version)
        snprintf(wrapped->version, sizeof wrapped->version, "%d", key_service.latest);
    if (atoi(wrapped->version) > key_service.latest)
        return ATREST_ERR_NO_SUCH_KEY;
    if (key_service.wrap != ATREST_OK && __sync_sub_and_fetch(&key_service.wraps_left, 1) < 0)
        return key_service.wrap;
    kek_of(wrapped->version, kek);
    wrapped->algorithm = ATREST_WRAP_A256KW;
    return atrest_aes_kw_wrap(kek, 32, dek, dek_len, wrapped->bytes, sizeof wrapped->bytes, &wrapped->bytes_len);
}

static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap, size_t *dek_len)
{
    unsigned char kek[32];
    MUST(user == &key_service);
    if (strcmp(wrapped->vault_id, CONTOSO) != 0)
        return ATREST_ERR_NOT_THIS_VAULT;
    if (key_service.unwrap != ATREST_OK)
        return key_service.unwrap;
    kek_of(wrapped->version, kek);
    return atrest_aes_kw_unwrap(kek, 32, wrapped->bytes, wrapped->bytes_len, dek, dek_cap, dek_len);
}

static atrest_status describe_key(void *user, const char *key_name, atrest_key_description *said)
{
    MUST(user == &key_service && strcmp(key_name, "disks") == 0);
    if (!said->version[0])
        snprintf(said->version, sizeof said->version, "%d", key_service.latest);
    if (atoi(said->version) > key_service.latest)
        return ATREST_ERR_NO_SUCH_KEY;
    said->kind = ATREST_KEY_AES_256;
    said->enabled = 1;
    said->created = 1700000000 + (uint64_t)atoi(said->version);
    return key_service.describe;
}

static void release_vault(void *user)
{
    ((struct key_service *)user)->released++;
}

static atrest_vault *key_client(const char *id)
{
    atrest_vault *vault;
    atrest_vault_callbacks callbacks = ATREST_VAULT_CALLBACKS_INIT;
    callbacks.user = &key_service;
    callbacks.id = id;
    callbacks.wrap = wrap;
    callbacks.unwrap = unwrap;
    callbacks.describe = describe_key;
    callbacks.release = release_vault;
    OK(atrest_vault_from_callbacks(&callbacks, &vault));
    return vault;
}

// A directory of that vault alone.
static struct vault_list {
    atrest_status answer;
    enum lie lie;
    int released;
    atrest_vault_description said;
} vault_list;

static atrest_status open_vault(void *user, const char *vault_id, const char *identity, atrest_vault **out)
{
    MUST(user == &vault_list && strcmp(vault_id, CONTOSO) == 0 && strncmp(identity, "des-", 4) == 0);
    if (vault_list.answer != ATREST_OK)
        return vault_list.answer;
    switch (vault_list.lie) {
    case GIVES_NOTHING: return ATREST_OK;
    case GIVES_FREED: *out = key_client(CONTOSO); atrest_vault_free(*out); return ATREST_OK;
    case GIVES_ANOTHER_TYPE: *out = PASSED_AS(atrest_vault, the_clock); return ATREST_OK;
    case GIVES_DIRTY: *out = key_client("https://another"); return ATREST_OK;
    default: return atrest_vault_clone(contoso, out);
    }
}

static atrest_status describe_vault(void *user, const char *vault_id, atrest_vault_description *description)
{
    MUST(user == &vault_list && strcmp(vault_id, CONTOSO) == 0 && description->struct_size == sizeof *description);
    *description = vault_list.said;
    return vault_list.answer;
}

static void release_list(void *user)
{
    ((struct vault_list *)user)->released++;
}

static uint64_t tick(void *user)
{
    return *(uint64_t *)user;
}

static uint64_t the_time = 1800000000;
static uint64_t the_uptime = 5000;

static uint64_t stand(void *user)
{
    CHECK(user == &the_time);
    return the_uptime;
}

static int clock_released;

static void release_clock(void *user)
{
    CHECK(user == &the_time);
    clock_released++;
}

static void make_all(void)
{
    atrest_clock_callbacks clock = ATREST_CLOCK_CALLBACKS_INIT;
    atrest_disk_backend_callbacks disks = ATREST_DISK_BACKEND_CALLBACKS_INIT, bad_disks;
    atrest_vault_directory_callbacks list = ATREST_VAULT_DIRECTORY_CALLBACKS_INIT, bad_list;
    int calls = 0;
    clock.user = &the_time;
    clock.now = tick;
    clock.release = release_clock;
    clock.uptime = stand;
    OK(atrest_clock_from_callbacks(&clock, &the_clock));
    IS(ATREST_ERR_UNSUPPORTED, atrest_clock_set(the_clock, 1));
    IS(ATREST_ERR_UNSUPPORTED, atrest_clock_advance(the_clock, 1));
    uint64_t now = 0;
    OK(atrest_clock_now(the_clock, &now));
    CHECK(now == 1800000000);

    disks.user = &pool;
    disks.create = create;
    disks.open = open_device;
    disks.remove = remove_device;
    disks.release = release_pool;
    disks.list = list_devices;
#define BACKEND(member, value)                                                                      \
    (bad_disks = disks, bad_disks.member = value, atrest_disk_backend_from_callbacks(&bad_disks, &out))
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_from_callbacks(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_from_callbacks(&disks, NULL));
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_STRUCT_SIZE, BACKEND(struct_size, 0));
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, BACKEND(create, NULL));
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, BACKEND(open, NULL));
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, BACKEND(remove, NULL));
    CHECK(pool.released == 0);
    OK(atrest_disk_backend_from_callbacks(&disks, &backend));

    list.user = &vault_list;
    list.open_vault = open_vault;
    list.describe = describe_vault;
    list.release = release_list;
#define DIRECTORY(member, value)                                                                    \
    (bad_list = list, bad_list.member = value, atrest_vault_directory_from_callbacks(&bad_list, &out))
    NO_HANDLE(atrest_vault_directory, ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_from_callbacks(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_from_callbacks(&list, NULL));
    NO_HANDLE(atrest_vault_directory, ATREST_ERR_STRUCT_SIZE, DIRECTORY(struct_size, 0));
    NO_HANDLE(atrest_vault_directory, ATREST_ERR_NULL_ARGUMENT, DIRECTORY(open_vault, NULL));
    NO_HANDLE(atrest_vault_directory, ATREST_ERR_NULL_ARGUMENT, DIRECTORY(describe, NULL));
    CHECK(vault_list.released == 0);
    OK(atrest_vault_directory_from_callbacks(&list, &vaults));
    contoso = key_client(CONTOSO);
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_directory_add_file(vaults, contoso));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_directory_remove(vaults, CONTOSO));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_directory_ids(vaults, stop, &calls));
    NO_HANDLE(atrest_vault, ATREST_ERR_UNSUPPORTED, atrest_vault_with_clock(contoso, the_clock, &out));

    atrest_vault_directory *files;
    OK(atrest_vault_directory_new(&files));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_directory_add_file(files, contoso));
    atrest_vault_directory_free(files);

    platform = make_vault("platform", "https://platform.vault.example", NULL, 0);
    atrest_disk_service_options options = setup();
    options.outage_seconds = 7200;
    options.parallel = 3;
    OK(atrest_disk_service_open(in_folder("store"), &options, &service));
}

static void directory_that_lies(void)
{
    atrest_new_set set = new_set("s");
    atrest_new_disk disk = new_disk("a", "s");
#define SAID(status)                                                                                \
    do {                                                                                            \
        IS(status, atrest_disk_service_create_set(service, &set));                                  \
        vault_list.said.soft_delete = vault_list.said.purge_protection = 1;                         \
        memset(vault_list.said.region, 0, sizeof vault_list.said.region);                           \
        memset(vault_list.said.tenant, 0, sizeof vault_list.said.tenant);                           \
        strcpy(vault_list.said.region, "north");                                                    \
        strcpy(vault_list.said.tenant, "contoso");                                                  \
    } while (0)
    SAID(ATREST_ERR_VAULT);
    vault_list.said.tenant[0] = 0;
    SAID(ATREST_ERR_VAULT);
    memset(vault_list.said.region, 'n', sizeof vault_list.said.region);
    SAID(ATREST_ERR_VAULT);
    strcpy(vault_list.said.region, BAD_UTF8);
    SAID(ATREST_ERR_VAULT);
    vault_list.said.soft_delete = 2;
    SAID(ATREST_ERR_VAULT);
    vault_list.said.purge_protection = UINT32_MAX;
    SAID(ATREST_ERR_VAULT);
    vault_list.said.soft_delete = 0;
    SAID(ATREST_ERR_NOT_ALLOWED);
    rule("16");
    vault_list.answer = 77;
    SAID(ATREST_ERR_CALLBACK_FAILED);
    vault_list.answer = ATREST_ERR_VAULT;
    SAID(ATREST_ERR_VAULT);
    vault_list.answer = ATREST_ERR_ACCESS_DENIED;
    SAID(ATREST_ERR_ACCESS_DENIED);
    vault_list.answer = ATREST_OK;
    SAID(ATREST_OK);

    key_service.latest = 1;
    const enum lie lies[] = {GIVES_NOTHING, GIVES_FREED, GIVES_ANOTHER_TYPE, GIVES_DIRTY};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        vault_list.lie = lies[i];
        IS(ATREST_ERR_VAULT, atrest_disk_service_create_disk(service, &disk));
    }
    vault_list.lie = HONEST;
    const atrest_status answers[][2] = {{77, ATREST_ERR_CALLBACK_FAILED},
                                        {ATREST_ERR_PANIC, ATREST_ERR_CALLBACK_FAILED},
                                        {ATREST_ERR_VAULT, ATREST_ERR_VAULT},
                                        {ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_DELETED}};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        vault_list.answer = answers[i][0];
        IS(answers[i][1], atrest_disk_service_create_disk(service, &disk));
        vault_list.answer = ATREST_OK;
        key_service.wrap = answers[i][0];
        IS(answers[i][0] == ATREST_ERR_VAULT ? ATREST_ERR_CALLBACK_FAILED : answers[i][1],
           atrest_disk_service_create_disk(service, &disk));
        key_service.wrap = ATREST_OK;
    }
    // The failed call left nothing, and the other types of handle are unchanged.
    CHECK(pool.count == 0);
    OK(atrest_clock_now(the_clock, &the_time));
}

static void backend_that_lies(void)
{
    atrest_new_disk disk = new_disk("a", "s");
    const struct {
        enum lie lie;
        atrest_status made, opened;
    } lies[] = {{FAILS, ATREST_ERR_CALLBACK_FAILED, ATREST_ERR_CALLBACK_FAILED},
                {IS_BUSY, ATREST_ERR_BUSY, ATREST_ERR_BUSY},
                {GIVES_NOTHING, ATREST_ERR_CALLBACK_FAILED, ATREST_ERR_CALLBACK_FAILED},
                {GIVES_FREED, ATREST_ERR_CALLBACK_FAILED, ATREST_ERR_CALLBACK_FAILED},
                {GIVES_ANOTHER_TYPE, ATREST_ERR_CALLBACK_FAILED, ATREST_ERR_CALLBACK_FAILED},
                {GIVES_SMALL, ATREST_ERR_DEVICE_TOO_SMALL, ATREST_ERR_NOT_LUKS}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        pool.create = lies[i].lie;
        IS(lies[i].made, atrest_disk_service_create_disk(service, &disk));
        CHECK(pool.count == 0);
    }
    pool.create = GIVES_DIRTY;
    IS(ATREST_ERR_DEVICE_NOT_BLANK, atrest_disk_service_create_disk(service, &disk));
    pool.create = HONEST;
    OK(atrest_disk_service_create_disk(service, &disk));
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        pool.open = lies[i].lie;
        NO_HANDLE(atrest_disk, lies[i].opened, atrest_disk_service_open_disk(service, "a", &out));
    }
    pool.open = HONEST;

    // A disk that can't be removed is gone all the same. Its remains are removed when the service starts anew.
    pool.remove = FAILS;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "a"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "a"));
    CHECK(pool.count == 1);
    atrest_disk_service_options options = setup();
    options.outage_seconds = 7200;
    atrest_disk_service_free(service);
    OK(atrest_disk_service_open(in_folder("store"), &options, &service));
    CHECK(pool.count == 1);
    atrest_disk_service_free(service);
    pool.remove = HONEST;
    OK(atrest_disk_service_open(in_folder("store"), &options, &service));
    CHECK(pool.count == 0 && pool.released == 0 && vault_list.released == 0);
    OK(atrest_disk_service_create_disk(service, &disk));
}

static void growth_and_orphans(void)
{
    static const char orphan[] = "6f6f6f6f-0000-4000-8000-000000000001";
    atrest_new_disk plan = new_disk("growing", "s");
    char ids[200] = "";
    atrest_disk *disk;
    uint64_t size = 0;
    unsigned char sector[4096];
    memset(sector, 0x5c, sizeof sector);
    pool.of_callbacks = 1;
    OK(atrest_disk_service_create_disk(service, &plan));
    pool.of_callbacks = 0;
    OK(atrest_disk_service_open_disk(service, "growing", &disk));
    OK(atrest_disk_size(disk, &size));
    const uint64_t larger = 2 * size;
#define GROW(size) atrest_disk_service_resize_disk(service, "growing", size)
    pool.resize = FAILS;
    IS(ATREST_ERR_CALLBACK_FAILED, GROW(larger));
    pool.resize = IS_BUSY;
    IS(ATREST_ERR_INVALID_OPTION, GROW(larger));
    pool.resize = HONEST;
    IS(ATREST_ERR_INVALID_OPTION, GROW(size - 4096));
    IS(ATREST_ERR_INVALID_OPTION, GROW(larger + 1));
    IS(ATREST_ERR_INVALID_OPTION, GROW(UINT64_MAX));
    IS(ATREST_ERR_OUT_OF_BOUNDS, atrest_disk_write_at(disk, larger - 4096, sector, sizeof sector));
    OK(GROW(larger));
    OK(atrest_disk_size(disk, &size));
    CHECK(size == larger);
    OK(atrest_disk_write_at(disk, larger - 4096, sector, sizeof sector));
    memset(sector, 0, sizeof sector);
    OK(atrest_disk_read_at(disk, larger - 4096, sector, sizeof sector));
    CHECK(sector[0] == 0x5c && sector[4095] == 0x5c);
    atrest_disk_free(disk);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_resize_disk(NULL, "growing", larger));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_resize_disk(service, NULL, larger));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_resize_disk(service, "nobody", larger));

#define ORPHANS atrest_disk_service_orphans(service, "north", add_name, ids)
    OK(ORPHANS);
    CHECK(ids[0] == 0);
    pool.also = orphan;
    OK(ORPHANS);
    CHECK(strncmp(ids, orphan, strlen(orphan)) == 0 && strlen(ids) == strlen(orphan) + 1);
    OK(atrest_disk_service_remove_orphan(service, "north", orphan));
    const char *const lies[] = {"NULL", BAD_UTF8};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        pool.also = lies[i];
        IS(ATREST_ERR_CALLBACK_FAILED, ORPHANS);
    }
    pool.also = NULL;
    pool.list = ATREST_ERR_UNSUPPORTED;
    IS(ATREST_ERR_INVALID_OPTION, ORPHANS);
    pool.list = 77;
    IS(ATREST_ERR_CALLBACK_FAILED, ORPHANS);
    pool.list = ATREST_OK;
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_remove_orphan(service, "north", orphan));
    IS(ATREST_ERR_INVALID_NAME, atrest_disk_service_remove_orphan(service, "north", "../growing"));
    IS(ATREST_ERR_BUSY, atrest_disk_service_remove_orphan(service, "north", pool.ids[0]));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_remove_orphan(service, "north", NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_remove_orphan(service, NULL, orphan));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_remove_orphan(NULL, "north", orphan));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_orphans(service, "north", NULL, ids));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_orphans(service, NULL, add_name, ids));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_orphans(NULL, "north", add_name, ids));
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "growing"));
}

static void outage_and_revocation(void)
{
    atrest_disk *disk;
    uint32_t suspended = 77;
    OK(atrest_disk_service_open_disk(service, "a", &disk));
    memset(marked, 0xa5, sizeof marked);
    OK(atrest_disk_write_at(disk, 0, marked, sizeof marked));
    // An outage is bridged for two hours.
    vault_list.answer = 77;
    for (int minutes = 0; minutes < 119; minutes++) {
        the_time += 60;
        OK(atrest_disk_service_maintain(service));
        OK(atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    }
    the_time += 60;
    OK(atrest_disk_service_maintain(service));
    OK(atrest_disk_is_suspended(disk, &suspended));
    CHECK(suspended == 1);
    NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    vault_list.answer = ATREST_OK;
    the_time += 60;
    OK(atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    CHECK(memcmp(bytes, marked, sizeof bytes) == 0);

    // A clock that stands still, or is put back, doesn't lengthen it: the uptime goes on.
    vault_list.answer = 77;
    the_uptime += 7201 * 1000;
    OK(atrest_disk_service_maintain(service));
    NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    vault_list.answer = ATREST_OK;
    the_uptime += 60 * 1000;
    OK(atrest_disk_read_at(disk, 0, bytes, sizeof bytes));

    // A refusal isn't an outage, from any callback and in any form.
    struct {
        atrest_status *says, what;
    } refusals[] = {{&vault_list.answer, ATREST_ERR_ACCESS_DENIED}, {&key_service.describe, ATREST_ERR_KEY_DISABLED},
                    {&key_service.describe, ATREST_ERR_KEY_EXPIRED},  {&key_service.unwrap, ATREST_ERR_ACCESS_DENIED},
                    {&key_service.unwrap, ATREST_ERR_NO_SUCH_KEY}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        *refusals[i].says = refusals[i].what;
        the_time += 900;
        OK(atrest_disk_service_maintain(service));
        NO_BYTES(ATREST_ERR_DISK_SUSPENDED, atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
        *refusals[i].says = ATREST_OK;
        the_time += 60;
        OK(atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    }
    atrest_disk_free(disk);
}

static void versions(void)
{
    uint64_t rewrapped = 77;
#define ROTATE atrest_disk_service_rotate_set(service, "s", NULL, NULL, &rewrapped)
    key_service.latest = 2;
    OK(ROTATE);
    CHECK(rewrapped == 1 && strcmp(described_set("s").active_key, KEY("2")) == 0);
    // A vault that takes a version wraps under it, even if it isn't the latest. A vault that can't take one is refused.
    key_service.latest = 3;
    key_service.ignores_version = 1;
    atrest_new_disk disk = new_disk("b", "s");
    OK(atrest_disk_service_rotate_set(service, "s", NULL, NULL, NULL));
    key_service.latest = 4;
    IS(ATREST_ERR_VAULT, atrest_disk_service_create_disk(service, &disk));
    key_service.ignores_version = 0;
    OK(atrest_disk_service_create_disk(service, &disk));
    CHECK(strcmp(described_set("s").active_key, KEY("3")) == 0);
    key_service.wrap = 77;
    IS(ATREST_ERR_CALLBACK_FAILED, ROTATE);
    CHECK(rewrapped == 1 && !described_set("s").rotation_error[0]);
    // The key is tried before anything is put under it. A later failure is noted, and must be cleared.
    key_service.wraps_left = 1;
    IS(ATREST_ERR_CALLBACK_FAILED, ROTATE);
    CHECK(rewrapped == 1 && described_set("s").rotation_error[0]);
    FORBIDDEN("32", ROTATE);
    CHECK(described_set("s").previous_keys == 1);
    key_service.wrap = ATREST_OK;
    atrest_set_report report = ATREST_SET_REPORT_INIT;
    OK(atrest_disk_service_report_set(service, "s", &report));
    CHECK(report.finished == 0 && report.done == 0 && report.total == 2);
    atrest_report of_disk = ATREST_REPORT_INIT;
    OK(atrest_disk_service_report(service, ATREST_RESOURCE_DISK, "a", &of_disk));
    CHECK(of_disk.status == ATREST_PROTECTION_ROTATING);
    OK(atrest_disk_service_clear_rotation_error(service, "s"));
    OK(ROTATE);
    CHECK(rewrapped == 2 && described_set("s").previous_keys == 0);
}

// Threads that share a disk, while its key is rotated and it is copied.
static volatile int failures;

static void *work(void *argument)
{
    atrest_disk *disk = (atrest_disk *)argument;
    unsigned char sectors[512], back[512];
    for (unsigned round = 0; round < 300; round++) {
        uint64_t offset = (round % 32) * 1024;
        memset(sectors, (int)round & 255, sizeof sectors);
        if (atrest_disk_write_at(disk, 32768 + offset, sectors, 512) != ATREST_OK
            || atrest_disk_read_at(disk, 32768 + offset, back, 512) != ATREST_OK
            || atrest_disk_read_at(disk, 0, back, 512) != ATREST_OK || back[0] != 0xa5)
            failures++;
    }
    return NULL;
}

static void threads(void)
{
    atrest_disk *disk;
    pthread_t thread[3];
    atrest_new_snapshot snapshot = ATREST_NEW_SNAPSHOT_INIT;
    int calls = 0;
    OK(atrest_disk_service_open_disk(service, "a", &disk));
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&thread[i], NULL, work, disk) == 0);
    for (int i = 0; i < 4; i++) {
        key_service.latest++;
        OK(atrest_disk_service_rotate_set(service, "s", count, &calls, NULL));
        OK(atrest_disk_service_maintain(service));
    }
    snapshot.name = "busy";
    snapshot.disk = "a";
    OK(atrest_disk_service_create_snapshot(service, &snapshot, count, &calls));
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    CHECK(failures == 0 && calls > 8);

    // The handles are freed before the objects that use them. Each given object is released once, with its last user.
    atrest_clock_free(the_clock);
    atrest_vault_directory_free(vaults);
    atrest_disk_backend_free(backend);
    atrest_disk_service_free(service);
    atrest_vault_free(platform);
    CHECK(pool.released == 0 && vault_list.released == 0 && clock_released == 0);
    OK(atrest_disk_read_at(disk, 0, bytes, sizeof bytes));
    atrest_disk_free(disk);
    CHECK(pool.released == 1 && vault_list.released == 1 && clock_released == 1 && pool.count == 0);
    int before = key_service.released;
    atrest_vault_free(contoso);
    CHECK(key_service.released == before + 1);
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    make_all();
    directory_that_lies();
    backend_that_lies();
    growth_and_orphans();
    outage_and_revocation();
    versions();
    threads();
    printf("%d checks passed\n", passed);
    return 0;
}
