//! The capabilities of each way to encrypt a managed disk: four options, eight capabilities (82).
//!
//! The table is Azure's comparison of encryption options. Each cell gives the option's support in Azure's words, and the part of it
//! that this library lacks. Customers compare the first. A service must not promise the second.

use serde::{Serialize, Serializer};

use crate::EncryptionType;

/// A way to encrypt a managed disk: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncryptionOption {
    /// At rest, under the platform's key (SSE+PMK).
    PlatformKey,
    /// At rest, under the customer's key (SSE+CMK).
    CustomerKey,
    /// In the guest (Azure Disk Encryption): dm-crypt on Linux, BitLocker on Windows.
    Guest,
    /// On the host of the virtual machine.
    Host,
}

impl EncryptionOption {
    /// All options, in the order of the table.
    pub const ALL: &[EncryptionOption] = &[Self::PlatformKey, Self::CustomerKey, Self::Guest, Self::Host];

    /// The options that apply to a disk. `in_guest` says whether the guest encrypts it too.
    ///
    /// Double encryption, under the platform's and the customer's keys, has no row of its own. Azure's table has none,
    /// and all eight cells would equal those of [`CustomerKey`](Self::CustomerKey): the second layer changes neither
    /// the encrypted data nor the owner of the upper key.
    ///
    /// This lists the options that apply, not those that are allowed: it also answers for a guest's disk in a
    /// customer's set (52).
    pub fn of(encryption_type: EncryptionType, in_guest: bool) -> Vec<Self> {
        let at_rest = match encryption_type {
            EncryptionType::PlatformKey => Self::PlatformKey,
            EncryptionType::CustomerKey | EncryptionType::PlatformAndCustomerKeys => Self::CustomerKey,
        };
        std::iter::once(at_rest).chain(in_guest.then_some(Self::Guest)).collect()
    }

    /// The name for programs, which never changes: `sse_pmk`, `sse_cmk`, `guest` or `host`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The title for people, as Azure writes it.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// A further remark on the option, if there is one.
    pub fn remark(self) -> Option<&'static str> {
        self.row().remark
    }

    /// The part of the option that this library doesn't support, for every capability. `None`: it supports the option.
    pub fn limit(self) -> Option<&'static str> {
        self.row().limit
    }

    /// The cell of this option and a capability.
    pub fn support(self, capability: Capability) -> Support {
        let cell = self.row().cells[capability as usize];
        Support { limit: cell.limit.or(self.limit().filter(|_| cell.supported)), ..cell }
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// A capability that an option may have: a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// OS and data disks are encrypted at rest.
    AtRest,
    /// Temporary disks are encrypted.
    TempDisk,
    /// The host's caches of disks are encrypted.
    Caches,
    /// Data are encrypted on the way between compute and storage.
    Flows,
    /// The customer controls the keys.
    CustomerKeys,
    /// No CPU of the virtual machine is used.
    NoGuestCpu,
    /// It works for disks made from custom images.
    CustomImages,
    /// The status of the disk in Microsoft Defender for Cloud: supported if healthy. Azure adds that Defender does not
    /// detect encryption at host.
    Posture,
}

impl Capability {
    /// All capabilities, in the order of the table.
    pub const ALL: &[Capability] = &[
        Self::AtRest,
        Self::TempDisk,
        Self::Caches,
        Self::Flows,
        Self::CustomerKeys,
        Self::NoGuestCpu,
        Self::CustomImages,
        Self::Posture,
    ];

    /// The name for programs, which never changes: the variant in snake case, such as `temp_disk`.
    pub fn name(self) -> &'static str {
        COLUMNS[self as usize].0
    }

    /// The title for people, as Azure writes it.
    pub fn title(self) -> &'static str {
        COLUMNS[self as usize].1
    }
}

/// A cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Support {
    /// Whether the option has the capability.
    pub supported: bool,
    /// Azure's note on its yes or no.
    pub note: Option<&'static str>,
    /// The part of the option's support that this library lacks; `None` if it lacks nothing.
    pub limit: Option<&'static str>,
}

impl Support {
    const fn new(supported: bool) -> Self {
        Support { supported, note: None, limit: None }
    }

    const fn note(self, note: &'static str) -> Self {
        Support { note: Some(note), ..self }
    }

    const fn limit(self, limit: &'static str) -> Self {
        Support { limit: Some(limit), ..self }
    }

    /// The cell in a word, with a star where the library has a limit.
    fn text(self) -> String {
        let answer = if self.supported { "yes" } else { "no" };
        format!("{answer}{}", if self.limit.is_some() { " *" } else { "" })
    }
}

/// The table, or the rows of it that apply to a disk.
///
/// ```
/// use atrest::EncryptionType;
/// use atrest::managed::{Capability, CapabilityTable, EncryptionOption};
///
/// for line in CapabilityTable::whole().lines() {
///     println!("{line}");
/// }
/// let options = EncryptionOption::of(EncryptionType::CustomerKey, false);
/// assert!(options[0].support(Capability::CustomerKeys).supported);
/// println!("{}", CapabilityTable::of(&options).to_json());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityTable {
    options: Vec<EncryptionOption>,
}

impl CapabilityTable {
    /// All four rows.
    pub fn whole() -> Self {
        Self::of(EncryptionOption::ALL)
    }

    /// The rows of some options, such as those of [`EncryptionOption::of`].
    pub fn of(options: &[EncryptionOption]) -> Self {
        CapabilityTable { options: options.to_vec() }
    }

    /// The rows.
    pub fn options(&self) -> &[EncryptionOption] {
        &self.options
    }

