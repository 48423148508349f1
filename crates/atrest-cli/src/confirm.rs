//! The question before something is destroyed.

use crate::failure::{Failure, Result};
use crate::terminal;

/// Goes on if `--yes` was given, or if somebody at the terminal says so. `lost` names the loss.
pub fn confirm(yes: bool, lost: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !terminal::is_there() {
        return Err(Failure::refused(format!("{lost} Nothing was done; say --yes to do it")));
    }
    let answer = terminal::ask(&format!("{lost} Go on? [y/N] "))?;
    match answer.as_str() {
        "y" | "Y" | "yes" | "YES" => Ok(()),
        _ => Err(Failure::refused("nothing was done")),
    }
}
