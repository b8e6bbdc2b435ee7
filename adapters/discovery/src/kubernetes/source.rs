//! Instances, as Kubernetes lists them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use sinew_driver::{ClientResponse, RestClient, Runtime, ServiceEndpoint};

use super::slice::{Event, List, Slice, Versioned, merged};
use crate::pause::Pause;
use crate::segment::segment;
use crate::source::{Source, SourceError};

/// Slices of a service, at most: 100 endpoints each, as they are made by default.
pub const MAX_SLICES: usize = 1_024;

/// Bytes of one event of a watch, at most: more than the API server keeps of one object.
pub const MAX_EVENT: usize = 2 * 1024 * 1024;

/// Slices of one page of a list.
const PAGE: &str = "100";

/// Pages of a list, at most: none has to be full.
const MAX_PAGES: usize = 1_024;

/// Characters of what the API server says of an error that are passed on.
const MAX_MESSAGE: usize = 256;

/// What the API server may take on top of the time that a watch was asked for.
const SLACK: Duration = Duration::from_secs(30);

/// A version, or the rest of a list, that the API server does not have any more.
const GONE: u16 = 410;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSliceQuery {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// The name of the port. Default: the first one of TCP of each slice.
    pub port: Option<String>,
    /// How long one watch lasts, before the next one begins. Default 5 min; 1 s to 1 h.
    pub watch: Duration,
    /// Between two requests, at least. Default 500 ms.
    pub least: Duration,
}

impl EndpointSliceQuery {
    /// The defaults, for this service.
    pub fn new(namespace: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            service: service.into(),
            port: None,
            watch: Duration::from_secs(300),
            least: Duration::from_millis(500),
        }
    }
}

/// The endpoints of a service: all slices listed, and watched from there on.
///
/// Those that are ready; where none is, those that serve on while they terminate. Of a service with two
/// families of addresses those of IPv4 are taken, and of IPv6 only where there are none. The zone is that of the
/// endpoint; pod and node are in the metadata. A version that is gone (410), or a
/// watch that is refused, begins with a new list; one that the API server has no time for (429, 5xx) is asked for
/// again, once.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
#[derive(Debug)]
pub struct EndpointSliceSource<R: Runtime> {
    client: RestClient<R>,
    query: EndpointSliceQuery,
    slices: BTreeMap<String, Slice>,
    /// What the slices are at. `None`: they have to be listed.
    version: Option<String>,
    watch: Option<Watch>,
    pause: Pause<R>,
}

/// A watch, and what came of its next event.
#[derive(Debug)]
struct Watch {
    answer: ClientResponse,
    buffer: BytesMut,
    /// Bytes of it in which no line ends.
    searched: usize,
}

/// What came of a watch.
enum Seen {
    /// Something that says what there is now.
    News,
    /// Its end: the next one begins where it left.
    End,
    /// The version is gone.
    Gone,
}

impl<R: Runtime> EndpointSliceSource<R> {
    /// `client` is one of the API server, as of a [`ServiceAccount`](super::ServiceAccount).
    pub fn new(runtime: R, client: RestClient<R>, query: EndpointSliceQuery) -> Self {
        let pause = Pause::new(runtime, query.least);
        Self { client, query, slices: BTreeMap::new(), version: None, watch: None, pause }
    }

    fn failed(&self, what: &str) -> SourceError {
        let EndpointSliceQuery { namespace, service, .. } = &self.query;
        SourceError::new(format!("Kubernetes, service {namespace}/{service}: {what}"))
    }

    fn path(&self) -> String {
        let namespace = segment(&self.query.namespace);
        format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
    }

    fn selector(&self) -> (&'static str, String) {
        ("labelSelector", format!("kubernetes.io/service-name={}", self.query.service))
    }

    /// All slices, page by page. A list whose pages are there no more, as of one that is read for long, is
    /// begun again once.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>
    async fn list(&mut self) -> Result<(), SourceError> {
        let mut slices = BTreeMap::new();
        let (mut next, mut begun_again) = (String::new(), false);
        for _ in 0..MAX_PAGES {
            let first = next.is_empty();
            let mut pairs = vec![self.selector(), ("limit", PAGE.to_owned())];
            if !first {
                pairs.push(("continue", next));
            }
            let call = self.client.get(&self.path()).query(&pairs).hedge(false);
            let answer = call.send().await;
            let answer = answer.map_err(|why| self.failed("no answer").with_source(why))?;
            if answer.status() == GONE && !first && !begun_again {
                (next, begun_again) = (String::new(), true);
                slices.clear();
                continue;
            }
            let answer = answer.error_for_status();
            let answer = answer.map_err(|why| self.failed("no answer").with_source(why))?;
            let page: List =
                answer.json().await.map_err(|why| self.failed("no list").with_source(why))?;
            for slice in page.items.into_iter().flatten() {
                slices.insert(slice.metadata.name.clone(), slice);
            }
            if slices.len() > MAX_SLICES {
                return Err(self.failed("more than 1,024 slices"));
            }
            next = page.metadata.r#continue;
            if next.is_empty() {
                self.slices = slices;
                self.version = Some(page.metadata.resource_version);
                return Ok(());
            }
        }
        Err(self.failed("more than 1,024 pages"))
    }

