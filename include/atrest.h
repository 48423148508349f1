// atrest.h - encryption at rest that a storage stack links
//
// An AES-XTS sector engine; data encryption keys (DEKs), wrapped under key-encryption keys (KEKs) that live in a
// vault; volumes that are LUKS2 or LUKS1 on disk, or BitLocker. No root, no kernel module, no daemon. Link with -latrest.
//
// Rules for every function here, unless its own comment says otherwise:
//
// RESULT       A function returns an atrest_status: ATREST_OK (0) or the kind of failure. atrest_last_error_message()
//              has the details. A call leaves errno, the locale and the signal settings unchanged.
// OUTPUTS      Inputs come first, then outputs. An output is written if the function returns ATREST_OK, and left alone
//              otherwise. There is one exception: the length of a buffer that is too short.
// BUFFERS      An output of bytes is a triple: the buffer, its capacity, and a pointer to the length. On success the
//              length is the number of bytes written. On ATREST_ERR_BUFFER_TOO_SHORT it is the number of bytes needed;
//              so a NULL buffer of capacity 0 asks for the length. A NULL input of length 0 is empty.
// TEXT         An input text is UTF-8 and ends with a zero byte. An output text is a triple as above, and gets a zero
//              byte at its end: its length doesn't count that byte, its capacity must. The length may be NULL. A path
//              is any path of the operating system, in UTF-8 on Windows.
// HANDLES      Handles are opaque. The caller must free each handle that it gets from an output, with the function of
//              its type; NULL is fine there. A handle that depends on another keeps what it needs of it, so free them
//              in any order. A handle of the wrong type, or one that was freed not long ago, is refused with
//              ATREST_ERR_INVALID_HANDLE. This helps to find mistakes but can't find all.
// THREADS      Any number of threads may use a handle at once. But a handle must not be used while it is freed or
//              afterwards. A call doesn't visibly change a handle that is passed as a pointer to const.
// FORK         A forked child has none of its parent's keys. It may use the library, and gets ATREST_ERR_FORKED for
//              its parent's handles; freeing them does nothing. Open everything needed again in the child.
// MEMORY       The caller frees the memory that it allocates, and so does the library. Memory of a pointer argument is
//              only used during the call.
// STRUCTS      A struct that the caller fills starts from its _INIT macro, which sets struct_size and zeros the rest;
//              zero or NULL always means the default. Structs may grow at the end in later versions, and the library
//              takes the sizes of earlier ones.
// CALLBACKS    A callback may be called from any thread that uses its handle. It may call this library, with two
//              exceptions: a device's callbacks must not use the volume or header on that device, and the callbacks of
//              a disk service's parts and of its progress must not use that service. A callback must neither throw a
//              C++ exception nor longjmp out. It reports the reason of a failure with atrest_set_callback_message. It
//              writes its results into memory of the library. The library frees the handles that it returns.
// UNITS        Sizes, lengths and offsets are in bytes. The name of a sector number says what it counts.
// HAZMAT       A function that can lose data or leak a key when it is used without care has `hazmat` in its name.
//
// THE TWELVE CALLS that most programs need, in the order in which they come (examples/volume.c makes them):
//
//    1  atrest_vault_create_file, atrest_vault_open_file   the vault that holds your keys
//    2  atrest_vault_create_key                            a key in it, once
//    3  atrest_device_open_file                            the disk or image file
//    4  atrest_volume_format                               a new volume on it, under that key
//    5  atrest_volume_open                                 an existing one
//    6  atrest_volume_read_at                              reads and decrypts whole sectors
//    7  atrest_volume_write_at                             encrypts and writes whole sectors
//    8  atrest_volume_sync                                 makes writes durable
//    9  atrest_volume_rotate_kek                           moves the volume to the newest version of its key
//   10  atrest_header_backup                               saves the header, which opening needs
//   11  atrest_volume_free, atrest_device_free, atrest_vault_free
//   12  atrest_last_error_message                          why a call failed
//
// Sections, in this order:
//
//   VERSION
//   STATUS
//   MESSAGES
//   LOG
//   CLOCKS
//   KEY DERIVATION
//   VAULTS
//   KEYS OF A VAULT FILE
//   SECRETS OF A VAULT FILE
//   ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//   COPIES OF A VAULT FILE
//   VAULTS OF CALLBACKS
//   VAULTS BY URL
//   SEVERAL VAULTS AS ONE
//   DATA ENCRYPTION KEYS
//   SECTOR CIPHER
//   SEGMENTS
//   STREAM CIPHER
//   KEY WRAP
//   DEVICES
//   ENCRYPTED FILES
//   THE MEMORY OF SECRETS
//   SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS
//   WAYS INTO A VOLUME
//   HOW VOLUMES ARE MADE AND OPENED
//   VOLUMES
//   HEADERS
//   WHAT A HEADER LISTS
//   TOKENS FOR PROGRAMS ON LIBCRYPTSETUP
//   BITLOCKER
//   DATA WITHOUT A HEADER
//   VAULTS OF AZURE DISK ENCRYPTION
//   AZURE DISK ENCRYPTION
//   CUSTOMERS' VAULTS
//   WHERE DISKS LIE
//   DISK SERVICE
//   ENCRYPTION SETS
//   DISKS, SNAPSHOTS AND IMAGES
//   OPEN DISKS
//   ENGINES
//   ZEROS AND FREE BLOCKS
//   RE-ENCRYPTION
//   RE-ENCRYPTION OF DISKS
//   REPORTS
//   CARE OF A STORE
//   FLEETS OF MANY HOSTS
//
// Generated from crates/atrest-c/src by tests/capi/header.rs: change it there.

#ifndef ATREST_H
#define ATREST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------------------------------
// VERSION

// The version of this header.
#define ATREST_VERSION_MAJOR 0

// See ATREST_VERSION_MAJOR.
#define ATREST_VERSION_MINOR 1

// See ATREST_VERSION_MAJOR.
#define ATREST_VERSION_PATCH 0

// The version of the running library, such as "0.1.0". The text lives as long as the program.
const char *atrest_version(void);

// ---------------------------------------------------------------------------------------------------------------------
// STATUS
//
// The number of a status never changes and is never reused for another. 1 to 99 are mistakes in calls of the library,
// 100 to 199 come from the sector engine and key wrap, 200 to 299 from keys and vaults, 300 to 399 from volumes, 400
// to 499 from the system.

// Success.
#define ATREST_OK 0

// A pointer that must not be NULL is NULL.
#define ATREST_ERR_NULL_ARGUMENT 1

// A handle was freed, or is of another type.
#define ATREST_ERR_INVALID_HANDLE 2

// A number is none of the constants allowed here, or a flag isn't known.
#define ATREST_ERR_BAD_ENUM 3

// The struct_size of a struct is unknown to this version. Begin with the struct's _INIT macro.
#define ATREST_ERR_STRUCT_SIZE 4

// A text isn't UTF-8.
#define ATREST_ERR_NOT_UTF8 5

// Source and destination overlap in part. They may be the same, or apart.
#define ATREST_ERR_OVERLAP 6

// The output buffer is too short; the length says how many bytes are needed.
#define ATREST_ERR_BUFFER_TOO_SHORT 7

// No buffer can have this length: it is over half of the address space.
#define ATREST_ERR_LENGTH 8

// This kind of handle can't do this: a vault of callbacks can't make keys, for example.
#define ATREST_ERR_UNSUPPORTED 9

// A callback of the caller failed; the message has the number that it returned.
#define ATREST_ERR_CALLBACK_FAILED 10

// An option is out of its bounds; the message names the option and the bounds.
#define ATREST_ERR_INVALID_OPTION 11

// The library failed internally. This is a defect: please report the message.
#define ATREST_ERR_PANIC 90

// A failure that has no status of its own in this version.
#define ATREST_ERR_OTHER 91

// The cipher doesn't take a key of this length. XTS takes 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), CBC 16, 24 or
// 32, CTR and HCTR2 32.
#define ATREST_ERR_KEY_LENGTH 100

// The two halves of an XTS key are equal, which SP 800-38E and FIPS 140 (IG C.I) forbid.
#define ATREST_ERR_EQUAL_KEY_HALVES 101

// This sector size isn't supported here.
#define ATREST_ERR_SECTOR_SIZE 102

// A buffer isn't a whole number of sectors.
#define ATREST_ERR_PARTIAL_SECTOR 103

// Source and destination differ in length.
#define ATREST_ERR_LENGTH_MISMATCH 104

// The last sector of a run would have a number over 2^64 - 1.
#define ATREST_ERR_SECTOR_OVERFLOW 105

// A data unit is shorter than 16 bytes or longer than 16 MiB (IEEE 1619, 5.1).
#define ATREST_ERR_DATA_UNIT_LENGTH 106

// A KEK has a length that isn't allowed here.
#define ATREST_ERR_KEK_LENGTH 107

// The key-wrap algorithm does not take an input of this length.
#define ATREST_ERR_WRAP_LENGTH 108

// The integrity check of a wrapped key failed: another key wrapped it, or it was altered.
#define ATREST_ERR_UNWRAP_FAILED 109

// This CPU lacks the instructions of the kernel asked for.
#define ATREST_ERR_KERNEL_UNAVAILABLE 110

// A run of bytes in a stream would go past the last offset, 2^64 - 1.
#define ATREST_ERR_STREAM_OVERFLOW 111

// The self-test of an algorithm failed: this CPU or this build computes wrongly. Nothing that needs it works any more.
#define ATREST_ERR_SELF_TEST 112

// The algorithm isn't approved, and atrest_approved_only was called; the message names it.
#define ATREST_ERR_NOT_APPROVED 113

// The key has encrypted as much as it may: see ATREST_BLOCKS_MAX. It can still decrypt.
#define ATREST_ERR_KEY_EXHAUSTED 114

// The first sector number falls inside a sector: see ATREST_UNIT_512.
#define ATREST_ERR_SECTOR_NUMBER 115

// This version does not know the algorithm, or can't use it here.
#define ATREST_ERR_UNSUPPORTED_ALGORITHM 200

// The name of a vault, key or version isn't well formed.
#define ATREST_ERR_INVALID_NAME 201

// The context is longer than ATREST_CONTEXT_MAX bytes.
#define ATREST_ERR_CONTEXT_LENGTH 202

// The bytes are not an envelope, or it was altered.
#define ATREST_ERR_INVALID_ENVELOPE 203

// The envelope or volume is bound to another context than expected, or was altered.
#define ATREST_ERR_CONTEXT_MISMATCH 204

// Another vault wrapped the DEK; the message names it.
#define ATREST_ERR_NOT_THIS_VAULT 205

// The vault has no such key, or no such version of it.
#define ATREST_ERR_NO_SUCH_KEY 206

// The vault has a key of this name already.
#define ATREST_ERR_KEY_EXISTS 207

// The passphrase or key file does not open the vault or volume.
#define ATREST_ERR_WRONG_PASSPHRASE 208

// A vault's file is damaged; the message says how, and what to do.
#define ATREST_ERR_DAMAGED_VAULT 209

// A vault failed, or its answer was out of bounds.
#define ATREST_ERR_VAULT 210

// The version of the key, or every version of it, is disabled. Enable it in its vault to use it again.
#define ATREST_ERR_KEY_DISABLED 211

// The key is deleted. Recover it in its vault to use it again.
#define ATREST_ERR_KEY_DELETED 212

// The version of the key has expired. Rotate the key, or move its expiry.
#define ATREST_ERR_KEY_EXPIRED 213

// The version of the key isn't valid yet. Wait, or move its not-before time.
#define ATREST_ERR_KEY_NOT_YET_VALID 214

// The vault denies the identity the operation on the key: access was never granted, or was revoked.
#define ATREST_ERR_ACCESS_DENIED 215

// The vault's purge protection keeps the key: only a whole key, deleted and past its retention, can be purged.
#define ATREST_ERR_PURGE_PROTECTED 216

// The bytes are not the prefix of an encrypted file, or it was damaged or altered; the message says how.
#define ATREST_ERR_INVALID_PREFIX 217

// The DEK is not the expected one: something else was put in its place.
#define ATREST_ERR_OTHER_DEK 218

// The DEK is wrapped under another key than expected.
#define ATREST_ERR_OTHER_KEY 219

// The device carries no LUKS header.
#define ATREST_ERR_NOT_LUKS 300

// No copy of the LUKS header is intact; the message says what is wrong with each.
#define ATREST_ERR_INVALID_HEADER 301

// The LUKS header is sound but asks for a feature that this version doesn't have.
#define ATREST_ERR_UNSUPPORTED_HEADER 302

// The header's MAC does not match: somebody without the DEK changed it.
#define ATREST_ERR_TAMPERED_HEADER 303

// The key is not the key of this volume.
#define ATREST_ERR_WRONG_KEY 304

// The device is smaller than its required content, or than it was.
#define ATREST_ERR_DEVICE_TOO_SMALL 305

// The device holds data, and formatting was not told to overwrite it.
#define ATREST_ERR_DEVICE_NOT_BLANK 306

// An offset or length isn't a multiple of the sector size.
#define ATREST_ERR_MISALIGNED 307

// A read or write goes past the end of the volume.
#define ATREST_ERR_OUT_OF_BOUNDS 308

// A write to a volume that was opened read-only.
#define ATREST_ERR_READ_ONLY 309

// No keyslot or token has this number, or the credential opens none.
#define ATREST_ERR_NO_SUCH_PROTECTOR 310

// This is the last way into the volume: add another first, or erase the header.
#define ATREST_ERR_LAST_PROTECTOR 311

// The header has no room for another keyslot or token.
#define ATREST_ERR_NO_ROOM 312

// The header backup is of another volume.
#define ATREST_ERR_OTHER_HEADER 313

// Something foreign lies at the place of a damaged header copy: neither blank nor the remains of a header, such as a
// newer file system. The message names it. Nothing was written.
#define ATREST_ERR_FOREIGN_DATA 314

// The map of a volume's written chunks is damaged, or an older state of it was put back; the message says where.
#define ATREST_ERR_DAMAGED_MAP 315

// A managed disk's key may not be used now: it was disabled, deleted or expired, access to it was revoked, or its
// vault didn't answer for too long.
#define ATREST_ERR_DISK_SUSPENDED 350

// No set, disk, snapshot or image has this name.
#define ATREST_ERR_NO_SUCH_RESOURCE 351

// A set, disk, snapshot or image of this name exists already.
#define ATREST_ERR_RESOURCE_EXISTS 352

// The rules of managed disks forbid this; the message names the rule and the alternative.
#define ATREST_ERR_NOT_ALLOWED 353

// The header of a disk, snapshot or image is an older one that was put back: it names a former key, or is from before a
// re-encryption or an earlier step of it; or the whole device is.
#define ATREST_ERR_OLDER_HEADER 354

// The file system or device failed; the message has its error.
#define ATREST_ERR_IO 400

// Another process, or another handle of this one, holds the device or vault.
#define ATREST_ERR_BUSY 401

// The operating system gave no random bytes.
#define ATREST_ERR_RANDOM 402

// There is not enough memory.
#define ATREST_ERR_NO_MEMORY 403

// The parent of this process made the handle or key. A forked child has none of its parent's secrets: open the vault
// and the volume again in the child.
#define ATREST_ERR_FORKED 404

// The operating system refused to lock the memory of secrets, which the caller demanded.
#define ATREST_ERR_MEMORY_NOT_LOCKED 405

// A file is not there, or the folder of a new file is not there; the message names it.
#define ATREST_ERR_NOT_FOUND 406

// A file of this name exists already, and was not changed; the message names it.
#define ATREST_ERR_ALREADY_EXISTS 407

// The result of a call: one of the constants ATREST_OK and ATREST_ERR_*. Treat a number that isn't listed here, from a
// later version of the library, as a failure.
typedef uint32_t atrest_status;

// The name of a status, such as "ATREST_ERR_WRONG_KEY"; "unknown status" for any other number. Never NULL. The text
// lives as long as the program.
const char *atrest_status_name(atrest_status status);

// ---------------------------------------------------------------------------------------------------------------------
// MESSAGES

// A customer's vault must have soft delete and purge protection (16).
#define ATREST_RULE_VAULT_PROTECTION 16

// A set, its vault and its resources must be in one region (18).
#define ATREST_RULE_ONE_REGION 18

// A set can be deleted only when it is empty (19).
#define ATREST_RULE_SET_IN_USE 19

// A resource under the platform's key alone has no set (20).
#define ATREST_RULE_PLATFORM_KEY_HAS_NO_SET 20

// After a failed rotation, the set rotates again only once its error is cleared (32).
#define ATREST_RULE_ROTATION_FAILED 32

// A set and its vault must belong to one tenant (43).
#define ATREST_RULE_ONE_TENANT 43

// All incremental snapshots of a disk must be in its set (45).
#define ATREST_RULE_ONE_SET_FOR_SNAPSHOTS 45

// A set and its resources are in one subscription, and resources under a customer's key stay in it (47).
#define ATREST_RULE_ONE_SUBSCRIPTION 47

// An image is made and removed as a whole, and names one set or none for each region and disk (49).
#define ATREST_RULE_IMAGE_IS_WHOLE 49

// An image of a disk under a customer's key must be under a customer's key too (50).
#define ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY 50

// A disk that was encrypted in the guest can't be in a customer's set (52).
#define ATREST_RULE_ENCRYPTED_IN_GUEST 52

// Encryption at host and encryption in the guest exclude each other (56).
#define ATREST_RULE_ENCRYPTED_AT_HOST 56

// A second layer can't be added or removed in place (60).
#define ATREST_RULE_LAYERS_STAY 60

// The message of this thread's last failed call, in English, without secrets. Never NULL, and empty before the first
// failure. The text is valid until the next failed call of this thread, or the thread's end.
const char *atrest_last_error_message(void);

// The rule of managed disks that this thread's last failed call broke, ATREST_RULE_*; 0 unless it failed with
// ATREST_ERR_NOT_ALLOWED.
uint32_t atrest_last_rule(void);

// Sets the message for a callback's failure. The callback calls this on its own thread before it returns anything but
// ATREST_OK. The text becomes part of the message of the call that fails by it, so put no secrets into it. It is
// copied; bytes that aren't UTF-8 are replaced. Returns ATREST_OK, or ATREST_ERR_NULL_ARGUMENT.
atrest_status atrest_set_callback_message(const char *message);

// ---------------------------------------------------------------------------------------------------------------------
// LOG
//
// Events that operators need to know: a revoked key, a vault that doesn't answer, a repaired header, a failed
// rotation. Results that a call returns are not logged.

// Something failed, and data can't be reached until somebody acts.
#define ATREST_LOG_ERROR 1

// Something is wrong and will get worse.
#define ATREST_LOG_WARN 2

// A normal event.
#define ATREST_LOG_INFO 3

// Makes the library call `log` for each event of `level`, ATREST_LOG_*, or worse in this process; NULL stops it. It
// replaces the previous function, which isn't called any more once this returns.
//
// The message is in English, without secrets, and valid during the call. `log` may be called from any thread, also
// during a call of this library there, so it must not call this library.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_set_log(void (*log)(void *user, uint32_t level, const char *message), void *user, uint32_t level);

// ---------------------------------------------------------------------------------------------------------------------
// CLOCKS
//
// The clock decides what has expired and when a vault is asked again, and gives the times in records and logs. The
// default is the operating system's clock. Times are in seconds since 1970-01-01 UTC. A clock can be set back, so
// leases also count the time since the machine started, and end when either clock says so.

// A clock. Freed by atrest_clock_free.
typedef struct atrest_clock atrest_clock;

// A clock of the caller. Several threads may call it at once.
typedef struct {
    // Set by ATREST_CLOCK_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // The time. It is called at every read and write of a managed disk, so it must be fast. It can't fail.
    uint64_t (*now)(void *user);
    // Called once, when the clock and everything that uses it are freed. May be NULL.
    void (*release)(void *user);
    // The time since a fixed point, in milliseconds. It never goes back, and also counts while the machine is
    // suspended. It is called as often as the time, and can't fail. NULL for the operating system's, CLOCK_BOOTTIME on
    // Linux.
    uint64_t (*uptime)(void *user);
} atrest_clock_callbacks;

// The first value of an atrest_clock_callbacks.
#define ATREST_CLOCK_CALLBACKS_INIT {sizeof(atrest_clock_callbacks), 0, 0, 0, 0}

// Makes a clock that stands at `now` until it is set or moved: for tests, and for simulations.
atrest_status atrest_clock_manual(uint64_t now, atrest_clock **out);

// Makes a clock of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT for now().
atrest_status atrest_clock_from_callbacks(const atrest_clock_callbacks *callbacks, atrest_clock **out);

// Frees a clock. Everything that uses it keeps it.
void atrest_clock_free(atrest_clock *clock);

// The time by a clock.
atrest_status atrest_clock_now(const atrest_clock *clock, uint64_t *out);

// Sets a clock of atrest_clock_manual, forwards or back, for everything that uses it, like setting a machine's clock.
// The uptime, which leases also count by, stays.
//
// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
atrest_status atrest_clock_set(atrest_clock *clock, uint64_t now);

// Moves a clock of atrest_clock_manual and its uptime forwards, for everything that uses it.
//
// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
atrest_status atrest_clock_advance(atrest_clock *clock, uint64_t seconds);

// ---------------------------------------------------------------------------------------------------------------------
// KEY DERIVATION
//
// How passphrases become keys: those of volumes' keyslots, and of vault files.

// PBKDF2 with HMAC (RFC 8018): all that LUKS1 knows.
#define ATREST_KDF_PBKDF2 1

// Argon2i (RFC 9106).
#define ATREST_KDF_ARGON2I 2

// Argon2id (RFC 9106).
#define ATREST_KDF_ARGON2ID 3

// SHA-256.
#define ATREST_HASH_SHA256 1

// SHA-512.
#define ATREST_HASH_SHA512 2

// SHA-1. For headers of LUKS1 that have it already.
#define ATREST_HASH_SHA1 3

// A KDF and its costs.
typedef struct {
    // Set by ATREST_KDF_INIT.
    size_t struct_size;
    // ATREST_KDF_*. There is no default.
    uint32_t kind;
    // For PBKDF2: the hash, ATREST_HASH_*. 0 is ATREST_HASH_SHA256.
    uint32_t hash;
    // For PBKDF2: iterations, 1 to 50,000,000.
    uint32_t iterations;
    // For Argon2: memory in KiB, at least 8 for each lane, at most 4 GiB.
    uint32_t memory_kib;
    // For Argon2: passes over the memory, at least 1. Memory times passes is at most 64 GiB.
    uint32_t passes;
    // For Argon2: lanes, 1 to 16.
    uint32_t lanes;
} atrest_kdf;

// The first value of an atrest_kdf.
#define ATREST_KDF_INIT {sizeof(atrest_kdf), 0, 0, 0, 0, 0, 0}

// Finds the costs with which a KDF takes about `time_ms` milliseconds on this machine and at most `max_memory_kib` of
// memory, and puts them into `out`, which starts from ATREST_KDF_INIT. `kind` is ATREST_KDF_*. `hash` is for PBKDF2,
// `max_memory_kib` and `lanes` are for Argon2; each may be 0, and is then ATREST_HASH_SHA256, 2000, 1 GiB, and 4 lanes.
//
// The costs are never below 1000 iterations of PBKDF2, or 4 passes over 32 MiB of Argon2, however slow the machine.
// Measuring takes about as long as what is measured.
//
// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for ATREST_HASH_SHA1, memory below 32 MiB, lanes over 16, and
// when there is no memory; ATREST_ERR_STRUCT_SIZE.
atrest_status atrest_kdf_benchmark(uint32_t kind, uint32_t hash, uint32_t time_ms, uint32_t max_memory_kib,
    uint32_t lanes, atrest_kdf *out);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS
//
// A vault holds KEKs, which wrap DEKs and never leave it. The library has one kind: a file. The caller can make any
// other kind from callbacks (next section). Such a vault wraps and unwraps, but its keys are managed elsewhere.
//
// A KEK has a name and versions. The latest enabled and valid version wraps; older ones can still unwrap their wraps.
// The URL of a version is VAULT/keys/NAME/VERSION, where VAULT is the id of the vault. Names and versions consist of 1
// to 127 letters, digits, '-', '_' and '.'; an id consists of 1 to 512 visible ASCII characters.

// The size of a buffer for the URL of any version of a key, with its zero byte.
#define ATREST_KEY_URL_SIZE 774

// The vault generated the key.
#define ATREST_ORIGIN_GENERATED 1

// The key was imported.
#define ATREST_ORIGIN_IMPORTED 2

// An AES key of 256 bits.
#define ATREST_KEY_AES_256 1

// An RSA key of 2048 bits.
#define ATREST_KEY_RSA_2048 2

// An RSA key of 3072 bits.
#define ATREST_KEY_RSA_3072 3

// An RSA key of 4096 bits.
#define ATREST_KEY_RSA_4096 4

// A vault. Freed by atrest_vault_free.
typedef struct atrest_vault atrest_vault;

// The credential for a vault file: either a passphrase or a root key file.
typedef struct {
    // Set by ATREST_UNLOCK_INIT.
    size_t struct_size;
    // A passphrase of 1 byte to 8 MiB; it needs no zero byte at its end. NULL for none.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // The path of a root key file, of 32 bytes to 1 MiB. NULL for none.
    const char *key_file;
    // The cost of trying a new vault's passphrase, by Argon2id: KiB of memory, at least 8 for each lane, at most 1
    // GiB. All three costs 0 is 64 MiB, 3 passes and 4 lanes (RFC 9106); or after atrest_approved_only, PBKDF2 with
    // SHA-256 and 600,000 iterations. Not looked at when a vault is opened.
    uint32_t kdf_memory_kib;
    // Passes over the memory, 1 to 64.
    uint32_t kdf_passes;
    // Lanes, 1 to 16.
    uint32_t kdf_lanes;
    // In place of these three, the KDF with its costs: ATREST_KDF_ARGON2ID in the same bounds, or ATREST_KDF_PBKDF2 with
    // SHA-256 or SHA-512 and 1000 to 10,000,000 iterations. NULL for none.
    const atrest_kdf *kdf;
} atrest_unlock;

// The first value of an atrest_unlock.
#define ATREST_UNLOCK_INIT {sizeof(atrest_unlock), 0, 0, 0, 0, 0, 0, 0}

// One version of a key, as atrest_vault_keys lists it. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The name of the key.
    const char *key_name;
    // The version of the key.
    const char *version;
    // Both, in a URL.
    const char *url;
    // When the version was generated or imported, in seconds since 1970-01-01 UTC; 0 if unknown.
    uint64_t created;
    // ATREST_ORIGIN_*; 0 if unknown.
    uint32_t origin;
    // ATREST_KEY_*.
    uint32_t kind;
    // 1 if the version may be used, 0 if it is disabled.
    uint32_t enabled;
    // The first second in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // 1 if it only unwraps keys that were wrapped with a secret: see ATREST_CHANGE_AUTHENTICATED.
    uint32_t authenticated;
} atrest_key_version;

// Makes a new vault file without keys. `path` must not exist. Next to it this makes `path`.bak, a copy, `path`.lock,
// and `path`.audit, the log of every use. Several processes may use the vault at once.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder or the key file; ATREST_ERR_IO;
// ATREST_ERR_BUSY; ATREST_ERR_INVALID_OPTION for costs, a passphrase or a key file out of bounds, or unless there is
// exactly one of the latter two.
atrest_status atrest_vault_create_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);

// Opens a vault file. With a passphrase this takes as long as its cost, by default a good part of a second.
//
// Errors: ATREST_ERR_WRONG_PASSPHRASE, also for a wrong key file; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_NOT_FOUND, also for
// the key file; ATREST_ERR_IO; ATREST_ERR_INVALID_OPTION.
atrest_status atrest_vault_open_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);

// Writes a new root key file of 32 random bytes, readable by its owner only. `path` must not exist.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
atrest_status atrest_vault_generate_key_file(const char *path);

// Makes another handle of the same vault, to be freed separately. Use it in a callback that must give a handle away.
atrest_status atrest_vault_clone(const atrest_vault *vault, atrest_vault **out);

// Makes another handle of the same vault file with the clock `clock`. The clock decides what has expired and when a
// deleted key may be purged, and gives the times in the audit log. Handles made from the new one use it too.
//
// Errors: ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file.
atrest_status atrest_vault_with_clock(const atrest_vault *vault, const atrest_clock *clock, atrest_vault **out);

// Makes another handle of the same vault file, whose audit log is archived whenever a use finds it to have at least
// `bytes`, and at least 64 KiB: as by atrest_vault_archive_audit, into NAME.audit. and the number of the last entry,
// with 20 digits. The use that finds it waits for that, and is answered whether it succeeds or not.
//
// Errors: as atrest_vault_with_clock.
atrest_status atrest_vault_with_audit_rotation(const atrest_vault *vault, uint64_t bytes, atrest_vault **out);

// Frees a vault. Volumes and keys opened with it stay valid.
void atrest_vault_free(atrest_vault *vault);

// The id of a vault. A vault file gets its id when it is made.
atrest_status atrest_vault_id(const atrest_vault *vault, char *id, size_t id_cap, size_t *id_len);

// Generates a new key in a vault file, with one version, and puts that version's URL into `url`. `url` may be NULL;
// otherwise it needs room for ATREST_KEY_URL_SIZE bytes, even if the URL is shorter.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_KEY_EXISTS; ATREST_ERR_BUSY; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_IO;
// ATREST_ERR_UNSUPPORTED for a vault of callbacks, as with all functions that manage keys.
atrest_status atrest_vault_create_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);

