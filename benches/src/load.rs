//! A client that sends the same request again and again over one connection, and reads every answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::pki::Pki;
use crate::traffic::REQUEST;

/// How requests come.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// So many in one write.
    pub(crate) depth: u64,
    /// Idle before each write, so that the server has gone to sleep: else, under a tool that slows
    /// it down, it would always find the next request there already.
    pub(crate) gap: Duration,
}

/// A connection to a server, as it is or under TLS.
pub(crate) trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// Connects; with certificates, under mutual TLS.
pub(crate) fn connect(server: SocketAddr, pki: Option<&Pki>) -> Result<Box<dyn Connection>> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(match pki {
        None => Box::new(stream),
        Some(pki) => Box::new(pki.secure(stream)?),
    })
}

/// Sends `requests`, a multiple of the depth, and waits for all answers.
pub(crate) fn run(connection: &mut dyn Connection, shape: Shape, requests: u64) -> Result<()> {
    let batch = REQUEST.repeat(usize::try_from(shape.depth)?);
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..requests / shape.depth {
        thread::sleep(shape.gap);
        connection.write_all(&batch)?;
        connection.flush()?;
        let mut answers = 0;
        received.clear();
        while answers < shape.depth {
            match answer_len(&received)? {
                Some(len) => {
                    received.drain(..len);
                    answers += 1;
                }
                None => match connection.read(&mut buffer)? {
                    0 => return Err("the server closed the connection".into()),
                    n => received.extend_from_slice(&buffer[..n]),
                },
            }
        }
    }
    Ok(())
}

/// Bytes of the first answer, once all of it is there.
fn answer_len(received: &[u8]) -> Result<Option<usize>> {
    let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("an answer other than 200: {head}").into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without content-length")?;
    let whole = end + 4 + length.1.trim().parse::<usize>()?;
    Ok((received.len() >= whole).then_some(whole))
}
