//! sinew on tokio, as its users set it up: every limit and every timer at its default.

use std::error::Error;

use http::Method;
use sinew_bench_peers::{HELLO, announce, runtime};
use sinew_tokio::{Request, Response, RestServer};

async fn answer(_request: Request) -> Response {
    Response::ok(HELLO).header("content-type", "text/plain")
}

fn main() -> Result<(), Box<dyn Error>> {
    runtime()?.block_on(async {
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .route(Method::GET, "/plain", answer)
            .bind()
            .await?;
        announce(*server.local_addrs().first().ok_or("no address")?)?;
        server.serve().await;
        Ok(())
    })
}
