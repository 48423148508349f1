//! Secrets come from everywhere but the arguments.

use crate::common::{CHEAP, Place};

/// A volume under the passphrase `correct horse`.
fn place() -> Place {
    let place = Place::new();
    place.image("plain.img", 4096);
    place.write("key", "correct horse");
    place.ok(&[&["encrypt", "plain.img", "a.luks", "--key-file", "key"], &CHEAP[..]].concat());
    place
}

#[test]
fn a_passphrase_comes_from_a_file_a_descriptor_or_a_command() {
    let place = place();
    place.write("line", "correct horse\n");
    place.write("dos", "correct horse\r\n");
    place.write("two", "correct horse\n\n");
    let by = |source: &str| place.run(&["info", "a.luks", "--unlock", "--passphrase-from", source]).status;
    for source in ["file:line", "file:key", "file:dos", "command:echo correct horse", "command:cat key"] {
        assert_eq!(by(source), 0, "{source}");
    }
    // One newline is left out, not two; of a key file none.
    assert_eq!(by("file:two"), 4);
    place.run(&["info", "a.luks", "--unlock", "--key-file", "line"]).failed(4, "Every byte of a key file counts");
    place.run(&["info", "a.luks", "--unlock", "--passphrase-from", "file:none"]).failed(3, "none");
    place.run(&["info", "a.luks", "--unlock", "--passphrase-from", "command:exit 3"]).failed(9, "exit status: 3");

    let fed = place.fed(&["info", "a.luks", "--unlock", "--passphrase-from", "fd:0"], b"correct horse\n");
    assert_eq!(fed.status, 0, "{}", fed.stderr);
    let script = "atrest info a.luks --unlock --passphrase-from fd:5 5< line && \
                  atrest info a.luks --unlock --passphrase-from fd:6 6< <(echo correct horse)";
    assert_eq!(place.shell(script).status, 0);
    place.run(&["info", "a.luks", "--unlock", "--passphrase-from", "fd:77"]).failed(3, "descriptor 77 is not open");
}

#[test]
fn what_the_shell_opens_may_be_a_pipe_and_a_named_pipe_is_refused_at_once() {
    let place = place();
    for script in [
        "atrest info a.luks --unlock --passphrase-from file:<(echo correct horse)",
        "echo correct horse | atrest info a.luks --unlock --passphrase-from file:/dev/stdin",
        "echo correct horse | atrest info a.luks --unlock --passphrase-from file:/proc/self/fd/0",
        "atrest info a.luks --unlock --passphrase-from file:/dev/fd/5 5< line",
        "atrest info a.luks --unlock --key-file <(printf 'correct horse')",
        "ln -s line link && atrest info a.luks --unlock --passphrase-from file:link",
    ] {
        place.write("line", "correct horse\n");
        let done = place.shell(script);
        assert_eq!(done.status, 0, "{script}: {}", done.stderr);
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("named"), 0o600.into()).unwrap();
    let refused = |args: &[&str]| {
        let script = format!("timeout -k 5 20 atrest {}", args.join(" "));
        let done = place.shell(&script);
        assert!(
            done.status == 2 && done.stderr.contains("named: it is a pipe (FIFO), not a file"),
            "{script}: {}",
            done.stderr
        );
    };
    refused(&["info", "a.luks", "--unlock", "--passphrase-from", "file:named"]);
    refused(&["info", "a.luks", "--unlock", "--dek-file", "named"]);
    refused(&["encrypt", "plain.img", "b.luks", "--passphrase-from", "file:named"]);
    // A pipe in place of the remains of a killed run.
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("b.luks.partial"), 0o600.into()).unwrap();
    let done = place.shell("timeout -k 5 20 atrest --yes encrypt plain.img b.luks --key-file key");
    assert!(done.status == 2 && done.stderr.contains("b.luks.partial: it is no plain file"), "{}", done.stderr);
}

#[test]
fn what_looks_like_a_secret_in_an_argument_is_refused_and_not_shown() {
    let place = place();
    for secret in ["hunter2-hunter2", "pass:hunter2-hunter2", "fd:hunter2-hunter2", "file:", "command:"] {
        let refused = place.run(&["info", "a.luks", "--unlock", "--passphrase-from", secret]);
        refused.failed(2, "never given as an argument");
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let place = place();
    place.run(&["info", "a.luks", "--unlock"]).failed(2, "no terminal to ask for the passphrase of a.luks");
    place.run(&["vault", "init", "keys.vault"]).failed(2, "no terminal");
    assert!(!place.files().iter().any(|name| name.starts_with("keys.vault")));
}

#[test]
fn several_ways_at_once_are_an_error() {
    let place = place();
    let args = ["info", "a.luks", "--unlock", "--key-file", "key", "--passphrase-from", "file:key"];
    place.run(&args).failed(2, "one way to open the volume");
    place.run(&["encrypt", "plain.img", "b.luks", "--key-file", "key", "--key", "disks"]).failed(2, "not several");
    place.run(&["encrypt", "plain.img", "b.luks", "--key", "disks"]).failed(2, "--vault");
}

#[test]
fn a_large_secret_is_taken_and_a_larger_one_refused() {
    let place = place();
    place.write("large", vec![b'x'; 1 << 20]);
    place.ok(&[&["encrypt", "plain.img", "b.luks", "--passphrase-from", "file:large"], &CHEAP[..]].concat());
    place.ok(&["info", "b.luks", "--unlock", "--key-file", "large"]);
    place
        .run(&["info", "b.luks", "--unlock", "--passphrase-from", "file:/dev/zero"])
        .failed(2, "/dev/zero: it is a device");
}

#[test]
fn the_data_key_opens_what_it_encrypted() {
    use crate::common::{by_peer, peer};
    if !peer("cryptsetup") {
        return;
    }
    let place = place();
    let dump = ["luksDump", "-q", "--dump-volume-key", "--volume-key-file", "dek", "--key-file", "key", "a.luks"];
    by_peer(&place, "cryptsetup", &dump);
    place.ok(&["decrypt", "a.luks", "b.img", "--dek-file", "dek"]);
    assert_eq!(place.read("b.img"), place.read("plain.img"));
    place.write("dek", [7; 64]);
    place.run(&["decrypt", "a.luks", "c.img", "--dek-file", "dek"]).failed(2, "two halves");
}
