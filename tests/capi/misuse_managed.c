// Use and misuse of the parts of a service of managed disks, of the service, and of its sets.
#include "misuse_managed.h"

static void clocks_and_handles(void)
{
    atrest_clock_callbacks callbacks = ATREST_CLOCK_CALLBACKS_INIT;
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault *other, *identity;
    atrest_device *device, *again;
    uint64_t now = 77;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_manual(1, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_now(NULL, &now));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_now(the_clock, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_set(NULL, 1));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_advance(NULL, 1));
    NO_HANDLE(atrest_clock, ATREST_ERR_NULL_ARGUMENT, atrest_clock_from_callbacks(NULL, &out));
    NO_HANDLE(atrest_clock, ATREST_ERR_NULL_ARGUMENT, atrest_clock_from_callbacks(&callbacks, &out));
    callbacks.struct_size++;
    NO_HANDLE(atrest_clock, ATREST_ERR_STRUCT_SIZE, atrest_clock_from_callbacks(&callbacks, &out));
    CHECK(now == 77);
    OK(atrest_clock_advance(the_clock, UINT64_MAX));
    OK(atrest_clock_advance(the_clock, UINT64_MAX));
    OK(atrest_clock_now(the_clock, &now));
    CHECK(now == UINT64_MAX);
    OK(atrest_clock_set(the_clock, 1800000000));

    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_clone(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_clone(contoso, NULL));
    NO_HANDLE(atrest_vault, ATREST_ERR_INVALID_HANDLE, atrest_vault_clone(PASSED_AS(atrest_vault, the_clock), &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_with_clock(contoso, NULL, &out));
    NO_HANDLE(atrest_vault, ATREST_ERR_NULL_ARGUMENT, atrest_vault_with_clock(NULL, the_clock, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_with_clock(contoso, the_clock, NULL));
    OK(atrest_vault_create_file(in_folder("cloned"), &unlock, &other));
    OK(atrest_vault_as_identity(other, "set-1", &identity));
    NO_HANDLE(atrest_vault, ATREST_ERR_UNSUPPORTED, atrest_vault_with_clock(identity, the_clock, &out));
    atrest_vault_free(identity);
    OK(atrest_vault_clone(other, &identity));
    atrest_vault_free(other);
    OK(atrest_vault_create_key(identity, "disks", NULL, 0));
    atrest_vault_free(identity);

    NO_HANDLE(atrest_device, ATREST_ERR_NULL_ARGUMENT, atrest_device_clone(NULL, &out));
    OK(atrest_device_memory(512, &device));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_device_clone(device, NULL));
    OK(atrest_device_clone(device, &again));
    atrest_device_free(device);
    NO_HANDLE(atrest_device, ATREST_ERR_INVALID_HANDLE, atrest_device_clone(device, &out));
    atrest_device_free(again);
}

static void directories(void)
{
    atrest_vault *identity;
    int calls = 0;
    char names[200] = "";
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_new(NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_add_file(NULL, contoso));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_add_file(vaults, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_vault_directory_add_file(PASSED_AS(atrest_vault_directory, contoso), contoso));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_vault_directory_add_file(vaults, PASSED_AS(atrest_vault, vaults)));
    OK(atrest_vault_as_identity(contoso, "set-1", &identity));
    IS(ATREST_ERR_UNSUPPORTED, atrest_vault_directory_add_file(vaults, identity));
    OK(atrest_vault_directory_add_file(vaults, contoso));
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_vault_directory_add_file(vaults, contoso));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_ids(vaults, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_ids(NULL, stop, &calls));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_vault_directory_ids(vaults, stop, &calls));
    CHECK(calls == 1);
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_vault_directory_remove(vaults, NULL));
    IS(ATREST_ERR_NOT_UTF8, atrest_vault_directory_remove(vaults, BAD_UTF8));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_vault_directory_remove(vaults, "https://nobody"));
    OK(atrest_vault_directory_remove(vaults, CONTOSO));
    OK(atrest_vault_directory_ids(vaults, add_name, names));
    CHECK(names[0] == 0);
