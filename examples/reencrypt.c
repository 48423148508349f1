// Gives a volume a new key while a thread writes to it. It may be killed at any instant: the next run goes on.
//
//     cc reencrypt.c -latrest -lpthread -o reencrypt && ./reencrypt FOLDER
#include <atrest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 64 << 20, SECTOR = 4096 };

static atrest_volume *volume;
static uint64_t size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int finished; // under the lock

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

static int is_finished(void)
{
    pthread_mutex_lock(&lock);
    int is = finished;
    pthread_mutex_unlock(&lock);
    return is;
}

// Fills all sectors with their number and that of the round, again and again, and counts the rounds that are whole.
static void *write_on(void *rounds)
{
    unsigned char sector[SECTOR];
    do {
        ++*(unsigned *)rounds;
        for (uint64_t at = 0; at < size; at += SECTOR) {
            memset(sector, (int)(at / SECTOR + *(unsigned *)rounds), SECTOR);
            check(atrest_volume_write_at(volume, at, sector, SECTOR), "writing");
        }
    } while (!is_finished());
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    char vault_file[4096], disk_file[4096];
    snprintf(vault_file, sizeof vault_file, "%s/reencrypt.vault", argc > 1 ? argv[1] : ".");
    snprintf(disk_file, sizeof disk_file, "%s/reencrypt.img", argc > 1 ? argv[1] : ".");

    atrest_vault *vault;
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = "correct horse battery staple";
    unlock.passphrase_len = strlen(unlock.passphrase);
    check(atrest_vault_create_file(vault_file, &unlock, &vault), "making the vault");
    check(atrest_vault_create_key(vault, "disks", NULL, 0), "making a key");
    atrest_protector by_vault = ATREST_PROTECTOR_INIT;
    by_vault.kind = ATREST_PROTECTOR_VAULT;
    by_vault.vault = vault;
    by_vault.key_name = "disks";

    atrest_device *device;
    unsigned char old[ATREST_FINGERPRINT_SIZE], fresh[ATREST_FINGERPRINT_SIZE];
    check(atrest_device_create_file(disk_file, SIZE, &device), "making the disk");
    check(atrest_volume_format(device, &by_vault, NULL, &volume), "formatting it");
    check(atrest_volume_size(volume, &size), "asking for its size");
    check(atrest_volume_fingerprint(volume, old), "asking for its key's fingerprint");

    pthread_t writer;
    unsigned rounds = 0;
    if (pthread_create(&writer, NULL, write_on, &rounds) != 0)
        return 1;

    const atrest_protector *protectors[] = {&by_vault};
    atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
    check(atrest_volume_begin_reencryption(volume, protectors, 1, NULL), "beginning");
    do {
        check(atrest_volume_reencrypt_step(volume, 4 << 20, &progress), "going on");
        printf("%2u of %u MiB\n", (unsigned)(progress.done >> 20), (unsigned)(progress.total >> 20));
    } while (progress.under_way);

    pthread_mutex_lock(&lock);
    finished = 1;
    pthread_mutex_unlock(&lock);
    pthread_join(writer, NULL);

    unsigned char sector[SECTOR];
    for (uint64_t at = 0; at < size; at += SECTOR) {
        check(atrest_volume_read_at(volume, at, sector, SECTOR), "reading");
        for (size_t i = 0; i < SECTOR; i++) {
            if (sector[i] != (unsigned char)(at / SECTOR + rounds)) {
                fprintf(stderr, "sector %u is not what was written last\n", (unsigned)(at / SECTOR));
                return 1;
            }
        }
    }
    check(atrest_volume_sync(volume), "syncing");
    check(atrest_volume_fingerprint(volume, fresh), "asking for its key's fingerprint");
    puts(memcmp(old, fresh, sizeof old) == 0 ? "the key is the old one" : "the key is another, and all writes are there");
    atrest_volume_free(volume);
    atrest_device_free(device);
    atrest_vault_free(vault);
    return 0;
}
