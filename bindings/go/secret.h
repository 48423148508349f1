// What opens or protects a volume, as Go lends it.
#ifndef GO_SECRET_H
#define GO_SECRET_H

#include <atrest.h>

// A passphrase, or else the path of a key file.
typedef struct {
    const void *passphrase;
    size_t len;
    const char *key_file;
} go_secret;

// What opens or protects a volume: a vault, or else a passphrase or a key file.
typedef struct {
    const atrest_vault *vault;
    const char *key;
    const void *passphrase;
    size_t len;
    const char *key_file;
} go_way;

static inline atrest_credential go_credential(go_way by) {
    atrest_credential credential = ATREST_CREDENTIAL_INIT;
    credential.kind = by.vault ? ATREST_CREDENTIAL_VAULT
        : by.key_file ? ATREST_CREDENTIAL_KEY_FILE : ATREST_CREDENTIAL_PASSPHRASE;
    credential.vault = by.vault;
    credential.passphrase = by.passphrase;
    credential.passphrase_len = by.len;
    credential.key_file = by.key_file;
    return credential;
}
static inline atrest_protector go_protector(go_way by) {
    atrest_protector protector = ATREST_PROTECTOR_INIT;
    protector.kind = by.vault ? ATREST_PROTECTOR_VAULT
        : by.key_file ? ATREST_PROTECTOR_KEY_FILE : ATREST_PROTECTOR_PASSPHRASE;
    protector.vault = by.vault;
    protector.key_name = by.key;
    protector.passphrase = by.passphrase;
    protector.passphrase_len = by.len;
    protector.key_file = by.key_file;
    return protector;
}

#endif