#define DESCRIBED(directory, vault, region, tenant, kept)                                            \
    atrest_vault_directory_add(directory, vault, region, tenant, kept, 1)
    IS(ATREST_ERR_NULL_ARGUMENT, DESCRIBED(NULL, identity, "north", "contoso", 1));
    IS(ATREST_ERR_NULL_ARGUMENT, DESCRIBED(vaults, NULL, "north", "contoso", 1));
    IS(ATREST_ERR_NULL_ARGUMENT, DESCRIBED(vaults, identity, NULL, "contoso", 1));
    IS(ATREST_ERR_NOT_UTF8, DESCRIBED(vaults, identity, "north", BAD_UTF8, 1));
    IS(ATREST_ERR_INVALID_OPTION, DESCRIBED(vaults, identity, "north", "contoso", 2));
    IS(ATREST_ERR_INVALID_HANDLE, DESCRIBED(vaults, PASSED_AS(atrest_vault, vaults), "north", "contoso", 1));
    OK(DESCRIBED(vaults, identity, "north", "contoso", 1));
    IS(ATREST_ERR_RESOURCE_EXISTS, DESCRIBED(vaults, identity, "north", "contoso", 1));
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_vault_directory_add_file(vaults, contoso));
    OK(atrest_vault_directory_remove(vaults, CONTOSO));
    atrest_vault_free(identity);
#undef DESCRIBED
    OK(atrest_vault_directory_add_file(vaults, contoso));
    OK(atrest_vault_directory_ids(vaults, add_name, names));
    CHECK(strcmp(names, CONTOSO ";") == 0);
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_folder(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_folder(folder, NULL));
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_from_url(NULL, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_backend_from_url("file:/tmp", NULL));
    const char *const places[] = {"", "/tmp", "file", "gopher://secret@host/", "file://secret/tmp", "file:/tmp?secret"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        NO_HANDLE(atrest_disk_backend, ATREST_ERR_INVALID_OPTION, atrest_disk_backend_from_url(places[i], &out));
        CHECK(strstr(atrest_last_error_message(), "secret") == NULL);
    }
    NO_HANDLE(atrest_disk_backend, ATREST_ERR_NOT_FOUND, atrest_disk_backend_from_url("file:/no/such/folder", &out));
    char url[4200];
    atrest_disk_backend *place;
    snprintf(url, sizeof url, "file:%s", folder);
    OK(atrest_disk_backend_from_url(url, &place));
    atrest_disk_backend_free(place);
}

