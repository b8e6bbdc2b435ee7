//! `sinew serve`: the reference server, through the adapter of any runtime.

mod routes;

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sinew_conformance::network::adapter::{Adapter, Work, both};
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{RestServer, Runtime, Signals, Spawn, Threads};
use sinew_tls::{ClientAuth, ServerTls, Tls};

use super::Problem;

/// Arguments of `sinew serve`.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: Adapter,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    listen: SocketAddr,
    /// A directory with cert.pem and key.pem; with a ca.pem in it, clients need a certificate
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let tls = self.tls.as_deref().map(load_tls).transpose()?;
        // Before anything can be in flight, so that no signal finds the default action.
        let signals = Signals::listen().map_err(Problem::new)?;
        let serving = Serving { listen: self.listen, tls, signals };
        self.runtime.run(serving).map_err(Problem::new)?
    }
}

struct Serving {
    listen: SocketAddr,
    tls: Option<ServerTls>,
    signals: Signals,
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
        let Self { listen, tls, signals } = self;
        let builder = RestServer::<R>::builder_on(runtime.clone()).listen(listen.to_string());
        let builder = match tls {
            Some(tls) => builder.tls(tls),
            None => builder.allow_plaintext(),
        };
        let server = routes::add(builder, runtime).bind().await;
        let server = server.map_err(|e| Problem::new(format!("cannot listen on {listen}: {e}")))?;
        let mut stdout = std::io::stdout();
        for address in server.local_addrs() {
            writeln!(stdout, "listening on {address}").map_err(Problem::new)?;
        }
        stdout.flush().map_err(Problem::new)?;
        let handle = server.handle();
        let ((), report) = both(server.serve(), handle.drain_on(signals)).await;
        writeln!(stdout, "drained: {report}").map_err(Problem::new)?;
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
