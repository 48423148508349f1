//! `version`, `schema`: this program and its results.

use atrest::{Dek, DekAlgorithm, SectorSize, SectorUnit};
use clap::Args;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use super::{
    audit, bench, decrypt, dump, encrypt, fleet, format, grant, header, in_place, info, key, protector, rotate, secret,
    serve, vault,
};
use crate::failure::{Code, Failure, Result};
use crate::output::{Answer, Output, Text};
use crate::progress::Line;

/// `version`.
#[derive(Serialize, JsonSchema)]
pub struct Version {
    version: &'static str,
    /// The kernel of the sector engine here.
    kernel: &'static str,
    /// The kinds of vault of this build, by the scheme of their URL.
    vaults: Vec<String>,
    /// The places for disks of this build, by the scheme of their URL.
    stores: Vec<String>,
    /// The kinds of stores for the records of a fleet, by the scheme of their URL.
    fleet_stores: Vec<String>,
    /// Other features of this build.
    features: Vec<&'static str>,
}

impl Answer for Version {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("atrest {}", self.version));
        out.pair("kernel", self.kernel);
        out.pair("vaults", self.vaults.join(" "));
        out.pair("stores", self.stores.join(" "));
        out.pair("fleet stores", self.fleet_stores.join(" "));
        out.pair("features", self.features.join(" "));
    }
}

pub fn version(output: Output) -> Result<()> {
    let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
    let has = [
        ("bitlocker", cfg!(feature = "bitlocker")),
        ("legacy", cfg!(feature = "legacy")),
        ("kms", cfg!(feature = "kms")),
        ("rsa", cfg!(feature = "rsa")),
        ("mount", cfg!(feature = "mount")),
        ("etcd", cfg!(feature = "etcd")),
        ("postgres", cfg!(feature = "postgres")),
    ];
    output.answer(&Version {
        version: env!("CARGO_PKG_VERSION"),
        kernel: dek.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)?.kernel().name(),
        vaults: atrest_vaults::schemes().collect(),
        stores: atrest_stores::schemes().collect(),
        fleet_stores: atrest_stores::fleet_schemes().collect(),
        features: has.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect(),
    })
}

#[derive(Args)]
pub struct Schemas {
    /// A command, such as `vault init`, or `progress`; without one, all are printed
    command: Vec<String>,
}

