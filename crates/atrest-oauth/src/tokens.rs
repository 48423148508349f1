//! [`Tokens`]: the cache of tokens, and the failures of their sources.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use atrest_http::{Cached, Client, Deadline, Hidden};

/// How long before its end a token is got again.
const EARLY: Duration = Duration::from_secs(300);

/// How long a token that couldn't be got again is used before the next try.
const AGAIN: Duration = Duration::from_secs(10);

/// The longest life of a token that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(86400);

/// A source of tokens.
pub(crate) trait Source: Send + Sync {
    /// A name of the identity, for errors.
    fn name(&self) -> String;
    /// Gets a token, by the deadline.
    fn get(&self, client: &Client, deadline: Deadline) -> Result<Granted, TokenError>;
}

/// A token that was just got.
pub(crate) struct Granted {
    pub token: Hidden,
    /// How long it is good; `None` if it has to be asked for each time.
    pub life: Option<Duration>,
}

impl Granted {
    /// A token from the answer of `what`, if it is valid in a header.
    pub fn new(token: String, life: Option<Duration>, what: &str) -> Result<Self, TokenError> {
        let token = Hidden::new(token);
        if token.expose().is_empty() || !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::failed(format!("the answer of {what} is no token")));
        }
        Ok(Granted { token, life })
    }
}

/// The reason for a missing token. A caller handles both, and there is no third.
#[derive(Debug)]
pub enum TokenError {
    /// The service refuses this identity: it is unknown or disabled, or its secret is wrong. The string names the identity and the reason.
    Denied(String),
    /// No answer, or one that says nothing about the identity.
    Failed(io::Error),
}

/// A bearer token.
pub struct Token {
    text: Hidden,
    /// When to renew it, and when it ends.
    renew: Instant,
    ends: Instant,
}

/// The tokens of one identity for one service. Many threads may use it at once.
pub struct Tokens {
    source: Arc<dyn Source>,
    client: Client,
    cached: Cached<Token>,
}

impl TokenError {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        TokenError::Failed(io::Error::other(text.into()))
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Denied(who) => write!(f, "the login of {who} is refused"),
            TokenError::Failed(e) => write!(f, "getting a token: {e}"),
        }
    }
}

impl std::error::Error for TokenError {}

