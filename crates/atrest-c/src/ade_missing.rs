//! A library that was built without disks of Azure Disk Encryption.

use atrest::volume::KeyslotOptions;
use atrest::{KeyVault, OpenOptions, Secret, Volume};

use crate::ade_given::{Given, New, Told};
use crate::ade_vaults::{AdeVault, without_ade};
use crate::device::Device;
use crate::failure::Result;

pub(crate) fn open(_: &Given<'_>, _: &[&AdeVault], _: &OpenOptions) -> Result<Volume<Device>> {
    Err(without_ade())
}

pub(crate) fn take_over(
    _: &Given<'_>,
    _: &[&AdeVault],
    _: &dyn KeyVault,
    _key: &str,
    _reencrypt: bool,
    _: &OpenOptions,
) -> Result<(Volume<Device>, Told)> {
    Err(without_ade())
}

pub(crate) fn replace_secret(_: &Given<'_>, _: &[&AdeVault], _: OpenOptions, _: KeyslotOptions) -> Result<String> {
    Err(without_ade())
}

pub(crate) fn replace_token(_: &Given<'_>, _: &[&AdeVault], _: OpenOptions, _: KeyslotOptions) -> Result {
    Err(without_ade())
}

pub(crate) fn add_secret(_: &Volume<Device>, _: &New<'_>, _: &[&AdeVault], _: &KeyslotOptions) -> Result<String> {
    Err(without_ade())
}

pub(crate) fn add_token(_: &Volume<Device>, _: &New<'_>, _: &[&AdeVault], _: &KeyslotOptions) -> Result {
    Err(without_ade())
}

pub(crate) fn generate() -> Result<Secret> {
    Err(without_ade())
}

pub(crate) fn seal(_passphrase: &[u8], _kek: Option<(&str, &str)>, _: &[&AdeVault]) -> Result<Secret> {
    Err(without_ade())
}
