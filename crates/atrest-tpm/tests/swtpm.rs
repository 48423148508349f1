//! swtpm as the TPM, and tpm2-tools as another client.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../tests/common/cost.rs"]
mod cost;

use std::sync::Arc;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyRefusal, KeyVault, Secret};
use atrest_tpm::{PcrSelection, TpmAddress, TpmAuth, TpmOptions, TpmVault};

use common::Swtpm;
use conformance::forgeries;

/// The content of the file `auth`, for tpm2-tools.
const AUTH: &str = "hex:612076616c7565206f6620612074657374";

fn pcrs(text: &str) -> Option<PcrSelection> {
    Some(text.parse().unwrap())
}

/// Wraps and unwraps are refused, for a reason of this name.
fn refuses(vault: &TpmVault, wrapped: &WrappedDek, reason: &str) -> String {
    let wraps =
        [vault.wrap(wrapped.kek.key(), &conformance::dek()), vault.wrap_version(&wrapped.kek, &conformance::dek())];
    let mut text = String::new();
    for result in wraps.map(|result| result.map(drop)).into_iter().chain([vault.unwrap(wrapped).map(drop)]) {
        let Err(Error::KeyRefused { reason: found, .. }) = &result else { panic!("{result:?}") };
        assert_eq!(found.name(), reason);
        text = result.unwrap_err().to_string();
    }
    text
}

