//! Profiles of the files that AWS's tools share: "Configuration and credential file settings", AWS SDKs and Tools reference guide.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use atrest::{Secret, VaultFailure};
use atrest_http::Hidden;
use atrest_http::aws::AccessKey;

use crate::trouble::Trouble;

/// The longest file, in bytes: some have hundreds of profiles.
const LONGEST: usize = 1 << 20;

/// The settings that name the source of a profile's keys.
const KNOWN: [&str; 16] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "credential_process",
    "credential_source",
    "duration_seconds",
    "external_id",
    "login_session",
    "mfa_serial",
    "role_arn",
    "role_session_name",
    "source_profile",
    "sso_account_id",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];

/// A profile's keys, or their source.
pub(crate) enum Origin {
    Keys(AccessKey),
    /// A role that the keys of another profile assume, or those of this one.
    Role(Role),
    WebIdentity {
        role: String,
        file: PathBuf,
    },
}

/// The parameters of `AssumeRole`.
#[derive(Debug)]
pub(crate) struct Role {
    pub arn: String,
    /// The profile whose keys assume it.
    pub source: String,
    pub external_id: Option<String>,
    pub session: Option<String>,
    pub seconds: Option<String>,
}

/// The settings of a profile. Those of an earlier file go before those of a later one.
#[derive(Default)]
struct Settings(BTreeMap<&'static str, Hidden>);

impl Settings {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.expose().to_owned())
    }

    fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.contains_key(name))
    }

    fn keys(&self) -> Option<AccessKey> {
        let key = AccessKey::new(self.text("aws_access_key_id")?, self.0.get("aws_secret_access_key")?.clone());
        Some(match self.0.get("aws_session_token") {
            Some(token) => key.session_token(token.clone()),
            None => key,
        })
    }

    /// Reads a file's settings of a profile, except those that an earlier file has set.
    fn read(&mut self, text: &str, wanted: &str) {
        let (mut here, mut nested, mut found) = (false, false, BTreeMap::new());
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            let indented = line.starts_with([' ', '\t']);
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let name = name.trim();
                here = name.strip_prefix("profile ").map_or(name, str::trim) == wanted;
                nested = false;
            } else if let Some((name, value)) = line.split_once('=').filter(|_| here && !(indented && nested)) {
                // Lines indented under a setting without a value belong to that setting.
                let value = value.trim();
                nested = value.is_empty();
                if let Some(known) = KNOWN.iter().find(|known| **known == name.trim()).filter(|_| !nested) {
                    found.insert(*known, Hidden::new(value));
                }
            }
        }
        // A key's id and its secret are of one file.
        let ids = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        if self.has(&ids) {
            ids.iter().for_each(|name| drop(found.remove(name)));
        }
        for (name, value) in found {
            self.0.entry(name).or_insert(value);
        }
    }
}

/// The settings of a profile in files. A missing file has none.
fn settings(files: &[PathBuf], name: &str) -> io::Result<Settings> {
    let mut settings = Settings::default();
    for path in files {
        let failed = |kind, what: &str| io::Error::new(kind, format!("reading {}: {what}", path.display()));
        let file = match Secret::read_file(path, LONGEST) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(|e| failed(e.kind(), &e.to_string()))?,
        };
        let no_text = |_| failed(io::ErrorKind::InvalidData, "it isn't text in UTF-8");
        let text = str::from_utf8(file.expose()).map_err(no_text)?;
        settings.read(text, name);
    }
    Ok(settings)
}

/// Whether files have a source of a profile's keys. An unreadable file may: the first use reports its error.
pub(crate) fn is_told_of(files: &[PathBuf], name: &str) -> bool {
    settings(files, name).map_or(true, |settings| !settings.0.is_empty())
}

