//! The answers of `fleet`.

use atrest::managed::{DiskService, Resource, ResourceName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Result;
use crate::output::{Answer, Output, Text, shown, size};

/// `fleet set rotate` and `fleet rotate-platform`.
#[derive(Serialize, JsonSchema)]
pub struct Rotated {
    /// The URL of the version that all are under now.
    pub key: String,
    /// How many were moved to it; the others were under it already.
    pub moved: u64,
}

impl Answer for Rotated {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("all are under {}; {} were moved", shown(&self.key), self.moved));
    }
}

/// `fleet check`, `fleet backup`.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    pub sound: bool,
    /// The defects.
    pub faults: Vec<String>,
}

impl Answer for Checked {
    fn text(&self, out: &mut Text) {
        out.line(if self.sound { "the store is sound" } else { "the store is damaged:" });
        self.faults.iter().for_each(|fault| out.line(shown(fault)));
    }
}

/// A disk or a snapshot.
#[derive(Serialize, JsonSchema)]
pub struct Thing {
    /// `disk`, `snapshot` or `image`.
    pub kind: &'static str,
    pub name: String,
    /// Its device has this name at the place of the disks.
    id: String,
    region: String,
    subscription: String,
    /// In bytes.
    size: u64,
    /// In bytes.
    sector_size: u32,
    /// `platform-key`, `customer-key` or `platform-and-customer-keys`.
    encryption_type: &'static str,
    /// Its encryption set; null if the platform's key alone protects it.
    set: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    created: u64,
}

impl Thing {
    pub fn of(resource: Resource) -> Self {
        Thing {
            kind: resource.kind.name(),
            name: resource.name,
            id: resource.id,
            region: resource.region,
            subscription: resource.subscription,
            size: resource.size,
            sector_size: resource.sector_size,
            encryption_type: resource.encryption_type.name(),
            set: resource.set,
            created: resource.created,
        }
    }

    fn row(&self) -> [String; 5] {
        let set = self.set.clone().unwrap_or_else(|| "(platform)".into());
        [shown(&self.name), size(self.size), shown(&set), shown(&self.region), self.id.clone()]
    }
}

const HEADS: [&str; 5] = ["NAME", "SIZE", "SET", "REGION", "ID"];

impl Answer for Thing {
    fn text(&self, out: &mut Text) {
        out.table(HEADS, [self.row()]);
    }
}

/// `fleet disk ls` and `fleet snapshot ls`.
#[derive(Serialize, JsonSchema)]
pub struct Things {
    resources: Vec<Thing>,
}

impl Answer for Things {
    fn text(&self, out: &mut Text) {
        out.table(HEADS, self.resources.iter().map(Thing::row));
    }
}

/// `fleet image create` and `fleet image show`.
#[derive(Serialize, JsonSchema)]
pub struct Copies {
    pub image: String,
    /// By region, and in it in the order of the disks.
    pub copies: Vec<Thing>,
}

impl Answer for Copies {
    fn text(&self, out: &mut Text) {
        out.table(HEADS, self.copies.iter().map(Thing::row));
    }
}

pub fn things(service: &DiskService, names: Vec<ResourceName>, output: Output) -> Result<()> {
    let resources = names.iter().map(|name| Ok(Thing::of(service.resource(name)?))).collect::<Result<_>>()?;
    output.answer(&Things { resources })
}
