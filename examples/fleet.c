// Two hosts on one store: a disk moves from the one to the other, and never do both write.
//
//     cc fleet.c -latrest -o fleet && ATREST_FLEET_URL=postgres://disks@db1,db2/disks ./fleet FOLDER
//
// Here both hosts are in one process. In a fleet each is a program on a machine of its own, and they share the store, the vault and
// the disks. The library is built with the feature postgres or etcd. The password is in PGPASSWORD or ETCDCTL_PASSWORD.
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

static atrest_status show(void *user, const atrest_attachment *attachment)
{
    (void)user;
    if (attachment->state == ATREST_ATTACHMENT_PROMISED)
        printf("%s is handed over to %s\n", attachment->name, attachment->promised);
    else
        printf("%s is open on %s", attachment->name, attachment->host);
    return ATREST_OK;
}

// A host as any other, but for its name.
static atrest_disk_service *start(const atrest_fleet_store *store, const char *name, const char *folder, const atrest_vault *vault)
{
    atrest_host_options host = ATREST_HOST_OPTIONS_INIT;
    atrest_disk_service_options options = ATREST_DISK_SERVICE_OPTIONS_INIT;
    atrest_disk_backend *disks;
    atrest_disk_service *service;
    char url[512];
    // Hosts that share devices open them past the page cache.
    snprintf(url, sizeof url, "file:%s?direct", folder);
    check(atrest_disk_backend_from_url(url, &disks), "opening the place of the disks");
    host.name = name;
    host.lease_ms = 60000;
    options.backend = disks;
    options.platform = vault;
    options.platform_key = "disks";
    check(atrest_fleet_store_open_service(store, &host, &options, &service), "opening the service");
    atrest_disk_backend_free(disks);
    return service;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    const char *folder = argc > 1 ? argv[1] : ".", *url = getenv("ATREST_FLEET_URL");
    char path[512], sectors[4096] = "secret plans";
    uint32_t shared;

    atrest_fleet_store *store;
    snprintf(path, sizeof path, "file:%s/fleet.redb", folder);
    check(atrest_fleet_store_from_url(url ? url : path, NULL, &store), "opening the store");
    check(atrest_fleet_store_is_shared(store, &shared), "asking the store");
    if (!shared) {
        printf("the store is a file: one service has it open, and there are no other hosts\n");
        atrest_fleet_store_free(store);
        return 0;
    }

    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    atrest_vault *vault;
    unlock.passphrase = "correct horse battery staple";
    unlock.passphrase_len = strlen(unlock.passphrase);
    snprintf(path, sizeof path, "%s/platform.vault", folder);
    check(atrest_vault_create_file(path, &unlock, &vault), "making the vault");
    check(atrest_vault_create_key(vault, "disks", NULL, 0), "making a key");
    atrest_disk_service *first = start(store, "north-1", folder, vault), *second = start(store, "north-2", folder, vault);

    // A disk, made and written on the first host.
    atrest_new_disk disk = ATREST_NEW_DISK_INIT;
    atrest_disk *open;
    disk.name = "web";
    disk.region = "north";
    disk.subscription = "contoso";
    disk.size = 1 << 20;
    disk.sector_size = 4096;
    check(atrest_disk_service_create_disk(first, &disk), "making a disk");
    check(atrest_disk_service_open_disk(first, "web", &open), "opening it");
    check(atrest_disk_write_at(open, 0, sectors, sizeof sectors), "writing");
    check(atrest_fleet_store_attachments(store, NULL, 1000, show, NULL), "looking at the store");

    // The second one is refused, until the disk is handed over.
    atrest_disk *taken;
    printf("\nnorth-2: %s\n", atrest_status_name(atrest_disk_service_open_disk(second, "web", &taken)));
    check(atrest_disk_service_hand_over(first, "web", "north-2"), "handing it over");
    check(atrest_fleet_store_attachments(store, NULL, 1000, show, NULL), "looking at the store");
    check(atrest_disk_service_open_disk(second, "web", &taken), "opening it there");
    memset(sectors, 0, sizeof sectors);
    check(atrest_disk_read_at(taken, 0, sectors, sizeof sectors), "reading");
    check(atrest_fleet_store_attachments(store, NULL, 1000, show, NULL), "looking at the store");
    printf(", and reads \"%s\"\n", sectors);

    atrest_disk_free(open);
    atrest_disk_free(taken);
    atrest_disk_service_free(first);
    atrest_disk_service_free(second);
    atrest_vault_free(vault);
    atrest_fleet_store_free(store);
    return 0;
}
