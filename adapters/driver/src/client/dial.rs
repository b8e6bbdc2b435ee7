//! From a name to a connection that can carry a request: every address is tried.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::{Client, ClientConfig};
use sinew_core::security::{Answerer, EgressPolicy, EgressRefusal, TlsVersion};
use sinew_core::time::Instant;
use sinew_tls::{ClientTls, PeerIdentity, Version};

use super::base::{Instance, Site};
use super::carrier::{Until, Whose};
use super::check::Check;
use super::conn::Conn;
use super::proxy::Proxy;
use crate::drive::{Alarm, Pipe};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::wire::AnyWire;

/// How long one address has before the next is tried beside it.
/// <https://www.rfc-editor.org/rfc/rfc8305#section-5>
const STAGGER: Duration = Duration::from_millis(250);

/// What all connections of a client have in common.
#[derive(Clone)]
pub(super) struct Plan {
    /// Resolving and connecting have so long each.
    pub(super) limit: Duration,
    /// Whom to trust and what to show, where TLS is spoken.
    pub(super) tls: Option<ClientTls>,
    /// Whom the certificate must name; `None`: TLS is not spoken.
    pub(super) server_name: Option<String>,
    pub(super) machine: Arc<ClientConfig>,
    /// What connections go through.
    pub(super) proxy: Option<Proxy>,
    /// Where connections may go, and who may answer.
    pub(super) egress: Arc<EgressPolicy>,
    /// How an endpoint is asked whether it is well, if it is.
    pub(super) check: Option<Check>,
}

/// Opens a connection by this time: resolved, connected, secured. `reached` is told of each phase.
pub(super) async fn open<R: Runtime>(
    runtime: &R,
    plan: &Plan,
    instance: &Instance,
    by: Instant,
    reached: impl Fn(Phase),
) -> Result<Box<Conn<R>>, Error> {
    let pipe = connect(runtime, plan, &instance.site, by, &reached).await?;
    let client = Client::new(Arc::clone(&plan.machine));
    let secure = plan.tls.as_ref().zip(plan.server_name.as_deref());
    let wire = match secure {
        Some((tls, name)) => AnyWire::start_tls(tls, name, client, runtime.now())?,
        None => AnyWire::Plain(Box::new(client)),
    };
    let mut conn = Box::new(Conn::new(wire, pipe, runtime.clone()));
    if secure.is_some() {
        reached(Phase::Tls);
        conn.until = Some(Until { at: by, whose: Whose::Phase });
        poll_fn(|cx| conn.poll_secured(cx)).await?;
        conn.until = None;
    }
    admit(plan, instance, &conn.wire).map_err(|why| forbidden(why, Phase::Tls))?;
    Ok(conn)
}

/// Whether who is there may answer. Nothing was sent yet but the handshake.
fn admit(plan: &Plan, instance: &Instance, wire: &AnyWire<Client>) -> Result<(), EgressRefusal> {
    let egress = &plan.egress;
    let AnyWire::Secure(tls) = wire else { return egress.check_server(None) };
    let identity = tls.peer_identity();
    let dns: Vec<_> = identity.into_iter().flat_map(PeerIdentity::dns_names).collect();
    let tls = match tls.protocol_version() {
        Some(Version::Tls13) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    let spiffe = identity.and_then(PeerIdentity::spiffe_id);
    let answerer = Answerer { tls, spiffe, dns: &dns };
    egress.check_server(Some(answerer))?;
    match &instance.identity {
        Some(expected) if !expected.is_shown_by(&answerer) => Err(EgressRefusal::Server),
        _ => Ok(()),
    }
}

fn forbidden(why: EgressRefusal, phase: Phase) -> Error {
    Error::new(ErrorKind::Forbidden(why), phase, Delivery::NotSent)
}

/// A socket that leads to the site. Resolving and connecting have their limit each, and end at `by`; to
/// be let through by a proxy is part of connecting.
pub(super) async fn connect<R: Runtime>(
    runtime: &R,
    plan: &Plan,
    site: &Site,
    by: Instant,
    reached: &impl Fn(Phase),
) -> Result<Pipe<R::Io>, Error> {
    if let Site::Tcp { host, port } = site {
        plan.egress.check_destination(host, *port).map_err(|why| forbidden(why, Phase::Connect))?;
    }
    let until = |phase| {
        reached(phase);
        (phase, (runtime.now() + plan.limit).min(by))
    };
    let (site, tunnelled) = match plan.proxy.as_ref().and_then(|proxy| proxy.toward(site)) {
        Some((proxy, tunnelled)) => (proxy, Some(tunnelled)),
        None => (site, None),
    };
    let addresses = addresses(runtime, site, || until(Phase::Resolve)).await?;
    within(runtime, until(Phase::Connect), async {
        let pipe = Pipe::new(reach(runtime, site, addresses).await?);
        match tunnelled {
            Some(tunnelled) => tunnelled.ask(runtime, &plan.machine, pipe).await,
            None => Ok(pipe),
        }
    })
    .await?
}

/// Where the site is; none for a socket of this machine. `until` is asked if there is something to
/// resolve.
pub(super) async fn addresses<R: Runtime>(
    runtime: &R,
    site: &Site,
    until: impl FnOnce() -> (Phase, Instant),
) -> Result<Vec<SocketAddr>, Error> {
    let Site::Tcp { host, port } = site else { return Ok(Vec::new()) };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, *port)]);
    }
    let unresolved = || Error::new(ErrorKind::Resolve, Phase::Resolve, Delivery::NotSent);
    let found = within(runtime, until(), runtime.resolve(host, *port)).await?;
    let found = found.map_err(|error| unresolved().with_source(error))?;
    if found.is_empty() { Err(unresolved()) } else { Ok(found) }
}

