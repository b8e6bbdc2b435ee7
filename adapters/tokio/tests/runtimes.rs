//! A client that outlives the runtime in which it began.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use sinew_tokio::RestClient;

#[test]
fn a_client_goes_on_in_another_runtime() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            thread::spawn(move || {
                while socket.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    if socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                        break;
                    }
                }
            });
        }
    });
    let client = RestClient::builder(url).allow_plaintext().build().unwrap();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async { client.get("/").send().await.unwrap().status() });
        assert_eq!(status, 204);
        drop(runtime);
    }
}