// Generates a new version of a key in a vault file. From now on this version wraps. `url` is as in
// atrest_vault_create_key.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; the errors of the vault's file.
atrest_status atrest_vault_rotate_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);

// Imports a new key, the caller's own 32 bytes, into a vault file. `url` is as in atrest_vault_create_key. The caller
// must wipe `kek`.
//
// Errors: ATREST_ERR_KEK_LENGTH; those of atrest_vault_create_key.
atrest_status atrest_vault_import_key(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);

// Imports a new version of a key, the caller's own 32 bytes, into a vault file. Otherwise as atrest_vault_import_key.
//
// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_NO_SUCH_KEY; those of the vault's file.
atrest_status atrest_vault_import_version(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);

// Calls `each` for every version of every key in the current vault file, the oldest version of a key first. `each`
// returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: those of the vault's file.
atrest_status atrest_vault_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_key_version *version), void *user);

// Destroys one version of a key in a vault file for good. ALL DATA UNDER THIS VERSION ALONE IS LOST, as surely as by
// shredding the disk. Rotate the KEK of volumes and wrap DEKs again first.
//
// Errors: ATREST_ERR_INVALID_NAME unless the text is the URL of a version; ATREST_ERR_NO_SUCH_KEY;
// ATREST_ERR_PURGE_PROTECTED; those of the vault's file.
atrest_status atrest_hazmat_vault_destroy_version(atrest_vault *vault, const char *key_url);

// ---------------------------------------------------------------------------------------------------------------------
// KEYS OF A VAULT FILE
//
// A version of a key wraps and unwraps while it is enabled and valid. A deleted key does neither; it can be recovered
// until it is purged, which a vault with purge protection refuses before the retention is over.
//
// RSA keys need a library built with the feature `rsa`; without it, making or using one fails with
// ATREST_ERR_UNSUPPORTED_ALGORITHM.
//
// All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, unless
// said otherwise, and with the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

// Change `enabled`.
#define ATREST_CHANGE_ENABLED 1

// Change `not_before`.
#define ATREST_CHANGE_NOT_BEFORE 2

// Change `expires`.
#define ATREST_CHANGE_EXPIRES 4

// Change `authenticated`: whether an RSA key only unwraps keys that the vault itself wrapped. Without this, anyone
// with its public half can wrap a key of their own, and the vault then unwraps it as if it were yours. With it, the
// vault appends a MAC to its wraps, under a secret key of this version, and refuses wraps without one. Later versions
// inherit the setting. While it is on, the version refuses wraps from before it was turned on: rotate the key, turn it
// on for the new version, wrap everything under the old one again, then disable the old one.
#define ATREST_CHANGE_AUTHENTICATED 8

// Options of a new vault file.
typedef struct {
    // Set by ATREST_VAULT_OPTIONS_INIT.
    size_t struct_size;
    // The id of the vault, the first part of its keys' URLs, such as "https://contoso.vault.example". NULL for a
    // random one that begins with "urn:uuid:".
    const char *id;
    // The vault's region: 1 to 127 visible ASCII characters. NULL for none.
    const char *region;
    // The vault's tenant: 1 to 127 visible ASCII characters. NULL for none.
    const char *tenant;
    // For at least how many days a deleted key can be recovered: 7 to 90. 0 for 90.
    uint32_t retention_days;
    // 1 if nobody may purge a key before that, or destroy a version of one. It can't be turned off again.
    uint32_t purge_protection;
    // 1 if an expired version refuses to unwrap. By default it unwraps, as in cloud vaults.
    uint32_t refuse_expired;
} atrest_vault_options;

// The first value of an atrest_vault_options.
#define ATREST_VAULT_OPTIONS_INIT {sizeof(atrest_vault_options), 0, 0, 0, 0, 0, 0}

// Changes of a version of a key, or of a secret.
typedef struct {
    // Set by ATREST_VERSION_CHANGE_INIT.
    size_t struct_size;
    // The members below to apply: ATREST_CHANGE_*, added up.
    uint32_t changes;
    // 1 to enable the version, 0 to disable it.
    uint32_t enabled;
    // The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // 1 if it shall only unwrap keys that the vault itself wrapped, 0 if not.
    uint32_t authenticated;
} atrest_version_change;

// The first value of an atrest_version_change.
#define ATREST_VERSION_CHANGE_INIT {sizeof(atrest_version_change), 0, 0, 0, 0, 0}

// A deleted key, as atrest_vault_deleted_keys lists it, or secret. It and its text are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The name of the key, or of the secret.
    const char *key_name;
    // When it was deleted, in seconds since 1970-01-01 UTC.
    uint64_t deleted;
    // The end of its retention. It can be recovered after that too, until it is purged.
    uint64_t retained_until;
} atrest_deleted_key;

// As atrest_vault_create_file, with options. `options` may be NULL.
//
// Errors: ATREST_ERR_INVALID_OPTION and ATREST_ERR_INVALID_NAME for an option; those of atrest_vault_create_file.
atrest_status atrest_vault_create_file_with(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);

// Opens the vault file at `path`, or makes one if there is none. If many processes and threads do this at once, one
// makes it and all open the same. `options` may be NULL; the options of an existing vault don't change.
//
// Errors: those of atrest_vault_open_file and atrest_vault_create_file_with. ATREST_ERR_ALREADY_EXISTS only means that
// remains of another vault lie next to `path`.
atrest_status atrest_vault_open_or_create_file(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);

// Gives a vault file the passphrase or root key file of `unlock` in place of its current one; the KDF is as for a new vault.
// The same passphrase with another KDF moves it from Argon2id to PBKDF2, or back. Keys, grants, the log and wrapped DEKs
// stay. Other handles that have the file open, but clones of this one, are refused with ATREST_ERR_DAMAGED_VAULT until they
// open it anew. Killed at any instant, the vault opens by the old or by the new one.
//
// A copy of the file from before opens by the old one, and holds the same keys: if somebody may have both, rotate the keys.
//
// Errors: ATREST_ERR_INVALID_OPTION for costs, a passphrase or a key file out of bounds; ATREST_ERR_NOT_APPROVED;
// ATREST_ERR_BUSY where another thread has just changed it; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_NOT_FOUND for the key file;
// ATREST_ERR_IO; ATREST_ERR_UNSUPPORTED for a vault that isn't a file's owner's.
atrest_status atrest_vault_change_unlock(atrest_vault *vault, const atrest_unlock *unlock);

// As atrest_vault_create_key, for a key of the kind ATREST_KEY_*.
//
// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for RSA in a library without it; ATREST_ERR_KEY_DELETED if a
// deleted key has the name; those of atrest_vault_create_key.
atrest_status atrest_vault_create_key_of(atrest_vault *vault, const char *key_name, uint32_t kind, char *url,
    size_t url_cap);

// Imports the caller's own RSA key into a vault file: a private key of 2048, 3072 or 4096 bits in PKCS#8, as PEM or
// DER. It wraps by RSA-OAEP-256, and unwraps that and RSA-OAEP. The caller must wipe `pkcs8`.
//
// Errors: ATREST_ERR_UNSUPPORTED in a library without RSA; ATREST_ERR_UNSUPPORTED_ALGORITHM for another kind of key;
// ATREST_ERR_INVALID_OPTION for another form; those of atrest_vault_import_key.
atrest_status atrest_vault_import_rsa_key(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);

// Imports a new RSA version of a key into a vault file. Otherwise as atrest_vault_import_rsa_key.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; those of atrest_vault_import_rsa_key.
atrest_status atrest_vault_import_rsa_version(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);

// Calls `each` once with the description of a version of a key in any vault. If `version` is NULL, it is the version
// that would wrap, or else the latest enabled one.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED; ATREST_ERR_KEY_DISABLED if none is enabled;
// ATREST_ERR_ACCESS_DENIED; ATREST_ERR_UNSUPPORTED for a vault of callbacks that doesn't describe keys;
// ATREST_ERR_CALLBACK_FAILED if `each` doesn't return ATREST_OK.
atrest_status atrest_vault_describe(const atrest_vault *vault, const char *key_name, const char *version,
    atrest_status (*each)(void *user, const atrest_key_version *version), void *user);

// Enables or disables a version of a key, changes its period of validity, or changes whether it only unwraps keys that
// the vault itself wrapped.
//
// Errors: ATREST_ERR_INVALID_NAME unless the text is the URL of a version; ATREST_ERR_BAD_ENUM for `changes`;
// ATREST_ERR_INVALID_OPTION if it would expire before it is valid, or for an AES key that shall not be authenticated;
// ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_set_version(atrest_vault *vault, const char *key_url, const atrest_version_change *change);

// Deletes a key, with all its versions. It can be recovered until it is purged, and until then its name is taken.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_delete_key(atrest_vault *vault, const char *key_name);

// Undoes the deletion of a key. Its versions are unchanged.
//
// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted key has the name.
atrest_status atrest_vault_recover_key(atrest_vault *vault, const char *key_name);

// Destroys a deleted key for good. ALL DATA UNDER THIS KEY ALONE IS LOST. A new key may take its name; its version
// numbers continue after the old ones.
//
// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted key has the name; ATREST_ERR_PURGE_PROTECTED.
atrest_status atrest_hazmat_vault_purge_key(atrest_vault *vault, const char *key_name);

// Turns the purge protection of a vault file on. It can't be turned off.
atrest_status atrest_vault_enable_purge_protection(atrest_vault *vault);

// Calls `each` for every deleted key. `each` returns ATREST_OK to continue; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_deleted_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_deleted_key *key), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// SECRETS OF A VAULT FILE
//
// Values of others that a vault file keeps in versions, such as the passphrases of disks that a machine encrypted for
// itself. They are the owner's: no grant is for them. Each read and each change is logged, with "secrets/NAME" as the key.
//
// All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, and with the
// errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO. ATREST_ERR_NO_SUCH_KEY and the like
// are for a secret too.

// The most bytes of the value of a secret in a vault file.
#define ATREST_VAULT_SECRET_MAX 4096

// A note of the owner's beside a version of a secret. It is stored in the clear.
typedef struct {
    // Its name: 1 to 1024 bytes, without a control character.
    const char *name;
    // Its value: at most 1024 bytes, without a control character.
    const char *value;
} atrest_tag;

// Options of a new version of a secret.
typedef struct {
    // Set by ATREST_SECRET_OPTIONS_INIT.
    size_t struct_size;
    // Its tags, at most 32. Each has a name of its own.
    const atrest_tag *tags;
    // The number of tags.
    size_t tags_count;
} atrest_secret_options;

// The first value of an atrest_secret_options.
#define ATREST_SECRET_OPTIONS_INIT {sizeof(atrest_secret_options), 0, 0}

// The version of a secret that was read. It and what it points to are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The version.
    const char *version;
    // The number of tags.
    size_t tags_count;
    // Its tags, ordered by name.
    const atrest_tag *tags;
} atrest_read_secret;

// A version of a secret without its value, as atrest_vault_secrets lists it. It and what it points to are valid during the
// callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The name of the secret.
    const char *secret_name;
    // The version.
    const char *version;
    // When the version was made, in seconds since 1970-01-01 UTC.
    uint64_t created;
    // 1 if the version may be read, 0 if it is disabled.
    uint32_t enabled;
    // The first second in which it may be read; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired, and may not be read any more; 0 for never.
    uint64_t expires;
    // The number of tags.
    size_t tags_count;
    // Its tags, ordered by name.
    const atrest_tag *tags;
} atrest_secret_version;

// Makes a new version of a secret, or a secret, and puts the version into `version`, which may be NULL and otherwise has room
// for ATREST_NAME_SIZE bytes. Earlier versions stay as they are. The value has 1 to ATREST_VAULT_SECRET_MAX bytes; the caller
// must wipe it. `options` may be NULL.
//
// The first secret makes the file one of version 5, which releases before secrets refuse to open.
//
// Errors: ATREST_ERR_INVALID_NAME, as for keys; ATREST_ERR_INVALID_OPTION for a value or tags out of bounds, and for two tags
// of one name; ATREST_ERR_KEY_DELETED if a deleted secret has the name; ATREST_ERR_VAULT if the vault is full.
atrest_status atrest_vault_set_secret(atrest_vault *vault, const char *secret_name, const void *value, size_t value_len,
    const atrest_secret_options *options, char *version, size_t version_cap);

// Reads a version of a secret, or the newest one if `version` is NULL. The value goes into `value`; it is a secret in the
// caller's memory then: THE CALLER MUST WIPE IT. Room for ATREST_VAULT_SECRET_MAX bytes is enough for any. Before it is put
// there, `each`, which may be NULL, is called once with the version that was found and its tags.
//
// A buffer that is too short is noticed when the value is there; the log then has a read, too.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED; ATREST_ERR_KEY_DISABLED; ATREST_ERR_KEY_NOT_YET_VALID;
// ATREST_ERR_KEY_EXPIRED; ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_CALLBACK_FAILED if `each` doesn't return ATREST_OK.
atrest_status atrest_vault_secret(const atrest_vault *vault, const char *secret_name, const char *version,
    atrest_status (*each)(void *user, const atrest_read_secret *read), void *user, void *value, size_t value_cap,
    size_t *value_len);

// Calls `each` for every version of every secret that isn't deleted, the oldest version of a secret first. `each` returns
// ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_secrets(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_secret_version *version), void *user);

// Enables or disables a version of a secret, or changes its period of validity.
//
// Errors: ATREST_ERR_BAD_ENUM for `changes`; ATREST_ERR_INVALID_OPTION if it would expire before it is valid, and for
// ATREST_CHANGE_AUTHENTICATED, which only keys have; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_set_secret_version(atrest_vault *vault, const char *secret_name, const char *version,
    const atrest_version_change *change);

// Deletes a secret, with all its versions. It can be recovered until it is purged, and until then its name is taken.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_delete_secret(atrest_vault *vault, const char *secret_name);

// Calls `each` for every deleted secret that can be recovered. `each` returns ATREST_OK to continue; anything else ends the
// list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_deleted_secrets(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_deleted_key *secret), void *user);

// Undoes the deletion of a secret. Its versions are unchanged.
//
// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted secret has the name.
atrest_status atrest_vault_recover_secret(atrest_vault *vault, const char *secret_name);

// Destroys a deleted secret for good. EVERYTHING THAT ONLY ITS VALUES OPEN IS LOST. A new secret may take its name; its
// versions continue after the old ones.
//
// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted secret has the name; ATREST_ERR_PURGE_PROTECTED before its retention is over
// in a vault with purge protection.
atrest_status atrest_hazmat_vault_purge_secret(atrest_vault *vault, const char *secret_name);

// ---------------------------------------------------------------------------------------------------------------------
// ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//
// Anyone who can open a vault file is its owner. Others use a handle of atrest_vault_as_identity, within the owner's
// grants, for atrest_vault_describe (get) and for all functions that wrap and unwrap DEKs.
//
// Every use and every change is logged before it is answered. Each entry is chained to the one before, so that a
// changed, removed or added entry is detected. Entries cut off at the end are detected up to the last change of the
// vault, and up to a head that was kept elsewhere.
//
// All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, and with
// the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

// Reading a key's description.
#define ATREST_OPERATION_GET 1

// Wrapping a DEK.
#define ATREST_OPERATION_WRAP_KEY 2

// Unwrapping a DEK.
#define ATREST_OPERATION_UNWRAP_KEY 4

// The size of a buffer for any head of an audit log, with its zero byte.
#define ATREST_AUDIT_HEAD_SIZE 66

// An entry of the audit log. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The number of the entry, from 1.
    uint64_t seq;
    // The time, in seconds since 1970-01-01 UTC.
    uint64_t time;
    // The identity; NULL for the vault's owner.
    const char *identity;
    // The operation: "get", "wrapKey", "unwrapKey", or a change of the vault.
    const char *operation;
    // The name of the key, or NULL.
    const char *key_name;
    // The version of the key, or NULL.
    const char *version;
    // The identity whose access was granted or revoked, or NULL.
    const char *subject;
    // The outcome: "ok", or the reason of the failure.
    const char *outcome;
    // The number of bytes of torn lines before this entry, left by killed processes.
    uint64_t torn;
    // The number of the entry that this one continues from, if the vault found its log damaged or replaced when it
    // wrote this entry; otherwise 0.
    uint64_t after;
} atrest_audit_entry;

// Allows an identity (1 to 256 visible ASCII characters) `operations`, ATREST_OPERATION_* added up, in addition to
// earlier grants.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for no operation.
atrest_status atrest_vault_grant(atrest_vault *vault, const char *identity, uint32_t operations);

// Takes `operations` from an identity. It succeeds even if the identity doesn't have them.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_vault_revoke_operations(atrest_vault *vault, const char *identity, uint32_t operations);

// Calls `each` for every identity with access. `each` returns ATREST_OK to continue; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_grants(const atrest_vault *vault, atrest_status (*each)(void *user, const char *identity,
    uint32_t operations), void *user);

// The vault as seen by an identity other than its owner. Operations without a grant fail with
// ATREST_ERR_ACCESS_DENIED, as soon as access is revoked.
atrest_status atrest_vault_as_identity(const atrest_vault *vault, const char *identity, atrest_vault **out);

// Calls `each` for every entry of the audit log, each verified. `head` is NULL or an earlier result of
// atrest_vault_audit_head whose entry the log must contain. `each` returns ATREST_OK to continue; anything else ends
// the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_DAMAGED_VAULT, with the line, if an entry was changed, removed or added;
// ATREST_ERR_INVALID_OPTION unless the text is a head.
atrest_status atrest_vault_audit(const atrest_vault *vault, const char *head, atrest_status (*each)(void *user,
    const atrest_audit_entry *entry), void *user);

// As atrest_vault_audit, but continues after damage with each entry that is proven there. The vault wrote these
// entries, and their numbers show how many are missing.
//
// Errors: as atrest_vault_audit; ATREST_ERR_DAMAGED_VAULT comes after the last entry, with the first damage.
atrest_status atrest_vault_audit_past_damage(const atrest_vault *vault, const char *head,
    atrest_status (*each)(void *user, const atrest_audit_entry *entry), void *user);

// The current head of the audit log, as a text without secrets. Keep it in a place that writers of the vault's folder
// can't change.
atrest_status atrest_vault_audit_head(const atrest_vault *vault, char *head, size_t head_cap, size_t *head_len);

// The most blocks of 16 bytes that any one key of a vault's file can have encrypted by wrapping. It counts each
// numbered use in the log as a wrap of ATREST_DEK_MAX bytes under that key. Beyond ATREST_BLOCKS_MAX the vault stops
// wrapping (ATREST_ERR_KEY_EXHAUSTED). At ATREST_BLOCKS_DUE it becomes due for replacement.
atrest_status atrest_vault_usage(const atrest_vault *vault, uint64_t *blocks);

// Moves the audit log, intact or damaged, into a file that must not exist yet, and begins a new log that continues
// from it.
atrest_status atrest_vault_archive_audit(atrest_vault *vault, const char *path);

// ---------------------------------------------------------------------------------------------------------------------
// COPIES OF A VAULT FILE
//
// A copy of a vault file is a vault that the same passphrase or root key file opens. Keep one elsewhere, and make another after
// each change of its keys.

// The properties of a vault file, as atrest_vault_peek_file reads them. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The vault's id.
    const char *id;
    // Its region; NULL if none was given.
    const char *region;
    // Its tenant; NULL if none was given.
    const char *tenant;
    // For at least how many days a deleted key can be recovered.
    uint32_t retention_days;
    // 1 if a deleted key can't be purged during its retention, 0 if it can.
    uint32_t purge_protection;
    // 1 if an expired version refuses to unwrap, 0 if it unwraps.
    uint32_t refuse_expired;
} atrest_vault_properties;

// Copies a vault file and its audit log to `path`, where they are a vault that the same passphrase or root key file opens.
// Changes by others wait meanwhile; uses of keys go on. A leaked passphrase opens all copies that were made before it was
// changed.
//
// Errors: ATREST_ERR_ALREADY_EXISTS if a vault, or a copy or log of one, has that name; ATREST_ERR_NOT_FOUND for its folder;
// ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_BUSY; ATREST_ERR_IO; ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle
// of a vault file. After an error nothing is left there.
atrest_status atrest_vault_backup(const atrest_vault *vault, const char *path);

// Reads the properties of a vault file without opening it, and passes them to `tell`. NOTHING BUT A CHECKSUM VOUCHES FOR
// THEM: anyone who can write to the file can write them. No passphrase is needed, and nothing is written.
//
// Errors: ATREST_ERR_NOT_FOUND; ATREST_ERR_DAMAGED_VAULT, also for a file that is no vault; ATREST_ERR_IO;
// ATREST_ERR_CALLBACK_FAILED if `tell` doesn't return ATREST_OK.
atrest_status atrest_vault_peek_file(const char *path, atrest_status (*tell)(void *user,
    const atrest_vault_properties *properties), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS OF CALLBACKS
//
// A vault made by the caller, for a cloud's key service, an HSM, or any other key store.

// A256KW: AES-256 key wrap, RFC 3394.
#define ATREST_WRAP_A256KW 1

// A256KWP: AES-256 key wrap with padding, RFC 5649.
#define ATREST_WRAP_A256KWP 2

// RSA-OAEP-256: RSAES-OAEP with SHA-256, RFC 8017.
#define ATREST_WRAP_RSA_OAEP_256 3

// RSA-OAEP: RSAES-OAEP with SHA-1, RFC 8017. For old records.
#define ATREST_WRAP_RSA_OAEP 4

// RSA1_5: RSAES-PKCS1-v1_5, RFC 8017. For old records.
#define ATREST_WRAP_RSA1_5 5

// Known only to the vault. Its wrapped keys describe themselves.
#define ATREST_WRAP_OPAQUE 6

// RSA-OAEP-256+HS256: RSA-OAEP-256, followed by a MAC of the vault file that wrapped it.
#define ATREST_WRAP_RSA_OAEP_256_HS256 7

// The most bytes of a DEK as a vault of callbacks wraps it.
#define ATREST_WRAPPED_MAX 1024

// The most bytes of a DEK.
#define ATREST_DEK_MAX 64

// The size of a buffer for the name of any key or version, with its zero byte.
#define ATREST_NAME_SIZE 128

// A DEK as wrapped by a vault. The library owns it: wrap() fills `version` and the members after it, and unwrap() reads
// all.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The id of the vault that wrapped the DEK, which may be another one, or that shall wrap it.
    const char *vault_id;
    // The name of the key.
    const char *key_name;
    // The version of the key. When wrap() is called, it is the version to use, or empty for the latest. wrap() stores
    // the version that it used. A vault that can't choose the version stores its latest here, and is refused if that
    // is another one.
    char version[ATREST_NAME_SIZE];
    // The algorithm of the wrap: ATREST_WRAP_*.
    uint32_t algorithm;
    // The number of wrapped bytes: 1 to ATREST_WRAPPED_MAX.
    size_t bytes_len;
    // The wrapped bytes.
    uint8_t bytes[ATREST_WRAPPED_MAX];
} atrest_wrapped_dek;

// A vault's description of a version of a key. The library owns it: describe() fills `version` and the members after
// it.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The requested version. If it is empty, describe() stores the one that wrap() would use.
    char version[ATREST_NAME_SIZE];
    // ATREST_KEY_*.
    uint32_t kind;
    // 1 if the version may be used, 0 if it is disabled.
    uint32_t enabled;
    // The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // When it was made; 0 if unknown. It orders versions by age: a set with auto-rotation never returns to an older
    // one.
    uint64_t created;
} atrest_key_description;

// The callbacks of a vault. An answer out of bounds is refused with ATREST_ERR_VAULT.
typedef struct {
    // Set by ATREST_VAULT_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // The id of the vault, the first part of its keys' URLs, such as "https://contoso.vault.example". It must stay the
    // same as long as anything is wrapped under the vault's keys. Copied.
    const char *id;
    // Wraps `dek` under the key `wrapped->key_name`, and fills `wrapped`. Returns ATREST_OK. These revoke the key:
    // ATREST_ERR_NO_SUCH_KEY, ATREST_ERR_KEY_DISABLED, ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_EXPIRED,
    // ATREST_ERR_KEY_NOT_YET_VALID and ATREST_ERR_ACCESS_DENIED. Any other number counts as an outage, and the call
    // ends with ATREST_ERR_CALLBACK_FAILED.
    atrest_status (*wrap)(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped);
    // Unwraps the output of wrap() into `dek`, which has room for `dek_cap` bytes, and sets `dek_len`. Returns
    // ATREST_OK; ATREST_ERR_NOT_THIS_VAULT if another vault wrapped it; ATREST_ERR_UNWRAP_FAILED if the wrapped bytes
    // are wrong in any way, which is not an outage; otherwise as wrap().
    atrest_status (*unwrap)(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap,
        size_t *dek_len);
    // Called once, when every handle of the vault and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
    // Describes a version of the key `key_name` in `said`. May be NULL: not supported. Returns ATREST_OK, or as
    // wrap(); ATREST_ERR_UNSUPPORTED also means that it isn't supported.
    atrest_status (*describe)(void *user, const char *key_name, atrest_key_description *said);
} atrest_vault_callbacks;

// The first value of an atrest_vault_callbacks.
#define ATREST_VAULT_CALLBACKS_INIT {sizeof(atrest_vault_callbacks), 0, 0, 0, 0, 0, 0}

// Makes a vault of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT, also for wrap() and unwrap(); ATREST_ERR_INVALID_NAME for the id.
atrest_status atrest_vault_from_callbacks(const atrest_vault_callbacks *callbacks, atrest_vault **out);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS BY URL
//
// A URL names a vault wherever it is: a file, a key service, a token. Each kind but the file is a feature of the library's
// build (`kms` is all of them). No secret stands in a URL: secrets come from a callback, from files, or from the
// environment. docs/kms has what each kind takes.
//
//   file:PATH[?key-file=PATH]                   a vault file; without a key file by ATREST_PASSPHRASE
//   vault+https://HOST[:PORT]/MOUNT             transit: HashiCorp Vault, OpenBao; by VAULT_TOKEN or VAULT_SECRET_ID
//   awskms://REGION[/ACCOUNT]                   aws: AWS KMS; by AWS_SECRET_ACCESS_KEY and the like
//   azurekv://NAME.vault.azure.net              azure: Key Vault, Managed HSM; by AZURE_CLIENT_SECRET and the like
//   gcpkms://projects/P/locations/L/keyRings/R  gcp: Google Cloud KMS; by files
//   pkcs11:token=NAME?module-path=FILE          pkcs11: a token; by PKCS11_PIN
//   kmip://HOST[:PORT]?ca=FILE&cert=FILE&key=FILE  kmip: a key manager; by files
//   tpm:NAME?keys=FOLDER                        tpm: keys that a TPM seals; by TPM_AUTH

// The most bytes of a secret that a callback gives.
#define ATREST_SECRET_MAX 16384

// Options for opening a vault by its URL.
typedef struct {
    // Set by ATREST_VAULT_URL_OPTIONS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // Writes a secret of at most `cap` bytes into `secret`, which the library wipes, and its length into `len`. `name` is
    // that of the environment variable that would hold it, such as VAULT_TOKEN. Returns ATREST_OK; ATREST_ERR_NOT_FOUND
    // to have the library look in the usual places; anything else is a failure. NULL for none.
    //
    // It may be called again while the vault is used, when that logs in again.
    atrest_status (*secret)(void *user, const char *name, uint8_t *secret, size_t cap, size_t *len);
    // Called once, when no secret is needed any more: with a vault file at once, otherwise when the vault and everything
    // that uses it are freed. May be NULL.
    void (*release)(void *user);
    // The most time that a call may take, with all retries, in milliseconds. 0 is each kind's own: 20 or 30 seconds.
    // Vault files have none.
    uint32_t deadline_ms;
} atrest_vault_url_options;

// The first value of an atrest_vault_url_options.
#define ATREST_VAULT_URL_OPTIONS_INIT {sizeof(atrest_vault_url_options), 0, 0, 0, 0}

// Opens the vault that a URL names. Only a vault file is looked at; nothing else is asked yet. `options` may be NULL.
// release() is not called when this fails.
//
// The vault of a file is its owner's handle, by which its keys are managed; with all other kinds that is done where they
// are. Errors: ATREST_ERR_INVALID_OPTION for another URL, for one whose feature the library was built without, and for a
// secret that is missing; for a vault file those of atrest_vault_open_file.
atrest_status atrest_vault_open_url(const char *url, const atrest_vault_url_options *options, atrest_vault **out);

// ---------------------------------------------------------------------------------------------------------------------
// SEVERAL VAULTS AS ONE
//
// A volume may have a token for each of several vaults: any of them opens it alone, so one vault may be down. Or its
// DEK is split among n vaults: any m of them open it together, so a stolen one opens nothing. docs/kms/quorum.md
// compares the two.

// Makes one vault of `count` vaults: each of them unwraps its own wraps, and the first wraps. One that fails to answer
// isn't asked again for a while, at most a minute. Add tokens for the others by atrest_volume_add_protector.
//
// The handles stay the caller's. Errors: ATREST_ERR_INVALID_OPTION for none, or the same vault twice.
atrest_status atrest_vault_any(const atrest_vault *const *vaults, size_t count, atrest_vault **out);

