//! Where access keys come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use atrest_http::aws::AccessKey;
use atrest_http::{Environment, Hidden, invalid};

type Provider = dyn Fn() -> io::Result<AccessKey> + Send + Sync;

/// Where an [`AwsKms`](crate::AwsKms) has its access keys from. Temporary ones are got again five minutes before they end, and when
/// AWS refuses them.
#[derive(Clone)]
pub struct AwsCredentials(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    Fixed(AccessKey),
    Provider(Arc<Provider>),
    Profile { file: PathBuf, name: String },
    WebIdentity { role: String, file: PathBuf, endpoint: Option<String> },
    Container { url: String, token: Option<Token> },
    Instance { endpoint: String },
}

/// What a container shows to get its credentials.
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

    /// A profile of a file such as `~/.aws/credentials`, with `aws_access_key_id`, `aws_secret_access_key` and perhaps
    /// `aws_session_token`. Profiles that assume roles or log in by SSO aren't supported. The file is read again when AWS refuses the
    /// key.
    pub fn profile(file: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        AwsCredentials(Source::Profile { file: file.into(), name: name.into() })
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

    /// The first of these that there is: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` with `AWS_SESSION_TOKEN`;
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`; the profile `AWS_PROFILE`, or `default`, of `AWS_SHARED_CREDENTIALS_FILE` or
    /// `~/.aws/credentials`; `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI` with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or
    /// `…_TOKEN`; the instance's metadata, unless `AWS_EC2_METADATA_DISABLED` is `true`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is none.
    pub fn from_environment() -> io::Result<Self> {
        Self::from_variables(&Environment::process())
    }

    /// As [`from_environment`](Self::from_environment), with variables that the caller gives.
    ///
    /// # Errors
    /// As there; those of the caller's function.
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
        let file = match of.get("AWS_SHARED_CREDENTIALS_FILE")? {
            Some(file) => Some(PathBuf::from(file)),
            None => of.get("HOME")?.map(|home| Path::new(&home).join(".aws/credentials")),
        };
        if let Some(file) = file.filter(|file| file.is_file()) {
            return Ok(Self::profile(file, of.get("AWS_PROFILE")?.unwrap_or_else(|| "default".into())));
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

    /// What it is, for errors.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Source::Fixed(_) => "an AWS access key".into(),
            Source::Provider(_) => "AWS credentials of the program".into(),
            Source::Profile { file, name } => format!("AWS profile {name} of {}", file.display()),
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
