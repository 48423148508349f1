//! Compares the capability table (82) with Azure's own, which is transcribed here.

use std::collections::BTreeSet;

use atrest::EncryptionType;
use atrest::managed::{Capability, CapabilityTable, EncryptionOption};
use serde_json::Value;

/// "Overview of managed disk encryption options", 02/14/2022, with the marks of yes and no as words and without bold type.
const AZURE: &str = "\
| | Encryption at rest (OS and data disks) | Temp disk encryption | Encryption of caches | Data flows encrypted between Compute and Storage | Customer control of keys | Does not use your VM's CPU | Works for custom images | Microsoft Defender for Cloud disk encryption status |
|--|--|--|--|--|--|--|--|--|
| Encryption at rest with platform-managed key (SSE+PMK) | yes | no | no | no | no | yes | yes | Unhealthy, not applicable if exempt |
| Encryption at rest with customer-managed key (SSE+CMK) | yes | no | no | no | yes | yes | yes | Unhealthy, not applicable if exempt |
| Azure Disk Encryption | yes | yes | yes | yes | yes | no | no Does not work for custom Linux images | Healthy |
| Encryption at Host | yes | yes | yes | yes | yes | yes | yes | Unhealthy, not applicable if exempt |
";

/// A row of Azure's: its title, and of each cell the title of its column, the answer, and the note.
type Row = (String, Vec<(String, bool, Option<String>)>);

/// The cells between the pipes of each line of a Markdown table, without the line that rules it.
fn cells(table: &str) -> Vec<Vec<String>> {
    let split = |line: &str| -> Vec<String> {
        let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).expect("a line lies between pipes");
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let ruled = |line: &Vec<String>| line.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| c == '-'));
    table.lines().take_while(|line| !line.is_empty()).map(split).filter(|line| !ruled(line)).collect()
}

fn azure() -> Vec<Row> {
    let answer = |cell: &str| match cell.split_once(' ').unwrap_or((cell, "")) {
        ("yes", note) => (true, (!note.is_empty()).then(|| note.to_owned())),
        ("no", note) => (false, (!note.is_empty()).then(|| note.to_owned())),
        _ => (cell == "Healthy", Some(cell.to_owned())),
    };
    let mut lines = cells(AZURE).into_iter();
    let titles = lines.next().unwrap();
    let row = |line: Vec<String>| {
        assert_eq!(line.len(), 9, "{line:?}");
        let answers = titles.iter().zip(&line).skip(1).map(|(title, cell)| {
            let (supported, note) = answer(cell);
            (title.clone(), supported, note)
        });
        (line[0].clone(), answers.collect())
    };
    lines.map(row).collect()
}

#[test]
fn each_cell_is_that_of_azure() {
    let azure = azure();
    assert_eq!(azure.len(), EncryptionOption::ALL.len());
    let mut compared = 0;
    for (option, (title, row)) in EncryptionOption::ALL.iter().zip(azure) {
        assert_eq!(option.title(), title);
        assert_eq!(row.len(), Capability::ALL.len());
        for (capability, (title, supported, note)) in Capability::ALL.iter().zip(row) {
            let cell = option.support(*capability);
            assert_eq!(capability.title(), title);
            assert_eq!((cell.supported, cell.note), (supported, note.as_deref()), "{option:?}, {title}");
            compared += 1;
        }
    }
    assert_eq!(compared, 32);
}

#[test]
fn variants_have_their_own_cells() {
    use {Capability as C, EncryptionOption as O};
    let supported = |option: O, capability| option.support(capability).supported;
    assert!(supported(O::PlatformKey, C::NoGuestCpu) && !supported(O::PlatformKey, C::CustomerKeys));
    assert!(supported(O::CustomerKey, C::CustomerKeys) && !supported(O::CustomerKey, C::Flows));
    assert!(supported(O::Guest, C::Posture) && !supported(O::Guest, C::NoGuestCpu));
    assert!(supported(O::Host, C::TempDisk) && !supported(O::Host, C::Posture));
}

#[test]
fn names_are_stable() {
    let options: Vec<&str> = EncryptionOption::ALL.iter().map(|option| option.name()).collect();
    assert_eq!(options, ["sse_pmk", "sse_cmk", "guest", "host"]);
    for capability in Capability::ALL {
        assert_eq!(capability.name(), snake_case(&format!("{capability:?}")));
    }
}

fn snake_case(name: &str) -> String {
    let letter = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
    name.chars().map(letter).collect::<String>().trim_start_matches('_').to_owned()
}