static void services(void)
{
    atrest_disk_service_options options = setup(), bad;
    char path[300];
    snprintf(path, sizeof path, "%s/store", folder);
#define OPEN(options) atrest_disk_service_open(path, options, &out)
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NULL_ARGUMENT, OPEN(NULL));
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_open(NULL, &options, &out));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_open(path, &options, NULL));
    bad = options;
    bad.struct_size--;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_STRUCT_SIZE, OPEN(&bad));
    bad = options;
    bad.backend = NULL;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NULL_ARGUMENT, OPEN(&bad));
    bad = options;
    bad.platform = NULL;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NULL_ARGUMENT, OPEN(&bad));
    bad = options;
    bad.platform_key = NULL;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NULL_ARGUMENT, OPEN(&bad));
    bad = options;
    bad.platform_key = BAD_UTF8;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NOT_UTF8, OPEN(&bad));
    bad = options;
    bad.backend = PASSED_AS(atrest_disk_backend, vaults);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_HANDLE, OPEN(&bad));
    bad = options;
    bad.vaults = PASSED_AS(atrest_vault_directory, backend);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_HANDLE, OPEN(&bad));
    bad = options;
    bad.platform = PASSED_AS(atrest_vault, the_clock);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_HANDLE, OPEN(&bad));
    bad = options;
    bad.clock = PASSED_AS(atrest_clock, contoso);
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_HANDLE, OPEN(&bad));
    bad = options;
    bad.discard = 2;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_BAD_ENUM, OPEN(&bad));
    bad = options;
    bad.written_map = 2;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_BAD_ENUM, OPEN(&bad));
    NO_HANDLE(atrest_disk_service, ATREST_ERR_NOT_FOUND, atrest_disk_service_open(in_folder("none/store"), &options, &out));
    CHECK(fopen(path, "r") == NULL);

    // Without customers, and by the clock of the system.
    bad = options;
    bad.vaults = NULL;
    bad.clock = NULL;
    OK(atrest_disk_service_open(path, &bad, &service));
    atrest_new_set set = new_set("s");
    IS(ATREST_ERR_VAULT, atrest_disk_service_create_set(service, &set));
    atrest_disk_service_free(service);
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_service_maintain(service));

    bad = options;
    bad.interval_seconds = 3600;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_OPTION, OPEN(&bad));
    bad.grace_seconds = UINT64_MAX;
    NO_HANDLE(atrest_disk_service, ATREST_ERR_INVALID_OPTION, OPEN(&bad));

    OK(atrest_disk_service_open(path, &options, &service));
    NO_HANDLE(atrest_disk_service, ATREST_ERR_BUSY, OPEN(&options));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_maintain(NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_service_maintain(PASSED_AS(atrest_disk_service, contoso)));
    OK(atrest_disk_service_maintain(service));
}

static void sets(void)
{
    atrest_new_set set = new_set("s"), bad;
    atrest_set_info info = ATREST_SET_INFO_INIT;
    atrest_set_report report = ATREST_SET_REPORT_INIT;
    int calls = 0;
    char names[200] = "", two_names[260];
#define CREATE_SET(member, value) (bad = set, bad.member = value, atrest_disk_service_create_set(service, &bad))
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_set(NULL, &set));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_create_set(service, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, CREATE_SET(struct_size, 8));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE_SET(name, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE_SET(region, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE_SET(subscription, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE_SET(tenant, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, CREATE_SET(key_url, NULL));
    IS(ATREST_ERR_NOT_UTF8, CREATE_SET(name, BAD_UTF8));
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(name, "two words"));
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(name, ""));
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(region, "../north"));
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(subscription, ".."));
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(key_url, "disks"));
    IS(ATREST_ERR_BAD_ENUM, CREATE_SET(encryption_type, 4));
    IS(ATREST_ERR_BAD_ENUM, CREATE_SET(auto_rotation, 2));
    IS(ATREST_ERR_VAULT, CREATE_SET(key_url, "https://nobody/keys/disks/1"));
    FORBIDDEN("20", CREATE_SET(encryption_type, ATREST_PLATFORM_KEY));
    FORBIDDEN("18", CREATE_SET(region, "south"));
    FORBIDDEN("43", CREATE_SET(tenant, "fabrikam"));
    FORBIDDEN("16", CREATE_SET(key_url, "https://unprotected/keys/disks/1"));
    FORBIDDEN("18", CREATE_SET(key_url, "https://nowhere/keys/disks/1"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_encryption_set(service, "s", &info));
    CHECK(info.created == 0 && info.identity[0] == 0);
    OK(atrest_disk_service_create_set(service, &set));
    IS(ATREST_ERR_RESOURCE_EXISTS, atrest_disk_service_create_set(service, &set));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_set(service, "s", NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_set(service, NULL, &info));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_set(NULL, "s", &info));
    info.struct_size++;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_disk_service_encryption_set(service, "s", &info));
    CHECK(info.created == 0);
    info = described_set("s");
    CHECK(info.encryption_type == ATREST_CUSTOMER_KEY && info.auto_rotation == 0 && info.created == 1800000000);
    CHECK(info.last_key_rotation_timestamp == 0 && info.previous_keys == 0 && info.rotation_error[0] == 0);
    CHECK(strcmp(info.active_key, KEY("1")) == 0 && strncmp(info.identity, "des-s-", 6) == 0);

