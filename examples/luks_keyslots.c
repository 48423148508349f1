// The life of a volume that passphrases open: made, opened, given another passphrase and a changed one, its header backed
// up, erased and restored.
//
//     cc luks_keyslots.c -latrest -o luks_keyslots && ./luks_keyslots FOLDER
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

static atrest_protector protector(const char *passphrase)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = passphrase;
    protector.passphrase_len = strlen(passphrase);
    return protector;
}

static atrest_status open_volume(atrest_device *device, const char *passphrase, atrest_volume **volume)
{
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
    credential.passphrase = passphrase;
    credential.passphrase_len = strlen(passphrase);
    return atrest_volume_open(device, &credential, NULL, volume);
}

static void try_passphrase(atrest_device *device, const char *passphrase)
{
    atrest_volume *volume = NULL;
    atrest_status status = open_volume(device, passphrase, &volume);
    printf("with \"%s\": %s\n", passphrase, atrest_status_name(status));
    atrest_volume_free(volume);
}

static atrest_status print_keyslot(void *user, const atrest_keyslot_info *keyslot)
{
    (void)user;
    printf("keyslot %u: %s, %u iterations\n", (unsigned)keyslot->id, keyslot->kdf, (unsigned)keyslot->iterations);
    return ATREST_OK;
}

static void print_keyslots(atrest_device *device)
{
    atrest_header *header;
    check(atrest_header_load(device, &header), "reading the header");
    check(atrest_header_keyslots(header, print_keyslot, NULL), "asking for keyslots");
    atrest_header_free(header);
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    char disk[512], sector[512] = "secret plans";
    snprintf(disk, sizeof disk, "%s/keyslots.img", argc > 1 ? argv[1] : ".");

    // COSTS THIS LOW ARE FOR THIS EXAMPLE, whose reader doesn't want to wait. With options.kdf = NULL, Argon2id is measured.
    atrest_kdf cheap = ATREST_KDF_INIT;
    cheap.kind = ATREST_KDF_PBKDF2;
    cheap.iterations = 1000;
    atrest_keyslot_options keyslot = ATREST_KEYSLOT_OPTIONS_INIT;
    keyslot.kdf = &cheap;
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    options.keyslot = &keyslot;
    options.data_offset = 4 << 20;

    atrest_device *device;
    atrest_volume *volume;
    atrest_protector way_in = protector("first");
    check(atrest_device_create_file(disk, 8 << 20, &device), "making the disk");
    check(atrest_volume_format(device, &way_in, &options, &volume), "formatting");
    check(atrest_volume_write_at(volume, 0, sector, sizeof sector), "writing");
    check(atrest_volume_sync(volume), "syncing");

    // A second passphrase, then another in the place of the first.
    uint32_t second, changed;
    way_in = protector("second");
    check(atrest_volume_add_protector(volume, &way_in, &keyslot, &second), "adding a passphrase");
    way_in = protector("third");
    check(atrest_volume_change_keyslot(volume, 0, &way_in, &keyslot, &changed), "changing a passphrase");
    printf("the second passphrase has keyslot %u, the changed one %u\n", (unsigned)second, (unsigned)changed);
    atrest_volume_free(volume);
    print_keyslots(device);
    try_passphrase(device, "first");
    try_passphrase(device, "second");
    try_passphrase(device, "third");

    // A backup, and an erased header, which no passphrase opens any more.
    atrest_header *header;
    uint64_t size;
    size_t backup_len;
    check(atrest_header_load(device, &header), "reading the header");
    check(atrest_header_size(header, &size), "asking for its size");
    unsigned char *backup = (unsigned char *)malloc((size_t)size);
    if (backup == NULL)
        return 1;
    check(atrest_header_backup(header, backup, (size_t)size, &backup_len), "backing up");
    check(atrest_header_erase(header), "erasing");
    atrest_header_free(header);
    try_passphrase(device, "third");

    // The backup brings back what was erased.
    check(atrest_header_restore(device, backup, backup_len), "restoring");
    free(backup);
    check(open_volume(device, "third", &volume), "opening");
    memset(sector, 0, sizeof sector);
    check(atrest_volume_read_at(volume, 0, sector, sizeof sector), "reading");
    printf("read \"%s\"\n", sector);

    check(atrest_volume_remove_keyslot(volume, second), "removing a passphrase");
    atrest_status status = atrest_volume_remove_keyslot(volume, changed);
    printf("removing the last: %s\n", atrest_status_name(status));
    atrest_volume_free(volume);
    atrest_device_free(device);
    return strcmp(sector, "secret plans") != 0 || status != ATREST_ERR_LAST_PROTECTOR;
}
