#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod add;
mod base64;
mod credential;
mod disk;
mod find;
mod object_url;
mod passphrase;
mod replace;
mod store;
mod tags;
mod take_over;
mod token;

pub use add::{add_secret, add_token};
pub use credential::DiskCredential;
pub use disk::Disk;
pub use find::{Source, Vaults, credential, open};
pub use object_url::SecretUrl;
pub use passphrase::{generate_passphrase, seal};
pub use replace::{ReplaceOptions, replace_secret, replace_token};
pub use store::{KeyEncryptionKeys, SecretStore, StoredSecret};
pub use tags::{FILE_NAME, Kek, Tags};
pub use take_over::{TakeOverOptions, TakenOver, take_over};
pub use token::{AdeToken, BACKUP_TOKEN, TOKEN, TokenPassphrase};
