// exchange_secrets FOLDER: reads the secret "from-rust" of the vault file FOLDER/vault, and keeps what it has read as
// "from-c", backwards, with the name of each tag and its value exchanged. tests/capi/guest.rs wrote the one and reads the other.
#include "checks.h"

static atrest_tag exchanged[4];
static char texts[8][64];
static size_t count;

static atrest_status take(void *user, const atrest_read_secret *read)
{
    (void)user;
    CHECK(strcmp(read->version, "2") == 0 && read->tags_count <= 4);
    for (count = 0; count < read->tags_count; count++) {
        snprintf(texts[2 * count], 64, "%s", read->tags[count].value);
        snprintf(texts[2 * count + 1], 64, "%s", read->tags[count].name);
        exchanged[count].name = texts[2 * count];
        exchanged[count].value = texts[2 * count + 1];
    }
    return ATREST_OK;
}

int main(int argc, char **argv)
{
    snprintf(folder, sizeof folder, "%s", argc > 1 ? argv[1] : ".");
    atrest_unlock unlock = with_passphrase("passphrase");
    atrest_vault *vault;
    OK(atrest_vault_open_file(in_folder("vault"), &unlock, &vault));
    OK(atrest_vault_secret(vault, "from-rust", NULL, take, NULL, bytes, ATREST_VAULT_SECRET_MAX, &len));
    for (size_t i = 0; i < len / 2; i++) {
        const unsigned char byte = bytes[i];
        bytes[i] = bytes[len - 1 - i];
        bytes[len - 1 - i] = byte;
    }
    atrest_secret_options options = ATREST_SECRET_OPTIONS_INIT;
    options.tags = exchanged;
    options.tags_count = count;
    char version[ATREST_NAME_SIZE];
    OK(atrest_vault_set_secret(vault, "from-c", bytes, len, &options, version, sizeof version));
    memset(bytes, 0, sizeof bytes);
    atrest_vault_free(vault);
    printf("%s\n", version);
    return 0;
}