/// Wraps and unwraps fail as by an outage, with these words.
fn is_away(vault: &TpmVault, wrapped: &WrappedDek, words: &str) {
    for result in [vault.wrap(wrapped.kek.key(), &conformance::dek()).map(drop), vault.unwrap(wrapped).map(drop)] {
        assert!(matches!(&result, Err(Error::Vault(_))), "{result:?}");
        let shown = format!("{:#}", result.unwrap_err());
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn what_is_sealed_here_tpm2_tools_unseal() {
    let Some(tpm) = Swtpm::new() else { return };
    tpm.parent();
    let unseal = |with: &str| {
        let output = tpm.any(&format!("tpm2_unseal -c key.ctx {with}"));
        tpm.any("tpm2_flushcontext -t");
        output.status.success().then_some(output.stdout)
    };
    for (version, (auth, pcrs)) in [
        (TpmAuth::None, None),
        (TpmAuth::File(tpm.path("auth")), None),
        (TpmAuth::None, pcrs("sha256:0,7")),
        (TpmAuth::Value(Secret::copy_from(b"a value of a test\0")), pcrs("sha256:0,23")),
    ]
    .into_iter()
    .enumerate()
    {
        let vault = TpmVault::new(tpm.options().auth(auth)).unwrap();
        let kek = vault.create_key("disks", pcrs).unwrap();
        assert_eq!(kek.to_string(), format!("tpm:test/keys/disks/{}", version + 1));
        let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
        assert_eq!((&wrapped.kek, wrapped.algorithm, wrapped.bytes.len()), (&kek, WrapAlgorithm::Aes256Kw, 72));
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
        assert_eq!(tpm.loaded(), "", "nothing stays in the TPM");

        let file = format!("disks@{}.tpm", version + 1);
        tpm.write_sized("key.pub", &tpm.field(&file, "public"));
        tpm.write_sized("key.priv", &tpm.field(&file, "private"));
        tpm.tool("tpm2_load -Q -C parent.ctx -u key.pub -r key.priv -c key.ctx");
        let unsealed = match version {
            0 => unseal(""),
            1 => {
                assert_eq!(unseal(""), None, "without the authorisation value");
                unseal(&format!("-p {AUTH}"))
            }
            2 => {
                assert_eq!(unseal(""), None, "without the policy");
                unseal("-p pcr:sha256:0,7")
            }
            _ => {
                assert_eq!(unseal("-p pcr:sha256:0,23"), None, "without the authorisation value");
                assert_eq!(unseal(&format!("-p {AUTH}")), None, "without the policy");
                tpm.tool("tpm2_startauthsession --policy-session -S session.ctx");
                tpm.tool("tpm2_policypcr -Q -S session.ctx -l sha256:0,23");
                tpm.tool("tpm2_policyauthvalue -S session.ctx");
                let unsealed = unseal(&format!("-p session:session.ctx+{AUTH}"));
                tpm.any("tpm2_flushcontext -l");
                tpm.any("tpm2_flushcontext -s");
                unsealed
            }
        };
        // RFC 3394 under the key that they unseal.
        let mut dek = [0; 64];
        wrap::aes_kw_unwrap(&unsealed.unwrap(), &wrapped.bytes, &mut dek).unwrap();
        assert_eq!(dek, *conformance::DEK);
    }
}

#[test]
fn what_tpm2_tools_seal_is_unsealed_here() {
    let Some(tpm) = Swtpm::new() else { return };
    let kek = Secret::random(32).unwrap();
    std::fs::write(tpm.path("kek"), kek.expose()).unwrap();
    tpm.parent();
    tpm.tool("tpm2_createpolicy -Q --policy-pcr -l sha256:0,16 -L policy");
    tpm.any("tpm2_flushcontext -l"); // it leaves its session there
    let read = |name: &str| std::fs::read(tpm.path(name)).unwrap();
    let with_auth = TpmVault::new(tpm.options_with_auth()).unwrap();
    for (create, vault, pcrs) in [
        (String::new(), tpm.vault(), None),
        (format!("-p {AUTH}"), with_auth, None),
        ("-L policy".into(), tpm.vault(), pcrs("sha256:0,16")),
    ] {
        tpm.tool(&format!("tpm2_create -Q -C parent.ctx -g sha256 -i kek -u key.pub -r key.priv {create}"));
        vault.import_key("disks", &read("key.pub"), &read("key.priv"), pcrs).unwrap();
        let mut bytes = [0; 72];
        wrap::aes_kw_wrap(kek.expose(), conformance::DEK, &mut bytes).unwrap();
        let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
        assert_eq!(wrapped.bytes, bytes);
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
        assert_eq!(tpm.loaded(), "");
    }
    // A value that its policy doesn't look at, and that isn't known here, would make another key of it each time.
    tpm.tool(&format!("tpm2_create -Q -C parent.ctx -g sha256 -i kek -u key.pub -r key.priv -L policy -p {AUTH}"));
    let unknown = tpm.vault().import_key("disks", &read("key.pub"), &read("key.priv"), pcrs("sha256:0,16"));
    assert!(matches!(&unknown, Err(Error::Vault(_))), "{unknown:?}");
    // Too short for a KEK, not sealed data, and no file of these.
    std::fs::write(tpm.path("short"), [7; 16]).unwrap();
    tpm.tool("tpm2_create -Q -C parent.ctx -g sha256 -i short -u key.pub -r key.priv");
    let short = tpm.vault().import_key("disks", &read("key.pub"), &read("key.priv"), None);
    assert!(matches!(&short, Err(Error::Vault(_))), "{short:?}");
    tpm.tool("tpm2_create -Q -C parent.ctx -g sha256 -G hmac -u key.pub -r key.priv");
    for (public, private) in [(read("key.pub"), read("key.priv")), (vec![0, 9, 1], vec![0, 0])] {
        let other = tpm.vault().import_key("disks", &public, &private, None);
        assert!(matches!(&other, Err(Error::InvalidOption(_))), "{other:?}");
    }
    assert_eq!(tpm.vault().describe("disks", None).unwrap().unwrap().id.version(), "3");
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = || Arc::new(TpmVault::new(tpm.options_with_auth()).unwrap()) as Arc<dyn KeyVault>;
    let made = TpmVault::new(tpm.options_with_auth()).unwrap();
    let old = made.create_key("disks", None).unwrap();
    let others = [old, made.create_key("tapes", None).unwrap()];
    made.create_key("disks", None).unwrap();
    forgeries::delay_no_honest_disk(&vault, "disks", &others);
}

#[test]
fn vault_conformance() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    let rotate = || drop(vault.create_key("disks", pcrs("sha256:16")).unwrap());
    rotate();
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &rotate);
    conformance::serves_a_volume(&vault, "disks", &rotate);
}