#define SET_JSON(cap) atrest_disk_service_encryption_set_json(service, "s", TEXT, cap, &len)
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, SET_JSON(10));
    size_t needed = len;
    IS(ATREST_ERR_BUFFER_TOO_SHORT, atrest_disk_service_encryption_set_json(service, "s", NULL, 0, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, SET_JSON(needed));
    CHECK(len == needed);
    OK(SET_JSON(needed + 1));
    CHECK(len == needed && strlen(TEXT) == needed && strstr(TEXT, "\"name\": \"s\"") != NULL);
    CHECK(strstr(TEXT, info.identity) && strstr(TEXT, "\"encryption_type\": \"customer-key\""));
    NO_BYTES(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_encryption_set_json(service, "t", TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_set_json(service, NULL, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_set_json(service, "s", NULL, 1, &len));

    // The longest name: its identity has room.
    memset(two_names, 'x', 127);
    two_names[127] = 0;
    OK(CREATE_SET(name, two_names));
    info = described_set(two_names);
    CHECK(strlen(info.identity) == 4 + 127 + 1 + 36);
    OK(atrest_disk_service_delete_set(service, two_names));
    strcat(two_names, "x");
    IS(ATREST_ERR_INVALID_NAME, CREATE_SET(name, two_names));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_encryption_sets(service, NULL, NULL));
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_disk_service_encryption_sets(service, stop, &calls));
    OK(atrest_disk_service_encryption_sets(service, add_name, names));
    CHECK(calls == 1 && strcmp(names, "s;") == 0);
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_members(service, "t", add_member, names));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_members(service, "s", NULL, names));

    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_set_auto_rotation(service, "t", 1));
    IS(ATREST_ERR_BAD_ENUM, atrest_disk_service_set_auto_rotation(service, "s", 2));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_set_auto_rotation(service, NULL, 1));
    OK(atrest_disk_service_set_auto_rotation(service, "s", 1));
    CHECK(described_set("s").auto_rotation == 1);
    OK(atrest_disk_service_set_auto_rotation(service, "s", 0));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_clear_rotation_error(service, "t"));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_move_set_to_tenant(service, "t", "fabrikam"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_move_set_to_tenant(service, "s", NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_delete_set(service, "t"));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_delete_set(service, NULL));
    IS(ATREST_ERR_NO_SUCH_RESOURCE, atrest_disk_service_report_set(service, "t", &report));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_report_set(service, "s", NULL));
    OK(atrest_disk_service_report_set(service, "s", &report));
    CHECK(report.finished == 1 && report.done == 0 && report.total == 0);
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_disk_service_report_set_json(service, "s", TEXT, 3, &len));
    OK(atrest_disk_service_report_set_json(service, "s", TEXT, sizeof bytes, &len));
    CHECK(strstr(TEXT, "\"waiting\": []") != NULL);
    OK(atrest_disk_service_delete_set(service, "s"));
}

static atrest_status count_rebuilt(void *user, const atrest_rebuilt *rebuilt)
{
    int *calls = (int *)user;
    CHECK(rebuilt->struct_size == sizeof *rebuilt && rebuilt->name != NULL);
    if (rebuilt->outcome == ATREST_REBUILT_UNPROVEN)
        CHECK(rebuilt->kind == 0 && strcmp(rebuilt->region, "north") == 0 && strlen(rebuilt->reason) > 10);
    else
        CHECK(rebuilt->kind == ATREST_RESOURCE_DISK && rebuilt->region == NULL && rebuilt->reason == NULL);
    calls[rebuilt->outcome]++;
    return ATREST_OK;
}