/// The source of a profile's keys. With `only_keys` no role is assumed: it is the profile that a role names as its own source.
pub(crate) fn read(files: &[PathBuf], name: &str, only_keys: bool) -> Result<Origin, Trouble> {
    let own = |e: io::Error| Trouble::Failed(VaultFailure::new("getting AWS credentials").caused_by(e));
    let named = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ");
    let failed = |what: &str| Trouble::failed(format!("the AWS profile {name:?} of {named} {what}"));
    let settings = settings(files, name).map_err(own)?;
    let instead = format!(
        "run `aws configure export-credentials --profile {name} --format env` and set the variables that it prints, or give the keys \
         by AwsCredentials::provider"
    );
    if settings.has(&["role_arn"]) && !only_keys {
        let arn = settings.text("role_arn").unwrap_or_default();
        if settings.has(&["mfa_serial"]) {
            return Err(failed(&format!("assumes its role with a code of a person (mfa_serial); {instead}")));
        }
        if let Some(file) = settings.text("web_identity_token_file") {
            return Ok(Origin::WebIdentity { role: arn, file: file.into() });
        }
        let Some(source) = settings.text("source_profile") else {
            return Err(failed(&format!(
                "assumes its role by credential_source, or doesn't say by what; give it a source_profile, or {instead}"
            )));
        };
        let seconds = settings.text("duration_seconds").filter(|seconds| !seconds.is_empty());
        if seconds.as_ref().is_some_and(|seconds| !seconds.bytes().all(|b| b.is_ascii_digit())) {
            return Err(failed("has a duration_seconds that isn't a number"));
        }
        let (external_id, session) = (settings.text("external_id"), settings.text("role_session_name"));
        return Ok(Origin::Role(Role { arn, source, external_id, session, seconds }));
    }
    if let Some(keys) = settings.keys() {
        return Ok(Origin::Keys(keys));
    }
    let way = [
        (&["sso_session", "sso_start_url", "sso_account_id"][..], "logs in by SSO, which isn't supported"),
        (&["login_session"], "logs in by a person's browser, which isn't supported"),
        (&["credential_process"], "gets its keys from a program (credential_process), which isn't run here"),
    ];
    Err(match way.into_iter().find(|(names, _)| settings.has(names)) {
        Some((_, way)) => failed(&format!("{way}; {instead}")),
        None => failed("has no aws_access_key_id and aws_secret_access_key, and no role_arn with a source_profile"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(n, text): (usize, &&str)| {
            let path = folder.path().join(n.to_string());
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = texts.iter().enumerate().map(write).collect();
        (folder, files)
    }

    #[test]
    fn profiles_are_told_apart() {
        let (_folder, files) = files(&[
            "# a comment\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n[profile other]\n\
             aws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n[half]\naws_access_key_id=F\n",
            "[profile half]\naws_secret_access_key=G\n[default]\naws_access_key_id=H\naws_secret_access_key=I\naws_session_token=J\n\
             [profile s3]\ns3 =\n  aws_access_key_id = K\n  aws_secret_access_key = L\nregion = here\n",
        ]);
        let id = |name| match read(&files, name, false) {
            Ok(Origin::Keys(key)) => Some((format!("{key:?}"), key.token().is_some())),
            _ => None,
        };
        let key = |id: &str, token| Some((format!("AccessKey {{ id: \"{id}\", .. }}"), token));
        // The token of another file's key isn't this key's.
        assert_eq!((id("default"), id("other")), (key("A", false), key("C", true)));
        assert_eq!((id("half"), id("none"), id("s3")), (None, None, None));
        assert!(is_told_of(&files, "half") && !is_told_of(&files, "none") && !is_told_of(&files, "s3"));
        assert!(!is_told_of(&["/nowhere/credentials".into()], "default"));
    }

    #[test]
    fn a_pipe_in_place_of_a_file_of_profiles_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (done, waiting) = std::sync::mpsc::channel();
        let pipes = [path.clone()];
        std::thread::spawn(move || done.send((is_told_of(&pipes, "default"), read(&pipes, "default", false).err())));
        let told = waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits");
        let (true, Some(Trouble::Failed(failure))) = told else { panic!("it is taken") };
        let text = format!("{:#}", atrest::Error::Vault(failure));
        assert!(text.contains(&format!("{}: it is a pipe (FIFO), not a file", path.display())), "{text}");
        let (_folder, files) = files(&[&"#".repeat(LONGEST + 1)]);
        assert!(read(&files, "default", false).is_err());
    }

    #[test]
    fn what_is_not_supported_is_told_with_what_to_do() {
        let (_folder, files) =
            files(&["[sso]\nsso_session = fleet\nsso_account_id = 1\n[old]\nsso_start_url = https://a\n\
             [browser]\nlogin_session = arn:x\n[program]\ncredential_process = /bin/secrets hunter2\n\
             [mfa]\nrole_arn = arn:r\nsource_profile = sso\nmfa_serial = arn:m\n\
             [machine]\nrole_arn = arn:r\ncredential_source = Ec2InstanceMetadata\n\
             [long]\nrole_arn = arn:r\nsource_profile = sso\nduration_seconds = 1&x\n[empty]\nregion = here\n"]);
        for (name, words, export) in [
            ("sso", "logs in by SSO", true),
            ("old", "logs in by SSO", true),
            ("browser", "browser", true),
            ("program", "credential_process", true),
            ("mfa", "mfa_serial", true),
            ("machine", "credential_source", true),
            ("long", "isn't a number", false),
            ("empty", "has no aws_access_key_id", false),
            ("none", "has no aws_access_key_id", false),
        ] {
            let Err(Trouble::Failed(failure)) = read(&files, name, false) else { panic!("{name}") };
            let text = failure.to_string();
            assert!(text.contains(words) && text.contains(&format!("{name:?}")) && !text.contains("hunter2"), "{text}");
            let told = text.contains(&format!("export-credentials --profile {name} --format env"));
            assert_eq!(told, export, "{text}");
        }
    }

    #[test]
    fn roles_have_their_parts() {
        let (_folder, files) = files(&[
            "[disks]\nrole_arn = arn:r\nsource_profile = base\nexternal_id = x\nrole_session_name = host-1\nduration_seconds = 900\n\
             aws_access_key_id=A\naws_secret_access_key=B\n[irsa]\nrole_arn=arn:w\nweb_identity_token_file=/token\n",
        ]);
        let Ok(Origin::Role(role)) = read(&files, "disks", false) else { panic!() };
        let parts = [
            Some(&role.arn),
            Some(&role.source),
            role.external_id.as_ref(),
            role.session.as_ref(),
            role.seconds.as_ref(),
        ];
        assert_eq!(parts.map(Option::unwrap), ["arn:r", "base", "x", "host-1", "900"]);
        assert!(matches!(read(&files, "disks", true), Ok(Origin::Keys(_))));
        let Ok(Origin::WebIdentity { role, file }) = read(&files, "irsa", false) else { panic!() };
        assert_eq!((&*role, file), ("arn:w", PathBuf::from("/token")));
    }
}
