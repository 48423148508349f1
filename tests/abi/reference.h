// The interface that programs were compiled with. ATREST_BLESS=1 bash tests/abi/run takes additions over.
#ifndef ATREST_H
#define ATREST_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define ATREST_VERSION_MAJOR 0
#define ATREST_VERSION_MINOR 1
#define ATREST_VERSION_PATCH 0
const char *atrest_version(void);
#define ATREST_OK 0
#define ATREST_ERR_NULL_ARGUMENT 1
#define ATREST_ERR_INVALID_HANDLE 2
#define ATREST_ERR_BAD_ENUM 3
#define ATREST_ERR_STRUCT_SIZE 4
#define ATREST_ERR_NOT_UTF8 5
#define ATREST_ERR_OVERLAP 6
#define ATREST_ERR_BUFFER_TOO_SHORT 7
#define ATREST_ERR_LENGTH 8
#define ATREST_ERR_UNSUPPORTED 9
#define ATREST_ERR_CALLBACK_FAILED 10
#define ATREST_ERR_INVALID_OPTION 11
#define ATREST_ERR_PANIC 90
#define ATREST_ERR_OTHER 91
#define ATREST_ERR_KEY_LENGTH 100
#define ATREST_ERR_EQUAL_KEY_HALVES 101
#define ATREST_ERR_SECTOR_SIZE 102
#define ATREST_ERR_PARTIAL_SECTOR 103
#define ATREST_ERR_LENGTH_MISMATCH 104
#define ATREST_ERR_SECTOR_OVERFLOW 105
#define ATREST_ERR_DATA_UNIT_LENGTH 106
#define ATREST_ERR_KEK_LENGTH 107
#define ATREST_ERR_WRAP_LENGTH 108
#define ATREST_ERR_UNWRAP_FAILED 109
#define ATREST_ERR_KERNEL_UNAVAILABLE 110
#define ATREST_ERR_STREAM_OVERFLOW 111
#define ATREST_ERR_SELF_TEST 112
#define ATREST_ERR_NOT_APPROVED 113
#define ATREST_ERR_KEY_EXHAUSTED 114
#define ATREST_ERR_SECTOR_NUMBER 115
#define ATREST_ERR_UNSUPPORTED_ALGORITHM 200
#define ATREST_ERR_INVALID_NAME 201
#define ATREST_ERR_CONTEXT_LENGTH 202
#define ATREST_ERR_INVALID_ENVELOPE 203
#define ATREST_ERR_CONTEXT_MISMATCH 204
#define ATREST_ERR_NOT_THIS_VAULT 205
#define ATREST_ERR_NO_SUCH_KEY 206
#define ATREST_ERR_KEY_EXISTS 207
#define ATREST_ERR_WRONG_PASSPHRASE 208
#define ATREST_ERR_DAMAGED_VAULT 209
#define ATREST_ERR_VAULT 210
#define ATREST_ERR_KEY_DISABLED 211
#define ATREST_ERR_KEY_DELETED 212
#define ATREST_ERR_KEY_EXPIRED 213
#define ATREST_ERR_KEY_NOT_YET_VALID 214
#define ATREST_ERR_ACCESS_DENIED 215
#define ATREST_ERR_PURGE_PROTECTED 216
#define ATREST_ERR_INVALID_PREFIX 217
#define ATREST_ERR_OTHER_DEK 218
#define ATREST_ERR_OTHER_KEY 219
#define ATREST_ERR_NOT_LUKS 300
#define ATREST_ERR_INVALID_HEADER 301
#define ATREST_ERR_UNSUPPORTED_HEADER 302
#define ATREST_ERR_TAMPERED_HEADER 303
#define ATREST_ERR_WRONG_KEY 304
#define ATREST_ERR_DEVICE_TOO_SMALL 305
#define ATREST_ERR_DEVICE_NOT_BLANK 306
#define ATREST_ERR_MISALIGNED 307
#define ATREST_ERR_OUT_OF_BOUNDS 308
#define ATREST_ERR_READ_ONLY 309
#define ATREST_ERR_NO_SUCH_PROTECTOR 310
#define ATREST_ERR_LAST_PROTECTOR 311
#define ATREST_ERR_NO_ROOM 312
#define ATREST_ERR_OTHER_HEADER 313
#define ATREST_ERR_FOREIGN_DATA 314
#define ATREST_ERR_DAMAGED_MAP 315
#define ATREST_ERR_DISK_SUSPENDED 350
#define ATREST_ERR_NO_SUCH_RESOURCE 351
#define ATREST_ERR_RESOURCE_EXISTS 352
#define ATREST_ERR_NOT_ALLOWED 353
#define ATREST_ERR_OLDER_HEADER 354
#define ATREST_ERR_IO 400
#define ATREST_ERR_BUSY 401
#define ATREST_ERR_RANDOM 402
#define ATREST_ERR_NO_MEMORY 403
#define ATREST_ERR_FORKED 404
#define ATREST_ERR_MEMORY_NOT_LOCKED 405
#define ATREST_ERR_NOT_FOUND 406
#define ATREST_ERR_ALREADY_EXISTS 407
typedef uint32_t atrest_status;
const char *atrest_status_name(atrest_status status);
#define ATREST_RULE_VAULT_PROTECTION 16
#define ATREST_RULE_ONE_REGION 18
#define ATREST_RULE_SET_IN_USE 19
#define ATREST_RULE_PLATFORM_KEY_HAS_NO_SET 20
#define ATREST_RULE_ROTATION_FAILED 32
#define ATREST_RULE_ONE_TENANT 43
#define ATREST_RULE_ONE_SET_FOR_SNAPSHOTS 45
#define ATREST_RULE_ONE_SUBSCRIPTION 47
#define ATREST_RULE_IMAGE_IS_WHOLE 49
#define ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY 50
#define ATREST_RULE_ENCRYPTED_IN_GUEST 52
#define ATREST_RULE_ENCRYPTED_AT_HOST 56
#define ATREST_RULE_LAYERS_STAY 60
const char *atrest_last_error_message(void);
uint32_t atrest_last_rule(void);
atrest_status atrest_set_callback_message(const char *message);
#define ATREST_LOG_ERROR 1
#define ATREST_LOG_WARN 2
#define ATREST_LOG_INFO 3
atrest_status atrest_set_log(void (*log)(void *user, uint32_t level, const char *message), void *user, uint32_t level);
typedef struct atrest_clock atrest_clock;
typedef struct {
    size_t struct_size;
    void *user;
    uint64_t (*now)(void *user);
    void (*release)(void *user);
    uint64_t (*uptime)(void *user);
} atrest_clock_callbacks;
#define ATREST_CLOCK_CALLBACKS_INIT {sizeof(atrest_clock_callbacks), 0, 0, 0, 0}
atrest_status atrest_clock_manual(uint64_t now, atrest_clock **out);
atrest_status atrest_clock_from_callbacks(const atrest_clock_callbacks *callbacks, atrest_clock **out);
void atrest_clock_free(atrest_clock *clock);
atrest_status atrest_clock_now(const atrest_clock *clock, uint64_t *out);
atrest_status atrest_clock_set(atrest_clock *clock, uint64_t now);
atrest_status atrest_clock_advance(atrest_clock *clock, uint64_t seconds);
#define ATREST_KDF_PBKDF2 1
#define ATREST_KDF_ARGON2I 2
#define ATREST_KDF_ARGON2ID 3
#define ATREST_HASH_SHA256 1
#define ATREST_HASH_SHA512 2
#define ATREST_HASH_SHA1 3
typedef struct {
    size_t struct_size;
    uint32_t kind;
    uint32_t hash;
    uint32_t iterations;
    uint32_t memory_kib;
    uint32_t passes;
    uint32_t lanes;
} atrest_kdf;
#define ATREST_KDF_INIT {sizeof(atrest_kdf), 0, 0, 0, 0, 0, 0}
atrest_status atrest_kdf_benchmark(uint32_t kind, uint32_t hash, uint32_t time_ms, uint32_t max_memory_kib,
    uint32_t lanes, atrest_kdf *out);
