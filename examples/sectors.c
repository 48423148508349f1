// For an engine with a format of its own: it keeps an envelope beside its data, and encrypts sectors itself.
//
//     cc sectors.c -latrest -o sectors && ./sectors FOLDER
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_ID "disk-17"
#define SECTOR 4096
#define COUNT 8

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

static void show(const char *what, const unsigned char *sectors)
{
    printf("%s:", what);
    for (int i = 0; i < 16; i++)
        printf(" %02x", sectors[i]);
    printf(" ...\n");
}

// What happens once: a DEK is made, wrapped by the vault, and forgotten. The envelope is all that is kept of it.
static size_t make_disk(const atrest_vault *vault, unsigned char *envelope, size_t envelope_cap)
{
    atrest_dek *dek;
    size_t envelope_len;
    check(atrest_dek_generate(ATREST_AES_256_XTS, &dek), "generating a DEK");
    check(atrest_envelope_seal(dek, vault, "disks", DISK_ID, strlen(DISK_ID), envelope, envelope_cap, &envelope_len),
          "wrapping the DEK");
    atrest_dek_free(dek);
    return envelope_len;
}

// What happens at every start: the vault that the envelope names unwraps the DEK, which becomes a cipher.
static atrest_sector_cipher *open_disk(const atrest_vault *vault, const unsigned char *envelope, size_t envelope_len)
{
    char url[ATREST_KEY_URL_SIZE];
    check(atrest_envelope_key_url(envelope, envelope_len, url, sizeof url, NULL), "reading the envelope");
    printf("an envelope of %u bytes, wrapped by %s\n", (unsigned)envelope_len, url);

    atrest_dek *dek;
    atrest_sector_cipher *cipher;
    check(atrest_envelope_unseal(vault, envelope, envelope_len, DISK_ID, strlen(DISK_ID), &dek), "unwrapping the DEK");
    check(atrest_sector_cipher_new(dek, SECTOR, ATREST_UNIT_512, &cipher), "expanding the DEK");
    atrest_dek_free(dek);
    return cipher;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [FOLDER]\n", argv[0]);
        return argc > 2 || strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    static unsigned char plain[COUNT * SECTOR], disk[COUNT * SECTOR], again[COUNT * SECTOR];
    unsigned char envelope[ATREST_ENVELOPE_MAX];
    char keys[512], key_file[512];
    snprintf(keys, sizeof keys, "%s/sectors.vault", argc > 1 ? argv[1] : ".");
    snprintf(key_file, sizeof key_file, "%s/sectors.key", argc > 1 ? argv[1] : ".");

    // A service has no passphrase to type: this vault opens by a key file.
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.key_file = key_file;
    atrest_vault *vault;
    check(atrest_vault_generate_key_file(key_file), "making the key file");
    check(atrest_vault_create_file(keys, &unlock, &vault), "making the vault");
    check(atrest_vault_create_key(vault, "disks", NULL, 0), "making a key");

    size_t envelope_len = make_disk(vault, envelope, sizeof envelope);
    atrest_sector_cipher *cipher = open_disk(vault, envelope, envelope_len);

    // Numbers count 512 bytes, so that the third sector of 4096 bytes has number 16.
    memset(plain, 0x5a, sizeof plain);
    check(atrest_sector_cipher_encrypt_to(cipher, 0, plain, disk, sizeof disk), "encrypting");
    show("plain ", plain);
    show("cipher", disk);
    check(atrest_sector_cipher_decrypt_to(cipher, 16, disk + 2 * SECTOR, again + 2 * SECTOR, SECTOR), "decrypting one");
    int same = memcmp(again + 2 * SECTOR, plain + 2 * SECTOR, SECTOR) == 0;
    check(atrest_sector_cipher_decrypt(cipher, 0, disk, sizeof disk), "decrypting in place");
    same = same && memcmp(disk, plain, sizeof disk) == 0;
    show("again ", disk);

    // An envelope is bound to its disk.
    atrest_dek *dek;
    atrest_status status = atrest_envelope_unseal(vault, envelope, envelope_len, "disk-18", 7, &dek);
    printf("for another disk: %s\n", atrest_status_name(status));

    atrest_sector_cipher_free(cipher);
    atrest_vault_free(vault);
    return !same || status != ATREST_ERR_CONTEXT_MISMATCH;
}