#[test]
fn the_json_is_the_table() {
    let table: Value = serde_json::from_str(&CapabilityTable::whole().to_json()).unwrap();
    let rows = table["options"].as_array().unwrap();
    let azure = azure();
    assert_eq!(rows.len(), azure.len());
    for ((option, row), (title, answers)) in EncryptionOption::ALL.iter().zip(rows).zip(azure) {
        assert_eq!(row["option"], option.name());
        assert_eq!(row["title"], title);
        assert_eq!(row["remark"], text_or_null(option.remark()));
        assert_eq!(row["limit"], text_or_null(option.limit()));
        assert_eq!(row.as_object().unwrap().len(), 5);
        let cells = row["capabilities"].as_array().unwrap();
        assert_eq!(cells.len(), answers.len());
        for ((capability, cell), (title, supported, note)) in Capability::ALL.iter().zip(cells).zip(answers) {
            let ours = option.support(*capability);
            assert_eq!(cell["capability"], capability.name());
            assert_eq!(cell["title"], title);
            assert_eq!(cell["supported"], supported, "{option:?}, {title}");
            assert_eq!(cell["note"], text_or_null(note.as_deref()));
            assert_eq!(cell["limit"], text_or_null(ours.limit));
            assert_eq!(cell.as_object().unwrap().len(), 5);
        }
    }
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

#[test]
fn the_text_is_a_grid_with_notes_under_it() {
    let lines = CapabilityTable::whole().lines();
    let text = lines.join("\n");
    assert!(text.is_ascii(), "{text}");
    let (grid, notes) = text.split_once("\n\n").unwrap();

    // Aligned: lines are of one width, and their pipes stand below each other.
    let pipes = |line: &str| -> Vec<usize> { line.match_indices('|').map(|(at, _)| at).collect() };
    let widths: BTreeSet<usize> = grid.lines().map(str::len).collect();
    let columns: BTreeSet<Vec<usize>> = grid.lines().map(pipes).collect();
    assert_eq!((widths.len(), columns.len()), (1, 1), "{text}");
    assert!(widths.first() <= Some(&120), "{text}");
    assert_eq!(columns.first().unwrap().len(), 6);

    // Azure's answers, the other way round: a line for each capability, a column for each option.
    let lines = cells(grid);
    assert_eq!(lines.len(), 1 + 8, "{text}");
    for (column, (option, (title, answers))) in EncryptionOption::ALL.iter().zip(azure()).enumerate() {
        assert_eq!(lines[0][column + 1], option.name());
        assert!(notes.contains(&format!("{}: {title}", option.name())), "{text}");
        for (line, (title, supported, note)) in lines[1..].iter().zip(answers) {
            let answer = line[column + 1].trim_end_matches(" *");
            assert_eq!((line[0].as_str(), answer), (title.as_str(), if supported { "yes" } else { "no" }), "{text}");
            let note = note.map(|note| format!("{}, {title}: {note}", option.name()));
            assert!(note.is_none_or(|note| notes.lines().any(|line| line == note)), "{text}");
        }
    }
}

#[test]
fn what_the_library_does_not_do_is_told() {
    use {Capability as C, EncryptionOption as O};
    // In the guest: Linux, but not Windows; neither temporary disks nor caches.
    let limit = O::Guest.limit().unwrap();
    assert!(limit.contains("LUKS2") && limit.contains("Windows (BitLocker) is opened, and its data copied"), "{limit}");
    assert_eq!(O::Guest.support(C::AtRest).limit, O::Guest.limit());
    for (capability, what) in [(C::TempDisk, "temporary disks"), (C::Caches, "caches"), (C::Posture, "Defender")] {
        assert!(O::Guest.support(capability).limit.unwrap().contains(what), "{capability:?}");
    }
    // At rest and at the host: all of it.
    for option in [O::PlatformKey, O::CustomerKey, O::Host] {
        assert_eq!(option.limit(), None);
        assert!(C::ALL.iter().all(|capability| option.support(*capability).limit.is_none()), "{option:?}");
    }

    // Text and JSON tell.
    let table = CapabilityTable::whole();
    let lines = table.lines();
    let (grid, text) = (cells(&lines.join("\n")), lines.join("\n"));
    let json: Value = serde_json::from_str(&table.to_json()).unwrap();
    for (column, option) in O::ALL.iter().enumerate() {
        assert_eq!(json["options"][column]["limit"], text_or_null(option.limit()));
        for (line, capability) in C::ALL.iter().enumerate() {
            let limit = option.support(*capability).limit;
            let marked = grid[line + 1][column + 1].ends_with(" *");
            assert_eq!(marked, limit.is_some(), "{option:?}, {capability:?}");
            assert_eq!(json["options"][column]["capabilities"][line]["limit"], text_or_null(limit));
            assert!(limit.is_none_or(|limit| text.contains(&format!(": {limit}"))), "{text}");
        }
    }
}

/// What an option doesn't give has no limit of the library's.
#[test]
fn limits_are_of_what_is_supported() {
    for option in EncryptionOption::ALL {
        for capability in Capability::ALL {
            let cell = option.support(*capability);
            assert!(cell.supported || cell.limit.is_none(), "{option:?}, {capability:?}");
        }
    }
}

#[test]
fn a_disk_has_the_rows_that_apply_to_it() {
    use EncryptionOption::{CustomerKey, Guest, PlatformKey};
    use EncryptionType as Type;
    for (kind, in_guest, options) in [
        (Type::PlatformKey, false, &[PlatformKey][..]),
        (Type::PlatformKey, true, &[PlatformKey, Guest]),
        (Type::CustomerKey, false, &[CustomerKey]),
        (Type::CustomerKey, true, &[CustomerKey, Guest]),
        (Type::PlatformAndCustomerKeys, false, &[CustomerKey]),
        (Type::PlatformAndCustomerKeys, true, &[CustomerKey, Guest]),
    ] {
        assert_eq!(EncryptionOption::of(kind, in_guest), options, "{kind:?}, {in_guest}");
        let table = CapabilityTable::of(options);
        assert_eq!(table.options(), options);
        let names: Vec<&str> = options.iter().map(|option| option.name()).collect();
        assert_eq!(cells(&table.lines().join("\n"))[0][1..], names);
        let json: Value = serde_json::from_str(&table.to_json()).unwrap();
        let rows = json["options"].as_array().unwrap();
        assert_eq!(rows.iter().map(|row| row["option"].as_str().unwrap()).collect::<Vec<_>>(), names);
    }
}
