//! The exports that this process has open for writing. Nothing in the protocol keeps a second writer out.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use atrest::{Error, Result};

use crate::url;

type Export = (url::Address, String);

/// Without a lock: a thread may hold one while another forks, and it would stay locked in the child for ever. A child inherits
/// the list, and may open an export of its parent's once it has dropped its parent's device.
static HELD: ArcSwapOption<Vec<Export>> = ArcSwapOption::const_empty();

/// An export that is open for writing, as long as this lives.
pub(crate) struct Held(Export);

impl Held {
    pub(crate) fn new(target: &url::Target) -> Result<Self> {
        let this = export(target);
        let mut is_held = false;
        HELD.rcu(|held| {
            let mut all = held.as_deref().cloned().unwrap_or_default();
            is_held = all.contains(&this);
            if !is_held {
                all.push(this.clone());
            }
            Some(Arc::new(all))
        });
        if is_held { Err(Error::Busy { what: format!("the export {target}") }) } else { Ok(Held(this)) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.rcu(|held| {
            let all = held.iter().flat_map(|all| all.iter());
            Some(Arc::new(all.filter(|other| **other != self.0).cloned().collect()))
        });
    }
}

/// Whether this process has the export open for writing.
pub(crate) fn is_held(target: &url::Target) -> bool {
    HELD.load().as_ref().is_some_and(|held| held.contains(&export(target)))
}

fn export(target: &url::Target) -> Export {
    (target.address.clone(), target.export.clone())
}
