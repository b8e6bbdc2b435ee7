//! `sinew check` over sockets: the adapters of sinew, and any other server.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use sinew_conformance::case::Case;
use sinew_conformance::deviations::Deviations;
use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::network::certificate::{Secrets, trusting};
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::foreign;
use sinew_conformance::network::ours::{Ours, Security};
use sinew_conformance::network::websocket::{self, Place};
use sinew_conformance::suite::{CaseResult, Verdict, side_by_side};
use sinew_tls::rustls::pki_types::ServerName;

use super::Problem;

/// Arguments of `sinew check` that are about sockets.
#[derive(clap::Args)]
pub(super) struct Sockets {
    /// Only this, where an adapter runs plain and over TLS
    #[arg(long, value_enum)]
    only: Option<Security>,
    /// Reach HOST:PORT over TLS, and trust the authorities in this file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Send hostile requests to a HOST:PORT that is not on this machine
    #[arg(long)]
    i_may_test_this_host: bool,
    /// How long a peer may take to answer, or to close
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    answer_timeout: Duration,
    /// How long a server is watched that has nothing to answer yet
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = seconds)]
    silence: Duration,
    /// Conversations at a time
    #[arg(long, default_value = "8")]
    jobs: NonZeroUsize,
}

impl Sockets {
    fn patience(&self) -> Patience {
        Patience { answer: self.answer_timeout, silence: self.silence }
    }

    pub(super) fn check_ours(
        &self,
        cases: &[Case],
        adapter: Adapter,
        seed: u64,
        deviations: &Deviations,
    ) -> Result<Vec<Verdict>, Problem> {
        let both = [Security::Plain, Security::Tls];
        let secrets = Secrets::generate().map_err(Problem::new)?;
        let ours = Ours {
            adapter,
            securities: self.only.as_ref().map_or(&both[..], core::slice::from_ref),
            secrets: &secrets,
            patience: self.patience(),
            seed,
            deviations,
        };
        Ok(side_by_side(cases, self.jobs, |case| ours.check(case)))
    }

    pub(super) fn check_foreign(
        &self,
        cases: &[Case],
        address: SocketAddr,
    ) -> Result<Vec<Verdict>, Problem> {
        self.check_permitted(address)?;
        let transport = match &self.ca {
            None => Transport::Plain,
            Some(path) => over_tls(path, address)?,
        };
        Ok(side_by_side(cases, self.jobs, |case| {
            foreign::check(case, address, &transport, self.patience())
        }))
    }

    /// The WebSocket cases, and no others.
    pub(super) fn check_echo(&self, cases: &[Case], url: &Url) -> Result<Vec<Verdict>, Problem> {
        self.check_permitted(url.address)?;
        let transport = match (&self.ca, url.secure) {
            (None, false) => Transport::Plain,
            (Some(path), true) => over_tls(path, url.address)?,
            (None, true) => return Err(Problem::new("wss needs --ca FILE")),
            (Some(_), false) => return Err(Problem::new("--ca is for wss")),
        };
        let place = Place {
            address: url.address,
            authority: url.authority.clone(),
            target: url.target.clone(),
            transport,
            patience: self.patience(),
        };
        Ok(side_by_side(cases, self.jobs, |case| {
            let (result, ways, seen) = match case {
                Case::WebSocket(case) => websocket::check(case, &place),
                _ => {
                    let reason = "is not about WebSocket".to_owned();
                    (CaseResult::LeftOut { reason }, Vec::new(), String::new())
                }
            };
            Verdict { case: case.clone(), result, ways, seen }
        }))
    }

    fn check_permitted(&self, address: SocketAddr) -> Result<(), Problem> {
        if address.ip().is_loopback() || self.i_may_test_this_host {
            return Ok(());
        }
        let what = "is not on this machine: say --i-may-test-this-host if you may";
        Err(Problem::new(format!("{address} {what}")))
    }
}

fn over_tls(ca: &Path, address: SocketAddr) -> Result<Transport, Problem> {
    let at = |e: &dyn core::fmt::Display| Problem::new(format!("{}: {e}", ca.display()));
    let pem = std::fs::read(ca).map_err(|e| at(&e))?;
    let config = trusting(&pem).map_err(|e| at(&e))?;
    Ok(Transport::Tls(config, ServerName::IpAddress(address.ip().into())))
}

/// A place where WebSocket is spoken.
#[derive(Clone)]
pub(super) struct Url {
    secure: bool,
    authority: String,
    address: SocketAddr,
    target: String,
}

impl Url {
    /// `None`: it is not `ws://HOST:PORT/PATH`, or the host has no address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = authority.to_socket_addrs().ok()?.next()?;
        Some(Self { secure, authority: authority.to_owned(), address, target: format!("/{path}") })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}
