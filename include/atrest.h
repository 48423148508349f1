// atrest.h - encryption at rest that a storage stack links
//
// An AES-XTS sector engine; data encryption keys (DEKs), wrapped under key-encryption keys (KEKs) that live in a
// vault; volumes that are LUKS2 or LUKS1 on disk. No root, no kernel module, no daemon. Link with -latrest.
//
// What holds for every function here, unless its own comment says otherwise:
//
// RESULT       A function returns an atrest_status: ATREST_OK (0) or what went wrong. The detail is in
//              atrest_last_error_message(). errno is after a call what it was before, and so are the locale and what
//              is set for signals.
// OUTPUTS      Inputs come first, then outputs. An output is written when the function returns ATREST_OK, and left
//              alone otherwise. There is one exception, the length of a buffer that is too short.
// BUFFERS      An output of bytes is a triple: the buffer, its capacity, and a pointer to the length. On success the
//              length is how many bytes were written. On ATREST_ERR_BUFFER_TOO_SHORT it is how many are needed; a NULL
//              buffer of capacity 0 therefore asks for the length. A NULL input of length 0 is an empty one.
// TEXT         An input text is UTF-8 and ends with a zero byte. An output text is a triple as above, and gets a zero
//              byte at its end: its length doesn't count that byte, its capacity must. The length may be NULL.
//              A path is whatever the operating system takes, in UTF-8 on Windows.
// HANDLES      Handles are opaque. Whoever gets one by an output frees it, with the function of its own type; NULL is
//              fine there. A handle that depends on another keeps what it needs of it, so free them in any order.
//              A handle of the wrong type, or one that was freed not long ago, is refused with
//              ATREST_ERR_INVALID_HANDLE. That is a help for finding mistakes; it can't find every one.
// THREADS      Any number of threads may use a handle at once, except that nobody may use it while it is freed, or
//              after. A handle behind a pointer to const is not changed by the call, as far as the caller can see.
// FORK         A child that was forked has none of its parent's keys. It may use the library, and gets
//              ATREST_ERR_FORKED for handles that its parent made; freeing them does nothing. Open what it needs there.
// MEMORY       What the caller allocates the caller frees, and the same goes for the library. Memory that a pointer
//              argument names is used during the call only.
// STRUCTS      A struct that the caller fills starts from its _INIT macro, which sets struct_size and zeros the rest;
//              zero or NULL always means the default. Structs may grow at the end in later versions, and the library
//              takes the sizes of earlier ones.
// CALLBACKS    A callback may be called from any thread that uses the handle it belongs to. It may call this library,
//              but a device's callbacks not the volume or header on that device, and those that a disk service was made
//              of, or that tell how far it is, not that service. It must neither throw a C++ exception nor longjmp out. It
//              says why it fails by atrest_set_callback_message. It writes into memory that the library lends it. A
//              handle that it gives away is the library's to free.
// UNITS        Sizes, lengths and offsets are in bytes. A sector's number says in its name what it counts.
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
//    8  atrest_volume_sync                                 makes writes last
//    9  atrest_volume_rotate_kek                           puts the volume under the newest version of its key
//   10  atrest_header_backup                               keeps what the volume can't be opened without
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
//   VAULTS
//   KEYS OF A VAULT FILE
//   ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//   VAULTS OF CALLBACKS
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
//   CUSTOMERS' VAULTS
//   WHERE DISKS LIE
//   DISK SERVICE
//   ENCRYPTION SETS
//   DISKS, SNAPSHOTS AND IMAGES
//   OPEN DISKS
//   REPORTS
//   CARE OF A STORE
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

// The version of the library that runs, such as "0.1.0". The text lives as long as the program.
const char *atrest_version(void);

// ---------------------------------------------------------------------------------------------------------------------
// STATUS
//
// The number of a status never changes and is never used again for another. 1 to 99 are mistakes in how the library
// is called, 100 to 199 come from the sector engine and key wrap, 200 to 299 from keys and vaults, 300 to 399 from
// volumes, 400 to 499 from the machine below.

// Success.
#define ATREST_OK 0

// A pointer that must not be NULL is NULL.
#define ATREST_ERR_NULL_ARGUMENT 1

// A handle that was freed, or one of another type.
#define ATREST_ERR_INVALID_HANDLE 2

// A number that is none of the constants allowed here, or a flag that isn't known.
#define ATREST_ERR_BAD_ENUM 3

// The struct_size of a struct is none that this version knows. Begin with the struct's _INIT macro.
#define ATREST_ERR_STRUCT_SIZE 4

// A text isn't UTF-8.
#define ATREST_ERR_NOT_UTF8 5

// Source and destination overlap in part. They may be the same, or apart.
#define ATREST_ERR_OVERLAP 6

// The output buffer is too short; the length says what is needed.
#define ATREST_ERR_BUFFER_TOO_SHORT 7

// A length that no buffer can have: it is over half of the address space.
#define ATREST_ERR_LENGTH 8

// The handle's kind can't do this: a vault of callbacks can't make keys, for example.
#define ATREST_ERR_UNSUPPORTED 9

// A callback of the caller's failed; the message has the number that it returned.
#define ATREST_ERR_CALLBACK_FAILED 10

// An option that is out of its bounds; the message names it and the bounds.
#define ATREST_ERR_INVALID_OPTION 11

// The library failed within, which is a defect of it: please report the message.
#define ATREST_ERR_PANIC 90

// A failure for which this version has no status of its own.
#define ATREST_ERR_OTHER 91

// A key of a length that its cipher doesn't take: XTS has 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), CBC 16, 24 or 32,
// CTR and HCTR2 32.
#define ATREST_ERR_KEY_LENGTH 100

// The two halves of an XTS key are equal, which SP 800-38E and FIPS 140 (IG C.I) forbid.
#define ATREST_ERR_EQUAL_KEY_HALVES 101

// A sector size that isn't supported here.
#define ATREST_ERR_SECTOR_SIZE 102

// A buffer that isn't a whole number of sectors.
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

// An algorithm that isn't approved, after atrest_approved_only; the message names it.
#define ATREST_ERR_NOT_APPROVED 113

// A key has encrypted as much as it may: see ATREST_BLOCKS_MAX. It still decrypts.
#define ATREST_ERR_KEY_EXHAUSTED 114

// The number of a first sector lies between two sectors: see ATREST_UNIT_512.
#define ATREST_ERR_SECTOR_NUMBER 115

// An algorithm that this version does not know or cannot use here.
#define ATREST_ERR_UNSUPPORTED_ALGORITHM 200

// The name of a vault, key or version that isn't well formed.
#define ATREST_ERR_INVALID_NAME 201

// A context of over ATREST_CONTEXT_MAX bytes.
#define ATREST_ERR_CONTEXT_LENGTH 202

// Bytes that are no envelope, or one that was altered.
#define ATREST_ERR_INVALID_ENVELOPE 203

// An envelope or volume is bound to another context than the one expected, or was altered.
#define ATREST_ERR_CONTEXT_MISMATCH 204

// The vault asked is not the one that wrapped the DEK; the message names the one that did.
#define ATREST_ERR_NOT_THIS_VAULT 205

// The vault has no such key, or no such version of it.
#define ATREST_ERR_NO_SUCH_KEY 206

// The vault has a key of this name already.
#define ATREST_ERR_KEY_EXISTS 207

// The passphrase or key file does not open the vault or volume.
#define ATREST_ERR_WRONG_PASSPHRASE 208

// A vault's file is damaged; the message says how, and what to do.
#define ATREST_ERR_DAMAGED_VAULT 209

// A vault gave an answer that is out of its bounds.
#define ATREST_ERR_VAULT 210

// The version of the key, or every version of it, is disabled. Enable it in its vault to use it again.
#define ATREST_ERR_KEY_DISABLED 211

// The key is deleted. Recover it in its vault to use it again.
#define ATREST_ERR_KEY_DELETED 212

// The version of the key has expired. Rotate the key, or move its expiry.
#define ATREST_ERR_KEY_EXPIRED 213

// The version of the key isn't valid yet. Wait, or move its not-before time.
#define ATREST_ERR_KEY_NOT_YET_VALID 214

// The vault does not let the identity do that with the key: it was never granted, or access was revoked.
#define ATREST_ERR_ACCESS_DENIED 215

// The vault's purge protection keeps the key: only a whole key, deleted and past its retention, can be purged.
#define ATREST_ERR_PURGE_PROTECTED 216

// Bytes that are no prefix of an encrypted file, or one that is damaged or was altered; the message says how.
#define ATREST_ERR_INVALID_PREFIX 217

// The DEK is another one than expected: something else has been put in the place of what should be there.
#define ATREST_ERR_OTHER_DEK 218

// The DEK is wrapped under another key than expected.
#define ATREST_ERR_OTHER_KEY 219

// The device carries no LUKS header.
#define ATREST_ERR_NOT_LUKS 300

// No copy of the LUKS header is intact; the message says what is wrong with each.
#define ATREST_ERR_INVALID_HEADER 301

// A sound LUKS header that asks for something which this version does not do.
#define ATREST_ERR_UNSUPPORTED_HEADER 302

// The header's MAC does not match: somebody without the DEK changed it.
#define ATREST_ERR_TAMPERED_HEADER 303

// The key is not the key of this volume.
#define ATREST_ERR_WRONG_KEY 304

// The device is smaller than what it must hold, or than it was.
#define ATREST_ERR_DEVICE_TOO_SMALL 305

// There is something on the device, and formatting was not told to overwrite it.
#define ATREST_ERR_DEVICE_NOT_BLANK 306

// An offset or length isn't a multiple of the sector size.
#define ATREST_ERR_MISALIGNED 307

// A read or write goes past the end of the volume.
#define ATREST_ERR_OUT_OF_BOUNDS 308

// A write to a volume that was opened for reading.
#define ATREST_ERR_READ_ONLY 309

// There is no keyslot or token of that number, or none that the credential could open.
#define ATREST_ERR_NO_SUCH_PROTECTOR 310

// It is the last way into the volume: add another before, or erase the header.
#define ATREST_ERR_LAST_PROTECTOR 311

// The header has no room for another keyslot or token.
#define ATREST_ERR_NO_ROOM 312

// A backup of a header is that of another volume.
#define ATREST_ERR_OTHER_HEADER 313

// Where a damaged copy of a header belongs, there is something that is neither blank nor remains of a header, such as a
// file system that somebody made since; the message names it. Nothing was written.
#define ATREST_ERR_FOREIGN_DATA 314

// A managed disk's key may not be used now: it was disabled, deleted or expired, access to it revoked, or its vault did
// not answer for too long.
#define ATREST_ERR_DISK_SUSPENDED 350

// There is no set or disk of that name.
#define ATREST_ERR_NO_SUCH_RESOURCE 351

// There is a set or disk of that name already.
#define ATREST_ERR_RESOURCE_EXISTS 352

// Something that the rules of managed disks forbid; the message says which, and what to do instead.
#define ATREST_ERR_NOT_ALLOWED 353

// The header of a disk, snapshot or image is from before it came under the key that it is under: an older one was put back.
#define ATREST_ERR_OLDER_HEADER 354

// The file system or device failed; the message has what it said.
#define ATREST_ERR_IO 400

// Another process, or another handle of this one, holds the device or vault.
#define ATREST_ERR_BUSY 401

// The operating system gave no random bytes.
#define ATREST_ERR_RANDOM 402

// There is not enough memory.
#define ATREST_ERR_NO_MEMORY 403

// A handle or key was made by the parent of this process. A child that was forked has none of its parent's secrets: open
// the vault and the volume again in the child.
#define ATREST_ERR_FORKED 404

// The operating system refuses to lock the memory of secrets, and locked memory was asked for.
#define ATREST_ERR_MEMORY_NOT_LOCKED 405

// A file, or the folder that one would go into, isn't there; the message names it.
#define ATREST_ERR_NOT_FOUND 406

// Where a file was to be made, there is one. It is as it was; the message names it.
#define ATREST_ERR_ALREADY_EXISTS 407

// What came of a call: one of the constants ATREST_OK and ATREST_ERR_*. Take a number that isn't listed here, from a
// later version of the library, for a failure.
typedef uint32_t atrest_status;

// The name of a status, such as "ATREST_ERR_WRONG_KEY"; "unknown status" for a number that isn't one. Never NULL. The
// text lives as long as the program.
const char *atrest_status_name(atrest_status status);

// ---------------------------------------------------------------------------------------------------------------------
// MESSAGES

// A customer's vault has soft delete and purge protection (16).
#define ATREST_RULE_VAULT_PROTECTION 16

// A set, its vault and its resources are in one region (18).
#define ATREST_RULE_ONE_REGION 18

// A set is deleted once nothing is in it (19).
#define ATREST_RULE_SET_IN_USE 19

// What is under the platform's key alone has no set (20).
#define ATREST_RULE_PLATFORM_KEY_HAS_NO_SET 20

// After a rotation has failed, the set rotates again once its error is cleared (32).
#define ATREST_RULE_ROTATION_FAILED 32

// A set and its vault are of one tenant (43).
#define ATREST_RULE_ONE_TENANT 43

// The incremental snapshots of a disk are in its set (45).
#define ATREST_RULE_ONE_SET_FOR_SNAPSHOTS 45

// A set and its resources are in one subscription, and what is under a customer's key stays in it (47).
#define ATREST_RULE_ONE_SUBSCRIPTION 47

// An image is made and removed as a whole, with a set or none for each region and disk (49).
#define ATREST_RULE_IMAGE_IS_WHOLE 49

// An image of a disk under a customer's key is under one too (50).
#define ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY 50

// What was encrypted in the guest takes no customer's set (52).
#define ATREST_RULE_ENCRYPTED_IN_GUEST 52

// A second layer is neither added nor taken away in place (60).
#define ATREST_RULE_LAYERS_STAY 60

// What went wrong in the last call of this thread that failed, in English, without secrets. Never NULL, and empty
// before the first failure. The text is valid until the next call of this thread that fails, or the thread's end.
const char *atrest_last_error_message(void);

// Which rule of managed disks the last call of this thread broke that failed, ATREST_RULE_*; 0 if it failed for anything but
// ATREST_ERR_NOT_ALLOWED.
uint32_t atrest_last_rule(void);

// What a callback says of its own failure: it calls this before it returns anything but ATREST_OK, on the thread that
// called it. The text goes to the message of the call that fails by it; put no secrets into it. The text is copied; bytes
// that aren't UTF-8 are replaced. Says ATREST_OK, or ATREST_ERR_NULL_ARGUMENT.
atrest_status atrest_set_callback_message(const char *message);

// ---------------------------------------------------------------------------------------------------------------------
// LOG
//
// What an operator needs to know of what goes on by itself: a key that was revoked, a vault that doesn't answer, a header
// that was repaired, a rotation that failed. What a call returns isn't told here again.

// Something failed, and data can't be reached until somebody acts.
#define ATREST_LOG_ERROR 1

// Something is wrong and will get worse.
#define ATREST_LOG_WARN 2

// Something happened that belongs to the normal course.
#define ATREST_LOG_INFO 3

// Has `log` called for each event of `level`, ATREST_LOG_*, or worse, in this process; NULL for no more. It takes the place
// of the function that was set before, which isn't called any more once this returns.
//
// The message is in English, without secrets, and valid during the call. `log` may be called from any thread, also while a
// call of this library goes on there: it must not call this library.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_set_log(void (*log)(void *user, uint32_t level, const char *message), void *user, uint32_t level);

// ---------------------------------------------------------------------------------------------------------------------
// CLOCKS
//
// Where time comes from: what has expired, when a vault is asked again, what goes into records and logs. Where no clock is
// given, it is the operating system's. Times are in seconds since 1970-01-01 UTC. A clock can be put back; leases therefore
// count by the time since the machine began, too, and end when either says so.

// A clock. Freed by atrest_clock_free.
typedef struct atrest_clock atrest_clock;

// A clock of the caller's. Several threads may ask it at once.
typedef struct {
    // Set by ATREST_CLOCK_CALLBACKS_INIT.
    size_t struct_size;
    // Handed to every callback. It must stay valid until release() is called.
    void *user;
    // The time. It is asked at every read and write of a managed disk, so it must be fast, and can't fail.
    uint64_t (*now)(void *user);
    // Called once, when the clock and all that go by it are freed. May be NULL.
    void (*release)(void *user);
    // How long ago something was that doesn't change, in milliseconds: it never goes back, and goes on while the machine is
    // suspended. It is asked as often as the time, and can't fail. NULL for the operating system's, CLOCK_BOOTTIME on Linux.
    uint64_t (*uptime)(void *user);
} atrest_clock_callbacks;

