// A day of a service that offers disks: a customer's key protects some, is rotated, is disabled and comes back; snapshots
// are taken, a disk leaves the customer's key by way of a copy, and another gets a new DEK while it is in use.
//
//     cc day_in_the_life.c -latrest -o day_in_the_life && ./day_in_the_life FOLDER
//
// It ends with 0 if all went as told.
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR 3600
#define SIZE (1 << 20)
#define ALL_OPERATIONS (ATREST_OPERATION_GET | ATREST_OPERATION_WRAP_KEY | ATREST_OPERATION_UNWRAP_KEY)

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, atrest_last_error_message());
    exit(1);
}

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK)
        fail(what);
}

// A call that has to be refused, and says why.
static void refused(atrest_status wanted, atrest_status status, const char *what)
{
    if (status != wanted)
        fail(what);
    printf("  %s: %s\n    %s\n", what, atrest_status_name(status), atrest_last_error_message());
}

static void must(int is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "not so: %s\n", what);
        exit(1);
    }
}

static const char *in(const char *folder, const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

// Makes a vault file with one key, opened by the root key file; it goes by the clock.
static atrest_vault *make_vault(const char *folder, const char *name, atrest_vault_options *options, atrest_clock *clock)
{
    char root[1024];
    snprintf(root, sizeof root, "%s/root.key", folder);
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.key_file = root;
    atrest_vault *made, *vault;
    check(atrest_vault_create_file_with(in(folder, name), &unlock, options, &made), "making a vault");
    check(atrest_vault_with_clock(made, clock, &vault), "giving it the clock");
    atrest_vault_free(made);
    check(atrest_vault_create_key(vault, "disks", NULL, 0), "making its key");
    return vault;
}

static void make_set(atrest_disk_service *service, const char *name, uint32_t encryption_type, const char *key_url)
{
    atrest_new_set set = ATREST_NEW_SET_INIT;
    set.name = name;
    set.region = "north";
    set.subscription = "contoso-production";
    set.tenant = "contoso";
    set.encryption_type = encryption_type;
    set.key_url = key_url;
    set.auto_rotation = 1;
    check(atrest_disk_service_create_set(service, &set), "making a set");
}

static atrest_new_disk new_disk(const char *name, const char *set)
{
    atrest_new_disk disk = ATREST_NEW_DISK_INIT;
    disk.name = name;
    disk.region = "north";
    disk.subscription = "contoso-production";
    disk.set = set;
    return disk;
}

static atrest_set_info set_info(atrest_disk_service *service, const char *set)
{
    atrest_set_info info = ATREST_SET_INFO_INIT;
    check(atrest_disk_service_encryption_set(service, set, &info), "asking for a set");
    return info;
}

static atrest_resource_info resource_info(atrest_disk_service *service, uint32_t kind, const char *name)
{
    atrest_resource_info info = ATREST_RESOURCE_INFO_INIT;
    check(atrest_disk_service_resource(service, kind, name, &info), "asking for a resource");
    return info;
}

// What the disks hold: each page says which it is.
static void write_page(atrest_disk *disk, unsigned page, const char *text)
{
    char sectors[4096];
    memset(sectors, 0, sizeof sectors);
    snprintf(sectors, sizeof sectors, "page %u: %s", page, text);
    check(atrest_disk_write_at(disk, page * 4096u, sectors, sizeof sectors), "writing");
}

static atrest_status read_page(atrest_disk *disk, unsigned page, char text[4096])
{
    return atrest_disk_read_at(disk, page * 4096u, text, 4096);
}

static void holds(atrest_disk *disk, unsigned page, const char *text)
{
    char sectors[4096], wanted[4096];
    check(read_page(disk, page, sectors), "reading");
    snprintf(wanted, sizeof wanted, "page %u: %s", page, text);
    must(strcmp(sectors, wanted) == 0, wanted);
}

static atrest_disk *open_disk(atrest_disk_service *service, const char *name)
{
    atrest_disk *disk;
    check(atrest_disk_service_open_disk(service, name, &disk), "opening a disk");
    return disk;
}

static uint32_t is_suspended(const atrest_disk *disk)
{
    uint32_t suspended;
    check(atrest_disk_is_suspended(disk, &suspended), "asking whether it is suspended");
    return suspended;
}

static atrest_status print_rotated(void *user, const atrest_rotated *rotated)
{
    if (rotated->status != ATREST_OK) {
        printf("  %s: not rotated: %s\n", rotated->set, rotated->message);
        return rotated->status;
    }
    printf("  %s: %u disk under %s\n", rotated->set, (unsigned)rotated->rewrapped, rotated->key_url);
    ++*(int *)user;
    return ATREST_OK;
}

static void copied(void *user, uint64_t done, uint64_t total)
{
    *(int *)user = done == total;
}

static void make_snapshot(atrest_disk_service *service, const char *name, const char *disk, uint32_t incremental)
{
    int whole = 0;
    atrest_new_snapshot snapshot = ATREST_NEW_SNAPSHOT_INIT;
    snapshot.name = name;
    snapshot.disk = disk;
    snapshot.incremental = incremental;
    check(atrest_disk_service_create_snapshot(service, &snapshot, copied, &whole), "making a snapshot");
    must(whole, "the progress of a snapshot ends with all of it");
    must(resource_info(service, ATREST_RESOURCE_SNAPSHOT, name).incremental == incremental, "the kind of snapshot");
}

static void make_copy(atrest_disk_service *service, const char *snapshot, const char *name)
{
    atrest_new_disk copy = new_disk(name, NULL);
    check(atrest_disk_service_create_disk_from(service, ATREST_RESOURCE_SNAPSHOT, snapshot, &copy, NULL, NULL), "copying");
    must(resource_info(service, ATREST_RESOURCE_DISK, name).encryption_type == ATREST_PLATFORM_KEY,
         "the copy is under the platform's key");
}

static atrest_status print_name(void *user, const char *name)
{
    printf("%s%s", *(int *)user ? ", " : "", name);
    ++*(int *)user;
    return ATREST_OK;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    const char *folder = argc > 1 ? argv[1] : ".";
    const char *names[3] = {"web", "payroll", "research"};
    const char *sets[3] = {NULL, "customer", "double"};
    char key_url[ATREST_KEY_URL_SIZE], page[4096];

    printf("06:00  The platform and its customer Contoso have a vault each, with a key.\n");
    atrest_clock *clock;
    check(atrest_clock_manual(1800000000, &clock), "making a clock");
    check(atrest_vault_generate_key_file(in(folder, "root.key")), "making a root key");
    atrest_vault_options options = ATREST_VAULT_OPTIONS_INIT;
    options.id = "https://platform.vault.example";
    atrest_vault *platform = make_vault(folder, "platform.vault", &options, clock);
    options.id = "https://contoso.vault.example";
    options.region = "north";
    options.tenant = "contoso";
    options.purge_protection = 1;
    atrest_vault *contoso = make_vault(folder, "contoso.vault", &options, clock);

    // The service keeps what it needs of these.
    atrest_vault_directory *vaults;
    atrest_disk_backend *backend;
    atrest_disk_service *service;
    check(atrest_vault_directory_new(&vaults), "making a directory");
    check(atrest_vault_directory_add_file(vaults, contoso), "adding the vault");
    check(atrest_disk_backend_folder(folder, &backend), "making a backend");
    atrest_disk_service_options setup = ATREST_DISK_SERVICE_OPTIONS_INIT;
    setup.backend = backend;
    setup.vaults = vaults;
    setup.platform = platform;
    setup.platform_key = "disks";
    setup.clock = clock;
    check(atrest_disk_service_open(in(folder, "store"), &setup, &service), "opening the service");

    printf("07:00  Contoso makes a set of disks under its key, and one under both keys.\n");
    make_set(service, sets[1], ATREST_CUSTOMER_KEY, "https://contoso.vault.example/keys/disks/1");
    make_set(service, sets[2], ATREST_PLATFORM_AND_CUSTOMER_KEYS, "https://contoso.vault.example/keys/disks/1");
    atrest_new_disk disk = new_disk("payroll", "customer");
    disk.size = SIZE;
    refused(ATREST_ERR_ACCESS_DENIED, atrest_disk_service_create_disk(service, &disk), "a disk before access is granted");
    for (int i = 1; i < 3; i++)
        check(atrest_vault_grant(contoso, set_info(service, sets[i]).identity, ALL_OPERATIONS), "granting access");

    printf("08:00  Three disks: under the platform's key, under Contoso's, under both.\n");
    atrest_disk *disks[3];
    for (int i = 0; i < 3; i++) {
        disk = new_disk(names[i], sets[i]);
        disk.size = SIZE;
        disk.sector_size = 4096;
        check(atrest_disk_service_create_disk(service, &disk), "making a disk");
        disks[i] = open_disk(service, names[i]);
        write_page(disks[i], 0, names[i]);
        write_page(disks[i], 255, "the end");
        check(atrest_disk_sync(disks[i]), "syncing");
        must(resource_info(service, ATREST_RESOURCE_DISK, names[i]).encryption_type == (uint32_t)i + 1, "whose key it is");
    }

    printf("09:00  Contoso rotates its key. The disks are in use meanwhile.\n");
    check(atrest_vault_rotate_key(contoso, "disks", key_url, sizeof key_url), "rotating the key");
    int rotated = 0;
    check(atrest_disk_service_auto_rotate(service, NULL, print_rotated, &rotated), "taking the new version up");
    must(rotated == 2, "both sets were rotated");
    for (int i = 1; i < 3; i++) {
        atrest_set_info info = set_info(service, sets[i]);
        must(strcmp(info.active_key, key_url) == 0 && info.previous_keys == 0, "no disk is under the old version");
        must(info.last_key_rotation_timestamp == 1800000000 && !info.rotation_error[0], "the rotation is noted");
    }
    for (int i = 0; i < 3; i++)
        holds(disks[i], 0, names[i]);

    printf("10:00  Contoso disables the key. What was told that it may use it goes on, for less than an hour.\n");
    atrest_version_change change = ATREST_VERSION_CHANGE_INIT;
    change.changes = ATREST_CHANGE_ENABLED;
    check(atrest_vault_set_version(contoso, key_url, &change), "disabling the key");
    holds(disks[1], 0, names[1]);
    check(atrest_clock_advance(clock, HOUR), "waiting");
    printf("11:00  The grace is over. The disk under the platform's key goes on, the others don't.\n");
    check(atrest_disk_service_maintain(service), "asking the vaults");
    holds(disks[0], 0, names[0]);
    for (int i = 1; i < 3; i++) {
        must(is_suspended(disks[i]), "the disk is suspended");
        refused(ATREST_ERR_DISK_SUSPENDED, read_page(disks[i], 0, page), names[i]);
    }
    must(!is_suspended(disks[0]), "the platform's disk isn't");

    check(atrest_clock_advance(clock, HOUR), "waiting");
    printf("12:00  Contoso enables the key. All is there.\n");
    change.enabled = 1;
    check(atrest_vault_set_version(contoso, key_url, &change), "enabling the key");
    for (int i = 0; i < 3; i++) {
        holds(disks[i], 0, names[i]);
        holds(disks[i], 255, "the end");
        must(!is_suspended(disks[i]), "no disk is suspended");
    }

    printf("13:00  Snapshots of payroll: a full one, and incremental ones around a change.\n");
    make_snapshot(service, "full", "payroll", 0);
    make_snapshot(service, "noon", "payroll", 1);
    write_page(disks[1], 255, "a raise for everyone");
    make_snapshot(service, "evening", "payroll", 1);
    write_page(disks[1], 255, "and a bonus");

    printf("14:00  Payroll is to leave Contoso's key: copies of it go under the platform's.\n");
    make_copy(service, "full", "payroll-full");
    make_copy(service, "noon", "payroll-noon");
    make_copy(service, "evening", "payroll-evening");
    const char *copies[3] = {"payroll-full", "payroll-noon", "payroll-evening"};
    for (int i = 0; i < 3; i++) {
        atrest_disk *copy = open_disk(service, copies[i]);
        holds(copy, 0, "payroll");
        holds(copy, 255, i == 2 ? "a raise for everyone" : "the end");
        atrest_disk_free(copy);
    }
    holds(disks[1], 255, "and a bonus");

    // Contoso takes its key away for good. What was copied is out of its reach.
    check(atrest_vault_delete_key(contoso, "disks"), "deleting the key");
    check(atrest_clock_advance(clock, HOUR), "waiting");
    printf("15:00  Contoso has deleted the key.\n");
    check(atrest_disk_service_maintain(service), "asking the vaults");
    refused(ATREST_ERR_DISK_SUSPENDED, atrest_disk_write_at(disks[1], 0, page, sizeof page), "payroll");
    atrest_disk *copy = open_disk(service, "payroll-evening");
    holds(copy, 255, "a raise for everyone");
    atrest_disk_free(copy);
    check(atrest_vault_recover_key(contoso, "disks"), "recovering the key");

    // An archive comes as a plain file, and becomes a disk where it lies; the steps encrypt it.
    FILE *archive = fopen(in(folder, "archive.img"), "wb");
    must(archive != NULL && fseek(archive, SIZE - 1, SEEK_SET) == 0 && fputc(0, archive) == 0 && fclose(archive) == 0,
         "an archive was made");
    atrest_new_disk imported = new_disk("archive", "customer");
    check(atrest_disk_service_import_disk(service, &imported, in(folder, "archive.img")), "importing the archive");
    // Somebody may have seen the DEK of payroll. To wrap it again wouldn't help: it gets a new one, while it is in use.
    check(atrest_disk_service_rekey_disk(service, "payroll"), "ordering a new DEK");
    printf("15:30  Re-encrypted in steps:");
    int steps[2] = {0, 0};
    const char *rewritten[2] = {"archive", "payroll"};
    for (int i = 0; i < 2; i++) {
        atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
        do {
            check(atrest_disk_service_reencrypt_step(service, rewritten[i], SIZE / 2, &progress), "re-encrypting");
            steps[i]++;
        } while (progress.under_way);
        must(progress.done == progress.total, "all of it is done");
        printf("%s %s", i ? "," : "", rewritten[i]);
    }
    printf(".\n");
    must(steps[1] > 1, "payroll took some steps");
    holds(disks[1], 255, "and a bonus");

    printf("16:00  The service starts anew. Its disks: ");
    for (int i = 0; i < 3; i++)
        atrest_disk_free(disks[i]);
    atrest_disk_service_free(service);
    check(atrest_disk_service_open(in(folder, "store"), &setup, &service), "opening the service again");
    int count = 0;
    check(atrest_disk_service_names(service, ATREST_RESOURCE_DISK, print_name, &count), "listing");
    printf(".\n");
    must(count == 7, "there are seven disks");
    for (int i = 0; i < 3; i++) {
        disks[i] = open_disk(service, names[i]);
        holds(disks[i], 0, names[i]);
    }

    // In any order.
    atrest_clock_free(clock);
    atrest_vault_free(platform);
    atrest_disk_service_free(service);
    atrest_disk_backend_free(backend);
    atrest_vault_directory_free(vaults);
    for (int i = 0; i < 3; i++) {
        holds(disks[i], 0, names[i]);
        atrest_disk_free(disks[i]);
    }
    atrest_vault_free(contoso);
    printf("17:00  Nothing is left open.\n");
    return 0;
}
