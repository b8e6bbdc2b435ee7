"""haproxy in front of servers, mutual TLS on both sides, and with the PROXY protocol."""

import csv
import json
import socket
import subprocess
from pathlib import Path

import busy
import drain
from neighbour import Client, Neighbour, free_port
from server import Server

# What haproxy answers by itself, and what the client makes of it; as in envoy.py.
REPLIES = [
    ("a policy of haproxy", "/forbidden", "GET", 403, 1, None),
    ("nobody listens", "/nobody", "GET", 503, 3, "attempts"),
    ("nobody listens", "/nobody", "POST", 503, 1, "not_repeatable"),
    ("a late server", "/late", "GET", 504, 3, "attempts"),
    ("a late server", "/late", "POST", 504, 1, "not_repeatable"),
]


def run(outcome, certificates, runtime):
    told = ["--proxy-protocol", "127.0.0.0/8"]
    with (
        drain.server(runtime, certificates.mutual) as one,
        drain.server(runtime, certificates.mutual) as two,
        Server(runtime, certificates.mutual, ["--at-once", "1"]) as full,
        Server(runtime, certificates.mutual, told) as told,
        Haproxy(certificates, one=one.port, two=two.port, busy=full.port, told=told.port) as haproxy,
    ):
        client = Client(runtime, haproxy.url, certificates.good)
        client.check_what_passes(outcome, runtime)
        both_legs(outcome, certificates, runtime, haproxy, client)
        named(outcome, certificates, runtime, haproxy, told)
        for what, path, method, status, attempts, no_retry in REPLIES:
            told = client.ask(path, "--method", method)
            seen = told.get("status"), told.get("attempts"), told.get("no_retry")
            held = seen == (status, attempts, no_retry)
            outcome.check(held, f"{runtime}, {what}, {method}", f"{seen}")
        busy.ask(outcome, certificates, runtime, client, full)
        retried = haproxy.statistic("busy", "full", "wredis")
        outcome.check(retried >= 1, f"{runtime}, as haproxy sent them on", f"{retried} times")
        drain.roll(outcome, runtime, client, [one, two], haproxy.healthy)


class Haproxy(Neighbour):
    """haproxy in front of these ports."""

    def __init__(self, certificates, **ports):
        port, closed = free_port(), free_port()
        self.named = free_port()
        self.url = f"https://127.0.0.1:{port}"
        command = ["haproxy", "-db", "-f", "@file@"]
        places = {"ca": certificates.ca, "server": certificates.server, "client": certificates.proxy}
        ready = lambda: self.healthy() == 2 and self.statistic("named", "BACKEND", "act") == 1
        super().__init__(
            "haproxy", "haproxy.cfg", command, ready,
            port=port, named=self.named, closed=closed, **places, **ports,
        )

    def statistic(self, proxy, server, column):
        """A number of haproxy's; 0 while there is no haproxy."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(Path(self.directory.name) / "stats"))
            except OSError:
                return 0
            connection.sendall(b"show stat\n")
            lines = connection.makefile().read().removeprefix("# ").splitlines()
        rows = csv.DictReader(lines)
        row = next((row for row in rows if (row["pxname"], row["svname"]) == (proxy, server)), {})
        return int(row.get(column) or 0)

    def healthy(self):
        """How many servers haproxy finds ready."""
        return self.statistic("servers", "BACKEND", "act")


def both_legs(outcome, certificates, runtime, haproxy, client):
    """Who is seen by whom."""
    told = client.ask("/who")
    server = told.get("server")
    outcome.check(server == "localhost", f"{runtime}, the client knows haproxy by its certificate", server)
    who = json.loads(told.get("body", "{}"))
    what = f"{runtime}, the server knows haproxy by its certificate"
    outcome.check(who.get("identity") == "proxy", what, who)
    left = who.get("deadline_ms") or 0
    outcome.check(0 < left <= 30_000, f"{runtime}, the client's time is the server's deadline", f"{left} ms")
    fields = dict(json.loads(client.ask("/headers").get("body", "[]")))
    named = fields.get("x-forwarded-client")
    outcome.check(named == "/CN=client", f"{runtime}, the server reads who asked haproxy", named)
    stranger = Client(runtime, haproxy.url, certificates.stranger).ask("/plain")
    outcome.check("error" in stranger, f"{runtime}, haproxy refuses a stranger", stranger.get("error"))


def named(outcome, certificates, runtime, haproxy, told):
    """A PROXY header of version 2 names the client to a server that believes haproxy."""
    url = f"https://127.0.0.1:{haproxy.named}"
    client = Client(runtime, url, certificates.good)
    client.check_what_passes(outcome, f"{runtime}, PROXY v2")
    shown = ["--cert", certificates.good / "cert.pem", "--key", certificates.good / "key.pem"]
    for address in ("127.0.0.7", "127.0.0.8"):
        done = subprocess.run(
            ["curl", "--silent", "--cacert", certificates.ca, *shown, "--interface", address, f"{url}/who"],
            stdout=subprocess.PIPE, text=True, check=False, timeout=20,
        )
        peer = json.loads(done.stdout or "{}").get("peer")
        outcome.check(peer == address, f"{runtime}, PROXY v2, whom it names is the peer", peer)
    bare = Client(runtime, told.url, certificates.good).ask("/plain", "--once")
    what = f"{runtime}, PROXY v2, who sends no such header is dropped"
    outcome.check("error" in bare, what, bare.get("error"))