// The first value of an atrest_clock_callbacks.
#define ATREST_CLOCK_CALLBACKS_INIT {sizeof(atrest_clock_callbacks), 0, 0, 0, 0}

// Makes a clock that stands at `now` until it is told to move: for tests, and to see what an hour will bring.
atrest_status atrest_clock_manual(uint64_t now, atrest_clock **out);

// Makes a clock of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT for now().
atrest_status atrest_clock_from_callbacks(const atrest_clock_callbacks *callbacks, atrest_clock **out);

// Frees a clock. What goes by it keeps it.
void atrest_clock_free(atrest_clock *clock);

// The time by a clock.
atrest_status atrest_clock_now(const atrest_clock *clock, uint64_t *out);

// Sets a clock of atrest_clock_manual, forwards or back, for all that go by it, as one sets a machine's clock: no time
// passes, by which leases count, too.
//
// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
atrest_status atrest_clock_set(atrest_clock *clock, uint64_t now);

// Moves a clock of atrest_clock_manual forwards, for all that go by it: so much time passes.
//
// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
atrest_status atrest_clock_advance(atrest_clock *clock, uint64_t seconds);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS
//
// A vault holds KEKs, which wrap DEKs and never leave it. One kind comes with the library: a file. The caller makes
// any other out of callbacks (next section); it wraps and unwraps, but its keys are managed where they live.
//
// A KEK has a name and versions. The latest version that is enabled and valid wraps; older ones still unwrap what they wrapped. The URL of a
// version is VAULT/keys/NAME/VERSION, where VAULT is the id of the vault. Names and versions consist of 1 to 127
// letters, digits, '-', '_' and '.'; an id consists of 1 to 512 visible ASCII characters.

// A buffer of this many bytes has room for the URL of any version of a key, and its zero byte.
#define ATREST_KEY_URL_SIZE 774

// The vault generated the key.
#define ATREST_ORIGIN_GENERATED 1

// The key was brought in.
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

// What opens a vault file: a passphrase or a root key file, exactly one of them.
typedef struct {
    // Set by ATREST_UNLOCK_INIT.
    size_t struct_size;
    // A passphrase of 1 byte to 8 MiB; it needs no zero byte at its end. NULL for none.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // The path of a root key file, of 32 bytes to 1 MiB. NULL for none.
    const char *key_file;
    // What a new vault's passphrase costs to try, by Argon2id: KiB of memory, at least 8 for each lane, at most 1
    // GiB. All three costs 0 is 64 MiB, 3 passes and 4 lanes (RFC 9106). Not looked at when a vault is opened.
    uint32_t kdf_memory_kib;
    // Passes over the memory, 1 to 64.
    uint32_t kdf_passes;
    // Lanes, 1 to 16.
    uint32_t kdf_lanes;
} atrest_unlock;

// The first value of an atrest_unlock.
#define ATREST_UNLOCK_INIT {sizeof(atrest_unlock), 0, 0, 0, 0, 0, 0}

// What atrest_vault_keys says of one version of a key. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The name of the key.
    const char *key_name;
    // The version of the key.
    const char *version;
    // Both, in a URL.
    const char *url;
    // When the version came into the vault, in seconds since 1970-01-01 UTC; 0 when it isn't known.
    uint64_t created;
    // ATREST_ORIGIN_*; 0 when it isn't known.
    uint32_t origin;
    // ATREST_KEY_*.
    uint32_t kind;
    // 1 if the version may be used, 0 if it is disabled.
    uint32_t enabled;
    // The first second in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // 1 if it unwraps only what was wrapped with a secret: see ATREST_CHANGE_AUTHENTICATED.
    uint32_t authenticated;
} atrest_key_version;

// Makes a new vault file without keys. There must be no file at `path`. Beside it there will be `path`.bak, a copy,
// `path`.lock, and `path`.audit, the log of every use. The vault is safe to use from several processes.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder or the key file; ATREST_ERR_IO; ATREST_ERR_BUSY;
// ATREST_ERR_INVALID_OPTION for costs, a passphrase or a key file out of bounds, or when there is not exactly one of the
// latter two.
atrest_status atrest_vault_create_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);

// Opens a vault file. With a passphrase this takes as long as its costs say, by default a good part of a second.
//
// Errors: ATREST_ERR_WRONG_PASSPHRASE, also for a wrong key file; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_NOT_FOUND, also for
// the key file; ATREST_ERR_IO; ATREST_ERR_INVALID_OPTION.
atrest_status atrest_vault_open_file(const char *path, const atrest_unlock *unlock, atrest_vault **out);

// Writes a new root key file of 32 random bytes, readable by its owner only. There must be no file at `path`.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
atrest_status atrest_vault_generate_key_file(const char *path);

// Another handle of the same vault, to be freed for itself: for a callback that has to give one away.
atrest_status atrest_vault_clone(const atrest_vault *vault, atrest_vault **out);

// Another handle of the same vault file, which goes by `clock`: it says what has expired and when a deleted key may be
// purged, and what time goes to the audit log. So do the handles that are made of the new one.
//
// Errors: ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file.
atrest_status atrest_vault_with_clock(const atrest_vault *vault, const atrest_clock *clock, atrest_vault **out);

// Frees a vault. Volumes and keys that it opened stay as they are.
void atrest_vault_free(atrest_vault *vault);

// The id of a vault. For a vault file it is made when the file is.
atrest_status atrest_vault_id(const atrest_vault *vault, char *id, size_t id_cap, size_t *id_len);

// Generates a new key in a vault file, with one version, whose URL goes to `url`. `url` may be NULL; otherwise it
// needs room for ATREST_KEY_URL_SIZE bytes, whatever the URL's length.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_KEY_EXISTS; ATREST_ERR_BUSY; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_IO;
// ATREST_ERR_UNSUPPORTED for a vault of callbacks, as with all functions that manage keys.
atrest_status atrest_vault_create_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);

// Generates a new version of a key in a vault file; from now on it wraps. `url` is as in atrest_vault_create_key.
//
// Errors: ATREST_ERR_NO_SUCH_KEY, and those of the vault's file.
atrest_status atrest_vault_rotate_key(atrest_vault *vault, const char *key_name, char *url, size_t url_cap);

// Takes a new key of 32 bytes, which the caller brings, into a vault file. `url` is as in atrest_vault_create_key.
// Wiping `kek` stays with the caller.
//
// Errors: ATREST_ERR_KEK_LENGTH, and those of atrest_vault_create_key.
atrest_status atrest_vault_import_key(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);

// Takes a new version of a key, of 32 bytes which the caller brings, into a vault file. Otherwise as
// atrest_vault_import_key.
//
// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_NO_SUCH_KEY; those of the vault's file.
atrest_status atrest_vault_import_version(atrest_vault *vault, const char *key_name, const void *kek, size_t kek_len,
    char *url, size_t url_cap);

// Calls `each` for every version of every key in a vault file, as the file has them now, the oldest version of a key
// first. `each` returns ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: those of the vault's file.
atrest_status atrest_vault_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_key_version *version), void *user);

// Destroys one version of a key in a vault file, for good. WHATEVER ONLY THIS VERSION CAN UNWRAP IS LOST: that erases
// data as surely as shredding the disk. Rotate the KEK of volumes and wrap DEKs anew first.
//
// Errors: ATREST_ERR_INVALID_NAME for a text that is no URL of a version; ATREST_ERR_NO_SUCH_KEY;
// ATREST_ERR_PURGE_PROTECTED; those of the vault's file.
atrest_status atrest_hazmat_vault_destroy_version(atrest_vault *vault, const char *key_url);

// ---------------------------------------------------------------------------------------------------------------------
// KEYS OF A VAULT FILE
//
// A version of a key wraps and unwraps while it is enabled and valid. A deleted key does neither; it can be recovered
// until it is purged, which a vault with purge protection refuses before the retention is over.
//
// RSA keys need a library that was built with the feature `rsa`; without it, what would make or use one fails with
// ATREST_ERR_UNSUPPORTED_ALGORITHM.
//
// All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, unless
// said otherwise, and with the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

// `enabled` is to be changed.
#define ATREST_CHANGE_ENABLED 1

// `not_before` is to be changed.
#define ATREST_CHANGE_NOT_BEFORE 2

// `expires` is to be changed.
#define ATREST_CHANGE_EXPIRES 4

// `authenticated` is to be changed: whether an RSA key takes only what the vault itself has wrapped. Without this, whoever
// has its public half can wrap a key of their own, which the vault then unwraps as if it were yours. With it the vault puts
// a MAC behind what it wraps, under a secret key of this version, and unwraps nothing without. Versions that follow are as
// the one before. What was wrapped before it was turned on is refused while it is on: rotate the key, turn it on for the new
// version, have all that is under the old one wrapped anew, then disable the old one.
#define ATREST_CHANGE_AUTHENTICATED 8

// How a vault file is made.
typedef struct {
    // Set by ATREST_VAULT_OPTIONS_INIT.
    size_t struct_size;
    // The id of the vault, the first part of its keys' URLs: "https://contoso.vault.example", say. NULL for a random one
    // that begins with "urn:uuid:".
    const char *id;
    // Where the vault is: 1 to 127 visible ASCII characters. NULL for nowhere in particular.
    const char *region;
    // Whose the vault is: 1 to 127 visible ASCII characters. NULL for nobody in particular.
    const char *tenant;
    // For how many days a deleted key can be recovered at least: 7 to 90. 0 for 90.
    uint32_t retention_days;
    // 1 if nobody may purge a key before that, nor destroy a version of one. It can't be turned off again.
    uint32_t purge_protection;
    // 1 if an expired version refuses to unwrap. By default it unwraps, as cloud vaults do.
    uint32_t refuse_expired;
} atrest_vault_options;

// The first value of an atrest_vault_options.
#define ATREST_VAULT_OPTIONS_INIT {sizeof(atrest_vault_options), 0, 0, 0, 0, 0, 0}

// What changes of a version of a key.
typedef struct {
    // Set by ATREST_VERSION_CHANGE_INIT.
    size_t struct_size;
    // Which of the members below count: ATREST_CHANGE_*, added up.
    uint32_t changes;
    // 1 to enable the version, 0 to disable it.
    uint32_t enabled;
    // The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // 1 if it is to take only what the vault itself has wrapped, 0 if not.
    uint32_t authenticated;
} atrest_version_change;

// The first value of an atrest_version_change.
#define ATREST_VERSION_CHANGE_INIT {sizeof(atrest_version_change), 0, 0, 0, 0, 0}

// What atrest_vault_deleted_keys says of a key. It and its text are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The name of the key.
    const char *key_name;
    // When it was deleted, in seconds since 1970-01-01 UTC.
    uint64_t deleted;
    // When its retention is over. Until it is purged, it can be recovered then too.
    uint64_t retained_until;
} atrest_deleted_key;

// As atrest_vault_create_file, with options. `options` may be NULL.
//
// Errors: ATREST_ERR_INVALID_OPTION and ATREST_ERR_INVALID_NAME for an option; those of atrest_vault_create_file.
atrest_status atrest_vault_create_file_with(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);

// Opens the vault file at `path`, or makes one where there is none. Of many processes and threads that do this at once, one
// makes it and all get the same. `options` may be NULL; those of a vault that exists stay what they are.
//
// Errors: those of atrest_vault_open_file and atrest_vault_create_file_with but ATREST_ERR_ALREADY_EXISTS, which remains for
// what is left of another vault beside `path`.
atrest_status atrest_vault_open_or_create(const char *path, const atrest_unlock *unlock,
    const atrest_vault_options *options, atrest_vault **out);

// As atrest_vault_create_key, for a key of the kind ATREST_KEY_*.
//
// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for RSA in a library without it; ATREST_ERR_KEY_DELETED when a
// deleted key has the name; those of atrest_vault_create_key.
atrest_status atrest_vault_create_key_of(atrest_vault *vault, const char *key_name, uint32_t kind, char *url,
    size_t url_cap);

// Takes a new RSA key, which the caller brings, into a vault file: a private key of 2048, 3072 or 4096 bits in PKCS#8,
// as PEM or DER. It wraps by RSA-OAEP-256, and unwraps that and RSA-OAEP. Wiping `pkcs8` stays with the caller.
//
// Errors: ATREST_ERR_UNSUPPORTED in a library without RSA; ATREST_ERR_UNSUPPORTED_ALGORITHM for another kind of key;
// ATREST_ERR_INVALID_OPTION for another form; those of atrest_vault_import_key.
atrest_status atrest_vault_import_rsa_key(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);

// Takes a new version of a key, RSA, into a vault file. Otherwise as atrest_vault_import_rsa_key.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; those of atrest_vault_import_rsa_key.
atrest_status atrest_vault_import_rsa_version(atrest_vault *vault, const char *key_name, const void *pkcs8,
    size_t pkcs8_len, char *url, size_t url_cap);

// Calls `each` once, with what any vault says of a version of a key; if `version` is NULL, of the one that would wrap,
// or else of the latest enabled one.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED; ATREST_ERR_KEY_DISABLED when none is enabled;
// ATREST_ERR_ACCESS_DENIED; ATREST_ERR_UNSUPPORTED for a vault of callbacks that doesn't describe keys;
// ATREST_ERR_CALLBACK_FAILED when `each` doesn't return ATREST_OK.
atrest_status atrest_vault_describe(const atrest_vault *vault, const char *key_name, const char *version,
    atrest_status (*each)(void *user, const atrest_key_version *version), void *user);

// Enables or disables a version of a key, changes the time in which it is valid, or whether it takes only what the vault
// itself has wrapped.
//
// Errors: ATREST_ERR_INVALID_NAME for a text that is no URL of a version; ATREST_ERR_BAD_ENUM for `changes`;
// ATREST_ERR_INVALID_OPTION when it would expire before it is valid, or for an AES key that is not to be authenticated;
// ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_set_version(atrest_vault *vault, const char *key_url, const atrest_version_change *change);

// Deletes a key, with all its versions. It can be recovered until it is purged, and until then its name is taken.
//
// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
atrest_status atrest_vault_delete_key(atrest_vault *vault, const char *key_name);

// Takes back the deletion of a key. Its versions are as they were.
//
// Errors: ATREST_ERR_NO_SUCH_KEY unless there is such a deleted key.
atrest_status atrest_vault_recover_key(atrest_vault *vault, const char *key_name);

// Destroys a deleted key, for good. WHATEVER ONLY THIS KEY CAN UNWRAP IS LOST. A new key may take its name; the numbers
// of its versions go on where these ended.
//
// Errors: ATREST_ERR_NO_SUCH_KEY unless there is such a deleted key; ATREST_ERR_PURGE_PROTECTED.
atrest_status atrest_hazmat_vault_purge_key(atrest_vault *vault, const char *key_name);

// Turns the purge protection of a vault file on. Nothing turns it off.
atrest_status atrest_vault_enable_purge_protection(atrest_vault *vault);

// Calls `each` for every deleted key. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_deleted_keys(const atrest_vault *vault, atrest_status (*each)(void *user,
    const atrest_deleted_key *key), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//
// Whoever opens a vault file is its owner. Others use it by a handle of atrest_vault_as_identity, as far as the owner
// granted it, for atrest_vault_describe (get) and for whatever wraps and unwraps DEKs.
//
// Every use and every change is in the log before it is answered. Each entry is chained to the one before, so that a
// changed, removed or added one shows; entries cut off at the end show as far as the last change of the vault, and as far
// as a head that was kept elsewhere.
//
// All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, and with
// the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

// To be told of a key.
#define ATREST_OPERATION_GET 1

// To have a DEK wrapped.
#define ATREST_OPERATION_WRAP_KEY 2

// To have a DEK unwrapped.
#define ATREST_OPERATION_UNWRAP_KEY 4

// A buffer of this many bytes has room for any head of an audit log, and its zero byte.
#define ATREST_AUDIT_HEAD_SIZE 66

// An entry of the audit log. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The number of the entry, from 1.
    uint64_t seq;
    // When, in seconds since 1970-01-01 UTC.
    uint64_t time;
    // Who; NULL for the vault's owner.
    const char *identity;
    // What: "get", "wrapKey", "unwrapKey", or a change of the vault.
    const char *operation;
    // The name of the key, or NULL.
    const char *key_name;
    // The version of the key, or NULL.
    const char *version;
    // The identity that was granted access, or that lost it, or NULL.
    const char *subject;
    // What came of it: "ok", or why not.
    const char *outcome;
    // How many bytes of torn lines, which killed processes left behind, stand before this entry.
    uint64_t torn;
    // The number of the entry that this one goes on from, where the vault found its log damaged or put back when it wrote
    // this one; else 0.
    uint64_t after;
} atrest_audit_entry;

