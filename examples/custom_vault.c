// A vault made of callbacks: here a table of keys in memory, in its place the client of a key service or an HSM.
//
//     cc custom_vault.c -latrest -o custom_vault && ./custom_vault
#include <atrest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "https://contoso.vault.example"

// The versions of the one key, "disks". A real vault has random keys, and keeps them where nobody can read them.
struct service {
    unsigned char keks[3][32];
    int enabled[3];
    int latest;
};

static void check(atrest_status status, const char *what)
{
    if (status != ATREST_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, atrest_last_error_message(), atrest_status_name(status));
        exit(1);
    }
}

static atrest_status wrap(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped)
{
    struct service *service = (struct service *)user;
    if (strcmp(wrapped->key_name, "disks") != 0)
        return ATREST_ERR_NO_SUCH_KEY;
    snprintf(wrapped->version, sizeof wrapped->version, "v%d", service->latest);
    wrapped->algorithm = ATREST_WRAP_A256KW;
    return atrest_aes_kw_wrap(service->keks[service->latest], 32, dek, dek_len, wrapped->bytes, sizeof wrapped->bytes,
                              &wrapped->bytes_len);
}

static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap,
                            size_t *dek_len)
{
    struct service *service = (struct service *)user;
    int version;
    if (strcmp(wrapped->vault_id, ID) != 0)
        return ATREST_ERR_NOT_THIS_VAULT;
    if (strcmp(wrapped->key_name, "disks") != 0 || sscanf(wrapped->version, "v%d", &version) != 1 || version < 0
        || version > service->latest || !service->enabled[version])
        return ATREST_ERR_NO_SUCH_KEY;
    return atrest_aes_kw_unwrap(service->keks[version], 32, wrapped->bytes, wrapped->bytes_len, dek, dek_cap, dek_len);
}

static void release(void *user)
{
    memset(user, 0, sizeof(struct service));
    printf("the vault is gone\n");
}

static atrest_status print_url(void *user, const char *url)
{
    (void)user;
    printf("the volume opens with %s\n", url);
    return ATREST_OK;
}

int main(void)
{
    struct service service;
    memset(&service, 0, sizeof service);
    for (int version = 0; version < 3; version++)
        memset(service.keks[version], 0x11 * (version + 1), 32);
    service.enabled[0] = 1;

    atrest_vault_callbacks callbacks = ATREST_VAULT_CALLBACKS_INIT;
    callbacks.user = &service;
    callbacks.id = ID;
    callbacks.wrap = wrap;
    callbacks.unwrap = unwrap;
    callbacks.release = release;
    atrest_vault *vault;
    check(atrest_vault_from_callbacks(&callbacks, &vault), "making the vault");

    atrest_device *device;
    atrest_volume *volume;
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_VAULT;
    protector.vault = vault;
    protector.key_name = "disks";
    check(atrest_device_memory(20 << 20, &device), "making the disk");
    check(atrest_volume_format(device, &protector, NULL, &volume), "formatting");
    check(atrest_volume_key_urls(volume, print_url, NULL), "asking for the keys");

    // The service gets a new version; the volume moves to it; the old version can go.
    service.latest = 1;
    service.enabled[1] = 1;
    check(atrest_volume_rotate_kek(volume, vault, NULL, 0), "wrapping anew");
    check(atrest_volume_key_urls(volume, print_url, NULL), "asking for the keys");
    service.enabled[0] = 0;
    atrest_volume_free(volume);

    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = ATREST_CREDENTIAL_VAULT;
    credential.vault = vault;
    check(atrest_volume_open(device, &credential, NULL, &volume), "opening");
    atrest_volume_free(volume);

    // Whoever disables the last version locks the volume.
    service.enabled[1] = 0;
    atrest_status status = atrest_volume_open(device, &credential, NULL, &volume);
    printf("with the version disabled: %s\n", atrest_last_error_message());

    atrest_device_free(device);
    atrest_vault_free(vault);
    return status != ATREST_ERR_NO_SUCH_KEY;
}