    /// The table for a terminal, in ASCII: a grid that is Markdown too, with a line for each capability and a column for each
    /// option; then an empty line, and the remarks, notes and limits of options and cells. A star marks a cell in which this
    /// library lacks a part of the option's support.
    pub fn lines(&self) -> Vec<String> {
        let line = |title: &str, cell: &dyn Fn(EncryptionOption) -> String| {
            std::iter::once(title.to_owned()).chain(self.options.iter().map(|option| cell(*option))).collect()
        };
        let mut grid: Vec<Vec<String>> = vec![line("", &|option| option.name().into())];
        for capability in Capability::ALL {
            grid.push(line(capability.title(), &|option| option.support(*capability).text()));
        }

        let width = |column: usize| grid.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.options.len()).map(width).collect();
        let join = |line: &Vec<String>| {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("| {} |", cells.join(" | "))
        };
        let mut lines: Vec<String> = grid.iter().map(join).collect();
        lines.insert(1, join(&widths.iter().map(|width| "-".repeat(*width)).collect()));
        lines.push(String::new());
        lines.extend(self.notes());
        lines
    }

    /// The table in JSON: `options`, a list, each with its `option`, `title`, `remark`, `limit` and a list `capabilities`. Each of
    /// these has its `capability` and `title` and the fields of [`Support`]. Lists are in the order of the table.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a table has only string keys")
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for option in &self.options {
            let (name, title) = (option.name(), option.title());
            notes.push(format!("{name}: {title}"));
            notes.extend(option.remark().map(|text| format!("{name}: {text}")));
            notes.extend(option.limit().map(|text| format!("{name} *: {text}")));
            for capability in Capability::ALL {
                let Support { note, limit, .. } = option.support(*capability);
                let limit = limit.filter(|_| limit != option.limit());
                notes.extend(note.map(|text| format!("{name}, {}: {text}", capability.title())));
                notes.extend(limit.map(|text| format!("{name} *, {}: {text}", capability.title())));
            }
        }
        notes
    }
}

macro_rules! serialize_as_name {
    ($($kind:ty),+) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }
    )+};
}

serialize_as_name!(EncryptionOption, Capability);

impl Serialize for CapabilityTable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Table {
            options: Vec<Line>,
        }

        #[derive(Serialize)]
        struct Line {
            option: EncryptionOption,
            title: &'static str,
            remark: Option<&'static str>,
            limit: Option<&'static str>,
            capabilities: Vec<Cell>,
        }

        #[derive(Serialize)]
        struct Cell {
            capability: Capability,
            title: &'static str,
            #[serde(flatten)]
            support: Support,
        }

        let line = |option: EncryptionOption| Line {
            option,
            title: option.title(),
            remark: option.remark(),
            limit: option.limit(),
            capabilities: Capability::ALL
                .iter()
                .map(|&capability| Cell { capability, title: capability.title(), support: option.support(capability) })
                .collect(),
        };
        Table { options: self.options.iter().copied().map(line).collect() }.serialize(to)
    }
}

struct Row {
    name: &'static str,
    title: &'static str,
    remark: Option<&'static str>,
    limit: Option<&'static str>,
    /// In the order of [`Capability`].
    cells: [Support; 8],
}

/// Names and titles, in the order of [`Capability`].
const COLUMNS: [(&str, &str); 8] = [
    ("at_rest", "Encryption at rest (OS and data disks)"),
    ("temp_disk", "Temp disk encryption"),
    ("caches", "Encryption of caches"),
    ("flows", "Data flows encrypted between Compute and Storage"),
    ("customer_keys", "Customer control of keys"),
    ("no_guest_cpu", "Does not use your VM's CPU"),
    ("custom_images", "Works for custom images"),
    ("posture", "Microsoft Defender for Cloud disk encryption status"),
];

/// In the order of [`EncryptionOption`].
const TABLE: [Row; 4] = [
    Row {
        name: "sse_pmk",
        title: "Encryption at rest with platform-managed key (SSE+PMK)",
        remark: None,
        limit: None,
        cells: [YES, NO, NO, NO, NO, YES, YES, UNHEALTHY],
    },
    Row {
        name: "sse_cmk",
        title: "Encryption at rest with customer-managed key (SSE+CMK)",
        remark: Some("double encryption, under platform and customer keys, counts as this option"),
        limit: None,
        cells: [YES, NO, NO, NO, YES, YES, YES, UNHEALTHY],
    },
    Row {
        name: "guest",
        title: "Azure Disk Encryption",
        remark: None,
        limit: Some(
            "a disk of Linux (LUKS2) is adopted with its data; that of Windows (BitLocker) is opened, and its data copied",
        ),
        cells: [YES, GUEST_TEMP_DISK, GUEST_CACHES, YES, YES, NO, NO_LINUX_IMAGES, HEALTHY],
    },
    Row {
        name: "host",
        title: "Encryption at Host",
        remark: None,
        limit: None,
        cells: [YES, YES, YES, YES, YES, YES, YES, UNHEALTHY],
    },
];

const YES: Support = Support::new(true);
const NO: Support = Support::new(false);
const UNHEALTHY: Support = NO.note("Unhealthy, not applicable if exempt");
const GUEST_TEMP_DISK: Support = YES.limit("this library doesn't encrypt temporary disks");
const GUEST_CACHES: Support = YES.limit("this library doesn't encrypt caches");
const NO_LINUX_IMAGES: Support = NO.note("Does not work for custom Linux images");
const HEALTHY: Support = YES.note("Healthy").limit("this library reports nothing to Defender");
