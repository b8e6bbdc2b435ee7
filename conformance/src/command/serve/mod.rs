//! `sinew serve`: the reference server, through the adapter of any runtime.

mod routes;
mod signals;

use core::time::Duration;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sinew_async_std::AsyncStdRuntime;
use sinew_conformance::socket::home::until_both;
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{RestServer, Runtime, Spawn, Threads};
use sinew_smol::SmolRuntime;
use sinew_tls::{ClientAuth, ServerTls, Tls};
use sinew_tokio::TokioRuntime;

use super::Problem;
use signals::Stopped;

/// What is in flight when a signal comes has this long to finish.
const DRAIN: Duration = Duration::from_secs(25);

/// Who runs the server.
#[derive(Clone, Copy, clap::ValueEnum)]
enum On {
    /// tokio, with worker threads
    Tokio,
    /// smol
    Smol,
    /// async-std
    AsyncStd,
}

/// Arguments of `sinew serve`.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: On,
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
        let stopped = Stopped::install().map_err(Problem::new)?;
        match self.runtime {
            On::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                let runtime = runtime.map_err(Problem::new)?;
                runtime.block_on(serve(TokioRuntime::default(), self.listen, tls, stopped))
            }
            On::Smol => smol::block_on(serve(SmolRuntime, self.listen, tls, stopped)),
            On::AsyncStd => {
                let server = serve(AsyncStdRuntime::default(), self.listen, tls, stopped);
                async_std::task::block_on(server)
            }
        }
    }
}

/// Serves until a signal comes and what was in flight is finished.
async fn serve<R>(
    runtime: R,
    listen: SocketAddr,
    tls: Option<ServerTls>,
    stopped: Stopped,
) -> Result<ExitCode, Problem>
where
    R: Runtime
        + Spawn<Conn<http1::Server, R, Threads>>
        + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
{
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
    let stop = async move {
        stopped.await;
        handle.stop(DRAIN).await
    };
    until_both(server.serve(), stop).await;
    Ok(ExitCode::SUCCESS)
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
