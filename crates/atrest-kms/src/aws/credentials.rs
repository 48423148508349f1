//! Sources of access keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use atrest_http::aws::AccessKey;
use atrest_http::{Environment, Hidden, invalid};

use super::profiles::is_told_of;

type Provider = dyn Fn() -> io::Result<AccessKey> + Send + Sync;

/// The source of an [`AwsKms`](crate::AwsKms)'s access keys. Temporary keys are fetched again five minutes before they end, and
/// when AWS refuses them.
#[derive(Clone)]
pub struct AwsCredentials(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    Fixed(AccessKey),
    Provider(Arc<Provider>),
    Profile { files: Vec<PathBuf>, name: String, endpoint: Option<String> },
    WebIdentity { role: String, file: PathBuf, endpoint: Option<String> },
    Container { url: String, token: Option<Token> },
    Instance { endpoint: String },
}

/// The authorisation token with which a container asks for its credentials.
#[derive(Clone)]
pub(crate) enum Token {
    Text(Hidden),
    File(PathBuf),
}

impl AwsCredentials {
    /// An access key that stays the same.
    pub fn access_key(key: AccessKey) -> Self {
        AwsCredentials(Source::Fixed(key))
    }

    /// A function that returns an access key which is valid now. It is called for each request, by many threads.
    pub fn provider(key: impl Fn() -> io::Result<AccessKey> + Send + Sync + 'static) -> Self {
        AwsCredentials(Source::Provider(Arc::new(key)))
    }

    /// A profile of a file such as `~/.aws/credentials`: see [`profile_of`](Self::profile_of).
    pub fn profile(file: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self::profile_of([file.into()], name, None)
    }

    /// A profile of files such as `~/.aws/credentials` and `~/.aws/config`, in this order: settings of an earlier file take
    /// precedence. They are read for each login, and again when AWS refuses the key.
    ///
    /// It has `aws_access_key_id`, `aws_secret_access_key` and perhaps `aws_session_token`; or `role_arn` with `source_profile`, whose keys
    /// assume the role at `https://sts.REGION.amazonaws.com`, or at `endpoint`; or `role_arn` with `web_identity_token_file`. Profiles
    /// with SSO, a program (`credential_process`), a code of a person (`mfa_serial`) or a `credential_source` aren't supported: the first
    /// call says what to do instead.
    pub fn profile_of(
        files: impl IntoIterator<Item = impl Into<PathBuf>>,
        name: impl Into<String>,
        endpoint: Option<&str>,
    ) -> Self {
        let files = files.into_iter().map(Into::into).collect();
        AwsCredentials(Source::Profile { files, name: name.into(), endpoint: endpoint.map(str::to_owned) })
    }

    /// A role for the token of an OpenID provider in a file, as pods of EKS have it (IRSA). The token is read for each login, which
    /// is at `https://sts.REGION.amazonaws.com`, or at `endpoint`.
    pub fn web_identity(role_arn: impl Into<String>, token: impl Into<PathBuf>, endpoint: Option<&str>) -> Self {
        let (role, file, endpoint) = (role_arn.into(), token.into(), endpoint.map(str::to_owned));
        AwsCredentials(Source::WebIdentity { role, file, endpoint })
    }

    /// The endpoint of a container, as tasks of ECS and pods of EKS have it. The token, if there is one, is in a file that is read
    /// for each request.
    pub fn container(url: impl Into<String>, token: Option<&Path>) -> Self {
        AwsCredentials(Source::Container { url: url.into(), token: token.map(|path| Token::File(path.into())) })
    }

    /// The role of an EC2 instance, by its metadata service of version 2: `http://169.254.169.254` unless it is another.
    pub fn instance(endpoint: Option<&str>) -> Self {
        let endpoint = endpoint.unwrap_or("http://169.254.169.254").trim_end_matches('/').to_owned();
        AwsCredentials(Source::Instance { endpoint })
    }

    /// The first available source of these: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` with `AWS_SESSION_TOKEN`;
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`; the profile `AWS_PROFILE`, or `default` if it has keys or a source of
    /// them, of `AWS_SHARED_CREDENTIALS_FILE` or `~/.aws/credentials` and `AWS_CONFIG_FILE` or `~/.aws/config`;
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI` with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `…_TOKEN`; the
    /// instance's metadata, unless `AWS_EC2_METADATA_DISABLED` is `true`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is none.
    pub fn from_environment() -> io::Result<Self> {
        Self::from_variables(&Environment::process())
    }

    /// As [`from_environment`](Self::from_environment), with variables that the caller gives.
    ///
    /// # Errors
    /// As there; errors of the caller's function.
    pub fn from_variables(of: &Environment) -> io::Result<Self> {
        if let (Some(id), Some(secret)) = (of.get("AWS_ACCESS_KEY_ID")?, of.secret("AWS_SECRET_ACCESS_KEY")?) {
            let key = AccessKey::new(id, secret);
            return Ok(Self::access_key(match of.secret("AWS_SESSION_TOKEN")? {
                Some(token) => key.session_token(token),
                None => key,
            }));
        }
        if let (Some(file), Some(role)) = (of.get("AWS_WEB_IDENTITY_TOKEN_FILE")?, of.get("AWS_ROLE_ARN")?) {
            return Ok(Self::web_identity(role, file, of.get("AWS_ENDPOINT_URL_STS")?.as_deref()));
        }
        let home = of.get("HOME")?;
        let file = |given: Option<String>, usual: &str| {
            given.map(PathBuf::from).or_else(|| home.as_ref().map(|home| Path::new(home).join(usual)))
        };
        let credentials = file(of.get("AWS_SHARED_CREDENTIALS_FILE")?, ".aws/credentials");
        let files: Vec<_> = credentials.into_iter().chain(file(of.get("AWS_CONFIG_FILE")?, ".aws/config")).collect();
        let named = of.get("AWS_PROFILE")?;
        // Many a file of settings has a default profile with a region alone.
        if named.is_some() || is_told_of(&files, "default") {
            let endpoint = of.get("AWS_ENDPOINT_URL_STS")?;
            return Ok(Self::profile_of(files, named.unwrap_or_else(|| "default".into()), endpoint.as_deref()));
        }
        let url = match of.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")? {
            Some(path) => Some(format!("http://169.254.170.2{path}")),
            None => of.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
        };
        if let Some(url) = url {
            let token = match of.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")? {
                Some(file) => Some(Token::File(file.into())),
                None => of.secret("AWS_CONTAINER_AUTHORIZATION_TOKEN")?.map(Token::Text),
            };
            return Ok(AwsCredentials(Source::Container { url, token }));
        }
        if of.get("AWS_EC2_METADATA_DISABLED")?.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(invalid("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give credentials by the options"));
        }
        Ok(Self::instance(of.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")?.as_deref()))
    }

    /// A name for errors.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Source::Fixed(_) => "an AWS access key".into(),
            Source::Provider(_) => "AWS credentials of the program".into(),
            Source::Profile { files, name, .. } => {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                format!("AWS profile {name} of {}", files.join(" and "))
            }
            Source::WebIdentity { role, .. } => format!("AWS role {role}"),
            Source::Container { .. } => "AWS role of the container".into(),
            Source::Instance { .. } => "AWS role of the instance".into(),
        }
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsCredentials({})", self.name())
    }
}
