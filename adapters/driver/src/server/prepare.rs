//! What becomes of a builder, but for the sockets.

use std::path::PathBuf;
use std::sync::Arc;

use sinew_core::limit::{LedgerConfig, Owner};
use sinew_core::security::TrustedProxies;
use sinew_core::server::{ConnectionsConfig, DrainConfig, RoutePolicy};
use sinew_tls::{ClientAuth, ServerTls};

use super::admin::Admin;
use super::audit::{AuditLog, AuditSettings, Clock};
use super::background::{self, Background};
use super::builder::{ServerBuilder, router};
use super::config::RestServerConfig;
use super::control::Control;
use super::expiry;
use super::gate::Gate;
use super::health::Known;
use super::kept::Kept;
use super::listen::{Place, check_place, names};
use super::memory::Booked;
use super::mode::Mode;
use super::service::{Observer, Service};
use crate::error::Error;
use crate::runtime::Runtime;

/// A server without its sockets.
pub(super) struct Prepared<R, M: Mode> {
    pub(super) runtime: R,
    pub(super) config: RestServerConfig,
    pub(super) places: Vec<Place>,
    pub(super) admin: Option<Admin<M>>,
    pub(super) control: Arc<Control>,
    pub(super) handover: Option<PathBuf>,
    pub(super) background: Background,
    pub(super) fixed: Fixed,
    pub(super) service: Service<M>,
    /// The observer, for the audit log itself.
    pub(super) unaudited: Option<Observer>,
}

/// What stays as long as the server runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Fixed {
    places: Vec<String>,
    is_secure: bool,
    caps: ConnectionsConfig,
    drain: DrainConfig,
    memory: LedgerConfig,
    admin: Option<(Vec<String>, usize)>,
    audit: Option<AuditSettings>,
    handover: Option<PathBuf>,
}

impl Fixed {
    /// What is not the same, in plain words.
    pub(super) fn differs(&self, next: &Self) -> Option<&'static str> {
        let Self { places, is_secure, caps, drain, memory, admin, audit, handover } = self;
        [
            // Who names none means those that there are.
            (!next.places.is_empty() && *places != next.places, "where it listens"),
            (*is_secure != next.is_secure, "whether it speaks TLS"),
            (*caps != next.caps, "how many connections it has, and who is exempt from that"),
            (*drain != next.drain, "how it leaves"),
            (*memory != next.memory, "how many bytes it holds"),
            (*admin != next.admin, "where operators ask"),
            (*audit != next.audit, "where the audit log is"),
            (*handover != next.handover, "where its listeners are handed over"),
        ]
        .into_iter()
        .find_map(|(is_other, what)| is_other.then_some(what))
    }
}

