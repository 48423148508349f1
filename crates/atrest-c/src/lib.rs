//! atrest.h - encryption at rest that a storage stack links
//!
//! An AES-XTS sector engine; data encryption keys (DEKs), wrapped under key-encryption keys (KEKs) that live in a
//! vault; volumes that are LUKS2 or LUKS1 on disk, or BitLocker. No root, no kernel module, no daemon. Link with -latrest.
//!
//! Rules for every function here, unless its own comment says otherwise:
//!
//! RESULT       A function returns an atrest_status: ATREST_OK (0) or the kind of failure. atrest_last_error_message()
//!              has the details. A call leaves errno, the locale and the signal settings unchanged.
//! OUTPUTS      Inputs come first, then outputs. An output is written if the function returns ATREST_OK, and left alone
//!              otherwise. There is one exception: the length of a buffer that is too short.
//! BUFFERS      An output of bytes is a triple: the buffer, its capacity, and a pointer to the length. On success the
//!              length is the number of bytes written. On ATREST_ERR_BUFFER_TOO_SHORT it is the number of bytes needed;
//!              so a NULL buffer of capacity 0 asks for the length. A NULL input of length 0 is empty.
//! TEXT         An input text is UTF-8 and ends with a zero byte. An output text is a triple as above, and gets a zero
//!              byte at its end: its length doesn't count that byte, its capacity must. The length may be NULL. A path
//!              is any path of the operating system, in UTF-8 on Windows.
//! HANDLES      Handles are opaque. The caller must free each handle that it gets from an output, with the function of
//!              its type; NULL is fine there. A handle that depends on another keeps what it needs of it, so free them
//!              in any order. A handle of the wrong type, or one that was freed not long ago, is refused with
//!              ATREST_ERR_INVALID_HANDLE. This helps to find mistakes but can't find all.
//! THREADS      Any number of threads may use a handle at once. But a handle must not be used while it is freed or
//!              afterwards. A call doesn't visibly change a handle that is passed as a pointer to const.
//! FORK         A forked child has none of its parent's keys. It may use the library, and gets ATREST_ERR_FORKED for
//!              its parent's handles; freeing them does nothing. Open everything needed again in the child.
//! MEMORY       The caller frees the memory that it allocates, and so does the library. Memory of a pointer argument is
//!              only used during the call.
//! STRUCTS      A struct that the caller fills starts from its _INIT macro, which sets struct_size and zeros the rest;
//!              zero or NULL always means the default. Structs may grow at the end in later versions, and the library
//!              takes the sizes of earlier ones.
//! CALLBACKS    A callback may be called from any thread that uses its handle. It may call this library, with two
//!              exceptions: a device's callbacks must not use the volume or header on that device, and the callbacks of
//!              a disk service's parts and of its progress must not use that service. A callback must neither throw a
//!              C++ exception nor longjmp out. It reports the reason of a failure with atrest_set_callback_message. It
//!              writes its results into memory of the library. The library frees the handles that it returns.
//! UNITS        Sizes, lengths and offsets are in bytes. The name of a sector number says what it counts.
//! HAZMAT       A function that can lose data or leak a key when it is used without care has `hazmat` in its name.
//!
//! THE TWELVE CALLS that most programs need, in the order in which they come (examples/volume.c makes them):
//!
//!    1  atrest_vault_create_file, atrest_vault_open_file   the vault that holds your keys
//!    2  atrest_vault_create_key                            a key in it, once
//!    3  atrest_device_open_file                            the disk or image file
//!    4  atrest_volume_format                               a new volume on it, under that key
//!    5  atrest_volume_open                                 an existing one
//!    6  atrest_volume_read_at                              reads and decrypts whole sectors
//!    7  atrest_volume_write_at                             encrypts and writes whole sectors
//!    8  atrest_volume_sync                                 makes writes durable
//!    9  atrest_volume_rotate_kek                           moves the volume to the newest version of its key
//!   10  atrest_header_backup                               saves the header, which opening needs
//!   11  atrest_volume_free, atrest_device_free, atrest_vault_free
//!   12  atrest_last_error_message                          why a call failed
#![allow(non_camel_case_types)] // types bear the names that C knows them by

#[macro_use]
mod args;

mod ade;
mod ade_given;
#[cfg(not(feature = "ade"))]
mod ade_missing;
mod ade_vaults;
#[cfg(feature = "ade")]
mod ade_work;
mod bitlocker;
mod bitlocker_keys;
mod buffers;
mod callback;
mod clock;
mod dek;
mod device;
mod discard;
mod disk;
mod disk_backend;
mod disk_fleet;
mod disk_reencrypt;
mod disk_report;
mod disk_resources;
mod disk_service;
mod disk_sets;
mod disk_store;
mod engines;
mod failure;
mod file_prefix;
mod handle;
mod header;
mod header_lists;
mod kdf;
mod key_wrap;
mod keyslots;
mod log;
mod memory;
mod message;
mod output;
mod plain;
mod reencrypt;
mod sector_cipher;
mod segments;
mod self_test;
mod status;
mod stream_cipher;
mod structs;
mod tokens;
mod vault;
mod vault_access;
mod vault_backup;
mod vault_callbacks;
mod vault_directory;
mod vault_keys;
mod vault_secrets;
mod vault_several;
mod vault_url;
mod version;
mod volume;
mod volume_options;
