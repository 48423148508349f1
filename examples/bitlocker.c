// A BitLocker volume: made with a password and a recovery password, listed, and opened again by the recovery password.
// Needs a library with the feature `bitlocker`.
//
//     cc bitlocker.c -latrest -o bitlocker && ./bitlocker FOLDER
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

static atrest_status show(void *user, const atrest_keyslot_info *protector)
{
    (void)user;
    printf("protector %u: %s\n", (unsigned)protector->id, protector->kind);
    return ATREST_OK;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    char disk[512], sectors[4096] = "secret plans", recovery[ATREST_RECOVERY_PASSWORD_SIZE];
    snprintf(disk, sizeof disk, "%s/windows.img", argc > 1 ? argv[1] : ".");

    // A new volume, with a password as its first way in.
    atrest_protector password = ATREST_PROTECTOR_INIT;
    password.kind = ATREST_PROTECTOR_PASSPHRASE;
    password.passphrase = "correct horse";
    password.passphrase_len = strlen(password.passphrase);
    atrest_device *device;
    atrest_volume *volume;
    check(atrest_device_create_file(disk, 32 << 20, &device), "making the disk");
    check(atrest_volume_format_bitlocker(device, &password, NULL, &volume), "formatting");

    // The second is for the day when nobody knows the first. A program prints it.
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    uint32_t id;
    check(atrest_recovery_password_generate(recovery, sizeof recovery, NULL), "making a recovery password");
    protector.kind = ATREST_PROTECTOR_RECOVERY_PASSWORD;
    protector.recovery_password = recovery;
    check(atrest_volume_add_protector(volume, &protector, NULL, &id), "adding the recovery password");
    check(atrest_volume_write_at(volume, 1 << 20, sectors, sizeof sectors), "writing");
    check(atrest_volume_sync(volume), "syncing");
    atrest_volume_free(volume);

    // What its header says to whoever has no key.
    atrest_header *header;
    uint32_t format;
    check(atrest_header_load(device, &header), "reading the header");
    check(atrest_header_format(header, &format), "asking for the format");
    printf("%s\n", format == ATREST_BITLOCKER ? "BitLocker" : "LUKS");
    check(atrest_header_keyslots(header, show, NULL), "listing the protectors");
    atrest_header_free(header);

    // The recovery password opens it. A startup key's file and the clear key of a suspended volume do too, where there is
    // one: ATREST_CREDENTIAL_STARTUP_KEY, ATREST_CREDENTIAL_CLEAR_KEY.
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_RECOVERY_PASSWORD;
    credential.recovery_password = recovery;
    check(atrest_volume_open(device, &credential, NULL, &volume), "opening");
    memset(sectors, 0, sizeof sectors);
    check(atrest_volume_read_at(volume, 1 << 20, sectors, sizeof sectors), "reading");
    printf("read \"%s\"\n", sectors);
    atrest_volume_free(volume);
    atrest_device_free(device);
    return strcmp(sectors, "secret plans") != 0;
}