// Lets an identity (1 to 256 visible ASCII characters) do `operations`, ATREST_OPERATION_* added up, besides what it may
// do already.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for no operation.
atrest_status atrest_vault_grant(atrest_vault *vault, const char *identity, uint32_t operations);

// Takes `operations` from an identity. One that it doesn't have is no error.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_vault_revoke(atrest_vault *vault, const char *identity, uint32_t operations);

// Calls `each` for every identity that has access. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_vault_grants(const atrest_vault *vault, atrest_status (*each)(void *user, const char *identity,
    uint32_t operations), void *user);

// The vault as an identity other than its owner sees it. What it isn't granted fails with ATREST_ERR_ACCESS_DENIED, from
// the moment at which access is revoked.
atrest_status atrest_vault_as_identity(const atrest_vault *vault, const char *identity, atrest_vault **out);

// Calls `each` for every entry of the audit log, each verified. `head` is an earlier answer of atrest_vault_audit_head by
// way of which the log must go, or NULL. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_DAMAGED_VAULT, with the line, when an entry was changed, removed or added;
// ATREST_ERR_INVALID_OPTION for a text that is no head.
atrest_status atrest_vault_audit(const atrest_vault *vault, const char *head, atrest_status (*each)(void *user,
    const atrest_audit_entry *entry), void *user);

// As atrest_vault_audit, and goes on behind damage with each entry that is proven there: it is what the vault wrote, and its
// number says how many are missing.
//
// Errors: as atrest_vault_audit; ATREST_ERR_DAMAGED_VAULT comes after the last entry, with the first damage.
atrest_status atrest_vault_audit_past_damage(const atrest_vault *vault, const char *head,
    atrest_status (*each)(void *user, const atrest_audit_entry *entry), void *user);

// How far the audit log goes now, as a text without secrets, to be kept where the vault's folder can't be written from.
atrest_status atrest_vault_audit_head(const atrest_vault *vault, char *head, size_t head_cap, size_t *head_len);

// How many blocks of 16 bytes any one key of a vault's file can have encrypted by wrapping, at most: as if each use that the
// log has numbered had been a wrap of ATREST_DEK_MAX bytes under that key. Beyond ATREST_BLOCKS_MAX it wraps no more
// (ATREST_ERR_KEY_EXHAUSTED); from ATREST_BLOCKS_DUE on it is time for another vault.
atrest_status atrest_vault_usage(const atrest_vault *vault, uint64_t *blocks);

// Puts the audit log aside, whole or damaged, into a file that must not exist yet, and begins a new one that goes on from
// it.
atrest_status atrest_vault_archive_audit(atrest_vault *vault, const char *path);

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS OF CALLBACKS
//
// A vault that the caller makes: for a cloud's key service, an HSM, or whatever else keeps keys.

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

// Known only to the vault, whose wrapped keys describe themselves.
#define ATREST_WRAP_OPAQUE 6

// RSA-OAEP-256+HS256: as RSA-OAEP-256, and behind it a MAC of the vault file that wrapped it.
#define ATREST_WRAP_RSA_OAEP_256_HS256 7

// The most bytes of a wrapped DEK.
#define ATREST_WRAPPED_MAX 1024

// The most bytes of a DEK.
#define ATREST_DEK_MAX 64

// A buffer of this many bytes has room for any name of a key or of a version, and its zero byte.
#define ATREST_NAME_SIZE 128

// A DEK as a vault wrapped it. The library owns it: wrap() fills the members from `version` on, unwrap() reads all.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The id of the vault that wrapped, or is to wrap, which may be another than the one that is asked.
    const char *vault_id;
    // The name of the key.
    const char *key_name;
    // The version of the key. When wrap() is called, it is the version that is to wrap, or empty for the latest. What has
    // wrapped goes here; a vault that can't be told a version puts its latest here, and is refused if that is another.
    char version[ATREST_NAME_SIZE];
    // How it was wrapped: ATREST_WRAP_*.
    uint32_t algorithm;
    // How many bytes were wrapped: 1 to ATREST_WRAPPED_MAX.
    size_t bytes_len;
    // The wrapped bytes.
    uint8_t bytes[ATREST_WRAPPED_MAX];
} atrest_wrapped_dek;

// What a vault says of a version of a key. The library owns it: describe() fills the members from `version` on.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The version that is asked for; if it is empty, the one that wrap() would take, which goes here.
    char version[ATREST_NAME_SIZE];
    // ATREST_KEY_*.
    uint32_t kind;
    // 1 if the version may be used, 0 if it is disabled.
    uint32_t enabled;
    // The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    uint64_t not_before;
    // The first second in which it has expired; 0 for never.
    uint64_t expires;
    // When it was made; 0 if that isn't known. It says which of two versions is the newer: a set that rotates by itself
    // never goes back.
    uint64_t created;
} atrest_key_description;

// What a vault of the caller's can do. An answer that is out of its bounds is refused with ATREST_ERR_VAULT.
typedef struct {
    // Set by ATREST_VAULT_CALLBACKS_INIT.
    size_t struct_size;
    // Handed to every callback. It must stay valid until release() is called.
    void *user;
    // The id of the vault, the first part of its keys' URLs: "https://contoso.vault.example", say. It must stay the
    // same for as long as something is wrapped under the vault's keys. Copied.
    const char *id;
    // Wraps `dek` under the key `wrapped->key_name`, and fills `wrapped`. Returns ATREST_OK; what revokes the key:
    // ATREST_ERR_NO_SUCH_KEY, ATREST_ERR_KEY_DISABLED, ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_EXPIRED,
    // ATREST_ERR_KEY_NOT_YET_VALID or ATREST_ERR_ACCESS_DENIED; or any other number, which counts as an outage, and for
    // which the call ends with ATREST_ERR_CALLBACK_FAILED.
    atrest_status (*wrap)(void *user, const uint8_t *dek, size_t dek_len, atrest_wrapped_dek *wrapped);
    // Unwraps what wrap() made into `dek`, which has room for `dek_cap` bytes, and sets `dek_len`. Returns ATREST_OK;
    // ATREST_ERR_NOT_THIS_VAULT when another vault wrapped it; ATREST_ERR_UNWRAP_FAILED for all that is wrong with the
    // wrapped bytes, which is no outage; otherwise as wrap().
    atrest_status (*unwrap)(void *user, const atrest_wrapped_dek *wrapped, uint8_t *dek, size_t dek_cap,
        size_t *dek_len);
    // Called once, when every handle of the vault and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
    // Fills `said` of a version of the key `key_name`. May be NULL: not supported. Returns ATREST_OK, or as
    // wrap(); ATREST_ERR_UNSUPPORTED also says that it isn't supported.
    atrest_status (*describe)(void *user, const char *key_name, atrest_key_description *said);
} atrest_vault_callbacks;

// The first value of an atrest_vault_callbacks.
#define ATREST_VAULT_CALLBACKS_INIT {sizeof(atrest_vault_callbacks), 0, 0, 0, 0, 0, 0}

// Makes a vault of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT, also for wrap() and unwrap(); ATREST_ERR_INVALID_NAME for the id.
atrest_status atrest_vault_from_callbacks(const atrest_vault_callbacks *callbacks, atrest_vault **out);

// ---------------------------------------------------------------------------------------------------------------------
// DATA ENCRYPTION KEYS
//
// A DEK encrypts sectors, or the bytes of a file. It is stored wrapped only: in an envelope, which is bytes to be kept beside the data, or in
// the header of a volume.

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

// AES-256-CTR, 32 bytes of key. For files of engines, one key for each: see atrest_stream_cipher.
#define ATREST_AES_256_CTR 7

// The most bytes of a context.
#define ATREST_CONTEXT_MAX 1024

// The most bytes of an envelope.
#define ATREST_ENVELOPE_MAX 3124

// The bytes of a fingerprint.
#define ATREST_FINGERPRINT_SIZE 32

// A data encryption key, in memory that is locked and left out of core dumps where the operating system allows it.
// Freed by atrest_dek_free, which wipes it.
typedef struct atrest_dek atrest_dek;

// Generates a DEK. `algorithm` is ATREST_AES_256_XTS or another ATREST_AES_*. A DEK makes ciphers of
// its own mode only: one for XTS sector ciphers, one for CTR stream ciphers. Both go into envelopes, and those for CBC
// and HCTR2 into volumes only.
//
// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_RANDOM.
atrest_status atrest_dek_generate(uint32_t algorithm, atrest_dek **out);

// Wipes and frees a DEK. Ciphers and volumes made from it stay as they are.
void atrest_dek_free(atrest_dek *dek);

// What a DEK is for: one of ATREST_AES_*.
atrest_status atrest_dek_algorithm(const atrest_dek *dek, uint32_t *out);

// Which DEK it is: 32 bytes that follow from the key, and from which nobody learns it. Keep them where who writes to the
// disk can't write, and compare: whoever may wrap keys under your KEK, with the public half of an RSA key for one, can
// make a volume or envelope of their own that your vault opens, and put it in the place of yours.
atrest_status atrest_dek_fingerprint(const atrest_dek *dek, uint8_t *fingerprint);

// Has `vault` wrap a DEK under the latest version of the key `key_name`, and puts all that is needed to unwrap it
// into `envelope`, of at most ATREST_ENVELOPE_MAX bytes. An envelope holds no secret.
//
// `context` is what the DEK is for, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the clear.
// Who unwraps must expect the same context, so that envelopes can't be exchanged.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_UNSUPPORTED_ALGORITHM
// for a DEK that is for neither XTS nor CTR; ATREST_ERR_BUFFER_TOO_SHORT, after the vault was asked; what the vault answers.
atrest_status atrest_envelope_seal(const atrest_dek *dek, const atrest_vault *vault, const char *key_name,
    const void *context, size_t context_len, void *envelope, size_t envelope_cap, size_t *envelope_len);

// Has `vault` unwrap the DEK of an envelope, which must be bound to `context`.
//
// Errors: ATREST_ERR_INVALID_ENVELOPE, also when it was altered; ATREST_ERR_CONTEXT_MISMATCH;
// ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_NO_SUCH_KEY when the version was destroyed; ATREST_ERR_UNWRAP_FAILED; what
// the vault answers.
atrest_status atrest_envelope_unseal(const atrest_vault *vault, const void *envelope, size_t envelope_len,
    const void *context, size_t context_len, atrest_dek **out);

// The URL of the key version that wrapped an envelope's DEK, so that the right vault can be asked. It is not proven
// before the DEK is unwrapped.
//
// Errors: ATREST_ERR_INVALID_ENVELOPE; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_envelope_key_url(const void *envelope, size_t envelope_len, char *url, size_t url_cap,
    size_t *url_len);

// A DEK from 32 or 64 bytes that the caller brings. Bytes that aren't random, that another program also holds, or
// that encrypt two disks make a weak DEK, and nothing here can tell. Wiping `bytes` stays with the caller.
//
// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES.
atrest_status atrest_hazmat_dek_from_bytes(const void *bytes, size_t bytes_len, atrest_dek **out);

// The bytes of a DEK. Whoever has them can read the disk for ever, whatever happens to the KEK. Wiping `bytes` stays
// with the caller.
atrest_status atrest_hazmat_dek_bytes(const atrest_dek *dek, void *bytes, size_t bytes_cap, size_t *bytes_len);

// ---------------------------------------------------------------------------------------------------------------------
// SECTOR CIPHER
//
// XTS-AES over runs of sectors (IEEE 1619-2018, NIST SP 800-38E), for engines that do their own input and output.
// Encrypting and decrypting neither allocate nor lock; any number of threads may use one cipher.
//
// XTS keeps what a sector holds secret from somebody who sees the disk once. It does not notice changes, and shows
// which 16-byte blocks of a sector changed to somebody who sees the disk twice.

// Sector numbers count units of 512 bytes, whatever the sector size: plain64 of dm-crypt and LUKS. Sectors of 4096
// bytes have the numbers 0, 8, 16 and so on; numbers between them are refused, since sectors numbered 0, 1, 2 would share
// tweaks.
#define ATREST_UNIT_512 1

// Sector numbers count sectors or pages: 0, 1, 2 at any size. It is plain64 with iv_large_sectors of dm-crypt.
#define ATREST_UNIT_SECTOR 2

// As ATREST_UNIT_512, from any number on: plain64 of dm-crypt with an offset that isn't a multiple of the sector size.
// Runs whose numbers overlap share tweaks, and nothing here notices it.
#define ATREST_UNIT_512_ANY_OFFSET 3

// An expanded XTS key, with how sectors are cut and numbered. Freed by atrest_sector_cipher_free, which wipes it.
typedef struct atrest_sector_cipher atrest_sector_cipher;

// Expands a DEK for sectors of `sector_size`, 512 to 65,536 bytes, numbered by `sector_unit`, ATREST_UNIT_*. A size
// that isn't a multiple of 512 needs ATREST_UNIT_SECTOR. The DEK may be freed afterwards.
//
// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a DEK that isn't for XTS.
atrest_status atrest_sector_cipher_new(const atrest_dek *dek, uint32_t sector_size, uint32_t sector_unit,
    atrest_sector_cipher **out);

// Wipes and frees a cipher.
void atrest_sector_cipher_free(atrest_sector_cipher *cipher);

// Encrypts `len` bytes of consecutive sectors in place. `first_sector` is the number of the first one. `sectors` is
// untouched unless the function returns ATREST_OK.
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

// Encrypts one data unit in place under a tweak of 16 bytes, for engines that number blocks in their own way.
//
// `len` is 16 bytes to 16 MiB, whatever the sector size; ciphertext is stolen where it isn't a multiple of 16.
// `tweak` is the number of the data unit as 16 little-endian bytes. No two data units under one key may have the same
// tweak.
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
// For output that is larger than the cache, or that nobody reads soon. It needs a `dst` that is aligned to 64 bytes and
// isn't `src`; otherwise it is atrest_sector_cipher_encrypt_to. For output that stays in the cache it is slower.
//
// Errors: as atrest_sector_cipher_encrypt_to.
atrest_status atrest_sector_cipher_encrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// Decrypts past the cache, as atrest_sector_cipher_encrypt_streaming encrypts.
atrest_status atrest_sector_cipher_decrypt_streaming(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const void *src, void *dst, size_t len);

// How many blocks of 16 bytes the cipher has encrypted: see ATREST_BLOCKS_DUE.
atrest_status atrest_sector_cipher_usage(const atrest_sector_cipher *cipher, uint64_t *blocks);

// Counts blocks that the key of a cipher has encrypted elsewhere: in an earlier process, or by another cipher.
atrest_status atrest_sector_cipher_count_in(const atrest_sector_cipher *cipher, uint64_t blocks);

// ---------------------------------------------------------------------------------------------------------------------
// SEGMENTS
//
// Runs of sectors that lie in several pieces of memory: the vectors of readv and writev.

// A piece of a run of sectors in memory: a `struct iovec` by another name.
typedef struct {
    // Where it begins. NULL if it is empty.
    void *base;
    // Its length: whole sectors, or 0.
    size_t len;
} atrest_segment;

// Encrypts a run of consecutive sectors that lie in `count` segments, in place.
//
// The segments follow one another on the disk: the first sector of one has the number behind the last of the segment
// before. They must not overlap. All lengths are checked before the first segment is touched.
//
// Errors: those of atrest_sector_cipher_encrypt.
atrest_status atrest_sector_cipher_encrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);

// Decrypts segments in place, as atrest_sector_cipher_encrypt_segments encrypts them.
atrest_status atrest_sector_cipher_decrypt_segments(const atrest_sector_cipher *cipher, uint64_t first_sector,
    const atrest_segment *segments, size_t count);

// Encrypts a run of consecutive sectors from the segments `src` to the segments `dst`, each cut in its own way.
//
// Both are as those of atrest_sector_cipher_encrypt_segments, and of the same length as a whole. Where a piece goes to the
// memory that it comes from, it is encrypted in place; other than that, source and destination must not overlap. What is
// checked of it are pieces that overlap with where they go to. All is checked before the first segment is touched.
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
// ONE KEY, ONE FILE. No two contents may ever be encrypted at the same offset under the same key and nonce: who sees
// both, say those of a file before and after it was truncated and written anew, has their difference (XOR), and often
// the contents. So a file gets a fresh DEK whenever it is made, truncated or used again, and it is appended to, not
// changed. atrest_file_prefix_create makes such a key.
//
// The mode keeps secret what a file holds. It notices no change: who can write to the file can flip any bit of the
// plaintext that they like, and no other. Authenticate above, and take a new key before 2^52 bytes (4 PiB).