// Makes one vault of `count` vaults, at most 16, of which any `threshold`, at least 2, unwrap together; fewer learn
// nothing. `id` is its own id, by which it knows its wraps, such as quorum:board. To wrap takes all of them.
//
// `key_names` has the name of the key in each vault, or NULL where it is the same as the quorum's; it may be NULL as a
// whole. The handles stay the caller's.
//
// Errors: ATREST_ERR_INVALID_OPTION for another number, or the same vault twice; ATREST_ERR_INVALID_NAME;
// ATREST_ERR_UNSUPPORTED if the library was built without the feature `quorum`.
atrest_status atrest_vault_quorum(const char *id, size_t threshold, const atrest_vault *const *vaults,
    const char *const *key_names, size_t count, atrest_vault **out);

// ---------------------------------------------------------------------------------------------------------------------
// DATA ENCRYPTION KEYS
//
// A DEK encrypts sectors, or the bytes of a file. It is only stored wrapped: in an envelope, i.e. bytes to store next
// to the data, or in the header of a volume.

// AES-128-XTS, 32 bytes of key.
#define ATREST_AES_128_XTS 1

// AES-256-XTS, 64 bytes of key.
#define ATREST_AES_256_XTS 2

// AES-128-CBC, 16 bytes of key. For old volumes only.
#define ATREST_AES_128_CBC 3

// AES-192-CBC, 24 bytes of key. For old volumes only.
#define ATREST_AES_192_CBC 4

// AES-256-CBC, 32 bytes of key. For old volumes only.
#define ATREST_AES_256_CBC 5

// AES-256-HCTR2, 32 bytes of key. For a second layer: a volume below another of AES-XTS.
#define ATREST_AES_256_HCTR2 6

// AES-256-CTR, 32 bytes of key. For engines' files, one key per file: see atrest_stream_cipher.
#define ATREST_AES_256_CTR 7

// AES-128-CBC with the Elephant diffuser, 32 bytes of key. Of BitLocker volumes: feature `bitlocker`.
#define ATREST_AES_128_CBC_ELEPHANT 8

// AES-256-CBC with the Elephant diffuser, 64 bytes of key. Of BitLocker volumes: feature `bitlocker`.
#define ATREST_AES_256_CBC_ELEPHANT 9

// AES-128-ECB, 16 bytes of key. For reading old volumes only.
#define ATREST_AES_128_ECB 10

// AES-192-ECB, 24 bytes of key. For reading old volumes only.
#define ATREST_AES_192_ECB 11

// AES-256-ECB, 32 bytes of key. For reading old volumes only.
#define ATREST_AES_256_ECB 12

// Serpent-128-XTS, 32 bytes of key. For old volumes only, as all of the feature `legacy`.
#define ATREST_SERPENT_128_XTS 13

// Serpent-256-XTS, 64 bytes of key. Feature `legacy`.
#define ATREST_SERPENT_256_XTS 14

// Serpent-128-CBC, 16 bytes of key. Feature `legacy`.
#define ATREST_SERPENT_128_CBC 15

// Serpent-192-CBC, 24 bytes of key. Feature `legacy`.
#define ATREST_SERPENT_192_CBC 16

// Serpent-256-CBC, 32 bytes of key. Feature `legacy`.
#define ATREST_SERPENT_256_CBC 17

// Twofish-128-XTS, 32 bytes of key. Feature `legacy`.
#define ATREST_TWOFISH_128_XTS 18

// Twofish-256-XTS, 64 bytes of key. Feature `legacy`.
#define ATREST_TWOFISH_256_XTS 19

// Twofish-128-CBC, 16 bytes of key. Feature `legacy`.
#define ATREST_TWOFISH_128_CBC 20

// Twofish-192-CBC, 24 bytes of key. Feature `legacy`.
#define ATREST_TWOFISH_192_CBC 21

// Twofish-256-CBC, 32 bytes of key. Feature `legacy`.
#define ATREST_TWOFISH_256_CBC 22

// Camellia-128-XTS, 32 bytes of key. Feature `legacy`.
#define ATREST_CAMELLIA_128_XTS 23

// Camellia-256-XTS, 64 bytes of key. Feature `legacy`.
#define ATREST_CAMELLIA_256_XTS 24

// Camellia-128-CBC, 16 bytes of key. Feature `legacy`.
#define ATREST_CAMELLIA_128_CBC 25

// Camellia-192-CBC, 24 bytes of key. Feature `legacy`.
#define ATREST_CAMELLIA_192_CBC 26

// Camellia-256-CBC, 32 bytes of key. Feature `legacy`.
#define ATREST_CAMELLIA_256_CBC 27

// Adiantum with XChaCha12 and AES-256, 32 bytes of key. Feature `legacy`.
#define ATREST_ADIANTUM 28

// AES-192-XTS, 48 bytes of key. No standard has it. Feature `legacy`.
#define ATREST_AES_192_XTS 29

// The most bytes of a context.
#define ATREST_CONTEXT_MAX 1024

// The most bytes of an envelope by one vault.
#define ATREST_ENVELOPE_MAX 3124

// The most bytes of an envelope by several vaults together: see atrest_vault_quorum.
#define ATREST_QUORUM_ENVELOPE_MAX 3892

// The length of a fingerprint in bytes.
#define ATREST_FINGERPRINT_SIZE 32

// A data encryption key, in memory that is locked and left out of core dumps if the operating system allows it. Freed
// by atrest_dek_free, which wipes it.
typedef struct atrest_dek atrest_dek;

// Generates a DEK. `algorithm` is ATREST_AES_256_XTS or another ATREST_AES_*, or one for old volumes. A DEK only makes ciphers of its own
// mode: one for XTS makes sector ciphers, one for CTR stream ciphers. Both of these go into envelopes; DEKs for CBC
// and HCTR2 only go into volumes.
//
// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for an algorithm of a feature that the library was built without;
// ATREST_ERR_RANDOM.
atrest_status atrest_dek_generate(uint32_t algorithm, atrest_dek **out);

// Wipes and frees a DEK. Ciphers and volumes made from it stay valid.
void atrest_dek_free(atrest_dek *dek);

// The algorithm of a DEK: one of ATREST_AES_* and the like.
atrest_status atrest_dek_algorithm(const atrest_dek *dek, uint32_t *out);

// Identifies a DEK: 32 bytes derived from the key, which reveal nothing about it. Keep them where an attacker with
// write access to the disk can't change them, and compare. An attacker who may wrap keys under your KEK, for example
// with the public half of an RSA key, can make a volume or envelope that your vault opens, and put it in place of
// yours.
atrest_status atrest_dek_fingerprint(const atrest_dek *dek, uint8_t *fingerprint);

// Has `vault` wrap a DEK under the latest version of the key `key_name`, and puts everything needed to unwrap it into
// `envelope`, at most ATREST_ENVELOPE_MAX bytes, or ATREST_QUORUM_ENVELOPE_MAX by several vaults together. An envelope
// holds no secret.
//
// `context` identifies what the DEK is for, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the
// clear. Unwrapping needs the same context, so that envelopes can't be exchanged.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_UNSUPPORTED_ALGORITHM
// for a DEK that is neither for XTS nor for CTR; ATREST_ERR_BUFFER_TOO_SHORT, after the vault was asked; the vault's
// errors.
atrest_status atrest_envelope_seal(const atrest_dek *dek, const atrest_vault *vault, const char *key_name,
    const void *context, size_t context_len, void *envelope, size_t envelope_cap, size_t *envelope_len);

// Has `vault` unwrap the DEK of an envelope, which must be bound to `context`.
//
// Errors: ATREST_ERR_INVALID_ENVELOPE, also if it was altered; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_NOT_THIS_VAULT;
// ATREST_ERR_NO_SUCH_KEY if the version was destroyed; ATREST_ERR_UNWRAP_FAILED; the vault's errors.
atrest_status atrest_envelope_unseal(const atrest_vault *vault, const void *envelope, size_t envelope_len,
    const void *context, size_t context_len, atrest_dek **out);

// The URL of the key version that wrapped an envelope's DEK, for choosing the vault to ask. It is not proven before
// the DEK is unwrapped.
//
// Errors: ATREST_ERR_INVALID_ENVELOPE; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_envelope_key_url(const void *envelope, size_t envelope_len, char *url, size_t url_cap,
    size_t *url_len);

// Makes a DEK from the caller's own 32 or 64 bytes. The DEK is weak if the bytes aren't random, if another program
// also holds them, or if they encrypt two disks; the library can't detect that. The caller must wipe `bytes`.
//
// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES.
atrest_status atrest_hazmat_dek_from_bytes(const void *bytes, size_t bytes_len, atrest_dek **out);

// The bytes of a DEK. Anyone who has them can read the disk for ever, even if the KEK is revoked. The caller must wipe
// `bytes`.
atrest_status atrest_hazmat_dek_bytes(const atrest_dek *dek, void *bytes, size_t bytes_cap, size_t *bytes_len);

// ---------------------------------------------------------------------------------------------------------------------
// SECTOR CIPHER
//
// XTS-AES over runs of sectors (IEEE 1619-2018, NIST SP 800-38E), for engines that do their own input and output.
// Encrypting and decrypting neither allocate nor lock; any number of threads may use one cipher.
//
// XTS protects a sector's content against an attacker who sees the disk once. It does not detect changes. To an
// attacker who sees the disk twice, it reveals which 16-byte blocks of a sector changed.

// Sector numbers count units of 512 bytes for any sector size: plain64 of dm-crypt and LUKS. Sectors of 4096 bytes
// have the numbers 0, 8, 16 and so on; numbers between them are refused, because sectors numbered 0, 1, 2 would share
// tweaks.
#define ATREST_UNIT_512 1

// Sector numbers count sectors or pages: 0, 1, 2 for any size. dm-crypt's plain64 with iv_large_sectors.
#define ATREST_UNIT_SECTOR 2

// As ATREST_UNIT_512, starting at any number: dm-crypt's plain64 with an offset that isn't a multiple of the sector
// size. Runs with overlapping numbers share tweaks, and this isn't detected.
#define ATREST_UNIT_512_ANY_OFFSET 3

// An expanded XTS key, with the size and numbering of sectors. Freed by atrest_sector_cipher_free, which wipes it.
typedef struct atrest_sector_cipher atrest_sector_cipher;

// Expands a DEK for sectors of `sector_size`, 512 to 65,536 bytes, numbered by `sector_unit`, ATREST_UNIT_*. A size
// that isn't a multiple of 512 needs ATREST_UNIT_SECTOR. The DEK may be freed afterwards.
//
// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a DEK that isn't for XTS.
atrest_status atrest_sector_cipher_new(const atrest_dek *dek, uint32_t sector_size, uint32_t sector_unit,
    atrest_sector_cipher **out);

// As atrest_sector_cipher_new, from the bytes of a key that is kept elsewhere: the data key followed by the tweak key, 32 bytes
// for AES-128-XTS or 64 for AES-256-XTS. The caller wipes its copy. This takes two thirds of the time of a DEK and its cipher.
//
// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES; ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM.
atrest_status atrest_sector_cipher_from_key(const void *key, size_t key_len, uint32_t sector_size, uint32_t sector_unit,
    atrest_sector_cipher **out);

// Wipes and frees a cipher.
void atrest_sector_cipher_free(atrest_sector_cipher *cipher);

// Encrypts `len` bytes of consecutive sectors in place. `first_sector` is the number of the first one. `sectors` is
// unchanged unless the function returns ATREST_OK.
//
// Errors: ATREST_ERR_PARTIAL_SECTOR; ATREST_ERR_SECTOR_NUMBER; ATREST_ERR_SECTOR_OVERFLOW; ATREST_ERR_KEY_EXHAUSTED.
atrest_status atrest_sector_cipher_encrypt(const atrest_sector_cipher *cipher, uint64_t first_sector, void *sectors,
    size_t len);

// Decrypts sectors in place, as atrest_sector_cipher_encrypt encrypts them.
atrest_status atrest_sector_cipher_decrypt(const atrest_sector_cipher *cipher, uint64_t first_sector, void *sectors,
    size_t len);

// Encrypts `len` bytes of consecutive sectors from `src` to `dst`, which may be the same but must not overlap in
// part.
//
// Errors: ATREST_ERR_OVERLAP; those of atrest_sector_cipher_encrypt.
atrest_status atrest_sector_cipher_encrypt_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// Decrypts sectors from `src` to `dst`, as atrest_sector_cipher_encrypt_to encrypts them.
atrest_status atrest_sector_cipher_decrypt_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// Encrypts one data unit in place under a tweak of 16 bytes, for engines with their own block numbers.
//
// `len` is 16 bytes to 16 MiB, independent of the sector size. If it isn't a multiple of 16, ciphertext stealing is
// used. `tweak` is the number of the data unit as 16 little-endian bytes. Never use a tweak for two data units under
// one key.
//
// Errors: ATREST_ERR_DATA_UNIT_LENGTH.
atrest_status atrest_sector_cipher_encrypt_unit(const atrest_sector_cipher *cipher, const uint8_t *tweak, void *unit,
    size_t len);

// Decrypts a data unit in place, as atrest_sector_cipher_encrypt_unit encrypts it.
atrest_status atrest_sector_cipher_decrypt_unit(const atrest_sector_cipher *cipher, const uint8_t *tweak, void *unit,
    size_t len);

// Encrypts a data unit, as atrest_sector_cipher_encrypt_unit does, from `src` to `dst`, which may be the same but
// must not overlap in part.
//
// Errors: ATREST_ERR_OVERLAP; ATREST_ERR_DATA_UNIT_LENGTH.
atrest_status atrest_sector_cipher_encrypt_unit_to(const atrest_sector_cipher *cipher, const uint8_t *tweak,
    const void *src, void *dst, size_t len);

// Decrypts a data unit from `src` to `dst`, as atrest_sector_cipher_encrypt_unit_to encrypts it.
atrest_status atrest_sector_cipher_decrypt_unit_to(const atrest_sector_cipher *cipher, const uint8_t *tweak,
    const void *src, void *dst, size_t len);

// Encrypts as atrest_sector_cipher_encrypt_to does, but writes `dst` past the cache.
//
// Use it for output that is larger than the cache or isn't read soon. `dst` must be aligned to 64 bytes and must not
// be `src`; otherwise this is atrest_sector_cipher_encrypt_to. It is slower for output that stays in the cache.
//
// Errors: as atrest_sector_cipher_encrypt_to.
atrest_status atrest_sector_cipher_encrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// Decrypts past the cache, as atrest_sector_cipher_encrypt_streaming encrypts.
atrest_status atrest_sector_cipher_decrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// The number of 16-byte blocks that the cipher has encrypted: see ATREST_BLOCKS_DUE.
atrest_status atrest_sector_cipher_usage(const atrest_sector_cipher *cipher, uint64_t *blocks);

// Adds blocks that the cipher's key has encrypted elsewhere: in an earlier process, or with another cipher.
atrest_status atrest_sector_cipher_count_in(const atrest_sector_cipher *cipher, uint64_t blocks);

// ---------------------------------------------------------------------------------------------------------------------
// SEGMENTS
//
// Runs of sectors in several pieces of memory, like the vectors of readv and writev.

// A piece of a run of sectors in memory, like a `struct iovec`.
typedef struct {
    // Its first byte. NULL if it is empty.
    void *base;
    // Its length: whole sectors, or 0.
    size_t len;
} atrest_segment;

// Encrypts a run of consecutive sectors in `count` segments, in place.
//
// The segments follow one another on the disk: the first sector of each has the number after the last sector of the
// segment before. They must not overlap. All lengths are checked before the first segment is changed.
//
// Errors: those of atrest_sector_cipher_encrypt.
atrest_status atrest_sector_cipher_encrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);

// Decrypts segments in place, as atrest_sector_cipher_encrypt_segments encrypts them.
atrest_status atrest_sector_cipher_decrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);

// Encrypts a run of consecutive sectors from the segments `src` to the segments `dst`, which may be divided
// differently.
//
// Both follow the rules of atrest_sector_cipher_encrypt_segments, and have the same total length. A piece whose source
// and destination are the same memory is encrypted in place. Otherwise source and destination must not overlap; this
// is only checked for each piece and its own destination. All checks are made before the first segment is changed.
//
// Errors: ATREST_ERR_LENGTH_MISMATCH; ATREST_ERR_OVERLAP; those of atrest_sector_cipher_encrypt_segments.
atrest_status atrest_sector_cipher_encrypt_segments_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *src, size_t src_count, const atrest_segment *dst, size_t dst_count);

// Decrypts from segments to segments, as atrest_sector_cipher_encrypt_segments_to encrypts them.
atrest_status atrest_sector_cipher_decrypt_segments_to(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *src, size_t src_count, const atrest_segment *dst, size_t dst_count);

// ---------------------------------------------------------------------------------------------------------------------
// STREAM CIPHER
//
// AES-256 in counter mode (NIST SP 800-38A) over a stream of bytes, for engines whose files are read and written at
// any byte. Applying it neither allocates nor locks; any number of threads may use one cipher.
//
// ONE KEY, ONE FILE. Never encrypt two contents at the same offset under the same key and nonce. Anyone who sees both,
// such as a file before and after it was truncated and rewritten, learns their difference (XOR), and often the
// contents. So a file needs a fresh DEK whenever it is made, truncated or reused, and data must be appended, not
// overwritten. atrest_file_prefix_create makes such a key.
//
// The mode hides a file's content but detects no change: an attacker who can write to the file can flip any bits of
// the plaintext. Authenticate in a layer above, and take a new key before 2^52 bytes (4 PiB).

// The length of a nonce in bytes.
#define ATREST_NONCE_SIZE 16

// An expanded key for one stream of bytes. Freed by atrest_stream_cipher_free, which wipes it.
typedef struct atrest_stream_cipher atrest_stream_cipher;

// Expands a DEK of ATREST_AES_256_CTR for the stream whose counter starts from `nonce`, ATREST_NONCE_SIZE bytes: a
// big-endian number that grows by 1 for every 16 bytes, and wraps. The DEK may be freed afterwards.
//
// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a DEK that isn't for CTR.
atrest_status atrest_stream_cipher_new(const atrest_dek *dek, const uint8_t *nonce, atrest_stream_cipher **out);

// Wipes and frees a cipher.
void atrest_stream_cipher_free(atrest_stream_cipher *cipher);

// Encrypts or decrypts `len` bytes in place; both are the same operation. The first byte is at `offset` of the stream,
// any number. `data` is unchanged unless the function returns ATREST_OK.
//
// Errors: ATREST_ERR_STREAM_OVERFLOW; ATREST_ERR_KEY_EXHAUSTED, only beyond 4 PiB.
atrest_status atrest_stream_cipher_apply(const atrest_stream_cipher *cipher, uint64_t offset, void *data, size_t len);

// Encrypts or decrypts `len` bytes from `src` to `dst`, which may be the same but must not overlap in part.
//
// Errors: ATREST_ERR_OVERLAP; ATREST_ERR_STREAM_OVERFLOW.
atrest_status atrest_stream_cipher_apply_to(const atrest_stream_cipher *cipher, uint64_t offset, const void *src,
    void *dst, size_t len);

// The number of 16-byte blocks of its stream that the cipher has encrypted or decrypted, counted up to the highest
// block: see ATREST_BLOCKS_DUE.
atrest_status atrest_stream_cipher_usage(const atrest_stream_cipher *cipher, uint64_t *blocks);

// ---------------------------------------------------------------------------------------------------------------------
// KEY WRAP
//
// AES key wrap, KW (RFC 3394) and KWP with padding (RFC 5649), NIST SP 800-38F. A KEK has 16, 24 or 32 bytes. `out`
// may be the same memory as the input.

// Wraps `key` by AES-KW. `key` has a multiple of 8 from 16 to 4096 bytes. The output is 8 bytes longer.
//
// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_WRAP_LENGTH; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_aes_kw_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);

// Unwraps the output of atrest_aes_kw_wrap. The key is 8 bytes shorter.
//
// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
atrest_status atrest_aes_kw_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);

// Wraps `key` by AES-KWP. `key` has 1 to 4096 bytes. The output is 8 bytes longer, rounded up to a multiple of 8.
//
// Errors: those of atrest_aes_kw_wrap.
atrest_status atrest_aes_kwp_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);

// Unwraps the output of atrest_aes_kwp_wrap.
//
// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
atrest_status atrest_aes_kwp_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);

// ---------------------------------------------------------------------------------------------------------------------
// DEVICES
//
// A device is the place of a volume: bytes with random access. A volume keeps its device, so the device's handle may
// be freed as soon as the volume exists.

// Flag: nothing will be written; open the volume with ATREST_OPEN_READ_ONLY. Others may open the file the same way
// meanwhile.
#define ATREST_DEVICE_READ_ONLY 1

// Flag: read and write past the page cache (O_DIRECT), on Linux. Buffers, offsets and lengths that are aligned as the file
// system demands, to 512 or 4096 bytes as a rule, go to the disk as they are; all others go through a buffer of the library.
#define ATREST_DEVICE_DIRECT_IO 2

// A device. Freed by atrest_device_free.
typedef struct atrest_device atrest_device;

// A device of the caller. Callbacks return ATREST_OK; any other number is a failure, and the call ends with
// ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
typedef struct {
    // Set by ATREST_DEVICE_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // The size of the device in bytes, which set_size() changes.
    uint64_t size;
    // Fills `bytes` with `len` bytes from `offset`. The library stays below `size`.
    atrest_status (*read_at)(void *user, uint64_t offset, void *bytes, size_t len);
    // Writes `len` bytes at `offset`. NULL for a read-only device: open its volume with ATREST_OPEN_READ_ONLY.
    atrest_status (*write_at)(void *user, uint64_t offset, const void *bytes, size_t len);
    // Waits until all written data is on stable storage. Required with write_at: a volume that is killed while its
    // header is written only opens again if the order of writes was kept.
    atrest_status (*sync)(void *user);
    // Called once, when every handle of the device and every volume on it are freed. May be NULL.
    void (*release)(void *user);
    // The alignment of offsets, lengths and addresses, as with O_DIRECT: a power of two. 0 is 1.
    size_t alignment;
    // Makes `len` bytes from `offset` zeros. NULL, or ATREST_ERR_UNSUPPORTED: they are written by write_at().
    atrest_status (*write_zeroes)(void *user, uint64_t offset, uint64_t len);
    // Discards `len` bytes from `offset`: nobody needs them, so their room can be given to others. Their content is
    // undefined until they are written again. NULL, or ATREST_ERR_UNSUPPORTED: nothing happens.
    atrest_status (*discard)(void *user, uint64_t offset, uint64_t len);
    // Makes the device larger, with zeros, or smaller; the new size is durable when this returns. NULL, or
    // ATREST_ERR_UNSUPPORTED: the device keeps its size. See atrest_disk_service_resize_disk.
    atrest_status (*set_size)(void *user, uint64_t size);
} atrest_device_callbacks;

// The first value of an atrest_device_callbacks.
#define ATREST_DEVICE_CALLBACKS_INIT {sizeof(atrest_device_callbacks), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Opens a file or block device and holds it: a second open, by any process that respects flock(), gives
// ATREST_ERR_BUSY. `flags` is 0 or ATREST_DEVICE_*, combined by `|`.
//
// Errors: ATREST_ERR_NOT_FOUND; ATREST_ERR_BUSY; ATREST_ERR_IO, also where there is no direct I/O; ATREST_ERR_BAD_ENUM for a flag that isn't known.
atrest_status atrest_device_open_file(const char *path, uint32_t flags, atrest_device **out);

// Makes a new file of `size` bytes, sparse if possible and readable by its owner only, and locks it like
// atrest_device_open_file. `path` must not exist.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
atrest_status atrest_device_create_file(const char *path, uint64_t size, atrest_device **out);

// Makes a device of `size` zero bytes in memory. Its content is lost when it and every volume on it are freed.
//
// Errors: ATREST_ERR_NO_MEMORY.
atrest_status atrest_device_memory(size_t size, atrest_device **out);

// Makes a device of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT for read_at(), and for sync() where there is write_at(); ATREST_ERR_INVALID_OPTION for an
// alignment that is no power of two.
atrest_status atrest_device_from_callbacks(const atrest_device_callbacks *callbacks, atrest_device **out);

// Makes another handle of the same device, to be freed separately. Use it in a callback that must give a handle away.
atrest_status atrest_device_clone(const atrest_device *device, atrest_device **out);

// Frees a device. If a volume is on it, the device stays until the volume is freed.
void atrest_device_free(atrest_device *device);

// ---------------------------------------------------------------------------------------------------------------------
// ENCRYPTED FILES
//
// The prefix of an encrypted file: its own DEK, wrapped by a vault, and the nonce of its stream, in the first
// ATREST_FILE_PREFIX_SIZE bytes. The engine's data follows, under one of two ciphers: a stream cipher, whose offset 0
// is the first byte after the prefix, for engines that append at any byte; or a sector cipher, for engines that
// overwrite data in place and choose the numbering of sectors. A file of one sort doesn't open as the other.
//
// Make a new prefix for each new file. For a stream, also make one for each file that is truncated or reused. Never
// copy a prefix to another file: STREAM CIPHER says why two contents under one key leak. Opening detects a wrong key,
// another context or a damaged prefix. It doesn't detect damage to the data.

// The length of a prefix in bytes.
#define ATREST_FILE_PREFIX_SIZE 8192

// Makes the prefix of a new file, ATREST_FILE_PREFIX_SIZE bytes, and the cipher for its data. The DEK is fresh, and
// wrapped by `vault` under the latest version of the key `key_name`.
//
// `context` identifies what the file belongs to, such as the id of a database: up to ATREST_CONTEXT_MAX bytes, stored
// in the clear. Opening the file needs the same context. Don't use the file's name if the engine renames files.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_RANDOM;
// ATREST_ERR_BUFFER_TOO_SHORT; the vault's errors.
atrest_status atrest_file_prefix_create(const atrest_vault *vault, const char *key_name, const void *context,
    size_t context_len, void *prefix, size_t prefix_cap, size_t *prefix_len, atrest_stream_cipher **out);

// As atrest_file_prefix_create, for a file of sectors under AES-256-XTS. `sector_size` and `sector_unit` are those of
// atrest_sector_cipher_new; the file doesn't record them.
//
// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; those of atrest_file_prefix_create.
atrest_status atrest_file_prefix_create_sectors(const atrest_vault *vault, const char *key_name, const void *context,
    size_t context_len, uint32_t sector_size, uint32_t sector_unit, void *prefix, size_t prefix_cap, size_t *prefix_len,
    atrest_sector_cipher **out);

// Has `vault` unwrap the DEK of a file, whose first ATREST_FILE_PREFIX_SIZE bytes are `prefix`, and makes the cipher
// for its data.
//
// Errors: ATREST_ERR_INVALID_PREFIX for another length, and if both copies in it are damaged or it was altered;
// ATREST_ERR_INVALID_ENVELOPE, also if it was altered; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_NOT_THIS_VAULT;
// ATREST_ERR_NO_SUCH_KEY if the version was destroyed; ATREST_ERR_UNWRAP_FAILED; ATREST_ERR_UNSUPPORTED_ALGORITHM for
// a file of sectors; the vault's errors.
atrest_status atrest_file_prefix_open(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, atrest_stream_cipher **out);

// As atrest_file_prefix_open, for a file of sectors. Give the same size and numbering as when it was made.
//
// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a file with a stream; otherwise
// those of atrest_file_prefix_open.
atrest_status atrest_file_prefix_open_sectors(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint32_t sector_size, uint32_t sector_unit, atrest_sector_cipher **out);

// Has `vault` wrap the DEK of the file on `device` again, under the latest version of the key that wraps it now. It
// touches no byte after the prefix, and the file may be read and written meanwhile. If it is killed at any instant,
// the file opens with the old version or the new one, and the rotation can be repeated.
//
// While this runs, nothing else may write the prefix: no second rotation, and no reuse of the file with a new prefix.
// atrest_device_open_file keeps others out that open the file the same way.
//
// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
//
// Errors: ATREST_ERR_DEVICE_TOO_SMALL; those of atrest_file_prefix_open; the errors of the vault and the device. Even
// after a failure of the device, the file opens with the old version or the new one.
atrest_status atrest_file_prefix_rotate_kek(atrest_device *device, const atrest_vault *vault, const void *context,
    size_t context_len, char *url, size_t url_cap);

// As atrest_file_prefix_rotate_kek, if the file's DEK has this fingerprint, ATREST_FINGERPRINT_SIZE bytes
// (atrest_file_prefix_fingerprint, kept apart from the file). A file that somebody has put in its place stays as it is.
//
// Errors: ATREST_ERR_OTHER_DEK; those of atrest_file_prefix_rotate_kek.
atrest_status atrest_file_prefix_rotate_kek_expecting(atrest_device *device, const atrest_vault *vault,
    const void *context, size_t context_len, const uint8_t *fingerprint, char *url, size_t url_cap);

// The fingerprint of a file's DEK, ATREST_FINGERPRINT_SIZE bytes: see atrest_dek_fingerprint. Keep it apart from the
// file and compare it before using the data: it reveals a file that an attacker made under their own DEK. The vault
// must unwrap the DEK for this.
//
// Errors: those of atrest_file_prefix_open, for files of either sort.
atrest_status atrest_file_prefix_fingerprint(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint8_t *fingerprint);

// The URL of the key version that wrapped the DEK of a file, for choosing the vault to ask. It is not proven before
// the file is opened.
//
// Errors: ATREST_ERR_INVALID_PREFIX; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_file_prefix_key_url(const void *prefix, size_t prefix_len, char *url, size_t url_cap,
    size_t *url_len);

