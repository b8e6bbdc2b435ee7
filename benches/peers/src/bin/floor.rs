//! The least that a server on tokio can do: find the ends of heads, write canned answers.

use std::io::Result;

use memchr::memmem;
use sinew_bench_peers::{HELLO, announce, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(mut stream: TcpStream) -> Result<()> {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\
        date: Mon, 23 Nov 2026 06:00:00 GMT\r\n\r\n"
        .to_vec();
    answer.extend_from_slice(HELLO);
    let answers = answer.repeat(64);
    let end = memmem::Finder::new(b"\r\n\r\n");
    let mut buffer = vec![0; 8192];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => {
                let count = end.find_iter(&buffer[..n]).count().min(64);
                stream.write_all(&answers[..count * answer.len()]).await?;
            }
        }
    }
}

fn main() -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}
