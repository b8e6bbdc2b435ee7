//! sinew on tokio, with a route and the timers that it has by default, plain or under mutual TLS.

use std::io::{Error, Result};
use std::path::Path;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use sinew_bench_peers::{HELLO, announce, certificates, runtime};
use sinew_tls::{ClientAuth, ServerTls};
use sinew_tokio::{Request, Response, RestServer};

async fn answer(_: Request) -> Response {
    Response::ok(HELLO).header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
}

fn mutual(dir: &Path) -> std::result::Result<ServerTls, sinew_tls::ConfigError> {
    ServerTls::builder()
        .certificate_file(dir.join("cert.pem"), dir.join("key.pem"))?
        .client_ca_file(dir.join("ca.pem"))?
        .client_auth(ClientAuth::Required)
        .build()
}

fn main() -> Result<()> {
    runtime()?.block_on(async {
        let mut builder =
            RestServer::builder().listen("127.0.0.1:0").route(Method::GET, "/plain", answer);
        // All clients are one address here.
        let config = builder.config_mut();
        config.max_connections_per_address = config.max_connections;
        let builder = match certificates() {
            None => builder.allow_plaintext(),
            Some(dir) => builder.tls(mutual(&dir).map_err(Error::other)?),
        };
        let server = builder.bind().await.map_err(Error::other)?;
        for address in server.local_addrs() {
            announce(*address)?;
        }
        server.serve().await;
        Ok(())
    })
}
