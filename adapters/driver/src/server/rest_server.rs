//! A bound server: accepts, spawns connections, stops.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew_core::error::{self, Delivery};
use sinew_core::http1;
use sinew_core::security::ProxyProtocol;
use sinew_core::server::drain::Phase;
use sinew_core::time::Instant;
use sinew_tls::Tls;

use super::background::Tasks;
use super::builder::ServerBuilder;
use super::conn::Conn;
use super::control::{Control, Wait};
use super::current::Current;
use super::handle::ServerHandle;
use super::handover::Handover;
use super::http1::Http;
use super::keeper::Keeper;
use super::listen::{BACKLOG, Bound, SocketFile};
use super::mode::{Mode, Threads};
use super::pacer::{Pacer, Role};
use super::prepare::Fixed;
use super::proxied::{Parts, Proxied};
use super::reload::Reloader;
use super::server_wire::ServerWire;
use super::service::Notice;
use crate::error::{Error, ErrorKind};
use crate::io::{Listener, Peer};
use crate::runtime::{Runtime, Spawn};

/// Connections accepted in one go; then the worker's other tasks get their turn.
const ACCEPTS: usize = 32;

/// How long a listener pauses after an error that would come again at once, such as too many open
/// files; it doubles up to the limit.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the audit log still has to write when a server has ended is waited for this long.
const AUDIT_CLOSES: Duration = Duration::from_secs(1);

/// A server, bound to its listeners.
///
/// The runtime crates name it with their runtime filled in. `M` says where handlers run:
/// [`Threads`] or [`Local`](super::Local).
#[must_use = "a server does nothing until it serves"]
pub struct RestServer<R: Runtime, M: Mode = Threads> {
    pub(super) runtime: R,
    pub(super) ports: Vec<Port<R>>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) current: Arc<Current<M>>,
    pub(super) control: Arc<Control>,
    /// What no reload changes.
    pub(super) fixed: Option<Fixed>,
    /// Another server, for operators, which lives as long as this one.
    pub(super) admin: Option<Box<Self>>,
    pub(super) background: Tasks,
    pub(super) handover: Option<Handover>,
}

/// A listener with what goes over it.
pub(super) struct Port<R: Runtime> {
    pub(super) listener: R::Listener,
    pub(super) is_secure: bool,
    pub(super) _file: Option<SocketFile>,
}

impl<R: Runtime> Port<R> {
    /// Registers a socket with the runtime.
    pub(super) fn new(runtime: &R, bound: Bound, is_secure: bool) -> Result<Self, Error> {
        let listener = runtime.listen(bound.listener).map_err(|error| {
            Error::new(ErrorKind::Io(error.kind()), error::Phase::Idle, Delivery::NotSent)
                .with_source(error)
        })?;
        Ok(Self { listener, is_secure, _file: bound.file })
    }
}

impl<R: Runtime + Default, M: Mode> RestServer<R, M> {
    /// A server without routes.
    pub fn builder() -> ServerBuilder<R, M> {
        ServerBuilder::new(R::default())
    }
}

impl<R: Runtime, M: Mode> RestServer<R, M> {
    /// A server without routes, on this runtime.
    pub fn builder_on(runtime: R) -> ServerBuilder<R, M> {
        ServerBuilder::new(runtime)
    }

    /// The addresses of the TCP listeners, in the order in which they were asked for.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of the TCP listeners of the [admin surface](ServerBuilder::admin).
    pub fn admin_addrs(&self) -> &[SocketAddr] {
        self.admin.as_ref().map(|admin| &*admin.addresses).unwrap_or_default()
    }

    /// Stops and counts, from anywhere.
    pub fn handle(&self) -> ServerHandle<R> {
        ServerHandle::new(self.runtime.clone(), Arc::clone(&self.control))
    }

    /// Replaces what the server goes by, from anywhere.
    pub fn reloader(&self) -> Reloader<R, M> {
        let admin = self.admin.as_ref();
        let admin = admin.map(|admin| (Arc::clone(&admin.current), Arc::clone(&admin.control)));
        let fixed = self.fixed.clone().unwrap_or_default();
        Reloader::new(Arc::clone(&self.current), Arc::clone(&self.control), admin, fixed)
    }