static atrest_status stop_rebuilt(void *user, const atrest_rebuilt *rebuilt)
{
    (void)rebuilt;
    ++*(int *)user;
    return 77;
}

static atrest_status count_defects(void *user, const char *defect)
{
    CHECK(strlen(defect) > 10);
    ++*(int *)user;
    return ATREST_OK;
}

static void care_of_a_store(void)
{
    atrest_store_check check = ATREST_STORE_CHECK_INIT, bad_check = ATREST_STORE_CHECK_INIT;
    atrest_disk_service_options options = setup(), bad_options = options;
    atrest_rebuild_sources from = ATREST_REBUILD_SOURCES_INIT, bad;
    atrest_resource_info info = ATREST_RESOURCE_INFO_INIT;
    atrest_new_disk disk = ATREST_NEW_DISK_INIT;
    char store[300], backup[300], rebuilt[300];
    int calls = 0, outcomes[5] = {0};
    uint64_t changes;
    FILE *file;
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(backup, sizeof backup, "%s/backup", folder);
    snprintf(rebuilt, sizeof rebuilt, "%s/rebuilt", folder);
    disk.name = "d";
    disk.region = "north";
    disk.subscription = "one";
    disk.size = 65536;
    OK(atrest_disk_service_create_disk(service, &disk));
    OK(atrest_disk_service_resource(service, ATREST_RESOURCE_DISK, "d", &info));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_backup(NULL, backup));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_backup(service, NULL));
    IS(ATREST_ERR_INVALID_HANDLE, atrest_disk_service_backup(PASSED_AS(atrest_disk_service, contoso), backup));
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_disk_service_backup(service, store));
    IS(ATREST_ERR_NOT_FOUND, atrest_disk_service_backup(service, in_folder("none/backup")));
    OK(atrest_disk_service_backup(service, backup));
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_disk_service_backup(service, backup));

    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_check(NULL, NULL, NULL, &check));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_disk_service_check(service, NULL, NULL, NULL));
    bad_check.struct_size = 3;
    IS(ATREST_ERR_STRUCT_SIZE, atrest_disk_service_check(service, NULL, NULL, &bad_check));
    OK(atrest_disk_service_check(service, count_defects, &calls, &check));
    CHECK(calls == 0 && check.defects == 0 && check.resources == 1 && check.sets == 0 && check.changes > 2);
    changes = check.changes;
    IS(ATREST_ERR_BUSY, atrest_store_check_of_file(store, NULL, NULL, &check));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_store_check_of_file(NULL, NULL, NULL, &check));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_store_check_of_file(backup, NULL, NULL, NULL));
    IS(ATREST_ERR_STRUCT_SIZE, atrest_store_check_of_file(backup, NULL, NULL, &bad_check));
    IS(ATREST_ERR_NOT_FOUND, atrest_store_check_of_file(in_folder("none"), NULL, NULL, &check));
    OK(atrest_store_check_of_file(backup, NULL, NULL, &check));
    CHECK(check.defects == 0 && check.changes == changes && check.resources == 1);

    const char *ids[] = {info.id, "no uuid"}, *regions[] = {"north", "north"}, *stores[] = {backup};
    from.ids = ids;
    from.regions = regions;
    from.ids_count = from.regions_count = 2;
    from.stores = stores;
    from.stores_count = 1;
    bad = from;
    bad.regions_count = 1;