impl From<TokenError> for io::Error {
    fn from(error: TokenError) -> Self {
        let kind = match &error {
            TokenError::Denied(_) => io::ErrorKind::PermissionDenied,
            TokenError::Failed(e) => e.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl Token {
    fn new(granted: Granted) -> Self {
        let (now, life) = (Instant::now(), granted.life.unwrap_or_default().min(LONGEST_LIFE));
        // For a short life, the second half is kept back. The clock is monotonic: a wrong date changes nothing.
        Token { text: granted.token, renew: now + life.saturating_sub(EARLY.min(life / 2)), ends: now + life }
    }

    /// The token, as it stands after `Bearer`.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Tokens {
    pub(crate) fn new(source: Arc<dyn Source>, client: Client) -> Self {
        Tokens { source, client, cached: Cached::new() }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// [`TokenError`]; no call goes beyond the deadline, and in a forked child each fails at once.
    pub fn get(&self, deadline: Deadline) -> Result<Arc<Token>, TokenError> {
        self.client.owner().check_io().map_err(TokenError::Failed)?;
        let fresh = |token: &Token| Instant::now() < token.renew;
        let renew = |old: Option<&Token>| {
            let now = Instant::now();
            match (self.source.get(&self.client, deadline), old) {
                (Ok(granted), _) => Ok(Token::new(granted)),
                (Err(TokenError::Failed(_)), Some(old)) if now < old.ends => {
                    Ok(Token { text: old.text.clone(), renew: (now + AGAIN).min(old.ends), ends: old.ends })
                }
                (Err(e), _) => Err(e),
            }
        };
        let late = || TokenError::failed("another thread was at it until the deadline");
        self.cached.get(deadline, fresh, renew).unwrap_or_else(|| Err(late()))
    }

    /// Forgets a token that was refused, unless there is another already.
    pub fn forget(&self, refused: &Arc<Token>) {
        self.cached.forget(refused);
    }

    /// A name of the identity, for errors: never a secret.
    pub fn identity(&self) -> String {
        self.source.name()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.identity())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use atrest_http::HttpOptions;

    use super::*;

    /// A source of numbered tokens, with a life in seconds, or of errors.
    struct Numbers(Mutex<(u32, Result<u64, bool>)>);

    impl Source for Numbers {
        fn name(&self) -> String {
            "numbers".into()
        }

        fn get(&self, _: &Client, _: Deadline) -> Result<Granted, TokenError> {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            match state.1 {
                Ok(life) => {
                    let life = Some(Duration::from_secs(life));
                    Ok(Granted { token: Hidden::new(state.0.to_string()), life })
                }
                Err(true) => Err(TokenError::Denied("numbers".into())),
                Err(false) => Err(TokenError::failed("away")),
            }
        }
    }

    fn tokens(found: Result<u64, bool>) -> (Arc<Numbers>, Tokens) {
        let source = Arc::new(Numbers(Mutex::new((0, found))));
        (source.clone(), Tokens::new(source, Client::new(&HttpOptions::new()).unwrap()))
    }

    fn later() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    /// Keeps a token that has to be renewed, and ends in this many seconds.
    fn keep(tokens: &Tokens, left: u64) {
        let (text, now) = (Hidden::new("old"), Instant::now());
        let old = Token { text, renew: now, ends: now + Duration::from_secs(left) };
        tokens.cached.get(later(), |_| false, |_| Ok::<_, ()>(old)).unwrap().unwrap();
    }

    #[test]
    fn a_token_is_kept_until_shortly_before_its_end() {
        for (life, early) in [(3600, 300), (600, 300), (100, 50), (86400 * 30, 300)] {
            let granted = Granted { token: Hidden::new("x"), life: Some(Duration::from_secs(life)) };
            let token = Token::new(granted);
            assert_eq!(token.ends - token.renew, Duration::from_secs(early));
            assert!(token.ends - Instant::now() <= LONGEST_LIFE);
        }
        let (_, long) = tokens(Ok(3600));
        assert_eq!([long.get(later()).unwrap().expose(), long.get(later()).unwrap().expose()], ["1", "1"]);
        let (_, short) = tokens(Ok(0));
        assert_eq!([short.get(later()).unwrap().expose(), short.get(later()).unwrap().expose()], ["1", "2"]);
    }

    #[test]
    fn a_token_is_used_on_while_its_source_is_away_and_not_when_it_is_denied() {
        let (source, away) = tokens(Err(false));
        keep(&away, 3600);
        // Not asked again for ten seconds.
        assert_eq!([away.get(later()).unwrap().expose(), away.get(later()).unwrap().expose()], ["old", "old"]);
        assert_eq!(source.0.lock().unwrap().0, 1);
        let (_, ended) = tokens(Err(false));
        keep(&ended, 0);
        assert!(matches!(ended.get(later()), Err(TokenError::Failed(_))));
        let (_, denied) = tokens(Err(true));
        keep(&denied, 3600);
        assert!(matches!(denied.get(later()), Err(TokenError::Denied(_))));
    }

    #[test]
    fn a_token_that_was_refused_is_got_again() {
        let (_, tokens) = tokens(Ok(3600));
        let first = tokens.get(later()).unwrap();
        tokens.forget(&first);
        let second = tokens.get(later()).unwrap();
        tokens.forget(&first);
        assert_eq!([second.expose(), tokens.get(later()).unwrap().expose()], ["2", "2"]);
        assert_eq!(format!("{second:?} {tokens:?}"), "Token(..) Tokens(numbers)");
    }
}
