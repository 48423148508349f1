// Shared by misuse_managed*.c: a customer's vault, the platform's, and the parts of a service of disks.
#ifndef MISUSE_MANAGED_H
#define MISUSE_MANAGED_H

#include "checks.h"

#define CONTOSO "https://contoso.vault.example"
#define KEY(version) CONTOSO "/keys/disks/" version
#define ALL_OPERATIONS (ATREST_OPERATION_GET | ATREST_OPERATION_WRAP_KEY | ATREST_OPERATION_UNWRAP_KEY)

static atrest_clock *the_clock;
static atrest_vault *contoso, *platform;
static atrest_vault_directory *vaults;
static atrest_disk_backend *backend;
static atrest_disk_service *service;

// The last failure broke the rule of a number. Its text gives the next step.
static inline void rule(const char *number)
{
    CHECK(atrest_last_rule() == strtoul(number, NULL, 10));
    CHECK(strlen(atrest_last_error_message()) > 30);
    // Another failure breaks none.
    IS(ATREST_ERR_NULL_ARGUMENT, atrest_clock_now(NULL, NULL));
    CHECK(atrest_last_rule() == 0);
}

#define FORBIDDEN(number, call)                                                                     \
    do {                                                                                            \
        IS(ATREST_ERR_NOT_ALLOWED, call);                                                           \
        rule(number);                                                                               \
    } while (0)

static inline atrest_vault *make_vault(const char *name, const char *id, const char *region, uint32_t protect)
{
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault_options options = ATREST_VAULT_OPTIONS_INIT;
    atrest_vault *made, *vault;
    options.id = id;
    options.region = region;
    options.tenant = region ? "contoso" : NULL;
    options.purge_protection = protect;
    OK(atrest_vault_create_file_with(in_folder(name), &unlock, &options, &made));
    OK(atrest_vault_with_clock(made, the_clock, &vault));
    atrest_vault_free(made);
    OK(atrest_vault_create_key(vault, "disks", NULL, 0));
    return vault;
}

static inline atrest_disk_service_options setup(void)
{
    atrest_disk_service_options options = ATREST_DISK_SERVICE_OPTIONS_INIT;
    options.backend = backend;
    options.vaults = vaults;
    options.platform = platform;
    options.platform_key = "disks";
    options.clock = the_clock;
    return options;
}

static inline atrest_new_set new_set(const char *name)
{
    atrest_new_set set = ATREST_NEW_SET_INIT;
    set.name = name;
    set.region = "north";
    set.subscription = "one";
    set.tenant = "contoso";
    set.key_url = KEY("1");
    return set;
}

static inline atrest_new_disk new_disk(const char *name, const char *set)
{
    atrest_new_disk disk = ATREST_NEW_DISK_INIT;
    disk.name = name;
    disk.region = "north";
    disk.subscription = "one";
    disk.set = set;
    disk.size = 64 << 10;
    return disk;
}

static inline atrest_new_disk new_copy(const char *name, const char *set)
{
    atrest_new_disk disk = new_disk(name, set);
    disk.size = 0;
    return disk;
}

static inline atrest_resource_info described(uint32_t kind, const char *name)
{
    atrest_resource_info info = ATREST_RESOURCE_INFO_INIT;
    OK(atrest_disk_service_resource(service, kind, name, &info));
    CHECK(info.kind == kind && strlen(info.id) == ATREST_ID_SIZE - 1 && info.created >= 1800000000);
    return info;
}

static inline atrest_set_info described_set(const char *name)
{
    atrest_set_info info = ATREST_SET_INFO_INIT;
    OK(atrest_disk_service_encryption_set(service, name, &info));
    CHECK(info.struct_size == sizeof info);
    return info;
}

static inline void make_set(const char *name)
{
    atrest_new_set set = new_set(name);
    OK(atrest_disk_service_create_set(service, &set));
    OK(atrest_vault_grant(contoso, described_set(name).identity, ALL_OPERATIONS));
}

// A list into a text.
static inline atrest_status add_name(void *user, const char *name)
{
    strcat((char *)user, name);
    strcat((char *)user, ";");
    return ATREST_OK;
}

static inline atrest_status add_member(void *user, uint32_t kind, const char *name)
{
    char line[300];
    snprintf(line, sizeof line, "%u %s", (unsigned)kind, name);
    return add_name(user, line);
}

static inline atrest_status stop(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 4711;
}

static inline atrest_status stop_member(void *user, uint32_t kind, const char *name)
{
    (void)kind;
    return stop(user, name);
}

// Called from several threads at once.
static inline void count(void *user, uint64_t done, uint64_t total)
{
    CHECK(done <= total);
    __atomic_fetch_add((int *)user, 1, __ATOMIC_RELAXED);
}

// Makes all but the service.
static inline void begin(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    OK(atrest_clock_manual(1800000000, &the_clock));
    contoso = make_vault("contoso", CONTOSO, "north", 1);
    platform = make_vault("platform", "https://platform.vault.example", NULL, 0);
    OK(atrest_vault_directory_new(&vaults));
    OK(atrest_disk_backend_folder(folder, &backend));
}

static inline void add_vault(const char *name, const char *id, const char *region, uint32_t protect)
{
    atrest_vault *vault = make_vault(name, id, region, protect);
    OK(atrest_vault_directory_add_file(vaults, vault));
    atrest_vault_free(vault);
}

#endif