// The bytes of a nonce.
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

// Encrypts or decrypts `len` bytes in place, which is the same. The first of them is at `offset` of the stream, any
// number. `data` is untouched unless the function returns ATREST_OK.
//
// Errors: ATREST_ERR_STREAM_OVERFLOW; ATREST_ERR_KEY_EXHAUSTED, beyond 4 PiB only.
atrest_status atrest_stream_cipher_apply(const atrest_stream_cipher *cipher, uint64_t offset, void *data, size_t len);

// Encrypts or decrypts `len` bytes from `src` to `dst`, which may be the same but must not overlap in part.
//
// Errors: ATREST_ERR_OVERLAP; ATREST_ERR_STREAM_OVERFLOW.
atrest_status atrest_stream_cipher_apply_to(const atrest_stream_cipher *cipher, uint64_t offset, const void *src,
    void *dst, size_t len);

// How many blocks of 16 bytes of its stream the cipher has encrypted or decrypted, which is as far as they reach: see
// ATREST_BLOCKS_DUE.
atrest_status atrest_stream_cipher_usage(const atrest_stream_cipher *cipher, uint64_t *blocks);

// ---------------------------------------------------------------------------------------------------------------------
// KEY WRAP
//
// AES key wrap, KW (RFC 3394) and KWP with padding (RFC 5649), NIST SP 800-38F. A KEK has 16, 24 or 32 bytes. `out`
// may be where the input is.

// Wraps `key` by AES-KW. `key` has a multiple of 8 from 16 to 4096 bytes; 8 more come out.
//
// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_WRAP_LENGTH; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_aes_kw_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);

// Unwraps what atrest_aes_kw_wrap made. 8 bytes less come out.
//
// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
atrest_status atrest_aes_kw_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);

// Wraps `key` by AES-KWP. `key` has 1 to 4096 bytes; 8 more, rounded up to a multiple of 8, come out.
//
// Errors: those of atrest_aes_kw_wrap.
atrest_status atrest_aes_kwp_wrap(const void *kek, size_t kek_len, const void *key, size_t key_len, void *out,
    size_t out_cap, size_t *out_len);

// Unwraps what atrest_aes_kwp_wrap made.
//
// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
atrest_status atrest_aes_kwp_unwrap(const void *kek, size_t kek_len, const void *wrapped, size_t wrapped_len, void *out,
    size_t out_cap, size_t *out_len);

// ---------------------------------------------------------------------------------------------------------------------
// DEVICES
//
// What a volume lies on: bytes that can be read and written anywhere. A volume keeps its device, so the handle of the
// device may be freed as soon as the volume is there.

// Flag: nothing will be written; open the volume with ATREST_OPEN_READ_ONLY. Others may open the file in the same way
// meanwhile.
#define ATREST_DEVICE_READ_ONLY 1

// A device. Freed by atrest_device_free.
typedef struct atrest_device atrest_device;

// A device of the caller's. Callbacks return ATREST_OK, or any other number when they fail, for which the call ends
// with ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
typedef struct {
    // Set by ATREST_DEVICE_CALLBACKS_INIT.
    size_t struct_size;
    // Handed to every callback. It must stay valid until release() is called.
    void *user;
    // The size of the device in bytes.
    uint64_t size;
    // Fills `bytes` with `len` bytes from `offset`. The library stays below `size`.
    atrest_status (*read_at)(void *user, uint64_t offset, void *bytes, size_t len);
    // Writes `len` bytes at `offset`. NULL for a device that can't be written: open its volume with
    // ATREST_OPEN_READ_ONLY.
    atrest_status (*write_at)(void *user, uint64_t offset, const void *bytes, size_t len);
    // Returns when all that was written is on stable storage. Needed where write_at is: a volume that is killed while
    // its header is written can be opened again only if the order of writes was kept.
    atrest_status (*sync)(void *user);
    // Called once, when every handle of the device and every volume on it are freed. May be NULL.
    void (*release)(void *user);
} atrest_device_callbacks;

// The first value of an atrest_device_callbacks.
#define ATREST_DEVICE_CALLBACKS_INIT {sizeof(atrest_device_callbacks), 0, 0, 0, 0, 0, 0}

// Opens a file or block device and holds it: a second open, by whatever process, gives ATREST_ERR_BUSY, as long as it
// respects flock(). `flags` is 0 or ATREST_DEVICE_READ_ONLY.
//
// Errors: ATREST_ERR_NOT_FOUND; ATREST_ERR_BUSY; ATREST_ERR_IO; ATREST_ERR_BAD_ENUM for a flag that isn't known.
atrest_status atrest_device_open_file(const char *path, uint32_t flags, atrest_device **out);

// Makes a new file of `size` bytes, sparse where that is possible and readable by its owner only, and holds it as
// atrest_device_open_file does. There must be no file at `path`.
//
// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
atrest_status atrest_device_create_file(const char *path, uint64_t size, atrest_device **out);

// Makes a device of `size` zero bytes in memory. It is gone when it and every volume on it are freed.
//
// Errors: ATREST_ERR_NO_MEMORY.
atrest_status atrest_device_memory(size_t size, atrest_device **out);

// Makes a device of callbacks. The struct is copied. release() is not called when this fails.
//
// Errors: ATREST_ERR_NULL_ARGUMENT for read_at(), and for sync() where there is write_at().
atrest_status atrest_device_from_callbacks(const atrest_device_callbacks *callbacks, atrest_device **out);

// Another handle of the same device, to be freed for itself: for a callback that has to give one away.
atrest_status atrest_device_clone(const atrest_device *device, atrest_device **out);

// Frees a device, unless a volume is on it: then the volume's end does.
void atrest_device_free(atrest_device *device);

// ---------------------------------------------------------------------------------------------------------------------
// ENCRYPTED FILES
//
// The prefix of an encrypted file: its own DEK, wrapped by a vault, and the nonce of its stream, in the first
// ATREST_FILE_PREFIX_SIZE bytes. What follows is the engine's data, under one of two ciphers: a stream cipher, whose offset
// 0 is the first byte behind the prefix, for engines that append at any byte; or a sector cipher, for engines that write
// over what is there, and that count sectors as they like. The one sort of file doesn't open as the other.
//
// Make a prefix for each file that is made, for a stream also for each that is truncated or used again, and never copy one
// to another file: see STREAM CIPHER for what two contents under one key give away. A wrong key, another context or a
// damaged prefix is found when the file is opened; damage to the data isn't.

// The bytes of a prefix.
#define ATREST_FILE_PREFIX_SIZE 8192

// Makes the prefix of a new file, of ATREST_FILE_PREFIX_SIZE bytes, and the cipher for its data. The DEK is fresh, and
// wrapped by `vault` under the latest version of the key `key_name`.
//
// `context` is what the file is part of, such as the id of a database: up to ATREST_CONTEXT_MAX bytes, stored in the
// clear. Who opens the file must expect the same. It is not the file's name if the engine renames files.
//
// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_RANDOM;
// ATREST_ERR_BUFFER_TOO_SHORT; what the vault answers.
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
// Errors: ATREST_ERR_INVALID_PREFIX for another length, and when both copies in it are damaged or it was altered;
// ATREST_ERR_INVALID_ENVELOPE, also when it was altered; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_NOT_THIS_VAULT;
// ATREST_ERR_NO_SUCH_KEY when the version was destroyed; ATREST_ERR_UNWRAP_FAILED; ATREST_ERR_UNSUPPORTED_ALGORITHM for a
// file of sectors; what the vault answers.
atrest_status atrest_file_prefix_open(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, atrest_stream_cipher **out);

// As atrest_file_prefix_open, for a file of sectors, which are cut and numbered as when it was made.
//
// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a file with a stream; otherwise
// those of atrest_file_prefix_open.
atrest_status atrest_file_prefix_open_sectors(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint32_t sector_size, uint32_t sector_unit, atrest_sector_cipher **out);

// Has `vault` wrap the DEK of the file on `device` anew, under the latest version of the key that wraps it now. No byte
// behind the prefix is touched, and the file may be read and written meanwhile. Killed at any instant, it opens
// with the old version or the new one, and this can be done again.
//
// While this runs, nobody else may write the prefix: neither a second rotation, nor who uses the file again with a new
// one. atrest_device_open_file keeps out others that ask.
//
// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
//
// Errors: ATREST_ERR_DEVICE_TOO_SMALL; those of atrest_file_prefix_open; what the vault and the device answer. After a
// failure of the device, too, the file opens with the old version or the new one.
atrest_status atrest_file_prefix_rotate_kek(atrest_device *device, const atrest_vault *vault, const void *context,
    size_t context_len, char *url, size_t url_cap);

// Which DEK a file has, in ATREST_FINGERPRINT_SIZE bytes: see atrest_dek_fingerprint. Kept apart from the file, and compared
// before its data is used, it tells a file that somebody made under a DEK of their own. The vault unwraps the DEK for it.
//
// Errors: those of atrest_file_prefix_open, for files of either sort.
atrest_status atrest_file_prefix_fingerprint(const atrest_vault *vault, const void *prefix, size_t prefix_len,
    const void *context, size_t context_len, uint8_t *fingerprint);

// The URL of the key version that wrapped the DEK of a file, so that the right vault can be asked. It is not proven
// before the file is opened.
//
// Errors: ATREST_ERR_INVALID_PREFIX; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
atrest_status atrest_file_prefix_key_url(const void *prefix, size_t prefix_len, char *url, size_t url_cap,
    size_t *url_len);

// ---------------------------------------------------------------------------------------------------------------------
// THE MEMORY OF SECRETS
//
// Keys, expanded ones too, lie in pages that stay in memory, are left out of core dumps, and are zeros in a child that
// is forked, where the system allows it.

// How many bytes of pages hold secrets of this process: `locked` is of those that stay in memory, `unlocked` of those that
// may be written to swap, since the system refused to lock them. A process may lock as much as RLIMIT_MEMLOCK says; an
// open volume takes about 1 KiB, a vault too. ATREST_OPEN_REQUIRE_LOCKED_MEMORY refuses a volume where `unlocked`
// isn't 0.
atrest_status atrest_memory_protection(uint64_t *locked, uint64_t *unlocked);

// ---------------------------------------------------------------------------------------------------------------------
// SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS
//
// Each algorithm, and each kernel that this CPU runs, is tried against published vectors before its first use in a
// process. When one computes wrongly, everything is refused with ATREST_ERR_SELF_TEST from then on.
//
// A program may demand approved algorithms only, those of NIST's publications as of SP 800-131A Rev. 2: AES-XTS (as
// aes-xts-plain64), AES-CTR, AES-KW, RSA-OAEP with SHA-256, and PBKDF2 with SHA-256 or SHA-512, 1000 iterations and a
// salt of 16 bytes or more. THE LIBRARY IS NO VALIDATED MODULE, and this doesn't make it one.
//
// A key may encrypt 2^48 blocks of 16 bytes (4 PiB), and is due for another from 2^44 (256 TiB) on. Counts are those of
// one handle in one process, right to 64 KiB for each thread, and decryption doesn't count.

// Done by approved algorithms alone.
#define ATREST_APPROVED 1

// Done in part by a vault that doesn't tell how (ATREST_WRAP_OPAQUE), and otherwise by approved algorithms.
#define ATREST_APPROVED_ELSEWHERE 2

// Not, or not all of it, done by approved algorithms.
#define ATREST_NOT_APPROVED 3

// From so many blocks on it is time for another key: copy the data to where there is one.
#define ATREST_BLOCKS_DUE 17592186044416

// As many blocks as a key may encrypt; more are refused with ATREST_ERR_KEY_EXHAUSTED.
#define ATREST_BLOCKS_MAX 281474976710656

// Tries every algorithm and kernel, whether or not it has been tried before. It takes under a millisecond.
//
// Errors: ATREST_ERR_SELF_TEST, whose message names what failed.
atrest_status atrest_self_test(void);

// Takes approved algorithms only, in this process from now on: whatever needs another is refused with
// ATREST_ERR_NOT_APPROVED, whose message names it, also by handles that are there already. There is no way back. Call it
// first of all.
atrest_status atrest_approved_only(void);

// 1 after atrest_approved_only was called, 0 before.
atrest_status atrest_is_approved_only(uint32_t *out);

// Begins an observation of what this thread does, which atrest_approval_since_reset ends.
atrest_status atrest_approval_reset(void);

// Whether this thread has used approved algorithms alone since atrest_approval_reset, or since it began: ATREST_APPROVED,
// ATREST_APPROVED_ELSEWHERE or ATREST_NOT_APPROVED. `text` is for people and says what wasn't; it and `text_len` may be
// NULL together. What other threads do isn't seen.
atrest_status atrest_approval_since_reset(uint32_t *approval, char *text, size_t text_cap, size_t *text_len);

// ---------------------------------------------------------------------------------------------------------------------
// WAYS INTO A VOLUME
//
// A volume opens by a credential: a vault that unwraps its DEK, a passphrase, a key file whose bytes are a passphrase,
// or the DEK itself. What opens it stands in its header: a vault's wrapped DEK in a token, a passphrase's in a keyslot,
// which costs time and memory to try, by a key derivation function (KDF).

// A vault that holds the KEK under which the DEK is wrapped.
#define ATREST_CREDENTIAL_VAULT 1

// The DEK itself.
#define ATREST_CREDENTIAL_DEK 2

// A passphrase.
#define ATREST_CREDENTIAL_PASSPHRASE 3

// A file whose bytes are the passphrase, all of them.
#define ATREST_CREDENTIAL_KEY_FILE 4

// A vault, and a key in it whose latest version wraps the DEK. It gets a token, which LUKS1 has no place for.
#define ATREST_PROTECTOR_VAULT 1

// A passphrase. It gets a keyslot.
#define ATREST_PROTECTOR_PASSPHRASE 3

// A file whose bytes are the passphrase, all of them. It gets a keyslot.
#define ATREST_PROTECTOR_KEY_FILE 4

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

// Tried after those that are preferred.
#define ATREST_PRIORITY_NORMAL 0

// Tried first.
#define ATREST_PRIORITY_PREFER 1

// Tried only when it is asked for by its number.
#define ATREST_PRIORITY_IGNORE 2

// Flag: the member `id` counts. Otherwise the keyslot is the first that is free.
#define ATREST_KEYSLOT_ID 1

// A KDF and what it costs.
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

// What opens a volume.
typedef struct {
    // Set by ATREST_CREDENTIAL_INIT.
    size_t struct_size;
    // ATREST_CREDENTIAL_*: which of the members below is meant. There is no default.
    uint32_t kind;
    // For ATREST_CREDENTIAL_VAULT.
    const atrest_vault *vault;
    // For ATREST_CREDENTIAL_DEK.
    const atrest_dek *dek;
    // For ATREST_CREDENTIAL_PASSPHRASE: 1 byte to 8 MiB, all of which count, a newline at the end too. It needs no zero
    // byte at its end, isn't copied, and its wiping stays with the caller.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // For ATREST_CREDENTIAL_KEY_FILE: its path. What is read from it is wiped.
    const char *key_file;
} atrest_credential;

// The first value of an atrest_credential.
#define ATREST_CREDENTIAL_INIT {sizeof(atrest_credential), 0, 0, 0, 0, 0, 0}

// A way into a volume that is to be made.
typedef struct {
    // Set by ATREST_PROTECTOR_INIT.
    size_t struct_size;
    // ATREST_PROTECTOR_*: which of the members below are meant. There is no default.
    uint32_t kind;
    // For ATREST_PROTECTOR_VAULT.
    const atrest_vault *vault;
    // For ATREST_PROTECTOR_VAULT: the name of the key in it.
    const char *key_name;
    // For ATREST_PROTECTOR_PASSPHRASE, as in an atrest_credential.
    const char *passphrase;
    // The length of the passphrase.
    size_t passphrase_len;
    // For ATREST_PROTECTOR_KEY_FILE: its path. It has 1 byte to 8 MiB; what is read from it is wiped.
    const char *key_file;
} atrest_protector;

// The first value of an atrest_protector.
#define ATREST_PROTECTOR_INIT {sizeof(atrest_protector), 0, 0, 0, 0, 0, 0}