// ---------------------------------------------------------------------------------------------------------------------
// THE MEMORY OF SECRETS
//
// Keys, also expanded ones, lie in pages that stay in memory, are left out of core dumps, and are zeros in a forked
// child, if the system supports it.

// The bytes of pages with secrets of this process: `locked` counts those that stay in memory, `unlocked` those that
// may be written to swap because the system refused to lock them. A process may lock as much as RLIMIT_MEMLOCK says;
// an open volume takes about 1 KiB, a vault too. With ATREST_OPEN_REQUIRE_LOCKED_MEMORY a volume is refused unless
// `unlocked` is 0.
atrest_status atrest_memory_protection(uint64_t *locked, uint64_t *unlocked);

// ---------------------------------------------------------------------------------------------------------------------
// SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS
//
// Each algorithm, and each kernel that this CPU supports, is tested against published vectors before its first use in
// a process. If one computes wrongly, everything is refused with ATREST_ERR_SELF_TEST from then on.
//
// A program may demand approved algorithms only, i.e. those of NIST's publications as of SP 800-131A Rev. 2: AES-XTS
// (as aes-xts-plain64), AES-CTR, AES-KW, RSA-OAEP with SHA-256, and PBKDF2 with SHA-256 or SHA-512, at least 1000
// iterations and a salt of at least 16 bytes. THE LIBRARY IS NOT A VALIDATED MODULE, and this doesn't make it one.
//
// A key may encrypt 2^48 blocks of 16 bytes (4 PiB), and is due for replacement from 2^44 (256 TiB) on. A count
// belongs to one handle in one process, and is exact to 64 KiB per thread. Decryption doesn't count.

// Only approved algorithms were used.
#define ATREST_APPROVED 1

// A vault did part of it with an algorithm it doesn't name (ATREST_WRAP_OPAQUE); the rest is approved.
#define ATREST_APPROVED_ELSEWHERE 2

// Some of it is not approved.
#define ATREST_NOT_APPROVED 3

// From this many blocks on, a key is due for replacement: copy the data to a place with a fresh key.
#define ATREST_BLOCKS_DUE 17592186044416

// The most blocks that a key may encrypt; more are refused with ATREST_ERR_KEY_EXHAUSTED.
#define ATREST_BLOCKS_MAX 281474976710656

// Tests every algorithm and kernel, even if it was tested before, and those of the vaults in this build.
//
// Errors: ATREST_ERR_SELF_TEST; the message names the algorithm that failed.
atrest_status atrest_self_test(void);

// From now on this process takes approved algorithms only. Any use of another one is refused with
// ATREST_ERR_NOT_APPROVED, also by existing handles; the message names the algorithm. There is no way back. Call it
// first.
atrest_status atrest_approved_only(void);

// 1 after atrest_approved_only was called, 0 before.
atrest_status atrest_is_approved_only(uint32_t *out);

// Begins an observation of this thread, which atrest_approval_since_reset ends.
atrest_status atrest_approval_reset(void);

// Whether this thread has used approved algorithms only since atrest_approval_reset, or since it started:
// ATREST_APPROVED, ATREST_APPROVED_ELSEWHERE or ATREST_NOT_APPROVED. `text` is for people and names the unapproved
// algorithm; it and `text_len` may be NULL together. Other threads are not observed.
atrest_status atrest_approval_since_reset(uint32_t *approval, char *text, size_t text_cap, size_t *text_len);

// ---------------------------------------------------------------------------------------------------------------------
// WAYS INTO A VOLUME
//
// A credential opens a volume: a vault that unwraps its DEK, a passphrase, a key file whose content is a passphrase,
// or the DEK itself. The header stores a vault's wrapped DEK in a token, and a passphrase's in a keyslot. Trying a
// keyslot costs time and memory, by a key derivation function (KDF).
//
// A BitLocker volume has protectors in the place of keyslots: by passwords, recovery passwords, and keys in files.

// A vault that holds the KEK for the DEK.
#define ATREST_CREDENTIAL_VAULT 1

// The DEK itself.
#define ATREST_CREDENTIAL_DEK 2

// A passphrase.
#define ATREST_CREDENTIAL_PASSPHRASE 3

// A file whose whole content is the passphrase.
#define ATREST_CREDENTIAL_KEY_FILE 4

// A recovery password of BitLocker.
#define ATREST_CREDENTIAL_RECOVERY_PASSWORD 5

// A file with a startup key or recovery key of BitLocker (.BEK), as Windows writes it.
#define ATREST_CREDENTIAL_STARTUP_KEY 6

// The clear key of a BitLocker volume whose protection is suspended: it lies on the volume itself. Also no key at all, for
// a volume that Windows has decrypted and not yet given up.
#define ATREST_CREDENTIAL_CLEAR_KEY 7

// A vault, and a key in it whose latest version wraps the DEK. It gets a token, which LUKS1 doesn't support.
#define ATREST_PROTECTOR_VAULT 1

// A passphrase. It gets a keyslot.
#define ATREST_PROTECTOR_PASSPHRASE 3

// A file whose whole content is the passphrase. It gets a keyslot.
#define ATREST_PROTECTOR_KEY_FILE 4

// A recovery password of BitLocker: atrest_recovery_password_generate makes one.
#define ATREST_PROTECTOR_RECOVERY_PASSWORD 5

// A file with a startup key of BitLocker (.BEK): atrest_startup_key_generate_file makes one. Several volumes may have the same.
#define ATREST_PROTECTOR_STARTUP_KEY 6

// Tried after those that are preferred.
#define ATREST_PRIORITY_NORMAL 0

// Tried first.
#define ATREST_PRIORITY_PREFER 1

// Tried only if the caller asks for its number.
#define ATREST_PRIORITY_IGNORE 2

// Flag: use the member `id`. Otherwise the first free keyslot is used.
#define ATREST_KEYSLOT_ID 1

// The credential for a volume.
typedef struct {
    // Set by ATREST_CREDENTIAL_INIT.
    size_t struct_size;
    // ATREST_CREDENTIAL_*: selects the members below. There is no default.
    uint32_t kind;
    // For ATREST_CREDENTIAL_VAULT.
    const atrest_vault *vault;
    // For ATREST_CREDENTIAL_DEK.
    const atrest_dek *dek;
    // For ATREST_CREDENTIAL_PASSPHRASE: 1 byte to 8 MiB. Every byte counts, including a newline at the end. It needs
    // no zero byte at its end and isn't copied. The caller must wipe it.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // For ATREST_CREDENTIAL_KEY_FILE: its path. The bytes read from it are wiped.
    const char *key_file;
    // For ATREST_CREDENTIAL_RECOVERY_PASSWORD: eight groups of six digits, with dashes between them. The caller must wipe
    // it.
    const char *recovery_password;
    // For ATREST_CREDENTIAL_STARTUP_KEY: the path of the file.
    const char *startup_key;
} atrest_credential;

// The first value of an atrest_credential.
#define ATREST_CREDENTIAL_INIT {sizeof(atrest_credential), 0, 0, 0, 0, 0, 0, 0, 0}

// A new way into a volume.
typedef struct {
    // Set by ATREST_PROTECTOR_INIT.
    size_t struct_size;
    // ATREST_PROTECTOR_*: selects the members below. There is no default.
    uint32_t kind;
    // For ATREST_PROTECTOR_VAULT.
    const atrest_vault *vault;
    // For ATREST_PROTECTOR_VAULT: the name of the key in it.
    const char *key_name;
    // For ATREST_PROTECTOR_PASSPHRASE, as in an atrest_credential.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // For ATREST_PROTECTOR_KEY_FILE: its path. It has 1 byte to 8 MiB; the bytes read from it are wiped.
    const char *key_file;
    // For ATREST_PROTECTOR_RECOVERY_PASSWORD, as in an atrest_credential.
    const char *recovery_password;
    // For ATREST_PROTECTOR_STARTUP_KEY: the path of the file.
    const char *startup_key;
} atrest_protector;

// The first value of an atrest_protector.
#define ATREST_PROTECTOR_INIT {sizeof(atrest_protector), 0, 0, 0, 0, 0, 0, 0, 0}

// Options for a new keyslot.
typedef struct {
    // Set by ATREST_KEYSLOT_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_KEYSLOT_ID.
    uint32_t flags;
    // With ATREST_KEYSLOT_ID: the number of the keyslot, 0 to 31, or to 7 in LUKS1.
    uint32_t id;
    // ATREST_PRIORITY_*. LUKS1 has no priorities.
    uint32_t priority;
    // The time to open the keyslot on a machine like this, in milliseconds, if `kdf` is NULL. 0 is 2000.
    uint32_t time_ms;
    // The most memory for this, in KiB: at least 32 MiB. 0 is 1 GiB, or half of the machine's memory.
    uint32_t max_memory_kib;
    // The KDF and its costs. NULL measures costs on this machine: for Argon2id with 4 lanes, or PBKDF2 in LUKS1.
    const atrest_kdf *kdf;
} atrest_keyslot_options;

// The first value of an atrest_keyslot_options.
#define ATREST_KEYSLOT_OPTIONS_INIT {sizeof(atrest_keyslot_options), 0, 0, 0, 0, 0, 0}

// ---------------------------------------------------------------------------------------------------------------------
// HOW VOLUMES ARE MADE AND OPENED

// The platform's key protects the volume.
#define ATREST_PLATFORM_KEY 1

// The customer's key protects the volume.
#define ATREST_CUSTOMER_KEY 2

// Both do, in two layers.
#define ATREST_PLATFORM_AND_CUSTOMER_KEYS 3

// Flag: destroy the device's content. Otherwise a device that isn't blank is refused.
#define ATREST_FORMAT_OVERWRITE 1

// LUKS1, for machines that don't support LUKS2: sectors of 512 bytes, passphrases only, data at 2 MiB.
#define ATREST_LUKS1 1

// LUKS2.
#define ATREST_LUKS2 2

// BitLocker, of Windows: only as the format of a header. atrest_volume_format_bitlocker makes such a volume.
#define ATREST_BITLOCKER 3

// Flag: write nothing at all, neither data nor a repair of the header.
#define ATREST_OPEN_READ_ONLY 1

// Flag: open a device that is smaller than its volume was. The data after its end is lost.
#define ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED 2

// Flag: use the member `keyslot`.
#define ATREST_OPEN_KEYSLOT 4

// Flag: show data that the header declares unencrypted, and write to it in the clear. Unless a vault's token proves
// the header, anyone who can write to the disk can declare that.
#define ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED 8

// Flag: repair a copy of the header even if its place holds something neither blank nor the remains of a header. THAT
// IS DESTROYED: it may be a file system made on the device since.
#define ATREST_OPEN_HAZMAT_REPAIR 16

// Flag: refuse if secrets of this process lie in memory that may be swapped: see atrest_memory_protection.
#define ATREST_OPEN_REQUIRE_LOCKED_MEMORY 32

// Flag: pass atrest_volume_discard on to the device. THAT SHOWS ANYONE WHO SEES THE DEVICE WHICH BLOCKS ARE FREE, and so how
// full the volume is and its kind of file system. A header's flag "allow-discards" has no effect: nothing authenticates it.
#define ATREST_OPEN_DISCARD 64

// Flag: a passphrase or a DEK opens a volume although no token of this library in it proves the header, as after another program
// has re-encrypted it. Remove the old token then, and add the vault again.
#define ATREST_OPEN_HAZMAT_IGNORE_TOKENS 128

// Flag: open a volume read-only and without its map of written chunks, if that is damaged (ATREST_ERR_DAMAGED_MAP). All that
// the device holds is shown: noise where nothing was written.
#define ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP 256

// Options for formatting a volume.
typedef struct {
    // Set by ATREST_FORMAT_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_FORMAT_OVERWRITE.
    uint32_t flags;
    // 512, 1024, 2048 or 4096 bytes. 0 is 512. A file system made for smaller sectors won't mount.
    uint32_t sector_size;
    // ATREST_AES_128_XTS, ATREST_AES_256_XTS or ATREST_AES_256_HCTR2. 0 is ATREST_AES_256_XTS.
    uint32_t dek_algorithm;
    // ATREST_*_KEY or _KEYS; recorded in the volume. 0 is ATREST_CUSTOMER_KEY.
    uint32_t encryption_type;
    // The first byte of the data on the device: a multiple of 1 MiB, up to 128 MiB. 1 MiB leaves room for 3
    // passphrases, 16 MiB for all 32. 0 is 16 MiB, as in cryptsetup; 2 MiB for LUKS1; the start of the device if the
    // header is detached.
    uint64_t data_offset;
    // A UUID of 16 bytes. NULL is a random one.
    const uint8_t *uuid;
    // A label of up to 47 bytes. NULL is none.
    const char *label;
    // A second label of up to 47 bytes. NULL is none.
    const char *subsystem;
    // The context that the volume is bound to, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the
    // clear. It is stored in a vault's token, so it needs a vault.
    const void *context;
    // The length of the context.
    size_t context_len;
    // ATREST_LUKS1 or ATREST_LUKS2. 0 is ATREST_LUKS2.
    uint32_t luks_version;
    // The device for a header detached from the data. The header takes 16 MiB of it, or 2 MiB for LUKS1. NULL is the
    // device of the data.
    atrest_device *header;
    // Options of the keyslot, if a passphrase or key file protects the volume. May be NULL.
    const atrest_keyslot_options *keyslot;
    // Use this DEK instead of a new one; then `dek_algorithm` has no effect. TWO VOLUMES UNDER ONE DEK REVEAL WHERE
    // THEIR CONTENTS ARE EQUAL. NULL makes a new one.
    const atrest_dek *hazmat_dek;
    // The size in bytes of each of the two copies of the header's metadata: a power of two from 16 KiB to 4 MiB. All
    // keyslots and tokens together have 4 KiB less. Data at 1 MiB allows at most 256 KiB. 0 is 16 KiB.
    uint64_t metadata_size;
    // The most bytes of data that the map of written chunks shall have room for, if the device is to grow. 0 is the size of
    // the device.
    uint64_t written_map_for;
    // The size in bytes of the chunks of a map of written chunks: a power of two from 4 KiB to 1 MiB; 64 KiB suit most.
    // Unwritten data then reads as zeros, and a copy may skip it (atrest_volume_extent). The first write to a chunk writes
    // all of it, and A FIRST WRITE THAT WAS NOT SYNCED READS AS ZEROS when the volume is opened again. Other programs refuse
    // the volume, and so does re-encryption. 0 is no map.
    uint32_t written_chunk_size;
} atrest_format_options;

// The first value of an atrest_format_options.
#define ATREST_FORMAT_OPTIONS_INIT {sizeof(atrest_format_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Options for opening a volume.
typedef struct {
    // Set by ATREST_OPEN_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_OPEN_*, combined by `|`.
    uint32_t flags;
    // The context that the volume must be bound to. NULL accepts any: then nobody notices a swap with another volume's
    // header under the same key.
    const void *context;
    // The length of the context.
    size_t context_len;
    // The device of the header, if it is detached from the data. NULL is the device of the data.
    atrest_device *header;
    // With ATREST_OPEN_KEYSLOT: the only keyslot on which to try a passphrase, even with ATREST_PRIORITY_IGNORE. By
    // default all others are tried, in the order of their priority.
    uint32_t keyslot;
    // The most memory of Argon2 in KiB that a keyslot may ask for, checked before a passphrase is tried on it. Anyone
    // who can write to the disk can write a header that asks for any amount. 0 is 4 GiB.
    uint32_t kdf_max_memory_kib;
    // The most work of Argon2: memory in KiB times passes. 0 is 64 GiB.
    uint64_t kdf_max_kib_passes;
    // The most iterations of PBKDF2. 0 is 50,000,000.
    uint32_t kdf_max_iterations;
    // The most lanes of Argon2. 0 is 16.
    uint32_t kdf_max_lanes;
    // The most time for all keyslots tried with one passphrase, by the costs in their headers, in milliseconds of one
    // core of a server of 2023. A keyslot that the caller names (ATREST_OPEN_KEYSLOT) is tried even if it takes
    // longer; only the other limits apply. 0 is 10,000.
    uint64_t kdf_max_total_ms;
    // The fingerprint that the DEK must have, ATREST_FINGERPRINT_SIZE bytes (atrest_volume_fingerprint, kept apart
    // from the disk). A volume that an attacker made under their own DEK is refused with ATREST_ERR_OTHER_DEK before
    // anything is written or decrypted. NULL accepts any.
    const uint8_t *expected_fingerprint;
    // The name of the vault's key that must wrap the DEK; others are refused with ATREST_ERR_OTHER_KEY. NULL accepts
    // any.
    const char *expected_key;
    // The number of blocks that the volume's key has encrypted before, from atrest_volume_usage when it was closed.
    uint64_t used_blocks;
} atrest_open_options;

// The first value of an atrest_open_options.
#define ATREST_OPEN_OPTIONS_INIT {sizeof(atrest_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// ---------------------------------------------------------------------------------------------------------------------
// VOLUMES
//
// A volume is an encrypted device: a header of LUKS2 or LUKS1, which any Linux machine can check, and sectors of
// AES-XTS (aes-xts-plain64), or of another cipher in an old volume: all that Linux makes with a library of the feature
// `legacy`. Or it is a volume of BitLocker, or data without a header (sections below). The header may be on its own device. Reads and
// writes are in whole sectors. Any number of threads may read and write one volume at once.

// A volume. Freed by atrest_volume_free.
typedef struct atrest_volume atrest_volume;

// Makes a volume on `device`, with a new DEK and `protector` as its first way in. `options` may be NULL. The data area
// isn't written, and reads as noise until it is, unless the volume has a map of written chunks: then as zeros.
//
// Nothing is written before a vault has wrapped the DEK and unwrapped it again. With a passphrase this takes as long
// as its keyslot's KDF and the measuring of its cost: some seconds, unless `options` set another cost.
//
// Errors: ATREST_ERR_DEVICE_NOT_BLANK; ATREST_ERR_DEVICE_TOO_SMALL; ATREST_ERR_INVALID_OPTION, ATREST_ERR_SECTOR_SIZE,
// ATREST_ERR_BAD_ENUM and ATREST_ERR_CONTEXT_LENGTH for options and passphrases out of bounds; ATREST_ERR_NO_ROOM if a
// keyslot doesn't fit before the data; ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_NOT_FOUND and
// ATREST_ERR_IO for a key file; the errors of the vault and the devices.
atrest_status atrest_volume_format(atrest_device *device, const atrest_protector *protector,
    const atrest_format_options *options, atrest_volume **out);

// Opens the volume on `device`. `options` may be NULL. Before anything is decrypted or written, the header's digest
// proves the DEK, and the MAC of a vault's token, if there is one, proves the header. A damaged copy of the header is
// repaired from the intact one.
//
// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER, also for keyslots that ask
// for more than `options` allow; ATREST_ERR_NOT_THIS_VAULT, whose message names the key that is needed;
// ATREST_ERR_WRONG_PASSPHRASE, also for a key file; ATREST_ERR_NO_SUCH_PROTECTOR if no keyslot takes a passphrase;
// ATREST_ERR_WRONG_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_DAMAGED_MAP; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_DEVICE_TOO_SMALL for a
// truncated device; ATREST_ERR_FOREIGN_DATA if a copy of the header is gone and its place holds foreign data, unless
// it is opened read-only; ATREST_ERR_INVALID_OPTION for a passphrase out of bounds; the errors of the vault and the
// devices.
atrest_status atrest_volume_open(atrest_device *device, const atrest_credential *credential,
    const atrest_open_options *options, atrest_volume **out);

// Frees a volume and wipes its keys. IT DOES NOT SYNC: call atrest_volume_sync first, or the last writes may not be on
// the disk.
void atrest_volume_free(atrest_volume *volume);

// Reads and decrypts `len` bytes at `offset` from the start of the data. Both are multiples of the sector size. After
// ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED the content of `sectors` is undefined.
//
// Errors: ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_read_at(const atrest_volume *volume, uint64_t offset, void *sectors, size_t len);

// Encrypts and writes `len` bytes at `offset` from the start of the data. Both are multiples of the sector size.
// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED a part may have been written.
//
// Errors: those of atrest_volume_read_at; ATREST_ERR_READ_ONLY.
atrest_status atrest_volume_write_at(atrest_volume *volume, uint64_t offset, const void *sectors, size_t len);

// Waits until all written data is on stable storage. If it fails, data written since the last sync may be lost.
//
// Errors: ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_sync(atrest_volume *volume);

// Has `vault` wrap the DEK again, under the latest version of the key that wraps it now. No sector is touched, and
// reads and writes continue meanwhile. If it is killed at any instant, the volume opens with the old version or the
// new one.
//
// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
//
// Errors: ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_READ_ONLY; the errors of the vault and the device. Even after a
// failure of the device, the volume opens with the old version or the new one.
atrest_status atrest_volume_rotate_kek(atrest_volume *volume, const atrest_vault *vault, char *url, size_t url_cap);

// Moves a volume from the vault with the id `from` to the key `key_name` of `vault`: a token for it replaces those of
// the other. `from` isn't asked, and may be gone. Ways in by other vaults, and passphrases, stay. No sector is touched,
// and reads and writes continue meanwhile. If it is killed at any instant, the volume opens with the one or the other.
//
// The URL of the key's version goes to `url`, as by atrest_volume_rotate_kek.
//
// Errors: ATREST_ERR_NOT_THIS_VAULT if no token names `from`; otherwise as atrest_volume_add_protector.
atrest_status atrest_volume_move_kek(atrest_volume *volume, const char *from, const atrest_vault *vault,
    const char *key_name, char *url, size_t url_cap);

// Adds another way into a volume, and puts its number into `id`: the number of a token if `protector` is a vault,
// otherwise of a keyslot. `options` may be NULL, and have no effect for a vault, whose token takes the context of the
// existing tokens. If it is killed at any instant, the volume has the new way or not, and always keeps the earlier
// ones.
//
// Errors: ATREST_ERR_NO_ROOM if all keyslots or tokens are taken; ATREST_ERR_READ_ONLY; ATREST_ERR_INVALID_OPTION and
// ATREST_ERR_BAD_ENUM for options and passphrases out of bounds; ATREST_ERR_UNSUPPORTED_HEADER for a vault on LUKS1;
// ATREST_ERR_BUSY if another program has changed the header since the volume was opened; the errors of the vault and
// the device.
atrest_status atrest_volume_add_protector(atrest_volume *volume, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *id);

// Replaces a keyslot by one with a new passphrase or key file, and puts the new keyslot's number into `new_id`. The
// new keyslot is made before the old one is destroyed, so a free keyslot is needed. It inherits the priority, unless
// `options`, which may be NULL, set another than ATREST_PRIORITY_NORMAL. If it is killed at any instant, the volume
// opens with the old or the new passphrase, or both.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_INVALID_OPTION for a vault; those of atrest_volume_add_protector.
atrest_status atrest_volume_change_keyslot(atrest_volume *volume, uint32_t id, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *new_id);

// Removes a keyslot and overwrites its content. A backup of the header still has it.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase also removes the last one;
// ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY as in atrest_volume_add_protector; the device's errors.
atrest_status atrest_volume_remove_keyslot(atrest_volume *volume, uint32_t id);

// Removes a token: a vault's, or another program's.
//
// Errors: those of atrest_volume_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
atrest_status atrest_volume_remove_token(atrest_volume *volume, uint32_t id);

// The size of the data in bytes.
atrest_status atrest_volume_size(const atrest_volume *volume, uint64_t *out);

// The sector size in bytes.
atrest_status atrest_volume_sector_size(const atrest_volume *volume, uint32_t *out);

// The first byte of the data on the device.
atrest_status atrest_volume_data_offset(const atrest_volume *volume, uint64_t *out);

// The cipher of the data, in dm-crypt's notation, such as "aes-xts-plain64".
atrest_status atrest_volume_cipher(const atrest_volume *volume, char *cipher, size_t cipher_cap, size_t *cipher_len);

// The attack that the volume's cipher allows and AES-XTS with 64-bit sector numbers prevents, as a text; empty if there is
// none.
atrest_status atrest_volume_cipher_weakness(const atrest_volume *volume, char *weakness, size_t weakness_cap,
    size_t *weakness_len);

// 1 if nothing can be written to the volume: because its user opened it so, or its cipher is too weak; otherwise 0.
atrest_status atrest_volume_is_read_only(const atrest_volume *volume, uint32_t *out);

// The number of 16-byte blocks that the volume's key has encrypted: the option `used_blocks` and all writes since.
// Compare it with ATREST_BLOCKS_DUE, and store it when you close the volume.
atrest_status atrest_volume_usage(const atrest_volume *volume, uint64_t *blocks);

// Whether the volume uses approved algorithms: its cipher, and the way in which it was opened or formatted. As
// atrest_approval_since_reset.
atrest_status atrest_volume_approval(const atrest_volume *volume, uint32_t *approval, char *text, size_t text_cap,
    size_t *text_len);

// The UUID of the volume, as a text of 36 characters.
atrest_status atrest_volume_uuid(const atrest_volume *volume, char *uuid, size_t uuid_cap, size_t *uuid_len);

// Records the current size of the volume, if a vault's token records another. Use it after the device was enlarged, or
// was shrunk on purpose (ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED). From then on the volume opens without that flag. The
// size in bytes goes to `size`, which may be NULL.
//
// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY if another program has changed the header since the volume was opened;
// the device's errors.
atrest_status atrest_volume_record_size(atrest_volume *volume, uint64_t *size);

// The fingerprint of the volume's DEK, 32 bytes: see atrest_dek_fingerprint. Compare it before the first read or
// write.
atrest_status atrest_volume_fingerprint(const atrest_volume *volume, uint8_t *fingerprint);

// The DEK of the volume, as a new handle, for wrapping it elsewhere too.
atrest_status atrest_volume_dek(const atrest_volume *volume, atrest_dek **out);

// Calls `each` with the URL of every key version that can unwrap the volume's DEK. The URL is valid during the
// callback only. `each` returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_key_urls(const atrest_volume *volume, atrest_status (*each)(void *user, const char *url),
    void *user);

// ---------------------------------------------------------------------------------------------------------------------
// HEADERS
//
// The header of a locked volume: reading it, and changes that need no key. Its fields come from the disk and are not
// proven. It may be attached to its data, detached from it, or a backup in a file.
//
// A handle holds the header as of its loading, or its last change by this handle. Changes are safe to kill at any
// instant. They fail with ATREST_ERR_BUSY if somebody else has changed the header meanwhile: load it again. In the
// same way, a volume that is open on the device refuses to change a header that was changed here.

// A header. Freed by atrest_header_free.
typedef struct atrest_header atrest_header;

// Reads the header of a device. Nothing is written.
//
// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_DEVICE_TOO_SMALL;
// the device's errors.
atrest_status atrest_header_load(atrest_device *device, atrest_header **out);

// Frees a header. It stays unchanged on the device.
void atrest_header_free(atrest_header *header);

// ATREST_LUKS1, ATREST_LUKS2 or ATREST_BITLOCKER.
atrest_status atrest_header_format(const atrest_header *header, uint32_t *out);

// The UUID, usually a text of 36 characters.
atrest_status atrest_header_uuid(const atrest_header *header, char *uuid, size_t uuid_cap, size_t *uuid_len);

// The label, up to 47 bytes in any encoding; empty if there is none. In BitLocker the description, which may be longer.
atrest_status atrest_header_label(const atrest_header *header, char *label, size_t label_cap, size_t *label_len);

// The second label, up to 47 bytes in any encoding; empty if there is none.
atrest_status atrest_header_subsystem(const atrest_header *header, char *subsystem, size_t subsystem_cap,
    size_t *subsystem_len);

// The header's sequence number, which grows with each write.
//
// Errors: ATREST_ERR_UNSUPPORTED for LUKS1, which has none.
atrest_status atrest_header_epoch(const atrest_header *header, uint64_t *out);

// The number of bytes at the start of the device that the header takes with its keyslots: the length of a backup.
atrest_status atrest_header_size(const atrest_header *header, uint64_t *out);

// The size in bytes of one copy of the metadata. LUKS2 has two copies.
atrest_status atrest_header_metadata_size(const atrest_header *header, uint64_t *out);

// The size in bytes of the room for keyslots, which follows the metadata.
atrest_status atrest_header_keyslots_size(const atrest_header *header, uint64_t *out);

// The header's JSON, byte for byte, as it is on the disk.
//
// Errors: ATREST_ERR_UNSUPPORTED but for LUKS2, the only format that has JSON.
atrest_status atrest_header_metadata_json(const atrest_header *header, char *json, size_t json_cap, size_t *json_len);

// 1 if atrest_header_repair has anything to do, otherwise 0.
atrest_status atrest_header_needs_repair(const atrest_header *header, uint32_t *out);

// Finishes the work that a killed process or a damaged copy left, like opening the volume does. If there is none,
// nothing is written.
//
// Errors: ATREST_ERR_BUSY; ATREST_ERR_FOREIGN_DATA if the place of a copy holds something neither blank nor the
// remains of a header; the device's errors.
atrest_status atrest_header_repair(atrest_header *header);

// As atrest_header_repair, but foreign data at the place of a copy IS DESTROYED: it may be a file system made on the
// device since.
//
// Errors: ATREST_ERR_BUSY; the device's errors.
atrest_status atrest_hazmat_header_repair(atrest_header *header);

// Replaces the volume's labels, of up to 47 bytes each. An empty text removes a label.
//
// Errors: ATREST_ERR_INVALID_OPTION; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no labels, and for a header
// with requirements that this library does not know; ATREST_ERR_BUSY; the device's errors.
atrest_status atrest_header_set_label(atrest_header *header, const char *label, const char *subsystem);

