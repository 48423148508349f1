//! A plugin for libcryptsetup. With it, `cryptsetup open --token-only` and `systemd-cryptsetup` open LUKS2 volumes of atrest by
//! their vault, under the kernel's dm-crypt.
//!
//! [`Volume::bind_tokens`](atrest::Volume::bind_tokens) prepares the volume. The file `/etc/atrest/token.conf` names the
//! vaults. The README has the steps.
//!
//! libcryptsetup reads the header, calls the plugin with the number of a token, and opens the keyslot that the token names by
//! the passphrase that the plugin returns. The plugin has the vault unwrap the DEK. It returns the passphrase only if the
//! token's MAC proves the header that libcryptsetup has in memory. So a header that an attacker edited doesn't open.

// A program of tests is not linked to libcryptsetup.
#![cfg_attr(test, allow(dead_code))]

mod config;
mod describe;
#[cfg(not(test))]
mod libcryptsetup;
mod open;
#[cfg(not(test))]
mod plugin;
