//! `sinew serve`: the reference server, through the adapter of any runtime.

mod production;
mod routes;

use core::future::poll_fn;
use core::pin::Pin;
use core::time::Duration;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_core::Stream as _;
use sinew_conformance::network::adapter::{Adapter, Work, both, until};
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{Hangups, RestServer, Runtime, Signals, Spawn, Threads};
use sinew_prometheus::Metrics;
use sinew_tls::{ClientAuth, ServerTls, Tls};

use super::Problem;
use production::Production;

/// Arguments of `sinew serve`.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: Adapter,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    listen: SocketAddr,
    /// A directory with cert.pem and key.pem; with a ca.pem in it, clients need a certificate. It is read
    /// again at SIGHUP
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Take the listeners over from the server that offers them at this path, and offer them there
    #[cfg(unix)]
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,
    /// Seconds from a signal until what still runs is cut
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    deadline: u64,
    #[command(flatten)]
    production: Production,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let tls = self.tls.as_deref().map(load_tls).transpose()?;
        // Before anything can be in flight, so that no signal finds the default action.
        let signals = Signals::listen().map_err(Problem::new)?;
        let hangups = Hangups::listen().map_err(Problem::new)?;
        let serving = Serving {
            listen: self.listen,
            dir: self.tls.clone(),
            tls,
            signals,
            hangups,
            #[cfg(unix)]
            handover: self.handover.clone(),
            deadline: Duration::from_secs(self.deadline),
            production: self.production.clone(),
        };
        self.runtime.run(serving).map_err(Problem::new)?
    }
}

struct Serving {
    listen: SocketAddr,
    dir: Option<PathBuf>,
    tls: Option<ServerTls>,
    signals: Signals,
    hangups: Hangups,
    #[cfg(unix)]
    handover: Option<PathBuf>,
    deadline: Duration,
    production: Production,
}

impl Work for Serving {
    type Outcome = Result<ExitCode, Problem>;

    /// Serves until a signal comes and what was in flight is finished.
    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let Self { listen, dir, tls, signals, mut hangups, deadline, production, .. } = self;
        #[cfg(unix)]
        let handover = self.handover;
        let metrics = Metrics::new();
        let build = |tls| {
            let builder = RestServer::<R>::builder_on(runtime.clone());
            let mut builder = match tls {
                Some(tls) => builder.tls(tls),
                None => builder.allow_plaintext(),
            };
            builder.config_mut().drain.deadline = deadline;
            #[cfg(unix)]
            if let Some(path) = &handover {
                builder = builder.handover(path);
            }
            production.apply(routes::add(builder, runtime.clone()), &metrics)
        };
        let server = build(tls).listen(listen.to_string()).bind().await;
        let server = server.map_err(Problem::new)?;
        let mut stdout = std::io::stdout();
        for address in server.local_addrs() {
            writeln!(stdout, "listening on {address}").map_err(Problem::new)?;
        }
        for address in server.admin_addrs() {
            writeln!(stdout, "metrics on http://{address}/metrics").map_err(Problem::new)?;
        }
        stdout.flush().map_err(Problem::new)?;
        let handle = server.handle();
        let reloader = server.reloader();
        let reloading = async {
            while poll_fn(|cx| Pin::new(&mut hangups).poll_next(cx)).await.is_some() {
                let tls = || dir.as_deref().map(load_tls).transpose();
                let next = || tls().map(build).map_err(|problem| problem.to_string());
                match reloader.reload(next).await {
                    Ok(epoch) => println!("reloaded: {epoch}"),
                    Err(error) => eprintln!("not reloaded: {error}"),
                }
            }
        };
        let ((), report) = until(reloading, both(server.serve(), handle.drain_on(signals))).await;
        // Whoever started it may not listen any more.
        let _ = writeln!(stdout, "drained: {report}");
        let _ = writeln!(stdout, "held at most: {}", handle.memory().peak);
        Ok(ExitCode::SUCCESS)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|e| format!("no HOST:PORT: {e}"))?.next();
    found.ok_or_else(|| "the name has no address".to_owned())
}

fn load_tls(dir: &Path) -> Result<ServerTls, Problem> {
    let in_dir = |e| Problem::new(format!("{}: {e}", dir.display()));
    if !dir.is_dir() {
        return Err(Problem::new(format!("{}: no such directory", dir.display())));
    }
    let builder = ServerTls::builder();
    let builder = builder.certificate_file(dir.join("cert.pem"), dir.join("key.pem"));
    let mut builder = builder.map_err(in_dir)?;
    let authorities = dir.join("ca.pem");
    if authorities.exists() {
        builder = builder.client_ca_file(authorities).map_err(in_dir)?;
        builder = builder.client_auth(ClientAuth::Required);
    }
    builder.build().map_err(in_dir)
}
