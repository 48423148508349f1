// A volume without root, device-mapper or a daemon, and from several threads at once: each writes and reads its part, and
// adds a passphrase of its own, all by one handle. docs/c.md links this statically with musl.
//
//     cc rootless.c -latrest -lpthread -o rootless && ./rootless FOLDER
#include <atrest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, PART = 1 << 20 };

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

static atrest_volume *volume;

// The passphrase of a thread, "passphrase 3" for one.
static void passphrase_of(int thread, char *text, size_t size)
{
    snprintf(text, size, "passphrase %d", thread);
}

static atrest_protector protector_of(const char *text)
{
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_PASSPHRASE;
    protector.passphrase = text;
    protector.passphrase_len = strlen(text);
    return protector;
}

// A KDF for a quick example. Without one, the cost is measured: 2 seconds of Argon2id.
static atrest_kdf quick(void)
{
    atrest_kdf kdf = ATREST_KDF_INIT;
    kdf.kind = ATREST_KDF_ARGON2ID;
    kdf.memory_kib = 32 << 10;
    kdf.passes = 4;
    kdf.lanes = 1;
    return kdf;
}

static void *work(void *argument)
{
    const int thread = *(int *)argument;
    char text[32], *part = (char *)malloc(PART), *back = (char *)malloc(PART);
    if (part == NULL || back == NULL)
        exit(1);
    memset(part, 'a' + thread, PART);
    check(atrest_volume_write_at(volume, (uint64_t)thread * PART, part, PART), "writing");
    check(atrest_volume_read_at(volume, (uint64_t)thread * PART, back, PART), "reading");
    if (memcmp(part, back, PART) != 0)
        exit(1);
    free(part);
    free(back);

    passphrase_of(thread, text, sizeof text);
    const atrest_protector protector = protector_of(text);
    const atrest_kdf kdf = quick();
    atrest_keyslot_options options = ATREST_KEYSLOT_OPTIONS_INIT;
    options.kdf = &kdf;
    uint32_t id;
    check(atrest_volume_add_protector(volume, &protector, &options, &id), "adding a passphrase");
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    char disk[512], text[32], first;
    snprintf(disk, sizeof disk, "%s/rootless.img", argc > 1 ? argv[1] : ".");

    passphrase_of(THREADS, text, sizeof text);
    const atrest_protector protector = protector_of(text);
    const atrest_kdf kdf = quick();
    atrest_keyslot_options keyslot = ATREST_KEYSLOT_OPTIONS_INIT;
    keyslot.kdf = &kdf;
    atrest_format_options format = ATREST_FORMAT_OPTIONS_INIT;
    format.keyslot = &keyslot;
    format.sector_size = 4096;
    atrest_device *device;
    check(atrest_device_create_file(disk, (16 << 20) + THREADS * PART, &device), "making the disk");
    check(atrest_volume_format(device, &protector, &format, &volume), "formatting");
    atrest_device_free(device);

    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, work, &numbers[i]) != 0)
            return 1;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(atrest_volume_sync(volume), "syncing");
    atrest_volume_free(volume);

    // Each of the passphrases opens it, and what the threads wrote is there.
    for (int i = 0; i <= THREADS; i++) {
        static char sector[4096];
        atrest_credential credential = ATREST_CREDENTIAL_INIT;
        passphrase_of(i, text, sizeof text);
        credential.kind = ATREST_CREDENTIAL_PASSPHRASE;
        credential.passphrase = text;
        credential.passphrase_len = strlen(text);
        check(atrest_device_open_file(disk, 0, &device), "opening the disk");
        check(atrest_volume_open(device, &credential, NULL, &volume), "opening");
        atrest_device_free(device);
        check(atrest_volume_read_at(volume, (uint64_t)(i % THREADS) * PART, sector, sizeof sector), "reading");
        first = sector[0];
        atrest_volume_free(volume);
        if (first != 'a' + i % THREADS)
            return 1;
    }
    printf("%d threads wrote, and %d passphrases open the volume\n", (int)THREADS, THREADS + 1);
    return 0;
}