#[test]
fn keys_that_may_not_be_used() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = tpm.vault();
    let (one, two) = (vault.create_key("disks", None).unwrap(), vault.create_key("disks", None).unwrap());
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!(wrapped.kek, two);
    vault.set_enabled(&two, false).unwrap();
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek, one);
    assert!(!vault.describe("disks", Some("2")).unwrap().unwrap().enabled);
    vault.set_enabled(&one, false).unwrap();
    conformance::refuses(&vault, &wrapped, "key-disabled");
    // A disabled version keeps its number.
    assert_eq!(vault.create_key("disks", None).unwrap().version(), "3");
    vault.set_enabled(&two, true).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());

    // A file that is damaged, one that is gone, a folder that is gone.
    let path = tpm.path("keys").join("disks@2.tpm");
    let text = std::fs::read_to_string(&path).unwrap();
    let last = text.trim_end().chars().last().unwrap();
    let altered = format!("{}{}\n", &text[..text.len() - 2], if last == '0' { '1' } else { '0' });
    std::fs::write(&path, altered).unwrap();
    let damaged = vault.unwrap(&wrapped);
    assert!(format!("{:#}", damaged.unwrap_err()).contains("TPM_RC_INTEGRITY"));
    assert_eq!(tpm.loaded(), "");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    std::fs::remove_file(&path).unwrap();
    for (key, version) in [("disks", "2"), ("disks", "02"), ("disks", "latest"), ("disk", "1")] {
        let kek = KeyId::new(vault.id(), key, version).unwrap();
        let found = vault.unwrap(&WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes.clone()));
        assert!(matches!(found, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{found:?}");
    }
    assert!(matches!(
        vault.wrap("disk", &conformance::dek()),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    std::fs::rename(tpm.path("keys"), tpm.path("away")).unwrap();
    is_away(&vault, &wrapped, "reading the folder of keys");
    assert!(matches!(TpmVault::new(TpmOptions::new("white space", tpm.address(), "/")), Err(Error::InvalidName(_))));
}

#[test]
fn registers_that_changed() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = TpmVault::new(tpm.options().identity("host 17")).unwrap();
    vault.create_key("disks", pcrs("sha256:7,16")).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    tpm.tool("tpm2_pcrextend 16:sha256=0000000000000000000000000000000000000000000000000000000000000001");
    let text = refuses(&vault, &wrapped, "access-denied");
    assert!(text.contains("host 17") && text.contains("sha256:7,16"), "{text}");
    assert_eq!(tpm.loaded(), "", "also after a refusal");
    // PCR 16 is for tests, and can be reset.
    tpm.tool("tpm2_pcrreset 16");
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    tpm.tool("tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000001");
    refuses(&vault, &wrapped, "access-denied");
    // After a start of the machine all is as it was.
    tpm.kill();
    tpm.start();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

/// How many wrong values the TPM has counted.
fn counted(tpm: &Swtpm) -> String {
    let text = String::from_utf8(tpm.tool("tpm2_getcap properties-variable")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("TPM2_PT_LOCKOUT_COUNTER: ")).unwrap().to_owned()
}

#[test]
fn authorisation_values_that_are_wrong() {
    let Some(tpm) = Swtpm::new() else { return };
    tpm.tool(
        "tpm2_dictionarylockout --setup-parameters --max-tries=3 --recovery-time=1000 --lockout-recovery-time=1000",
    );
    for pcrs in [None, pcrs("sha256:16")] {
        std::fs::write(tpm.path("auth"), "right").unwrap();
        let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
        vault.create_key("disks", pcrs).unwrap();
        let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();

        // A wrong value is tried once, by however many calls.
        std::fs::write(tpm.path("auth"), "hunter2").unwrap();
        for _ in 0..3 {
            let text = refuses(&vault, &wrapped, "access-denied");
            assert!(text.contains("authorisation value") && !text.contains("hunter2"), "{text}");
        }
        assert_eq!(counted(&tpm), "0x1");
        assert_eq!(tpm.loaded(), "");
        std::fs::write(tpm.path("auth"), "right\n").unwrap();
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());

        // Other wrong values count, until the TPM takes none.
        for wrong in ["hunter3", "hunter4"] {
            std::fs::write(tpm.path("auth"), wrong).unwrap();
            refuses(&vault, &wrapped, "access-denied");
        }
        std::fs::write(tpm.path("auth"), "right").unwrap();
        is_away(&vault, &wrapped, "locked out");
        assert_eq!(tpm.loaded(), "");
        tpm.tool("tpm2_dictionarylockout --clear-lockout");
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());

        for bad in ["", "\n", &"x".repeat(33)] {
            std::fs::write(tpm.path("auth"), bad).unwrap();
            is_away(&vault, &wrapped, "1 to 32 bytes");
        }
        is_away(&tpm.vault(), &wrapped, "give its source");
        assert_eq!(counted(&tpm), "0x0");
        let shown = format!("{:?}", TpmAuth::Value(Secret::copy_from(b"hunter2")));
        assert_eq!(shown, "Value(..)");
    }
    // A value that is wrong for one version is right for another.
    std::fs::write(tpm.path("auth"), "newer").unwrap();
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    let third = vault.create_key("disks", None).unwrap();
    let second = KeyId::new("tpm:test", "disks", "2").unwrap();
    for _ in 0..2 {
        assert!(matches!(vault.wrap_version(&second, &conformance::dek()), Err(Error::KeyRefused { .. })));
        assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek, third);
    }
    assert_eq!(counted(&tpm), "0x1");
    tpm.tool("tpm2_dictionarylockout --clear-lockout");
    // A value that was refused is tried again when its owner says so.
    std::fs::write(tpm.path("auth"), "wrong").unwrap();
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    for count in ["0x1", "0x2"] {
        assert!(vault.wrap_version(&second, &conformance::dek()).is_err());
        assert_eq!(counted(&tpm), count);
        vault.retry_auth();
    }
}