#define REBUILD(sources) atrest_store_rebuild(rebuilt, &options, sources, count_rebuilt, outcomes)
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_store_rebuild(NULL, &options, &from, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_store_rebuild(rebuilt, NULL, &from, NULL, NULL));
    IS(ATREST_ERR_NULL_ARGUMENT, REBUILD(NULL));
    bad_options.platform = NULL;
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_store_rebuild(rebuilt, &bad_options, &from, NULL, NULL));
    IS(ATREST_ERR_INVALID_OPTION, REBUILD(&bad));
    bad = from;
    bad.struct_size = 5;
    IS(ATREST_ERR_STRUCT_SIZE, REBUILD(&bad));
    bad = from;
    bad.ids = NULL;
    IS(ATREST_ERR_NULL_ARGUMENT, REBUILD(&bad));
    ids[1] = BAD_UTF8;
    IS(ATREST_ERR_NOT_UTF8, REBUILD(&from));
    ids[1] = NULL;
    IS(ATREST_ERR_NULL_ARGUMENT, REBUILD(&from));
    ids[1] = "no uuid";
    IS(ATREST_ERR_ALREADY_EXISTS, atrest_store_rebuild(backup, &options, &from, NULL, NULL));
    stores[0] = store;
    IS(ATREST_ERR_BUSY, REBUILD(&from));
    stores[0] = backup;
    CHECK(fopen(rebuilt, "r") == NULL);
    OK(REBUILD(&from));
    CHECK(outcomes[ATREST_REBUILT_RESTORED] == 1 && outcomes[ATREST_REBUILT_UNPROVEN] == 1);
    OK(atrest_store_check_of_file(rebuilt, NULL, NULL, &check));
    CHECK(check.defects == 0 && check.changes > changes && check.resources == 1);
    remove(rebuilt);
    // The store is made, for every answer of a callback about the list.
    calls = 0;
    IS(ATREST_ERR_CALLBACK_FAILED, atrest_store_rebuild(rebuilt, &options, &from, stop_rebuilt, &calls));
    OK(atrest_store_check_of_file(rebuilt, NULL, NULL, &check));
    CHECK(calls == 1 && check.resources == 1);

    file = fopen(rebuilt, "r+");
    CHECK(file != NULL && fwrite("redc", 1, 4, file) == 4 && fclose(file) == 0);
    calls = 0;
    OK(atrest_store_check_of_file(rebuilt, count_defects, &calls, &check));
    CHECK(calls > 0 && check.defects == (uint64_t)calls && check.resources == 1);
    OK(atrest_disk_service_delete(service, ATREST_RESOURCE_DISK, "d"));
}

static void capability_table(void)
{
    size_t whole;
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_capability_table_json(4, 0, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_capability_table_json(0, 1, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BAD_ENUM, atrest_capability_table_text(1, 2, TEXT, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_NULL_ARGUMENT, atrest_capability_table_text(1, 0, NULL, sizeof bytes, &len));
    NO_BYTES(ATREST_ERR_BUFFER_TOO_SHORT, atrest_capability_table_json(0, 0, TEXT, 100, &len));
    whole = len;
    OK(atrest_capability_table_json(ATREST_PLATFORM_KEY, 0, TEXT, sizeof bytes, &len));
    CHECK(len < whole / 3 && strstr(TEXT, "\"sse_pmk\"") && !strstr(TEXT, "\"guest\""));
    OK(atrest_capability_table_text(ATREST_PLATFORM_KEY, 1, TEXT, sizeof bytes, &len));
    CHECK(strstr(TEXT, "sse_pmk") && strstr(TEXT, "guest") && TEXT[len - 1] == '\n' && TEXT[len] == 0);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    clocks_and_handles();
    directories();
    add_vault("unprotected", "https://unprotected", "north", 0);
    add_vault("nowhere", "https://nowhere", NULL, 1);
    services();
    sets();
    care_of_a_store();
    capability_table();
    atrest_disk_service_free(service);
    atrest_disk_backend_free(backend);
    atrest_vault_directory_free(vaults);
    atrest_vault_free(platform);
    atrest_vault_free(contoso);
    atrest_clock_free(the_clock);
    atrest_clock_free(NULL);
    atrest_vault_directory_free(NULL);
    atrest_disk_backend_free(NULL);
    atrest_disk_service_free(NULL);
    atrest_disk_free(NULL);
    printf("%d checks passed\n", passed);
    return 0;
}
