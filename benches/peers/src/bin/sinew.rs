//! sinew on tokio, with a route and the timers that it has by default.

use std::io::Result;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use sinew_bench_peers::{HELLO, announce, runtime};
use sinew_tokio::{Request, Response, RestServer};

async fn answer(_: Request) -> Response {
    Response::ok(HELLO).header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
}

fn main() -> Result<()> {
    runtime()?.block_on(async {
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .route(Method::GET, "/plain", answer)
            .bind()
            .await
            .map_err(std::io::Error::other)?;
        for address in server.local_addrs() {
            announce(*address)?;
        }
        server.serve().await;
        Ok(())
    })
}
