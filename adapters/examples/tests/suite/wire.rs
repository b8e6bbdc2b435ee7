//! Bytes that few clients send, against a running server, as they are and under TLS.

use std::time::Duration;

use super::each;
use super::raw::{Raw, blocking, raw};
use super::site::{Site, config, ended};

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn pipelined_requests_are_answered_in_order() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send(
                "GET /items/1 HTTP/1.1\r\nhost: a\r\n\r\n\
                 POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
                 GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n\
                 GET /items/4 HTTP/1.1\r\nhost: a\r\n\r\n",
            );
            let answers: Vec<_> = (0..4).map(|_| socket.answer().unwrap()).collect();
            assert_eq!(answers[0].body, br#"{"id":1,"name":"item 1"}"#);
            assert_eq!(answers[1].body, b"hello");
            assert_eq!(answers[2].status(), 404);
            assert_eq!(answers[3].body, br#"{"id":4,"name":"item 4"}"#);
        })
        .await;
    });
}

#[test]
fn a_client_that_shut_its_writing_side_is_still_answered() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nend");
            socket.half_close();
            let answer = socket.answer().unwrap();
            assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"end"[..]));
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn http_1_0_is_answered_and_closed() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send("GET /text HTTP/1.0\r\n\r\n");
            let answer = socket.answer().unwrap();
            assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"plain words"[..]));
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn the_preface_of_http_2_gets_505() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            assert_eq!(socket.answer().unwrap().status(), 505);
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn two_lengths_get_400_and_no_second_request_is_seen() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send(
                "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\
                 transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /text HTTP/1.1\r\nhost: a\r\n\r\n",
            );
            assert_eq!(socket.answer().unwrap().status(), 400);
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn a_client_that_says_nothing_is_closed() {
    each(async |security| {
        let site = Site::with(security, config(|config| config.first_byte_timeout = SHORT)).await;
        assert!(raw(&site, |mut socket| socket.is_closed()).await);
    });
}

#[test]
fn half_a_head_gets_408() {
    each(async |security| {
        let site = Site::with(security, config(|config| config.head_timeout = SHORT)).await;
        raw(&site, |mut socket| {
            socket.send("GET /text HTTP/1.1\r\nhost:");
            assert_eq!(socket.answer().unwrap().status(), 408);
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn a_kept_connection_is_closed_when_idle_for_long() {
    each(async |security| {
        let site = Site::with(security, config(|config| config.idle_timeout = SHORT)).await;
        raw(&site, |mut socket| {
            // Both at once: a second one of its own might come too late.
            socket.send("GET /text HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2));
            for _ in 0..2 {
                let answer = socket.answer().unwrap();
                assert_eq!((answer.status(), answer.field("connection")), (200, None));
            }
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn a_body_that_stops_coming_gets_408() {
    each(async |security| {
        let site = Site::with(security, config(|config| config.body_rate_window = SHORT)).await;
        raw(&site, |mut socket| {
            socket.send("PUT /limited HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc");
            assert_eq!(socket.answer().unwrap().status(), 408);
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn an_expectation_is_met_when_the_handler_reads() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send(
                "PUT /limited HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                 content-length: 3\r\n\r\n",
            );
            assert_eq!(socket.answer().unwrap().status(), 100);
            socket.send([0, 1, 2]);
            let answer = socket.answer().unwrap();
            assert_eq!(answer.body, br#"{"bytes":3,"largest_piece":3,"intact":true}"#);
        })
        .await;
    });
}

#[test]
fn an_expectation_is_met_when_the_answer_streams_the_body_back() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            for _ in 0..2 {
                socket.send(
                    "POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                     content-length: 3\r\n\r\n",
                );
                assert_eq!(socket.answer().unwrap().status(), 100);
                socket.send("abc");
                let answer = socket.answer().unwrap();
                assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"abc"[..]));
            }
        })
        .await;
    });
}

#[test]
fn an_expectation_is_not_met_by_a_handler_that_does_not_read() {
    each(async |security| {
        let site = Site::start(security).await;
        raw(&site, |mut socket| {
            socket.send(
                "PUT /ignored HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                 content-length: 300000\r\n\r\n",
            );
            let answer = socket.answer().unwrap();
            assert_eq!(answer.status(), 204);
            assert_eq!(answer.field("connection"), Some("close"));
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn connections_wait_in_hundreds_and_none_is_forgotten() {
    // Two descriptors each: well below the usual limit of 1,024.
    const MANY: usize = 300;
    each(async |security| {
        let site = Site::start(security).await;
        let address = site.address();
        let mut sockets = blocking(move || {
            let visit = |_| {
                let mut socket = Raw::connect(address, security);
                socket.send("GET /text HTTP/1.1\r\nhost: a\r\n\r\n");
                assert_eq!(socket.answer().unwrap().status(), 200);
                socket
            };
            (0..MANY).map(visit).collect::<Vec<Raw>>()
        })
        .await;
        assert_eq!(site.handle.connections(), MANY);

        // Stopping closes them all, at once.
        let stopping = site.stop();
        let closed = blocking(move || sockets.iter_mut().all(Raw::is_closed));
        let (report, closed) = futures_util::future::join(stopping, closed).await;
        assert!(closed);
        assert_eq!(ended(&report), (MANY as u64, 0, 0));
        assert_eq!(site.handle.connections(), 0);
    });
}
