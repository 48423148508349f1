//! Requests that show a bearer token.

use atrest::VaultFailure;
use atrest_http::{Client, Deadline, Request, Response};
use atrest_oauth::{Token, TokenError, Tokens};

use crate::trouble::Trouble;

/// A service's client, and the tokens it shows.
pub(crate) struct Bearer {
    pub client: Client,
    pub tokens: Tokens,
    /// The service's name, for errors.
    pub service: &'static str,
}

impl Bearer {
    /// Sends a request, and again while the answer is one that passes. If the service doesn't take the token, once more with another,
    /// if there is another. `request` is made anew for each attempt.
    pub fn ask<'r>(&self, deadline: Deadline, request: impl Fn() -> Request<'r>) -> Result<Response, Trouble> {
        let token = self.token(deadline)?;
        let answer = self.send(deadline, &request, &token)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.tokens.forget(&token);
        let another = self.token(deadline)?;
        if another.expose() == token.expose() {
            return Ok(answer);
        }
        self.send(deadline, &request, &another)
    }

    fn token(&self, deadline: Deadline) -> Result<std::sync::Arc<Token>, Trouble> {
        self.tokens.get(deadline).map_err(|e| match e {
            TokenError::Denied(who) => Trouble::Denied(format!("{who}, whose login is refused")),
            TokenError::Failed(e) => {
                let what = format!("getting a token for {}", self.service);
                Trouble::Failed(VaultFailure::new(what).caused_by(e))
            }
        })
    }

    fn send<'r>(
        &self,
        deadline: Deadline,
        request: &impl Fn() -> Request<'r>,
        token: &Token,
    ) -> Result<Response, Trouble> {
        let shown = || Ok(request().header("authorization", format!("Bearer {}", token.expose())));
        let what = || VaultFailure::new(format!("asking {}", self.service));
        self.client.call(deadline, shown).answer.map_err(|e| Trouble::Failed(what().caused_by(e)))
    }
}