// Sets the priority of a keyslot: `priority` is ATREST_PRIORITY_*.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no
// priorities; those of atrest_header_set_label.
atrest_status atrest_header_set_priority(atrest_header *header, uint32_t keyslot, uint32_t priority);

// Removes a keyslot and overwrites its content. A backup of the header still has it.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase also removes the last one;
// ATREST_ERR_UNSUPPORTED_HEADER for a header with requirements that this library does not know; ATREST_ERR_BUSY; the
// device's errors.
atrest_status atrest_header_remove_keyslot(atrest_header *header, uint32_t id);

// Removes a token: a vault's, or another program's.
//
// Errors: those of atrest_header_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
atrest_status atrest_header_remove_token(atrest_header *header, uint32_t id);

// Inserts a token of another program's type, given as JSON, and puts its number into `id`. The bytes are kept exactly;
// they need not be UTF-8.
//
// Errors: ATREST_ERR_INVALID_OPTION if it isn't sound, or has the type "atrest"; ATREST_ERR_NO_ROOM;
// ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no tokens; those of atrest_header_set_label.
atrest_status atrest_header_import_token(atrest_header *header, const char *json, uint32_t *id);

// Unlocks the DEK with a credential, from the header alone, and returns it as a new handle. So a backup of the header
// is enough to check a credential. Nothing is written. Of `options`, which may be NULL, the context, the expectations,
// the keyslot and the KDF limits apply.
//
// Errors: those of atrest_volume_open, except for the data's device; ATREST_ERR_BUSY.
atrest_status atrest_header_unlock(const atrest_header *header, const atrest_credential *credential,
    const atrest_open_options *options, atrest_dek **out);

// Converts LUKS1 to LUKS2 in place, as `cryptsetup convert --type luks2` does. Data, volume key, UUID and keyslots
// stay, and no credential is needed. A header of LUKS2 stays as it is. If it is killed or fails, each passphrase still
// opens the volume: repeat it. At least one of the eight keyslots must be unused. A backup of the LUKS1 header no longer
// fits; make a new one.
//
// Errors: ATREST_ERR_NO_ROOM if all keyslots are taken, or if the data begins too early for a header of LUKS2;
// ATREST_ERR_UNSUPPORTED_HEADER for keyslots in unusual places, for a header that can't be opened, and for BitLocker;
// ATREST_ERR_FOREIGN_DATA for the metadata of luksmeta; ATREST_ERR_DEVICE_TOO_SMALL for a detached header or a backup
// without room for one of LUKS2; ATREST_ERR_BUSY; the device's errors.
atrest_status atrest_header_convert_to_luks2(atrest_header *header);

// Destroys every way in: all keyslots with their whole room, and all tokens. AFTERWARDS ONLY SOMEBODY WITH THE DEK
// ITSELF OR A BACKUP OF THE HEADER CAN READ THE DATA, of any size. Of a BitLocker volume all protectors go, in all
// copies of its metadata.
//
// Errors: ATREST_ERR_UNSUPPORTED_HEADER for a BitLocker volume that isn't encrypted as a whole, and for one of Windows
// Vista; ATREST_ERR_BUSY; the device's errors: then repeat it.
atrest_status atrest_header_erase(atrest_header *header);

// The header with its keyslots, atrest_header_size bytes. atrest_header_restore and `cryptsetup luksHeaderRestore`
// take these bytes.
//
// A backup opens the volume with the credentials of its time, including those removed since.
//
// Errors: ATREST_ERR_BUSY; ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_UNSUPPORTED_HEADER for BitLocker, whose metadata lies
// within the volume; the device's errors.
atrest_status atrest_header_backup(const atrest_header *header, void *backup, size_t backup_cap, size_t *backup_len);

// Writes a backup over the header of a device. The backup must be of this volume: same UUID, and data in the same
// place. No data is touched. If it is killed, repeat it. Afterwards the credentials of the backup's time open the
// volume. Open handles of the header and open volumes must be opened again.
//
// Errors: ATREST_ERR_NOT_LUKS, ATREST_ERR_INVALID_HEADER, ATREST_ERR_UNSUPPORTED_HEADER and
// ATREST_ERR_DEVICE_TOO_SMALL for the backup or the current header; ATREST_ERR_OTHER_HEADER if it is another volume's;
// ATREST_ERR_FOREIGN_DATA, as atrest_header_repair; the device's errors.
atrest_status atrest_header_restore(atrest_device *device, const void *backup, size_t backup_len);

// Writes a backup to the start of a device, OVER ANY CONTENT: a damaged header, another volume's header, data.
//
// Errors: those of atrest_header_restore for the backup; ATREST_ERR_DEVICE_TOO_SMALL.
atrest_status atrest_hazmat_header_restore(atrest_device *device, const void *backup, size_t backup_len);

// ---------------------------------------------------------------------------------------------------------------------
// WHAT A HEADER LISTS
//
// Each function here calls `each` with `user` for every entry of a header, ordered by number. The arguments, and the
// data they point to, are valid during the callback only. `each` returns ATREST_OK to continue; anything else ends the
// list with ATREST_ERR_CALLBACK_FAILED.

// A keyslot, as the header describes it. Missing values are 0 or an empty text.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // ATREST_PRIORITY_*: when it is tried.
    uint32_t priority;
    // "luks2" for a passphrase's, "luks1" in LUKS1, "reencrypt", or another type in the header. In BitLocker the kind of
    // protector, such as "password", "recovery password" or "TPM and PIN".
    const char *kind;
    // The length of the key in it, in bits.
    uint32_t key_bits;
    // The length of the key of its area, in bits.
    uint32_t area_key_bits;
    // The KDF: "pbkdf2", "argon2i" or "argon2id".
    const char *kdf;
    // The hash of PBKDF2.
    const char *hash;
    // Iterations of PBKDF2.
    uint32_t iterations;
    // Memory of Argon2 in KiB.
    uint32_t memory_kib;
    // Passes of Argon2.
    uint32_t passes;
    // Lanes of Argon2.
    uint32_t lanes;
    // The salt of the KDF.
    const uint8_t *salt;
    // The length of the salt.
    size_t salt_len;
    // The cipher of its area, in dm-crypt's notation.
    const char *cipher;
    // The hash of the anti-forensic splitter.
    const char *af_hash;
    // The stripes of the anti-forensic splitter.
    uint32_t af_stripes;
    // The number of digests that verify its key.
    uint32_t digests_count;
    // Their numbers.
    const uint32_t *digests;
    // The first byte of its area on the header's device.
    uint64_t area_offset;
    // The size of its area in bytes.
    uint64_t area_size;
    // 1 if its key is the data's key, by one of its digests; otherwise 0.
    uint32_t holds_data_key;
} atrest_keyslot_info;

// A token, as the header describes it.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // The number of keyslots that it unlocks.
    uint32_t keyslots_count;
    // Their numbers.
    const uint32_t *keyslots;
    // Its type: "atrest" for a vault's.
    const char *kind;
    // For a sound token of a vault, the URL of the key that wraps the DEK; otherwise NULL.
    const char *key_url;
    // The whole token as JSON.
    const char *json;
} atrest_token_info;

// A segment of data, as the header describes it. Missing values are 0 or an empty text.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // The sector size in bytes.
    uint32_t sector_size;
    // Its type: "crypt", "linear" for unencrypted data, "hidden" for BitLocker's own places, or another.
    const char *kind;
    // The cipher in dm-crypt's notation.
    const char *cipher;
    // Its first byte on the data's device.
    uint64_t offset;
    // Its size in bytes. 0: to the end of the device.
    uint64_t size;
    // The number of its first sector, in units of 512 bytes.
    uint64_t iv_tweak;
    // Its flags, each with a final zero byte. Another zero byte ends the list.
    const char *flags;
} atrest_segment_info;

// A digest that verifies a key, as the header describes it. Missing values are 0 or an empty text.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // Its number; 0 in LUKS1, which has one.
    uint32_t id;
    // The length in bits of the key that it verifies, if LUKS1's header, a keyslot or a token shows it.
    uint32_t key_bits;
    // Its type: "pbkdf2", or empty for an unknown one.
    const char *kind;
    // The hash of PBKDF2.
    const char *hash;
    // Iterations of PBKDF2.
    uint32_t iterations;
    // The number of keyslots that hold its key.
    uint32_t keyslots_count;
    // Their numbers.
    const uint32_t *keyslots;
    // The salt.
    const uint8_t *salt;
    // The length of the salt.
    size_t salt_len;
    // The digest itself.
    const uint8_t *digest;
    // The length of the digest.
    size_t digest_len;
    // The numbers of the segments encrypted with its key.
    const uint32_t *segments;
    // The number of these segments. If 0, it is not the data's key.
    uint32_t segments_count;
} atrest_digest_info;

// Lists the keyslots.
atrest_status atrest_header_keyslots(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_keyslot_info *keyslot), void *user);

// Lists the tokens; none in LUKS1.
atrest_status atrest_header_tokens(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_token_info *token), void *user);

// Lists the segments of data.
atrest_status atrest_header_segments(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_segment_info *segment), void *user);

// Lists the digests that verify keys.
atrest_status atrest_header_digests(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_digest_info *digest), void *user);

// Lists the features that a reader must know to open the volume. An unfinished reencryption is one of them. This
// library opens no volume that has any.
atrest_status atrest_header_requirements(const atrest_header *header, atrest_status (*each)(void *user,
    const char *requirement), void *user);

// Lists flags of the header, such as "allow-discards", which a reader need not know.
atrest_status atrest_header_flags(const atrest_header *header, atrest_status (*each)(void *user, const char *flag),
    void *user);

// ---------------------------------------------------------------------------------------------------------------------
// TOKENS FOR PROGRAMS ON LIBCRYPTSETUP
//
// Programs on libcryptsetup open a volume by a token only if it names a keyslot, whose passphrase a plugin for that token
// finds. These make such a keyslot for the tokens of vaults, of type "atrest", and find its passphrase. The passphrase
// follows from the DEK: only a caller whose vault unwraps the DEK can find it. docs/integrate/linux.md has the plugin.

// The length of a token's passphrase: 64 hexadecimal digits.
#define ATREST_TOKEN_PASSPHRASE_LEN 64

// Options of atrest_token_passphrase.
typedef struct {
    // Set by ATREST_TOKEN_OPTIONS_INIT.
    size_t struct_size;
    // The name of the key that must wrap the DEK. NULL: any key of the vault.
    const char *expected_key;
} atrest_token_options;

// The first value of an atrest_token_options.
#define ATREST_TOKEN_OPTIONS_INIT {sizeof(atrest_token_options), 0}

// Lets programs on libcryptsetup open the volume by its vaults, with a plugin for tokens of type "atrest", and puts the number
// of the keyslot that is for them into `id`. The keyslot is made unless there is one, and all vaults' tokens name it. Its
// passphrase follows from the DEK: it is no way in of its own. If it is killed at any instant, the tokens name the keyslot or
// not; they open the volume here either way. To undo it, remove the keyslot.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR if no vault opens the volume; otherwise as atrest_volume_add_protector.
atrest_status atrest_volume_bind_tokens(atrest_volume *volume, uint32_t *id);

// Finds the passphrase of the keyslot that atrest_volume_bind_tokens has made, for a program that has read a header of LUKS2
// itself and goes on with the keyslot: ATREST_TOKEN_PASSPHRASE_LEN bytes without a zero byte at the end. The caller must wipe
// them: THEY OPEN THE VOLUME.
//
// `json` is the metadata of the header as that program holds it, `uuid` its UUID, `token` the number of the token to open it
// by, and `vault` the vault to ask. The MAC of the token proves the metadata before the passphrase is given out: a program
// that then uses the segments of these metadata uses those that an owner of the DEK wrote. `options` may be NULL.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR if there is no such token of type "atrest", or it names no keyslot;
// ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_OTHER_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_INVALID_HEADER;
// ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_BUFFER_TOO_SHORT, before the vault is asked; the vault's errors.
atrest_status atrest_token_passphrase(const void *json, size_t json_len, const char *uuid, uint32_t token,
    const atrest_vault *vault, const atrest_token_options *options, void *passphrase, size_t passphrase_cap,
    size_t *passphrase_len);

// ---------------------------------------------------------------------------------------------------------------------
// BITLOCKER
//
// BitLocker volumes of Windows: atrest_volume_open opens one as it opens LUKS, by a passphrase (the password), a recovery
// password, a startup key, or the clear key of a volume whose protection is suspended. Protectors by a TPM open in
// Windows alone. Volumes of Windows 7 to 11 and of BitLocker To Go are read and written; those of Vista, and those that
// are being converted, are only read. docs/behaviours.md has the programs that this was tried with; Windows was not.
//
// atrest_volume_add_protector, atrest_volume_change_keyslot and atrest_volume_remove_keyslot change the protectors, of
// which the first is number 0; when one is removed, those behind it get the number before. atrest_header_keyslots lists
// them: `kind` is its kind, such as "password", "recovery password", "startup key", "clear key" or "TPM and PIN".
// atrest_header_segments lists the data: "crypt", "linear" for data that isn't encrypted yet, and "hidden" for the
// metadata, which reads as zeros. Such a header has no backup of its own; an image of the volume has it.
//
// All of it needs a library built with the feature `bitlocker`. Without it, these functions and credentials fail with
// ATREST_ERR_UNSUPPORTED, and atrest_volume_open with ATREST_ERR_NOT_LUKS, whose message names BitLocker.

// The size of a buffer for a recovery password, with its zero byte.
#define ATREST_RECOVERY_PASSWORD_SIZE 56

// The size of a buffer for the name of a startup key's file, with its zero byte.
#define ATREST_STARTUP_KEY_NAME_SIZE 41

// Options for making a BitLocker volume.
typedef struct {
    // Set by ATREST_BITLOCKER_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_FORMAT_OVERWRITE.
    uint32_t flags;
    // The sector size of the device: 512 or 4096 bytes. 0 is 512.
    uint32_t sector_size;
    // ATREST_AES_128_XTS, which Windows takes by default, or ATREST_AES_256_XTS. 0 is ATREST_AES_256_XTS.
    uint32_t dek_algorithm;
    // A description of up to 256 characters. Windows has the names of the machine and the drive there, and the date. NULL
    // is none.
    const char *description;
} atrest_bitlocker_options;

// The first value of an atrest_bitlocker_options.
#define ATREST_BITLOCKER_OPTIONS_INIT {sizeof(atrest_bitlocker_options), 0, 0, 0, 0}

// Makes a BitLocker volume on `device`, with a new DEK and `protector` as its first way in: a passphrase or key file, whose
// content is the password, or a recovery password. Add the second, which Windows asks for, by
// atrest_volume_add_protector. `options` may be NULL.
//
// The volume's own places lie in the last 268 KiB of the device, and atrest_volume_size leaves them out. MAKE THE FILE SYSTEM
// NO LARGER: another program that opens the volume shows zeros there, and some programs lose the data that is written there.
// The data area isn't written, and reads as noise until it is.
//
// Errors: ATREST_ERR_DEVICE_NOT_BLANK, without ATREST_FORMAT_OVERWRITE; ATREST_ERR_DEVICE_TOO_SMALL under 1 MiB and 4 KiB;
// ATREST_ERR_INVALID_OPTION, also for a vault, which BitLocker has no place for, and for a passphrase that isn't UTF-8;
// ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_NOT_APPROVED; ATREST_ERR_UNSUPPORTED without the feature; the
// device's errors.
atrest_status atrest_volume_format_bitlocker(atrest_device *device, const atrest_protector *protector,
    const atrest_bitlocker_options *options, atrest_volume **out);

// Makes a new recovery password, 55 characters from 128 random bits: eight groups of six digits, with dashes between them. A
// buffer of ATREST_RECOVERY_PASSWORD_SIZE bytes has room for it. Print it, keep it apart from the volume, and wipe it.
//
// Errors: ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
atrest_status atrest_recovery_password_generate(char *password, size_t password_cap, size_t *password_len);

// Makes a new startup key, 256 random bits, and writes its file into a folder by the name that Windows looks for there, which is
// put into `name` unless that is NULL: such as 4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK. Only its owner may read it. Then add
// it to a volume by ATREST_PROTECTOR_STARTUP_KEY.
//
// Errors: ATREST_ERR_BUFFER_TOO_SHORT for a buffer of fewer than ATREST_STARTUP_KEY_NAME_SIZE bytes; ATREST_ERR_NOT_FOUND
// without the folder; ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_IO; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
atrest_status atrest_startup_key_generate_file(const char *folder, char *name, size_t name_cap);

// Suspends the protection of a BitLocker volume, as before a change of the firmware: A KEY THAT OPENS THE VOLUME IS WRITTEN TO IT
// IN THE CLEAR, beside its other protectors. ATREST_CREDENTIAL_CLEAR_KEY opens it from then on, and so does Windows without
// asking. Puts the number of the clear key's protector into `id`. A volume that is suspended stays as it is.
//
// atrest_volume_resume_protection takes the key away. Anyone who has copied it meanwhile keeps the volume's key for
// good.
//
// Errors: ATREST_ERR_UNSUPPORTED_HEADER for another format; ATREST_ERR_UNSUPPORTED without the feature; those of
// atrest_volume_add_protector.
atrest_status atrest_hazmat_volume_suspend_protection(atrest_volume *volume, uint32_t *id);

// Resumes the protection of a BitLocker volume: all clear keys are removed, and overwritten. Puts 1 into `was_suspended` if there
// was one, or 0.
//
// Errors: ATREST_ERR_LAST_PROTECTOR if the volume has no other protector: add one first; those of
// atrest_hazmat_volume_suspend_protection.
atrest_status atrest_volume_resume_protection(atrest_volume *volume, uint32_t *was_suspended);

// ---------------------------------------------------------------------------------------------------------------------
// DATA WITHOUT A HEADER
//
// A plain mapping of dm-crypt, and the disks of SPDK and ubiblk, have no header: nothing on them says how they are
// encrypted, and nothing proves the key. The caller says it all:
//
//   made by                                   cipher        numbering                      sector_size
//   cryptsetup open --type plain              its --cipher  ATREST_NUMBERING_512           its --sector-size, or 512
//   the same with --iv-large-sectors          its --cipher  ATREST_NUMBERING_SECTORS       its --sector-size
//   SPDK's bdev_crypto on its software module NULL          ATREST_NUMBERING_UPPER_HALF    that of the device below
//   ubiblk                                    NULL          ATREST_NUMBERING_UPPER_HALF    512
//
// SPDK's key is its `key` followed by its `key2`. Its other modules number as they are told (`tweak_mode`); those that put
// the number into the lower half have aes-xts-plain64 and ATREST_NUMBERING_SECTORS.

// Numbers count units of 512 bytes, whatever the sector size, as in dm-crypt.
#define ATREST_NUMBERING_512 1

// Numbers count sectors of their own size: dm-crypt's iv_large_sectors.
#define ATREST_NUMBERING_SECTORS 2

// AES-XTS, where numbers count sectors of their own size and stand in the upper half of the tweak: disks of SPDK and
// ubiblk. No cipher of dm-crypt does that, so `cipher` is NULL.
#define ATREST_NUMBERING_UPPER_HALF 3

// Where data without a header lies, and how it is encrypted.
typedef struct {
    // Set by ATREST_PLAIN_OPTIONS_INIT.
    size_t struct_size;
    // 0, ATREST_OPEN_READ_ONLY and ATREST_OPEN_DISCARD, combined by `|`.
    uint32_t flags;
    // ATREST_NUMBERING_*. 0 is ATREST_NUMBERING_512.
    uint32_t numbering;
    // The cipher in dm-crypt's notation, such as "aes-xts-plain64" or "aes-cbc-essiv:sha256". There is no default, since
    // cryptsetup has had several.
    const char *cipher;
    // 512, 1024, 2048 or 4096 bytes. 0 is 512.
    uint32_t sector_size;
    // The first byte of the data on the device, a multiple of 512: `--offset` of cryptsetup, times 512.
    uint64_t offset;
    // The size of the data in bytes, a multiple of the sector size: `--size` of cryptsetup, times 512. 0 goes to the end of
    // the device.
    uint64_t size;
    // The number of the first sector, in units of 512 bytes: `--skip` of cryptsetup.
    uint64_t first_number;
    // The number of blocks that the key has encrypted before, as in an atrest_open_options.
    uint64_t used_blocks;
} atrest_plain_options;

// The first value of an atrest_plain_options.
#define ATREST_PLAIN_OPTIONS_INIT {sizeof(atrest_plain_options), 0, 0, 0, 0, 0, 0, 0, 0}

// The algorithm of a DEK of `key_len` bytes for a cipher in dm-crypt's notation: one of ATREST_AES_* and the like.
//
// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a cipher that isn't known, or needs the feature `legacy` of the library's
// build, as AES-XTS with 48 bytes of key does; ATREST_ERR_KEY_LENGTH.
atrest_status atrest_dek_algorithm_for_cipher(const char *cipher, size_t key_len, uint32_t *out);

// As atrest_hazmat_dek_from_bytes, for an algorithm that the length doesn't determine, such as CBC of old volumes. The
// caller must wipe `bytes`.
//
// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES for XTS; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for an
// algorithm of a feature that the library was built without.
atrest_status atrest_hazmat_dek_from_bytes_for(uint32_t algorithm, const void *bytes, size_t bytes_len,
    atrest_dek **out);

// Makes the DEK that `cryptsetup open --type plain` makes of a passphrase: its hash, and for each further part of a key
// longer than the hash, the hash of one more letter A and the passphrase. Guessing passphrases costs next to nothing, since
// there is no salt and no cost but one hash.
//
// `hash` is its name, such as "ripemd160", which cryptsetup had as its default before 2.7 and which needs the feature
// `legacy`, or "sha256", the default since. cryptsetup cuts a passphrase at the end of its line, and takes a key file
// without a hash: atrest_hazmat_dek_from_bytes_for.
//
// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a hash that isn't known, or needs `legacy`; ATREST_ERR_BAD_ENUM;
// ATREST_ERR_UNSUPPORTED as atrest_hazmat_dek_from_bytes_for; ATREST_ERR_EQUAL_KEY_HALVES; ATREST_ERR_NOT_APPROVED.
atrest_status atrest_hazmat_plain_dek(uint32_t algorithm, const char *hash, const char *passphrase,
    size_t passphrase_len, atrest_dek **out);

// Opens data that has no header, with the DEK, the cipher and the place that the caller knows.
//
// NOTHING PROVES ANY OF IT. With another key, cipher, sector size, offset or number, reads give noise, and WRITES DESTROY
// WHAT IS THERE. Try it with ATREST_OPEN_READ_ONLY first. Functions that need a header fail on such a volume with
// ATREST_ERR_UNSUPPORTED_HEADER. A cipher that is too weak, AES in ECB, opens for reading only.
//
// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a cipher that isn't known or needs the feature `legacy`, and if the DEK is
// for another one; ATREST_ERR_INVALID_OPTION; ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_DEVICE_TOO_SMALL;
// ATREST_ERR_SECTOR_OVERFLOW; ATREST_ERR_NOT_APPROVED; the device's errors.
atrest_status atrest_hazmat_volume_open_plain(atrest_device *device, const atrest_dek *dek,
    const atrest_plain_options *options, atrest_volume **out);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS OF AZURE DISK ENCRYPTION
//
// Where the passphrases of disks of Azure Disk Encryption are, as secrets in versions, and the RSA keys that wrap them: an
// Azure key vault by its URL, or callbacks, for a program that has a client of its own. No real Azure was tried.
//
// It needs a library built with the feature `ade`, which `kms` has; without, all of it fails with ATREST_ERR_UNSUPPORTED.

// The most bytes of a passphrase's tags.
#define ATREST_ADE_TAGS_SIZE 16384

// A vault of secrets and of the keys that wrap them. Freed by atrest_ade_vault_free.
typedef struct atrest_ade_vault atrest_ade_vault;

// A version of a secret. The library owns it: get() fills `version` and the members after it.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The version that is wanted, or empty for the newest. get() stores the one that it found.
    char version[ATREST_NAME_SIZE];
    // Room for the value, which the library wipes.
    uint8_t *value;
    // The size of the room.
    size_t value_cap;
    // The length of the value, which get() stores.
    size_t value_len;
    // The tags: the name and the value of each, both with a final zero byte. Another zero byte ends the list.
    char tags[ATREST_ADE_TAGS_SIZE];
} atrest_ade_secret;

// The callbacks of such a vault. They return ATREST_OK; for a secret or key that is refused, ATREST_ERR_NO_SUCH_KEY,
// ATREST_ERR_KEY_DISABLED, ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_EXPIRED, ATREST_ERR_KEY_NOT_YET_VALID or
// ATREST_ERR_ACCESS_DENIED, and the call ends with that; any other number is an outage, and the call ends with
// ATREST_ERR_CALLBACK_FAILED. An answer out of bounds ends it with ATREST_ERR_VAULT.
typedef struct {
    // Set by ATREST_ADE_VAULT_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // The vault's name, as in the URLs of its secrets and keys: "https://NAME.vault.azure.net". Copied.
    const char *id;
    // Puts a version of the secret `name` into `secret`. May be NULL: the vault has no secrets.
    atrest_status (*get)(void *user, const char *name, atrest_ade_secret *secret);
    // Makes a new version of the secret `name`, with this value and these tags, a list as in an atrest_ade_secret, and
    // writes its name into `version`. May be NULL: no secret is made.
    atrest_status (*set)(void *user, const char *name, const uint8_t *value, size_t value_len, const char *tags,
        char *version, size_t version_cap);
    // Wraps a passphrase under exactly the version and the algorithm of `wrapped`, and fills its `bytes_len` and `bytes`.
    // May be NULL: the vault wraps nothing.
    atrest_status (*wrap)(void *user, const uint8_t *passphrase, size_t passphrase_len, atrest_wrapped_dek *wrapped);
    // Unwraps a passphrase into `passphrase`, which has room for `passphrase_cap` bytes, and sets `passphrase_len`. May be
    // NULL: the vault unwraps nothing. Returns ATREST_ERR_UNWRAP_FAILED, too, if the wrapped bytes are wrong in any way.
    atrest_status (*unwrap)(void *user, const atrest_wrapped_dek *wrapped, uint8_t *passphrase, size_t passphrase_cap,
        size_t *passphrase_len);
    // Called once, when the vault is freed. May be NULL.
    void (*release)(void *user);
} atrest_ade_vault_callbacks;

// The first value of an atrest_ade_vault_callbacks.
#define ATREST_ADE_VAULT_CALLBACKS_INIT {sizeof(atrest_ade_vault_callbacks), 0, 0, 0, 0, 0, 0, 0}

// Opens an Azure key vault by its URL, azurekv://NAME.vault.azure.net: as atrest_vault_open_url, with its `options`, which may
// be NULL. Nothing is asked yet. release() is not called when this fails.
//
// Errors: ATREST_ERR_INVALID_OPTION for another URL, and for a secret that is missing; ATREST_ERR_UNSUPPORTED without the
// feature.
atrest_status atrest_ade_vault_open_url(const char *url, const atrest_vault_url_options *options,
    atrest_ade_vault **out);

// Makes such a vault of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_INVALID_NAME for the id; ATREST_ERR_INVALID_OPTION if there is neither get() nor unwrap();
// ATREST_ERR_UNSUPPORTED without the feature.
atrest_status atrest_ade_vault_from_callbacks(const atrest_ade_vault_callbacks *callbacks, atrest_ade_vault **out);

// Frees such a vault. It must not be freed during a call that has it.
void atrest_ade_vault_free(atrest_ade_vault *vault);

// ---------------------------------------------------------------------------------------------------------------------
// AZURE DISK ENCRYPTION
//
// Azure Disk Encryption (ADE) encrypts a disk inside the guest: that of Linux by LUKS, that of Windows by BitLocker. The
// passphrase of LUKS, or the file with BitLocker's startup key (.BEK), is a secret in an Azure key vault, mostly wrapped by an
// RSA key; that of Linux may be in a token of the disk instead. These open such a disk and give it a new passphrase or startup
// key. They bring that of Linux under a key of a vault of this library. docs/ade.md has the steps for an operator. NO REAL AZURE
// WAS TRIED: try it on a copy of a disk first.
//
// Where the comments below say 'passphrase' and 'keyslot', a BitLocker volume has a startup key and a protector, unless they say
// more.
//
// `vaults` are those that may be asked; requests go to no other vault, even if a tag or a token names one. All but
// atrest_ade_generate_passphrase fail with ATREST_ERR_NOT_THIS_VAULT if the secret or the key is in another one, and with the
// vaults' errors: ATREST_ERR_NO_SUCH_KEY and the like name a secret or a key, ATREST_ERR_UNWRAP_FAILED is for a passphrase that
// the key didn't wrap. Without the feature `ade` of the library's build they fail with ATREST_ERR_UNSUPPORTED.

// Flag: re-encrypt the data under a new DEK that only the vault wraps. The old DEK, which an administrator of the guest may
// know, then decrypts nothing. Re-encryption reads and writes the whole disk, and EVERY OTHER KEYSLOT GOES.
#define ATREST_ADE_REENCRYPT 1

// The size of a buffer for the URL of any secret, with its zero byte.
#define ATREST_ADE_URL_SIZE 513

// The length of a passphrase of ADE: 127 random bytes in base64.
#define ATREST_ADE_PASSPHRASE_LEN 172

