//! What the driver asks of a runtime, without HTTP.

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::{self, Either};
use sinew_core::time::Instant;
use sinew_driver::{Io, Listener, Peer, Runtime, Spawn, StdListener};

use super::run;
use crate::rt;

type Stream = <rt::Runtime as Runtime>::Io;

async fn fill(stream: &mut Stream, hint: usize) -> Bytes {
    let mut into = BytesMut::new();
    let taken = poll_fn(|cx| stream.poll_fill(cx, &mut into, hint)).await.unwrap();
    assert_eq!(taken, into.len());
    into.freeze()
}

async fn read_to_end(stream: &mut Stream) -> BytesMut {
    let mut all = BytesMut::new();
    while poll_fn(|cx| stream.poll_fill(cx, &mut all, 16 * 1024)).await.unwrap() > 0 {}
    all
}

async fn write(stream: &mut Stream, mut bytes: Bytes) {
    while !bytes.is_empty() {
        let taken = poll_fn(|cx| stream.poll_drain(cx, &[IoSlice::new(&bytes)])).await.unwrap();
        bytes.advance(taken);
    }
    poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
}

/// A connected pair: what the client dialled, what the server accepted, and from whom.
async fn pair(bind: &str) -> (Stream, Stream, Peer) {
    let runtime = rt::Runtime::default();
    let listener = std::net::TcpListener::bind(bind).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = runtime.listen(StdListener::Tcp(listener)).unwrap();
    let (dialled, accepted) =
        future::join(runtime.connect_tcp(address), poll_fn(|cx| listener.poll_accept(cx))).await;
    let (accepted, peer) = accepted.unwrap();
    (dialled.unwrap(), accepted, peer)
}

#[test]
fn what_comes_behind_a_short_read_is_found() {
    async fn next(stream: &mut Stream) -> Bytes {
        poll_fn(|cx| stream.poll_fillable(cx)).await;
        fill(stream, 1024).await
    }
    run(async {
        let (mut client, mut server, _) = pair("127.0.0.1:0").await;
        for piece in ["one", "two", "three"] {
            let come = write(&mut client, Bytes::from_static(piece.as_bytes()));
            // Asked first, and told by what comes.
            let (found, ()) = future::join(next(&mut server), come).await;
            assert_eq!(found, piece);
        }
        let ended = poll_fn(|cx| client.poll_shut(cx));
        let (end, shut) = future::join(next(&mut server), ended).await;
        shut.unwrap();
        assert_eq!(end, "");
    });
}

#[test]
fn bytes_cross_and_the_shut_side_still_reads() {
    run(async {
        let (mut client, mut server, peer) = pair("127.0.0.1:0").await;
        assert!(matches!(peer, Peer::Tcp(address) if address.ip().is_loopback()));

        write(&mut client, Bytes::from_static(b"question")).await;
        poll_fn(|cx| client.poll_shut(cx)).await.unwrap();
        assert_eq!(read_to_end(&mut server).await, "question");

        write(&mut server, Bytes::from_static(b"answer")).await;
        drop(server);
        assert_eq!(read_to_end(&mut client).await, "answer");
    });
}

#[test]
fn reads_stay_within_the_hint_and_append() {
    run(async {
        let (mut client, mut server, _) = pair("127.0.0.1:0").await;
        write(&mut client, Bytes::from_static(b"abcdefgh")).await;
        let mut into = BytesMut::from(&b"head:"[..]);
        while into.len() < 13 {
            let before = into.len();
            let taken = poll_fn(|cx| server.poll_fill(cx, &mut into, 3)).await.unwrap();
            assert!((1..=3).contains(&taken));
            assert_eq!(into.len(), before + taken);
        }
        assert_eq!(into, "head:abcdefgh");
    });
}

#[test]
fn a_read_wakes_each_time_bytes_come() {
    run(async {
        let (mut client, mut server, _) = pair("127.0.0.1:0").await;
        for round in 0..100_u8 {
            // The server's task sleeps first, then the byte is written.
            let waiting = fill(&mut server, 4096);
            let writing = write(&mut client, Bytes::copy_from_slice(&[round]));
            let (got, ()) = future::join(waiting, writing).await;
            assert_eq!(got.as_ref(), [round]);
        }
    });
}

#[test]
fn slices_go_out_in_order() {
    run(async {
        let (mut client, mut server, _) = pair("127.0.0.1:0").await;
        let slices = [IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(b"three")];
        let taken = poll_fn(|cx| client.poll_drain(cx, &slices)).await.unwrap();
        assert_eq!(taken, 13);
        poll_fn(|cx| client.poll_shut(cx)).await.unwrap();
        assert_eq!(read_to_end(&mut server).await, "one two three");
    });
}

