//! What the documents show is true: every command line in them is run, and the session in the README is replayed.

use std::path::Path;

use crate::common::{Place, peer};

pub fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The blocks of a document that begin with a fence of this word.
pub fn blocks(text: &str, fence: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == fence {
            found.push(lines.by_ref().take_while(|line| *line != "```").map(|line| line.to_owned() + "\n").collect());
        }
    }
    found
}

/// The commands of a block: lines that begin with `$ `, and lines that go on after a backslash.
pub fn commands(block: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        let line = match (goes_on, line.strip_prefix("$ ")) {
            (true, _) => line,
            (false, Some(command)) => command,
            (false, None) => continue,
        };
        if goes_on {
            found.last_mut().unwrap().push_str(line)
        } else {
            found.push(line.to_owned())
        }
        goes_on = line.ends_with('\\');
        if goes_on {
            found.last_mut().unwrap().pop();
        }
    }
    found
}

/// What differs in every run: identifiers, sums, times, rates.
fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split_whitespace().map(|word| {
            let hex = word.chars().filter(char::is_ascii_hexdigit).count();
            let digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
            match word {
                _ if word.contains("urn:uuid:") => "URN".into(),
                _ if hex == 64 || (hex == 32 && word.len() == 36) => "HEX".into(),
                _ if word.contains(':') && word.ends_with('=') => "HEAD".into(),
                _ if digits => "N".into(),
                _ => word.to_owned(),
            }
        });
        out += &words.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}

#[test]
fn every_command_line_of_the_manual_runs() {
    if !peer("qemu-img") || !peer("cryptsetup") {
        return;
    }
    let place = Place::new();
    place.image("disk.img", 3 << 20);
    place.image("old.img", 1 << 20);
    let text = document("docs/cli.md");
    let mut script = String::from("set -eu -o pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n");
    let mut count = 0;
    for command in blocks(&text, "```console").iter().flat_map(|block| commands(block)) {
        let quoted = command.replace('\'', "'\\''");
        script += &format!("echo '$ {quoted}' >&2\n{command}\n");
        if command.ends_with('&') {
            // Until it listens.
            script += "for i in $(seq 1200); do [ -S disk.sock ] && break; sleep 0.05; done\n";
        }
        count += 1;
    }
    assert!(count > 40, "only {count} commands were found");
    let ran = place.shell(&script);
    assert_eq!(ran.status, 0, "{}\n{}", ran.text(), ran.stderr);
}

/// The names of all commands that have none below them, such as `key ls`.
fn leaves(place: &Place, above: &[&str]) -> Vec<String> {
    let help = place.ok(&[above, &["--help"]].concat());
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> =
        names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help").collect();
    if names.is_empty() {
        return vec![above.join(" ")];
    }
    names.iter().flat_map(|name| leaves(place, &[above, &[name]].concat())).collect()
}

#[test]
fn every_command_has_a_line_in_the_manual() {
    let text = document("docs/cli.md");
    // Options of `fleet` may stand before the next word.
    let line = |command: &String| {
        let mut words: Vec<&str> = command.split_whitespace().skip_while(|word| *word != "atrest").skip(1).collect();
        while words.first() == Some(&"fleet") && words.get(1).is_some_and(|word| word.starts_with("--")) {
            words.drain(1..3);
        }
        words.join(" ") + " "
    };
    let fences = ["```console", "```console mount", "```console postgres"];
    let mut lines: Vec<String> =
        fences.iter().flat_map(|fence| blocks(&text, fence)).flat_map(|block| commands(&block)).collect();
    lines.extend(blocks(&text, "```sh").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()));
    let lines: Vec<String> = lines.iter().map(|command| line(&command.replace("$(", " "))).collect();
    let mut left = leaves(&Place::new(), &[]);
    left.retain(|command| !lines.iter().any(|line| line.starts_with(&format!("{command} "))));
    // They need Azure, and have a page of their own.
    left.retain(|command| !["add-secret", "replace-secret", "take-over"].contains(&command.as_str()));
    assert!(left.is_empty(), "no line shows {left:?}");
}

/// What no test can run, for it needs a service, has at least no option that there isn't.
#[test]
fn command_lines_that_are_not_run_are_understood() {
    let place = Place::new();
    let mut count = 0;
    for (name, fence) in
        [("docs/cli.md", "```sh"), ("docs/ade.md", "```sh"), ("crates/atrest-cli/README.md", "```console")]
    {
        if name == "docs/ade.md" && !cfg!(feature = "kms") {
            continue;
        }
        for block in blocks(&document(name), fence) {
            let joined = block.replace("\\\n", " ");
            for command in joined.lines().map(|line| line.trim_start_matches("$ ")) {
                if command.starts_with("atrest ") {
                    let ran = place.shell(&format!("{command} --help"));
                    assert_eq!(ran.status, 0, "{name}: {command}: {}", ran.stderr);
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 4, "only {count} were found");
}

#[test]
fn the_readmes_session_is_as_recorded() {
    let text = document("README.md");
    let sessions = blocks(&text, "```console");
    let session = sessions.iter().find(|block| block.contains("$ atrest ")).expect("the README has a session");
    let place = Place::new();
    place.image("disk.img", 8 << 20);
    let mut output = String::new();
    let mut script = String::from("set -eu\n");
    for command in commands(session) {
        script += &format!("echo '$ {command}'\n{command} 2>&1\n");
        if command.ends_with('&') {
            script += "for i in $(seq 1200); do [ -S disk.sock ] && break; sleep 0.05; done\n";
        }
    }
    script += "kill $(jobs -p) 2> /dev/null || true\n";
    let ran = place.shell(&script);
    output += &ran.text();
    assert_eq!(ran.status, 0, "{output}{}", ran.stderr);
    assert_eq!(normal(&output), normal(session), "recorded:\n{session}\nnow:\n{output}");
}