#define ATREST_KEY_URL_SIZE 774
#define ATREST_ORIGIN_GENERATED 1
#define ATREST_ORIGIN_IMPORTED 2
#define ATREST_KEY_AES_256 1
#define ATREST_KEY_RSA_2048 2
#define ATREST_KEY_RSA_3072 3
#define ATREST_KEY_RSA_4096 4
typedef struct atrest_vault atrest_vault;
typedef struct {
    size_t struct_size;
    const char *passphrase;
    size_t passphrase_len;
    const char *key_file;
    uint32_t kdf_memory_kib;
    uint32_t kdf_passes;
    uint32_t kdf_lanes;
    const atrest_kdf *kdf;
} atrest_unlock;
#define ATREST_UNLOCK_INIT {sizeof(atrest_unlock), 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *key_name;
    const char *version;
    const char *url;
    uint64_t created;
    uint32_t origin;
    uint32_t kind;
    uint32_t enabled;
    uint64_t not_before;
    uint64_t expires;
    uint32_t authenticated;
} atrest_key_version;
atrest_status atrest_vault_create_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);
atrest_status atrest_vault_open_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);
atrest_status atrest_vault_generate_key_file(const char *path);
atrest_status atrest_vault_clone(const atrest_vault *vault, atrest_vault **out);
atrest_status atrest_vault_with_clock(const atrest_vault *vault, const atrest_clock *clock, atrest_vault **out);
atrest_status atrest_vault_with_audit_rotation(const atrest_vault *vault, uint64_t bytes, atrest_vault **out);
void atrest_vault_free(atrest_vault *vault);
atrest_status atrest_vault_id(const atrest_vault *vault, char *id, size_t id_cap, size_t *id_len);
atrest_status atrest_vault_create_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);
atrest_status atrest_vault_rotate_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);
atrest_status atrest_vault_import_key(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);
atrest_status atrest_vault_import_version(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);
atrest_status atrest_vault_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_key_version *version), void *user);
atrest_status atrest_hazmat_vault_destroy_version(atrest_vault *vault, const char *key_url);
#define ATREST_CHANGE_ENABLED 1
#define ATREST_CHANGE_NOT_BEFORE 2
#define ATREST_CHANGE_EXPIRES 4
#define ATREST_CHANGE_AUTHENTICATED 8
typedef struct {
    size_t struct_size;
    const char *id;
    const char *region;
    const char *tenant;
    uint32_t retention_days;
    uint32_t purge_protection;
    uint32_t refuse_expired;
} atrest_vault_options;
#define ATREST_VAULT_OPTIONS_INIT {sizeof(atrest_vault_options), 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t changes;
    uint32_t enabled;
    uint64_t not_before;
    uint64_t expires;
    uint32_t authenticated;
} atrest_version_change;
#define ATREST_VERSION_CHANGE_INIT {sizeof(atrest_version_change), 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *key_name;
    uint64_t deleted;
    uint64_t retained_until;
} atrest_deleted_key;
atrest_status atrest_vault_create_file_with(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);
atrest_status atrest_vault_open_or_create_file(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);
atrest_status atrest_vault_change_unlock(atrest_vault *vault, const atrest_unlock *unlock);
atrest_status atrest_vault_create_key_of(atrest_vault *vault, const char *key_name, uint32_t kind, char *url,
    size_t url_cap);
atrest_status atrest_vault_import_rsa_key(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);
atrest_status atrest_vault_import_rsa_version(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);
atrest_status atrest_vault_describe(const atrest_vault *vault, const char *key_name, const char *version,
    atrest_status (*each)(void *user, const atrest_key_version *version), void *user);
atrest_status atrest_vault_set_version(atrest_vault *vault, const char *key_url, const atrest_version_change *change);
atrest_status atrest_vault_delete_key(atrest_vault *vault, const char *key_name);
atrest_status atrest_vault_recover_key(atrest_vault *vault, const char *key_name);
atrest_status atrest_hazmat_vault_purge_key(atrest_vault *vault, const char *key_name);
atrest_status atrest_vault_enable_purge_protection(atrest_vault *vault);
atrest_status atrest_vault_deleted_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_deleted_key *key), void *user);
#define ATREST_VAULT_SECRET_MAX 4096
typedef struct {
    const char *name;
    const char *value;
} atrest_tag;
typedef struct {
    size_t struct_size;
    const atrest_tag *tags;
    size_t tags_count;
} atrest_secret_options;
#define ATREST_SECRET_OPTIONS_INIT {sizeof(atrest_secret_options), 0, 0}
typedef struct {
    size_t struct_size;
    const char *version;
    size_t tags_count;
    const atrest_tag *tags;
} atrest_read_secret;
typedef struct {
    size_t struct_size;
    const char *secret_name;
    const char *version;
    uint64_t created;
    uint32_t enabled;
    uint64_t not_before;
    uint64_t expires;
    size_t tags_count;
    const atrest_tag *tags;
} atrest_secret_version;
atrest_status atrest_vault_set_secret(atrest_vault *vault, const char *secret_name, const void *value, size_t value_len,
    const atrest_secret_options *options, char *version, size_t version_cap);
atrest_status atrest_vault_secret(const atrest_vault *vault, const char *secret_name, const char *version,
    atrest_status (*each)(void *user, const atrest_read_secret *read), void *user, void *value, size_t value_cap,
    size_t *value_len);
atrest_status atrest_vault_secrets(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_secret_version *version), void *user);
atrest_status atrest_vault_set_secret_version(atrest_vault *vault, const char *secret_name, const char *version,
    const atrest_version_change *change);
atrest_status atrest_vault_delete_secret(atrest_vault *vault, const char *secret_name);
atrest_status atrest_vault_deleted_secrets(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_deleted_key *secret), void *user);
atrest_status atrest_vault_recover_secret(atrest_vault *vault, const char *secret_name);
atrest_status atrest_hazmat_vault_purge_secret(atrest_vault *vault, const char *secret_name);
#define ATREST_OPERATION_GET 1
#define ATREST_OPERATION_WRAP_KEY 2
#define ATREST_OPERATION_UNWRAP_KEY 4
#define ATREST_AUDIT_HEAD_SIZE 66
typedef struct {
    size_t struct_size;
    uint64_t seq;
    uint64_t time;
    const char *identity;
    const char *operation;
    const char *key_name;
    const char *version;
    const char *subject;
    const char *outcome;
    uint64_t torn;
    uint64_t after;
} atrest_audit_entry;
atrest_status atrest_vault_grant(atrest_vault *vault, const char *identity, uint32_t operations);
atrest_status atrest_vault_revoke_operations(atrest_vault *vault, const char *identity, uint32_t operations);
atrest_status atrest_vault_grants(const atrest_vault *vault, atrest_status (*each)(void *user, const char *identity,
    uint32_t operations), void *user);
atrest_status atrest_vault_as_identity(const atrest_vault *vault, const char *identity, atrest_vault **out);
atrest_status atrest_vault_audit(const atrest_vault *vault, const char *head, atrest_status (*each)(void *user,
    const atrest_audit_entry *entry), void *user);
atrest_status atrest_vault_audit_past_damage(const atrest_vault *vault, const char *head,
    atrest_status (*each)(void *user, const atrest_audit_entry *entry), void *user);
atrest_status atrest_vault_audit_head(const atrest_vault *vault, char *head, size_t head_cap, size_t *head_len);
atrest_status atrest_vault_usage(const atrest_vault *vault, uint64_t *blocks);
atrest_status atrest_vault_archive_audit(atrest_vault *vault, const char *path);
typedef struct {
    size_t struct_size;
    const char *id;
    const char *region;
    const char *tenant;
    uint32_t retention_days;
    uint32_t purge_protection;
    uint32_t refuse_expired;
} atrest_vault_properties;
atrest_status atrest_vault_backup(const atrest_vault *vault, const char *path);
atrest_status atrest_vault_peek_file(const char *path, atrest_status (*tell)(void *user,
    const atrest_vault_properties *properties), void *user);
#define ATREST_WRAP_A256KW 1
#define ATREST_WRAP_A256KWP 2
#define ATREST_WRAP_RSA_OAEP_256 3
#define ATREST_WRAP_RSA_OAEP 4
#define ATREST_WRAP_RSA1_5 5
#define ATREST_WRAP_OPAQUE 6
#define ATREST_WRAP_RSA_OAEP_256_HS256 7
#define ATREST_WRAPPED_MAX 1024
#define ATREST_DEK_MAX 64
#define ATREST_NAME_SIZE 128
typedef struct {
    size_t struct_size;
    const char *vault_id;
    const char *key_name;
    char version[ATREST_NAME_SIZE];
    uint32_t algorithm;
    size_t bytes_len;
    uint8_t bytes[ATREST_WRAPPED_MAX];
} atrest_wrapped_dek;
typedef struct {
    size_t struct_size;
    char version[ATREST_NAME_SIZE];
    uint32_t kind;
    uint32_t enabled;
    uint64_t not_before;
    uint64_t expires;
    uint64_t created;
} atrest_key_description;
typedef struct {
    size_t struct_size;
    void *user;
    const char *id;
    atrest_status (*wrap)(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped);
    atrest_status (*unwrap)(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap,
        size_t *dek_len);
    void (*release)(void *user);
    atrest_status (*describe)(void *user, const char *key_name, atrest_key_description *said);
} atrest_vault_callbacks;
#define ATREST_VAULT_CALLBACKS_INIT {sizeof(atrest_vault_callbacks), 0, 0, 0, 0, 0, 0}
atrest_status atrest_vault_from_callbacks(const atrest_vault_callbacks *callbacks, atrest_vault **out);
#define ATREST_SECRET_MAX 16384
typedef struct {
    size_t struct_size;
    void *user;
    atrest_status (*secret)(void *user, const char *name, uint8_t *secret, size_t cap, size_t *len);
    void (*release)(void *user);
    uint32_t deadline_ms;
} atrest_vault_url_options;
#define ATREST_VAULT_URL_OPTIONS_INIT {sizeof(atrest_vault_url_options), 0, 0, 0, 0}
atrest_status atrest_vault_open_url(const char *url, const atrest_vault_url_options *options, atrest_vault **out);
atrest_status atrest_vault_any(const atrest_vault *const *vaults, size_t count, atrest_vault **out);
atrest_status atrest_vault_quorum(const char *id, size_t threshold, const atrest_vault *const *vaults,
    const char *const *key_names, size_t count, atrest_vault **out);
