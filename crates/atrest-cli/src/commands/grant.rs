//! `grant` and `revoke`.

use atrest::vault::{FileVault, KeyOperation};
use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::vault::InVault;
use crate::failure::Result;
use crate::output::{Answer, Output, Text, shown};

/// An operation of a grant.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Operation {
    #[value(name = "get")]
    Get,
    #[value(name = "wrapKey")]
    WrapKey,
    #[value(name = "unwrapKey")]
    UnwrapKey,
}

impl Operation {
    fn of(self) -> KeyOperation {
        match self {
            Operation::Get => KeyOperation::Get,
            Operation::WrapKey => KeyOperation::WrapKey,
            Operation::UnwrapKey => KeyOperation::UnwrapKey,
        }
    }
}

#[derive(Args)]
pub struct Grant {
    #[command(flatten)]
    vault: InVault,
    /// The identity; without one, all grants are listed
    identity: Option<String>,
    /// The operations to allow: get, wrapKey, unwrapKey [default: all]
    #[arg(value_enum)]
    operations: Vec<Operation>,
}

#[derive(Args)]
pub struct Revoke {
    #[command(flatten)]
    vault: InVault,
    /// The identity
    identity: String,
    /// The operations to take back [default: all]
    #[arg(value_enum)]
    operations: Vec<Operation>,
}

/// `grant` and `revoke`: the grants afterwards.
#[derive(Serialize, JsonSchema)]
pub struct Grants {
    grants: Vec<Granted>,
}

#[derive(Serialize, JsonSchema)]
struct Granted {
    identity: String,
    /// A list of `get`, `wrapKey` and `unwrapKey`.
    operations: Vec<&'static str>,
}

impl Answer for Grants {
    fn text(&self, out: &mut Text) {
        let row = |grant: &Granted| [shown(&grant.identity), grant.operations.join(" ")];
        out.table(["IDENTITY", "OPERATIONS"], self.grants.iter().map(row));
    }
}

fn grants(vault: &FileVault, output: Output) -> Result<()> {
    let granted = |grant: atrest::vault::Grant| Granted {
        identity: grant.identity,
        operations: grant.operations.iter().map(|operation| operation.name()).collect(),
    };
    output.answer(&Grants { grants: vault.grants()?.into_iter().map(granted).collect() })
}

impl Grant {
    pub fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let named: Vec<KeyOperation> = self.operations.iter().map(|operation| operation.of()).collect();
        let operations: &[KeyOperation] = if named.is_empty() { &KeyOperation::ALL } else { &named };
        if let Some(identity) = &self.identity {
            vault.grant(identity, operations)?;
        }
        grants(&vault, output)
    }
}

impl Revoke {
    pub fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let operations: Vec<KeyOperation> = self.operations.iter().map(|operation| operation.of()).collect();
        match operations.as_slice() {
            [] => vault.revoke(&self.identity)?,
            operations => vault.revoke_operations(&self.identity, operations)?,
        }
        grants(&vault, output)
    }
}
