//! sinew on tokio, answering any request once its body was read: what `conformance/differential`
//! asks.

use std::io::Result;

use sinew_bench_peers::{HELLO, announce, runtime};
use sinew_tokio::{Problem, Request, RestServer};

async fn answer(mut request: Request) -> std::result::Result<&'static [u8], Problem> {
    while request.body_mut().chunk().await?.is_some() {}
    Ok(HELLO)
}

fn main() -> Result<()> {
    runtime()?.block_on(async {
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .fallback(answer)
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
