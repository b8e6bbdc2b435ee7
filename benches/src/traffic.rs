//! The bytes of the exchange that every figure is about.

/// A typical call between services: 8 fields, 407 bytes.
pub(crate) const REQUEST: &[u8] = b"GET /plain?page=2&size=50 HTTP/1.1\r\n\
Host: inventory.mesh.local:8080\r\n\
User-Agent: mesh-client/1.4.2 (linux; x86_64)\r\n\
Accept: application/json, text/plain;q=0.9, */*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Authorization: Bearer bench-token-0123456789abcdef\r\n\
X-Request-Id: 7b1f9f0e-5f8a-4a55-9a30-2c1d6e1f7a10\r\n\
Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
Connection: keep-alive\r\n\r\n";

/// The body of the answer.
pub(crate) const HELLO: &[u8] = b"Hello, World!";

/// The answer, as a server writes it.
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
content-type: text/plain\r\n\
content-length: 13\r\n\
date: Mon, 23 Nov 2026 06:00:00 GMT\r\n\r\n\
Hello, World!";

/// The fields that a client sends beside `Host`.
pub(crate) const CLIENT_FIELDS: [(&str, &str); 5] = [
    ("user-agent", "mesh-client/1.4.2 (linux; x86_64)"),
    ("accept", "application/json"),
    ("authorization", "Bearer bench-token-0123456789abcdef"),
    ("x-request-id", "7b1f9f0e-5f8a-4a55-9a30-2c1d6e1f7a10"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];
