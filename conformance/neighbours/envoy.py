"""Envoy between clients and servers, mutual TLS on both sides."""

import json
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import busy
import drain
from neighbour import Client, Neighbour, free_port
from server import Server

BINARY = next(Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"), None)

# What Envoy answers by itself, and what the client makes of it: the path, the method, what the answer is, in how
# many attempts, and why there is no further one. A GET may be made again wherever it got to; a POST only where
# nobody can have processed it, and that a 503 alone does not say.
REPLIES = [
    ("a policy of Envoy", "/forbidden", "GET", 403, "RBAC: access denied", 1, None),
    ("nobody listens", "/nobody", "GET", 503, "connect", 3, "attempts"),
    ("nobody listens", "/nobody", "POST", 503, "connect", 1, "not_repeatable"),
    ("a server that closes", "/reset", "GET", 503, "before headers", 3, "attempts"),
    ("a server that closes", "/reset", "POST", 503, "before headers", 1, "not_repeatable"),
    ("no server", "/empty", "GET", 503, "no healthy upstream", 3, "attempts"),
    ("a late server", "/late/delay/2000", "GET", 504, "upstream request timeout", 3, "attempts"),
    ("a late server", "/late/delay/2000", "POST", 504, "upstream request timeout", 1, "not_repeatable"),
]


def run(outcome, certificates, runtime):
    with (
        drain.server(runtime, certificates.mutual) as one,
        drain.server(runtime, certificates.mutual) as two,
        Server(runtime, certificates.mutual, ["--at-once", "1"]) as full,
        Closing() as closing,
        Envoy(certificates, one=one.port, two=two.port, busy=full.port, closing=closing.port) as envoy,
    ):
        client = Client(runtime, envoy.url, certificates.good)
        client.check_what_passes(outcome, runtime)
        both_legs(outcome, certificates, runtime, envoy, client)
        own_replies(outcome, runtime, client)
        busy.ask(outcome, certificates, runtime, client, full)
        retried = envoy.statistic("cluster.busy.upstream_rq_retry_success")
        outcome.check(retried >= 1, f"{runtime}, as Envoy retried them", f"{retried} times")
        drain.roll(outcome, runtime, client, [one, two], envoy.healthy)


class Envoy(Neighbour):
    """Envoy in front of these ports."""

    def __init__(self, certificates, **ports):
        port, self.admin, closed = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{port}"
        command = [BINARY, "--config-path", "@file@", "--concurrency", "1", "--log-level", "error"]
        command += ["--use-dynamic-base-id"]
        places = {"ca": certificates.ca, "server": certificates.server, "client": certificates.proxy}
        ready = lambda: self.healthy() == 2
        super().__init__(
            "Envoy", "envoy.yaml", command, ready,
            port=port, admin=self.admin, closed=closed, **places, **ports,
        )

    def statistic(self, name):
        """A number of Envoy's; 0 while there is none, or no Envoy."""
        url = f"http://127.0.0.1:{self.admin}/stats?format=json&filter=^{name}$"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found = json.load(answer)["stats"]
        except OSError:
            return 0
        return next((one["value"] for one in found if one.get("name") == name), 0)

    def healthy(self):
        """How many servers Envoy finds ready."""
        return self.statistic("cluster.servers.membership_healthy")


class Closing:
    """Takes a request, and closes the connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def both_legs(outcome, certificates, runtime, envoy, client):
    """Who is seen by whom, and what Envoy says to either."""
    check = lambda held, what, detail="": outcome.check(held, f"{runtime}, {what}", detail)
    told = client.ask("/who")
    server = told.get("server")
    check(server == "localhost", "the client knows Envoy by its certificate", server)
    who = json.loads(told.get("body", "{}"))
    check(who.get("identity") == "proxy", "the server knows Envoy by its certificate", who)
    # Envoy's time for the route is 20 s; the client's own is longer.
    left = who.get("deadline_ms") or 0
    check(0 < left <= 20_000, "x-envoy-expected-rq-timeout-ms is the server's deadline", f"{left} ms")
    hurried = json.loads(client.ask("/late/who").get("body", "{}")).get("deadline_ms") or 0
    check(0 < hurried <= 250, "on a route with less time, less of it", f"{hurried} ms")
    took = told.get("fields", {}).get("x-envoy-upstream-service-time")
    check(took is not None, "the client reads x-envoy-upstream-service-time", f"{took} ms")
    fields = dict(json.loads(client.ask("/headers").get("body", "[]")))
    certificate = fields.get("x-forwarded-client-cert", "")
    check('Subject="CN=client"' in certificate, "the server reads who asked Envoy", certificate)
    for name in ("x-envoy-expected-rq-timeout-ms", "x-forwarded-proto"):
        check(name in fields, f"the server reads {name}", fields.get(name))
    stranger = Client(runtime, envoy.url, certificates.stranger).ask("/plain")
    check("error" in stranger, "Envoy refuses a stranger's certificate", stranger.get("error"))


def own_replies(outcome, runtime, client):
    for what, path, method, status, words, attempts, no_retry in REPLIES:
        told = client.ask(path, "--method", method)
        seen = told.get("status"), told.get("attempts"), told.get("no_retry")
        held = seen[0] == status and words in told.get("body", "") and seen[1:] == (attempts, no_retry)
        outcome.check(held, f"{runtime}, {what}, {method}", f"{seen} {told.get('body', '')[-60:]!r}")
    for path in ("/crowded", "/maintained"):
        for method, attempts in (("GET", 3), ("POST", 1)):
            told = client.ask(path, "--method", method)
            overloaded = told.get("fields", {}).get("x-envoy-overloaded")
            seen = told.get("status"), told.get("attempts"), overloaded
            what = f"{runtime}, overload of Envoy ({path[1:]}), {method}"
            outcome.check(seen == (503, attempts, "true"), what, f"{seen}")
    client.ask("/limited")
    told = client.ask("/limited", "--method", "POST")
    # 429 says that nothing was processed, so a POST is made again, too.
    seen = told.get("status"), told.get("attempts"), told.get("fields", {}).get("x-envoy-ratelimited")
    outcome.check(seen[:2] == (429, 3), f"{runtime}, a quota of Envoy", f"{seen}")