impl<R: Runtime, M: Mode> ServerBuilder<R, M> {
    /// Checks all of it. `before`: the server, if it runs, and what was in force; its connections and its
    /// audit log are kept, and what clients have used up.
    pub(super) fn prepare(
        self,
        before: Option<(&Arc<Control>, &Service<M>)>,
    ) -> Result<Prepared<R, M>, Error> {
        let Self {
            runtime,
            config,
            mut places,
            mut routes,
            mut admin,
            fallback,
            observer,
            audit,
            mut policies,
            overload,
            health,
            handover,
            refused,
        } = self;
        if let Some(error) = refused {
            return Err(error);
        }
        let bad: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        if !bad.is_empty() {
            return Err(Error::config(bad.join("; ")));
        }
        names(&places).iter().try_for_each(|name| check_place(name))?;
        if let Some(public) = admin.take_if(|admin| admin.is_public) {
            routes.extend(public.into_public()?);
        }
        for added in &routes {
            policies.of_route(added.method.as_ref(), &added.template, &added.route.options);
        }
        let router = router(routes)?;
        let mut kept = before.map_or_else(Kept::new, |(_, before)| before.kept.clone());
        let tls = config.mtls_config.clone();
        if let Some(not_after) = tls.as_ref().and_then(ServerTls::not_after) {
            policies.background.push(expiry::watch(runtime.clone(), not_after));
        }
        let known = kept.gate.take_if(|(known, _)| Some(*known) == overload);
        kept.gate = match (overload, known) {
            (None, _) => None,
            (Some(_), Some(known)) => Some(known),
            (Some(config), None) => {
                let gate = Gate::new(config).map_err(|bad| Error::config(bad.to_string()))?;
                Some((config, Arc::new(gate)))
            }
        };
        let gate = kept.gate.as_ref().map(|(_, gate)| Arc::clone(gate));
        if gate.is_some() {
            policies.classes.get_or_insert_default();
        }
        let mut caps = config.connections();
        let proxies = policies.proxies.iter().flat_map(TrustedProxies::networks);
        caps.unlimited.extend(proxies.copied());
        let settings = audit.as_ref().map(|audit| audit.settings().clone());
        let audit = match before {
            Some((_, before)) => before.audit.clone(),
            None => {
                let audit = audit.map(|audit| audit.start(clock(&runtime), observer.as_ref()));
                audit.transpose()?.map(Arc::new)
            }
        };
        let unaudited = observer.clone();
        let observer = audited(observer, audit.as_ref());
        let control = match before {
            Some((control, _)) => Arc::clone(control),
            None => {
                let (runtime, caps) = (runtime.clone(), caps.clone());
                Arc::new(Control::of(runtime, &config, caps, observer.clone())?)
            }
        };
        let probes = match health {
            None => None,
            Some(checks) => {
                let ends = tls.as_ref().and_then(ServerTls::not_after).map(|not_after| {
                    let now = runtime.now();
                    now + not_after.saturating_sub(runtime.epoch().unix(now))
                });
                let (control, gate) = (Arc::clone(&control), gate.clone());
                let known = Known { control, gate, certificate: ends };
                let (probes, checker) = checks.split(known)?;
                let runtime = runtime.clone();
                let start =
                    |observer| -> background::Task { Box::pin(checker.run(runtime, observer)) };
                policies.background.push(Box::new(start));
                Some(probes)
            }
        };
        let (background, explain) = (policies.take_background(), policies.explain());
        if tls.as_ref().is_some_and(|tls| tls.client_auth() != Some(ClientAuth::Off)) {
            policies.believe_callers();
        }
        let limiter = policies.rate_limit.as_ref().map_or(0, |(_, limits)| limits.bytes);
        kept.limiter = match kept.limiter.take_if(|known| known.bytes() == limiter) {
            Some(known) => Some(known),
            None => {
                Some(Arc::new(Booked::new(&control, Owner::Limiter, limiter).map_err(|_| {
                    Error::config(
                        "the limiter takes more bytes than the memory of the server has left",
                    )
                })?))
            }
        };
        let stack = policies.build(router.templates(), &mut kept)?;
        let named = names(&places);
        if places.is_empty() {
            let host = &config.host;
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            let host = if bare_v6 { format!("[{host}]") } else { host.clone() };
            places.push(Place::Named(format!("{host}:{}", config.port)));
        }
        match (&tls, config.allow_plaintext) {
            (Some(_), true) => {
                return Err(Error::config("both TLS and plaintext are asked for: choose one"));
            }
            (None, false) if places.iter().any(Place::is_network) => {
                return Err(Error::config(
                    "no TLS configured: give .tls(…), or say .allow_plaintext()",
                ));
            }
            _ => {}
        }
        let fixed = Fixed {
            places: named,
            is_secure: tls.is_some(),
            caps: caps.clone(),
            drain: config.drain,
            memory: config.memory,
            admin: admin.as_ref().map(Admin::fixed),
            audit: settings,
            handover: handover.clone(),
        };
        let proxy_protocol = config.proxy_protocol.clone().map(Arc::new);
        let service = Service {
            epoch: 1,
            router,
            fallback,
            machine: Arc::new(config.machine(runtime.epoch(), observer.is_some())),
            observer,
            stack: Arc::new(stack),
            gate,
            probes,
            is_admin: false,
            decompression: config.decompression,
            compression: config.compression,
            explain,
            elsewhere: RoutePolicy::default(),
            tls,
            audit,
            kept,
            proxy_protocol,
        };
        Ok(Prepared {
            runtime,
            config,
            places,
            admin,
            control,
            handover,
            background,
            fixed,
            service,
            unaudited,
        })
    }
}

/// The wall clock of a runtime.
fn clock<R: Runtime>(runtime: &R) -> Clock {
    let runtime = runtime.clone();
    Box::new(move || runtime.epoch().unix(runtime.now()))
}

/// The observer behind the audit log, which hears of the same.
fn audited(observer: Option<Observer>, audit: Option<&Arc<AuditLog>>) -> Option<Observer> {
    let Some(audit) = audit.cloned() else { return observer };
    Some(Arc::new(move |peer, notice| {
        audit.notice(peer, notice);
        if let Some(observer) = &observer {
            observer(peer, notice);
        }
    }))
}