#define ATREST_AES_128_XTS 1
#define ATREST_AES_256_XTS 2
#define ATREST_AES_128_CBC 3
#define ATREST_AES_192_CBC 4
#define ATREST_AES_256_CBC 5
#define ATREST_AES_256_HCTR2 6
#define ATREST_AES_256_CTR 7
#define ATREST_AES_128_CBC_ELEPHANT 8
#define ATREST_AES_256_CBC_ELEPHANT 9
#define ATREST_AES_128_ECB 10
#define ATREST_AES_192_ECB 11
#define ATREST_AES_256_ECB 12
#define ATREST_SERPENT_128_XTS 13
#define ATREST_SERPENT_256_XTS 14
#define ATREST_SERPENT_128_CBC 15
#define ATREST_SERPENT_192_CBC 16
#define ATREST_SERPENT_256_CBC 17
#define ATREST_TWOFISH_128_XTS 18
#define ATREST_TWOFISH_256_XTS 19
#define ATREST_TWOFISH_128_CBC 20
#define ATREST_TWOFISH_192_CBC 21
#define ATREST_TWOFISH_256_CBC 22
#define ATREST_CAMELLIA_128_XTS 23
#define ATREST_CAMELLIA_256_XTS 24
#define ATREST_CAMELLIA_128_CBC 25
#define ATREST_CAMELLIA_192_CBC 26
#define ATREST_CAMELLIA_256_CBC 27
#define ATREST_ADIANTUM 28
#define ATREST_AES_192_XTS 29
#define ATREST_CONTEXT_MAX 1024
#define ATREST_ENVELOPE_MAX 3124
#define ATREST_QUORUM_ENVELOPE_MAX 3892
#define ATREST_FINGERPRINT_SIZE 32
typedef struct atrest_dek atrest_dek;
atrest_status atrest_dek_generate(uint32_t algorithm, atrest_dek **out);
void atrest_dek_free(atrest_dek *dek);
atrest_status atrest_dek_algorithm(const atrest_dek *dek, uint32_t *out);
atrest_status atrest_dek_fingerprint(const atrest_dek *dek, uint8_t *fingerprint);
atrest_status atrest_envelope_seal(const atrest_dek *dek, const atrest_vault *vault, const char *key_name,
    const void *context, size_t context_len, void *envelope, size_t envelope_cap, size_t *envelope_len);
atrest_status atrest_envelope_unseal(const atrest_vault *vault, const void *envelope, size_t envelope_len,
    const void *context, size_t context_len, atrest_dek **out);
atrest_status atrest_envelope_key_url(const void *envelope, size_t envelope_len, char *url, size_t url_cap,
    size_t *url_len);
atrest_status atrest_hazmat_dek_from_bytes(const void *bytes, size_t bytes_len, atrest_dek **out);
atrest_status atrest_hazmat_dek_bytes(const atrest_dek *dek, void *bytes, size_t bytes_cap, size_t *bytes_len);
#define ATREST_UNIT_512 1
#define ATREST_UNIT_SECTOR 2
#define ATREST_UNIT_512_ANY_OFFSET 3
typedef struct atrest_sector_cipher atrest_sector_cipher;
atrest_status atrest_sector_cipher_new(const atrest_dek *dek, uint32_t sector_size, uint32_t sector_unit,
    atrest_sector_cipher **out);
atrest_status atrest_sector_cipher_from_key(const void *key, size_t key_len, uint32_t sector_size, uint32_t sector_unit,
    atrest_sector_cipher **out);
void atrest_sector_cipher_free(atrest_sector_cipher *cipher);
atrest_status atrest_sector_cipher_encrypt(const atrest_sector_cipher *cipher, uint64_t first_sector, void *sectors,
    size_t len);
atrest_status atrest_sector_cipher_decrypt(const atrest_sector_cipher *cipher, uint64_t first_sector, void *sectors,
    size_t len);
atrest_status atrest_sector_cipher_encrypt_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_decrypt_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_encrypt_unit(const atrest_sector_cipher *cipher, const uint8_t *tweak, void *unit,
    size_t len);
atrest_status atrest_sector_cipher_decrypt_unit(const atrest_sector_cipher *cipher, const uint8_t *tweak, void *unit,
    size_t len);
atrest_status atrest_sector_cipher_encrypt_unit_to(const atrest_sector_cipher *cipher, const uint8_t *tweak,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_decrypt_unit_to(const atrest_sector_cipher *cipher, const uint8_t *tweak,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_encrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_decrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);
atrest_status atrest_sector_cipher_usage(const atrest_sector_cipher *cipher, uint64_t *blocks);
atrest_status atrest_sector_cipher_count_in(const atrest_sector_cipher *cipher, uint64_t blocks);
typedef struct {
    void *base;
    size_t len;
} atrest_segment;
atrest_status atrest_sector_cipher_encrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);
atrest_status atrest_sector_cipher_decrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);
atrest_status atrest_sector_cipher_encrypt_segments_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *src, size_t src_count, const atrest_segment *dst, size_t dst_count);
atrest_status atrest_sector_cipher_decrypt_segments_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *src, size_t src_count, const atrest_segment *dst, size_t dst_count);
#define ATREST_NONCE_SIZE 16
typedef struct atrest_stream_cipher atrest_stream_cipher;
atrest_status atrest_stream_cipher_new(const atrest_dek *dek, const uint8_t *nonce, atrest_stream_cipher **out);
void atrest_stream_cipher_free(atrest_stream_cipher *cipher);
atrest_status atrest_stream_cipher_apply(const atrest_stream_cipher *cipher, uint64_t offset, void *data, size_t len);
atrest_status atrest_stream_cipher_apply_to(const atrest_stream_cipher *cipher, uint64_t offset, const void *src,
    void *dst, size_t len);
atrest_status atrest_stream_cipher_usage(const atrest_stream_cipher *cipher, uint64_t *blocks);
atrest_status atrest_aes_kw_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);
atrest_status atrest_aes_kw_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);
atrest_status atrest_aes_kwp_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);
atrest_status atrest_aes_kwp_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);
#define ATREST_DEVICE_READ_ONLY 1
#define ATREST_DEVICE_DIRECT_IO 2
typedef struct atrest_device atrest_device;
typedef struct {
    size_t struct_size;
    void *user;
    uint64_t size;
    atrest_status (*read_at)(void *user, uint64_t offset, void *bytes, size_t len);
    atrest_status (*write_at)(void *user, uint64_t offset, const void *bytes, size_t len);
    atrest_status (*sync)(void *user);
    void (*release)(void *user);
    size_t alignment;
    atrest_status (*write_zeroes)(void *user, uint64_t offset, uint64_t len);
    atrest_status (*discard)(void *user, uint64_t offset, uint64_t len);
    atrest_status (*set_size)(void *user, uint64_t size);
} atrest_device_callbacks;
#define ATREST_DEVICE_CALLBACKS_INIT {sizeof(atrest_device_callbacks), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
atrest_status atrest_device_open_file(const char *path, uint32_t flags, atrest_device **out);
atrest_status atrest_device_create_file(const char *path, uint64_t size, atrest_device **out);
atrest_status atrest_device_memory(size_t size, atrest_device **out);
atrest_status atrest_device_from_callbacks(const atrest_device_callbacks *callbacks, atrest_device **out);
atrest_status atrest_device_clone(const atrest_device *device, atrest_device **out);
void atrest_device_free(atrest_device *device);
#define ATREST_FILE_PREFIX_SIZE 8192
atrest_status atrest_file_prefix_create(const atrest_vault *vault, const char *key_name, const void *context,
    size_t context_len, void *prefix, size_t prefix_cap, size_t *prefix_len, atrest_stream_cipher **out);
