//! A name server on a socket, whose every answer the test gives.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use super::wire::Reply;

/// What it says to a query; nothing, where it is silent.
pub(crate) type Answers = dyn Fn(&[u8], Reply) -> Option<Reply> + Send + Sync;

/// Serves over UDP and TCP until the test ends. Over UDP what is longer than 512 bytes is truncated.
pub(crate) fn start(
    answers: impl Fn(&[u8], Reply) -> Option<Reply> + Send + Sync + 'static,
) -> SocketAddr {
    let answers: Arc<Answers> = Arc::new(answers);
    let (udp, tcp) = sockets();
    let place = udp.local_addr().unwrap();
    let over_tcp = Arc::clone(&answers);
    thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut room) {
            let query = &room[..length];
            let Some(reply) = answers(query, Reply::to(query)) else { continue };
            let mut bytes = reply.bytes();
            if bytes.len() > 512 {
                bytes = Reply::to(query).flags(0x8380).bytes();
            }
            let _ = udp.send_to(&bytes, from);
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut query).is_err() {
                continue;
            }
            if let Some(reply) = over_tcp(&query, Reply::to(&query)) {
                let bytes = reply.bytes();
                let _ = stream.write_all(&(bytes.len() as u16).to_be_bytes());
                let _ = stream.write_all(&bytes);
            }
        }
    });
    place
}

/// Both on one port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}
