//! [`Environment`].

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Hidden;

type Given = dyn Fn(&str) -> io::Result<Option<Hidden>> + Send + Sync;

/// The source of a program's settings and secrets that aren't given otherwise: a function of the caller, and then the variables
/// of the process.
#[derive(Clone, Default)]
pub struct Environment(Option<Arc<Given>>);

impl Environment {
    /// The variables of the process alone.
    pub fn process() -> Self {
        Self::default()
    }

    /// `given` is asked first, by the name of the variable. If it returns `None`, the variable is looked up in the process's
    /// environment, which other programs of the same user can read.
    pub fn with(given: impl Fn(&str) -> io::Result<Option<Hidden>> + Send + Sync + 'static) -> Self {
        Environment(Some(Arc::new(given)))
    }

    /// The value of a variable; `None` if it isn't set, or empty.
    ///
    /// # Errors
    /// Errors of the caller's function.
    pub fn secret(&self, name: &str) -> io::Result<Option<Hidden>> {
        let given = self.0.as_ref().map_or(Ok(None), |given| given(name))?;
        let found = given.or_else(|| std::env::var(name).ok().map(Hidden::new));
        Ok(found.filter(|value| !value.expose().is_empty()))
    }

    /// As [`secret`](Self::secret), for a value that isn't secret.
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, name: &str) -> io::Result<Option<String>> {
        Ok(self.secret(name)?.map(|value| value.expose().to_owned()))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Environment(of the caller)" } else { "Environment(of the process)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_gives_comes_before_the_process() {
        let path = Environment::process().get("PATH").unwrap().unwrap();
        let given = Environment::with(|name| match name {
            "PATH" => Ok(None),
            "EMPTY" => Ok(Some(Hidden::new(""))),
            "REFUSED" => Err(io::ErrorKind::PermissionDenied.into()),
            name => Ok(Some(Hidden::new(format!("the value of {name}")))),
        });
        assert_eq!(given.get("PATH").unwrap().unwrap(), path);
        assert_eq!(given.get("HOME").unwrap().unwrap(), "the value of HOME");
        assert!(given.get("EMPTY").unwrap().is_none());
        assert_eq!(given.secret("REFUSED").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(!format!("{given:?}").contains("value"));
    }
}
