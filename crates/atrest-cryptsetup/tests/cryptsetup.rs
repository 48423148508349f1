//! Stock cryptsetup opens our volumes by the plugin. Its folder of plugins is replaced for the one process, in a mount
//! namespace, so that nothing is installed.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../../../tests/common/peers.rs"]
mod peers;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use atrest::key::{HashAlgorithm, Kdf};
use atrest::vault::{FileVault, Unlock, VersionChange};
use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::{FileDevice, FormatOptions, Protector, Volume};

use peers::{peer, run, run_any, text};

const PASSPHRASE: &[u8] = b"correct horse battery staple";

/// The folder in which this libcryptsetup looks for plugins.
const PLUGINS: &str = "/usr/lib/x86_64-linux-gnu/cryptsetup";

/// The folder with the plugin, if it can be built and used here.
fn plugin() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    peer("cryptsetup", &["--version"])?;
    // Not every machine lets its users mount. What such a one can't try here, the guest does.
    let mount = format!("mount --bind /tmp {PLUGINS}");
    if !run_any("unshare", &["--mount", "--map-root-user", "sh", "-c", &mount]).status.success() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not `eprintln!`: `cargo test` hides its output if a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: nobody may mount here");
        return None;
    }
    peer("sh", &["-c", "ldconfig -p | grep -q 'libcryptsetup.so.12 .*x86-64'"])?;
    let built = BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build-plugin");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin");
        let mut command = Command::new(script);
        command.arg(&folder).env("ATREST_PLUGIN_PROFILE", "debug");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(folder)
    });
    built.as_deref()
}

struct World {
    folder: tempfile::TempDir,
    vault: FileVault,
}

impl World {
    /// A vault, a volume under a key of it, and a configuration that names the vault.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("vault.key");
        FileVault::generate_key_file(&key_file).unwrap();
        let vault = FileVault::create(folder.path().join("keys.vault"), Unlock::KeyFile(&key_file)).unwrap();
        vault.create_key("disks").unwrap();
        let world = World { folder, vault };
        world.configure(&world.url());
        let device = FileDevice::create(world.image(), 18 << 20).unwrap();
        let volume = Volume::format(device, Protector::Vault(&world.vault, "disks"), &FormatOptions::new()).unwrap();
        volume.bind_tokens().unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("image")
    }

    fn url(&self) -> String {
        format!("file:{}?key-file={}", self.path("keys.vault").display(), self.path("vault.key").display())
    }

    fn configure(&self, lines: &str) {
        fs::write(self.path("token.conf"), lines).unwrap();
    }

    fn volume(&self) -> Volume<FileDevice> {
        let device = FileDevice::open(self.image()).unwrap();
        Volume::open(device, atrest::Credential::Vault(&self.vault), &Default::default()).unwrap()
    }

    /// Runs cryptsetup with the plugin.
    fn cryptsetup(&self, plugin: &Path, args: &[&str], input: &[u8]) -> Output {
        let script = format!("mount --bind \"$0\" {PLUGINS} && exec cryptsetup \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script, text(plugin)]).args(args);
        command.env("ATREST_TOKEN_CONFIG", self.path("token.conf"));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It need not read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn open(&self, plugin: &Path) -> Result<(), String> {
        let image = self.image();
        let args = ["open", "--test-passphrase", "--token-only", text(&image)];
        let output = self.cryptsetup(plugin, &args, b"");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(told) }
    }
}

#[test]
fn it_exports_what_libcryptsetup_looks_up_and_no_more() {
    let Some(plugin) = plugin() else { return };
    if peer("nm", &["--version"]).is_none() {
        return;
    }
    let symbols = run("nm", &["-D", "--defined-only", text(&plugin.join("libcryptsetup-token-atrest.so"))]);
    let mut names: Vec<&str> = symbols.lines().filter_map(|line| line.split(" T ").nth(1)).collect();
    names.sort_unstable();
    let expected = ["buffer_free", "dump", "open", "open_pin", "version"];
    let expected: Vec<String> =
        expected.iter().map(|name| format!("cryptsetup_token_{name}@@CRYPTSETUP_TOKEN_1.0")).collect();
    assert_eq!(names, expected);
}

#[test]
fn cryptsetup_opens_a_volume_by_the_vault() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    world.open(plugin).unwrap();

    world.vault.rotate_key("disks").unwrap();
    world.volume().rotate_kek(&world.vault).unwrap();
    world.open(plugin).unwrap();

    let image = world.image();
    let dump = world.cryptsetup(plugin, &["luksDump", text(&image)], b"");
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let kek = world.volume().keks().remove(0).to_string();
    assert!(dump.contains(&format!("Key:        {kek}")), "{dump}");
    assert!(dump.contains("Keyslot:    0"), "{dump}");
}

#[test]
fn a_key_that_is_disabled_keeps_the_volume_closed() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    let kek = world.volume().keks().remove(0);
    world.vault.set_version(&kek, VersionChange::new().enabled(false)).unwrap();
    let told = world.open(plugin).unwrap_err();
    assert!(told.contains("atrest: file: ") && told.contains("disabled"), "{told}");
    world.vault.set_version(&kek, VersionChange::new().enabled(true)).unwrap();
    world.open(plugin).unwrap();
}