#[test]
fn a_full_socket_blocks_the_writer_until_the_reader_reads() {
    run(async {
        let (mut client, mut server, _) = pair("127.0.0.1:0").await;
        let piece = vec![7; 64 * 1024];
        let mut sent = 0;
        // Writes until the kernel takes no more.
        while let Poll::Ready(taken) =
            poll_fn(|cx| Poll::Ready(client.poll_drain(cx, &[IoSlice::new(&piece)]))).await
        {
            sent += taken.unwrap();
            assert!(sent < 1 << 30, "the kernel buffers without end");
        }
        let mut read = BytesMut::new();
        let writing = async {
            write(&mut client, Bytes::from(piece.clone())).await;
            poll_fn(|cx| client.poll_shut(cx)).await.unwrap();
        };
        let reading = async {
            while poll_fn(|cx| server.poll_fill(cx, &mut read, 16 * 1024)).await.unwrap() > 0 {}
        };
        future::join(writing, reading).await;
        assert_eq!(read.len(), sent + piece.len());
    });
}

#[test]
fn v6() {
    run(async {
        let (mut client, mut server, peer) = pair("[::1]:0").await;
        assert!(matches!(peer, Peer::Tcp(SocketAddr::V6(_))));
        write(&mut client, Bytes::from_static(b"six")).await;
        assert_eq!(fill(&mut server, 16).await, "six");
    });
}

#[cfg(unix)]
#[test]
fn unix_sockets() {
    run(async {
        let runtime = rt::Runtime::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut listener = runtime.listen(StdListener::Unix(listener)).unwrap();
        let (dialled, accepted) =
            future::join(runtime.connect_unix(&path), poll_fn(|cx| listener.poll_accept(cx))).await;
        let (mut client, (mut server, peer)) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!(peer, Peer::Unix);
        write(&mut client, Bytes::from_static(b"local")).await;
        assert_eq!(fill(&mut server, 16).await, "local");
        assert!(runtime.connect_unix(&folder.path().join("none")).await.is_err());
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    run(async {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = rt::Runtime::default().connect_tcp(address).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn names_resolve_to_all_their_addresses() {
    run(async {
        let runtime = rt::Runtime::default();
        let found = runtime.resolve("localhost", 8080).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 8080));
        let found = runtime.resolve("::1", 1).await.unwrap();
        assert_eq!(found, ["[::1]:1".parse().unwrap()]);
        // RFC 6761, section 6.4: this name exists nowhere.
        assert!(runtime.resolve("sinew.invalid", 80).await.is_err());
    });
}

#[test]
fn timers_fire_at_their_time_and_move_both_ways() {
    run(async {
        let runtime = rt::Runtime::default();
        let ms = Duration::from_millis;
        let start = runtime.now();

        runtime.sleep_until(start + ms(30)).await;
        assert!(runtime.now() >= start + ms(30));

        // Armed and polled for an hour, then moved to the front: the sleeper is woken.
        let mut sleep = runtime.sleep_until(start + ms(3_600_000));
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut sleep).poll(cx))).await.is_pending());
        runtime.reset(&mut sleep, runtime.now() + ms(10));
        (&mut sleep).await;

        // After it fired it can be armed again, and be moved to the back.
        let armed = runtime.now();
        runtime.reset(&mut sleep, armed + ms(10));
        runtime.reset(&mut sleep, armed + ms(40));
        sleep.await;
        assert!(runtime.now() >= armed + ms(40));
        assert!(runtime.now() < start + ms(60_000));

        // The far end of time is a time like any other.
        let never = runtime.sleep_until(Instant::MAX);
        let soon = runtime.sleep_until(runtime.now() + ms(5));
        assert!(matches!(future::select(never, soon).await, Either::Right(_)));
    });
}

#[test]
fn the_clock_goes_with_wall_time() {
    run(async {
        let runtime = rt::Runtime::default();
        let wall = std::time::SystemTime::now();
        let wall = wall.duration_since(std::time::UNIX_EPOCH).unwrap();
        let ours = runtime.epoch().unix(runtime.now());
        assert!(ours.abs_diff(wall) < Duration::from_secs(5), "{ours:?} against {wall:?}");
    });
}

#[test]
fn spawned_tasks_run_to_their_end() {
    run(async {
        let runtime = rt::Runtime::default();
        let (tell, told) = tokio::sync::oneshot::channel();
        let inner = runtime.clone();
        runtime.spawn(async move {
            inner.sleep_until(inner.now() + Duration::from_millis(1)).await;
            let _ = tell.send("done");
        });
        assert_eq!(told.await, Ok("done"));
    });
}