// A disk of ADE, and where its passphrase is.
typedef struct {
    // Set by ATREST_ADE_DISK_INIT.
    size_t struct_size;
    // The disk.
    atrest_device *device;
    // The device of the header, if it is detached, as OS disks have it: the file /boot/luks/osluksheader on the boot
    // partition. NULL is the disk.
    atrest_device *header;
    // The secret with the passphrase, https://NAME.vault.azure.net/secrets/SECRET/VERSION, which the settings of the virtual
    // machine name. NULL: the passphrase is in the disk's token, as on confidential virtual machines.
    const char *secret_url;
    // The key that wraps the secret's passphrase, with its version, if the secret's tags don't say:
    // https://NAME.vault.azure.net/keys/KEY/VERSION. NULL: as the tags say.
    const char *kek_url;
    // With `kek_url`: ATREST_WRAP_RSA_OAEP, ATREST_WRAP_RSA_OAEP_256 or ATREST_WRAP_RSA1_5. 0 is ATREST_WRAP_RSA_OAEP.
    uint32_t kek_algorithm;
} atrest_ade_disk;

// The first value of an atrest_ade_disk.
#define ATREST_ADE_DISK_INIT {sizeof(atrest_ade_disk), 0, 0, 0, 0, 0}

// The result of a take-over: the ways into the disk that it removed and left. Bit n stands for keyslot or token n.
typedef struct {
    // Set by ATREST_ADE_TAKEN_OVER_INIT.
    size_t struct_size;
    // The keyslots that the passphrase opened, which this call removed.
    uint32_t removed_keyslots;
    // The tokens of ADE, which this call removed.
    uint32_t removed_tokens;
    // Other keyslots, such as an administrator's. They stay, and their passphrases still open the disk.
    uint32_t left_keyslots;
    // Their tokens, which stay too.
    uint32_t left_tokens;
} atrest_ade_taken_over;

// The first value of an atrest_ade_taken_over.
#define ATREST_ADE_TAKEN_OVER_INIT {sizeof(atrest_ade_taken_over), 0, 0, 0, 0}

// The first passphrase of ADE of a volume that has none: the place for it, and the fields that go there with it.
typedef struct {
    // Set by ATREST_ADE_NEW_PASSPHRASE_INIT.
    size_t struct_size;
    // For atrest_ade_add_secret: the secret, https://NAME.vault.azure.net/secrets/SECRET, without a version.
    const char *secret_url;
    // The key that wraps the passphrase, with its version: https://NAME.vault.azure.net/keys/KEY/VERSION. NULL: it isn't
    // wrapped, which only a secret allows.
    const char *kek_url;
    // With a secret and `kek_url`: as in an atrest_ade_disk. A token always has ATREST_WRAP_RSA_OAEP_256.
    uint32_t kek_algorithm;
    // For a secret: its tag MachineName, or NULL.
    const char *machine_name;
    // For a secret: its tag DiskEncryptionKeyFileName. NULL is LinuxPassPhraseFileName; that of a data disk ends with
    // _CONTROLLER_LUN. For a BitLocker volume it must be NULL: the name is that of the startup key, its identifier and .BEK.
    const char *file_name;
    // For a token: the URL of the key vault, or NULL.
    const char *vault_url;
    // For a token: the resource id of the key vault, or NULL.
    const char *vault_resource;
    // For a token: the URL of the service that attests the machine to the vault, or NULL.
    const char *attestation_url;
    // For a secret of a BitLocker volume: its tag VolumeLetter, such as "C:\\", or NULL.
    const char *volume_letter;
    // For a secret of a BitLocker volume: its tag VolumeLabel, or NULL.
    const char *volume_label;
} atrest_ade_new_passphrase;

// The first value of an atrest_ade_new_passphrase.
#define ATREST_ADE_NEW_PASSPHRASE_INIT {sizeof(atrest_ade_new_passphrase), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Opens a disk by its passphrase, which is found in its secret or its token. Nothing is changed in a vault or in the header.
// `options` may be NULL; its `header` must be, since `disk` has it.
//
// Errors: those of this section; ATREST_ERR_NO_SUCH_PROTECTOR without a token, for the passphrase of Linux where the disk is
// BitLocker, for a startup key where it is LUKS, and for that of another disk; ATREST_ERR_WRONG_PASSPHRASE if the passphrase
// opens nothing; ATREST_ERR_INVALID_OPTION for a BitLocker disk whose secret holds no startup key, though its tags name the file
// of one; ATREST_ERR_INVALID_NAME for another form of a URL; those of atrest_volume_open.
atrest_status atrest_ade_open(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_open_options *options, atrest_volume **out);

// Brings a disk under the key `key_name` of `vault`, and opens it by that. `flags` is 0 or ATREST_ADE_REENCRYPT. `options` is
// as in atrest_ade_open. The removed and remaining ways in go to `done`, which may be NULL.
//
// The order makes it safe to kill at any instant, and to call again, which does the rest: the disk gets a token for the
// vault's key; it is opened anew by the vault alone, and must have the same DEK; if asked for, it is re-encrypted; only then
// the keyslots that the passphrase opens and the tokens of ADE are removed. A call after a kill needs the passphrase too:
// delete its secret when neither the disk nor its snapshots need it.
//
// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1: convert it by
// atrest_header_convert_to_luks2 first; and for BitLocker, which has no place for a vault's key: copy the data. After an error the
// disk opens as before, or by the vault, or both.
atrest_status atrest_ade_take_over(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_vault *vault, const char *key_name, uint32_t flags, const atrest_open_options *options,
    atrest_ade_taken_over *done, atrest_volume **out);

// Gives a disk a new passphrase, as a new version of its secret with the same tags, except for the name of a startup key's file.
// Puts the URL with that version into `url`, which has room for ATREST_ADE_URL_SIZE bytes. The settings of the virtual machine
// must name it from then on.
//
// `disk.secret_url` names the version that the disk has now. The secret gets the new passphrase before the disk does, and the
// old keyslot goes when the disk has been opened by the vault's answer. Killed at any instant, the disk opens by the version
// before, or the newest, or both: call it again with the same URL then, and no third version is made. `options` is as in
// atrest_ade_open; `keyslot`, the options of the new keyslot, may be NULL.
//
// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_INVALID_OPTION for no URL, or one without a
// version.
atrest_status atrest_ade_replace_secret(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults,
    size_t count, const atrest_open_options *options, const atrest_keyslot_options *keyslot, char *url, size_t url_cap);

// Gives a disk whose passphrase is in its token a new one, under the same key, in a new token. `disk.secret_url` is NULL.
// Killed at any instant, the disk opens by the first token of type Azure_Disk_Encryption, or by the backup of one where
// there is none, which is how ADE's own program reads them; call it again then. `options` and `keyslot` are as in
// atrest_ade_replace_secret.
//
// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_INVALID_HEADER for a token beside the disk's own
// that isn't sound; ATREST_ERR_INVALID_OPTION for a URL of a secret.
atrest_status atrest_ade_replace_token(const atrest_ade_disk *disk, const atrest_ade_vault *const *vaults, size_t count,
    const atrest_open_options *options, const atrest_keyslot_options *keyslot);

// Gives an open volume its first passphrase of ADE, as a secret of a vault, and a keyslot for it, and puts the URL with the
// secret's version into `url`, which has room for ATREST_ADE_URL_SIZE bytes: the settings of the virtual machine must name it.
// The other ways into the volume stay. `keyslot` may be NULL.
//
// The secret is in the vault before the volume has the keyslot, which is proven with the passphrase that the vault returns. Killed
// at any instant, the volume opens as before; call it again with the same arguments then, and no second version is made: the
// secret's tag VolumeUUID says whose it is. To undo a killed call instead, delete the secret.
//
// Errors: those of this section and of atrest_volume_add_protector; ATREST_ERR_RESOURCE_EXISTS for a secret that is there
// with other tags, which may be another disk's; ATREST_ERR_INVALID_OPTION for no URL, or one with a version, and for a file name
// where the volume is BitLocker; ATREST_ERR_INVALID_NAME for another form of a URL; ATREST_ERR_UNSUPPORTED_HEADER for a volume
// that is neither LUKS nor BitLocker.
atrest_status atrest_ade_add_secret(atrest_volume *volume, const atrest_ade_new_passphrase *new_passphrase,
    const atrest_ade_vault *const *vaults, size_t count, const atrest_keyslot_options *keyslot, char *url,
    size_t url_cap);

// Gives an open volume its first passphrase of ADE in a token of type Azure_Disk_Encryption, as confidential virtual machines
// have it, wrapped under `kek_url` by RSA-OAEP-256, and a keyslot for it. The other ways into the volume stay. `keyslot` may be
// NULL. Killed at any instant, the volume opens as before, and has such a token only when its passphrase opens it; call it
// again then.
//
// Errors: those of this section and of atrest_volume_add_protector; ATREST_ERR_RESOURCE_EXISTS if the volume has such a token
// already, or one of a killed call that names something else; ATREST_ERR_INVALID_OPTION for the URL of a secret;
// ATREST_ERR_INVALID_NAME for no key, or another form of its URL; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1, which has no tokens,
// and for a volume that isn't LUKS.
atrest_status atrest_ade_add_token(atrest_volume *volume, const atrest_ade_new_passphrase *new_passphrase,
    const atrest_ade_vault *const *vaults, size_t count, const atrest_keyslot_options *keyslot);

// Makes a new passphrase as ADE of Linux has them, ATREST_ADE_PASSPHRASE_LEN bytes without a zero byte at the end. The caller
// must wipe it.
//
// Errors: ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
atrest_status atrest_ade_generate_passphrase(void *passphrase, size_t passphrase_cap, size_t *passphrase_len);

// Makes the value of a secret for a passphrase, or for the bytes of a file .BEK: in base64 if `kek_url` is NULL, or wrapped under
// that key by `kek_algorithm`, as in an atrest_ade_disk, and in base64url. Without a key the value gives everybody the passphrase:
// the caller must wipe it.
//
// Errors: those of this section; ATREST_ERR_BUFFER_TOO_SHORT, after the vault was asked; ATREST_ERR_BAD_ENUM;
// ATREST_ERR_INVALID_NAME.
atrest_status atrest_ade_seal(const void *passphrase, size_t passphrase_len, const char *kek_url,
    uint32_t kek_algorithm, const atrest_ade_vault *const *vaults, size_t count, void *value, size_t value_cap,
    size_t *value_len);

// ---------------------------------------------------------------------------------------------------------------------
// CUSTOMERS' VAULTS
//
// A disk service reaches customers' vaults through a directory, which knows them by their ids. The library has one
// kind, a list of vaults; the caller can make any other from callbacks.

// A directory of vaults. Freed by atrest_vault_directory_free.
typedef struct atrest_vault_directory atrest_vault_directory;

// The properties of a vault that sets require. The library owns it: describe() fills the members from `soft_delete`
// on.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // 1 if deleted keys can be recovered for a while, otherwise 0.
    uint32_t soft_delete;
    // 1 if they can't be purged meanwhile, otherwise 0.
    uint32_t purge_protection;
    // The vault's region.
    char region[ATREST_NAME_SIZE];
    // The tenant that it trusts.
    char tenant[ATREST_NAME_SIZE];
} atrest_vault_description;

// A directory of the caller. An answer out of bounds is refused with ATREST_ERR_VAULT. Several threads may call it at
// once.
typedef struct {
    // Set by ATREST_VAULT_DIRECTORY_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // Puts a handle of the vault `vault_id`, accessed under `identity`, into `out`. The library frees the handle.
    // atrest_vault_as_identity, atrest_vault_clone and atrest_vault_from_callbacks make such handles. This is called
    // each time that a vault is asked, so it should neither wait for the vault nor derive a key from a passphrase.
    // Returns ATREST_OK; ATREST_ERR_VAULT if there is no such vault; otherwise as wrap() of a vault of callbacks.
    atrest_status (*open_vault)(void *user, const char *vault_id, const char *identity, atrest_vault **out);
    // Fills `description` of the vault `vault_id`. Returns as open_vault().
    atrest_status (*describe)(void *user, const char *vault_id, atrest_vault_description *description);
    // Called once, when the directory and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
} atrest_vault_directory_callbacks;

// The first value of an atrest_vault_directory_callbacks.
#define ATREST_VAULT_DIRECTORY_CALLBACKS_INIT {sizeof(atrest_vault_directory_callbacks), 0, 0, 0, 0}

// Makes an empty directory.
atrest_status atrest_vault_directory_new(atrest_vault_directory **out);

// Adds a vault file under its own id, also while services use the directory. `vault` is its owner's handle, and its
// clock is used. Each set uses its own identity, which needs a grant of the vault's owner. The vault needs a region
// and a tenant, and purge protection: see atrest_vault_options.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS if there is one with this id; ATREST_ERR_UNSUPPORTED for a vault that isn't the
// owner's handle of a vault file, and for a directory of callbacks.
atrest_status atrest_vault_directory_add_file(atrest_vault_directory *directory, const atrest_vault *vault);

// Adds a vault of any kind under its own id, also while services use the directory. All sets use it as one caller: it
// can't tell them apart. The caller vouches for the properties that sets require: the vault is in `region`, trusts
// `tenant`, lets deleted keys be recovered, and lets nobody purge them meanwhile.
//
// `soft_delete` and `purge_protection` are 1 if that is true, otherwise 0. Errors: ATREST_ERR_RESOURCE_EXISTS if there
// is one with this id; ATREST_ERR_INVALID_OPTION for another number; ATREST_ERR_UNSUPPORTED for a directory of
// callbacks.
atrest_status atrest_vault_directory_add(atrest_vault_directory *directory, const atrest_vault *vault,
    const char *region, const char *tenant, uint32_t soft_delete, uint32_t purge_protection);

// Removes a vault. For the disks under its keys this is an outage, not a revocation: they work until their lease ends,
// and again once the vault is back.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE if there is none with this id; ATREST_ERR_UNSUPPORTED for a directory of
// callbacks.
atrest_status atrest_vault_directory_remove(atrest_vault_directory *directory, const char *vault_id);

// Calls `each` with the id of every vault, in order. The text is valid during the callback only. `each` returns
// ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_UNSUPPORTED for a directory of callbacks.
atrest_status atrest_vault_directory_ids(const atrest_vault_directory *directory, atrest_status (*each)(void *user,
    const char *vault_id), void *user);

// Makes a directory of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT, also for open_vault() and describe().
atrest_status atrest_vault_directory_from_callbacks(const atrest_vault_directory_callbacks *callbacks,
    atrest_vault_directory **out);

// Frees a directory. Services that use it keep it.
void atrest_vault_directory_free(atrest_vault_directory *directory);

// ---------------------------------------------------------------------------------------------------------------------
// WHERE DISKS LIE
//
// A disk service makes a device for each layer of each disk, snapshot and image in a backend. The library has one
// kind, a folder; the caller can make any other from callbacks, such as a pool of block devices or an object store.

// A backend. Freed by atrest_disk_backend_free.
typedef struct atrest_disk_backend atrest_disk_backend;

// A backend of the caller. Callbacks return ATREST_OK, or ATREST_ERR_BUSY if somebody else holds the device. Any other
// number is a failure, and the call ends with ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
typedef struct {
    // Set by ATREST_DISK_BACKEND_CALLBACKS_INIT.
    size_t struct_size;
    // Passed to every callback. It must stay valid until release() is called.
    void *user;
    // Makes a device of `size` zero bytes in a region, under an id of 36 characters that was never used before, and
    // puts a handle of it into `out`. The library frees the handle; a backend that needs a handle itself should give
    // away one of atrest_device_clone. Syncing the device must also make its name durable.
    atrest_status (*create)(void *user, const char *region, const char *id, uint64_t size, atrest_device **out);
    // Puts a handle of a device into `out`, which the library frees.
    atrest_status (*open)(void *user, const char *region, const char *id, atrest_device **out);
    // Removes a device, if it exists. Current users may continue until they close it. After this returns, the device
    // must not reappear.
    atrest_status (*remove)(void *user, const char *region, const char *id);
    // Called once, when the backend and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
    // Puts a handle of an existing plain image into `out`, to look at it before atrest_disk_service_import_disk takes it in.
    // The library frees it. `image` is the name that was given to that function. May be NULL, and so may be adopt_image():
    // then no image is taken in.
    atrest_status (*open_image)(void *user, const char *region, const char *image, atrest_device **out);
    // Makes an image the device of this id, grows it with zeros to `size` bytes, and puts a handle of it into `out`. It has this
    // name only from then on, also after a crash. After a failure or a kill it is called again with the same arguments: the
    // image may be the device already.
    atrest_status (*adopt_image)(void *user, const char *region, const char *id, const char *image, uint64_t size,
        atrest_device **out);
    // Calls `each` with `ids` and the id of every device that create() has made in a region, including forgotten ones. If
    // `each` returns anything but ATREST_OK, returns that. NULL, or ATREST_ERR_UNSUPPORTED: atrest_disk_service_orphans
    // can't tell.
    atrest_status (*list)(void *user, const char *region, atrest_status (*each)(void *ids, const char *id), void *ids);
} atrest_disk_backend_callbacks;

// The first value of an atrest_disk_backend_callbacks.
#define ATREST_DISK_BACKEND_CALLBACKS_INIT {sizeof(atrest_disk_backend_callbacks), 0, 0, 0, 0, 0, 0, 0, 0}

// Makes a backend of files in one folder, for all regions. The folder must exist.
atrest_status atrest_disk_backend_folder(const char *path, atrest_disk_backend **out);

// Opens a place for disks by its URL: `file:FOLDER` for a folder, which must exist, with `?direct` past the page cache. A library that
// was built with the features nbd, nbd-tls, rbd, azblob or s3 has `nbd://HOST/EXPORT`, `nbds://...`, `rbd:POOL`, `azblob:https://...` and
// `s3:https://...`, too. Credentials are where those systems have them, and never in the URL. The folder docs/storage says more.
//
// Errors: ATREST_ERR_INVALID_OPTION for another URL, and for one whose feature the library was built without;
// ATREST_ERR_NOT_FOUND for a folder.
atrest_status atrest_disk_backend_from_url(const char *url, atrest_disk_backend **out);

// Makes a backend of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT, also for create(), open() and remove().
atrest_status atrest_disk_backend_from_callbacks(const atrest_disk_backend_callbacks *callbacks,
    atrest_disk_backend **out);

// Frees a backend. Services that use it keep it.
void atrest_disk_backend_free(atrest_disk_backend *backend);

// ---------------------------------------------------------------------------------------------------------------------
// DISK SERVICE
//
// Managed disks, for embedding in a program that offers disks to others. A service keeps encryption sets, disks,
// snapshots and images. A disk is under the platform's key, under the customer's key of its set, or under both in two
// layers. It holds its key for a lease. When the key is disabled, deleted or expired, or access to it revoked, I/O
// fails with ATREST_ERR_DISK_SUSPENDED and the DEK is wiped; the disk works again once access is back.
//
// A request that breaks a rule of managed disks fails with ATREST_ERR_NOT_ALLOWED. The message names the alternative,
// and atrest_last_rule() the rule.
//
// The service does nothing by itself: call atrest_disk_service_maintain about once a minute,
// atrest_disk_service_auto_rotate every few minutes, and atrest_disk_service_reencrypt_step while there is anything to
// re-encrypt, each on its own thread.
//
// RECORDS      A kind and a name identify each resource. Its fields for programs are in a struct (atrest_set_info,
//              atrest_resource_info), and the whole record is a JSON text, for logs and interfaces: the text of Rust's
//              to_json(). Later versions may add members to it.
// LISTS        A list calls `each` for every entry. So its length need not be known before, and no vault is asked a
//              second time because a buffer was too short.

// A disk service. Freed by atrest_disk_service_free.
typedef struct atrest_disk_service atrest_disk_service;

// Options of a service. It keeps references to the handles, so they may be freed.
typedef struct {
    // Set by ATREST_DISK_SERVICE_OPTIONS_INIT.
    size_t struct_size;
    // The place of disks.
    const atrest_disk_backend *backend;
    // The access to customers' vaults. NULL if there are none.
    const atrest_vault_directory *vaults;
    // The vault of the platform's keys. The service needs get, wrapKey and unwrapKey.
    const atrest_vault *platform;
    // The name of the platform's key in it.
    const char *platform_key;
    // The clock. NULL is the operating system's.
    const atrest_clock *clock;
    // The longest time until I/O fails after a key was disabled, deleted or expired, or access to it revoked. 0 is
    // 3600.
    uint64_t grace_seconds;
    // The time after an answer until a vault is asked again. It is shorter than the grace, so that a short outage of a
    // vault does no harm. 0 is 900.
    uint64_t interval_seconds;
    // How long I/O continues after a vault's last answer while the vault doesn't answer. A revocation in this time
    // takes effect late, by up to this time. 0 is the grace, as after a revocation.
    uint64_t outage_seconds;
    // How often atrest_disk_service_auto_rotate asks a vault for a newer version of a set's key. Together with the
    // time of the rotation it should stay below an hour. 0 is 900.
    uint64_t rotation_interval_seconds;
    // The most calls of a vault in flight at once, in one rotation or one round of atrest_disk_service_maintain. 0 is
    // 8.
    size_t parallel;
    // The longest time for a call of a vault. A longer call is abandoned and counts as an outage. 0 is 30.
    uint64_t deadline_seconds;
    // 1 to refuse disks with ATREST_ERR_MEMORY_NOT_LOCKED if the system doesn't lock the memory of secrets, which
    // could then be swapped (atrest_memory_protection); otherwise 0.
    uint32_t require_locked_memory;
    // 0.
    uint32_t reserved;
    // 1 to pass atrest_disk_discard on to the devices. THAT SHOWS ANYONE WHO SEES A DEVICE WHICH BLOCKS ARE FREE, and so how
    // full a disk is and its kind of file system. Otherwise 0.
    uint32_t discard;
    // 0.
    uint32_t reserved_2;
    // 1 to give new disks, snapshots and images a map of written chunks (`written_chunk_size` of atrest_format_options):
    // unwritten data reads as zeros, and copies of it take no room. Otherwise 0.
    uint32_t written_map;
    // 0.
    uint32_t reserved_3;
} atrest_disk_service_options;

// The first value of an atrest_disk_service_options.
#define ATREST_DISK_SERVICE_OPTIONS_INIT {sizeof(atrest_disk_service_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Reports progress: of a copy in bytes; of a rotation in disks, snapshots and images. It may be called from several
// threads at once, which wait for it.
typedef void (*atrest_progress)(void *user, uint64_t done, uint64_t total);

// The result for a set that was due for a rotation. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The name of the set.
    const char *set;
    // The key that the whole set is now under. NULL if the rotation failed.
    const char *key_url;
    // How many resources were moved to it.
    uint64_t rewrapped;
    // Why the rotation failed, as in atrest_last_error_message. NULL if it did not.
    const char *message;
    // ATREST_OK, or the status that atrest_disk_service_rotate_set would have returned.
    atrest_status status;
    // 0.
    uint32_t reserved;
} atrest_rotated;

// A set whose active key expires soon. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The name of the set.
    const char *set;
    // Its active key.
    const char *key_url;
    // When that expires, or has expired.
    uint64_t expires;
    // 1 if a newer version would be adopted automatically, otherwise 0.
    uint32_t auto_rotation;
    // 0.
    uint32_t reserved;
} atrest_expiring_key;

// Opens the store of a service, a file, or makes it. Only one process at a time can have it open, until the service
// and all its disks are freed. It removes the remains of resources that were being made or removed when the last
// process ended. If some can't be removed now, the next start tries again.
//
// Errors: ATREST_ERR_BUSY while the store is open already; ATREST_ERR_NULL_ARGUMENT, also for the options `backend`,
// `platform` and `platform_key`; ATREST_ERR_INVALID_OPTION unless the interval is shorter than the grace, and the grace 30
// days at most; ATREST_ERR_IO.
atrest_status atrest_disk_service_open(const char *store, const atrest_disk_service_options *options,
    atrest_disk_service **out);

// Frees a service. Its disks stay open, and with them the store.
void atrest_disk_service_free(atrest_disk_service *service);

// Asks the vaults that are due, and wipes the DEKs of disks whose keys may not be used. Reads and writes also do this
// for their own disk; but a disk that nobody reads keeps its DEK in memory until this is called.
atrest_status atrest_disk_service_maintain(const atrest_disk_service *service);

// Finishes moves into sets, rotates the sets with auto-rotation whose vault has a newer version of the key, continues
// killed rotations, and returns when they are done. Then it calls `each` for every set that was due. A failed rotation
// is not retried until atrest_disk_service_clear_rotation_error; a vault that could not be asked is asked again after
// the next interval.
//
// `progress` may be NULL; both get `user`. `each` returns ATREST_OK to continue; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_auto_rotate(const atrest_disk_service *service, atrest_progress progress,
    atrest_status (*each)(void *user, const atrest_rotated *rotated), void *user);

// Calls `each` for every set whose active key has expired or will within this time. Every set's vault is asked; a
// vault that doesn't answer, or doesn't describe its keys, is left out. `each` returns ATREST_OK to continue; anything
// else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_expiring_keys(const atrest_disk_service *service, uint64_t within_seconds,
    atrest_status (*each)(void *user, const atrest_expiring_key *key), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// ENCRYPTION SETS
//
// A set is the key, identity and kind of encryption that many disks share. It accesses its vault under its own
// identity, which is made with the set. The vault's owner must grant this identity get, wrapKey and unwrapKey
// (atrest_vault_grant) before the first disk can be made in the set. The names of sets, regions and subscriptions
// consist of 1 to 127 letters, digits, '-', '_' and '.', and don't begin with '.'.
//
// Every function here that names a set fails with ATREST_ERR_NO_SUCH_RESOURCE if there is no set of that name.

// The size of a buffer for the identity of any set, with its zero byte.
#define ATREST_IDENTITY_SIZE 257

// Options of a new set.
typedef struct {
    // Set by ATREST_NEW_SET_INIT.
    size_t struct_size;
    // A name that no other set has.
    const char *name;
    // Its region. Its vault and disks are in the same one.
    const char *region;
    // Its subscription. Its disks are in the same one.
    const char *subscription;
    // The tenant of its identity. Its vault must trust this tenant.
    const char *tenant;
    // The URL of the version of the key.
    const char *key_url;
    // ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS. 0 is ATREST_CUSTOMER_KEY.
    uint32_t encryption_type;
    // 1 if atrest_disk_service_auto_rotate adopts newer versions of the key.
    uint32_t auto_rotation;
} atrest_new_set;

// The first value of an atrest_new_set.
#define ATREST_NEW_SET_INIT {sizeof(atrest_new_set), 0, 0, 0, 0, 0, 0, 0}

// A set's fields for programs.
typedef struct {
    // Set by ATREST_SET_INFO_INIT.
    size_t struct_size;
    // ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS.
    uint32_t encryption_type;
    // 1 if newer versions of the key are adopted automatically, otherwise 0.
    uint32_t auto_rotation;
    // When it was made.
    uint64_t created;
    // When the last rotation ended; 0 if there was none.
    uint64_t last_key_rotation_timestamp;
    // The number of other keys that disks may still be under: some during a rotation, otherwise none. They must stay
    // enabled. Their URLs are in the record.
    uint64_t previous_keys;
    // The identity for access to its vault.
    char identity[ATREST_IDENTITY_SIZE];
    // The URL of the key of its disks. During a rotation, the key that they are moving to.
    char active_key[ATREST_KEY_URL_SIZE];
    // The error that stopped a rotation, such as "KeyDisabled"; empty if none did. The resource at which it stopped,
    // and a text for people, are in the record.
    char rotation_error[ATREST_NAME_SIZE];
} atrest_set_info;

// The first value of an atrest_set_info.
#define ATREST_SET_INFO_INIT {sizeof(atrest_set_info), 0, 0, 0, 0, 0, {0}, {0}, {0}}

// Makes a set.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME, also unless `key_url` is the URL of a version;
// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection, and for
// ATREST_PLATFORM_KEY, which has no set; ATREST_ERR_BAD_ENUM; the errors of the directory of vaults.
atrest_status atrest_disk_service_create_set(const atrest_disk_service *service, const atrest_new_set *set);

// Writes a set's fields for programs into `out`, which starts from ATREST_SET_INFO_INIT.
atrest_status atrest_disk_service_encryption_set(const atrest_disk_service *service, const char *set,
    atrest_set_info *out);

// The whole record of a set, in JSON.
atrest_status atrest_disk_service_encryption_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);

// Calls `each` with the name of every set, in order. `each` returns ATREST_OK to continue; anything else ends the list
// with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_encryption_sets(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *set), void *user);

// Calls `each` with the kind (ATREST_RESOURCE_*) and name of every member of a set, in order. `each` returns ATREST_OK
// to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_members(const atrest_disk_service *service, const char *set,
    atrest_status (*each)(void *user, uint32_t kind, const char *name), void *user);

// Moves every disk, snapshot and image of a set to the latest version of its key. A rotation that was stopped or
// killed is continued. No sector is read or written, and disks stay in use. THE OLD VERSIONS MUST STAY ENABLED UNTIL
// THIS RETURNS.
//
// `progress` may be NULL. The number of resources moved goes to `rewrapped`, which may be NULL; the others were under
// the key already.
//
// Errors: ATREST_ERR_NOT_ALLOWED until the error of an earlier rotation is cleared; the errors of the vault and the
// devices. An error that stops a running rotation is noted in the set. An error before it starts, such as a key that
// may not be used, is not noted.
atrest_status atrest_disk_service_rotate_set(const atrest_disk_service *service, const char *set,
    atrest_progress progress, void *user, uint64_t *rewrapped);

