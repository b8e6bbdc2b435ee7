//! The configuration of a server, as plain data.

use std::fmt;
use std::time::Duration;

use sinew_core::content_coding::{Compression, Decompression};
use sinew_core::http1::{self, Limits};
use sinew_core::limit::LedgerConfig;
use sinew_core::security::{Network, ProxyProtocol};
use sinew_core::server::{ConnectionsConfig, DrainConfig};
use sinew_core::time::Epoch;
use sinew_tls::ServerTls;

use crate::coding;

/// Everything about a server but its routes. One source for every default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestServerConfig {
    /// The address to listen on when no other is given. Default `0.0.0.0`.
    pub host: String,
    /// The port that goes with it; 0 takes a free one. Default 8080.
    pub port: u16,
    /// TLS for every TCP listener. With client authentication in it, this is mTLS.
    pub mtls_config: Option<ServerTls>,
    /// Allows TCP listeners without TLS. Default no.
    pub allow_plaintext: bool,
    /// Bytes of a request body; a route can differ. Default 1 MiB.
    pub max_request_size: u64,
    /// Request bodies with a content coding are unpacked; a route can differ. Default: they reach
    /// the handler as they come.
    pub decompression: Option<Decompression>,
    /// Answers are compressed for clients that take them so; a route can differ. Mind
    /// [what it gives away](sinew_core::content_coding). Default: they are not.
    pub compression: Option<Compression>,
    /// Bytes that all connections, queues and limiters hold together, and what is done before they run
    /// short. Default 512 MiB.
    pub memory: LedgerConfig,
    /// Connections at a time; further ones wait in the listener's backlog. Default 10,000.
    pub max_connections: usize,
    /// Connections at a time from one IPv4 address, or one IPv6 network of 64 bits; further ones are
    /// dropped. It is cut to `max_connections`. Default 1,000.
    pub max_connections_per_address: usize,
    /// Networks whose addresses may have any number of connections: proxies, which speak for many. Those
    /// that [are trusted](crate::ServerBuilder::trusted_proxies) may. Default none.
    pub unlimited_networks: Vec<Network>,
    /// The proxies whose connections start with a PROXY header of version 2, in front of TLS; from
    /// everyone else such a header is garbage. Default none.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Bytes of a request's head. Default 16 KiB, at most 65,000.
    pub max_head_size: usize,
    /// Fields of a request's head. Default 100.
    pub max_head_fields: usize,
    /// Bytes of a request's target. Default 8 KiB.
    pub max_target_size: usize,
    /// Bytes of one chunk-size line, extensions included. Default 4 KiB.
    pub max_chunk_line: usize,
    /// Bytes of all chunk extensions of one body. Default 16 KiB.
    pub max_chunk_extensions: usize,
    /// Bytes of a trailer section. Default 8 KiB, at most 65,000.
    pub max_trailer_size: usize,
    /// Fields of a trailer section. Default 64.
    pub max_trailer_fields: usize,
    /// Answers queued before further pipelined requests wait. Default 16.
    pub max_pipelined: u32,
    /// A fresh connection must send its first byte within this time. Default 10 s.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its end. Default 10 s.
    pub head_timeout: Duration,
    /// A kept-alive connection without a request. Default 75 s.
    pub idle_timeout: Duration,
    /// The handler must answer within this time, or 503 is sent; a route can differ. Default 30 s.
    pub handler_timeout: Option<Duration>,
    /// Queued bytes of which the client takes none; noticed within twice that time. Of what is
    /// encrypted already, `write_stall` of the TLS options says it. Default 30 s.
    pub write_timeout: Duration,
    /// Bytes a second at which a body must come; 0 asks for nothing. Default 240.
    pub min_body_rate: u32,
    /// Windows over which the rate is measured, the first one free. Default 5 s.
    pub body_rate_window: Duration,
    /// After the last answer, what the client still sends is read for this time at most, so that it
    /// can read the answer. Default 1 s.
    pub linger: Duration,
    /// How long each phase takes when the server [leaves](crate::ServerHandle::drain); a pod wants
    /// [`DrainConfig::kubernetes`]. Default 25 s in all, without time for propagation.
    pub drain: DrainConfig,
}

impl Default for RestServerConfig {
    fn default() -> Self {
        let http1::ServerConfig {
            limits,
            first_byte,
            header_read,
            idle,
            body_rate,
            body_grace,
            write_stall,
            handler,
            linger,
            ..
        } = http1::ServerConfig::default();
        Self {
            host: "0.0.0.0".into(),
            port: 8080,
            mtls_config: None,
            allow_plaintext: false,
            max_request_size: limits.body,
            decompression: None,
            compression: None,
            memory: LedgerConfig::default(),
            max_connections: ConnectionsConfig::default().total,
            max_connections_per_address: ConnectionsConfig::default().per_address,
            unlimited_networks: Vec::new(),
            proxy_protocol: None,
            max_head_size: limits.head,
            max_head_fields: limits.fields,
            max_target_size: limits.target,
            max_chunk_line: limits.chunk_line,
            max_chunk_extensions: limits.chunk_extensions,
            max_trailer_size: limits.trailer_bytes,
            max_trailer_fields: limits.trailers,
            max_pipelined: limits.pipeline,
            first_byte_timeout: first_byte,
            head_timeout: header_read,
            idle_timeout: idle,
            handler_timeout: handler,
            write_timeout: write_stall,
            min_body_rate: body_rate,
            body_rate_window: body_grace,
            linger,
            drain: DrainConfig::default(),
        }
    }
}