atrest_status atrest_file_prefix_create_sectors(const atrest_vault *vault, const char *key_name, const void *context,
    size_t context_len, uint32_t sector_size, uint32_t sector_unit, void *prefix, size_t prefix_cap, size_t *prefix_len,
    atrest_sector_cipher **out);
atrest_status atrest_file_prefix_open(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, atrest_stream_cipher **out);
atrest_status atrest_file_prefix_open_sectors(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint32_t sector_size, uint32_t sector_unit, atrest_sector_cipher **out);
atrest_status atrest_file_prefix_rotate_kek(atrest_device *device, const atrest_vault *vault, const void *context,
    size_t context_len, char *url, size_t url_cap);
atrest_status atrest_file_prefix_rotate_kek_expecting(atrest_device *device, const atrest_vault *vault,
    const void *context, size_t context_len, const uint8_t *fingerprint, char *url, size_t url_cap);
atrest_status atrest_file_prefix_fingerprint(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint8_t *fingerprint);
atrest_status atrest_file_prefix_key_url(const void *prefix, size_t prefix_len, char *url, size_t url_cap,
    size_t *url_len);
atrest_status atrest_memory_protection(uint64_t *locked, uint64_t *unlocked);
#define ATREST_APPROVED 1
#define ATREST_APPROVED_ELSEWHERE 2
#define ATREST_NOT_APPROVED 3
#define ATREST_BLOCKS_DUE 17592186044416
#define ATREST_BLOCKS_MAX 281474976710656
atrest_status atrest_self_test(void);
atrest_status atrest_approved_only(void);
atrest_status atrest_is_approved_only(uint32_t *out);
atrest_status atrest_approval_reset(void);
atrest_status atrest_approval_since_reset(uint32_t *approval, char *text, size_t text_cap, size_t *text_len);
#define ATREST_CREDENTIAL_VAULT 1
#define ATREST_CREDENTIAL_DEK 2
#define ATREST_CREDENTIAL_PASSPHRASE 3
#define ATREST_CREDENTIAL_KEY_FILE 4
#define ATREST_CREDENTIAL_RECOVERY_PASSWORD 5
#define ATREST_CREDENTIAL_STARTUP_KEY 6
#define ATREST_CREDENTIAL_CLEAR_KEY 7
#define ATREST_PROTECTOR_VAULT 1
#define ATREST_PROTECTOR_PASSPHRASE 3
#define ATREST_PROTECTOR_KEY_FILE 4
#define ATREST_PROTECTOR_RECOVERY_PASSWORD 5
#define ATREST_PROTECTOR_STARTUP_KEY 6
#define ATREST_PRIORITY_NORMAL 0
#define ATREST_PRIORITY_PREFER 1
#define ATREST_PRIORITY_IGNORE 2
#define ATREST_KEYSLOT_ID 1
typedef struct {
    size_t struct_size;
    uint32_t kind;
    const atrest_vault *vault;
    const atrest_dek *dek;
    const char *passphrase;
    size_t passphrase_len;
    const char *key_file;
    const char *recovery_password;
    const char *startup_key;
} atrest_credential;
#define ATREST_CREDENTIAL_INIT {sizeof(atrest_credential), 0, 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t kind;
    const atrest_vault *vault;
    const char *key_name;
    const char *passphrase;
    size_t passphrase_len;
    const char *key_file;
    const char *recovery_password;
    const char *startup_key;
} atrest_protector;
#define ATREST_PROTECTOR_INIT {sizeof(atrest_protector), 0, 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t flags;
    uint32_t id;
    uint32_t priority;
    uint32_t time_ms;
    uint32_t max_memory_kib;
    const atrest_kdf *kdf;
} atrest_keyslot_options;
#define ATREST_KEYSLOT_OPTIONS_INIT {sizeof(atrest_keyslot_options), 0, 0, 0, 0, 0, 0}
#define ATREST_PLATFORM_KEY 1
#define ATREST_CUSTOMER_KEY 2
#define ATREST_PLATFORM_AND_CUSTOMER_KEYS 3
#define ATREST_FORMAT_OVERWRITE 1
#define ATREST_LUKS1 1
#define ATREST_LUKS2 2
#define ATREST_BITLOCKER 3
#define ATREST_OPEN_READ_ONLY 1
#define ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED 2
#define ATREST_OPEN_KEYSLOT 4
#define ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED 8
#define ATREST_OPEN_HAZMAT_REPAIR 16
#define ATREST_OPEN_REQUIRE_LOCKED_MEMORY 32
#define ATREST_OPEN_DISCARD 64
#define ATREST_OPEN_HAZMAT_IGNORE_TOKENS 128
#define ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP 256
typedef struct {
    size_t struct_size;
    uint32_t flags;
    uint32_t sector_size;
    uint32_t dek_algorithm;
    uint32_t encryption_type;
    uint64_t data_offset;
    const uint8_t *uuid;
    const char *label;
    const char *subsystem;
    const void *context;
    size_t context_len;
    uint32_t luks_version;
    atrest_device *header;
    const atrest_keyslot_options *keyslot;
    const atrest_dek *hazmat_dek;
    uint64_t metadata_size;
    uint64_t written_map_for;
    uint32_t written_chunk_size;
} atrest_format_options;
#define ATREST_FORMAT_OPTIONS_INIT {sizeof(atrest_format_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t flags;
    const void *context;
    size_t context_len;
    atrest_device *header;
    uint32_t keyslot;
    uint32_t kdf_max_memory_kib;
    uint64_t kdf_max_kib_passes;
    uint32_t kdf_max_iterations;
    uint32_t kdf_max_lanes;
    uint64_t kdf_max_total_ms;
    const uint8_t *expected_fingerprint;
    const char *expected_key;
    uint64_t used_blocks;
} atrest_open_options;
#define ATREST_OPEN_OPTIONS_INIT {sizeof(atrest_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
typedef struct atrest_volume atrest_volume;
atrest_status atrest_volume_format(atrest_device *device, const atrest_protector *protector,
    const atrest_format_options *options, atrest_volume **out);
atrest_status atrest_volume_open(atrest_device *device, const atrest_credential *credential,
    const atrest_open_options *options, atrest_volume **out);