// What a new keyslot is like.
typedef struct {
    // Set by ATREST_KEYSLOT_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_KEYSLOT_ID.
    uint32_t flags;
    // With ATREST_KEYSLOT_ID: the number of the keyslot, 0 to 31, or to 7 in LUKS1.
    uint32_t id;
    // ATREST_PRIORITY_*. LUKS1 has no priorities.
    uint32_t priority;
    // How long it shall take to open the keyslot on a machine like this, in milliseconds, where `kdf` is NULL. 0 is
    // 2000.
    uint32_t time_ms;
    // The most memory that this may take, in KiB: at least 32 MiB. 0 is 1 GiB, or half of the machine's memory.
    uint32_t max_memory_kib;
    // The KDF and its costs. NULL is what is measured on this machine: Argon2id with 4 lanes, or PBKDF2 in LUKS1.
    const atrest_kdf *kdf;
} atrest_keyslot_options;

// The first value of an atrest_keyslot_options.
#define ATREST_KEYSLOT_OPTIONS_INIT {sizeof(atrest_keyslot_options), 0, 0, 0, 0, 0, 0}

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
// HOW VOLUMES ARE MADE AND OPENED

// The platform's key protects the volume.
#define ATREST_PLATFORM_KEY 1

// The customer's key protects the volume.
#define ATREST_CUSTOMER_KEY 2

// Both do, in two layers.
#define ATREST_PLATFORM_AND_CUSTOMER_KEYS 3

// Flag: destroy what the device holds. Otherwise a device that isn't blank is refused.
#define ATREST_FORMAT_OVERWRITE 1

// LUKS1, for machines that know nothing else: sectors of 512 bytes, passphrases only, data at 2 MiB.
#define ATREST_LUKS1 1

// LUKS2.
#define ATREST_LUKS2 2

// Flag: write nothing at all, neither data nor a repair of the header.
#define ATREST_OPEN_READ_ONLY 1

// Flag: open a device that is smaller than its volume was. What was beyond its end is lost.
#define ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED 2

// Flag: the member `keyslot` counts.
#define ATREST_OPEN_KEYSLOT 4

// Flag: show data of which the header says that it isn't encrypted, and write to it in the clear. Unless a vault's token
// proves the header, whoever can write to the disk can make it say so.
#define ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED 8

// Flag: repair a copy of the header although what stands in its place is neither blank nor remains of a header. IT IS
// DESTROYED: it may be a file system that somebody made on the device since.
#define ATREST_OPEN_HAZMAT_REPAIR 16

// Flag: refuse where secrets of this process lie in memory that may be swapped: see atrest_memory_protection.
#define ATREST_OPEN_REQUIRE_LOCKED_MEMORY 32

// Options for formatting a volume.
typedef struct {
    // Set by ATREST_FORMAT_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_FORMAT_OVERWRITE.
    uint32_t flags;
    // 512, 1024, 2048 or 4096 bytes. 0 is 512. A file system made for smaller sectors than this won't mount.
    uint32_t sector_size;
    // ATREST_AES_128_XTS, ATREST_AES_256_XTS or ATREST_AES_256_HCTR2. 0 is ATREST_AES_256_XTS.
    uint32_t dek_algorithm;
    // ATREST_*_KEY or _KEYS; recorded in the volume. 0 is ATREST_CUSTOMER_KEY.
    uint32_t encryption_type;
    // Where the data begins on the device: a multiple of 1 MiB, up to 128 MiB. 1 MiB leaves room for 3 passphrases, 16
    // MiB for all 32. 0 is 16 MiB, as cryptsetup has it; 2 MiB for LUKS1; the start of the device if the header is
    // detached.
    uint64_t data_offset;
    // A UUID of 16 bytes. NULL is a random one.
    const uint8_t *uuid;
    // A label of up to 47 bytes. NULL is none.
    const char *label;
    // A second label of up to 47 bytes. NULL is none.
    const char *subsystem;
    // What the volume is bound to, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the clear. It
    // needs a vault, in whose token it is kept.
    const void *context;
    // The length of the context.
    size_t context_len;
    // ATREST_LUKS1 or ATREST_LUKS2. 0 is ATREST_LUKS2.
    uint32_t luks_version;
    // The device that gets the header, where it shall be detached from the data: 16 MiB of it, or 2 MiB for LUKS1. NULL
    // is the device of the data.
    atrest_device *header;
    // What the keyslot is like where a passphrase or key file protects the volume. May be NULL.
    const atrest_keyslot_options *keyslot;
    // A DEK in place of a new one; `dek_algorithm` is of no meaning then. TWO VOLUMES UNDER ONE DEK SHOW WHERE THEY HOLD
    // THE SAME. NULL is a new one.
    const atrest_dek *hazmat_dek;
    // The size of each of the two copies of the header's metadata, in bytes: a power of two from 16 KiB to 4 MiB. 4 KiB less
    // is the room for all keyslots and tokens together. 1 MiB before the data takes up to 256 KiB of it. 0 is 16 KiB.
    uint64_t metadata_size;
} atrest_format_options;

// The first value of an atrest_format_options.
#define ATREST_FORMAT_OPTIONS_INIT {sizeof(atrest_format_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// How to open a volume.
typedef struct {
    // Set by ATREST_OPEN_OPTIONS_INIT.
    size_t struct_size;
    // 0 or ATREST_OPEN_*, combined by `|`.
    uint32_t flags;
    // The context that the volume must be bound to. NULL is whatever it is bound to: then nobody notices a header
    // that was exchanged for that of another volume under the same key.
    const void *context;
    // The length of the context.
    size_t context_len;
    // The device that the header is on, where it is detached from the data. NULL is the device of the data.
    atrest_device *header;
    // With ATREST_OPEN_KEYSLOT: the one keyslot on which a passphrase is tried, also one of ATREST_PRIORITY_IGNORE.
    // Otherwise all others are tried, in the order of their priority.
    uint32_t keyslot;
    // The most memory of Argon2 that a keyslot may ask for before a passphrase is tried on it, in KiB. Whoever can write
    // to the disk can write a header that asks for any amount. 0 is 4 GiB.
    uint32_t kdf_max_memory_kib;
    // The most work of Argon2: memory in KiB times passes. 0 is 64 GiB.
    uint64_t kdf_max_kib_passes;
    // The most iterations of PBKDF2. 0 is 50,000,000.
    uint32_t kdf_max_iterations;
    // The most lanes of Argon2. 0 is 16.
    uint32_t kdf_max_lanes;
    // The most that all keyslots tried for one passphrase may take together, in milliseconds of one core of a server of
    // 2023, by what their headers ask for. One that is named (ATREST_OPEN_KEYSLOT) is tried whatever it takes within the
    // other limits. 0 is 10,000.
    uint64_t kdf_max_total_ms;
    // The fingerprint that the DEK must have, ATREST_FINGERPRINT_SIZE bytes (atrest_volume_fingerprint, kept apart from the
    // disk): a volume that somebody made under a DEK of their own is refused with ATREST_ERR_OTHER_DEK before anything is
    // written or decrypted. NULL is any.
    const uint8_t *expected_fingerprint;
    // The name of the key of a vault that the DEK must be wrapped under; others are refused with ATREST_ERR_OTHER_KEY. NULL
    // is any.
    const char *expected_key;
    // How many blocks the volume's key has encrypted before, by what atrest_volume_usage said when it was closed.
    uint64_t used_blocks;
} atrest_open_options;

// The first value of an atrest_open_options.
#define ATREST_OPEN_OPTIONS_INIT {sizeof(atrest_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// ---------------------------------------------------------------------------------------------------------------------
// VOLUMES
//
// An encrypted device: a header of LUKS2 or LUKS1, which any Linux machine can check, and sectors of AES-XTS
// (aes-xts-plain64), or of what else an old volume has. The header may be on a device of its own. Reads and writes are in
// whole sectors. Any number of threads may read and write one volume at once.

// A volume. Freed by atrest_volume_free.
typedef struct atrest_volume atrest_volume;

// Makes a volume on `device`, with a new DEK, and `protector` as the way into it. `options` may be NULL. The data area
// isn't written, and reads as noise until it is.
//
// Nothing is written before a vault has wrapped the DEK and unwrapped it again. With a passphrase this takes as long as
// its keyslot's KDF, and measuring that: some seconds, unless `options` say otherwise.
//
// Errors: ATREST_ERR_DEVICE_NOT_BLANK; ATREST_ERR_DEVICE_TOO_SMALL; ATREST_ERR_INVALID_OPTION,
// ATREST_ERR_SECTOR_SIZE, ATREST_ERR_BAD_ENUM and ATREST_ERR_CONTEXT_LENGTH for options and passphrases out of bounds;
// ATREST_ERR_NO_ROOM where a keyslot doesn't fit in front of the data; ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY;
// ATREST_ERR_NOT_FOUND and ATREST_ERR_IO for a key file; what the vault and the devices answer.
atrest_status atrest_volume_format(atrest_device *device, const atrest_protector *protector,
    const atrest_format_options *options, atrest_volume **out);

// Opens the volume on `device`. `options` may be NULL. The DEK is proven by the header's digest, and the header by
// the MAC of a vault's token where it has one, before anything is decrypted or written. A damaged copy of the header is
// repaired from the intact one.
//
// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER, also for keyslots that ask for
// more than `options` allow; ATREST_ERR_NOT_THIS_VAULT, whose message names the key that is needed;
// ATREST_ERR_WRONG_PASSPHRASE, also for a key file; ATREST_ERR_NO_SUCH_PROTECTOR where no keyslot takes a passphrase;
// ATREST_ERR_WRONG_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_DEVICE_TOO_SMALL for a
// truncated device; ATREST_ERR_FOREIGN_DATA where a copy of the header is gone and something else stands in its place,
// unless it is opened read-only; ATREST_ERR_INVALID_OPTION for a passphrase out of bounds; what the vault and the devices answer.
atrest_status atrest_volume_open(atrest_device *device, const atrest_credential *credential,
    const atrest_open_options *options, atrest_volume **out);

// Frees a volume and wipes its keys. IT DOES NOT SYNC: call atrest_volume_sync first, or what was written last may
// not be on the disk.
void atrest_volume_free(atrest_volume *volume);

// Reads and decrypts `len` bytes at `offset` from the start of the data. Both are multiples of the sector size. After
// ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED it isn't defined what `sectors` holds.
//
// Errors: ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_read_at(const atrest_volume *volume, uint64_t offset, void *sectors, size_t len);

// Encrypts and writes `len` bytes at `offset` from the start of the data. Both are multiples of the sector size.
// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED a part may have been written.
//
// Errors: those of atrest_volume_read_at; ATREST_ERR_READ_ONLY.
atrest_status atrest_volume_write_at(atrest_volume *volume, uint64_t offset, const void *sectors, size_t len);

// Returns when all that was written is on stable storage. If it fails, what was written since the last time may be
// lost.
//
// Errors: ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_sync(atrest_volume *volume);

// Has `vault` wrap the DEK anew, under the latest version of the key that wraps it now. No sector is touched, and
// reads and writes go on meanwhile. Killed at any instant, the volume opens with the old version or the new one.
//
// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
//
// Errors: ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_READ_ONLY; what the vault and the device answer. After a failure of
// the device, too, the volume opens with the old version or the new one.
atrest_status atrest_volume_rotate_kek(atrest_volume *volume, const atrest_vault *vault, char *url, size_t url_cap);

// Makes another way into a volume, beside those that it has, and puts its number into `id`: that of a token if
// `protector` is a vault, otherwise that of a keyslot. `options` may be NULL, and mean nothing for a vault, whose token is
// bound to the context of the tokens that are there. Killed at any instant, the volume has the new way or has not, and
// those before it in any case.
//
// Errors: ATREST_ERR_NO_ROOM when all keyslots or tokens are taken; ATREST_ERR_READ_ONLY; ATREST_ERR_INVALID_OPTION and
// ATREST_ERR_BAD_ENUM for options and passphrases out of bounds; ATREST_ERR_UNSUPPORTED_HEADER for a vault on LUKS1;
// ATREST_ERR_BUSY when another program has changed the header since the volume was opened; what the vault and the device
// answer.
atrest_status atrest_volume_add_protector(atrest_volume *volume, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *id);

// Puts a new passphrase or key file in the place of a keyslot, and the number of the new keyslot into `new_id`. The new
// one is made before the old one is destroyed, so that a free keyslot is needed. It takes over the priority, unless
// `options`, which may be NULL, have another than ATREST_PRIORITY_NORMAL. Killed at any instant, the volume opens by the
// old or the new passphrase, or both.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_INVALID_OPTION for a vault; those of atrest_volume_add_protector.
atrest_status atrest_volume_change_keyslot(atrest_volume *volume, uint32_t id, const atrest_protector *protector,
    const atrest_keyslot_options *options, uint32_t *new_id);

// Takes a keyslot away, and overwrites what was in it. A backup of the header still has it.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase takes the last one too;
// ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY as in atrest_volume_add_protector; what the device answers.
atrest_status atrest_volume_remove_keyslot(atrest_volume *volume, uint32_t id);

// Takes a token away: a vault's, or another program's.
//
// Errors: those of atrest_volume_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
atrest_status atrest_volume_remove_token(atrest_volume *volume, uint32_t id);

// The size of the data in bytes: what can be read and written.
atrest_status atrest_volume_size(const atrest_volume *volume, uint64_t *out);

// The sector size in bytes.
atrest_status atrest_volume_sector_size(const atrest_volume *volume, uint32_t *out);

// Where the data begins on the device, in bytes.
atrest_status atrest_volume_data_offset(const atrest_volume *volume, uint64_t *out);

// How the data is encrypted, in dm-crypt's notation, such as "aes-xts-plain64".
atrest_status atrest_volume_cipher(const atrest_volume *volume, char *cipher, size_t cipher_cap, size_t *cipher_len);

// How many blocks of 16 bytes the volume's key has encrypted: the option `used_blocks`, and what was written since. Compare
// it with ATREST_BLOCKS_DUE, and keep it when the volume is closed.
atrest_status atrest_volume_usage(const atrest_volume *volume, uint64_t *blocks);

// Whether the volume is done by approved algorithms: its cipher, and what it was opened or formatted by. As
// atrest_approval_since_reset.
atrest_status atrest_volume_approval(const atrest_volume *volume, uint32_t *approval, char *text, size_t text_cap,
    size_t *text_len);

// The UUID of the volume, as a text of 36 characters.
atrest_status atrest_volume_uuid(const atrest_volume *volume, char *uuid, size_t uuid_cap, size_t *uuid_len);

// Records the size that the volume has now, where a vault's token says that it had another: after its device was made larger,
// or smaller on purpose (ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED). From then on it opens as it is. The size in bytes goes to
// `size`, which may be NULL.
//
// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY when another program has changed the header since the volume was opened; what
// the device answers.
atrest_status atrest_volume_record_size(atrest_volume *volume, uint64_t *size);

// Which DEK the volume has, in 32 bytes: see atrest_dek_fingerprint. Compare it before the first read or write.
atrest_status atrest_volume_fingerprint(const atrest_volume *volume, uint8_t *fingerprint);

// The DEK of the volume, as a new handle, for those who wrap it elsewhere too.
atrest_status atrest_volume_dek(const atrest_volume *volume, atrest_dek **out);

// Calls `each` with the URL of every key version that can unwrap the volume's DEK. The URL is valid during the
// callback only. `each` returns ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_volume_key_urls(const atrest_volume *volume, atrest_status (*each)(void *user, const char *url),
    void *user);

// ---------------------------------------------------------------------------------------------------------------------
// HEADERS
//
// The header of a volume that is locked: looked at, and changed where no key is needed. What it says is what the disk
// says, which nothing has proven. It may be attached to its data, detached from it, or a backup in a file.
//
// A handle holds what the header said when it was loaded, or changed by this handle. Changes are safe to kill at any
// instant. They are refused with ATREST_ERR_BUSY when somebody else has changed the header meanwhile: load it anew. In the
// same way a volume that is open on the device refuses to change a header that was changed here.

// A header. Freed by atrest_header_free.
typedef struct atrest_header atrest_header;

// Reads the header of a device. Nothing is written.
//
// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_DEVICE_TOO_SMALL;
// what the device answers.
atrest_status atrest_header_load(atrest_device *device, atrest_header **out);

// Frees a header, which stays as it is on the device.
void atrest_header_free(atrest_header *header);

// ATREST_LUKS1 or ATREST_LUKS2.
atrest_status atrest_header_version(const atrest_header *header, uint32_t *out);

// The UUID, as a text of 36 characters as a rule.
atrest_status atrest_header_uuid(const atrest_header *header, char *uuid, size_t uuid_cap, size_t *uuid_len);

