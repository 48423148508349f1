// Takes a disk of Azure Disk Encryption over: it opens by the passphrase in an Azure key vault, and from then on by a vault of
// atrest. Needs a library with the feature `ade`.
//
//     cc ade_take_over.c -latrest -o ade_take_over
//     ./ade_take_over /dev/sdc https://NAME.vault.azure.net/secrets/SECRET/VERSION azurekv://NAME.vault.azure.net FOLDER
//
// The login at Azure is that of the environment (AZURE_TENANT_ID, ...). Where the third argument is a file, the passphrase's
// secret is read from it instead, as `az keyvault secret show --query value` has it.
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

// A client of the program's own: here, of a file.
static atrest_status get(void *user, const char *name, atrest_ade_secret *secret)
{
    (void)name;
    FILE *file = fopen((const char *)user, "rb");
    if (file == NULL)
        return ATREST_ERR_NO_SUCH_KEY;
    secret->value_len = fread(secret->value, 1, secret->value_cap, file);
    fclose(file);
    if (secret->version[0] == 0)
        strcpy(secret->version, "1");
    return ATREST_OK; // without tags: nothing wraps the passphrase
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s DISK SECRET-URL azurekv://VAULT|FILE FOLDER\n", argv[0]);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    const char *const source = argv[3];
    atrest_ade_vault *passphrases;
    if (strncmp(source, "azurekv:", 8) == 0) {
        check(atrest_ade_vault_open_url(source, NULL, &passphrases), "opening the key vault");
    } else {
        // The vault's name is the front of the secret's URL.
        char id[512];
        const char *end = strstr(argv[2], "/secrets/");
        snprintf(id, sizeof id, "%.*s", end == NULL ? 0 : (int)(end - argv[2]), argv[2]);
        atrest_ade_vault_callbacks callbacks = ATREST_ADE_VAULT_CALLBACKS_INIT;
        callbacks.user = argv[3];
        callbacks.id = id;
        callbacks.get = get;
        check(atrest_ade_vault_from_callbacks(&callbacks, &passphrases), "making the vault of callbacks");
    }

    // The vault that opens the disk from now on. It may be any: atrest_vault_open_url.
    char path[512];
    snprintf(path, sizeof path, "%s/keys.vault", argv[4]);
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = "correct horse battery staple";
    unlock.passphrase_len = strlen(unlock.passphrase);
    atrest_vault *keys;
    check(atrest_vault_open_or_create_file(path, &unlock, NULL, &keys), "opening the vault");
    const atrest_status made = atrest_vault_create_key(keys, "disks", NULL, 0);
    check(made == ATREST_ERR_KEY_EXISTS ? ATREST_OK : made, "making a key");

    atrest_ade_disk disk = ATREST_ADE_DISK_INIT;
    check(atrest_device_open_file(argv[1], 0, &disk.device), "opening the disk");
    disk.secret_url = argv[2];
    const atrest_ade_vault *asked[] = {passphrases};
    atrest_ade_taken_over done = ATREST_ADE_TAKEN_OVER_INIT;
    atrest_volume *volume;
    check(atrest_ade_take_over(&disk, asked, 1, keys, "disks", 0, NULL, &done, &volume), "taking over");
    for (unsigned id = 0; id < 32; id++) {
        if (done.removed_keyslots & (uint32_t)1 << id)
            printf("removed keyslot %u\n", id);
        if (done.left_keyslots & (uint32_t)1 << id)
            printf("left keyslot %u: whoever has its passphrase opens the disk\n", id);
    }
    uint64_t size;
    check(atrest_volume_size(volume, &size), "asking for the size");
    printf("the vault opens the disk, of %llu bytes\n", (unsigned long long)size);

    atrest_volume_free(volume);
    atrest_device_free(disk.device);
    atrest_ade_vault_free(passphrases);
    atrest_vault_free(keys);
    return 0;
}