    /// Accepts connections until the server is told to [leave](ServerHandle::drain), and goes on until
    /// the last one has ended, or is stuck.
    ///
    /// The [admin surface](ServerBuilder::admin) is served until then, and cut.
    ///
    /// Dropped earlier, it closes the listeners; connections go on until they end by themselves.
    pub async fn serve(self)
    where
        R: Spawn<Conn<http1::Server, R, M>> + Spawn<Conn<Tls<http1::Server>, R, M>>,
    {
        let Self { admin, mut background, handover, .. } = self;
        let mut admin = admin.map(|server| Accepting::new(*server));
        let (current, runtime) = (Arc::clone(&self.current), self.runtime.clone());
        let audit = current.get().audit.clone();
        let mut keeper = Keeper::new(self.runtime.clone());
        let mut beside = move |cx: &mut Context<'_>| {
            let next = current.poll_next(cx);
            if let Some(tasks) = next.tasks {
                background = tasks;
            }
            for _ in 0..background.poll(cx) {
                current.get().notice(None, &Notice::Panicked);
            }
            keeper.poll(cx, next.gates);
        };
        let mut offer = match handover.map(|handover| handover.start(&self.control)).transpose() {
            Ok(offer) => offer,
            Err(error) => {
                self.current.get().notice(None, &Notice::HandoverFailed(error.kind()));
                None
            }
        };
        let mut pacer = Pacer::new(self.runtime.clone(), &self.control, Role::Server);
        let mut accepting = Some(Accepting::new(Self {
            admin: None,
            background: Tasks::default(),
            handover: None,
            ..self
        }));
        poll_fn(|cx| {
            beside(cx);
            // What a server does while it leaves is of interest, too.
            if let Some(admin) = &mut admin {
                let _ = admin.poll(cx);
            }
            let over = pacer.poll(cx);
            if accepting.take_if(|accepting| accepting.poll(cx).is_ready()).is_some() {
                offer = None;
            }
            over
        })
        .await;
        if let Some(Accepting { runtime, control, ports, .. }) = admin {
            drop(ports);
            let mut pacer = Pacer::new(runtime, &control, Role::Server);
            control.command(|drain, now| drain.advance(now, Phase::Force));
            poll_fn(|cx| pacer.poll(cx)).await;
        }
        if let Some(audit) = audit {
            let closed = pin!(audit.closed());
            within(&runtime, AUDIT_CLOSES, closed).await;
        }
    }
}

/// Waits for this, and for so long at most.
async fn within<R: Runtime>(runtime: &R, limit: Duration, mut done: Pin<&mut impl Future>) {
    let mut sleep = runtime.sleep_until(runtime.now() + limit);
    poll_fn(|cx| match done.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Pin::new(&mut sleep).poll(cx),
    })
    .await;
}

struct Accepting<R: Runtime, M: Mode> {
    runtime: R,
    ports: Vec<Port<R>>,
    current: Arc<Current<M>>,
    control: Arc<Control>,
    wait: Wait,
    pause: Duration,
    paused: Option<R::Sleep>,
    /// Connections accepted since the listeners are to close.
    swept: usize,
}

impl<R: Runtime, M: Mode> Accepting<R, M> {
    fn new(server: RestServer<R, M>) -> Self {
        let RestServer { runtime, ports, current, control, .. } = server;
        let wait = control.wait();
        Self { runtime, ports, current, control, wait, pause: PAUSE, paused: None, swept: 0 }
    }

