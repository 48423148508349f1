//! Takes a disk of Azure Disk Encryption over under a vault's key.
//!
//! ```sh
//! cargo run -p atrest-ade --example take_over -- --disk /dev/sdc --header osluksheader \
//!     --secret https://contoso.vault.azure.net/secrets/NAME/VERSION \
//!     --vault azurekv://contoso.vault.azure.net --key disks
//! ```
//!
//! No secret is an argument. The login at Azure is that of the environment (`AZURE_CLIENT_ID`, ...), or with `--managed` a managed
//! identity. It may be called again after it was killed.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;

use atrest::{FileDevice, OpenOptions};
use atrest_ade::{
    Disk, Kek, KeyEncryptionKeys, SecretStore, SecretUrl, Source, TakeOverOptions, Vaults, open, take_over,
};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions, AzureSecrets};

const HELP: &str = "usage: take_over --disk DEVICE [--header FILE] (--secret URL | --token --kek-vault URL)
                 [--kek URL --algorithm NAME] [--kek-vault URL] --vault URL --key NAME
                 [--convert] [--reencrypt] [--check] [--managed]

--secret     https://NAME.vault.azure.net/secrets/SECRET/VERSION, which holds the passphrase
--token      the passphrase is in the disk's token
--kek        the key that wraps the passphrase, if the secret's tags don't say
--kek-vault  https://NAME.vault.azure.net of that key, if it isn't the secret's vault
--vault      the vault that opens the disk from now on, such as azurekv://NAME.vault.azure.net or file:PATH?key-file=PATH
--key        its key
--convert    converts a header of LUKS1 first
--reencrypt  re-encrypts the data under a new key
--check      only opens the disk, read-only, and changes nothing
--managed    logs in at Azure by a managed identity, and not by the environment";

#[derive(Default)]
struct Arguments {
    values: Vec<(String, String)>,
    flags: Vec<String>,
    help: bool,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let (mut found, mut rest) = (Arguments::default(), std::env::args_os().skip(1));
        let text = |given: OsString| given.into_string().map_err(|given| format!("{given:?} isn't UTF-8"));
        while let Some(name) = rest.next().map(text).transpose()? {
            match name.as_str() {
                "--token" | "--convert" | "--reencrypt" | "--check" | "--managed" => found.flags.push(name),
                "--disk" | "--header" | "--secret" | "--kek" | "--algorithm" | "--kek-vault" | "--vault" | "--key" => {
                    let value = rest.next().ok_or_else(|| format!("{name} needs a value; see --help"))?;
                    found.values.push((name, text(value)?));
                }
                "--help" => found.help = true,
                _ => return Err(format!("{name} is no argument; see --help").into()),
            }
        }
        Ok(found)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("{name} is missing; see --help"))
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|of| of == flag)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The reader of the pipe closed it, as `head` does. It wants no more output.
            if e.downcast_ref::<io::Error>().is_none_or(|e| e.kind() != ErrorKind::BrokenPipe) {
                eprintln!("error: {e:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let mut out = io::stdout();
    if arguments.help {
        return Ok(writeln!(out, "{HELP}")?);
    }
    let identity =
        if arguments.has("--managed") { AzureIdentity::managed(None) } else { AzureIdentity::from_environment()? };
    let azure = |vault: &str| AzureOptions::new(vault, identity.clone());

    let kek = arguments.get("--kek").map(|url| Kek::new(url, arguments.get("--algorithm").unwrap_or("RSA-OAEP")));
    let (source, secrets) = match arguments.get("--secret") {
        Some(url) => {
            let url: SecretUrl = url.parse()?;
            let secrets = AzureSecrets::new(&azure(url.vault()))?;
            (Source::Secret { url, kek: kek.transpose()? }, Some(secrets))
        }
        None if arguments.has("--token") => (Source::Token, None),
        None => return Err("--secret or --token says where the passphrase is; see --help".into()),
    };
    let kek_vault = arguments.get("--kek-vault").or(secrets.as_ref().map(AzureSecrets::id));
    let keks = kek_vault.map(|vault| AzureKeyVault::new(&azure(vault))).transpose()?;
    let secrets: Vec<&dyn SecretStore> = secrets.iter().map(|store| store as _).collect();
    let keks: Vec<&dyn KeyEncryptionKeys> = keks.iter().map(|vault| vault as _).collect();
    let vaults = Vaults { secrets: &secrets, keks: &keks };

    let path = arguments.need("--disk")?;
    let device = |path: &str| {
        let opened = if arguments.has("--check") { FileDevice::open_read_only(path) } else { FileDevice::open(path) };
        opened.map(Arc::new)
    };
    let mut disk = Disk::new(device(path)?);
    if let Some(path) = arguments.get("--header") {
        disk = disk.header(device(path)?);
    }
    if arguments.has("--check") {
        let volume = open(&disk, &source, vaults, &OpenOptions::new().read_only(true))?;
        return Ok(writeln!(out, "the secret or token opens the disk, of {} bytes", volume.size())?);
    }
    if arguments.has("--convert") {
        disk.convert_to_luks2()?;
    }
    let vault = atrest_vaults::open(arguments.need("--vault")?)?;
    let options = TakeOverOptions::new().reencrypt(arguments.has("--reencrypt"));
    let taken = take_over(&disk, &source, vaults, &*vault, arguments.need("--key")?, &options)?;
    for id in &taken.removed {
        writeln!(out, "removed {id}")?;
    }
    for id in &taken.left {
        writeln!(out, "left {id}, which isn't of Azure Disk Encryption: anyone with its passphrase opens the disk")?;
    }
    Ok(writeln!(out, "the vault opens the disk")?)
}
