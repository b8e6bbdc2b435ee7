"""nginx in front of servers, mutual TLS on both sides; HTTP/1.1 with kept connections behind it."""

import json

import busy
import drain
from neighbour import Client, Neighbour, free_port, listens
from server import Server

# What nginx answers by itself, and what the client makes of it; as in envoy.py.
REPLIES = [
    ("a policy of nginx", "/forbidden", "GET", 403, 1, None),
    ("a body too large for nginx", "/small", "POST", 413, 1, None),
    ("nobody listens", "/nobody", "GET", 502, 3, "attempts"),
    ("nobody listens", "/nobody", "POST", 502, 1, "not_repeatable"),
    ("a late server", "/late", "GET", 504, 3, "attempts"),
    ("a late server", "/late", "POST", 504, 1, "not_repeatable"),
]


def run(outcome, certificates, runtime):
    with (
        drain.server(runtime, certificates.mutual) as one,
        drain.server(runtime, certificates.mutual) as two,
        Server(runtime, certificates.mutual, ["--at-once", "1"]) as full,
        Nginx(certificates, one=one.port, two=two.port, busy=full.port) as nginx,
    ):
        client = Client(runtime, nginx.url, certificates.good)
        # https://nginx.org/en/docs/http/ngx_http_proxy_module.html says nothing of it: once an answer began, nginx sends
        # no more of the request's body, except to gRPC.
        client.check_what_passes(outcome, runtime, "--one-way")
        both_legs(outcome, certificates, runtime, nginx, client)
        for what, path, method, status, attempts, no_retry in REPLIES:
            told = client.ask(path, "--method", method, "--body", "five!")
            seen = told.get("status"), told.get("attempts"), told.get("no_retry")
            held = seen == (status, attempts, no_retry)
            outcome.check(held, f"{runtime}, {what}, {method}", f"{seen}")
        told = busy.ask(outcome, certificates, runtime, client, full)
        tried = [one.get("fields", {}).get("x-upstream-status") for one in told]
        outcome.check("503, 200" in tried, f"{runtime}, as nginx tried them twice", f"{tried}")
        # It has no checks of its own: it learns from `connection: close`, and from connections refused.
        drain.roll(outcome, runtime, client, [one, two], lambda: 2)


class Nginx(Neighbour):
    """nginx in front of these ports."""

    def __init__(self, certificates, **ports):
        port, closed = free_port(), free_port()
        self.url = f"https://127.0.0.1:{port}"
        command = ["nginx", "-e", "stderr", "-c", "@file@", "-p", "@directory@"]
        places = {"ca": certificates.ca, "server": certificates.server, "client": certificates.proxy}
        ready = lambda: listens(port)
        super().__init__("nginx", "nginx.conf", command, ready, port=port, closed=closed, **places, **ports)


def both_legs(outcome, certificates, runtime, nginx, client):
    """Who is seen by whom."""
    told = client.ask("/who")
    server = told.get("server")
    outcome.check(server == "localhost", f"{runtime}, the client knows nginx by its certificate", server)
    who = json.loads(told.get("body", "{}"))
    what = f"{runtime}, the server knows nginx by its certificate"
    outcome.check(who.get("identity") == "proxy", what, who)
    # What the client says of its time passes, and is believed of nginx, as it shows a certificate.
    left = who.get("deadline_ms") or 0
    outcome.check(0 < left <= 30_000, f"{runtime}, the client's time is the server's deadline", f"{left} ms")
    fields = dict(json.loads(client.ask("/headers").get("body", "[]")))
    named = fields.get("x-forwarded-client")
    outcome.check(named == "CN=client", f"{runtime}, the server reads who asked nginx", named)
    stranger = Client(runtime, nginx.url, certificates.stranger).ask("/plain")
    refused = stranger.get("status") == 400
    outcome.check(refused, f"{runtime}, nginx refuses a stranger's certificate", stranger.get("status"))
