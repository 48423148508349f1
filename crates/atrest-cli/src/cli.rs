//! All commands and options.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::{
    about, audit, bench, decrypt, dump, encrypt, fleet, format, grant, header, in_place, info, key, protector, rotate,
    secret, serve, vault,
};
use crate::failure::{About, Result};
use crate::output::Output;
use crate::progress::Show;

/// Encrypted volumes, vaults of keys, and disks for virtual machines.
///
/// No root, no kernel module, no daemon. Volumes are LUKS2, as cryptsetup makes and opens them.
#[derive(Parser)]
#[command(
    name = "atrest",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_long_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Secrets are never given as arguments. A SOURCE is one of:
  file:PATH        the file, without one newline at its end
  fd:NUMBER        an open descriptor; fd:0 is standard input
  command:COMMAND  what a shell command prints
  prompt           the terminal, which is also asked if nothing is given
Key files are different: every byte of one counts, as for cryptsetup.

Exit statuses: 0 done, 1 the answer is no, 2 usage, 3 not found, 4 wrong credential, 5 the key may not be used,
6 damaged, 7 busy, 8 refused, 9 I/O, 130 interrupted.";

/// Options of all commands.
#[derive(Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Globals {
    /// Prints results as JSON; `atrest schema` has the schemas
    #[arg(long, global = true)]
    json: bool,
    /// How progress is shown, on standard error
    #[arg(long, global = true, value_enum, default_value_t = Show::Auto, value_name = "HOW")]
    progress: Show,
    /// Destroys things without asking
    #[arg(long, short = 'y', global = true)]
    yes: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Vault files: makes, lists, checks and copies them
    #[command(subcommand)]
    Vault(vault::Command),
    /// The keys of a vault file
    #[command(subcommand)]
    Key(key::Command),
    /// The secrets of a vault file, such as passphrases of disks
    #[command(subcommand)]
    Secret(secret::Command),
    /// Grants an identity the use of a vault's keys, or lists the grants
    Grant(grant::Grant),
    /// Takes grants back
    Revoke(grant::Revoke),
    /// The audit log of a vault file: every use of a key
    Audit(audit::Audit),
    /// Makes a volume on a device, or in a new image file
    Format(Box<format::Format>),
    /// Encrypts an image into a new volume, or a device where it lies
    Encrypt(Box<encrypt::Encrypt>),
    /// Decrypts a volume into a new image, or to standard output
    Decrypt(Box<decrypt::Decrypt>),
    /// Compares a volume with an image
    Verify(Box<encrypt::Verify>),
    /// Shows what a volume is and what opens it
    Info(Box<info::Info>),
    /// Shows all of a header, in the layout of `cryptsetup luksDump`
    Dump(Box<dump::Dump>),
    /// Checks a header, and repairs it
    Check(Box<info::Check>),
    /// The ways into a volume: vaults' keys, passphrases, key files
    #[command(subcommand)]
    Protector(Box<protector::Command>),
    /// Copies of a volume's header, and its end
    #[command(subcommand)]
    Header(header::Command),
    /// Moves volumes to the newest version of their vault's key; no data is encrypted again
    Rotate(rotate::Rotate),
    /// Encrypts a volume anew where it lies, under a new data key
    Reencrypt(Box<in_place::Reencrypt>),
    /// Gives a volume its first passphrase or startup key of Azure Disk Encryption, as a secret or in a token
    #[cfg(feature = "kms")]
    AddSecret(Box<crate::commands::add_secret::AddSecret>),
    /// Brings a disk of Azure Disk Encryption of Linux under a vault's key
    #[cfg(feature = "kms")]
    TakeOver(Box<crate::commands::take_over::TakeOver>),
    /// Gives a disk that stays under Azure Disk Encryption a new passphrase or startup key, in its secret or its token
    #[cfg(feature = "kms")]
    ReplaceSecret(Box<crate::commands::replace_secret::ReplaceSecret>),
    /// Changes the size of a volume
    Resize(Box<in_place::Resize>),
    /// Serves a volume to virtual machines and NBD clients
    Serve(Box<serve::Serve>),
    /// Shows a volume as a plain file in a folder, by FUSE
    #[cfg(feature = "mount")]
    Mount(Box<crate::commands::mount::Mount>),
    /// Prints the lines that give a volume to a virtual machine
    Qemu(serve::Qemu),
    /// Encryption sets, managed disks and snapshots of a disk service
    Fleet(Box<fleet::Fleet>),
    /// Measures ciphers and key derivations on this machine
    Bench(bench::Bench),
    /// Tries every algorithm on known answers
    SelfTest,
    /// Prints the completions for a shell
    Completions(Completions),
    /// Prints the manual page, or writes all manual pages
    Man(Man),
    /// Shows what this program is and was built with
    Version,
    /// Prints the JSON schemas of results
    Schema(about::Schemas),
}

#[derive(Args)]
struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Args)]
struct Man {
    /// The folder for the pages of all commands
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Cli {
    pub fn run(self) -> Result<()> {
        let Globals { json, progress: show, yes } = self.globals;
        let output = Output { json };
        match self.command {
            Command::Vault(command) => command.run(output),
            Command::Key(command) => command.run(output, yes),
            Command::Secret(command) => command.run(output, yes),
            Command::Grant(command) => command.run(output),
            Command::Revoke(command) => command.run(output),
            Command::Audit(command) => command.run(output),
            Command::Format(command) => command.run(output, yes),
            Command::Encrypt(command) => command.run(output, show, yes),
            Command::Decrypt(command) => command.run(output, show, yes),
            Command::Verify(command) => command.run(output, show),
            Command::Info(command) => command.run(output),
            Command::Dump(command) => command.run(output),
            Command::Check(command) => command.run(output, yes),
            Command::Protector(command) => command.run(output, yes),
            Command::Header(command) => command.run(output, yes),
            Command::Rotate(command) => command.run(output),
            Command::Reencrypt(command) => command.run(output, show, yes),
            #[cfg(feature = "kms")]
            Command::AddSecret(command) => command.run(output),
            #[cfg(feature = "kms")]
            Command::TakeOver(command) => command.run(output),
            #[cfg(feature = "kms")]
            Command::ReplaceSecret(command) => command.run(output),
            Command::Resize(command) => command.run(output, yes),
            Command::Serve(command) => command.run(output, yes),
            #[cfg(feature = "mount")]
            Command::Mount(command) => command.run(output, yes),
            Command::Qemu(command) => command.run(output),
            Command::Fleet(command) => command.run(output, show, yes),
            Command::Bench(command) => command.run(output),
            Command::SelfTest => bench::self_test(output),
            Command::Completions(Completions { shell }) => {
                let mut out = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "atrest", &mut out);
                output.bytes(&out)
            }
            Command::Man(Man { dir: None }) => {
                let mut out = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut out)?;
                output.bytes(&out)
            }
            Command::Man(Man { dir: Some(dir) }) => {
                std::fs::create_dir_all(&dir).about(dir.display())?;
                clap_mangen::generate_to(Cli::command(), &dir).about(dir.display())
            }
            Command::Version => about::version(output),
            Command::Schema(command) => command.run(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_all_commands_are_sound() {
        Cli::command().debug_assert();
    }
}
