"""Discovery against a real name server and real processes; started by `run`."""

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from follower import RUNTIMES, Follower, Server
from names import NameServer, free_port

A, SRV = 1, 33
QUICK = ["--least", 100]
# How often each server is restarted.
ROUNDS = 3


def hosts(name, *numbers):
    return [f"{name} IN A 127.0.0.{number}" for number in numbers]


def dns(runtime, folder):
    """Addresses are added and removed; the server is down, too long, and back."""
    names = NameServer(folder, hosts("web", 1, 2))
    try:
        with Follower(
            runtime, "--dns", "web.mesh.test:80", "--server", names.place, "--keep", 5, *QUICK
        ) as follower:
            follower.wait_for("2 endpoints", "+127.0.0.1:80", "+127.0.0.2:80")
            names.change(hosts("web", 1, 2, 3))
            follower.wait_for("3 endpoints", "+127.0.0.3:80")
            # Through an alias, too.
            names.change(["web IN CNAME other", *hosts("other", 2, 3)])
            follower.wait_for("2 endpoints", "-127.0.0.1:80")
            names.change(hosts("other", 2, 3))
            follower.wait_for("NXDOMAIN", "is kept")
            names.change(hosts("web", 2, 3))
            follower.wait_for("the source is back")
            names.stop()
            follower.wait_for("name server", "the list of", "is kept")
            follower.wait_for("too old: no endpoints")
            names.start()
            follower.wait_for("2 endpoints", "+127.0.0.2:80", "+127.0.0.3:80")
            follower.wait_for("the source is back")
    finally:
        names.stop()


def srv(runtime, folder):
    """Hosts, ports and weights; the next priority when the first has no host with an address."""

    def records(*offers, addresses):
        return [f"_http._tcp.web IN SRV {offer}" for offer in offers] + addresses

    two = ["0 3 8080 one", "0 1 8081 two", "1 1 9090 spare"]
    names = NameServer(folder, records(*two, addresses=hosts("one", 1) + hosts("two", 2) + hosts("spare", 3)))
    try:
        with Follower(
            runtime, "--srv", "_http._tcp.web.mesh.test", "--server", names.place, *QUICK
        ) as follower:
            follower.wait_for("2 endpoints", "+127.0.0.1:8080", "+127.0.0.2:8081")
            names.change(records(*two, addresses=hosts("two", 2) + hosts("spare", 3)))
            follower.wait_for("1 endpoints", "-127.0.0.1:8080")
            names.change(records(*two, addresses=hosts("spare", 3)))
            follower.wait_for("1 endpoints", "+127.0.0.3:9090", "-127.0.0.2:8081")
    finally:
        names.stop()


def truncation(runtime, folder):
    """More addresses than fit into a datagram come over TCP."""
    numbers = range(1, 201)
    names = NameServer(folder, hosts("many", *numbers))
    try:
        if not names.truncates("many.mesh.test", A):
            raise RuntimeError("the name server does not truncate")
        with Follower(
            runtime, "--dns", "many.mesh.test:80", "--server", names.place, *QUICK
        ) as follower:
            line = follower.wait_for("200 endpoints")
            if line.count("+") != 200:
                raise RuntimeError("not all of them")
    finally:
        names.stop()


def rolling(runtime, follower, servers, listed):
    """Each server leaves the list, is replaced, and comes back. Whether no call noticed."""
    follower.wait_for("3 endpoints")
    for server in servers * ROUNDS:
        listed([other for other in servers if other is not server])
        follower.wait_for("2 endpoints", f"-{server.place}")
        print(f"    {server.place} {server.restart()}", flush=True)
        listed(servers)
        follower.wait_for("3 endpoints", f"+{server.place}")
    if follower.stop() != 0:
        raise RuntimeError("calls failed")


def rolling_dns(runtime, folder):
    """Three servers are restarted behind the DNS, while calls go on that are never tried again."""
    port = free_port()
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(runtime, f"127.0.0.{number}", port)) for number in (1, 2, 3)
        ]

        def records(servers):
            return [f"web IN A {server.place.rpartition(':')[0]}" for server in servers]

        names = NameServer(folder, records(servers))
        stack.callback(names.stop)
        asked = ["--dns", f"web.mesh.test:{port}", "--server", names.place]
        follower = Follower(runtime, *asked, *QUICK, "--rate", 500)
        stack.enter_context(follower)
        rolling(runtime, follower, servers, lambda servers: names.change(records(servers)))


def rolling_file(runtime, folder):
    """Three servers are restarted behind a file, while calls go on that are never tried again."""
    port, path = free_port(), Path(folder) / "web.json"

    def put(servers):
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"endpoints": [server.place for server in servers]}))
        new.replace(path)

    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(runtime, f"127.0.0.{number}", port)) for number in (1, 2, 3)
        ]
        put(servers)
        follower = Follower(runtime, "--file", path, *QUICK, "--rate", 500)
        stack.enter_context(follower)
        rolling(runtime, follower, servers, put)


STEPS = {
    "dns": dns,
    "srv": srv,
    "truncation": truncation,
    "rolling-dns": rolling_dns,
    "rolling-file": rolling_file,
}


def main(names):
    if names == ["--list"]:
        print("\n".join(STEPS))
        return 0
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"no step {', '.join(unknown)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or STEPS:
        for runtime in RUNTIMES:
            print(f"{name}, {runtime}: {STEPS[name].__doc__}", flush=True)
            try:
                with tempfile.TemporaryDirectory() as folder:
                    STEPS[name](runtime, folder)
            except Exception as why:  # pylint: disable=broad-except
                print(f"  FAILED: {why!r}", flush=True)
                failed.append(f"{name}, {runtime}")
    print(f"failed: {'; '.join(failed)}" if failed else "all hold")
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
