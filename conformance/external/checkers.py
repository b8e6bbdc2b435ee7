"""redbot, which asks a resource questions, and httpolice, which reads what was exchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path

from server import RUNTIMES, Server, everywhere

TOOLS = Path(sys.prefix) / "bin"

PATHS = ["/plain", "/json", "/headers", "/stream/100000", "/stream/0", "/status/204", "/status/404"]

# One connection, all answered.
REQUESTS = [
    "GET /plain HTTP/1.1",
    "HEAD /plain HTTP/1.1",
    "GET /json HTTP/1.1\r\nAccept: application/json",
    "GET /headers HTTP/1.1\r\nRange: bytes=0-3",
    "GET /stream/70000 HTTP/1.1",
    "HEAD /stream/70000 HTTP/1.1",
    "GET /status/204 HTTP/1.1",
    "GET /status/205 HTTP/1.1",
    'GET /status/304 HTTP/1.1\r\nIf-None-Match: "a"',
    "GET /status/418 HTTP/1.1",
    "GET /status/500 HTTP/1.1",
    "GET /nothing HTTP/1.1",
    "DELETE /plain HTTP/1.1",
    "OPTIONS /plain HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "POST /echo HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 5",
    "POST /echo HTTP/1.1\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked",
    "POST /sink HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue",
    "GET /plain HTTP/1.1\r\nConnection: close",
]

# A connection each, which ends with the answer.
LAST_REQUESTS = [
    "GET /plain HTTP/1.0",
    "BREW /plain HTTP/1.1\r\nConnection: close",
    f"GET /{'a' * 9000} HTTP/1.1",
    "GET /plain HTTP/1.1" + "\r\nX-Much: a" * 150,
    "GET /plain HTTP/1.1\r\nHost: twice",
    "GET /plain HTTP/2.0",
    "POST /sink HTTP/1.1\r\nContent-Length: 9999999999",
    "POST /sink HTTP/1.1\r\nContent-Length: 5\r\nExpect: a-miracle",
]


def run_redbot(outcome, certificates):
    # It trusts whom its environment trusts.
    environment = {**os.environ, "SSL_CERT_FILE": str(certificates.ca)}
    for runtime, tls in everywhere(certificates):
        with Server(runtime, tls) as server:
            found, notes, warnings = [], 0, set()
            for path in PATHS:
                command = [TOOLS / "redbot", "-o", "har", server.url + path]
                done = run_tool(command, env=environment)
                try:
                    (entry,) = json.loads(done.stdout)["log"]["entries"]
                except ValueError:
                    found.append(f"{path}: no answer {done.stderr.strip()[-300:]}")
                    continue
                messages = entry["_red_messages"]
                notes += len(messages)
                warnings.update(m["summary"] for m in messages if m["level"] == "WARN")
                found += [f"{path}: {m['summary']}" for m in messages if m["level"] == "BAD"]
            said = f"{notes} notes on {len(PATHS)} resources, no error"
            said += "".join(f"; warned: {warning}" for warning in sorted(warnings))
            outcome.check(notes and not found, server.name, "; ".join(found) or said)


def run_httpolice(outcome, certificates):
    for runtime in RUNTIMES:
        with Server(runtime) as server:
            found = notices(certificates.root, server, REQUESTS)
            for last in LAST_REQUESTS:
                found += notices(certificates.root, server, [last])
        said = f"{len(REQUESTS) + len(LAST_REQUESTS)} answers, no notice"
        outcome.check(not found, server.name, "; ".join(found) or said)


def notices(directory, server, requests):
    """What httpolice has to say about the answers on one connection."""
    sent = b"".join(whole(request) for request in requests)
    inbound, outbound = directory / "inbound", directory / "outbound"
    inbound.write_bytes(sent)
    outbound.write_bytes(exchange(server, sent))
    done = run_tool([TOOLS / "httpolice", "-i", "streams", inbound, outbound])
    if done.returncode != 0:
        return [done.stderr.strip()[-300:]]
    found, subject = [], None
    for line in done.stdout.splitlines():
        if line.startswith("----"):
            subject = line.strip("- ")
        elif not subject.startswith("request"):
            found.append(f"{subject or requests[-1][:40]}: {line}")
    return found


def whole(request):
    """The request with the fields that every one has, and with its body."""
    start, _, fields = request.partition("\r\n")
    head = f"{start}\r\nHost: localhost\r\nUser-Agent: sinew-external\r\n"
    head += f"{fields}\r\n\r\n" if fields else "\r\n"
    body = ""
    if "chunked" in fields:
        body = "5\r\nhello\r\n0\r\n\r\n"
    elif "Content-Length: 5" in fields:
        body = "hello"
    return (head + body).encode()


def exchange(server, sent):
    with server.connect() as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def run_tool(command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
