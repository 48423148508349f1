// An encrypted volume: made, written, closed, opened again by its vault, read.
//
//     cc volume.c -latrest -o volume && ./volume FOLDER
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

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    char keys[512], disk[512], sectors[4096] = "secret plans", url[ATREST_KEY_URL_SIZE];
    snprintf(keys, sizeof keys, "%s/keys.vault", argc > 1 ? argv[1] : ".");
    snprintf(disk, sizeof disk, "%s/disk.img", argc > 1 ? argv[1] : ".");

    // A vault with a key that wraps the keys of disks.
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = "correct horse battery staple";
    unlock.passphrase_len = strlen(unlock.passphrase);
    atrest_vault *vault;
    check(atrest_vault_create_file(keys, &unlock, &vault), "making the vault");
    check(atrest_vault_create_key(vault, "disks", url, sizeof url), "making a key");

    // A new volume. Its data key is generated here, wrapped by the vault, and stored in the volume's header.
    atrest_device *device;
    atrest_volume *volume;
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_VAULT;
    protector.vault = vault;
    protector.key_name = "disks";
    check(atrest_device_create_file(disk, 32 << 20, &device), "making the disk");
    check(atrest_volume_format(device, &protector, NULL, &volume), "formatting");
    atrest_device_free(device);
    check(atrest_volume_write_at(volume, 0, sectors, sizeof sectors), "writing");
    check(atrest_volume_sync(volume), "syncing");
    atrest_volume_free(volume);
    printf("wrote a volume whose key is wrapped by %s\n", url);

    // Later: the vault opens it.
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    check(atrest_device_open_file(disk, 0, &device), "opening the disk");
    check(atrest_volume_open(device, &credential, NULL, &volume), "opening the volume");
    atrest_device_free(device);
    memset(sectors, 0, sizeof sectors);
    check(atrest_volume_read_at(volume, 0, sectors, sizeof sectors), "reading");
    printf("read \"%s\"\n", sectors);

    // A new version of the vault's key takes over; no sector is touched.
    check(atrest_vault_rotate_key(vault, "disks", NULL, 0), "rotating the key");
    check(atrest_volume_rotate_kek(volume, vault, url, sizeof url), "wrapping anew");
    printf("now wrapped by %s\n", url);

    atrest_volume_free(volume);
    atrest_vault_free(vault);
    return strcmp(sectors, "secret plans") != 0;
}