impl RestServerConfig {
    /// The configuration of the connections' machines.
    pub(super) fn machine(&self, epoch: Epoch, observe: bool) -> http1::ServerConfig {
        http1::ServerConfig {
            limits: Limits {
                head: self.max_head_size,
                fields: self.max_head_fields,
                target: self.max_target_size,
                body: self.max_request_size,
                chunk_line: self.max_chunk_line,
                chunk_extensions: self.max_chunk_extensions,
                trailer_bytes: self.max_trailer_size,
                trailers: self.max_trailer_fields,
                pipeline: self.max_pipelined,
                ..Limits::default()
            },
            first_byte: self.first_byte_timeout,
            header_read: self.head_timeout,
            idle: self.idle_timeout,
            handler: self.handler_timeout,
            write_stall: self.write_timeout,
            body_rate: self.min_body_rate,
            body_grace: self.body_rate_window,
            linger: self.linger,
            epoch: Some(epoch),
            observe,
            ..http1::ServerConfig::default()
        }
    }

    /// How many connections there may be.
    pub(super) fn connections(&self) -> ConnectionsConfig {
        ConnectionsConfig {
            total: self.max_connections,
            per_address: self.max_connections_per_address.min(self.max_connections),
            unlimited: self.unlimited_networks.clone(),
        }
    }

    /// Says what makes no sense, all of it; [`bind`](crate::ServerBuilder::bind) refuses it.
    pub fn problems(&self) -> Vec<BadSetting> {
        const MOST: &str = "is above 65,000 bytes, the most that a head can have";
        const ZERO: &str = "is 0: nothing could be received";
        let zero = |limit: Option<Duration>| limit == Some(Duration::ZERO);
        let times = [
            ("first_byte_timeout", Some(self.first_byte_timeout)),
            ("head_timeout", Some(self.head_timeout)),
            ("idle_timeout", Some(self.idle_timeout)),
            ("handler_timeout", self.handler_timeout),
            ("write_timeout", Some(self.write_timeout)),
            ("body_rate_window", Some(self.body_rate_window)),
        ];
        let limits = [
            ("max_connections", self.max_connections == 0, "is 0: nobody could connect"),
            (
                "max_connections_per_address",
                self.max_connections_per_address == 0,
                "is 0: nobody could connect",
            ),
            ("max_head_size", self.max_head_size == 0, ZERO),
            ("max_head_size", self.max_head_size > Limits::HEAD_MAX, MOST),
            ("max_head_fields", self.max_head_fields == 0, ZERO),
            (
                "max_target_size",
                self.max_target_size > self.max_head_size,
                "is above max_head_size, and the target is part of the head",
            ),
            (
                "max_chunk_line",
                self.max_chunk_line < Limits::CHUNK_LINE_MIN,
                "is below 18 bytes, which the size of a chunk may take",
            ),
            ("max_trailer_size", self.max_trailer_size > Limits::HEAD_MAX, MOST),
            ("max_pipelined", self.max_pipelined == 0, "is 0: nothing could be answered"),
        ];
        let times =
            times.map(|(setting, time)| (setting, zero(time), "is zero: nothing could be in time"));
        let all = limits.into_iter().chain(times);
        let bad = all.filter(|(_, is_bad, _)| *is_bad);
        let bad = bad.map(|(setting, _, why)| BadSetting { setting, why });
        let drain = self.drain.check().err();
        let drain = drain.map(|bad| BadSetting { setting: "drain", why: bad.explain() });
        let codings = coding::check(self.decompression, self.compression);
        let codings = codings.map(|(setting, why)| BadSetting { setting, why });
        bad.chain(drain).chain(codings).collect()
    }
}

/// A setting of a [`RestServerConfig`] that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BadSetting {
    /// The name of its field.
    pub setting: &'static str,
    /// What is wrong with it, in plain words.
    pub why: &'static str,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.why)
    }
}

impl std::error::Error for BadSetting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_refuses_is_told_by_name() {
        for head in [0, 1, 8_192, 65_000, 65_001] {
            for target in [0, 1, 8_192, 8_193, 70_000] {
                for trailer in [0, 65_000, 65_001] {
                    for (chunk_line, fields, pipelined) in
                        [(18, 1, 1), (17, 1, 1), (18, 0, 1), (18, 1, 0)]
                    {
                        let config = RestServerConfig {
                            max_head_size: head,
                            max_target_size: target,
                            max_trailer_size: trailer,
                            max_chunk_line: chunk_line,
                            max_head_fields: fields,
                            max_pipelined: pipelined,
                            ..RestServerConfig::default()
                        };
                        let machine = config.machine(Epoch::new(Duration::ZERO), false);
                        let problems = config.problems();
                        assert_eq!(
                            problems.is_empty(),
                            machine.limits.check().is_ok(),
                            "{config:?} {problems:?}"
                        );
                    }
                }
            }
        }
    }
}