// Moves a set with all its members to another key, possibly in another vault. Otherwise as
// atrest_disk_service_rotate_set.
//
// Use it when the key has expired. A key that is disabled or deleted, or may not be used any more, must first be made
// usable again until this returns: without it nobody can get the DEKs, not even this service.
//
// Errors: those of atrest_disk_service_rotate_set; ATREST_ERR_INVALID_NAME unless the text is the URL of a version;
// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection.
atrest_status atrest_disk_service_change_key(const atrest_disk_service *service, const char *set, const char *key_url,
    atrest_progress progress, void *user, uint64_t *rewrapped);

// Moves everything under a key of the platform to that key's latest version: disks, snapshots and images outside of
// sets, and the lower layers of those with two. Otherwise as atrest_disk_service_rotate_set, but no error has to be
// cleared: calling it again continues. No customer's vault is asked. THE OLD VERSIONS MUST STAY ENABLED UNTIL THIS
// RETURNS.
//
// Errors: the errors of the vault and the devices, which are also noted in the report.
atrest_status atrest_disk_service_rotate_platform(const atrest_disk_service *service, atrest_progress progress,
    void *user, uint64_t *rewrapped);

// Clears the error that stopped a rotation, so that it may be tried again.
atrest_status atrest_disk_service_clear_rotation_error(const atrest_disk_service *service, const char *set);

// Sets whether newer versions of a set's key are adopted automatically: 1 or 0.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_disk_service_set_auto_rotation(const atrest_disk_service *service, const char *set, uint32_t on);

// Moves a set to another tenant, for example after its subscription was transferred. The set loses its identity, and
// so the access to its key. It gets a new identity; everything works again once the vault's owner has granted that one
// access. The vault may stay in the former tenant, or move later. A new key must be in a vault of the new tenant.
atrest_status atrest_disk_service_move_set_to_tenant(const atrest_disk_service *service, const char *set,
    const char *tenant);

// Removes a set.
//
// Errors: ATREST_ERR_NOT_ALLOWED while it has disks, snapshots or images.
atrest_status atrest_disk_service_delete_set(const atrest_disk_service *service, const char *set);

// ---------------------------------------------------------------------------------------------------------------------
// DISKS, SNAPSHOTS AND IMAGES
//
// A disk can be written; a snapshot is a disk's content at one instant; an image is a copy of some disks, in one
// region or in several. Each has its own DEK. A kind, ATREST_RESOURCE_*, and a name identify one of them. The name is
// unique within its kind: 1 to 127 letters, digits, '-', '_' and '.', and it doesn't begin with '.'. A copy in an
// image is named IMAGE/REGION/NUMBER, with the number of the disk in the image, from 0.
//
// Every function here that names something fails with ATREST_ERR_NO_SUCH_RESOURCE if it doesn't exist, and with
// ATREST_ERR_BAD_ENUM for an unknown kind.

// A disk.
#define ATREST_RESOURCE_DISK 1

// A snapshot.
#define ATREST_RESOURCE_SNAPSHOT 2

// A copy of an image's disk.
#define ATREST_RESOURCE_IMAGE 3

// The size of a buffer for the id of a disk, snapshot or image, with its zero byte.
#define ATREST_ID_SIZE 37

// Options of a new disk.
typedef struct {
    // Set by ATREST_NEW_DISK_INIT.
    size_t struct_size;
    // A name that no other disk has.
    const char *name;
    // Its region.
    const char *region;
    // Its subscription.
    const char *subscription;
    // The set whose key protects it. NULL for the platform's key.
    const char *set;
    // The size of its data in bytes, a multiple of the sector size, up to 64 TiB. Leave it 0 for a copy, which has its
    // source's size.
    uint64_t size;
    // 512 or 4096 bytes. 0 is 512. Leave it 0 for a copy.
    uint32_t sector_size;
    // 0.
    uint32_t reserved;
} atrest_new_disk;

// The first value of an atrest_new_disk.
#define ATREST_NEW_DISK_INIT {sizeof(atrest_new_disk), 0, 0, 0, 0, 0, 0, 0}

// Options of a new snapshot.
typedef struct {
    // Set by ATREST_NEW_SNAPSHOT_INIT.
    size_t struct_size;
    // A name that no other snapshot has.
    const char *name;
    // The name of the disk.
    const char *disk;
    // The set whose key protects it. NULL for the disk's set, or the platform's key if the disk has none. An
    // incremental snapshot is always in the disk's set.
    const char *set;
    // 1 if it only holds the changes since the disk's last incremental snapshot. The first one holds everything.
    uint32_t incremental;
    // 0.
    uint32_t reserved;
} atrest_new_snapshot;

// The first value of an atrest_new_snapshot.
#define ATREST_NEW_SNAPSHOT_INIT {sizeof(atrest_new_snapshot), 0, 0, 0, 0, 0}

// Options of a new image.
typedef struct {
    // Set by ATREST_NEW_IMAGE_INIT.
    size_t struct_size;
    // A name that no other image has.
    const char *name;
    // The names of its disks.
    const char *const *disks;
    // The number of disks.
    size_t disks_count;
    // Its regions.
    const char *const *regions;
    // The number of regions.
    size_t regions_count;
    // For each region, and in it for each disk, the set of that region whose key protects the copy, or NULL for the
    // platform's key: the set of disk `d` in region `r` is `sets[r * disks_count + d]`. NULL for the platform's key
    // everywhere.
    const char *const *sets;
    // The number of sets: disks times regions.
    size_t sets_count;
} atrest_new_image;

// The first value of an atrest_new_image.
#define ATREST_NEW_IMAGE_INIT {sizeof(atrest_new_image), 0, 0, 0, 0, 0, 0, 0}

// The fields of a disk, snapshot, or copy of an image's disk, for programs.
typedef struct {
    // Set by ATREST_RESOURCE_INFO_INIT.
    size_t struct_size;
    // ATREST_RESOURCE_*.
    uint32_t kind;
    // ATREST_*_KEY or _KEYS.
    uint32_t encryption_type;
    // The size of its data in bytes.
    uint64_t size;
    // The sector size in bytes.
    uint32_t sector_size;
    // 1 while it is moving into its set and not surely under the set's key, otherwise 0.
    uint32_t joining;
    // 1 if its data was ever encrypted in the guest, otherwise 0.
    uint32_t guest_encrypted;
    // 1 for an incremental snapshot, otherwise 0.
    uint32_t incremental;
    // When it was made.
    uint64_t created;
    // A UUID that is never reused: the name of its device in the backend.
    char id[ATREST_ID_SIZE];
    // Its set; empty if the platform's key alone protects it.
    char set[ATREST_NAME_SIZE];
} atrest_resource_info;

// The first value of an atrest_resource_info.
#define ATREST_RESOURCE_INFO_INIT {sizeof(atrest_resource_info), 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}}

// Makes a disk with a new DEK, under its set's key or the platform's. Until it is written, it reads as noise.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another region or
// subscription; ATREST_ERR_INVALID_OPTION for the size; ATREST_ERR_SECTOR_SIZE; the errors of the vault and the
// backend. On failure nothing is left behind.
atrest_status atrest_disk_service_create_disk(const atrest_disk_service *service, const atrest_new_disk *disk);

// Makes a disk with the content of a disk, a snapshot or an image's copy, and with a new DEK. A disk that is written
// meanwhile is copied as of the start of this call. Copying is the only way out of a set: nothing else brings data
// from a customer's key to the platform's. `progress` may be NULL.
//
// Errors: those of atrest_disk_service_create_disk; ATREST_ERR_INVALID_OPTION for a size that isn't 0;
// ATREST_ERR_DISK_SUSPENDED while the source's key may not be used.
atrest_status atrest_disk_service_create_disk_from(const atrest_disk_service *service, uint32_t source_kind,
    const char *source_name, const atrest_new_disk *disk, atrest_progress progress, void *user);

// Makes a snapshot of the disk at this instant, even while it is written, under its own DEK. An incremental one only
// stores the differences to the one before; it saves space if the backend keeps devices sparse. `progress` may be
// NULL.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another place, or
// for an incremental snapshot in another set than the disk's; ATREST_ERR_DISK_SUSPENDED while the disk's key may not
// be used; the errors of the vault and the backend. On failure nothing is left behind.
atrest_status atrest_disk_service_create_snapshot(const atrest_disk_service *service,
    const atrest_new_snapshot *snapshot, atrest_progress progress, void *user);

// Makes an image: a copy of each disk in each region, with its own DEK. All copies of a disk have its content at one
// instant. `progress`, which may be NULL, is called for one copy after the other.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_INVALID_OPTION without a disk or a region;
// ATREST_ERR_NOT_ALLOWED unless there is one set or NULL for each region and disk, in that region, and for a copy
// under the platform's key of a disk under a customer's; otherwise as atrest_disk_service_create_snapshot.
atrest_status atrest_disk_service_create_image(const atrest_disk_service *service, const atrest_new_image *image,
    atrest_progress progress, void *user);

// Writes the fields of a disk, snapshot, or copy of an image's disk into `out`, which starts from
// ATREST_RESOURCE_INFO_INIT.
atrest_status atrest_disk_service_resource(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_resource_info *out);

// The whole record of a disk, snapshot, or copy of an image's disk, in JSON.
atrest_status atrest_disk_service_resource_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);

// Calls `each` with the name of every disk, snapshot, or copy of an image's disk, in order. The text is valid during
// the callback only. `each` returns ATREST_OK to continue; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_names(const atrest_disk_service *service, uint32_t kind,
    atrest_status (*each)(void *user, const char *name), void *user);

// Calls `each` with the name of every copy of an image, ordered by regions and numbers. The copies have the kind
// ATREST_RESOURCE_IMAGE. Otherwise as atrest_disk_service_names.
atrest_status atrest_disk_service_image(const atrest_disk_service *service, const char *image,
    atrest_status (*each)(void *user, const char *name), void *user);

// Puts a disk or snapshot into a set: from under the platform's key under a customer's, or from under the key of another
// set. A disk and its incremental snapshots go together. No sector is touched, and it stays open. Killed at any instant, it
// is finished at the next use. Nothing takes it out of its set again: to leave the customer's key, copy the data to a new
// disk without a set, by atrest_disk_service_create_disk_from.
//
// Errors: ATREST_ERR_NOT_ALLOWED for a set in another place, for a set of a type that the disk can't change to in
// place, or for a disk that was ever encrypted in the guest; the errors of the vault and the devices.
atrest_status atrest_disk_service_put_into_set(const atrest_disk_service *service, uint32_t kind, const char *name,
    const char *set);

// Marks a disk's data as encrypted in the guest. The mark is permanent, and its copies, snapshots and images inherit
// it.
//
// Errors: ATREST_ERR_NOT_ALLOWED for a disk under a customer's key, or encrypted at the host.
atrest_status atrest_disk_service_mark_guest_encrypted(const atrest_disk_service *service, const char *disk);

// Says whether a disk is encrypted at the host of the machine that it is attached to: the process there has this library, and
// sends only ciphertext to the storage. `on` is 1 or 0. A disk can't be marked as encrypted in the guest meanwhile.
//
// Errors: ATREST_ERR_NOT_ALLOWED for a disk that was ever encrypted in the guest.
atrest_status atrest_disk_service_set_host_encryption(const atrest_disk_service *service, const char *disk,
    uint32_t on);

// Makes a disk larger, to `size` bytes, while it is in use: every atrest_disk of it has the new size when this returns. The new
// part reads as noise until it is written, or as zeros if the disk has a map of written chunks. If it is killed or fails, the disk
// has its old size, and the same call goes on. Snapshots keep the size that the disk had.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_INVALID_OPTION for a smaller size, for one that is no whole number of sectors or
// over 64 TiB, and for devices that keep their size; ATREST_ERR_BUSY while the disk is copied or re-encrypted;
// ATREST_ERR_DISK_SUSPENDED while its key may not be used; the errors of the vault and the device.
atrest_status atrest_disk_service_resize_disk(const atrest_disk_service *service, const char *disk, uint64_t size);

// Moves a disk or snapshot to another subscription. A disk and its incremental snapshots move together, and so do all
// copies of an image.
//
// Errors: ATREST_ERR_NOT_ALLOWED for a resource under a customer's key; ATREST_ERR_INVALID_NAME.
atrest_status atrest_disk_service_move_to_subscription(const atrest_disk_service *service, uint32_t kind,
    const char *name, const char *subscription);

// Removes a disk or a snapshot with its content. If later incremental snapshots need content of a removed one, it is
// copied to the next of them; that needs their key.
//
// Errors: ATREST_ERR_BUSY while somebody has the disk open, or the snapshot is being copied; ATREST_ERR_NOT_ALLOWED
// for an image's copy; for an incremental snapshot with a later one, ATREST_ERR_DISK_SUSPENDED and the vault's errors;
// the backend's errors.
atrest_status atrest_disk_service_delete(const atrest_disk_service *service, uint32_t kind, const char *name);

// Removes an image with all its copies.
//
// Errors: ATREST_ERR_BUSY while one of its copies is being copied; the backend's errors: then the image is gone, and
// the remains of its copies are removed when the service is opened next.
atrest_status atrest_disk_service_delete_image(const atrest_disk_service *service, const char *image);

// ---------------------------------------------------------------------------------------------------------------------
// OPEN DISKS
//
// An open managed disk. All users share one opening, and so its vault calls. Only the requested sectors are in memory
// in the clear, and the DEK while the disk's key may be used.

// An open disk. Freed by atrest_disk_free.
typedef struct atrest_disk atrest_disk;

// Opens a disk.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_DISK_SUSPENDED while its key may not be used; the errors of the
// vault and the device.
atrest_status atrest_disk_service_open_disk(const atrest_disk_service *service, const char *name, atrest_disk **out);

// Frees an open disk. IT DOES NOT SYNC: call atrest_disk_sync first, or the last writes may not be on the disk. It may
// outlive its service; then the store stays open as long.
void atrest_disk_free(atrest_disk *disk);

// Reads and decrypts `len` bytes at `offset`. Both are multiples of the sector size. Unwritten sectors read as noise.
// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED the content of `sectors` is undefined.
//
// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS;
// ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_read_at(const atrest_disk *disk, uint64_t offset, void *sectors, size_t len);

// Encrypts and writes `len` bytes at `offset`. Both are multiples of the sector size. After ATREST_ERR_IO and
// ATREST_ERR_CALLBACK_FAILED a part may have been written.
//
// Errors: those of atrest_disk_read_at.
atrest_status atrest_disk_write_at(atrest_disk *disk, uint64_t offset, const void *sectors, size_t len);

// Waits until all written data is on stable storage. If it fails, data written since the last sync may be lost.
//
// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_sync(atrest_disk *disk);

// The name of the disk.
atrest_status atrest_disk_name(const atrest_disk *disk, char *name, size_t name_cap, size_t *name_len);

// The size of the data in bytes.
atrest_status atrest_disk_size(const atrest_disk *disk, uint64_t *out);

// The sector size in bytes.
atrest_status atrest_disk_sector_size(const atrest_disk *disk, uint32_t *out);

// 1 if its key may not be used, as far as is known without asking, otherwise 0. Shut down a machine if one of its
// disks is suspended after atrest_disk_service_maintain.
atrest_status atrest_disk_is_suspended(const atrest_disk *disk, uint32_t *out);

// ---------------------------------------------------------------------------------------------------------------------
// ENGINES
//
// Functions for engines that need more than whole buffers and calls that wait: buffers that may be changed, the vectors of
// readv and writev, and I/O that the caller does itself, in a queue of io_uring, vhost-user or SPDK. Between the beginning
// and the completion of a request the caller reads or writes the device, at an offset that it is told:
//
//   atrest_volume_begin_write(volume, offset, sectors, len, &device_offset);  // sectors hold ciphertext now
//   ... write len bytes of sectors at device_offset of the device ...
//
//   atrest_volume_begin_read(volume, offset, len, &device_offset);
//   ... read len bytes at device_offset of the device into sectors ...
//   atrest_volume_complete_read(volume, offset, sectors, len);

// Encrypts `sectors` where they lie, and writes them at `offset` in one piece. Afterwards `sectors` hold
// ciphertext.
//
// Errors: those of atrest_volume_write_at. `sectors` are untouched then, but for ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_write_in_place(atrest_volume *volume, uint64_t offset, void *sectors, size_t len);

// As atrest_volume_read_at, into `count` segments one after the other, each a whole number of sectors.
//
// Errors: those of atrest_volume_read_at; ATREST_ERR_OVERLAP for segments that do.
atrest_status atrest_volume_read_vectored_at(const atrest_volume *volume, uint64_t offset,
    const atrest_segment *segments, size_t count);

// As atrest_volume_write_at, from `count` segments one after the other, each a whole number of sectors.
//
// Errors: those of atrest_volume_write_at.
atrest_status atrest_volume_write_vectored_at(atrest_volume *volume, uint64_t offset, const atrest_segment *segments,
    size_t count);

// Says where on the volume's device `len` bytes from `offset` are. The caller reads them, and hands them to
// atrest_volume_complete_read. Nothing is held meanwhile: a read may be given up.
//
// Errors: those of atrest_volume_read_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several
// segments of the volume.
atrest_status atrest_volume_begin_read(const atrest_volume *volume, uint64_t offset, size_t len,
    uint64_t *device_offset);

// Decrypts `len` bytes in place that were read from where those at `offset` are.
//
// Errors: those of atrest_volume_begin_read. `sectors` are ciphertext then.
atrest_status atrest_volume_complete_read(const atrest_volume *volume, uint64_t offset, void *sectors, size_t len);

// Encrypts `sectors` where they lie, and says where on the volume's device the caller is to write them.
// They are on the disk for sure once that is done, and the device is synced.
//
// Errors: those of atrest_volume_write_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
// `sectors` are untouched then.
atrest_status atrest_volume_begin_write(atrest_volume *volume, uint64_t offset, void *sectors, size_t len,
    uint64_t *device_offset);

// As atrest_volume_begin_write, of `sectors` that must not be changed, such as a guest's memory. The caller is to write
// `ciphertext`, which has `len` bytes, too.
//
// Errors: those of atrest_volume_begin_write; ATREST_ERR_OVERLAP for buffers that overlap in part.
atrest_status atrest_volume_begin_write_from(atrest_volume *volume, uint64_t offset, const void *sectors,
    void *ciphertext, size_t len, uint64_t *device_offset);

// Encrypts `sectors` where they lie, and writes them at `offset` in one piece. Afterwards `sectors` hold
// ciphertext.
//
// Errors: those of atrest_disk_write_at. `sectors` are untouched then, but for ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_write_in_place(atrest_disk *disk, uint64_t offset, void *sectors, size_t len);

// As atrest_disk_read_at, into `count` segments one after the other, each a whole number of sectors.
//
// Errors: those of atrest_disk_read_at; ATREST_ERR_OVERLAP for segments that do.
atrest_status atrest_disk_read_vectored_at(const atrest_disk *disk, uint64_t offset, const atrest_segment *segments,
    size_t count);

// As atrest_disk_write_at, from `count` segments one after the other, each a whole number of sectors.
//
// Errors: those of atrest_disk_write_at.
atrest_status atrest_disk_write_vectored_at(atrest_disk *disk, uint64_t offset, const atrest_segment *segments,
    size_t count);

// Says where on the disk's device, the one that the backend opens for it, below all layers, `len` bytes from `offset` are. The caller reads them, and hands them
// to atrest_disk_complete_read. Nothing is held meanwhile: a read may be given up.
//
// Errors: those of atrest_disk_read_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
atrest_status atrest_disk_begin_read(const atrest_disk *disk, uint64_t offset, size_t len, uint64_t *device_offset);

// Decrypts `len` bytes in place that were read from where those at `offset` are.
//
// It is only decrypted while the disk's key may be used: after a revocation this fails, even for a read that began
// before.
//
// Errors: those of atrest_disk_begin_read. `sectors` are ciphertext then.
atrest_status atrest_disk_complete_read(const atrest_disk *disk, uint64_t offset, void *sectors, size_t len);

// Encrypts `sectors` where they lie, and says where on the disk's device the caller is to write them.
// When the device has answered, be it with a failure, atrest_disk_complete_write ends the write.
//
// A snapshot that begins waits for the writes that are under way. This call itself writes those that begin meanwhile; writing
// the same once more does no harm.
//
// Errors: those of atrest_disk_write_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
// `sectors` are untouched then.
atrest_status atrest_disk_begin_write(atrest_disk *disk, uint64_t offset, void *sectors, size_t len,
    uint64_t *device_offset);

// As atrest_disk_begin_write, of `sectors` that must not be changed, such as a guest's memory. The caller is to write
// `ciphertext`, which has `len` bytes, too.
//
// Errors: those of atrest_disk_begin_write; ATREST_ERR_OVERLAP for buffers that overlap in part.
atrest_status atrest_disk_begin_write_from(atrest_disk *disk, uint64_t offset, const void *sectors, void *ciphertext,
    size_t len, uint64_t *device_offset);

// Ends one write that this handle of the disk began. Any one will do: none is under way once as many were ended as were
// begun. atrest_disk_free ends all that are left.
//
// Errors: ATREST_ERR_INVALID_OPTION where none is under way.
atrest_status atrest_disk_complete_write(atrest_disk *disk);

// ---------------------------------------------------------------------------------------------------------------------
// ZEROS AND FREE BLOCKS
//
// Zeros without a buffer, and hints that nobody needs a range any more. A discard shows anyone who can read the device which
// blocks are free, so it does nothing unless that is allowed: by ATREST_OPEN_DISCARD for a volume, and by the option
// `discard` of a service for its disks.
//
// A volume with a map of written chunks (`written_chunk_size` of atrest_format_options) has zeros where nothing was written.
// Whole chunks that are made zeros or discarded there are not written, and read as zeros.

// Makes `len` bytes at `offset` from the start of the data zeros. Both are multiples of the sector size. They are encrypted
// like any data: nobody sees on the device where they are.
//
// Errors: those of atrest_volume_write_at.
atrest_status atrest_volume_write_zeroes(atrest_volume *volume, uint64_t offset, uint64_t len);

// Tells the device that nobody needs `len` bytes at `offset`, so that it can give their room to others. Their content is
// undefined until they are written again: the old data, or noise. Without ATREST_OPEN_DISCARD the device is not told; only
// whole chunks of a map of written chunks then read as zeros.
//
// Errors: those of atrest_volume_write_at, whether discards are allowed or not.
atrest_status atrest_volume_discard(atrest_volume *volume, uint64_t offset, uint64_t len);

// 1 if discards reach the device, otherwise 0.
atrest_status atrest_volume_discards(const atrest_volume *volume, uint32_t *out);

// The size in bytes of the chunks of the volume's map of written chunks; 0 if it has none.
atrest_status atrest_volume_written_chunk_size(const atrest_volume *volume, uint32_t *out);

// Finds how many bytes from `offset` on are alike: `is_written` is 1 if they were written, or 0 if they read as zeros, so that
// a copy need not read them. `len` is 0 at the end of the volume. Without a map of written chunks all bytes count as written.
//
// Errors: ATREST_ERR_OUT_OF_BOUNDS.
atrest_status atrest_volume_extent(const atrest_volume *volume, uint64_t offset, uint64_t *len, uint32_t *is_written);

// As atrest_volume_write_zeroes. A snapshot that begins meanwhile may hold a part of the zeros.
//
// Errors: those of atrest_disk_write_at.
atrest_status atrest_disk_write_zeroes(atrest_disk *disk, uint64_t offset, uint64_t len);

// As atrest_volume_discard. A snapshot in progress copies the range before. Without the option `discard` of the service
// nothing happens.
//
// Errors: those of atrest_disk_write_at.
atrest_status atrest_disk_discard(atrest_disk *disk, uint64_t offset, uint64_t len);

// 1 if discards reach the device, otherwise 0.
atrest_status atrest_disk_discards(const atrest_disk *disk, uint32_t *out);

// ---------------------------------------------------------------------------------------------------------------------
// RE-ENCRYPTION
//
// The data of a volume moves to a new DEK, cipher or sector size; a plain device becomes a volume; a volume becomes plain. It
// is begun once, and then done in steps, as many and as large as the caller can afford, while other threads read and write:
//
//   atrest_volume_begin_reencryption(volume, &by, 1, NULL);
//   do {
//       atrest_volume_reencrypt_step(volume, 16 << 20, &progress);
//   } while (progress.under_way);
//
// The process may be killed at any instant: open the volume again, and go on with the steps. On the disk it is LUKS2's own
// re-encryption: `cryptsetup reencrypt --resume-only` can finish it, too.

// A crash is recovered from by checksums of each sector: the device must write a sector as a whole or not at all, as disks and
// file systems do.
#define ATREST_RESILIENCE_CHECKSUM 1

// A crash is recovered from by a copy of the old data, with twice the writes.
#define ATREST_RESILIENCE_JOURNAL 2

// How a volume is re-encrypted.
typedef struct {
    // Set by ATREST_REENCRYPT_OPTIONS_INIT.
    size_t struct_size;
    // The algorithm of the new DEK, as in atrest_format_options. 0 is the one before, or ATREST_AES_256_XTS for a volume under
    // an old cipher.
    uint32_t dek_algorithm;
    // The new sector size: 512, 1024, 2048 or 4096 bytes. 0 is the one before. From the beginning on, reads and writes are in
    // whole sectors of the larger size.
    uint32_t sector_size;
    // ATREST_RESILIENCE_*. 0 is ATREST_RESILIENCE_CHECKSUM.
    uint32_t resilience;
    // Options for each new keyslot. May be NULL.
    const atrest_keyslot_options *keyslot;
    // Use this DEK instead of a new one. NULL makes a new one.
    const atrest_dek *hazmat_dek;
} atrest_reencrypt_options;

// The first value of an atrest_reencrypt_options.
#define ATREST_REENCRYPT_OPTIONS_INIT {sizeof(atrest_reencrypt_options), 0, 0, 0, 0, 0}

// How far a re-encryption is.
typedef struct {
    // Set by ATREST_REENCRYPTION_PROGRESS_INIT.
    size_t struct_size;
    // 1 while it is not finished, otherwise 0.
    uint32_t under_way;
    // The number of bytes that are done.
    uint64_t done;
    // The number of bytes in all.
    uint64_t total;
    // The bytes a second of the steps of this process; 0 before the first one.
    uint64_t rate;
    // The time that the rest takes at this rate, in milliseconds, without pauses between steps; 0 if it isn't known.
    uint64_t time_left_ms;
} atrest_reencryption_progress;

// The first value of an atrest_reencryption_progress.
#define ATREST_REENCRYPTION_PROGRESS_INIT {sizeof(atrest_reencryption_progress), 0, 0, 0, 0, 0}

// Begins to move the data to a new DEK. `protectors` points to `count` pointers: the ways into the new DEK, and from now on the
// ways into the volume. Nothing of the data is rewritten yet. `options` may be NULL. If it is killed at any instant, the volume
// opens as before, or by the new protectors.
//
// Errors: ATREST_ERR_BUSY if one has begun already; ATREST_ERR_INVALID_OPTION without a protector, or for a size that is no
// whole number of new sectors; ATREST_ERR_NO_ROOM; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1 (atrest_header_convert_to_luks2);
// ATREST_ERR_READ_ONLY; the errors of the vaults and the device.
atrest_status atrest_volume_begin_reencryption(atrest_volume *volume, const atrest_protector *const *protectors,
    size_t count, const atrest_reencrypt_options *options);

// Begins to encrypt the plain data of `device` where it lies, and opens it as a volume: atrest_volume_reencrypt_step does it.
// With a header of its own device (`options`, which may be NULL), the data stays where it is, and `free_at_end` is 0. Otherwise
// the data moves towards the end by the data offset, 16 MiB by default, and `free_at_end` bytes at the end, at least twice as
// many, must hold nothing: shrink a file system first. Until it is finished, the volume opens with
// ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED. If it is killed before it returns, call it again with the same arguments.
//
// Errors: ATREST_ERR_BUSY if the device has a header already; ATREST_ERR_DEVICE_NOT_BLANK for the device of the header;
// ATREST_ERR_INVALID_OPTION if the content of the device is larger than the room that is left for it; those of
// atrest_volume_format.
atrest_status atrest_volume_begin_encryption(atrest_device *device, const atrest_protector *protector,
    const atrest_format_options *options, uint64_t free_at_end, atrest_volume **out);

// Begins to decrypt the data where it lies, which needs a detached header. The last step destroys the header. `resilience` is
// ATREST_RESILIENCE_*. Until it is finished, the volume opens with ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED.
//
// Errors: ATREST_ERR_UNSUPPORTED_HEADER unless the header is detached (see atrest_volume_begin_decryption_beside); those of
// atrest_volume_begin_reencryption.
atrest_status atrest_volume_begin_decryption(atrest_volume *volume, uint32_t resilience);

// Begins to decrypt a volume whose header lies before the data, and to move the data to the start of the device. The header goes
// onto `beside`, a device of its own that must be blank; from then on the volume opens with it (`header` of
// atrest_open_options). Everything before the data on the device is destroyed. At the end the last bytes of the device, as many as
// were before the data, are free. Otherwise as atrest_volume_begin_decryption. If it is killed before it returns, call it again,
// on the volume opened with the header on `beside`, if it doesn't open as before.
//
// Errors: ATREST_ERR_DEVICE_NOT_BLANK or ATREST_ERR_DEVICE_TOO_SMALL for `beside`; ATREST_ERR_INVALID_OPTION if a detached header
// is on another device; ATREST_ERR_FOREIGN_DATA if another program's data is before that of a volume with a detached header;
// ATREST_ERR_UNSUPPORTED_HEADER if the data begins at byte 0, and for LUKS1; those of atrest_volume_begin_reencryption.
atrest_status atrest_volume_begin_decryption_beside(atrest_volume *volume, atrest_device *beside, uint32_t resilience);

