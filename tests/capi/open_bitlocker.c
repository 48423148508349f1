// Opens a BitLocker volume of an image, read-only, and writes the first bytes of it to a file:
//
//     open_bitlocker IMAGE password|recovery|file|clear SECRET OUTPUT
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 64 << 10 };

#define CHECK(condition)                                                                                 \
    do {                                                                                                 \
        if (!(condition)) {                                                                              \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition,                  \
                    atrest_last_error_message());                                                        \
            exit(1);                                                                                     \
        }                                                                                                \
    } while (0)

int main(int argc, char **argv)
{
    static unsigned char data[LENGTH];
    char cipher[64];
    CHECK(argc == 5);
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    if (strcmp(argv[2], "password") == 0) {
        credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
        credential.passphrase = argv[3];
        credential.passphrase_len = strlen(argv[3]);
    } else if (strcmp(argv[2], "recovery") == 0) {
        credential.kind = ATREST_CREDENTIAL_RECOVERY_PASSWORD;
        credential.recovery_password = argv[3];
    } else if (strcmp(argv[2], "file") == 0) {
        credential.kind = ATREST_CREDENTIAL_STARTUP_KEY;
        credential.startup_key = argv[3];
    } else {
        credential.kind = ATREST_CREDENTIAL_CLEAR_KEY;
    }
    atrest_open_options options = ATREST_OPEN_OPTIONS_INIT;
    options.flags = ATREST_OPEN_READ_ONLY | ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED;
    atrest_device *device;
    atrest_volume *volume;
    CHECK(atrest_device_open_file(argv[1], ATREST_DEVICE_READ_ONLY, &device) == ATREST_OK);
    CHECK(atrest_volume_open(device, &credential, &options, &volume) == ATREST_OK);
    CHECK(atrest_volume_read_at(volume, 0, data, sizeof data) == ATREST_OK);
    FILE *file = fopen(argv[4], "wb");
    CHECK(file != NULL && fwrite(data, 1, sizeof data, file) == sizeof data && fclose(file) == 0);
    CHECK(atrest_volume_cipher(volume, cipher, sizeof cipher, NULL) == ATREST_OK);
    printf("%s\n", cipher);
    atrest_volume_free(volume);
    atrest_device_free(device);
    return 0;
}