// The label, up to 47 bytes in whatever encoding, empty where there is none.
atrest_status atrest_header_label(const atrest_header *header, char *label, size_t label_cap, size_t *label_len);

// The second label, up to 47 bytes in whatever encoding, empty where there is none.
atrest_status atrest_header_subsystem(const atrest_header *header, char *subsystem, size_t subsystem_cap,
    size_t *subsystem_len);

// How often the header was written: its sequence number.
//
// Errors: ATREST_ERR_UNSUPPORTED for LUKS1, which has none.
atrest_status atrest_header_epoch(const atrest_header *header, uint64_t *out);

// How many bytes at the start of the device the header takes with its keyslots: the length of a backup.
atrest_status atrest_header_size(const atrest_header *header, uint64_t *out);

// The size of one copy of the metadata in bytes, of which LUKS2 has two.
atrest_status atrest_header_metadata_size(const atrest_header *header, uint64_t *out);

// The size of the room for keyslots in bytes, which follows the metadata.
atrest_status atrest_header_keyslots_size(const atrest_header *header, uint64_t *out);

// 1 if there is anything for atrest_header_repair to do, otherwise 0.
atrest_status atrest_header_needs_repair(const atrest_header *header, uint32_t *out);

// Does what a killed process or a damaged copy has left to do, as opening the volume does. If there is nothing, nothing is
// written.
//
// Errors: ATREST_ERR_BUSY; ATREST_ERR_FOREIGN_DATA where a copy belongs and something stands that is neither blank nor
// remains of a header; what the device answers.
atrest_status atrest_header_repair(atrest_header *header);

// As atrest_header_repair, whatever stands where a copy of the header belongs. IT IS DESTROYED: it may be a file system
// that somebody made on the device since.
//
// Errors: ATREST_ERR_BUSY; what the device answers.
atrest_status atrest_hazmat_header_repair(atrest_header *header);

// Gives the volume other labels, of up to 47 bytes each. An empty text is none.
//
// Errors: ATREST_ERR_INVALID_OPTION; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no labels, and for a header that
// demands what this library does not know; ATREST_ERR_BUSY; what the device answers.
atrest_status atrest_header_set_label(atrest_header *header, const char *label, const char *subsystem);

// Says when a keyslot is tried: `priority` is ATREST_PRIORITY_*.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no
// priorities; those of atrest_header_set_label.
atrest_status atrest_header_set_priority(atrest_header *header, uint32_t keyslot, uint32_t priority);

// Takes a keyslot away, and overwrites what was in it. A backup of the header still has it.
//
// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase takes the last one too;
// ATREST_ERR_UNSUPPORTED_HEADER for a header that demands what this library does not know; ATREST_ERR_BUSY; what the
// device answers.
atrest_status atrest_header_remove_keyslot(atrest_header *header, uint32_t id);

// Takes a token away: a vault's, or another program's.
//
// Errors: those of atrest_header_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
atrest_status atrest_header_remove_token(atrest_header *header, uint32_t id);

// Puts in a token of another program's type, as JSON, byte for byte, and its number into `id`. A text in it need not be
// UTF-8.
//
// Errors: ATREST_ERR_INVALID_OPTION when it isn't sound, or of the type "atrest"; ATREST_ERR_NO_ROOM;
// ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no tokens; those of atrest_header_set_label.
atrest_status atrest_header_import_token(atrest_header *header, const char *json, uint32_t *id);

// The DEK that a credential gives, as a new handle: proof that it opens the volume, from the header alone, which may be a
// backup. Nothing is written. Of `options`, which may be NULL, the context, what is expected, the keyslot and the limits of
// KDFs count.
//
// Errors: those of atrest_volume_open, but for those of the data's device; ATREST_ERR_BUSY.
atrest_status atrest_header_unlock(const atrest_header *header, const atrest_credential *credential,
    const atrest_open_options *options, atrest_dek **out);

// Destroys every way in: all keyslots, with all that their room may hold, and all tokens. NOBODY GETS AT THE DATA ANY
// MORE, however much there is of it, but who has the DEK itself or a backup of the header.
//
// Errors: ATREST_ERR_BUSY; what the device answers: then it is to be done again.
atrest_status atrest_header_erase(atrest_header *header);

// The header with its keyslots, as bytes that atrest_header_restore and `cryptsetup luksHeaderRestore` take: as many as
// atrest_header_size says.
//
// A backup opens the volume with the credentials of its time, even those that were removed since.
//
// Errors: ATREST_ERR_BUSY; ATREST_ERR_BUFFER_TOO_SHORT; what the device answers.
atrest_status atrest_header_backup(const atrest_header *header, void *backup, size_t backup_cap, size_t *backup_len);

// Writes a backup over the header of a device, of which it must be a backup: with the same UUID, and data in the same
// place. No data is touched. Killed while it is at it, it is to be done again. What opens the volume afterwards is what
// opened it when the backup was made. Handles of the header, and volumes that are open, have to be opened anew.
//
// Errors: ATREST_ERR_NOT_LUKS, ATREST_ERR_INVALID_HEADER, ATREST_ERR_UNSUPPORTED_HEADER and ATREST_ERR_DEVICE_TOO_SMALL
// for the backup or the header that is there; ATREST_ERR_OTHER_HEADER when it is another volume's;
// ATREST_ERR_FOREIGN_DATA, as atrest_header_repair; what the device answers.
atrest_status atrest_header_restore(atrest_device *device, const void *backup, size_t backup_len);

// Writes a backup to the start of a device, WHATEVER IT HOLDS: a damaged header, another volume's, data.
//
// Errors: those of atrest_header_restore, for the backup; ATREST_ERR_DEVICE_TOO_SMALL.
atrest_status atrest_hazmat_header_restore(atrest_device *device, const void *backup, size_t backup_len);

// ---------------------------------------------------------------------------------------------------------------------
// WHAT A HEADER LISTS
//
// Each function here calls `each` with `user` for every entry of a header, by number. What it is given, and what that
// points to, is valid during the callback only. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.

// A keyslot, as the header describes it. What it hasn't is 0 or an empty text.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // ATREST_PRIORITY_*: when it is tried.
    uint32_t priority;
    // "luks2" for a passphrase's, "luks1" in LUKS1, "reencrypt", or what else the header has.
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
    // How its area is encrypted, in dm-crypt's notation.
    const char *cipher;
    // The hash of the anti-forensic splitter.
    const char *af_hash;
    // The stripes of the anti-forensic splitter.
    uint32_t af_stripes;
    // How many digests prove its key.
    uint32_t digests_count;
    // Their numbers.
    const uint32_t *digests;
    // Where its area begins on the device of the header, in bytes.
    uint64_t area_offset;
    // The size of its area in bytes.
    uint64_t area_size;
    // 1 if its key is that of the data, by a digest of it; otherwise 0.
    uint32_t holds_data_key;
} atrest_keyslot_info;

// A token, as the header describes it.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // How many keyslots it is for.
    uint32_t keyslots_count;
    // Their numbers.
    const uint32_t *keyslots;
    // Its type: "atrest" for a vault's.
    const char *kind;
    // For a sound token of a vault, the URL of the key that wraps the DEK; otherwise NULL.
    const char *key_url;
    // All of it, as JSON.
    const char *json;
} atrest_token_info;

// A segment of data, as the header describes it. What it hasn't is 0 or an empty text.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // Its number.
    uint32_t id;
    // The sector size in bytes.
    uint32_t sector_size;
    // Its type: "crypt", "linear" for data that isn't encrypted, or another.
    const char *kind;
    // The cipher in dm-crypt's notation.
    const char *cipher;
    // Where it begins on the device of the data, in bytes.
    uint64_t offset;
    // Its size in bytes. 0 is all that follows.
    uint64_t size;
    // The number of its first sector, in units of 512 bytes.
    uint64_t iv_tweak;
    // Its flags, each ended by a zero byte, the last by two.
    const char *flags;
} atrest_segment_info;

// What proves a key, as the header describes it. What it hasn't is 0 or an empty text.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // Its number; 0 in LUKS1, which has one.
    uint32_t id;
    // The length of the key that it proves in bits, if LUKS1's header, a keyslot or a token says it.
    uint32_t key_bits;
    // Its type: "pbkdf2", or empty for one that isn't known.
    const char *kind;
    // The hash of PBKDF2.
    const char *hash;
    // Iterations of PBKDF2.
    uint32_t iterations;
    // How many keyslots hold its key.
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
    // The numbers of the segments that are encrypted with its key.
    const uint32_t *segments;
    // How many there are. If none, it is another key than the data's.
    uint32_t segments_count;
} atrest_digest_info;

// The keyslots that there are.
atrest_status atrest_header_keyslots(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_keyslot_info *keyslot), void *user);

// The tokens: none in LUKS1.
atrest_status atrest_header_tokens(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_token_info *token), void *user);

// The segments of data.
atrest_status atrest_header_segments(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_segment_info *segment), void *user);

// The digests that prove keys.
atrest_status atrest_header_digests(const atrest_header *header, atrest_status (*each)(void *user,
    const atrest_digest_info *digest), void *user);

// What a reader must know to open the volume; a reencryption that is not finished says so here. This library opens no
// volume that has any.
atrest_status atrest_header_requirements(const atrest_header *header, atrest_status (*each)(void *user,
    const char *requirement), void *user);

// Flags of the header, such as "allow-discards", which a reader need not know.
atrest_status atrest_header_flags(const atrest_header *header, atrest_status (*each)(void *user, const char *flag),
    void *user);

// ---------------------------------------------------------------------------------------------------------------------
// CUSTOMERS' VAULTS
//
// How a disk service reaches the vaults of customers: by a directory, which knows them by their ids. One kind comes with
// the library, a list of vault files; the caller makes any other out of callbacks.

// A directory of vaults. Freed by atrest_vault_directory_free.
typedef struct atrest_vault_directory atrest_vault_directory;

// What a set demands of its vault. The library owns it: describe() fills the members from `soft_delete` on.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // 1 if deleted keys can be recovered for a while, otherwise 0.
    uint32_t soft_delete;
    // 1 if they can't be purged meanwhile, otherwise 0.
    uint32_t purge_protection;
    // Where the vault is.
    char region[ATREST_NAME_SIZE];
    // The tenant that it trusts.
    char tenant[ATREST_NAME_SIZE];
} atrest_vault_description;

// A directory of the caller's. An answer that is out of its bounds is refused with ATREST_ERR_VAULT. Several threads may
// call it at once.
typedef struct {
    // Set by ATREST_VAULT_DIRECTORY_CALLBACKS_INIT.
    size_t struct_size;
    // Handed to every callback. It must stay valid until release() is called.
    void *user;
    // Puts a handle of the vault `vault_id`, which asks it under `identity`, into `out`. The library frees the handle:
    // atrest_vault_as_identity, atrest_vault_clone and atrest_vault_from_callbacks make such a one. It is called each time
    // that a vault is asked, so that it should neither wait for the vault nor derive a key from a passphrase. Returns
    // ATREST_OK; ATREST_ERR_VAULT when there is no such vault; otherwise as wrap() of a vault of callbacks.
    atrest_status (*open_vault)(void *user, const char *vault_id, const char *identity, atrest_vault **out);
    // Fills `description` of the vault `vault_id`. Returns as open_vault().
    atrest_status (*describe)(void *user, const char *vault_id, atrest_vault_description *description);
    // Called once, when the directory and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
} atrest_vault_directory_callbacks;

// The first value of an atrest_vault_directory_callbacks.
#define ATREST_VAULT_DIRECTORY_CALLBACKS_INIT {sizeof(atrest_vault_directory_callbacks), 0, 0, 0, 0}

// Makes a directory of vault files, without any yet.
atrest_status atrest_vault_directory_new(atrest_vault_directory **out);

// Adds a vault file under its own id, also while services use the directory. `vault` is its owner's handle, and goes by
// its clock; each set asks under its own identity, which the vault's owner has to grant access. The vault needs a region and
// a tenant, and purge protection: see atrest_vault_options.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS when one of that id is there; ATREST_ERR_UNSUPPORTED for a vault that isn't the
// owner's handle of a vault file, and for a directory of callbacks.
atrest_status atrest_vault_directory_add(atrest_vault_directory *directory, const atrest_vault *vault);

// Takes a vault out. To the disks under its keys that is an outage, not a revocation: they work until their lease ends, and
// again once it is back.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE when none of that id is there; ATREST_ERR_UNSUPPORTED for a directory of callbacks.
atrest_status atrest_vault_directory_remove(atrest_vault_directory *directory, const char *vault_id);

// Calls `each` with the id of every vault, in order. The text is valid during the callback only. `each` returns ATREST_OK
// to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_UNSUPPORTED for a directory of callbacks.
atrest_status atrest_vault_directory_list(const atrest_vault_directory *directory, atrest_status (*each)(void *user,
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
// A disk service makes a device for each layer of each disk, snapshot and image in a backend. One kind comes with the
// library, a folder; the caller makes any other out of callbacks: a pool of block devices, say, or an object store.

// A backend. Freed by atrest_disk_backend_free.
typedef struct atrest_disk_backend atrest_disk_backend;

// A backend of the caller's. Callbacks return ATREST_OK; ATREST_ERR_BUSY when somebody else holds the device; or any other
// number when they fail, for which the call ends with ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
typedef struct {
    // Set by ATREST_DISK_BACKEND_CALLBACKS_INIT.
    size_t struct_size;
    // Handed to every callback. It must stay valid until release() is called.
    void *user;
    // Makes a device of `size` zero bytes in a region, under an id that was never used before, of 36 characters, and puts
    // a handle of it into `out`. The library frees the handle; a backend that needs one itself gives away that of
    // atrest_device_clone. What is made must last as long as the device is synced: its name, too, must then be on stable
    // storage.
    atrest_status (*create)(void *user, const char *region, const char *id, uint64_t size, atrest_device **out);
    // Puts a handle of a device into `out`, which the library frees.
    atrest_status (*open)(void *user, const char *region, const char *id, atrest_device **out);
    // Removes a device; that there is none is no failure. Who still has it open may go on until it is closed. When it
    // returns, the device must not come back.
    atrest_status (*remove)(void *user, const char *region, const char *id);
    // Called once, when the backend and every disk service that uses it are freed. May be NULL.
    void (*release)(void *user);
} atrest_disk_backend_callbacks;

// The first value of an atrest_disk_backend_callbacks.
#define ATREST_DISK_BACKEND_CALLBACKS_INIT {sizeof(atrest_disk_backend_callbacks), 0, 0, 0, 0, 0}

// Makes a backend of files in one folder, whatever region they are in. The folder must be there.
atrest_status atrest_disk_backend_folder(const char *path, atrest_disk_backend **out);

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
// Managed disks: what a program that offers disks to others embeds. A service keeps encryption sets, disks, snapshots and
// images. A disk is under the platform's key, under the customer's key that its set names, or under both in two layers.
// It holds its key for a lease: when the key is disabled, deleted or expired, or access to it revoked, I/O fails with
// ATREST_ERR_DISK_SUSPENDED, the DEK is wiped, and all works again once access is back.
//
// What the rules of managed disks forbid is refused with ATREST_ERR_NOT_ALLOWED. The message says what to do instead,
// and atrest_last_rule() which rule it is.
//
// The service does nothing by itself: call atrest_disk_service_maintain about once a minute, and
// atrest_disk_service_auto_rotate every few minutes, each from a thread of its own.
//
// RECORDS      What is made is named by kind and name, and asked for by them: what a program decides by is in a struct
//              (atrest_set_info, atrest_resource_info), and the whole record in a JSON text, for logs and interfaces. The
//              text is what Rust's to_json() gives. Later versions may add members to it.
// LISTS        A list calls `each` for every entry. So nobody has to know before how long it is, and no vault is asked a
//              second time for the sake of a buffer that was too short.

// A disk service. Freed by atrest_disk_service_free.
typedef struct atrest_disk_service atrest_disk_service;

// What a service is set up with. It keeps what it needs of the handles, so they may be freed.
typedef struct {
    // Set by ATREST_DISK_SERVICE_OPTIONS_INIT.
    size_t struct_size;
    // Where disks lie.
    const atrest_disk_backend *backend;
    // How the vaults of customers are reached. NULL if there are none.
    const atrest_vault_directory *vaults;
    // The vault of the platform's keys. The service needs get, wrapKey and unwrapKey.
    const atrest_vault *platform;
    // The name of the platform's key in it.
    const char *platform_key;
    // Where time comes from. NULL is the operating system's clock.
    const atrest_clock *clock;
    // When I/O fails at the latest after a key was disabled, deleted or expired, or access to it revoked. 0 is 3600.
    uint64_t grace_seconds;
    // How long after an answer a vault is asked again; shorter than the grace, so that a vault which is away for a moment
    // does no harm. 0 is 900.
    uint64_t interval_seconds;
    // For how long I/O goes on since a vault last answered, while it doesn't answer. A revocation that can't be asked for
    // meanwhile is late by as much. 0: as if the key had been revoked then, the grace.
    uint64_t outage_seconds;
    // How often atrest_disk_service_auto_rotate asks a vault for a newer version of a set's key; with the time that the
    // rotation takes, it should stay below an hour. 0 is 900.
    uint64_t rotation_interval_seconds;
    // How many calls of a vault are in flight at most, in one rotation or one round of atrest_disk_service_maintain. 0 is 8.
    size_t parallel;
    // How long a call of a vault may take. One that takes longer is given up, and counts as an outage. 0 is 30.
    uint64_t deadline_seconds;
    // 1 to refuse disks with ATREST_ERR_MEMORY_NOT_LOCKED where the system doesn't let the memory of secrets be locked, so
    // that they could be swapped (atrest_memory_protection); otherwise 0.
    uint32_t require_locked_memory;
    // 0.
    uint32_t reserved;
} atrest_disk_service_options;

// The first value of an atrest_disk_service_options.
#define ATREST_DISK_SERVICE_OPTIONS_INIT {sizeof(atrest_disk_service_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Told how far something long is: of a copy, bytes; of a rotation, disks, snapshots and images. It may be called from
// several threads at once, which wait for it.
typedef void (*atrest_progress)(void *user, uint64_t done, uint64_t total);

// What became of a set that was due for a rotation. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The name of the set.
    const char *set;
    // The key that all in the set are under now. NULL if the rotation failed.
    const char *key_url;
    // How many were put under it.
    uint64_t rewrapped;
    // Why the rotation failed, as atrest_last_error_message would say it. NULL if it did not.
    const char *message;
    // ATREST_OK, or what atrest_disk_service_rotate_set would have returned.
    atrest_status status;
    // 0.
    uint32_t reserved;
} atrest_rotated;

// A set whose active key expires soon. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // The name of the set.
    const char *set;
    // Its active key.
    const char *key_url;
    // When that expires, or has expired.
    uint64_t expires;
    // 1 if a newer version would be taken up by itself, once there is one; otherwise 0.
    uint32_t auto_rotation;
    // 0.
    uint32_t reserved;
} atrest_expiring_key;

