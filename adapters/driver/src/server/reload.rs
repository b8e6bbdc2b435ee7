//! Replacing all that a server goes by, without a lost request.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use sinew_core::observe::Event;
use sinew_core::observe::audit::{Kind, Value};
use sinew_core::server::ReloadOutcome;
use sinew_tls::ServerTls;

use super::builder::ServerBuilder;
use super::control::Control;
use super::current::Current;
use super::mode::Mode;
use super::prepare::{Fixed, Prepared};
use super::service::{Notice, Service};
use crate::error::{BoxError, Error};
use crate::runtime::Runtime;

/// Replaces what a server goes by: certificates, revocation lists, keys of tokens, access rules, CORS,
/// quotas, limits, timers, routes and their handlers. Clones replace that of the same server.
///
/// What comes is a builder, as for a new server; only the sockets stay. All of it is checked, and what it
/// needs fetched, before anything is changed, and then it is swapped at once: requests that run keep
/// what they began with, the next head of every connection sees the new. What makes no sense changes
/// nothing, and is told to the observer and to the audit log.
///
/// - Whoever could not connect any more, because its authority was removed, say, or its certificate
///   revoked, is told to close: connections that are idle are closed, running requests are answered with
///   `connection: close`, upgraded connections are cut.
/// - Sessions of TLS that began before are not resumed.
/// - Of several reloads at once, each begins when those that came before it are done.
/// - The observer is replaced as well: from then on it hears of what connections, phases of a drain,
///   memory and the audit log have to tell.
/// - What clients have used up of their quotas is kept as long as the quotas stay the same.
///
/// ```
/// # use std::sync::Arc;
/// # use sinew_driver::{BoxError, Error, Request, RestServer, Runtime, ServerBuilder, Threads};
/// # use http::Method;
/// fn program<R: Runtime>(builder: ServerBuilder<R, Threads>) -> ServerBuilder<R, Threads> {
///     builder.route(Method::GET, "/", async |_: Request| "hello")
/// }
///
/// async fn again<R: Runtime>(runtime: R, server: &RestServer<R, Threads>) -> Result<u64, Error> {
///     let reloader = server.reloader();
///     reloader
///         .reload(|| {
///             let builder = RestServer::builder_on(runtime).allow_plaintext();
///             Ok::<_, BoxError>(program(builder).max_request_size(4 << 20))
///         })
///         .await
/// }
/// ```
pub struct Reloader<R, M: Mode> {
    current: Arc<Current<M>>,
    control: Arc<Control>,
    admin: Option<(Arc<Current<M>>, Arc<Control>)>,
    fixed: Fixed,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: Runtime, M: Mode> Reloader<R, M> {
    pub(super) fn new(
        current: Arc<Current<M>>,
        control: Arc<Control>,
        admin: Option<(Arc<Current<M>>, Arc<Control>)>,
        fixed: Fixed,
    ) -> Self {
        Self { current, control, admin, fixed, runtime: std::marker::PhantomData }
    }

    /// Goes by what `next` builds. It is in force, everywhere, when this is done: the number of what is,
    /// counted from 1, which was that of the start.
    ///
    /// # Errors
    ///
    /// It makes no sense, or `next` failed: a file that cannot be read. Or it would need other sockets:
    /// where the server listens, whether it speaks TLS, how many connections it has, how it leaves, and
    /// where its audit log is can only be changed by a new process. Or the keys of an issuer cannot be
    /// fetched. Everything is as it was.
    pub async fn reload<E: Into<BoxError>>(
        &self,
        next: impl FnOnce() -> Result<ServerBuilder<R, M>, E>,
    ) -> Result<u64, Error> {
        let _turn = self.current.reloads.turn().await;
        let before = self.current.get();
        let failed = |error: E| {
            let error = error.into();
            Error::config(error.to_string()).with_source(error)
        };
        let prepared =
            next().map_err(failed).and_then(|next| next.prepare(Some((&self.control, &before))));
        let changed = match prepared {
            Ok(prepared) => self.change(&before, prepared).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &changed {
            before.notice(None, &Notice::ReloadRefused { why: error.to_string() });
            before.notice(None, &Notice::Decided(Event::Reload(ReloadOutcome::Refused)));
        }
        changed
    }

    async fn change(&self, before: &Service<M>, next: Prepared<R, M>) -> Result<u64, Error> {
        let Prepared { runtime, config, admin, background, fixed, service, unaudited, .. } = next;
        if let Some(what) = self.fixed.differs(&fixed) {
            return Err(Error::config(format!("{what} can only be changed by a new process")));
        }
        let tls = service.changed_tls(before);
        let shared = |tls| before.tls.as_ref().is_some_and(|before| before.shares_sessions(tls));
        if tls.is_some_and(shared) {
            // Who began a session before could go on with it, whatever is trusted now.
            return Err(Error::config("the new TLS shares sessions with the one before it"));
        }
        let not_after = tls.map(ServerTls::not_after);
        let is_other = service.kept.said != before.kept.said;
        let (observer, audit) = (service.observer.clone(), service.audit.clone());
        let admin = admin.map(|admin| {
            admin.renewed(&runtime, &config, observer.clone(), service.probes.clone())
        });
        let admin = admin.transpose()?;
        let mut tasks = background.start(observer.as_ref());
        poll_fn(|cx| tasks.poll_ready(cx)).await?;
        let epoch = self.current.replace(service);
        self.current.run(tasks);
        self.control.observe(observer.clone());
        if let Some(audit) = &audit {
            audit.observe(unaudited);
        }
        self.control.renew(not_after.is_some());
        if let Some(((current, control), next)) = self.admin.as_ref().zip(admin) {
            current.replace(next);
            control.renew(not_after.is_some());
        }
        if let Some(observer) = &observer {
            observer(None, &Notice::Decided(Event::Reload(ReloadOutcome::InForce { epoch })));
        }
        if let Some(audit) = audit {
            let epoch = ("epoch", Value::Number(epoch));
            if let Some(not_after) = not_after {
                let until = not_after.map(|end| ("not_after", Value::Number(end.as_secs())));
                let details: Vec<_> = [Some(epoch), until].into_iter().flatten().collect();
                audit.note(Kind::CertRotation, &details);
            }
            if is_other {
                audit.note(Kind::PolicyChange, &[epoch]);
            }
        }
        Ok(epoch)
    }
}

impl<R, M: Mode> Clone for Reloader<R, M> {
    fn clone(&self) -> Self {
        Self {
            current: Arc::clone(&self.current),
            control: Arc::clone(&self.control),
            admin: self.admin.clone(),
            fixed: self.fixed.clone(),
            runtime: self.runtime,
        }
    }
}

impl<R, M: Mode> fmt::Debug for Reloader<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("current", &self.current).finish_non_exhaustive()
    }
}
