//! The program on a terminal: questions, passphrases, progress.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::common::{CHEAP, PROGRAM, Place, noise};

/// What a person would wait for, in milliseconds.
const PATIENCE: Option<u64> = Some(30_000);

/// Starts the program on a terminal that shows what is typed, as terminals do.
fn start(place: &Place, variables: &[(&str, &str)], args: &[&str]) -> PtySession {
    let mut command = Command::new("sh");
    command.args(["-c", "stty echo; exec \"$@\"", "sh", PROGRAM]).args(args);
    place.prepare(&mut command);
    // That of the terminal.
    command.stdin(Stdio::inherit());
    command.env("TERM", "xterm").envs(variables.iter().copied());
    spawn_command(command, PATIENCE).unwrap()
}

/// All that is left of its output, and its exit status.
fn end(mut terminal: PtySession) -> (String, i32) {
    let rest = terminal.exp_eof().unwrap();
    match terminal.process().wait().unwrap() {
        WaitStatus::Exited(_, status) => (rest, status),
        other => panic!("{other:?}: {rest}"),
    }
}

fn shows_what_is_typed(terminal: &PtySession) -> bool {
    let handle = terminal.process().get_file_handle().unwrap();
    tcgetattr(&handle).unwrap().local_modes.contains(LocalModes::ECHO)
}

/// Waits until the terminal hides what is typed.
fn until_hidden(terminal: &PtySession) {
    for _ in 0..1000 {
        if !shows_what_is_typed(terminal) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it shows what is typed");
}

#[test]
fn a_new_passphrase_is_asked_for_twice_and_never_shown() {
    let place = Place::new();
    place.image("plain.img", 4096);
    let args = [&["encrypt", "plain.img", "a.luks"], &CHEAP[..]].concat();
    let mut terminal = start(&place, &[], &args);
    terminal.exp_string("New passphrase: ").unwrap();
    until_hidden(&terminal);
    terminal.send_line("correct horse").unwrap();
    terminal.exp_string("New passphrase again: ").unwrap();
    terminal.send_line("correct hose").unwrap();
    let (rest, status) = end(terminal);
    assert_eq!(status, 2);
    assert!(rest.contains("not the same"), "{rest}");
    assert!(!rest.contains("correct"), "{rest}");
    assert_eq!(place.files(), ["plain.img"]);

    let mut terminal = start(&place, &[], &args);
    terminal.exp_string("New passphrase: ").unwrap();
    terminal.send_line("correct horse").unwrap();
    terminal.exp_string("New passphrase again: ").unwrap();
    terminal.send_line("correct horse").unwrap();
    let (rest, status) = end(terminal);
    assert_eq!(status, 0, "{rest}");

    // Asked again when it was wrong, three times in all; once it is right, it goes on.
    let mut terminal = start(&place, &[], &["decrypt", "a.luks", "b.img"]);
    for word in ["wrong", "wrong again", "correct horse"] {
        terminal.exp_string("Passphrase of a.luks: ").unwrap();
        terminal.send_line(word).unwrap();
    }
    let (rest, status) = end(terminal);
    assert_eq!(status, 0, "{rest}");
    assert_eq!(place.read("b.img"), noise(4096));
    let mut terminal = start(&place, &[], &["info", "a.luks", "--unlock"]);
    for _ in 0..3 {
        terminal.exp_string("Passphrase of a.luks: ").unwrap();
        terminal.send_line("wrong").unwrap();
    }
    let (rest, status) = end(terminal);
    assert_eq!(status, 4, "{rest}");
}

#[test]
fn what_destroys_asks_and_takes_no_for_an_answer() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    let before = place.read("a.luks");
    for answer in ["n", "", "maybe"] {
        let mut terminal = start(&place, &[], &["header", "erase", "a.luks"]);
        terminal.exp_string("All data of a.luks is lost").unwrap();
        terminal.exp_string("Go on? [y/N] ").unwrap();
        terminal.send_line(answer).unwrap();
        let (rest, status) = end(terminal);
        assert_eq!(status, 8, "{rest}");
        assert!(rest.contains("nothing was done"), "{rest}");
    }
    assert!(place.read("a.luks") == before);
    let mut terminal = start(&place, &[], &["header", "erase", "a.luks"]);
    terminal.exp_string("[y/N] ").unwrap();
    terminal.send_line("y").unwrap();
    assert_eq!(end(terminal).1, 0);
    assert_eq!(place.json("info", &["info", "a.luks"])["tokens"], serde_json::json!([]));
}

