// Data that `cryptsetup open --type plain` wrote, which has no header, read without device-mapper, and moved to a volume
// that has one.
//
//     cc plain_mapping.c -latrest -o plain_mapping && ./plain_mapping FOLDER
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 20 };

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
    const char *folder = argc > 1 ? argv[1] : ".", *passphrase = "correct horse";
    char old[512], new_disk[512];
    static unsigned char data[SIZE];
    snprintf(old, sizeof old, "%s/plain.img", folder);
    snprintf(new_disk, sizeof new_disk, "%s/luks.img", folder);

    // What no header says, its user knows: cryptsetup open --type plain --cipher aes-cbc-essiv:sha256 --key-size 256 --hash sha256
    const char *cipher = "aes-cbc-essiv:sha256";
    uint32_t algorithm;
    atrest_dek *dek;
    check(atrest_dek_algorithm_for_cipher(cipher, 256 / 8, &algorithm), "looking up the cipher");
    check(atrest_hazmat_plain_dek(algorithm, "sha256", passphrase, strlen(passphrase), &dek), "hashing the passphrase");

    // Read-only, since with a wrong key or cipher all of it would be destroyed by a write.
    atrest_plain_options options = ATREST_PLAIN_OPTIONS_INIT;
    options.flags = ATREST_OPEN_READ_ONLY;
    options.cipher = cipher;
    atrest_device *device;
    atrest_volume *volume;
    check(atrest_device_open_file(old, ATREST_DEVICE_READ_ONLY, &device), "opening the disk");
    check(atrest_hazmat_volume_open_plain(device, dek, &options, &volume), "opening the data");
    atrest_device_free(device);
    check(atrest_volume_read_at(volume, 0, data, sizeof data), "reading");
    printf("read \"%.12s\"\n", (const char *)data);

    // Whether the cipher is one to stay with.
    char weakness[256];
    check(atrest_volume_cipher_weakness(volume, weakness, sizeof weakness, NULL), "asking for the weakness");
    printf("of %s: %s\n", cipher, weakness);
    atrest_volume_free(volume);
    atrest_dek_free(dek);

    // A volume of today, with a header that proves its key.
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = passphrase;
    protector.passphrase_len = strlen(passphrase);
    atrest_kdf kdf = ATREST_KDF_INIT; // cheap, for a quick example; leave it out
    kdf.kind = ATREST_KDF_PBKDF2;
    kdf.iterations = 1000;
    atrest_keyslot_options keyslot = ATREST_KEYSLOT_OPTIONS_INIT;
    keyslot.kdf = &kdf;
    atrest_format_options format = ATREST_FORMAT_OPTIONS_INIT;
    format.keyslot = &keyslot;
    check(atrest_device_create_file(new_disk, SIZE + (16 << 20), &device), "making the new disk");
    check(atrest_volume_format(device, &protector, &format, &volume), "formatting");
    atrest_device_free(device);
    check(atrest_volume_write_at(volume, 0, data, sizeof data), "writing");
    check(atrest_volume_sync(volume), "syncing");
    atrest_volume_free(volume);
    return 0;
}