    /// Begins a watch at `version`, which is kept unless it may be what is refused. `false`: it is gone.
    async fn begin(&mut self, version: String) -> Result<bool, SourceError> {
        let time = self.query.watch.clamp(Duration::from_secs(1), Duration::from_secs(3_600));
        let pairs = [
            self.selector(),
            ("watch", "1".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("resourceVersion", version.clone()),
            ("timeoutSeconds", time.as_secs().to_string()),
        ];
        // One that is silent for longer than it may last is no watch any more.
        let call = self.client.get(&self.path()).query(&pairs).between_bytes(Some(time + SLACK));
        let answer = call.no_retry().hedge(false).send().await;
        let status = answer.as_ref().ok().map(ClientResponse::status);
        if status.is_some_and(|status| status == GONE) {
            return Ok(false);
        }
        // Whoever has too much to do, or cannot be reached, is asked for the same again, as a list is more
        // work; once, as lists may work where watches do not.
        let is_kept = match status {
            Some(StatusCode::TOO_MANY_REQUESTS) | None => !self.pause.is_failing(),
            Some(status) if status.is_server_error() => !self.pause.is_failing(),
            Some(status) => status.is_success(),
        };
        if is_kept {
            self.version = Some(version);
        }
        let answer = answer.and_then(ClientResponse::error_for_status);
        let answer = answer.map_err(|why| self.failed("no watch").with_source(why))?;
        self.watch = Some(Watch { answer, buffer: BytesMut::new(), searched: 0 });
        Ok(true)
    }

    /// Reads on until something came that says what there is, with all that came along.
    async fn watch(&mut self) -> Result<Seen, SourceError> {
        let mut news = false;
        loop {
            let Some(watch) = &mut self.watch else { return Ok(Seen::End) };
            if let Some(line) = watch.line() {
                match self.take(&line)? {
                    Seen::News => news = true,
                    other => return Ok(other),
                }
                continue;
            }
            if news {
                return Ok(Seen::News);
            }
            if watch.buffer.len() > MAX_EVENT {
                return Err(self.failed("an event above 2 MiB"));
            }
            match watch.answer.chunk().await {
                Ok(Some(bytes)) => watch.buffer.extend_from_slice(&bytes),
                // A connection that breaks is an end like any other: the version says what was seen.
                Ok(None) | Err(_) => return Ok(Seen::End),
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<Seen, SourceError> {
        let event = serde_json::from_slice(line)
            .map_err(|why| self.failed("an event that makes no sense").with_source(why))?;
        let version = match event {
            Event::Added(slice) | Event::Modified(slice) => {
                let version = slice.metadata.resource_version.clone();
                self.slices.insert(slice.metadata.name.clone(), slice);
                if self.slices.len() > MAX_SLICES {
                    return Err(self.failed("more than 1,024 slices"));
                }
                version
            }
            Event::Deleted(Versioned { metadata }) => {
                self.slices.remove(&metadata.name);
                metadata.resource_version
            }
            Event::Bookmark(Versioned { metadata }) => metadata.resource_version,
            Event::Error(status) if status.code == GONE => return Ok(Seen::Gone),
            Event::Error(status) => {
                let message: String = status.message.chars().take(MAX_MESSAGE).collect();
                return Err(self.failed(&format!("{}: {message}", status.code)));
            }
        };
        self.version = Some(version);
        Ok(Seen::News)
    }

    fn instances(&self) -> Vec<ServiceEndpoint> {
        merged(&self.slices, self.query.port.as_deref())
    }

    async fn step(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        loop {
            if self.watch.is_some() {
                let seen = self.watch().await;
                if seen.is_err() {
                    // What was missed is not known: the list begins anew.
                    (self.watch, self.version) = (None, None);
                }
                match seen? {
                    Seen::News => return Ok(self.instances()),
                    Seen::End => self.watch = None,
                    Seen::Gone => (self.watch, self.version) = (None, None),
                }
                // One that ends as soon as it began is not begun again at once.
                self.pause.after(true);
            }
            self.pause.wait().await;
            match self.version.take() {
                Some(version) => match self.begin(version).await? {
                    // A watch says nothing while all is quiet, so that the source would seem to be down.
                    true if self.pause.is_failing() => return Ok(self.instances()),
                    true => {}
                    false => self.pause.after(true),
                },
                None => {
                    self.list().await?;
                    return Ok(self.instances());
                }
            }
        }
    }
}

impl Watch {
    /// The next event, if it is here to its end.
    fn line(&mut self) -> Option<BytesMut> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

impl<R: Runtime> Source for EndpointSliceSource<R> {
    async fn next(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        let listed = self.step().await;
        match listed {
            Ok(_) => self.pause.well(),
            Err(_) => self.pause.after(false),
        }
        listed
    }
}
