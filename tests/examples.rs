//! The examples as users run them: their refusals and messages, and that they destroy nothing.

#![cfg(all(feature = "managed", unix))]

#[path = "common/peers.rs"]
mod peers;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use peers::{peer, run, text};

/// An example that `cargo test` has built, beside the folder that this program is in.
fn example(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{} is built by `cargo build --examples`", path.display());
    path
}

/// A folder to work in, with an image of a disk.
struct Bench {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::write(root.join("image"), vec![0x5a; 100_000]).unwrap();
        // Enough for a run to be in the middle of it, and it takes no room.
        File::create(root.join("large")).unwrap().set_len(1 << 30).unwrap();
        Bench { _folder: folder, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn encrypt_disk(&self, image: &str) -> Command {
        let mut command = Command::new(example("encrypt_disk"));
        command.current_dir(&self.root).args(["--dir", "result", image]);
        command
    }

    /// A successful run, and all files afterwards.
    fn result(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let done = self.encrypt_disk("image").output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        contents(&self.root)
    }

    /// A run that is in the middle of its work.
    fn begun(&self) -> (Child, impl BufRead + use<>) {
        let mut child = self.encrypt_disk("large").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("5. ") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it has ended");
        }
        assert!(self.path("result.partial").join("disks").is_dir());
        (child, stdout)
    }
}

/// The files under a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, Vec::new());
        } else if path.file_name().unwrap() != "large" && path.is_file() {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a program ended with one sentence that has these parts, and exit code 1.
fn refused(output: &Output, parts: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}: not {parts:?}");
    for debug in ["Error {", "Os {", "kind:", "Error:", "panicked"] {
        assert!(!text.contains(debug), "{text}");
    }
    let cause = text.matches("os error").count();
    assert!(cause <= 1, "the cause is told {cause} times: {text}");
}

#[test]
fn an_image_that_is_none_is_refused_with_its_path_and_the_cause() {
    let bench = Bench::new();
    let before = bench.result();
    fs::write(bench.path("empty"), b"").unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    run("mkfifo", &[text(&bench.path("fifo"))]);
    for (image, parts) in [
        ("folder", &["folder: ", "is a folder"] as &[_]),
        ("fifo", &["fifo: ", "pipe"]),
        ("/dev/null", &["/dev/null: ", "a block device"]),
        ("empty", &["empty: ", "is empty"]),
        ("absent", &["absent: ", "No such file"]),
        ("image/x", &["image/x: ", "Not a directory"]),
        ("result/disk.dek", &["result/disk.dek: ", "copy it elsewhere"]),
    ] {
        refused(&bench.encrypt_disk(image).output().unwrap(), parts);
    }
    fs::remove_file(bench.path("empty")).unwrap();
    fs::remove_dir(bench.path("folder")).unwrap();
    assert_eq!(contents(&bench.root), before);
}