void atrest_volume_free(atrest_volume *volume);
atrest_status atrest_volume_read_at(const atrest_volume *volume, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_volume_write_at(atrest_volume *volume, uint64_t offset, const void *sectors, size_t len);
atrest_status atrest_volume_sync(atrest_volume *volume);
atrest_status atrest_volume_rotate_kek(atrest_volume *volume, const atrest_vault *vault, char *url, size_t url_cap);
atrest_status atrest_volume_move_kek(atrest_volume *volume, const char *from, const atrest_vault *vault,
    const char *key_name, char *url, size_t url_cap);
atrest_status atrest_volume_add_protector(atrest_volume *volume, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *id);
atrest_status atrest_volume_change_keyslot(atrest_volume *volume, uint32_t id, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *new_id);
atrest_status atrest_volume_remove_keyslot(atrest_volume *volume, uint32_t id);
atrest_status atrest_volume_remove_token(atrest_volume *volume, uint32_t id);
atrest_status atrest_volume_size(const atrest_volume *volume, uint64_t *out);
atrest_status atrest_volume_sector_size(const atrest_volume *volume, uint32_t *out);
atrest_status atrest_volume_data_offset(const atrest_volume *volume, uint64_t *out);
atrest_status atrest_volume_cipher(const atrest_volume *volume, char *cipher, size_t cipher_cap, size_t *cipher_len);
atrest_status atrest_volume_cipher_weakness(const atrest_volume *volume, char *weakness, size_t weakness_cap,
    size_t *weakness_len);
atrest_status atrest_volume_is_read_only(const atrest_volume *volume, uint32_t *out);
atrest_status atrest_volume_usage(const atrest_volume *volume, uint64_t *blocks);
atrest_status atrest_volume_approval(const atrest_volume *volume, uint32_t *approval, char *text, size_t text_cap,
    size_t *text_len);
atrest_status atrest_volume_uuid(const atrest_volume *volume, char *uuid, size_t uuid_cap, size_t *uuid_len);
atrest_status atrest_volume_record_size(atrest_volume *volume, uint64_t *size);
atrest_status atrest_volume_fingerprint(const atrest_volume *volume, uint8_t *fingerprint);
atrest_status atrest_volume_dek(const atrest_volume *volume, atrest_dek **out);
atrest_status atrest_volume_key_urls(const atrest_volume *volume, atrest_status (*each)(void *user, const char *url),
    void *user);
typedef struct atrest_header atrest_header;
atrest_status atrest_header_load(atrest_device *device, atrest_header **out);
void atrest_header_free(atrest_header *header);
atrest_status atrest_header_format(const atrest_header *header, uint32_t *out);
atrest_status atrest_header_uuid(const atrest_header *header, char *uuid, size_t uuid_cap, size_t *uuid_len);
atrest_status atrest_header_label(const atrest_header *header, char *label, size_t label_cap, size_t *label_len);
atrest_status atrest_header_subsystem(const atrest_header *header, char *subsystem, size_t subsystem_cap,
    size_t *subsystem_len);
atrest_status atrest_header_epoch(const atrest_header *header, uint64_t *out);
atrest_status atrest_header_size(const atrest_header *header, uint64_t *out);
atrest_status atrest_header_metadata_size(const atrest_header *header, uint64_t *out);
atrest_status atrest_header_keyslots_size(const atrest_header *header, uint64_t *out);
atrest_status atrest_header_metadata_json(const atrest_header *header, char *json, size_t json_cap, size_t *json_len);
atrest_status atrest_header_needs_repair(const atrest_header *header, uint32_t *out);
atrest_status atrest_header_repair(atrest_header *header);
atrest_status atrest_hazmat_header_repair(atrest_header *header);
atrest_status atrest_header_set_label(atrest_header *header, const char *label, const char *subsystem);
atrest_status atrest_header_set_priority(atrest_header *header, uint32_t keyslot, uint32_t priority);
atrest_status atrest_header_remove_keyslot(atrest_header *header, uint32_t id);
atrest_status atrest_header_remove_token(atrest_header *header, uint32_t id);
atrest_status atrest_header_import_token(atrest_header *header, const char *json, uint32_t *id);
atrest_status atrest_header_unlock(const atrest_header *header, const atrest_credential *credential,
    const atrest_open_options *options, atrest_dek **out);
atrest_status atrest_header_convert_to_luks2(atrest_header *header);
atrest_status atrest_header_erase(atrest_header *header);
atrest_status atrest_header_backup(const atrest_header *header, void *backup, size_t backup_cap, size_t *backup_len);
atrest_status atrest_header_restore(atrest_device *device, const void *backup, size_t backup_len);
atrest_status atrest_hazmat_header_restore(atrest_device *device, const void *backup, size_t backup_len);
typedef struct {
    size_t struct_size;
    uint32_t id;
    uint32_t priority;
    const char *kind;
    uint32_t key_bits;
    uint32_t area_key_bits;
    const char *kdf;
    const char *hash;
    uint32_t iterations;
    uint32_t memory_kib;
    uint32_t passes;
    uint32_t lanes;
    const uint8_t *salt;
    size_t salt_len;
    const char *cipher;
    const char *af_hash;
    uint32_t af_stripes;
    uint32_t digests_count;
    const uint32_t *digests;
    uint64_t area_offset;
    uint64_t area_size;
    uint32_t holds_data_key;
} atrest_keyslot_info;
typedef struct {
    size_t struct_size;
    uint32_t id;
    uint32_t keyslots_count;
    const uint32_t *keyslots;
    const char *kind;
    const char *key_url;
    const char *json;
} atrest_token_info;
typedef struct {
    size_t struct_size;
    uint32_t id;
    uint32_t sector_size;
    const char *kind;
    const char *cipher;
    uint64_t offset;
    uint64_t size;
    uint64_t iv_tweak;
    const char *flags;
} atrest_segment_info;
typedef struct {
    size_t struct_size;
    uint32_t id;
    uint32_t key_bits;
    const char *kind;
    const char *hash;
    uint32_t iterations;
    uint32_t keyslots_count;
    const uint32_t *keyslots;
    const uint8_t *salt;
    size_t salt_len;
    const uint8_t *digest;
    size_t digest_len;
    const uint32_t *segments;
    uint32_t segments_count;
} atrest_digest_info;
atrest_status atrest_header_keyslots(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_keyslot_info *keyslot), void *user);
atrest_status atrest_header_tokens(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_token_info *token), void *user);
atrest_status atrest_header_segments(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_segment_info *segment), void *user);
atrest_status atrest_header_digests(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_digest_info *digest), void *user);
atrest_status atrest_header_requirements(const atrest_header *header, atrest_status (*each)(void *user,
    const char *requirement), void *user);
atrest_status atrest_header_flags(const atrest_header *header, atrest_status (*each)(void *user, const char *flag),
    void *user);
#define ATREST_TOKEN_PASSPHRASE_LEN 64
typedef struct {
    size_t struct_size;
    const char *expected_key;
} atrest_token_options;
#define ATREST_TOKEN_OPTIONS_INIT {sizeof(atrest_token_options), 0}
atrest_status atrest_volume_bind_tokens(atrest_volume *volume, uint32_t *id);
atrest_status atrest_token_passphrase(const void *json, size_t json_len, const char *uuid, uint32_t token,
    const atrest_vault *vault, const atrest_token_options *options, void *passphrase, size_t passphrase_cap,
    size_t *passphrase_len);
#define ATREST_RECOVERY_PASSWORD_SIZE 56
#define ATREST_STARTUP_KEY_NAME_SIZE 41
typedef struct {
    size_t struct_size;
    uint32_t flags;
    uint32_t sector_size;
    uint32_t dek_algorithm;
    const char *description;
} atrest_bitlocker_options;
#define ATREST_BITLOCKER_OPTIONS_INIT {sizeof(atrest_bitlocker_options), 0, 0, 0, 0}
atrest_status atrest_volume_format_bitlocker(atrest_device *device, const atrest_protector *protector,
    const atrest_bitlocker_options *options, atrest_volume **out);
atrest_status atrest_recovery_password_generate(char *password, size_t password_cap, size_t *password_len);
atrest_status atrest_startup_key_generate_file(const char *folder, char *name, size_t name_cap);
atrest_status atrest_hazmat_volume_suspend_protection(atrest_volume *volume, uint32_t *id);
atrest_status atrest_volume_resume_protection(atrest_volume *volume, uint32_t *was_suspended);
#define ATREST_NUMBERING_512 1
#define ATREST_NUMBERING_SECTORS 2
#define ATREST_NUMBERING_UPPER_HALF 3
typedef struct {
    size_t struct_size;
    uint32_t flags;
    uint32_t numbering;
    const char *cipher;
    uint32_t sector_size;
    uint64_t offset;
    uint64_t size;
    uint64_t first_number;
    uint64_t used_blocks;
} atrest_plain_options;
#define ATREST_PLAIN_OPTIONS_INIT {sizeof(atrest_plain_options), 0, 0, 0, 0, 0, 0, 0, 0}
atrest_status atrest_dek_algorithm_for_cipher(const char *cipher, size_t key_len, uint32_t *out);
atrest_status atrest_hazmat_dek_from_bytes_for(uint32_t algorithm, const void *bytes, size_t bytes_len,
    atrest_dek **out);
atrest_status atrest_hazmat_plain_dek(uint32_t algorithm, const char *hash, const char *passphrase,
    size_t passphrase_len, atrest_dek **out);
atrest_status atrest_hazmat_volume_open_plain(atrest_device *device, const atrest_dek *dek,
    const atrest_plain_options *options, atrest_volume **out);
#define ATREST_ADE_TAGS_SIZE 16384
typedef struct atrest_ade_vault atrest_ade_vault;
typedef struct {
    size_t struct_size;
    char version[ATREST_NAME_SIZE];
    uint8_t *value;
    size_t value_cap;
    size_t value_len;
    char tags[ATREST_ADE_TAGS_SIZE];
} atrest_ade_secret;
typedef struct {
    size_t struct_size;
    void *user;
    const char *id;
    atrest_status (*get)(void *user, const char *name, atrest_ade_secret *secret);
    atrest_status (*set)(void *user, const char *name, const uint8_t *value, size_t value_len, const char *tags,
        char *version, size_t version_cap);
    atrest_status (*wrap)(void *user, const uint8_t *passphrase, size_t passphrase_len, atrest_wrapped_dek *wrapped);
    atrest_status (*unwrap)(void *user, const atrest_wrapped_dek *wrapped, uint8_t *passphrase, size_t passphrase_cap,
        size_t *passphrase_len);
    void (*release)(void *user);
} atrest_ade_vault_callbacks;
#define ATREST_ADE_VAULT_CALLBACKS_INIT {sizeof(atrest_ade_vault_callbacks), 0, 0, 0, 0, 0, 0, 0}
atrest_status atrest_ade_vault_open_url(const char *url, const atrest_vault_url_options *options,
    atrest_ade_vault **out);