    /// Ready when the listeners are to close, and what waited in them was accepted.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        R: Spawn<Conn<http1::Server, R, M>> + Spawn<Conn<Tls<http1::Server>, R, M>>,
    {
        if self.wait.poll_closing(cx).is_ready() {
            return self.sweep(cx);
        }
        if let Some(sleep) = &mut self.paused {
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.paused = None;
        }
        let mut accepted = 0;
        let mut again = true;
        while again {
            again = false;
            for index in 0..self.ports.len() {
                if self.wait.poll_room(cx).is_pending() {
                    return Poll::Pending;
                }
                let Some(port) = self.ports.get_mut(index) else { break };
                match port.listener.poll_accept(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok((io, peer))) => {
                        self.pause = PAUSE;
                        self.start(index, io, peer);
                        accepted += 1;
                        again = true;
                    }
                    Poll::Ready(Err(error)) => {
                        again = true;
                        if self.failed(cx, &error) {
                            return Poll::Pending;
                        }
                        accepted += 1;
                    }
                }
            }
            if accepted >= ACCEPTS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Pending
    }

    /// Accepts what waits in the listeners: whoever was let in by the kernel would be reset otherwise.
    /// Ready when nothing waits there, or when as many were accepted as may have waited.
    fn sweep(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        R: Spawn<Conn<http1::Server, R, M>> + Spawn<Conn<Tls<http1::Server>, R, M>>,
    {
        let before = self.swept;
        for index in 0..self.ports.len() {
            for _ in 0..BACKLOG {
                let Some(port) = self.ports.get_mut(index) else { break };
                match port.listener.poll_accept(cx) {
                    Poll::Ready(Ok((io, peer))) => {
                        self.swept += 1;
                        self.start(index, io, peer);
                    }
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                }
            }
        }
        // A runtime may say that nothing waits, only because this task had its share.
        let limit = self.ports.len().saturating_mul(usize::try_from(BACKLOG).unwrap_or(usize::MAX));
        if self.swept == before || self.swept >= limit {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn start(&self, index: usize, io: R::Io, peer: Peer)
    where
        R: Spawn<Conn<http1::Server, R, M>> + Spawn<Conn<Tls<http1::Server>, R, M>>,
    {
        let now = self.runtime.now();
        // What is replaced after the ticket was given is told to it; what was before is seen here.
        let proxy = self.current.get().proxy_protocol.clone();
        let proxy = proxy
            .filter(|protocol| peer.address().is_some_and(|address| protocol.is_expected(address)));
        // A proxy speaks for many: its clients are counted, once they are known.
        let Some(ticket) = self.control.admit(peer.clone(), proxy.is_none()) else { return };
        let service = self.current.get();
        let wire = http1::Server::new(Arc::clone(&service.machine), now);
        let (runtime, current) = (self.runtime.clone(), Arc::clone(&self.current));
        let is_secure = self.ports.get(index).is_some_and(|port| port.is_secure);
        match service.tls.clone().filter(|_| is_secure) {
            None => {
                let parts = Parts { wire, io, runtime, service, current, peer, ticket };
                self.runtime.spawn(conn(proxy.as_ref(), now, parts));
            }
            Some(tls) => match tls.accept(wire, now) {
                Ok(wire) => {
                    let parts = Parts { wire, io, runtime, service, current, peer, ticket };
                    self.runtime.spawn(conn(proxy.as_ref(), now, parts));
                }
                Err(_) => service.notice(Some(&peer), &Notice::TlsUnavailable),
            },
        }
    }

    /// Whether the listeners pause.
    fn failed(&mut self, cx: &mut Context<'_>, error: &io::Error) -> bool {
        let kind = error.kind();
        self.current.get().notice(None, &Notice::AcceptFailed(kind));
        // These concern one connection, which is gone; the next one may be fine.
        if matches!(
            kind,
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return false;
        }
        let mut sleep = self.runtime.sleep_until(self.runtime.now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if Pin::new(&mut sleep).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.paused = Some(sleep);
        true
    }
}

/// A connection, behind what its proxy has to say first.
fn conn<W: ServerWire, R: Runtime, M: Mode>(
    proxy: Option<&Arc<ProxyProtocol>>,
    now: Instant,
    parts: Parts<W, R, M>,
) -> Conn<W, R, M> {
    match proxy {
        Some(protocol) => Conn::proxied(Proxied::new(Arc::clone(protocol), now, parts)),
        None => Conn::new(Http::new(parts)),
    }
}

impl<R: Runtime, M: Mode> fmt::Debug for RestServer<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestServer")
            .field("addresses", &self.addresses)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}