#[test]
fn ctrl_c_at_a_question_ends_it_and_the_terminal_shows_again_what_is_typed() {
    let place = Place::new();
    place.image("plain.img", 4096);
    let args = [&["encrypt", "plain.img", "a.luks"], &CHEAP[..]].concat();
    for again in [false, true] {
        let mut terminal = start(&place, &[], &args);
        terminal.exp_string("New passphrase: ").unwrap();
        if again {
            terminal.send_line("correct horse").unwrap();
            terminal.exp_string("again: ").unwrap();
        }
        until_hidden(&terminal);
        let handle = terminal.process().get_file_handle().unwrap();
        terminal.send_control('c').unwrap();
        assert_eq!(end(terminal).1, 130);
        assert!(tcgetattr(&handle).unwrap().local_modes.contains(LocalModes::ECHO));
        assert_eq!(place.files(), ["plain.img"]);
    }
    // At the end of input there is no answer.
    let mut terminal = start(&place, &[], &args);
    terminal.exp_string("New passphrase: ").unwrap();
    until_hidden(&terminal);
    terminal.send_control('d').unwrap();
    assert_eq!(end(terminal).1, 8);
}

#[test]
fn progress_is_shown_follows_the_terminals_size_and_ctrl_c_leaves_nothing() {
    let place = Place::with_vault();
    let sparse = File::create(place.path("plain.img")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    let before = place.files();
    let mut terminal = start(&place, &[], &["encrypt", "plain.img", "a.luks"]);
    terminal.exp_string("encrypting").unwrap();
    terminal.exp_regex("[0-9.]+ [KMG]iB/2.00 GiB [0-9.]+ [KMG]iB/s .*left").unwrap();
    let handle = terminal.process().get_file_handle().unwrap();
    for columns in [40, 200, 1, 80] {
        tcsetwinsize(&handle, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        assert_eq!(terminal.process().status(), Some(WaitStatus::StillAlive));
        std::thread::sleep(Duration::from_millis(100));
    }
    terminal.send_control('c').unwrap();
    assert_eq!(end(terminal).1, 130);
    assert_eq!(place.files(), before);
}

#[test]
fn a_terminal_that_goes_away_stops_it() {
    let place = Place::with_vault();
    let sparse = File::create(place.path("plain.img")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    let before = place.files();
    let mut terminal = start(&place, &[], &["encrypt", "plain.img", "a.luks"]);
    terminal.exp_string("encrypting").unwrap();
    terminal.process_mut().signal(rexpect::process::Signal::SIGHUP).unwrap();
    assert_eq!(end(terminal).1, 129);
    assert_eq!(place.files(), before);
}

#[test]
fn a_disk_is_not_printed_on_a_terminal_and_colour_can_be_had_or_not() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    let (text, status) = end(start(&place, &[], &["decrypt", "a.luks", "-"]));
    assert_eq!(status, 8);
    assert!(text.contains("\x1b[1;31merror:\x1b[0m") && text.contains("is a terminal"), "{text}");
    let (text, _) = end(start(&place, &[("NO_COLOR", "1")], &["decrypt", "a.luks", "-"]));
    assert!(text.contains("error:") && !text.contains('\x1b'), "{text}");
}

#[test]
fn serving_ends_at_ctrl_c() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    let mut terminal = start(&place, &[], &["serve", "a.luks", "--nbd", "a.sock"]);
    terminal.exp_string("serving a.luks (4.0 KiB) by nbd at a.sock").unwrap();
    terminal.send_control('c').unwrap();
    let (rest, status) = end(terminal);
    assert_eq!(status, 130, "{rest}");
    assert!(rest.contains("all that was written is on the disk"), "{rest}");
    assert!(!place.path("a.sock").exists());
}

#[test]
fn following_the_log_ends_at_ctrl_c() {
    let place = Place::with_vault();
    let mut terminal = start(&place, &[], &["audit", "--follow"]);
    terminal.exp_string("create").unwrap();
    place.encrypted("a.luks", 4096);
    terminal.exp_string("wrapKey").unwrap();
    terminal.exp_string("unwrapKey").unwrap();
    terminal.send_control('c').unwrap();
    assert_eq!(end(terminal).1, 130);
}