atrest_status atrest_ade_vault_from_callbacks(const atrest_ade_vault_callbacks *callbacks, atrest_ade_vault **out);
void atrest_ade_vault_free(atrest_ade_vault *vault);
#define ATREST_ADE_REENCRYPT 1
#define ATREST_ADE_URL_SIZE 513
#define ATREST_ADE_PASSPHRASE_LEN 172
typedef struct {
    size_t struct_size;
    atrest_device *device;
    atrest_device *header;
    const char *secret_url;
    const char *kek_url;
    uint32_t kek_algorithm;
} atrest_ade_disk;
#define ATREST_ADE_DISK_INIT {sizeof(atrest_ade_disk), 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t removed_keyslots;
    uint32_t removed_tokens;
    uint32_t left_keyslots;
    uint32_t left_tokens;
} atrest_ade_taken_over;
#define ATREST_ADE_TAKEN_OVER_INIT {sizeof(atrest_ade_taken_over), 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *secret_url;
    const char *kek_url;
    uint32_t kek_algorithm;
    const char *machine_name;
    const char *file_name;
    const char *vault_url;
    const char *vault_resource;
    const char *attestation_url;
    const char *volume_letter;
    const char *volume_label;
} atrest_ade_new_passphrase;
#define ATREST_ADE_NEW_PASSPHRASE_INIT {sizeof(atrest_ade_new_passphrase), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
atrest_status atrest_ade_open(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_open_options *options, atrest_volume **out);
atrest_status atrest_ade_take_over(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_vault *vault, const char *key_name, uint32_t flags, const atrest_open_options *options,
    atrest_ade_taken_over *done, atrest_volume **out);
atrest_status atrest_ade_replace_secret(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults,
    size_t count, const atrest_open_options *options, const atrest_keyslot_options *keyslot, char *url, size_t url_cap);
atrest_status atrest_ade_replace_token(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_open_options *options, const atrest_keyslot_options *keyslot);
atrest_status atrest_ade_add_secret(atrest_volume *volume, const atrest_ade_new_passphrase *new_passphrase,
    const atrest_ade_vault *const *vaults, size_t count, const atrest_keyslot_options *keyslot, char *url,
    size_t url_cap);
atrest_status atrest_ade_add_token(atrest_volume *volume, const atrest_ade_new_passphrase *new_passphrase,
    const atrest_ade_vault *const *vaults, size_t count, const atrest_keyslot_options *keyslot);
atrest_status atrest_ade_generate_passphrase(void *passphrase, size_t passphrase_cap, size_t *passphrase_len);
atrest_status atrest_ade_seal(const void *passphrase, size_t passphrase_len, const char *kek_url,
    uint32_t kek_algorithm, const atrest_ade_vault *const *vaults, size_t count, void *value, size_t value_cap,
    size_t *value_len);
typedef struct atrest_vault_directory atrest_vault_directory;
typedef struct {
    size_t struct_size;
    uint32_t soft_delete;
    uint32_t purge_protection;
    char region[ATREST_NAME_SIZE];
    char tenant[ATREST_NAME_SIZE];
} atrest_vault_description;
typedef struct {
    size_t struct_size;
    void *user;
    atrest_status (*open_vault)(void *user, const char *vault_id, const char *identity, atrest_vault **out);
    atrest_status (*describe)(void *user, const char *vault_id, atrest_vault_description *description);
    void (*release)(void *user);
} atrest_vault_directory_callbacks;
#define ATREST_VAULT_DIRECTORY_CALLBACKS_INIT {sizeof(atrest_vault_directory_callbacks), 0, 0, 0, 0}
atrest_status atrest_vault_directory_new(atrest_vault_directory **out);
atrest_status atrest_vault_directory_add_file(atrest_vault_directory *directory, const atrest_vault *vault);
atrest_status atrest_vault_directory_add(atrest_vault_directory *directory, const atrest_vault *vault,
    const char *region, const char *tenant, uint32_t soft_delete, uint32_t purge_protection);
atrest_status atrest_vault_directory_remove(atrest_vault_directory *directory, const char *vault_id);
atrest_status atrest_vault_directory_ids(const atrest_vault_directory *directory, atrest_status (*each)(void *user,
    const char *vault_id), void *user);
atrest_status atrest_vault_directory_from_callbacks(const atrest_vault_directory_callbacks *callbacks,
    atrest_vault_directory **out);
void atrest_vault_directory_free(atrest_vault_directory *directory);
typedef struct atrest_disk_backend atrest_disk_backend;
typedef struct {
    size_t struct_size;
    void *user;
    atrest_status (*create)(void *user, const char *region, const char *id, uint64_t size, atrest_device **out);
    atrest_status (*open)(void *user, const char *region, const char *id, atrest_device **out);
    atrest_status (*remove)(void *user, const char *region, const char *id);
    void (*release)(void *user);
    atrest_status (*open_image)(void *user, const char *region, const char *image, atrest_device **out);
    atrest_status (*adopt_image)(void *user, const char *region, const char *id, const char *image, uint64_t size,
        atrest_device **out);
    atrest_status (*list)(void *user, const char *region, atrest_status (*each)(void *ids, const char *id), void *ids);
} atrest_disk_backend_callbacks;
#define ATREST_DISK_BACKEND_CALLBACKS_INIT {sizeof(atrest_disk_backend_callbacks), 0, 0, 0, 0, 0, 0, 0, 0}
atrest_status atrest_disk_backend_folder(const char *path, atrest_disk_backend **out);
atrest_status atrest_disk_backend_from_url(const char *url, atrest_disk_backend **out);
atrest_status atrest_disk_backend_from_callbacks(const atrest_disk_backend_callbacks *callbacks,
    atrest_disk_backend **out);
void atrest_disk_backend_free(atrest_disk_backend *backend);
typedef struct atrest_disk_service atrest_disk_service;
typedef struct {
    size_t struct_size;
    const atrest_disk_backend *backend;
    const atrest_vault_directory *vaults;
    const atrest_vault *platform;
    const char *platform_key;
    const atrest_clock *clock;
    uint64_t grace_seconds;
    uint64_t interval_seconds;
    uint64_t outage_seconds;
    uint64_t rotation_interval_seconds;
    size_t parallel;
    uint64_t deadline_seconds;
    uint32_t require_locked_memory;
    uint32_t reserved;
    uint32_t discard;
    uint32_t reserved_2;
    uint32_t written_map;
    uint32_t reserved_3;
} atrest_disk_service_options;
#define ATREST_DISK_SERVICE_OPTIONS_INIT {sizeof(atrest_disk_service_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
typedef void (*atrest_progress)(void *user, uint64_t done, uint64_t total);
typedef struct {
    size_t struct_size;
    const char *set;
    const char *key_url;
    uint64_t rewrapped;
    const char *message;
    atrest_status status;
    uint32_t reserved;
} atrest_rotated;
typedef struct {
    size_t struct_size;
    const char *set;
    const char *key_url;
    uint64_t expires;
    uint32_t auto_rotation;
    uint32_t reserved;
} atrest_expiring_key;
atrest_status atrest_disk_service_open(const char *store, const atrest_disk_service_options *options,
    atrest_disk_service **out);
void atrest_disk_service_free(atrest_disk_service *service);
atrest_status atrest_disk_service_maintain(const atrest_disk_service *service);
atrest_status atrest_disk_service_auto_rotate(const atrest_disk_service *service, atrest_progress progress,
    atrest_status (*each)(void *user, const atrest_rotated *rotated), void *user);
atrest_status atrest_disk_service_expiring_keys(const atrest_disk_service *service, uint64_t within_seconds,
    atrest_status (*each)(void *user, const atrest_expiring_key *key), void *user);
#define ATREST_IDENTITY_SIZE 257
typedef struct {
    size_t struct_size;
    const char *name;
    const char *region;
    const char *subscription;
    const char *tenant;
    const char *key_url;
    uint32_t encryption_type;
    uint32_t auto_rotation;
} atrest_new_set;
#define ATREST_NEW_SET_INIT {sizeof(atrest_new_set), 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t encryption_type;
    uint32_t auto_rotation;
    uint64_t created;
    uint64_t last_key_rotation_timestamp;
    uint64_t previous_keys;
    char identity[ATREST_IDENTITY_SIZE];
    char active_key[ATREST_KEY_URL_SIZE];
    char rotation_error[ATREST_NAME_SIZE];
} atrest_set_info;
#define ATREST_SET_INFO_INIT {sizeof(atrest_set_info), 0, 0, 0, 0, 0, {0}, {0}, {0}}
atrest_status atrest_disk_service_create_set(const atrest_disk_service *service, const atrest_new_set *set);
atrest_status atrest_disk_service_encryption_set(const atrest_disk_service *service, const char *set,
    atrest_set_info *out);
