// Eight threads share a sector cipher, a volume and a vault. Each has sectors of its own, and reads back its own
// writes, while one thread rotates the key that the vault wraps with.
//
//     threads FOLDER [ROUNDS]
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "checks.h"

#include <pthread.h>

#define THREADS 8
#define SECTORS 16
#define LENGTH (SECTORS * 512)

struct mine {
    int number, round;
    unsigned char plain[LENGTH], cipher[LENGTH], found[LENGTH];
    unsigned char envelope[ATREST_ENVELOPE_MAX], dek[64];
    size_t envelope_len;
    pthread_t thread;
};

static int rounds = 12;
static struct mine mine[THREADS];
static pthread_barrier_t all_here;
static const atrest_sector_cipher *cipher;
static atrest_volume *volume;
static atrest_vault *vault;

// CHECK counts, which threads would do at once.
#define MUST(condition)                                                                             \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: thread %d, round %d: not so: %s (%s)\n", __FILE__, __LINE__,    \
                    my->number, my->round, #condition, atrest_last_error_message());                \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)
#define MUST_OK(call) MUST((call) == ATREST_OK)

static uint64_t first_sector(const struct mine *my)
{
    return (uint64_t)my->number * SECTORS;
}

static void fill(struct mine *my)
{
    for (size_t i = 0; i < LENGTH; i++)
        my->plain[i] = (unsigned char)(i * 7 + (size_t)my->number * 31 + (size_t)my->round * 101);
}

static void use_cipher(struct mine *my)
{
    // The result of round 0 was made by one thread alone.
    MUST_OK(atrest_sector_cipher_encrypt_to(cipher, first_sector(my), my->plain, my->found, LENGTH));
    MUST(my->round != 0 || memcmp(my->found, my->cipher, LENGTH) == 0);
    MUST(memcmp(my->found, my->plain, LENGTH) != 0);
    MUST_OK(atrest_sector_cipher_decrypt(cipher, first_sector(my), my->found, LENGTH));
    MUST(memcmp(my->found, my->plain, LENGTH) == 0);
}

static void use_volume(struct mine *my)
{
    uint64_t offset = first_sector(my) * 512;
    MUST_OK(atrest_volume_write_at(volume, offset, my->plain, LENGTH));
    if (my->round % 4 == my->number % 4)
        MUST_OK(atrest_volume_sync(volume));
    MUST_OK(atrest_volume_read_at(volume, offset, my->found, LENGTH));
    MUST(memcmp(my->found, my->plain, LENGTH) == 0);
}

static void use_vault(struct mine *my)
{
    unsigned char bytes_before[64], bytes_after[64];
    size_t dek_len;
    atrest_dek *dek, *again;
    // The one that was wrapped before anything was rotated, and one by the latest version.
    MUST_OK(atrest_envelope_unseal(vault, my->envelope, my->envelope_len, &my->number, sizeof my->number, &again));
    MUST_OK(atrest_hazmat_dek_bytes(again, bytes_after, sizeof bytes_after, &dek_len));
    MUST(memcmp(my->dek, bytes_after, dek_len) == 0);
    atrest_dek_free(again);

    unsigned char envelope[ATREST_ENVELOPE_MAX];
    size_t envelope_len;
    MUST_OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    MUST_OK(atrest_envelope_seal(dek, vault, "disks", &my->round, sizeof my->round, envelope, sizeof envelope,
                            &envelope_len));
    MUST_OK(atrest_envelope_unseal(vault, envelope, envelope_len, &my->round, sizeof my->round, &again));
    MUST_OK(atrest_hazmat_dek_bytes(dek, bytes_before, sizeof bytes_before, &dek_len));
    MUST_OK(atrest_hazmat_dek_bytes(again, bytes_after, sizeof bytes_after, &dek_len));
    MUST(memcmp(bytes_before, bytes_after, dek_len) == 0);
    atrest_dek_free(dek);
    atrest_dek_free(again);

    if (my->number == 0) {
        MUST_OK(atrest_vault_rotate_key(vault, "disks", NULL, 0));
        MUST_OK(atrest_volume_rotate_kek(volume, vault, NULL, 0));
    }
}

static void fail_in_own_words(struct mine *my)
{
    char name[32];
    snprintf(name, sizeof name, "nobodys-%d", my->number);
    MUST(atrest_vault_rotate_key(vault, name, NULL, 0) == ATREST_ERR_NO_SUCH_KEY);
    const char *message = atrest_last_error_message();
    pthread_barrier_wait(&all_here);
    MUST(strstr(message, name) != NULL && message == atrest_last_error_message());
}

static void *work(void *user)
{
    struct mine *my = (struct mine *)user;
    pthread_barrier_wait(&all_here);
    for (my->round = 0; my->round < rounds; my->round++) {
        fill(my);
        use_cipher(my);
        use_volume(my);
        use_vault(my);
        fail_in_own_words(my);
    }
    return NULL;
}

// The objects that each thread needs, made while there is only one.
static void begin(struct mine *my, int number)
{
    atrest_dek *dek;
    my->number = number;
    fill(my);
    OK(atrest_sector_cipher_encrypt_to(cipher, first_sector(my), my->plain, my->cipher, LENGTH));
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    OK(atrest_hazmat_dek_bytes(dek, my->dek, sizeof my->dek, &len));
    OK(atrest_envelope_seal(dek, vault, "disks", &my->number, sizeof my->number, my->envelope, sizeof my->envelope,
                       &my->envelope_len));
    OK(atrest_envelope_key_url(my->envelope, my->envelope_len, TEXT, sizeof bytes, &len));
    CHECK(strcmp(TEXT + len - 8, "/disks/1") == 0);
    atrest_dek_free(dek);
}

static atrest_volume *new_volume(atrest_device **device)
{
    atrest_protector protector = with_vault(vault);
    atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
    options.data_offset = 1 << 20;
    OK(atrest_device_create_file(in_folder("disk"), 2 << 20, device));
    OK(atrest_volume_format(*device, &protector, &options, &volume));
    return volume;
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    if (argc > 2)
        rounds = atoi(argv[2]);
    atrest_dek *dek;
    atrest_sector_cipher *shared;
    atrest_device *device;
    OK(atrest_dek_generate(ATREST_AES_256_XTS, &dek));
    OK(atrest_sector_cipher_new(dek, 512, ATREST_UNIT_512, &shared));
    atrest_dek_free(dek);
    cipher = shared;
    vault = new_vault("vault");
    volume = new_volume(&device);
    CHECK(pthread_barrier_init(&all_here, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++)
        begin(&mine[i], i);

    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&mine[i].thread, NULL, work, &mine[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(mine[i].thread, NULL) == 0);
    atrest_volume_free(volume);

    // All data is on the disk, and the latest version of the key opens it.
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    OK(atrest_volume_open(device, &credential, NULL, &volume));
    for (int i = 0; i < THREADS; i++) {
        OK(atrest_volume_read_at(volume, first_sector(&mine[i]) * 512, mine[i].found, LENGTH));
        CHECK(memcmp(mine[i].found, mine[i].plain, LENGTH) == 0);
    }
    atrest_volume_free(volume);
    atrest_device_free(device);
    atrest_vault_free(vault);
    atrest_sector_cipher_free(shared);
    pthread_barrier_destroy(&all_here);
    printf("%d threads shared a cipher, a volume and a vault\n", THREADS);
    return 0;
}
