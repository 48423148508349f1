//! atrest.h - encryption at rest that a storage stack links
//!
//! An AES-XTS sector engine; data encryption keys (DEKs), wrapped under key-encryption keys (KEKs) that live in a
//! vault; volumes that are LUKS2 or LUKS1 on disk. No root, no kernel module, no daemon. Link with -latrest.
//!
//! What holds for every function here, unless its own comment says otherwise:
//!
//! RESULT       A function returns an atrest_status: ATREST_OK (0) or what went wrong. The detail is in
//!              atrest_last_error_message(). errno is after a call what it was before, and so are the locale and what
//!              is set for signals.
//! OUTPUTS      Inputs come first, then outputs. An output is written when the function returns ATREST_OK, and left
//!              alone otherwise. There is one exception, the length of a buffer that is too short.
//! BUFFERS      An output of bytes is a triple: the buffer, its capacity, and a pointer to the length. On success the
//!              length is how many bytes were written. On ATREST_ERR_BUFFER_TOO_SHORT it is how many are needed; a NULL
//!              buffer of capacity 0 therefore asks for the length. A NULL input of length 0 is an empty one.
//! TEXT         An input text is UTF-8 and ends with a zero byte. An output text is a triple as above, and gets a zero
//!              byte at its end: its length doesn't count that byte, its capacity must. The length may be NULL.
//!              A path is whatever the operating system takes, in UTF-8 on Windows.
//! HANDLES      Handles are opaque. Whoever gets one by an output frees it, with the function of its own type; NULL is
//!              fine there. A handle that depends on another keeps what it needs of it, so free them in any order.
//!              A handle of the wrong type, or one that was freed not long ago, is refused with
//!              ATREST_ERR_INVALID_HANDLE. That is a help for finding mistakes; it can't find every one.
//! THREADS      Any number of threads may use a handle at once, except that nobody may use it while it is freed, or
//!              after. A handle behind a pointer to const is not changed by the call, as far as the caller can see.
//! FORK         A child that was forked has none of its parent's keys. It may use the library, and gets
//!              ATREST_ERR_FORKED for handles that its parent made; freeing them does nothing. Open what it needs there.
//! MEMORY       What the caller allocates the caller frees, and the same goes for the library. Memory that a pointer
//!              argument names is used during the call only.
//! STRUCTS      A struct that the caller fills starts from its _INIT macro, which sets struct_size and zeros the rest;
//!              zero or NULL always means the default. Structs may grow at the end in later versions, and the library
//!              takes the sizes of earlier ones.
//! CALLBACKS    A callback may be called from any thread that uses the handle it belongs to. It may call this library,
//!              but a device's callbacks not the volume or header on that device, and those that a disk service was made
//!              of, or that tell how far it is, not that service. It must neither throw a C++ exception nor longjmp out. It
//!              says why it fails by atrest_set_callback_message. It writes into memory that the library lends it. A
//!              handle that it gives away is the library's to free.
//! UNITS        Sizes, lengths and offsets are in bytes. A sector's number says in its name what it counts.
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
//!    8  atrest_volume_sync                                 makes writes last
//!    9  atrest_volume_rotate_kek                           puts the volume under the newest version of its key
//!   10  atrest_header_backup                               keeps what the volume can't be opened without
//!   11  atrest_volume_free, atrest_device_free, atrest_vault_free
//!   12  atrest_last_error_message                          why a call failed
#![allow(non_camel_case_types)] // types bear the names that C knows them by

#[macro_use]
mod args;
mod buffers;
mod callback;
mod clock;
mod dek;
mod device;
mod disk;
mod disk_backend;
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
mod key_wrap;
mod keyslots;
mod log;
mod memory;
mod message;
mod output;
mod sector_cipher;
mod segments;
mod self_test;
mod status;
mod stream_cipher;
mod structs;
mod vault;
mod vault_access;
mod vault_callbacks;
mod vault_directory;
mod vault_keys;
mod version;
mod volume;
mod volume_options;