atrest_status atrest_disk_service_encryption_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);
atrest_status atrest_disk_service_encryption_sets(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *set), void *user);
atrest_status atrest_disk_service_members(const atrest_disk_service *service, const char *set,
    atrest_status (*each)(void *user, uint32_t kind, const char *name), void *user);
atrest_status atrest_disk_service_rotate_set(const atrest_disk_service *service, const char *set,
    atrest_progress progress, void *user, uint64_t *rewrapped);
atrest_status atrest_disk_service_change_key(const atrest_disk_service *service, const char *set, const char *key_url,
    atrest_progress progress, void *user, uint64_t *rewrapped);
atrest_status atrest_disk_service_rotate_platform(const atrest_disk_service *service, atrest_progress progress,
    void *user, uint64_t *rewrapped);
atrest_status atrest_disk_service_clear_rotation_error(const atrest_disk_service *service, const char *set);
atrest_status atrest_disk_service_set_auto_rotation(const atrest_disk_service *service, const char *set, uint32_t on);
atrest_status atrest_disk_service_move_set_to_tenant(const atrest_disk_service *service, const char *set,
    const char *tenant);
atrest_status atrest_disk_service_delete_set(const atrest_disk_service *service, const char *set);
#define ATREST_RESOURCE_DISK 1
#define ATREST_RESOURCE_SNAPSHOT 2
#define ATREST_RESOURCE_IMAGE 3
#define ATREST_ID_SIZE 37
typedef struct {
    size_t struct_size;
    const char *name;
    const char *region;
    const char *subscription;
    const char *set;
    uint64_t size;
    uint32_t sector_size;
    uint32_t reserved;
} atrest_new_disk;
#define ATREST_NEW_DISK_INIT {sizeof(atrest_new_disk), 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *name;
    const char *disk;
    const char *set;
    uint32_t incremental;
    uint32_t reserved;
} atrest_new_snapshot;
#define ATREST_NEW_SNAPSHOT_INIT {sizeof(atrest_new_snapshot), 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *name;
    const char *const *disks;
    size_t disks_count;
    const char *const *regions;
    size_t regions_count;
    const char *const *sets;
    size_t sets_count;
} atrest_new_image;
#define ATREST_NEW_IMAGE_INIT {sizeof(atrest_new_image), 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t kind;
    uint32_t encryption_type;
    uint64_t size;
    uint32_t sector_size;
    uint32_t joining;
    uint32_t guest_encrypted;
    uint32_t incremental;
    uint64_t created;
    char id[ATREST_ID_SIZE];
    char set[ATREST_NAME_SIZE];
} atrest_resource_info;
#define ATREST_RESOURCE_INFO_INIT {sizeof(atrest_resource_info), 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}}
atrest_status atrest_disk_service_create_disk(const atrest_disk_service *service, const atrest_new_disk *disk);
atrest_status atrest_disk_service_create_disk_from(const atrest_disk_service *service, uint32_t source_kind,
    const char *source_name, const atrest_new_disk *disk, atrest_progress progress, void *user);
atrest_status atrest_disk_service_create_snapshot(const atrest_disk_service *service,
    const atrest_new_snapshot *snapshot, atrest_progress progress, void *user);
atrest_status atrest_disk_service_create_image(const atrest_disk_service *service, const atrest_new_image *image,
    atrest_progress progress, void *user);
atrest_status atrest_disk_service_resource(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_resource_info *out);
atrest_status atrest_disk_service_resource_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);
atrest_status atrest_disk_service_names(const atrest_disk_service *service, uint32_t kind,
    atrest_status (*each)(void *user, const char *name), void *user);
atrest_status atrest_disk_service_image(const atrest_disk_service *service, const char *image,
    atrest_status (*each)(void *user, const char *name), void *user);
atrest_status atrest_disk_service_put_into_set(const atrest_disk_service *service, uint32_t kind, const char *name,
    const char *set);
atrest_status atrest_disk_service_mark_guest_encrypted(const atrest_disk_service *service, const char *disk);
atrest_status atrest_disk_service_set_host_encryption(const atrest_disk_service *service, const char *disk,
    uint32_t on);
atrest_status atrest_disk_service_resize_disk(const atrest_disk_service *service, const char *disk, uint64_t size);
atrest_status atrest_disk_service_move_to_subscription(const atrest_disk_service *service, uint32_t kind,
    const char *name, const char *subscription);
atrest_status atrest_disk_service_delete(const atrest_disk_service *service, uint32_t kind, const char *name);
atrest_status atrest_disk_service_delete_image(const atrest_disk_service *service, const char *image);
typedef struct atrest_disk atrest_disk;
atrest_status atrest_disk_service_open_disk(const atrest_disk_service *service, const char *name, atrest_disk **out);
void atrest_disk_free(atrest_disk *disk);
atrest_status atrest_disk_read_at(const atrest_disk *disk, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_disk_write_at(atrest_disk *disk, uint64_t offset, const void *sectors, size_t len);
atrest_status atrest_disk_sync(atrest_disk *disk);
atrest_status atrest_disk_name(const atrest_disk *disk, char *name, size_t name_cap, size_t *name_len);
atrest_status atrest_disk_size(const atrest_disk *disk, uint64_t *out);
atrest_status atrest_disk_sector_size(const atrest_disk *disk, uint32_t *out);
atrest_status atrest_disk_is_suspended(const atrest_disk *disk, uint32_t *out);
atrest_status atrest_volume_write_in_place(atrest_volume *volume, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_volume_read_vectored_at(const atrest_volume *volume, uint64_t offset,
    const atrest_segment *segments, size_t count);
atrest_status atrest_volume_write_vectored_at(atrest_volume *volume, uint64_t offset, const atrest_segment *segments,
    size_t count);
atrest_status atrest_volume_begin_read(const atrest_volume *volume, uint64_t offset, size_t len,
    uint64_t *device_offset);
atrest_status atrest_volume_complete_read(const atrest_volume *volume, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_volume_begin_write(atrest_volume *volume, uint64_t offset, void *sectors, size_t len,
    uint64_t *device_offset);
atrest_status atrest_volume_begin_write_from(atrest_volume *volume, uint64_t offset, const void *sectors,
    void *ciphertext, size_t len, uint64_t *device_offset);
atrest_status atrest_disk_write_in_place(atrest_disk *disk, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_disk_read_vectored_at(const atrest_disk *disk, uint64_t offset, const atrest_segment *segments,
    size_t count);
atrest_status atrest_disk_write_vectored_at(atrest_disk *disk, uint64_t offset, const atrest_segment *segments,
    size_t count);
atrest_status atrest_disk_begin_read(const atrest_disk *disk, uint64_t offset, size_t len, uint64_t *device_offset);
atrest_status atrest_disk_complete_read(const atrest_disk *disk, uint64_t offset, void *sectors, size_t len);
atrest_status atrest_disk_begin_write(atrest_disk *disk, uint64_t offset, void *sectors, size_t len,
    uint64_t *device_offset);
atrest_status atrest_disk_begin_write_from(atrest_disk *disk, uint64_t offset, const void *sectors, void *ciphertext,
    size_t len, uint64_t *device_offset);
atrest_status atrest_disk_complete_write(atrest_disk *disk);
atrest_status atrest_volume_write_zeroes(atrest_volume *volume, uint64_t offset, uint64_t len);
atrest_status atrest_volume_discard(atrest_volume *volume, uint64_t offset, uint64_t len);
atrest_status atrest_volume_discards(const atrest_volume *volume, uint32_t *out);
atrest_status atrest_volume_written_chunk_size(const atrest_volume *volume, uint32_t *out);
atrest_status atrest_volume_extent(const atrest_volume *volume, uint64_t offset, uint64_t *len, uint32_t *is_written);
atrest_status atrest_disk_write_zeroes(atrest_disk *disk, uint64_t offset, uint64_t len);
atrest_status atrest_disk_discard(atrest_disk *disk, uint64_t offset, uint64_t len);
atrest_status atrest_disk_discards(const atrest_disk *disk, uint32_t *out);
#define ATREST_RESILIENCE_CHECKSUM 1
#define ATREST_RESILIENCE_JOURNAL 2
typedef struct {
    size_t struct_size;
    uint32_t dek_algorithm;
    uint32_t sector_size;
    uint32_t resilience;
    const atrest_keyslot_options *keyslot;
    const atrest_dek *hazmat_dek;
} atrest_reencrypt_options;
#define ATREST_REENCRYPT_OPTIONS_INIT {sizeof(atrest_reencrypt_options), 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t under_way;
    uint64_t done;
    uint64_t total;
    uint64_t rate;
    uint64_t time_left_ms;
} atrest_reencryption_progress;
#define ATREST_REENCRYPTION_PROGRESS_INIT {sizeof(atrest_reencryption_progress), 0, 0, 0, 0, 0}
atrest_status atrest_volume_begin_reencryption(atrest_volume *volume, const atrest_protector *const *protectors,
    size_t count, const atrest_reencrypt_options *options);
atrest_status atrest_volume_begin_encryption(atrest_device *device, const atrest_protector *protector,
    const atrest_format_options *options, uint64_t free_at_end, atrest_volume **out);
atrest_status atrest_volume_begin_decryption(atrest_volume *volume, uint32_t resilience);
atrest_status atrest_volume_begin_decryption_beside(atrest_volume *volume, atrest_device *beside, uint32_t resilience);
atrest_status atrest_hazmat_volume_resume_unprotected(atrest_volume *volume, uint32_t resilience);
atrest_status atrest_volume_reencrypt_step(atrest_volume *volume, uint64_t budget,
    atrest_reencryption_progress *progress);
atrest_status atrest_volume_reencryption(const atrest_volume *volume, atrest_reencryption_progress *progress);
atrest_status atrest_volume_resize(atrest_volume *volume, uint64_t size, uint64_t *new_size);
#define ATREST_ADOPT_GUEST_ENCRYPTED 1
#define ATREST_ADOPT_REENCRYPT 2
atrest_status atrest_disk_service_rekey_disk(const atrest_disk_service *service, const char *disk);
atrest_status atrest_disk_service_import_disk(const atrest_disk_service *service, const atrest_new_disk *disk,
    const char *image);
atrest_status atrest_disk_service_adopt_disk(const atrest_disk_service *service, const atrest_new_disk *disk,
    const char *image, const atrest_credential *credential, uint32_t flags);
atrest_status atrest_disk_service_reencrypt_step(const atrest_disk_service *service, const char *disk, uint64_t budget,
    atrest_reencryption_progress *progress);
atrest_status atrest_disk_service_cancel_reencryption(const atrest_disk_service *service, const char *disk);
atrest_status atrest_disk_service_reencryption(const atrest_disk_service *service, const char *disk,
    atrest_reencryption_progress *progress);
atrest_status atrest_disk_service_reencrypting(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *name), void *user);
#define ATREST_PROTECTION_FINISHED 1
#define ATREST_PROTECTION_JOINING 2
#define ATREST_PROTECTION_ROTATING 3
#define ATREST_PROTECTION_UNPROVEN 4
#define ATREST_PROTECTION_HEADER_CHANGED 5
#define ATREST_PROTECTION_STORE_OUTDATED 6
#define ATREST_PROTECTION_HEADER_UNREADABLE 7
#define ATREST_ACCESS_CLOSED 1
#define ATREST_ACCESS_USABLE 2
#define ATREST_ACCESS_SUSPENDED 3
typedef struct {
    size_t struct_size;
    uint32_t status;
    uint32_t access;
} atrest_report;
#define ATREST_REPORT_INIT {sizeof(atrest_report), 0, 0}
typedef struct {
    size_t struct_size;
    uint64_t done;
    uint64_t total;
    uint32_t finished;
    uint32_t reserved;
} atrest_set_report;
#define ATREST_SET_REPORT_INIT {sizeof(atrest_set_report), 0, 0, 0, 0}
atrest_status atrest_disk_service_report(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_report *out);
atrest_status atrest_disk_service_report_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);
atrest_status atrest_disk_service_report_set(const atrest_disk_service *service, const char *set,
    atrest_set_report *out);
atrest_status atrest_disk_service_report_platform(const atrest_disk_service *service, atrest_set_report *out);
atrest_status atrest_disk_service_report_platform_json(const atrest_disk_service *service, char *json, size_t json_cap,
    size_t *json_len);
atrest_status atrest_disk_service_metrics_json(const atrest_disk_service *service, char *json, size_t json_cap,
    size_t *json_len);
atrest_status atrest_disk_service_report_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);
atrest_status atrest_capability_table_json(uint32_t encryption_type, uint32_t in_guest, char *json, size_t json_cap,
    size_t *json_len);