#[test]
fn an_image_in_a_container_is_named_with_the_way_out() {
    let bench = Bench::new();
    for (format, magic) in [("qcow2", b"QFI\xfb\0\0\0\x03" as &[u8]), ("vmdk", b"KDMV"), ("vhdx", b"vhdxfile")] {
        let path = bench.path("an image");
        let made = peer("qemu-img", &["--version"])
            .is_some_and(|qemu| Command::new(qemu).args(["create", "-qf", format, text(&path), "8M"]).status().is_ok());
        if !made {
            fs::write(&path, [magic, &[0; 4096]].concat()).unwrap();
        }
        let name = if format == "qcow2" { format.into() } else { format.to_uppercase() };
        let line = "`qemu-img convert -O raw 'an image' OUT`";
        refused(&bench.encrypt_disk("an image").output().unwrap(), &["an image: ", &name, line]);
        assert!(!bench.path("result").exists() && !bench.path("result.partial").exists());
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn an_image_that_may_not_be_read_is_refused() {
    let bench = Bench::new();
    fs::set_permissions(bench.path("image"), fs::Permissions::from_mode(0o0)).unwrap();
    let mut command = bench.encrypt_disk("image");
    if File::open(bench.path("image")).is_ok() {
        // Root may read all; another user may not.
        let Some(setpriv) = peer("setpriv", &["--reuid=65534", "--clear-groups", "true"]) else { return };
        fs::set_permissions(&bench.root, fs::Permissions::from_mode(0o777)).unwrap();
        fs::copy(example("encrypt_disk"), bench.path("program")).unwrap();
        command = Command::new(setpriv);
        command.args(["--reuid=65534", "--clear-groups", "./program", "--dir", "result", "image"]);
        command.current_dir(&bench.root);
    }
    refused(&command.output().unwrap(), &["image: ", "Permission denied"]);
    assert!(!bench.path("result").exists());
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let bench = Bench::new();
    let refuses = |parts: &[&str]| {
        let before = contents(&bench.root);
        refused(&bench.encrypt_disk("image").output().unwrap(), &[parts, &["--dir"]].concat());
        assert_eq!(contents(&bench.root), before);
    };
    // A foreign folder, with files that have names of this program.
    fs::create_dir_all(bench.path("result/disks")).unwrap();
    fs::write(bench.path("result/disks/mine.img"), b"mine").unwrap();
    refuses(&["result/disks"]);
    fs::remove_dir_all(bench.path("result")).unwrap();
    // A link that leads to one.
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::write(bench.path("elsewhere/root.key"), b"mine").unwrap();
    std::os::unix::fs::symlink("elsewhere", bench.path("result")).unwrap();
    refuses(&["elsewhere/root.key"]);
    fs::remove_file(bench.path("result")).unwrap();
    // The result of a run, with foreign files beside it and within it.
    bench.result();
    for name in ["result/notes", "result/disks/notes"] {
        fs::write(bench.path(name), b"mine").unwrap();
        refuses(&[name]);
        fs::remove_file(bench.path(name)).unwrap();
    }
    // A file of that run that was changed since.
    bench.result();
    fs::write(bench.path("result/disk.dek"), b"another key").unwrap();
    refuses(&["result/disk.dek"]);
    // A folder in the place where the parts go.
    fs::remove_dir_all(bench.path("result")).unwrap();
    fs::create_dir(bench.path("result.partial")).unwrap();
    fs::write(bench.path("result.partial/notes"), b"mine").unwrap();
    let before = contents(&bench.root);
    refused(&bench.encrypt_disk("image").output().unwrap(), &["result.partial", "move it elsewhere"]);
    assert_eq!(contents(&bench.root), before);
    // No folder at all.
    let mut command = Command::new(example("encrypt_disk"));
    command.current_dir(&bench.root).args(["--dir", "image", "image"]);
    refused(&command.output().unwrap(), &["image: ", "Not a directory"]);
    assert_eq!(contents(&bench.root), before);
}

#[test]
fn a_second_run_beside_a_first_is_refused_and_one_that_is_interrupted_leaves_nothing() {
    let bench = Bench::new();
    let before = bench.result();
    let (mut first, _stdout) = bench.begun();
    let during = bench.encrypt_disk("image").output().unwrap();
    refused(&during, &["result.partial", "another run"]);
    assert!(first.try_wait().unwrap().is_none(), "the first goes on");
    run("kill", &["-INT", &first.id().to_string()]);
    let done = first.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130));
    assert_eq!(said(&done).lines().count(), 1, "{}", said(&done));
    assert!(said(&done).contains("interrupted"), "{}", said(&done));
    assert_eq!(contents(&bench.root), before, "the earlier result is whole, and no part of another is left");
}

#[test]
fn a_run_that_is_killed_leaves_the_earlier_result_and_the_next_one_removes_its_parts() {
    let bench = Bench::new();
    let before = bench.result();
    let (mut child, _stdout) = bench.begun();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let mut found = contents(&bench.root);
    found.retain(|path, _| !path.starts_with(bench.path("result.partial")));
    assert_eq!(found, before);
    let after = bench.result();
    assert!(!bench.path("result.partial").exists());
    assert_eq!(after.len(), before.len());
    assert_ne!(after[&bench.path("result/disk.dek")], before[&bench.path("result/disk.dek")]);
}

#[test]
fn a_full_disk_is_told_and_leaves_the_earlier_result() {
    let bench = Bench::new();
    let script = "mount -t tmpfs -o size=4m none mount && \"$0\" --dir mount/result image >/dev/null && \
                  cp -a mount before && { \"$0\" --dir mount/result large >/dev/null; code=$?; }; \
                  diff -r mount before && exit $code";
    fs::create_dir(bench.path("mount")).unwrap();
    let may = |how: &&str| {
        let mount = "mount -t tmpfs none mount";
        let done = Command::new("unshare").current_dir(&bench.root).args([how, "sh", "-c", mount]).output();
        done.is_ok_and(|done| done.status.success())
    };
    let Some(how) = ["-m", "-rm"].into_iter().find(may) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED a full disk: nobody may mount a file system here");
        return;
    };
    let mut command = Command::new("unshare");
    command.current_dir(&bench.root).args([how, "sh", "-c", script]).arg(example("encrypt_disk"));
    refused(&command.output().unwrap(), &["mount/result.partial/disks/", "No space left on device"]);
}