#[test]
fn another_tpm_and_one_that_was_cleared() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = tpm.vault();
    vault.create_key("disks", None).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let other = Swtpm::new().unwrap();
    let moved = TpmVault::new(TpmOptions::new("tpm:test", other.address(), tpm.path("keys"))).unwrap();
    is_away(&moved, &wrapped, "another TPM");
    assert_eq!(other.loaded(), "");
    tpm.kill();
    is_away(&vault, &wrapped, "asking the TPM");
    tpm.start();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    tpm.tool("tpm2_clear");
    is_away(&vault, &wrapped, "was cleared");
}

#[test]
fn a_persistent_parent() {
    let Some(tpm) = Swtpm::new() else { return };
    tpm.parent();
    tpm.tool("tpm2_evictcontrol -Q -C o -c parent.ctx 0x81000001");
    tpm.tool("tpm2_createprimary -Q -C o -G rsa2048 -c rsa.ctx");
    tpm.tool("tpm2_evictcontrol -Q -C o -c rsa.ctx 0x81000002");
    tpm.tool("tpm2_changeauth -Q -c o owner");
    let options = |parent| tpm.options().parent(parent);
    let vault = TpmVault::new(options(0x8100_0001)).unwrap();
    vault.create_key("disks", pcrs("sha256:0")).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    assert_eq!(tpm.loaded(), "");
    // The storage key that the vault has made by itself takes an authorisation value now.
    is_away(&tpm.vault(), &wrapped, "name it as the parent");
    let found = TpmVault::new(options(0x8100_0002)).unwrap().create_key("disks", None);
    assert!(format!("{:#}", found.unwrap_err()).contains("ECC on P-256"));
    is_away(&TpmVault::new(options(0x8100_0003)).unwrap(), &wrapped, "TPM_RC_HANDLE");
    // By a URL, as a program's configuration has it.
    let keys = tpm.path("keys");
    let url = format!("tpm:test?keys={}&tpm=unix:{}&parent=0x81000001", keys.display(), tpm.path("socket").display());
    assert_eq!(atrest_tpm::open(&url).unwrap().unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

#[test]
fn many_calls_at_a_time() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = tpm.vault();
    vault.create_key("disks", None).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
                }
            });
        }
    });
    assert_eq!(tpm.loaded(), "");
    // A socket of Unix, where nobody listens.
    let away =
        TpmVault::new(TpmOptions::new("tpm:test", TpmAddress::unix(tpm.path("nobody")), tpm.path("keys"))).unwrap();
    is_away(&away, &wrapped, "unix:");
    let away = TpmVault::new(TpmOptions::new("tpm:test", TpmAddress::device("/dev/null"), tpm.path("keys"))).unwrap();
    is_away(&away, &wrapped, "/dev/null");
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    let rotate = || drop(vault.create_key("disks", pcrs("sha256:16")).unwrap());
    rotate();
    let used = TpmVault::new(tpm.options_with_auth()).unwrap();
    cost::disks_cost_few_calls("TPM 2.0, on swtpm", Arc::new(used), "disks", &rotate);
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    use conformance::fork::{forked, in_child, so};

    let Some(swtpm) = Swtpm::new() else { return };
    let vault = swtpm.vault();
    vault.create_key("disks", None).unwrap();
    conformance::refuses_a_child(&vault, "disks", &|| Box::new(swtpm.vault()));
    let ended = in_child(|| {
        so!(forked(vault.create_key("disks", None)) && forked(vault.import_key("disks", b"", b"", None)));
        let kek = KeyId::new(vault.id(), "disks", "1").unwrap();
        so!(forked(vault.set_enabled(&kek, false)));
        vault.retry_auth();
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    assert_eq!(swtpm.loaded(), "");
}