atrest_status atrest_capability_table_text(uint32_t encryption_type, uint32_t in_guest, char *text, size_t text_cap,
    size_t *text_len);
#define ATREST_REBUILT_RESTORED 1
#define ATREST_REBUILT_NAMED_BY_ID 2
#define ATREST_REBUILT_UNPROVEN 3
#define ATREST_REBUILT_MISSING 4
#define ATREST_REBUILT_LARGER 5
typedef struct {
    size_t struct_size;
    uint64_t changes;
    uint64_t sets;
    uint64_t resources;
    uint64_t defects;
} atrest_store_check;
#define ATREST_STORE_CHECK_INIT {sizeof(atrest_store_check), 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *const *ids;
    size_t ids_count;
    const char *const *regions;
    size_t regions_count;
    const char *const *stores;
    size_t stores_count;
    const char *subscription;
} atrest_rebuild_sources;
#define ATREST_REBUILD_SOURCES_INIT {sizeof(atrest_rebuild_sources), 0, 0, 0, 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    uint32_t outcome;
    uint32_t kind;
    const char *name;
    const char *region;
    const char *reason;
} atrest_rebuilt;
atrest_status atrest_disk_service_backup(const atrest_disk_service *service, const char *path);
atrest_status atrest_disk_service_check(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *defect), void *user, atrest_store_check *out);
atrest_status atrest_store_check_of_file(const char *path, atrest_status (*each)(void *user, const char *defect),
    void *user, atrest_store_check *out);
atrest_status atrest_store_rebuild(const char *path, const atrest_disk_service_options *options,
    const atrest_rebuild_sources *sources, atrest_status (*each)(void *user, const atrest_rebuilt *rebuilt),
    void *user);
atrest_status atrest_disk_service_orphans(const atrest_disk_service *service, const char *region,
    atrest_status (*each)(void *user, const char *id), void *user);
atrest_status atrest_disk_service_remove_orphan(const atrest_disk_service *service, const char *region, const char *id);
#define ATREST_LEASE_UNKNOWN 1
#define ATREST_LEASE_LIVE 2
#define ATREST_LEASE_RAN_OUT 3
#define ATREST_LEASE_LOST 4
#define ATREST_LEASE_UNREADABLE 5
#define ATREST_ATTACHMENT_OPEN 1
#define ATREST_ATTACHMENT_PROMISED 2
#define ATREST_ATTACHMENT_CLOSED 3
#define ATREST_ATTACHMENT_LOST 4
#define ATREST_ATTACHMENT_UNREADABLE 5
typedef struct atrest_fleet_store atrest_fleet_store;
typedef struct {
    size_t struct_size;
    const char *name;
    uint64_t lease_ms;
    uint32_t renews_by_hand;
    uint32_t reserved;
} atrest_host_options;
#define ATREST_HOST_OPTIONS_INIT {sizeof(atrest_host_options), 0, 0, 0, 0}
typedef struct {
    size_t struct_size;
    const char *name;
    const char *run;
    uint64_t lease_ms;
    uint64_t renewals;
    uint64_t still_ms;
    uint32_t state;
    uint32_t reserved;
} atrest_host;
typedef struct {
    size_t struct_size;
    const char *id;
    const char *name;
    const char *host;
    const char *run;
    const char *promised;
    const char *fault;
    uint32_t kind;
    uint32_t state;
    uint32_t unfenced;
    uint32_t reserved;
} atrest_attachment;
atrest_status atrest_fleet_store_from_url(const char *url, const atrest_vault_url_options *options,
    atrest_fleet_store **out);
void atrest_fleet_store_free(atrest_fleet_store *store);
atrest_status atrest_fleet_store_is_shared(const atrest_fleet_store *store, uint32_t *out);
atrest_status atrest_fleet_store_open_service(const atrest_fleet_store *store, const atrest_host_options *host,
    const atrest_disk_service_options *options, atrest_disk_service **out);
atrest_status atrest_disk_service_renew_host_lease(const atrest_disk_service *service);
atrest_status atrest_disk_service_hand_over(const atrest_disk_service *service, const char *disk, const char *to);
atrest_status atrest_fleet_store_hosts(const atrest_fleet_store *store, atrest_status (*each)(void *user,
    const atrest_host *host), void *user);
atrest_status atrest_fleet_store_attachments(const atrest_fleet_store *store, const char *after, size_t limit,
    atrest_status (*each)(void *user, const atrest_attachment *attachment), void *user);
atrest_status atrest_fleet_store_check(const atrest_fleet_store *store, atrest_status (*each)(void *user,
    const char *defect), void *user, atrest_store_check *out);
atrest_status atrest_fleet_store_copy_to(const atrest_fleet_store *from, const atrest_fleet_store *to,
    uint64_t *records);
atrest_status atrest_fleet_store_reopen_moved(const atrest_fleet_store *store);
#ifdef __cplusplus
}
#endif
#endif