// Opens the store of a service, a file, or makes it. One process at a time has it open, until the service and all its
// disks are freed. What was being made or removed when the last process ended is removed; what can't be removed now is
// tried again at the next start.
//
// Errors: ATREST_ERR_BUSY while the store is open already; ATREST_ERR_NULL_ARGUMENT, also for the options `backend`,
// `platform` and `platform_key`; ATREST_ERR_INVALID_OPTION unless the interval is shorter than the grace, and the grace 30
// days at most; ATREST_ERR_IO.
atrest_status atrest_disk_service_open(const char *store, const atrest_disk_service_options *options,
    atrest_disk_service **out);

// Frees a service. Its disks stay open, and with them the store.
void atrest_disk_service_free(atrest_disk_service *service);

// Asks the vaults that it is time to ask, and wipes the DEKs of disks whose keys may not be used. Reads and writes do it
// too for their own disk; but a disk that nobody reads keeps its DEK in memory until this is called.
atrest_status atrest_disk_service_maintain(const atrest_disk_service *service);

// Finishes what was put into a set and isn't under its key yet, rotates the sets with auto-rotation whose vault has a newer
// version of the key, goes on with rotations that were killed, and returns when they are done. Then it calls `each` for
// every set that was due. A failed rotation is not tried again until atrest_disk_service_clear_rotation_error; a vault that
// could not be asked is asked again at the next interval.
//
// `progress` may be NULL; both get `user`. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_auto_rotate(const atrest_disk_service *service, atrest_progress progress,
    atrest_status (*each)(void *user, const atrest_rotated *rotated), void *user);

// Calls `each` for every set whose active key expires within a time, or has expired. Every set's vault is asked; one that
// doesn't answer, or doesn't describe its keys, is left out. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
//
// Errors: ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_expiring_keys(const atrest_disk_service *service, uint64_t within_seconds,
    atrest_status (*each)(void *user, const atrest_expiring_key *key), void *user);

// ---------------------------------------------------------------------------------------------------------------------
// ENCRYPTION SETS
//
// A set is the key, identity and kind of encryption that many disks share. It asks its vault under an identity of its own,
// which is made with it: the vault's owner has to grant that one get, wrapKey and unwrapKey (atrest_vault_grant) before
// the first disk can be made in it. The names of sets, regions and subscriptions consist of 1 to 127 letters, digits, '-',
// '_' and '.', and don't begin with '.'.
//
// Every function here that names a set fails with ATREST_ERR_NO_SUCH_RESOURCE if there is none of that name.

// A buffer of this many bytes has room for the identity of any set, and its zero byte.
#define ATREST_IDENTITY_SIZE 257

// A set that is to be made.
typedef struct {
    // Set by ATREST_NEW_SET_INIT.
    size_t struct_size;
    // A name that no other set has.
    const char *name;
    // Where it is; its vault and its disks are there too.
    const char *region;
    // Whose it is; its disks are theirs too.
    const char *subscription;
    // The tenant that its identity shall belong to, and that its vault trusts.
    const char *tenant;
    // The URL of the version of the key.
    const char *key_url;
    // ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS. 0 is ATREST_CUSTOMER_KEY.
    uint32_t encryption_type;
    // 1 if newer versions of the key are taken up as they come, by atrest_disk_service_auto_rotate.
    uint32_t auto_rotation;
} atrest_new_set;

// The first value of an atrest_new_set.
#define ATREST_NEW_SET_INIT {sizeof(atrest_new_set), 0, 0, 0, 0, 0, 0, 0}

// What a program decides by of a set.
typedef struct {
    // Set by ATREST_SET_INFO_INIT.
    size_t struct_size;
    // ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS.
    uint32_t encryption_type;
    // 1 if newer versions of the key are taken up as they come, otherwise 0.
    uint32_t auto_rotation;
    // When it was made.
    uint64_t created;
    // When the last rotation ended; 0 if there was none.
    uint64_t last_key_rotation_timestamp;
    // How many keys, besides the active one, disks may still be under: some while a rotation is in progress, otherwise
    // none. They must stay enabled. Their URLs are in the record.
    uint64_t previous_keys;
    // The identity under which it asks its vault.
    char identity[ATREST_IDENTITY_SIZE];
    // The URL of the key that its disks are under, or will be when the rotation that is in progress has ended.
    char active_key[ATREST_KEY_URL_SIZE];
    // What stopped a rotation, such as "KeyDisabled"; empty if nothing did. What it stopped at, and a text for people, are in
    // the record.
    char rotation_error[ATREST_NAME_SIZE];
} atrest_set_info;

// The first value of an atrest_set_info.
#define ATREST_SET_INFO_INIT {sizeof(atrest_set_info), 0, 0, 0, 0, 0, {0}, {0}, {0}}

// Makes a set.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME, also for a text that is no URL of a version;
// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection, and for
// ATREST_PLATFORM_KEY, which takes no set; ATREST_ERR_BAD_ENUM; what the directory of vaults answers.
atrest_status atrest_disk_service_create_set(const atrest_disk_service *service, const atrest_new_set *set);

// What a program decides by of a set, in `out`, which starts from ATREST_SET_INFO_INIT.
atrest_status atrest_disk_service_describe_set(const atrest_disk_service *service, const char *set,
    atrest_set_info *out);

// The whole record of a set, in JSON.
atrest_status atrest_disk_service_describe_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);

// Calls `each` with the name of every set, in order. `each` returns ATREST_OK to go on; anything else ends the list with
// ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_encryption_sets(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *set), void *user);

// Calls `each` with the kind (ATREST_RESOURCE_*) and name of everything that is in a set, in order. `each` returns
// ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_members(const atrest_disk_service *service, const char *set,
    atrest_status (*each)(void *user, uint32_t kind, const char *name), void *user);

// Puts every disk, snapshot and image of a set under the latest version of its key. A rotation that was stopped, or killed,
// goes on. No sector is read or written, and disks stay in use. THE OLD VERSIONS MUST STAY ENABLED UNTIL THIS RETURNS.
//
// `progress` may be NULL. How many were put under the key goes to `rewrapped`, which may be NULL; the others were already.
//
// Errors: ATREST_ERR_NOT_ALLOWED while an error of an earlier rotation isn't cleared; what the vault and the devices
// answer. What stops a rotation that has begun is noted in the set; what keeps it from beginning, such as a key that may not
// be used, is not.
atrest_status atrest_disk_service_rotate_set(const atrest_disk_service *service, const char *set,
    atrest_progress progress, void *user, uint64_t *rewrapped);

// Puts a set, and all that is in it, under another key, perhaps of another vault. Otherwise as
// atrest_disk_service_rotate_set.
//
// It is what to do when the key has expired. A key that is disabled or deleted, or may not be used any more, has to be
// made usable again until this has returned: without it nobody, this service included, has the DEKs.
//
// Errors: those of atrest_disk_service_rotate_set; ATREST_ERR_INVALID_NAME for a text that is no URL of a version;
// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection.
atrest_status atrest_disk_service_change_key(const atrest_disk_service *service, const char *set, const char *key_url,
    atrest_progress progress, void *user, uint64_t *rewrapped);

// Puts all that is under a key of the platform under the latest version of that key: disks, snapshots and images that are in
// no set, and the lower layers of those that have two. Otherwise as atrest_disk_service_rotate_set, but that no error has to
// be cleared: calling it again goes on. No customer's vault is asked. THE OLD VERSIONS MUST STAY ENABLED UNTIL THIS RETURNS.
//
// Errors: what the vault and the devices answer; it is noted in the report.
atrest_status atrest_disk_service_rotate_platform(const atrest_disk_service *service, atrest_progress progress,
    void *user, uint64_t *rewrapped);

// Clears what stopped a rotation, so that it may be tried again.
atrest_status atrest_disk_service_clear_rotation_error(const atrest_disk_service *service, const char *set);

// Says whether newer versions of a set's key are taken up as they come: 1 or 0.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_disk_service_set_auto_rotation(const atrest_disk_service *service, const char *set, uint32_t on);

// Moves a set to another tenant, as happens when its subscription is transferred: it loses its identity, and so the key. It
// gets a new identity, under which all works again once the vault's owner has granted that one access, be it in the vault of
// the former tenant, which moves later or not at all. A new key must be in a vault of the new one.
atrest_status atrest_disk_service_move_set_to_tenant(const atrest_disk_service *service, const char *set,
    const char *tenant);

// Removes a set.
//
// Errors: ATREST_ERR_NOT_ALLOWED while it has disks, snapshots or images.
atrest_status atrest_disk_service_delete_set(const atrest_disk_service *service, const char *set);

// ---------------------------------------------------------------------------------------------------------------------
// DISKS, SNAPSHOTS AND IMAGES
//
// A disk is written; a snapshot is what a disk held at one instant; an image is a copy of some disks, in one region or in
// several. Each has a DEK of its own. One of them is named by its kind, ATREST_RESOURCE_*, and its name, which is unique
// among those of its kind: 1 to 127 letters, digits, '-', '_' and '.', of which the first isn't '.'. The name of an image's
// copy is IMAGE/REGION/NUMBER, where the number is the disk's in the image, from 0.
//
// Every function here that names something fails with ATREST_ERR_NO_SUCH_RESOURCE if there is none of that name, and with
// ATREST_ERR_BAD_ENUM for a kind that isn't known.

// A disk.
#define ATREST_RESOURCE_DISK 1

// A snapshot.
#define ATREST_RESOURCE_SNAPSHOT 2

// A copy of an image's disk.
#define ATREST_RESOURCE_IMAGE 3

// A buffer of this many bytes has room for the id of a disk, snapshot or image, and its zero byte.
#define ATREST_ID_SIZE 37

// A disk that is to be made.
typedef struct {
    // Set by ATREST_NEW_DISK_INIT.
    size_t struct_size;
    // A name that no other disk has.
    const char *name;
    // Where it is.
    const char *region;
    // Whose it is.
    const char *subscription;
    // The set whose key shall protect it. NULL for the platform's key.
    const char *set;
    // The size of its data in bytes, a multiple of the sector size, up to 64 TiB. Left 0 for a copy, which has that of its
    // source.
    uint64_t size;
    // 512 or 4096 bytes. 0 is 512. Left 0 for a copy.
    uint32_t sector_size;
    // 0.
    uint32_t reserved;
} atrest_new_disk;

// The first value of an atrest_new_disk.
#define ATREST_NEW_DISK_INIT {sizeof(atrest_new_disk), 0, 0, 0, 0, 0, 0, 0}

// A snapshot that is to be made.
typedef struct {
    // Set by ATREST_NEW_SNAPSHOT_INIT.
    size_t struct_size;
    // A name that no other snapshot has.
    const char *name;
    // The name of the disk.
    const char *disk;
    // The set whose key shall protect it. NULL for the disk's set, or the platform's key if the disk has none. An incremental
    // snapshot shares the disk's.
    const char *set;
    // 1 if it shall hold only what differs from the last incremental snapshot of the disk; the first one holds all.
    uint32_t incremental;
    // 0.
    uint32_t reserved;
} atrest_new_snapshot;

// The first value of an atrest_new_snapshot.
#define ATREST_NEW_SNAPSHOT_INIT {sizeof(atrest_new_snapshot), 0, 0, 0, 0, 0}

// An image that is to be made.
typedef struct {
    // Set by ATREST_NEW_IMAGE_INIT.
    size_t struct_size;
    // A name that no other image has.
    const char *name;
    // The names of the disks that it is made of.
    const char *const *disks;
    // How many there are.
    size_t disks_count;
    // The regions that it shall be in.
    const char *const *regions;
    // How many there are.
    size_t regions_count;
    // For each region, and in it for each disk, the set of that region whose key shall protect the copy, or NULL for the
    // platform's key: that of disk `d` in region `r` is `sets[r * disks_count + d]`. NULL for the platform's key everywhere.
    const char *const *sets;
    // How many there are: as many as disks times regions.
    size_t sets_count;
} atrest_new_image;

// The first value of an atrest_new_image.
#define ATREST_NEW_IMAGE_INIT {sizeof(atrest_new_image), 0, 0, 0, 0, 0, 0, 0}

// What a program decides by of a disk, snapshot, or copy of an image's disk.
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
    // 1 while it is being put into its set and not yet under its key for sure, otherwise 0.
    uint32_t joining;
    // 1 if what it holds was ever encrypted in the guest, otherwise 0.
    uint32_t guest_encrypted;
    // 1 for an incremental snapshot, otherwise 0.
    uint32_t incremental;
    // When it was made.
    uint64_t created;
    // A UUID that is never used again: the name of its device in the backend.
    char id[ATREST_ID_SIZE];
    // The set that it is in; empty if the platform's key alone protects it.
    char set[ATREST_NAME_SIZE];
} atrest_resource_info;

// The first value of an atrest_resource_info.
#define ATREST_RESOURCE_INFO_INIT {sizeof(atrest_resource_info), 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}}

// Makes a disk with a new DEK, under its set's key or the platform's. Until it is written, it reads as noise.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another region or
// subscription; ATREST_ERR_INVALID_OPTION for the size; ATREST_ERR_SECTOR_SIZE; what the vault and the backend answer. On
// failure nothing is left behind.
atrest_status atrest_disk_service_create_disk(const atrest_disk_service *service, const atrest_new_disk *disk);

// Makes a disk that holds what a disk, a snapshot or an image's copy holds, with a new DEK. A disk that is written meanwhile
// is copied as it was when this began. It is the way out of a set: nothing else brings data from under a customer's key
// under the platform's. `progress` may be NULL.
//
// Errors: those of atrest_disk_service_create_disk; ATREST_ERR_INVALID_OPTION for a size that isn't 0;
// ATREST_ERR_DISK_SUSPENDED while the source's key may not be used.
atrest_status atrest_disk_service_create_disk_from(const atrest_disk_service *service, uint32_t source_kind,
    const char *source_name, const atrest_new_disk *disk, atrest_progress progress, void *user);