#[test]
fn a_reader_that_has_read_enough_ends_a_program_without_a_word() {
    let bench = Bench::new();
    let before = bench.result();
    fs::create_dir(bench.path("volume")).unwrap();
    let disk = bench.path("volume/disk.img");
    for (name, args, code) in [
        ("encrypt_disk", vec!["--dir", "result", "image"], 1),
        ("volume", vec!["volume"], 0),
        ("luks_dump", vec![text(&disk)], 0),
        ("day_in_the_life", vec![], 1),
    ] {
        let mut command = Command::new(example(name));
        command.current_dir(&bench.root).args(&args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert_eq!((said(&done), done.status.code()), (String::new(), Some(code)), "{name}");
    }
    fs::remove_dir_all(bench.path("volume")).unwrap();
    assert_eq!(contents(&bench.root), before);
    // The failure is reported if nothing can be written otherwise.
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        let done = bench.encrypt_disk("image").stdout(full).stderr(Stdio::piped()).output().unwrap();
        refused(&done, &["standard output", "No space left"]);
        assert_eq!(contents(&bench.root), before);
    }
}

#[test]
fn help_says_what_a_program_does_and_takes() {
    for (name, parts) in [
        ("encrypt_disk", &["Encrypts a disk image", "[IMAGE]", "--dir <DIR>", "--example encrypt_disk -- "] as &[_]),
        ("luks_dump", &["LUKS header", "<DEVICE>", "--header <FILE>", "--example luks_dump -- "]),
        ("volume", &["Makes a volume", "[FOLDER]", "--example volume -- "]),
        ("day_in_the_life", &["a day of a disk service", "--example day_in_the_life"]),
    ] {
        let help = run(text(&example(name)), &["--help"]);
        assert!(parts.iter().all(|part| help.contains(part)), "{help}");
        let done = Command::new(example(name)).arg("--no-such-option").output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        assert!(said(&done).contains("--help"), "{}", said(&done));
    }
}

/// The program of the README: what it prints, and its status.
#[test]
fn the_quickstart_takes_no_argument_and_tells_a_failure_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let quickstart = |arguments: &[&str]| {
        let done = Command::new(example("quickstart")).current_dir(folder.path()).args(arguments).output().unwrap();
        (done.status.code(), said(&done))
    };
    let usage = "usage: quickstart, in an empty folder: it makes keys.vault and disk.img there\n";
    assert_eq!(quickstart(&["--help"]), (Some(0), usage.into()));
    assert_eq!(quickstart(&["--no-such-option"]), (Some(1), usage.into()));
    assert_eq!(contents(folder.path()).len(), 0);
    fs::create_dir(folder.path().join("disk.img")).unwrap();
    let (status, told) = quickstart(&[]);
    assert_eq!((status, told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.contains("disk.img") && told.contains("exists"), "{told}");
    for name in ["keys.vault", "keys.vault.bak", "keys.vault.audit"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    fs::remove_dir(folder.path().join("disk.img")).unwrap();
    assert_eq!(quickstart(&[]), (Some(0), String::new()));
    let (status, told) = quickstart(&[]);
    assert_eq!((status, told.contains("keys.vault") && told.contains("exists")), (Some(1), true), "{told}");
}

#[test]
fn the_other_programs_tell_a_failure_in_a_sentence_and_write_over_nothing() {
    let bench = Bench::new();
    run("mkfifo", &[text(&bench.path("fifo"))]);
    let refuses = |name: &str, path: &str, parts: &[&str]| {
        let done = Command::new(example(name)).current_dir(&bench.root).arg(path).output().unwrap();
        refused(&done, parts);
    };
    refuses("luks_dump", "absent", &["absent", "there is no"]);
    refuses("luks_dump", "fifo", &["fifo failed: ", "FIFO"]);
    refuses("luks_dump", ".", &[". failed: ", "folder"]);
    refuses("luks_dump", "image", &["image: ", "no LUKS header"]);
    refuses("volume", "absent", &["no folder absent"]);
    run(text(&example("volume")), &[text(&bench.root)]);
    let before = contents(&bench.root);
    refuses("volume", ".", &["root.key", "exists"]);
    fs::remove_file(bench.path("root.key")).unwrap();
    refuses("volume", ".", &["keys.vault", "exists"]);
    for name in ["root.key", "keys.vault", "keys.vault.bak", "keys.vault.audit"] {
        fs::remove_file(bench.path(name)).unwrap();
    }
    refuses("volume", ".", &["disk.img", "exists"]);
    assert_eq!(contents(&bench.root)[&bench.path("disk.img")], before[&bench.path("disk.img")]);
}
