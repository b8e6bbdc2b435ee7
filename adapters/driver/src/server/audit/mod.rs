//! The audit log of a server: what has to be remembered about security, written beside the requests.

mod file;
mod log;
mod writer;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use sinew_auth::{AuditChain, ChainHead, Crypto};
use sinew_core::observe::audit::{Queue, Severity};

pub(super) use self::log::{AuditLog, Clock};

use self::file::LogFile;
use self::writer::Writer;
use super::observed::Observed;
use super::service::Observer;
use crate::error::Error;

/// Where audit records go, and how.
///
/// Every decision about who may do what becomes a line of JSON, never sampled: good and bad credentials,
/// granted and denied access, quotas that were exceeded, what no honest client does, and each change of
/// certificates, keys, policies and configuration. See [`audit`](sinew_core::observe::audit) for what is
/// in a line; no secret is.
///
/// A thread writes them. Requests never wait for it: what does not fit into the queue is counted, told to
/// the observer as [`AuditLost`](sinew_core::observe::Event::AuditLost), and stands in the log as a line
/// of its own. While the log cannot be written to it is tried again every second.
#[derive(Debug)]
#[must_use]
pub struct Audit {
    sink: Sink,
    settings: AuditSettings,
}

/// All of it but what is not comparable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AuditSettings {
    /// `None`: a writer of the program.
    pub(super) path: Option<PathBuf>,
    chained: bool,
    rotate_at: u64,
    keep: u32,
    queue: usize,
    least: Severity,
}

enum Sink {
    File,
    Writer(Box<dyn Write + Send>),
}

impl Audit {
    /// Bytes of a file before the next one is begun, unless set otherwise: 64 MiB.
    pub const ROTATE_AT: u64 = 64 << 20;

    /// Older files that are kept, unless set otherwise.
    pub const KEEP: u32 = 16;

    /// Into a file, which is created where there is none, for its owner alone, and else appended to.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Sink::File, Some(path.into()))
    }

    /// To a writer, which may block: it has a thread for itself. It is not rotated.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self::new(Sink::Writer(Box::new(writer)), None)
    }

    fn new(sink: Sink, path: Option<PathBuf>) -> Self {
        let settings = AuditSettings {
            path,
            chained: false,
            rotate_at: Self::ROTATE_AT,
            keep: Self::KEEP,
            queue: Queue::CAP,
            least: Severity::Info,
        };
        Self { sink, settings }
    }

    /// Chains the lines by their hashes, so that it shows if one is changed or taken out: `sinew audit
    /// verify` says which. A file goes on where its last line stands, and a new one where the one before
    /// it ended. See [`AuditChain`] for what a chain cannot show. Default: no.
    pub fn chained(mut self, chained: bool) -> Self {
        self.settings.chained = chained;
        self
    }

    /// Begins the next file where one would have more than so many bytes; what is written in one go, some
    /// 64 KiB at most, is not split. `audit.log` becomes `audit.log.1`, that `audit.log.2`, and so on.
    /// Default 64 MiB; not 0.
    pub fn rotate_at(mut self, bytes: u64) -> Self {
        self.settings.rotate_at = bytes;
        self
    }

    /// Keeps so many older files; what would be one more is removed. Default 16.
    pub fn keep(mut self, files: u32) -> Self {
        self.settings.keep = files;
        self
    }

    /// Bytes of the lines that wait to be written, at most. Default 1 MiB, some 4,000 records; not 0.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.settings.queue = bytes;
        self
    }

    /// Leaves out what matters less. Default [`Severity::Info`]: nothing is left out.
    pub fn least(mut self, severity: Severity) -> Self {
        self.settings.least = severity;
        self
    }

    /// What makes no sense about it, by the name of the setting.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match &self.settings {
            AuditSettings { queue: 0, .. } => Err(("queue", "is 0: no record would fit")),
            AuditSettings { rotate_at: 0, .. } => Err(("rotate_at", "is 0: no line would fit")),
            _ => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> &AuditSettings {
        &self.settings
    }

    /// Opens the file and starts the thread.
    pub(super) fn start(
        self,
        clock: Clock,
        observer: Option<&Observer>,
    ) -> Result<AuditLog, Error> {
        if let Err((setting, why)) = self.check() {
            return Err(Error::config(format!("audit: {setting} {why}")));
        }
        let Self { sink, settings } = self;
        let crypto = settings.chained.then(Crypto::built_in).transpose();
        let crypto = crypto.map_err(|error| Error::config(format!("audit: {error}")))?;
        let mut broken_end = false;
        let (out, chain): (Box<dyn writer::Out>, _) = match sink {
            Sink::Writer(out) => {
                let chain = crypto.map(|crypto| AuditChain::new(crypto, ChainHead::GENESIS));
                (Box::new(out), chain)
            }
            Sink::File => {
                let path = settings.path.clone().unwrap_or_default();
                let opened = LogFile::open(path, settings.rotate_at, settings.keep, crypto)?;
                broken_end = opened.broken_end;
                (Box::new(opened.file), opened.chain)
            }
        };
        let observed = Arc::new(Observed::by(observer.cloned()));
        let log = AuditLog::new(settings, clock, Arc::clone(&observed));
        Writer::start(log.lines(), out, chain, observed)
            .map_err(|error| Error::config(format!("audit: no thread to write it: {error}")))?;
        log.started(broken_end);
        Ok(log)
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "File",
            Self::Writer(_) => "Writer",
        })
    }
}
