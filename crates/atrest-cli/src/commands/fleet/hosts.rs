//! `fleet hosts` and `fleet attachments`: a store that hosts share, seen from outside.

use std::thread;
use std::time::{Duration, Instant};

use atrest::managed::store::MAX_PAGE;
use atrest::managed::{AttachmentReport, FleetView, HostReport};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Result;
use crate::output::{Answer, Output, Text, shown};

#[derive(Args)]
pub struct ListHosts {
    /// Watches the leases for so long; without it, a lease is told as unknown
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=7200))]
    watch: u64,
}

/// `fleet hosts`.
#[derive(Serialize, JsonSchema)]
pub struct Hosts {
    hosts: Vec<Host>,
}

#[derive(Serialize, JsonSchema)]
struct Host {
    /// The host's name; empty if its record can't be read.
    name: String,
    /// The id of this run of its service. A host that was just started again may have two.
    run: String,
    /// How long its lease holds after a renewal.
    lease_seconds: f64,
    /// How often it was renewed.
    renewals: u64,
    /// How long that number was seen unchanged, at most the time of watching.
    still_seconds: f64,
    /// `unknown`, `live`, `ran-out`, `lost` or `unreadable`. It is known only after watching for longer than a lease.
    state: &'static str,
}

impl Answer for Hosts {
    fn text(&self, out: &mut Text) {
        let row = |host: &Host| {
            let lease = format!("{} s", host.lease_seconds);
            [shown(&host.name), host.state.into(), lease, host.renewals.to_string(), shown(&host.run)]
        };
        out.table(["HOST", "LEASE", "OF", "RENEWALS", "RUN"], self.hosts.iter().map(row));
    }
}

impl From<HostReport> for Host {
    fn from(of: HostReport) -> Self {
        Host {
            name: of.name,
            run: of.run,
            lease_seconds: of.lease.as_secs_f64(),
            renewals: of.renewals,
            still_seconds: of.still.as_secs_f64(),
            state: of.state.name(),
        }
    }
}

impl ListHosts {
    pub fn run(&self, view: &FleetView, output: Output) -> Result<()> {
        let begun = Instant::now();
        let mut hosts = view.hosts()?;
        while begun.elapsed() < Duration::from_secs(self.watch) {
            thread::sleep(Duration::from_millis(500));
            hosts = view.hosts()?;
        }
        output.answer(&Hosts { hosts: hosts.into_iter().map(Host::from).collect() })
    }
}

#[derive(Args)]
pub struct ListAttachments {
    /// Begins after the device with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// The most devices to list
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Lists only the devices that this host has open, or is to get
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
}

/// `fleet attachments`.
#[derive(Serialize, JsonSchema)]
pub struct Attachments {
    attachments: Vec<Attachment>,
    /// The value of `--after` for the devices that follow; null at the end.
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Attachment {
    /// The device's id.
    id: String,
    /// `disk`, `snapshot` or `image`; null while that is being made or removed.
    kind: Option<&'static str>,
    name: Option<String>,
    /// The host that has it open; null while nobody has.
    host: Option<String>,
    /// The run of that host's service.
    run: Option<String>,
    /// `open`, `promised` to a host, `closed`, `lost` with its host, or `unreadable`.
    state: &'static str,
    /// The host that is to get it, while it is handed over.
    promised: Option<String>,
    /// It was taken from a lost host, and its header doesn't keep that host out yet.
    unfenced: bool,
    /// Why its record can't be read.
    fault: Option<String>,
}

impl From<AttachmentReport> for Attachment {
    fn from(of: AttachmentReport) -> Self {
        let state = match &of {
            AttachmentReport { fault: Some(_), .. } => "unreadable",
            AttachmentReport { lost: true, .. } => "lost",
            AttachmentReport { host: Some(_), .. } => "open",
            AttachmentReport { promised: Some(_), .. } => "promised",
            _ => "closed",
        };
        let (kind, name) = of.resource.map(|name| (name.kind.name(), name.name)).unzip();
        Attachment {
            id: of.id,
            kind,
            name,
            host: of.host,
            run: of.run,
            state,
            promised: of.promised,
            unfenced: of.unfenced,
            fault: of.fault,
        }
    }
}

impl Answer for Attachments {
    fn text(&self, out: &mut Text) {
        let row = |of: &Attachment| {
            let host = of.host.as_ref().or(of.promised.as_ref()).map_or_else(String::new, |host| shown(host));
            let name = of.name.as_ref().map_or_else(|| "(being made or removed)".into(), |name| shown(name));
            [of.kind.unwrap_or("-").into(), name, host, of.state.into(), shown(&of.id)]
        };
        out.table(["KIND", "NAME", "HOST", "STATE", "ID"], self.attachments.iter().map(row));
    }
}

impl ListAttachments {
    pub fn run(self, view: &FleetView, output: Output) -> Result<()> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let is_wanted = |of: &AttachmentReport| {
            self.of.is_none() || of.host == self.of || (of.promised.is_some() && of.promised == self.of)
        };
        let (mut found, mut after, mut next) = (Vec::new(), self.after.clone(), None);
        loop {
            let page = view.attachments(after.as_deref(), MAX_PAGE)?;
            let is_last = page.len() < MAX_PAGE;
            for of in page.into_iter() {
                after = Some(of.id.clone());
                if is_wanted(&of) {
                    found.push(Attachment::from(of));
                    if found.len() == limit {
                        next.clone_from(&after);
                        break;
                    }
                }
            }
            if is_last || next.is_some() {
                break;
            }
        }
        if let Some(last) = &next
            && view.attachments(Some(last), 1)?.is_empty()
        {
            next = None;
        }
        output.answer(&Attachments { attachments: found, next })
    }
}