/// A socket that leads to the site, by whichever address answers first.
pub(super) async fn reach<R: Runtime>(
    runtime: &R,
    site: &Site,
    addresses: Vec<SocketAddr>,
) -> Result<R::Io, Error> {
    let io = match site {
        Site::Unix(path) => runtime.connect_unix(path).await,
        Site::Tcp { .. } => Race::new(runtime.clone(), addresses).await,
    };
    io.map_err(not_connected)
}

fn not_connected(error: io::Error) -> Error {
    Error::new(ErrorKind::Connect(error.kind()), Phase::Connect, Delivery::NotSent)
        .with_source(error)
}

/// Gives a future a time.
pub(super) async fn within<R: Runtime, F: Future>(
    runtime: &R,
    (phase, until): (Phase, Instant),
    future: F,
) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    let mut alarm = Alarm::<R>::new();
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let now = runtime.now();
        let late = until <= now || alarm.arm(cx, runtime, now, Some(until)).is_ready();
        if late {
            return Poll::Ready(Err(Error::new(ErrorKind::Timeout, phase, Delivery::NotSent)));
        }
        Poll::Pending
    })
    .await
}

/// The families take turns, beginning with that of the first address.
/// <https://www.rfc-editor.org/rfc/rfc8305#section-4>
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let mut order = VecDeque::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let (a, b) = (first.next(), second.next());
        if a.is_none() && b.is_none() {
            return order;
        }
        order.extend(a.into_iter().chain(b));
    }
}

type Attempt<I> = Pin<Box<dyn Future<Output = io::Result<I>> + Send>>;

/// Attempts side by side: the first that succeeds wins and the others are dropped.
struct Race<R: Runtime> {
    runtime: R,
    left: VecDeque<SocketAddr>,
    running: Vec<Attempt<R::Io>>,
    next_at: Instant,
    alarm: Alarm<R>,
    last: Option<io::Error>,
}

impl<R: Runtime> Unpin for Race<R> {}

impl<R: Runtime> Race<R> {
    fn new(runtime: R, addresses: Vec<SocketAddr>) -> Self {
        let next_at = runtime.now();
        let left = interleave(addresses);
        Self { runtime, left, running: Vec::new(), next_at, alarm: Alarm::new(), last: None }
    }
}

impl<R: Runtime> Future for Race<R> {
    type Output = io::Result<R::Io>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut at = 0;
            while let Some(attempt) = this.running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(io)) => return Poll::Ready(Ok(io)),
                    Poll::Ready(Err(error)) => {
                        this.last = Some(error);
                        drop(this.running.remove(at));
                        // A failure is as good as the time being over.
                        this.next_at = Instant::ZERO;
                    }
                    Poll::Pending => at += 1,
                }
            }
            let now = this.runtime.now();
            if this.next_at <= now
                && let Some(address) = this.left.pop_front()
            {
                this.running.push(Box::pin(this.runtime.connect_tcp(address)));
                this.next_at = now + STAGGER;
                continue;
            }
            if this.running.is_empty() && this.left.is_empty() {
                let error = this.last.take();
                return Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::NotFound.into())));
            }
            let next = (!this.left.is_empty()).then_some(this.next_at);
            if this.alarm.arm(cx, &this.runtime, now, next).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"];
        let order: Vec<_> = interleave(all.iter().copied().map(address).collect()).into();
        let expected = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"];
        assert_eq!(order, expected.map(address));
    }
}
