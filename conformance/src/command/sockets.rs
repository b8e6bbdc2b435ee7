//! `sinew check` over sockets: the adapters of sinew, and any other server.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::net::SocketAddr;
use std::path::PathBuf;

use sinew_conformance::case::Case;
use sinew_conformance::deviations::Deviations;
use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::network::certificate::{Secrets, trusting};
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::foreign;
use sinew_conformance::network::ours::{Ours, Security};
use sinew_conformance::suite::{Verdict, side_by_side};
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
        if !address.ip().is_loopback() && !self.i_may_test_this_host {
            let what = "is not on this machine: say --i-may-test-this-host if you may";
            return Err(Problem::new(format!("{address} {what}")));
        }
        let transport = match &self.ca {
            None => Transport::Plain,
            Some(path) => {
                let at =
                    |e: &dyn core::fmt::Display| Problem::new(format!("{}: {e}", path.display()));
                let pem = std::fs::read(path).map_err(|e| at(&e))?;
                let config = trusting(&pem).map_err(|e| at(&e))?;
                Transport::Tls(config, ServerName::IpAddress(address.ip().into()))
            }
        };
        Ok(side_by_side(cases, self.jobs, |case| {
            foreign::check(case, address, &transport, self.patience())
        }))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}
