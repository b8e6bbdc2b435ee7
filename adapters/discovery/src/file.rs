//! A file that lists the instances.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::poll_fn;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use sinew_driver::{Runtime, ServiceEndpoint};

use crate::source::{Source, SourceError};

/// Bytes of a file, at most.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A JSON file, looked at every second:
///
/// ```json
/// {"endpoints": ["10.0.0.1:8443", {"address": "10.0.0.2:8443", "weight": 2, "zone": "b"}]}
/// ```
///
/// An object may also have an `identity`, who has to answer there, and `metadata`, pairs of strings.
///
/// Replace it by renaming another over it. One that is half-written is a failure, and looked at again.
/// The file is read where the source is polled, so it had better lie on a local disk.
#[derive(Debug)]
pub struct FileSource<R> {
    runtime: R,
    path: PathBuf,
    every: Duration,
    seen: Option<Stamp>,
    started: bool,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    #[cfg(unix)]
    inode: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    endpoints: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an address, or an object with one")]
enum Entry {
    Address(String),
    Known(Known),
}

/// An endpoint of which more is known than its address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    address: String,
    #[serde(default = "one")]
    weight: u16,
    #[serde(default)]
    zone: String,
    identity: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

const fn one() -> u16 {
    1
}

impl Known {
    fn into_endpoint(self) -> ServiceEndpoint {
        let mut endpoint = ServiceEndpoint::new(self.address).weight(self.weight).zone(self.zone);
        endpoint.identity = self.identity;
        endpoint.metadata = self.metadata;
        endpoint
    }
}

impl<R: Runtime> FileSource<R> {
    /// This file. It need not exist yet: that is a failure of the source, and looked at again.
    pub fn new(runtime: R, path: impl AsRef<Path>) -> Self {
        Self {
            runtime,
            path: path.as_ref().to_owned(),
            every: Duration::from_secs(1),
            seen: None,
            started: false,
        }
    }

    /// How often it is looked at. Default 1 s; at least 1 ms.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time.max(Duration::from_millis(1));
        self
    }

    async fn wait(&mut self) {
        if core::mem::replace(&mut self.started, true) {
            let mut alarm = self.runtime.sleep_until(self.runtime.now() + self.every);
            poll_fn(|cx| Pin::new(&mut alarm).poll(cx)).await;
        }
    }

    /// The list, if the file is another than last time.
    fn look(&mut self) -> Result<Option<Vec<ServiceEndpoint>>, SourceError> {
        let failed = |what| SourceError::new(format!("{}: {what}", self.path.display()));
        let of_io = |why| failed("cannot be read").with_source(why);
        let stamp = Stamp::of(&fs::metadata(&self.path).map_err(of_io)?);
        if self.seen == Some(stamp) {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = File::open(&self.path).map_err(of_io)?;
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(of_io)?;
        if text.len() as u64 > MAX_FILE {
            return Err(failed("above 4 MiB"));
        }
        let document: Document =
            serde_json::from_slice(&text).map_err(|why| failed("no list").with_source(why))?;
        self.seen = Some(stamp);
        let instances = document.endpoints.into_iter().map(|entry| match entry {
            Entry::Address(address) => ServiceEndpoint::new(address),
            Entry::Known(known) => known.into_endpoint(),
        });
        Ok(Some(instances.collect()))
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

impl<R: Runtime> Source for FileSource<R> {
    async fn next(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        loop {
            self.wait().await;
            match self.look() {
                Ok(None) => {}
                Ok(Some(list)) => return Ok(list),
                Err(why) => {
                    // Once it is whole again, it is news, even if it is the same.
                    self.seen = None;
                    return Err(why);
                }
            }
        }
    }
}