// Makes a snapshot: what the disk holds at this instant, also while it is written, under a DEK of its own. An incremental
// one takes room for what differs from the one before, where the backend keeps devices sparse. `progress` may be NULL.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another place, or for
// another set than the disk's of an incremental one; ATREST_ERR_DISK_SUSPENDED while the disk's key may not be used; what
// the vault and the backend answer. On failure nothing is left behind.
atrest_status atrest_disk_service_create_snapshot(const atrest_disk_service *service,
    const atrest_new_snapshot *snapshot, atrest_progress progress, void *user);

// Makes an image: of each disk a copy in each region, with a DEK of its own, all of what the disk held at one instant.
// `progress`, which may be NULL, is told of one copy after the other.
//
// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_INVALID_OPTION without a disk or a region;
// ATREST_ERR_NOT_ALLOWED unless there is one set for each region and disk, in that region, and for a copy under the
// platform's key of a disk under a customer's; otherwise as atrest_disk_service_create_snapshot.
atrest_status atrest_disk_service_create_image(const atrest_disk_service *service, const atrest_new_image *image,
    atrest_progress progress, void *user);

// What a program decides by of a disk, snapshot, or copy of an image's disk, in `out`, which starts from
// ATREST_RESOURCE_INFO_INIT.
atrest_status atrest_disk_service_describe(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_resource_info *out);

// The whole record of a disk, snapshot, or copy of an image's disk, in JSON.
atrest_status atrest_disk_service_describe_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);

// Calls `each` with the name of every disk, snapshot, or copy of an image's disk, in order. The text is valid during the
// callback only. `each` returns ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_service_list(const atrest_disk_service *service, uint32_t kind,
    atrest_status (*each)(void *user, const char *name), void *user);

// Calls `each` with the name of every copy that an image is made of, in order of the regions and of the numbers: the
// copies are ATREST_RESOURCE_IMAGE. Otherwise as atrest_disk_service_list.
atrest_status atrest_disk_service_list_image(const atrest_disk_service *service, const char *image,
    atrest_status (*each)(void *user, const char *name), void *user);

// Puts a disk or snapshot into a set: from under the platform's key under a customer's, or from under the key of another
// set. A disk and its incremental snapshots go together. No sector is touched, and it stays open. Killed at any instant, it
// is finished at the next use. Nothing takes it out of its set again: to leave the customer's key, copy the data to a new
// disk without a set, by atrest_disk_service_create_disk_from.
//
// Errors: ATREST_ERR_NOT_ALLOWED for a set in another place, of a kind that the disk can't become in place, or for what was
// ever encrypted in the guest; what the vault and the devices answer.
atrest_status atrest_disk_service_put_into_set(const atrest_disk_service *service, uint32_t kind, const char *name,
    const char *set);

// Notes that a disk's data is encrypted in the guest. That can't be taken back, and its copies, snapshots and images are
// known for it too.
//
// Errors: ATREST_ERR_NOT_ALLOWED for one that is under a customer's key.
atrest_status atrest_disk_service_mark_guest_encrypted(const atrest_disk_service *service, const char *disk);

// Moves a disk or snapshot to another subscription. A disk and its incremental snapshots go together, and so do all copies
// of an image.
//
// Errors: ATREST_ERR_NOT_ALLOWED for what is under a customer's key; ATREST_ERR_INVALID_NAME.
atrest_status atrest_disk_service_move_to_subscription(const atrest_disk_service *service, uint32_t kind,
    const char *name, const char *subscription);

// Removes a disk or a snapshot, and what it holds. What an incremental snapshot holds and later ones need goes over to the
// next of them, whose data is copied for it; that needs their key.
//
// Errors: ATREST_ERR_BUSY while somebody has the disk open, or a copy is made of the snapshot; ATREST_ERR_NOT_ALLOWED for
// one of an image's copies; for an incremental snapshot that has a later one, ATREST_ERR_DISK_SUSPENDED and what the vault
// answers; what the backend answers.
atrest_status atrest_disk_service_delete(const atrest_disk_service *service, uint32_t kind, const char *name);

// Removes an image, all copies of it.
//
// Errors: ATREST_ERR_BUSY while a copy of it is made; what the backend answers, after which the image is gone, and what is
// left of its copies is removed when the service is opened next.
atrest_status atrest_disk_service_delete_image(const atrest_disk_service *service, const char *image);

// ---------------------------------------------------------------------------------------------------------------------
// OPEN DISKS
//
// A managed disk that is open. All who have one open share it, and so the calls of its vault. Nothing of it is in memory in
// the clear but the sectors that are asked for, and the DEK while the disk's key may be used.

// An open disk. Freed by atrest_disk_free.
typedef struct atrest_disk atrest_disk;

// Opens a disk.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_DISK_SUSPENDED while its key may not be used; what the vault and the
// device answer.
atrest_status atrest_disk_service_open_disk(const atrest_disk_service *service, const char *name, atrest_disk **out);

// Frees an open disk. IT DOES NOT SYNC: call atrest_disk_sync first, or what was written last may not be on the disk. It may
// outlive its service, whose store stays open as long.
void atrest_disk_free(atrest_disk *disk);

// Reads and decrypts `len` bytes at `offset`. Both are multiples of the sector size. What was never written reads as noise.
// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED it isn't defined what `sectors` holds.
//
// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS;
// ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_read_at(const atrest_disk *disk, uint64_t offset, void *sectors, size_t len);

// Encrypts and writes `len` bytes at `offset`. Both are multiples of the sector size. After ATREST_ERR_IO and
// ATREST_ERR_CALLBACK_FAILED a part may have been written.
//
// Errors: those of atrest_disk_read_at.
atrest_status atrest_disk_write_at(atrest_disk *disk, uint64_t offset, const void *sectors, size_t len);

// Returns when all that was written is on stable storage. If it fails, what was written since the last time may be lost.
//
// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
atrest_status atrest_disk_sync(atrest_disk *disk);

// The name of the disk.
atrest_status atrest_disk_name(const atrest_disk *disk, char *name, size_t name_cap, size_t *name_len);

// The size of the data in bytes: what can be read and written.
atrest_status atrest_disk_size(const atrest_disk *disk, uint64_t *out);

// The sector size in bytes.
atrest_status atrest_disk_sector_size(const atrest_disk *disk, uint32_t *out);

// 1 if its key may not be used, as far as is known without asking, otherwise 0. A machine one of whose disks says so after
// atrest_disk_service_maintain is to be shut down.
atrest_status atrest_disk_is_suspended(const atrest_disk *disk, uint32_t *out);

// ---------------------------------------------------------------------------------------------------------------------
// REPORTS
//
// What protects a disk, and whether what it is configured for is finished. Headers are read for it; no vault of a customer
// is asked.
//
// The capability table compares the ways of encrypting a disk: what each gives, in Azure's words, and what of that this
// library doesn't do.

// It was proved to be under the key that it is configured for, and its header names no other.
#define ATREST_PROTECTION_FINISHED 1

// It was put into its set, and is still under the key that it was under before.
#define ATREST_PROTECTION_JOINING 2

// Its set, or the platform, is being rotated, and it is still under an older key.
#define ATREST_PROTECTION_ROTATING 3

// What it is under was not proved yet: an earlier version made it. Open it, or rotate.
#define ATREST_PROTECTION_UNPROVEN 4

// Its header names another key than the one that it was proved to be under: an older header was put back, or the name was
// edited. Put the newest header back, or rotate.
#define ATREST_PROTECTION_HEADER_CHANGED 5

// It was proved to be under a version of its key that the store has never known: the store was put back to an older state,
// perhaps. Put the newest store back, or rotate, which takes the version up.
#define ATREST_PROTECTION_STORE_OUTDATED 6

// Its header can't be read, or what is below it can't be opened; the report in JSON says why.
#define ATREST_PROTECTION_HEADER_UNREADABLE 7

// Nobody has it open.
#define ATREST_ACCESS_CLOSED 1

// It is open, and its key may be used.
#define ATREST_ACCESS_USABLE 2

// It is open, and I/O fails until its key may be used again.
#define ATREST_ACCESS_SUSPENDED 3

// What a program decides by of a report.
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

// What a program decides by of the report of a set.
typedef struct {
    // Set by ATREST_SET_REPORT_INIT.
    size_t struct_size;
    // How many disks, snapshots and copies of images' disks were proved to be under the active key, and have headers that
    // say so.
    uint64_t done;
    // How many there are.
    uint64_t total;
    // 1 if that is all, and no rotation is in progress; otherwise 0.
    uint32_t finished;
    // 0.
    uint32_t reserved;
} atrest_set_report;

// The first value of an atrest_set_report.
#define ATREST_SET_REPORT_INIT {sizeof(atrest_set_report), 0, 0, 0, 0}

// Whether a disk, snapshot, or copy of an image's disk is under the key that it is configured for, in `out`, which starts
// from ATREST_REPORT_INIT.
//
// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BAD_ENUM; ATREST_ERR_IO from the store.
atrest_status atrest_disk_service_report(const atrest_disk_service *service, uint32_t kind, const char *name,
    atrest_report *out);

// The whole report of a disk, snapshot, or copy of an image's disk, in JSON: its record, the keys that its header names, and
// the rows of the capability table that apply to it.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_json(const atrest_disk_service *service, uint32_t kind, const char *name,
    char *json, size_t json_cap, size_t *json_len);

// How much of what is in a set is under its active key, in `out`, which starts from ATREST_SET_REPORT_INIT.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_set(const atrest_disk_service *service, const char *set,
    atrest_set_report *out);

// How much of what the platform's keys protect is under the active one, in `out`, which starts from ATREST_SET_REPORT_INIT:
// what is in no set, and the lower layers of what has two. What it comes to is told as of a set.
//
// Errors: ATREST_ERR_IO.
atrest_status atrest_disk_service_report_platform(const atrest_disk_service *service, atrest_set_report *out);

// The whole report of the platform's keys, in JSON: which they are, and the names of what isn't under the active one yet.
//
// Errors: ATREST_ERR_IO.
atrest_status atrest_disk_service_report_platform_json(const atrest_disk_service *service, char *json, size_t json_cap,
    size_t *json_len);

// The whole report of a set, in JSON: its record, and the names of what isn't under its active key yet.
//
// Errors: those of atrest_disk_service_report.
atrest_status atrest_disk_service_report_set_json(const atrest_disk_service *service, const char *set, char *json,
    size_t json_cap, size_t *json_len);

// The capability table in JSON: the rows that apply to a disk of `encryption_type`, ATREST_*_KEY or _KEYS, which the guest
// encrypts too if `in_guest` is 1; or, for 0 and 0, the whole table.
//
// Errors: ATREST_ERR_BAD_ENUM.
atrest_status atrest_capability_table_json(uint32_t encryption_type, uint32_t in_guest, char *json, size_t json_cap,
    size_t *json_len);

// The capability table as a text of lines, in ASCII: a grid, and what there is to say of its cells. Otherwise as
// atrest_capability_table_json.
atrest_status atrest_capability_table_text(uint32_t encryption_type, uint32_t in_guest, char *text, size_t text_cap,
    size_t *text_len);

// ---------------------------------------------------------------------------------------------------------------------
// CARE OF A STORE
//
// A service's store says whose its disks are; the disks themselves hold their data and their keys. So a store is backed up
// while it is used, looked through, and rebuilt from the disks when it is lost or damaged.

// Restored: an old store has a record of it, and its device was opened by its key and fits.
#define ATREST_REBUILT_RESTORED 1

// A disk of which only its header tells: it is in the new store under its id. Its name, whether it was a snapshot or an
// image's copy, and what it was copied from, are lost.
#define ATREST_REBUILT_NAMED_BY_ID 2

// A device that is not in the new store; `reason` says why.
#define ATREST_REBUILT_UNPROVEN 3

// An old store has a record of it, and no device was given. It is not in the new store.
#define ATREST_REBUILT_MISSING 4

// What a look at a whole store found.
typedef struct {
    // Set by ATREST_STORE_CHECK_INIT.
    size_t struct_size;
    // How many changes were ever made to it. A store with fewer than it once had was put back to an earlier state: keep the
    // number elsewhere to tell. 0 if that can't be read.
    uint64_t changes;
    // How many sets it has; of a store that doesn't open, of how many a record can be read.
    uint64_t sets;
    // How many disks, snapshots, and copies of images' disks it has, likewise.
    uint64_t resources;
    // How many things are wrong. 0 if the store is sound.
    uint64_t defects;
} atrest_store_check;

// The first value of an atrest_store_check.
#define ATREST_STORE_CHECK_INIT {sizeof(atrest_store_check), 0, 0, 0, 0}

// What a store is rebuilt from.
typedef struct {
    // Set by ATREST_REBUILD_SOURCES_INIT.
    size_t struct_size;
    // The ids of the devices: UUIDs, the names that the backend has them under.
    const char *const *ids;
    // How many there are.
    size_t ids_count;
    // The region of each of them.
    const char *const *regions;
    // How many there are: as many as ids.
    size_t regions_count;
    // Paths of old stores: the damaged one, backups, or a new one in which only the sets were made. Of those that open, the
    // first that knows a resource counts, and before those that don't.
    const char *const *stores;
    // How many there are.
    size_t stores_count;
    // Whose the disks under the platform's key are that no old store knows. NULL: they are ATREST_REBUILT_UNPROVEN.
    const char *subscription;
} atrest_rebuild_sources;

// The first value of an atrest_rebuild_sources.
#define ATREST_REBUILD_SOURCES_INIT {sizeof(atrest_rebuild_sources), 0, 0, 0, 0, 0, 0, 0}

// What became of a device or a record. It and its texts are valid during the callback only.
typedef struct {
    // The size of this struct in the library that runs.
    size_t struct_size;
    // ATREST_REBUILT_*.
    uint32_t outcome;
    // ATREST_RESOURCE_*; 0 for ATREST_REBUILT_UNPROVEN.
    uint32_t kind;
    // The resource's name, or the device's id for ATREST_REBUILT_UNPROVEN.
    const char *name;
    // Where the device is, for ATREST_REBUILT_UNPROVEN; else NULL.
    const char *region;
    // Why it is not in the new store, for ATREST_REBUILT_UNPROVEN; else NULL.
    const char *reason;
} atrest_rebuilt;

// Writes a backup of a service's store to a new file: all sets and resources as they are at one instant, while the service
// goes on. It is a store by itself: put in the place of a lost one, it opens. It is made for its owner only (0600), under
// another name at first, and has its own once it is whole, on the disk, and was looked through.
//
// Errors: ATREST_ERR_IO, also if there is something of this name; then nothing of the backup stays.
atrest_status atrest_disk_service_backup(const atrest_disk_service *service, const char *path);

// Looks at all that is in a service's store, while the service goes on. Calls `each`, which may be NULL, with every defect,
// a text for people that is valid during the callback only: each damaged or missing record that can be named. `each` returns
// ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED. `out` starts from
// ATREST_STORE_CHECK_INIT.
//
// Errors: ATREST_ERR_IO where the store can't be read on. A defect is none.
atrest_status atrest_disk_service_check(const atrest_disk_service *service, atrest_status (*each)(void *user,
    const char *defect), void *user, atrest_store_check *out);

// Looks at all that is in a store that no service has open. It needn't be one that opens, and is not changed. Otherwise as
// atrest_disk_service_check.
//
// Errors: ATREST_ERR_BUSY while a service has the store open; ATREST_ERR_IO where it can't be read at all. A defect is none.
atrest_status atrest_store_check_file(const char *path, atrest_status (*each)(void *user, const char *defect),
    void *user, atrest_store_check *out);

// Makes a new store at `path`, where nothing may be yet, from disks and what old stores say of them. Nothing but that file
// is written. Each device is opened by the key that its header names: the vault's unwrap proves the DEK, and the DEK the
// header. A record of an old store is taken if it is of that id, DEK, size and type. The options are those that the service
// is then opened with; vaults are asked under the identities of the sets that the old stores know.
//
// Then it calls `each`, which may be NULL, with what became of every device and record. `each` returns ATREST_OK to go on;
// anything else ends the list with ATREST_ERR_CALLBACK_FAILED, after the store was made.
//
// Errors: ATREST_ERR_IO if there is something at `path`, or an old store can't be read at all; ATREST_ERR_BUSY while one is
// open; ATREST_ERR_INVALID_OPTION unless there are as many regions as ids.
atrest_status atrest_store_rebuild(const char *path, const atrest_disk_service_options *options,
    const atrest_rebuild_sources *sources, atrest_status (*each)(void *user, const atrest_rebuilt *rebuilt),
    void *user);

#ifdef __cplusplus
}
#endif

#endif