#[test]
fn the_vault_of_the_token_is_found_among_others() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    let other = World::new();
    world.configure(&other.url());
    let told = world.open(plugin).unwrap_err();
    assert!(!told.contains("atrest:"), "another vault is no failure: {told}");

    // One that can't be opened is passed over.
    let missing = world.path("missing");
    world.configure(&format!("file:{0}?key-file={0}\n{1}\n{2}", missing.display(), other.url(), world.url()));
    world.open(plugin).unwrap();
    world.configure(&format!("file:{0}?key-file={0}", missing.display()));
    let told = world.open(plugin).unwrap_err();
    assert!(told.contains("atrest: file: ") && told.contains("missing"), "{told}");

    world.configure(&format!("{} key=others", world.url()));
    let told = world.open(plugin).unwrap_err();
    assert!(told.contains("atrest: file: ") && told.contains("disks"), "{told}");
    world.configure(&format!("{} key=disks", world.url()));
    world.open(plugin).unwrap();
}

#[test]
fn a_configuration_that_cannot_be_read_says_so() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    for (lines, expected) in
        [("", "it names no vault"), ("file:/a pin=1", "line 1: "), ("nonsense:/a", "begins with one of")]
    {
        world.configure(lines);
        let told = world.open(plugin).unwrap_err();
        assert!(told.contains(expected), "{lines}: {told}");
    }
    fs::remove_file(world.path("token.conf")).unwrap();
    let told = world.open(plugin).unwrap_err();
    assert!(told.contains("token.conf: No such file"), "{told}");
}

#[test]
fn a_vault_with_a_passphrase_asks_for_it_as_the_pin() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    let path = world.path("asking.vault");
    let vault = FileVault::create(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
    vault.create_key("disks").unwrap();
    let volume = world.volume();
    volume.add_protector(Protector::Vault(&vault, "disks"), &KeyslotOptions::new()).unwrap();
    volume.header().remove_protector(ProtectorId::Token(0)).unwrap();
    drop(volume);
    world.configure(&format!("file:{}", path.display()));
    let image = world.image();
    let args = ["open", "--test-passphrase", "--token-only", text(&image)];
    let with = |pin: &[u8]| world.cryptsetup(plugin, &args, pin);
    let output = with(PASSPHRASE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!with(b"wrong").status.success());
}

/// The JSON of both copies of a header of 16 KiB is changed, and their checksums made anew.
fn edit(image: &Path, from: &str, to: &str) {
    let script = r#"
import hashlib, sys
path, old, new = sys.argv[1:]
data = bytearray(open(path, "rb").read())
for start in (0, 0x4000):
    copy = data[start:start + 0x4000]
    json = copy[0x1000:].rstrip(b"\0")
    assert json.count(old.encode()) >= 1, json
    copy[0x1000:] = json.replace(old.encode(), new.encode()).ljust(0x3000, b"\0")
    copy[0x1C0:0x200] = bytes(64)
    copy[0x1C0:0x1E0] = hashlib.sha256(copy).digest()
    data[start:start + 0x4000] = copy
open(path, "wb").write(data)
"#;
    run("python3", &["-c", script, text(image), from, to]);
}

#[test]
fn a_header_that_somebody_edited_does_not_open() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    let sound = fs::read(world.image()).unwrap();
    let changes = [
        (r#""iv_tweak":"0""#, r#""iv_tweak":"8""#),
        (r#""offset":"16777216""#, r#""offset":"17825792""#),
        (r#""sector_size":512"#, r#""sector_size":4096"#),
    ];
    for (from, to) in changes {
        fs::write(world.image(), &sound).unwrap();
        edit(&world.image(), from, to);
        let told = world.open(plugin).unwrap_err();
        assert!(told.contains("atrest: file: ") && told.contains("MAC does not match"), "{to}: {told}");
    }
    fs::write(world.image(), &sound).unwrap();
    world.open(plugin).unwrap();
}

#[test]
fn without_a_bound_keyslot_a_passphrase_opens_as_before() {
    let Some(plugin) = plugin() else { return };
    let world = World::new();
    let volume = world.volume();
    let cheap = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
    volume.add_protector(Protector::Passphrase(PASSPHRASE), &cheap).unwrap();
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    drop(volume);
    world.open(plugin).unwrap_err();
    let (image, key) = (world.image(), world.path("key"));
    fs::write(&key, PASSPHRASE).unwrap();
    let args = ["open", "--test-passphrase", "--key-file", text(&key), text(&image)];
    let output = world.cryptsetup(plugin, &args, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Header::load(&FileDevice::open(&image).unwrap()).unwrap().tokens()[0].keyslots.is_empty());
}

#[test]
fn without_the_plugin_cryptsetup_says_that_it_lacks_it() {
    let Some(_) = plugin() else { return };
    let world = World::new();
    let image = world.image();
    let output = run_any("cryptsetup", &["open", "--test-passphrase", "--token-only", text(&image)]);
    assert!(!output.status.success());
}