// Lets a re-encryption that `cryptsetup reencrypt --resilience none` has begun go on, from now on with `resilience`,
// ATREST_RESILIENCE_*. Only you know whether it was stopped properly, by Ctrl+C or SIGTERM. If it was killed, a part that is done
// looks as if it were not: it reads as noise, and going on destroys it.
//
// Errors: ATREST_ERR_INVALID_OPTION if there is no such re-encryption; ATREST_ERR_NO_ROOM; ATREST_ERR_READ_ONLY;
// ATREST_ERR_BUSY if another program has changed the header; the device's errors.
atrest_status atrest_hazmat_volume_resume_unprotected(atrest_volume *volume, uint32_t resilience);

// Re-encrypts about `budget` bytes, at least one sector, in zones of up to 16 MiB. Others read and write meanwhile, and wait
// only for sectors in the zone. `progress`, which may be NULL, starts from ATREST_REENCRYPTION_PROGRESS_INIT. Without a
// re-encryption nothing is done.
//
// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY if another program has changed the header; ATREST_ERR_KEY_EXHAUSTED; the
// device's errors. Access to the zone that was being rewritten then fails with ATREST_ERR_BUSY until a step succeeds.
atrest_status atrest_volume_reencrypt_step(atrest_volume *volume, uint64_t budget,
    atrest_reencryption_progress *progress);

// How far the re-encryption of a volume is. `progress` starts from ATREST_REENCRYPTION_PROGRESS_INIT; all is 0 if there is
// none.
atrest_status atrest_volume_reencryption(const atrest_volume *volume, atrest_reencryption_progress *progress);

// Changes the size of the data, while others read and write. 0 follows the device, after it was enlarged. Another size cuts off
// the data beyond it: shrink the content of the volume before this, and the device after it. The new size goes to `new_size`,
// which may be NULL. A vault's token records it.
//
// Errors: ATREST_ERR_INVALID_OPTION for no whole number of sectors, or more than the device has; ATREST_ERR_BUSY during a
// re-encryption; ATREST_ERR_READ_ONLY; the device's errors.
atrest_status atrest_volume_resize(atrest_volume *volume, uint64_t size, uint64_t *new_size);

// ---------------------------------------------------------------------------------------------------------------------
// RE-ENCRYPTION OF DISKS
//
// A managed disk gets a new DEK, or a plain image or an encrypted volume becomes a disk in place. It is ordered once, and then
// done in steps, as many and as large as the caller can afford, while others read and write the disk:
//
//   atrest_disk_service_rekey_disk(service, "db-17");
//   do {
//       atrest_disk_service_reencrypt_step(service, "db-17", 16 << 20, &progress);
//   } while (progress.under_way);
//
// The process may be killed at any instant: atrest_disk_service_reencrypting says which disks aren't finished.

// Flag: a guest has encrypted the volume, as Azure Disk Encryption does, so anyone who was root there may have its
// DEK.
#define ATREST_ADOPT_GUEST_ENCRYPTED 1

// Flag: order a new DEK for the data.
#define ATREST_ADOPT_REENCRYPT 2

// Orders a new DEK for a disk, and begins to re-encrypt its data under it. A rotation only wraps the DEK under another key; after
// this, a copy of the old DEK no longer decrypts the data. On a disk with two layers, the layer under the customer's key gets the
// new DEK. Snapshots keep their own DEKs. Until it is finished, atrest_disk_begin_read and atrest_disk_begin_write fail with
// ATREST_ERR_BUSY; this call waits for the writes that were begun so before. If it fails after the order was stored, the first
// step begins.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BUSY if one was ordered already and is not finished;
// ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_NO_ROOM; the errors of the vault and the device.
atrest_status atrest_disk_service_rekey_disk(const atrest_disk_service *service, const char *disk);

// Makes an existing plain image a disk. The image becomes the disk's device, which the backend moves and grows by 2 MiB; the steps
// encrypt it. `image` is the name by which the backend knows it: in a folder, the path of a file on the same file system. The
// size in `disk` is that of the image, at least 1 MiB, or 0. No data is encrypted twice. If it fails or is killed after its record
// was stored, opening the disk or a step continues it.
//
// Errors: those of atrest_disk_service_create_disk; ATREST_ERR_INVALID_OPTION for another size, for an image that has a LUKS header
// already, and for a backend that takes in no images; ATREST_ERR_NOT_ALLOWED for a set with two layers.
atrest_status atrest_disk_service_import_disk(const atrest_disk_service *service, const atrest_new_disk *disk,
    const char *image);

// Makes an existing encrypted volume a disk, with its data: a LUKS2 volume in `image` that `credential` opens. The image becomes the
// disk's device, which the backend moves, as in atrest_disk_service_import_disk. It comes under the key of the disk's set, or the
// platform's; THEN EVERY OTHER WAY IN IS REMOVED, all keyslots and the tokens of other programs. The data stays where it is. `flags`
// are 0 or ATREST_ADOPT_*. The size in `disk` is that of the volume, or 0; the sector size is the volume's.
//
// With ATREST_ADOPT_REENCRYPT the steps below move the data to a new DEK. Without the flag, anyone with the old DEK can read the
// data until atrest_disk_service_rekey_disk is finished. A volume that a guest encrypted comes into a set only with the flag;
// without, it comes under the platform's key with the mark of atrest_disk_service_mark_guest_encrypted.
//
// If it fails or is killed after the record was stored, call it again: it goes on. Once the vault opens the volume, opening the
// disk goes on too. At every instant the volume opens by its previous credential, or by the vault.
//
// Errors: those of atrest_volume_open and atrest_disk_service_create_disk; ATREST_ERR_BAD_ENUM for `flags`;
// ATREST_ERR_NOT_ALLOWED for a set with two layers, and for a volume that a guest encrypted; ATREST_ERR_INVALID_OPTION for another
// size, a weak cipher, a volume that is being re-encrypted, and a backend that takes in no images; ATREST_ERR_UNSUPPORTED_HEADER
// for LUKS1 and BitLocker; ATREST_ERR_NOT_LUKS, also for a detached header.
atrest_status atrest_disk_service_adopt_disk(const atrest_disk_service *service, const atrest_new_disk *disk,
    const char *image, const atrest_credential *credential, uint32_t flags);

// Re-encrypts about `budget` bytes of a disk for which that was ordered. Others read and write meanwhile, and wait only for the zone
// of up to 16 MiB that is being rewritten. Unless the disk is open, each call asks its vault. `progress`, which may be NULL,
// starts from ATREST_REENCRYPTION_PROGRESS_INIT. If nothing was ordered, nothing is done.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_OLDER_HEADER if an older
// device or header was put back; the errors of the vault and the device. After a failure of the device, access to the zone that
// was being rewritten fails with ATREST_ERR_BUSY until a step succeeds.
atrest_status atrest_disk_service_reencrypt_step(const atrest_disk_service *service, const char *disk, uint64_t budget,
    atrest_reencryption_progress *progress);

// Withdraws an order that has not begun, because a vault or a device failed, or the process was killed: of
// atrest_disk_service_rekey_disk, after which the disk keeps its DEK, or of atrest_disk_service_import_disk, after which there is
// no disk and the image is unchanged. One that has begun has to be finished; it pauses for as long as nobody calls
// atrest_disk_service_reencrypt_step. An import has begun once its image is the disk's device.
//
// Errors: ATREST_ERR_INVALID_OPTION if it has begun, if nothing is ordered, or if the order came with
// atrest_disk_service_adopt_disk; ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BUSY; if only the device tells whether it has begun,
// ATREST_ERR_DISK_SUSPENDED and the errors of the vault and the device.
atrest_status atrest_disk_service_cancel_reencryption(const atrest_disk_service *service, const char *disk);

// How far the last re-encryption of a disk is, by the store: no vault and no device is asked. `progress` starts from
// ATREST_REENCRYPTION_PROGRESS_INIT; `under_way` is 1 from the order until it is finished, and `rate` is 0. All is 0 if none was
// ever ordered.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE.
atrest_status atrest_disk_service_reencryption(const atrest_disk_service *service, const char *disk,
    atrest_reencryption_progress *progress);

// Calls `each` with the name of every disk for which a re-encryption was ordered that is not finished, in order. Otherwise as
// atrest_disk_service_names.
atrest_status atrest_disk_service_reencrypting(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *name), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// REPORTS
//
// Reports on the protection of disks, and whether it has the configured state. Headers are read for this; no
// customer's vault is asked.
//
// The capability table compares the ways of encrypting a disk: what each protects, in Azure's words, and the parts that
// this library doesn't do.

// It is proven to be under its configured key, and its header names no other.
#define ATREST_PROTECTION_FINISHED 1

// It was put into its set, but is still under its previous key; or it is being adopted, and may still open by its previous
// credential.
#define ATREST_PROTECTION_JOINING 2

// Its set or the platform is being rotated, and it is still under an older key.
#define ATREST_PROTECTION_ROTATING 3

// Its key is not proven yet, because an earlier version made it. Open it, or rotate.
#define ATREST_PROTECTION_UNPROVEN 4

// Its header names another key than the proven one: an older header was put back, or the name was edited. Put the
// newest header back, or rotate.
#define ATREST_PROTECTION_HEADER_CHANGED 5

// It is proven to be under a version of its key that the store doesn't know. Perhaps an older store was put back. Put
// the newest store back, or rotate, which makes the store know the version.
#define ATREST_PROTECTION_STORE_OUTDATED 6

// Its header can't be read, or the layer below can't be opened; the report in JSON says why.
#define ATREST_PROTECTION_HEADER_UNREADABLE 7

// Nobody has it open.
#define ATREST_ACCESS_CLOSED 1

// It is open, and its key may be used.
#define ATREST_ACCESS_USABLE 2

// It is open, and I/O fails until its key may be used again.
#define ATREST_ACCESS_SUSPENDED 3

// A report's fields for programs.
typedef struct {
    // Set by ATREST_REPORT_INIT.
    size_t struct_size;
    // ATREST_PROTECTION_*.
    uint32_t status;
    // ATREST_ACCESS_*, as far as is known without asking.
    uint32_t access;
} atrest_report;

// The first value of an atrest_report.
#define ATREST_REPORT_INIT {sizeof(atrest_report), 0, 0}

// The fields of a set's report, for programs.
typedef struct {
    // Set by ATREST_SET_REPORT_INIT.
    size_t struct_size;
    // The number of disks, snapshots and copies of images' disks that are proven to be under the active key, with
    // headers that name it.
    uint64_t done;
    // The number of all of them.
    uint64_t total;
    // 1 if all are, and no rotation is in progress; otherwise 0.
    uint32_t finished;
    // 0.
    uint32_t reserved;
} atrest_set_report;

// The first value of an atrest_set_report.
#define ATREST_SET_REPORT_INIT {sizeof(atrest_set_report), 0, 0, 0, 0}

// Writes into `out`, which starts from ATREST_REPORT_INIT, whether a disk, snapshot, or copy of an image's disk is
// under its configured key.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BAD_ENUM; ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_report(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_report *out);

// The whole report on a disk, snapshot, or copy of an image's disk, in JSON: its record, the keys that its header
// names, and the rows of the capability table that apply to it.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);

// Writes into `out`, which starts from ATREST_SET_REPORT_INIT, how many members of a set are under its active key.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_set(const atrest_disk_service *service, const char *set,
    atrest_set_report *out);

// Writes into `out`, which starts from ATREST_SET_REPORT_INIT, how many resources under the platform's keys are under
// the active one: those outside of sets, and the lower layers of those with two. The fields are those of a set's
// report.
//
// Errors: ATREST_ERR_IO.
atrest_status atrest_disk_service_report_platform(const atrest_disk_service *service, atrest_set_report *out);

// The whole report on the platform's keys, in JSON: the keys, and the names of the resources that aren't under the
// active one yet.
//
// Errors: ATREST_ERR_IO.
atrest_status atrest_disk_service_report_platform_json(const atrest_disk_service *service, char *json, size_t json_cap,
    size_t *json_len);

// The states and counts of a service for monitoring, in JSON: leases of keys, rotations, calls of vaults and of the store, refused I/O, and on a
// store that hosts share the host's lease and its devices. docs/metrics.md lists them. Counts begin at 0 with each opening of the service.
// Neither the store nor a vault is asked. Numbers grow between two calls, so a buffer that the first named may be too short for the
// second.
atrest_status atrest_disk_service_metrics_json(const atrest_disk_service *service, char *json, size_t json_cap,
    size_t *json_len);

// The whole report on a set, in JSON: its record, and the names of the members that aren't under its active key yet.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);

// The capability table in JSON: the rows that apply to a disk of `encryption_type`, ATREST_*_KEY or _KEYS, which the
// guest encrypts too if `in_guest` is 1. With 0 and 0, the whole table.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_capability_table_json(uint32_t encryption_type, uint32_t in_guest, char *json, size_t json_cap,
    size_t *json_len);

// The capability table as lines of ASCII text: a grid, and the remarks on its cells. Otherwise as
// atrest_capability_table_json.
atrest_status atrest_capability_table_text(uint32_t encryption_type, uint32_t in_guest, char *text, size_t text_cap,
    size_t *text_len);

// ---------------------------------------------------------------------------------------------------------------------
// CARE OF A STORE
//
// A service's store records the owners of its disks; the disks themselves hold their data and keys. So a store can be
// backed up while it is used, checked, and rebuilt from the disks if it is lost or damaged.

// Restored: an old store has a record of it, and its device opens with its key and matches the record.
#define ATREST_REBUILT_RESTORED 1

// A disk known from its header only. It is in the new store under its id. Its name, its kind (disk, snapshot or
// image's copy) and its source are lost.
#define ATREST_REBUILT_NAMED_BY_ID 2

// A device that is not in the new store; `reason` says why.
#define ATREST_REBUILT_UNPROVEN 3

// An old store has a record of it, but no device was given. It is not in the new store.
#define ATREST_REBUILT_MISSING 4

// Told besides ATREST_REBUILT_RESTORED: its device has room for more than the record's size. Perhaps it was enlarged after the old
// store was made, and now ends where it ended then; atrest_disk_service_resize_disk brings the rest back.
#define ATREST_REBUILT_LARGER 5

// The result of checking a whole store.
typedef struct {
    // Set by ATREST_STORE_CHECK_INIT.
    size_t struct_size;
    // How many changes were ever made to the store. If the number shrinks, an older store was put back; keep it
    // elsewhere to find out. 0 if it can't be read.
    uint64_t changes;
    // The number of sets. In a store that can't be opened, the number of sets with a readable record.
    uint64_t sets;
    // The number of disks, snapshots, and copies of images' disks, counted the same way.
    uint64_t resources;
    // The number of defects. 0 if the store is sound.
    uint64_t defects;
} atrest_store_check;

// The first value of an atrest_store_check.
#define ATREST_STORE_CHECK_INIT {sizeof(atrest_store_check), 0, 0, 0, 0}

// The sources for rebuilding a store.
typedef struct {
    // Set by ATREST_REBUILD_SOURCES_INIT.
    size_t struct_size;
    // The ids of the devices: UUIDs, which are their names in the backend.
    const char *const *ids;
    // The number of ids.
    size_t ids_count;
    // The region of each of them.
    const char *const *regions;
    // The number of regions, the same as of ids.
    size_t regions_count;
    // Paths of old stores: the damaged one, backups, or a new one with only the sets. Stores that open come before
    // those that don't. Of the former, the first that has a resource counts.
    const char *const *stores;
    // The number of stores.
    size_t stores_count;
    // The subscription of disks under the platform's key that no old store has. NULL: they are
    // ATREST_REBUILT_UNPROVEN.
    const char *subscription;
} atrest_rebuild_sources;

// The first value of an atrest_rebuild_sources.
#define ATREST_REBUILD_SOURCES_INIT {sizeof(atrest_rebuild_sources), 0, 0, 0, 0, 0, 0, 0}

// The result for a device or a record. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // ATREST_REBUILT_*.
    uint32_t outcome;
    // ATREST_RESOURCE_*; 0 for ATREST_REBUILT_UNPROVEN.
    uint32_t kind;
    // The resource's name, or the device's id for ATREST_REBUILT_UNPROVEN.
    const char *name;
    // The region of the device, for ATREST_REBUILT_UNPROVEN; otherwise NULL.
    const char *region;
    // The reason why it is not in the new store, for ATREST_REBUILT_UNPROVEN; otherwise NULL.
    const char *reason;
} atrest_rebuilt;

// Writes a backup of a service's store to a new file: all sets and resources at one instant, while the service
// continues. The backup is a complete store: put in the place of a lost one, it opens. Only its owner can read it
// (0600). It is written under a temporary name, and renamed once it is complete, on the disk and checked.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND without its folder; ATREST_ERR_IO. On failure nothing is left behind.
atrest_status atrest_disk_service_backup(const atrest_disk_service *service, const char *path);

// Checks a service's whole store while the service continues. Calls `each`, which may be NULL, with every defect: a
// text for people that is valid during the callback only, about each damaged or missing record that can be named.
// `each` returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED. `out` starts from
// ATREST_STORE_CHECK_INIT.
//
// Errors: ATREST_ERR_IO if the store can't be read any further. A defect is not an error.
atrest_status atrest_disk_service_check(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *defect), void *user, atrest_store_check *out);

// Checks a whole store that no service has open. The store need not be openable, and is not changed. Otherwise as
// atrest_disk_service_check.
//
// Errors: ATREST_ERR_BUSY while a service has the store open; ATREST_ERR_NOT_FOUND; ATREST_ERR_IO if it can't be read at all. A defect is
// not an error.
atrest_status atrest_store_check_of_file(const char *path, atrest_status (*each)(void *user, const char *defect),
    void *user, atrest_store_check *out);

// Makes a new store at `path`, which must not exist, from disks and the records in old stores. It writes only that
// file. Each device is opened with the key that its header names: the vault's unwrap proves the DEK, and the DEK
// proves the header. A record of an old store is taken if it has the same id, DEK, size and type. Use the options with
// which the service will be opened. Vaults are accessed under the identities of the sets in the old stores.
//
// Then it calls `each`, which may be NULL, with the result for every device and record. `each` returns ATREST_OK to
// continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED, after the store was made.
//
// Errors: ATREST_ERR_ALREADY_EXISTS if `path` exists; ATREST_ERR_IO if an old store can't be read at all; ATREST_ERR_BUSY while one is open;
// ATREST_ERR_INVALID_OPTION unless there are as many regions as ids.
atrest_status atrest_store_rebuild(const char *path, const atrest_disk_service_options *options,
    const atrest_rebuild_sources *sources, atrest_status (*each)(void *user, const atrest_rebuilt *rebuilt),
    void *user);

// Calls `each` with the id of every device that the backend of a service has made in a region, in order, but for those of this
// service. **It may be another service's disk**: the backend doesn't know whose a device is. Otherwise as
// atrest_disk_service_names.
//
// Errors: ATREST_ERR_INVALID_OPTION for a backend that can't tell.
atrest_status atrest_disk_service_orphans(const atrest_disk_service *service, const char *region,
    atrest_status (*each)(void *user, const char *id), void *user);

// Removes a device that atrest_disk_service_orphans has named. Its content can't be brought back.
//
// Errors: ATREST_ERR_BUSY for a device of this service; ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_INVALID_NAME unless `id` is
// one; those of atrest_disk_service_orphans and of the backend.
atrest_status atrest_disk_service_remove_orphan(const atrest_disk_service *service, const char *region, const char *id);

// ---------------------------------------------------------------------------------------------------------------------
// FLEETS OF MANY HOSTS
//
// Services of many hosts share a store in PostgreSQL or etcd. A disk, snapshot or image is open on one host at a time. Calls
// that need its device work there; on another host they fail with ATREST_ERR_BUSY. Each host has a lease, which a thread of its
// service renews; once it has run out, I/O fails, and the next host takes over. docs/fleet.md has the guarantees, and their
// times.
//
// A store is named by a URL. Each kind but the file is a feature of the library's build. No URL has a password: that comes from a
// callback, from the environment, or from the file of `password-file=FILE` behind a `?`. docs/cli.md has the other parts.
//
//   file:PATH                                              a file, which one process has open at a time
//   postgres://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE  postgres: by PGPASSWORD
//   etcd://[USER@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]    etcd: by ETCDCTL_PASSWORD; etcd+http://... to this machine

// The lease was not watched for long enough: no renewal was seen yet, and no lease's time has passed.
#define ATREST_LEASE_UNKNOWN 1

// The lease was seen to be renewed, within the time of a lease.
#define ATREST_LEASE_LIVE 2

// It was seen to stand still for the time of a lease: its host may not use its disks any more, unless it renews it.
#define ATREST_LEASE_RAN_OUT 3

// It was seen to stand still for a quarter longer: the next host that has seen that, too, takes this one for lost.
#define ATREST_LEASE_LOST 4

// The host's record can't be read, such as that of a later version. Other hosts take it for live.
#define ATREST_LEASE_UNREADABLE 5

// The host has the device open.
#define ATREST_ATTACHMENT_OPEN 1

// The device is being handed over: `promised` is to get it.
#define ATREST_ATTACHMENT_PROMISED 2

// Nobody has it.
#define ATREST_ATTACHMENT_CLOSED 3

// The host that had it was taken for lost: another one may open it.
#define ATREST_ATTACHMENT_LOST 4

// The record can't be read; `fault` says why.
#define ATREST_ATTACHMENT_UNREADABLE 5

// A store of a fleet. Freed by atrest_fleet_store_free.
typedef struct atrest_fleet_store atrest_fleet_store;

// Options of a host that shares a store.
typedef struct {
    // Set by ATREST_HOST_OPTIONS_INIT.
    size_t struct_size;
    // Its name, which other hosts are told. Each host has another one.
    const char *name;
    // How long it may use its disks after the store last answered, in milliseconds: at least three times the store's deadline, and
    // at most an hour. 0 is a minute.
    uint64_t lease_ms;
    // 1 if the caller renews the lease, by atrest_disk_service_renew_host_lease after each third of it; 0: a thread of the service does.
    uint32_t renews_by_hand;
    // 0.
    uint32_t reserved;
} atrest_host_options;

// The first value of an atrest_host_options.
#define ATREST_HOST_OPTIONS_INIT {sizeof(atrest_host_options), 0, 0, 0, 0}

// A run of a host's service. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The host's name; empty if its record can't be read.
    const char *name;
    // The id of this run of its service, never used again. A host that was just started again may have two.
    const char *run;
    // How long its lease holds after a renewal, in milliseconds.
    uint64_t lease_ms;
    // How often it was renewed.
    uint64_t renewals;
    // How long `renewals` was seen unchanged, in milliseconds: since the first call with this handle at most.
    uint64_t still_ms;
    // ATREST_LEASE_*.
    uint32_t state;
    // 0.
    uint32_t reserved;
} atrest_host;

// A device that a host has open, or is to get. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the running library.
    size_t struct_size;
    // The device's id.
    const char *id;
    // The name of its resource; NULL while that is being made or removed.
    const char *name;
    // The host that has it open; NULL if none has.
    const char *host;
    // The run of that host's service, or NULL.
    const char *run;
    // While it is handed over, the host that is to get it; otherwise NULL.
    const char *promised;
    // Why its record can't be read; otherwise NULL.
    const char *fault;
    // ATREST_RESOURCE_*; 0 while the resource is being made or removed.
    uint32_t kind;
    // ATREST_ATTACHMENT_*.
    uint32_t state;
    // 1 if it was taken from a lost host, and its header doesn't keep that host out yet; otherwise 0.
    uint32_t unfenced;
    // 0.
    uint32_t reserved;
} atrest_attachment;

// Opens the store that a URL names. A file isn't looked at yet; an engine is connected to, and asked. `options` may be NULL: they are
// those of a vault's URL, and `secret` is called during this call only, with PGPASSWORD or ETCDCTL_PASSWORD. release() is called
// when this has succeeded, and not when it fails.
//
// Errors: ATREST_ERR_INVALID_OPTION for another URL, for one whose feature the library was built without, and for a password in
// it; ATREST_ERR_IO if the engine doesn't answer, refuses the user, or isn't safe; for a file that the URL names, too.
atrest_status atrest_fleet_store_from_url(const char *url, const atrest_vault_url_options *options,
    atrest_fleet_store **out);

// Frees a store. Services on it go on.
void atrest_fleet_store_free(atrest_fleet_store *store);

// Sets `out` to 1 if services of many hosts share the store, and to 0 if it is a file.
atrest_status atrest_fleet_store_is_shared(const atrest_fleet_store *store, uint32_t *out);

// Opens a service on a store. A store that hosts share needs `host`, the host to open it as. A file opens as by
// atrest_disk_service_open, and `host` is ignored. Call atrest_disk_service_maintain about once a minute: it looks after the other
// hosts, too. Once the service and its disks are freed, the lease ends, and nobody waits for it.
//
// Errors: ATREST_ERR_INVALID_OPTION for a lease out of bounds; ATREST_ERR_INVALID_NAME for the host's; those of
// atrest_disk_service_open.
atrest_status atrest_fleet_store_open_service(const atrest_fleet_store *store, const atrest_host_options *host,
    const atrest_disk_service_options *options, atrest_disk_service **out);

// Renews the lease of this service's host, if `renews_by_hand` says so.
//
// Errors: ATREST_ERR_BUSY if another host has taken this one for lost: open the service again; ATREST_ERR_IO if the store doesn't
// answer: the lease holds as long as it did; ATREST_ERR_INVALID_OPTION for a store that isn't shared.
atrest_status atrest_disk_service_renew_host_lease(const atrest_disk_service *service);

// Hands a disk that is open here over to the host named `to`, for the live migration of a machine. On return it is closed here,
// and all written data is durable. Only `to` can open it, or this host again as long as `to` hasn't: the two never write at once.
// It waits for the reads and writes that are under way; later ones fail with ATREST_ERR_DISK_SUSPENDED until the disk is opened
// here again.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE if there is no such disk, or no other host `to` with a lease; ATREST_ERR_BUSY while it is
// copied, or open on another host; ATREST_ERR_DISK_SUSPENDED; ATREST_ERR_INVALID_OPTION for a store that isn't shared; ATREST_ERR_IO: the
// disk is closed here, and `to` may find it busy until atrest_disk_service_maintain has told the store.
atrest_status atrest_disk_service_hand_over(const atrest_disk_service *service, const char *disk, const char *to);

// Calls `each` for every host that has a service on the store, or had one that didn't end well, in the order of their names. The store
// tells no times: call it again with the same handle, and the states tell the changes in between. `each` returns ATREST_OK to
// continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_INVALID_OPTION for a file; ATREST_ERR_IO.
atrest_status atrest_fleet_store_hosts(const atrest_fleet_store *store, atrest_status (*each)(void *user,
    const atrest_host *host), void *user);

// Calls `each` for the devices that hosts have open, or are to get, in the order of their ids: at most `limit`, of 1 to 1000, of those
// that come after the id `after`, which may be NULL. Fewer calls say that none follow. Otherwise as atrest_fleet_store_hosts.
//
// Errors: ATREST_ERR_INVALID_OPTION also for another limit.
atrest_status atrest_fleet_store_attachments(const atrest_fleet_store *store, const char *after, size_t limit,
    atrest_status (*each)(void *user, const atrest_attachment *attachment), void *user);

// Checks a whole store. A file is checked as by atrest_store_check_of_file, and no service may have it open. A store that hosts share
// is checked while they use it, each record by itself, without a number of changes. Otherwise as atrest_disk_service_check.
//
// Errors: ATREST_ERR_NOT_FOUND for a file that isn't there; those of atrest_store_check_of_file.
atrest_status atrest_fleet_store_check(const atrest_fleet_store *store, atrest_status (*each)(void *user,
    const char *defect), void *user, atrest_store_check *out);

// Copies all records of one store to another while no service has either open, compares both, and sets `records` to their number.
// So a fleet moves from a file to an engine, and back. `to` must be empty, or hold the remains of an earlier attempt: if this
// fails or is killed, call it again. Until it has succeeded, no service opens `to`. Afterwards none opens `from`.
//
// Errors: ATREST_ERR_BUSY while a service has one of them open; ATREST_ERR_NOT_FOUND for a file to copy from that isn't there;
// ATREST_ERR_INVALID_OPTION if `to` has other records; ATREST_ERR_IO.
atrest_status atrest_fleet_store_copy_to(const atrest_fleet_store *from, const atrest_fleet_store *to,
    uint64_t *records);

// Makes a store usable again after atrest_fleet_store_copy_to has moved its records to another one: removes the mark that keeps
// services from opening it. NOT after a service has used the other store: services of both would write the same disks, and data is
// lost. Once the other one was used, the way back is atrest_fleet_store_copy_to from it to an empty store. Nothing happens to a store
// that wasn't moved.
//
// Errors: ATREST_ERR_NOT_FOUND for a file that isn't there; ATREST_ERR_BUSY while a service has it open; ATREST_ERR_IO.
atrest_status atrest_fleet_store_reopen_moved(const atrest_fleet_store *store);

#ifdef __cplusplus
}
#endif

#endif
