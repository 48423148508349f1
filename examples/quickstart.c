#include <atrest.h>
#include <stdio.h>
#define CHECK(call) if ((call) != ATREST_OK) { fprintf(stderr, "%s\n", atrest_last_error_message()); return 1; }

int main(void)
{
    atrest_vault *vault; atrest_device *device; atrest_volume *volume;
    char sector[4096] = "secret plans";
    atrest_unlock unlock = ATREST_UNLOCK_INIT;
    unlock.passphrase = "correct horse battery staple";
    unlock.passphrase_len = 28;
    CHECK(atrest_vault_create_file("keys.vault", &unlock, &vault));
    CHECK(atrest_vault_create_key(vault, "disks", NULL, 0));
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = ATREST_PROTECTOR_VAULT;
    protector.vault = vault;
    protector.key_name = "disks";
    CHECK(atrest_device_create_file("disk.img", 64 << 20, &device));
    CHECK(atrest_volume_format(device, &protector, NULL, &volume));
    CHECK(atrest_volume_write_at(volume, 0, sector, sizeof sector));
    CHECK(atrest_volume_read_at(volume, 0, sector, sizeof sector));
    puts(sector);
    atrest_volume_free(volume), atrest_device_free(device), atrest_vault_free(vault);
}
