//! What lists instances.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;

use sinew_driver::ServiceEndpoint;

/// Lists the instances of a service, again and again.
pub trait Source: Send {
    /// All instances, as soon as there is a list that may differ from the last one: the first time at
    /// once. A source waits by itself, after a failure too. Dropped half-way, it starts over.
    fn next(&mut self) -> impl Future<Output = Result<Vec<ServiceEndpoint>, SourceError>> + Send;
}

/// Why there is no list.
#[derive(Debug)]
pub struct SourceError {
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl SourceError {
    /// `what` says which source failed, and at what.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// A list that somebody does not take.
    pub(crate) fn of_list(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new("the list is not taken").with_source(source)
    }

    /// The cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for SourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