/// The schema of each command's JSON.
fn schemas() -> Vec<(&'static str, Schema)> {
    let (vault, grants, done) = (schema_for!(vault::Vault), schema_for!(grant::Grants), schema_for!(vault::Done));
    let (key, deleted, handled) = (schema_for!(key::Key), schema_for!(key::Deleted), schema_for!(header::Handled));
    let (protectors, reencrypted) = (schema_for!(protector::Protectors), schema_for!(in_place::Reencrypted));
    let (thing, things, set) = (schema_for!(fleet::Thing), schema_for!(fleet::Things), schema_for!(fleet::Set));
    let (secrets, deleted_secrets) = (schema_for!(secret::Secrets), schema_for!(secret::Deleted));
    vec![
        #[cfg(feature = "kms")]
        ("add-secret", schema_for!(super::add_secret::AddedSecret)),
        ("audit", schema_for!(audit::Entry)),
        ("audit --verify", schema_for!(audit::Checked)),
        ("bench", schema_for!(bench::Measured)),
        ("check", schema_for!(info::Checked)),
        ("decrypt", schema_for!(decrypt::Decrypted)),
        ("dump", schema_for!(dump::Dumped)),
        ("encrypt", schema_for!(encrypt::Encrypted)),
        ("encrypt --in-place", reencrypted.clone()),
        ("fleet attachments", schema_for!(fleet::Attachments)),
        ("fleet backup", schema_for!(fleet::Checked)),
        ("fleet check", schema_for!(fleet::Checked)),
        ("fleet disk create", thing.clone()),
        ("fleet disk ls", things.clone()),
        ("fleet disk adopt", thing.clone()),
        ("fleet disk put-into-set", thing.clone()),
        ("fleet disk rekey", schema_for!(fleet::Rekeyed)),
        ("fleet disk resize", thing.clone()),
        ("fleet disk rm", things.clone()),
        ("fleet disk serve", schema_for!(serve::Serving)),
        ("fleet disk show", thing.clone()),
        ("fleet disk write", thing.clone()),
        ("fleet hosts", schema_for!(fleet::Hosts)),
        ("fleet image create", schema_for!(fleet::Copies)),
        ("fleet image ls", schema_for!(fleet::Images)),
        ("fleet image rm", schema_for!(fleet::Images)),
        ("fleet image show", schema_for!(fleet::Copies)),
        ("fleet report", schema_for!(fleet::Report)),
        ("fleet rotate-platform", schema_for!(fleet::Rotated)),
        ("fleet set clear-error", set.clone()),
        ("fleet set create", set.clone()),
        ("fleet set ls", schema_for!(fleet::Sets)),
        ("fleet set rm", schema_for!(fleet::Sets)),
        ("fleet set rotate", schema_for!(fleet::Rotated)),
        ("fleet set show", set),
        ("fleet snapshot create", thing),
        ("fleet snapshot ls", things.clone()),
        ("fleet snapshot rm", things),
        ("fleet store backup", schema_for!(fleet::Checked)),
        ("fleet store check", schema_for!(fleet::Checked)),
        ("fleet store copy", schema_for!(fleet::Copied)),
        ("fleet store reopen", schema_for!(fleet::Checked)),
        ("format", schema_for!(format::Formatted)),
        ("grant", grants.clone()),
        ("header backup", handled.clone()),
        ("header erase", handled.clone()),
        ("header restore", handled),
        ("info", schema_for!(info::Shown)),
        ("key create", key.clone()),
        ("key delete", deleted.clone()),
        ("key disable", key.clone()),
        ("key enable", key.clone()),
        ("key expire", key.clone()),
        ("key import", key.clone()),
        ("key ls", schema_for!(key::Keys)),
        ("key ls --deleted", deleted.clone()),
        ("key purge", deleted),
        ("key recover", key.clone()),
        ("key rotate", key.clone()),
        ("key show", key),
        #[cfg(feature = "mount")]
        ("mount", schema_for!(super::mount::Mounted)),
        ("progress", schema_for!(Line)),
        ("protector add", protectors.clone()),
        ("protector bind", protectors.clone()),
        ("protector change", protectors.clone()),
        ("protector ls", protectors.clone()),
        #[cfg(feature = "bitlocker")]
        ("protector resume", protectors.clone()),
        #[cfg(feature = "bitlocker")]
        ("protector suspend", protectors.clone()),
        ("protector rm", protectors),
        ("qemu", schema_for!(serve::Lines)),
        ("reencrypt", reencrypted),
        #[cfg(feature = "kms")]
        ("replace-secret", schema_for!(super::replace_secret::ReplacedSecret)),
        ("resize", schema_for!(in_place::Resized)),
        ("revoke", grants),
        ("rotate", schema_for!(rotate::Rotated)),
        ("secret delete", deleted_secrets.clone()),
        ("secret disable", secrets.clone()),
        ("secret enable", secrets.clone()),
        ("secret ls", secrets.clone()),
        ("secret ls --deleted", deleted_secrets.clone()),
        ("secret purge", deleted_secrets),
        ("secret recover", secrets.clone()),
        ("secret set", secrets),
        ("self-test", schema_for!(bench::Tested)),
        ("serve", schema_for!(serve::Serving)),
        #[cfg(feature = "kms")]
        ("take-over", schema_for!(super::take_over::TakenOver)),
        ("vault backup", done.clone()),
        ("vault change-unlock", done),
        ("vault info", vault.clone()),
        ("vault init", vault),
        ("vault ls", schema_for!(vault::Vaults)),
        ("vault verify", schema_for!(vault::Verified)),
        ("verify", schema_for!(encrypt::Verified)),
        ("version", schema_for!(Version)),
    ]
}

impl Schemas {
    pub fn run(self, output: Output) -> Result<()> {
        let wanted = self.command.join(" ");
        let all = schemas();
        let text = if wanted.is_empty() {
            let map: serde_json::Map<String, serde_json::Value> =
                all.into_iter().map(|(name, schema)| (name.to_owned(), schema.to_value())).collect();
            serde_json::to_string_pretty(&map)
        } else {
            let missing = || Failure::new(Code::NotFound, format!("no command {wanted:?} has a schema"));
            let (_, schema) = all.into_iter().find(|(name, _)| *name == wanted).ok_or_else(missing)?;
            serde_json::to_string_pretty(&schema)
        };
        output.bytes((text.map_err(std::io::Error::from)? + "\n").as_bytes())
    }
}
