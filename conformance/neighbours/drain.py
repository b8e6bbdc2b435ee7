"""A rolling restart behind a neighbour, under load."""

from neighbour import Load, free_port, within
from server import Server


def server(runtime, tls=None, more=()):
    """One that can come back on its port, and is not ready for two seconds before it leaves."""
    return Server(runtime, tls, ["--propagation", "2", *more], free_port())


def roll(outcome, name, client, servers, ready):
    """Each server leaves and comes back, while clients that never try again go on. `ready` tells how many
    servers the neighbour finds ready."""
    with Load(client) as load:
        for server in servers:
            before = ready()
            report = server.leave()
            outcome.check(report.startswith("drained: "), f"{name}, a server leaves", report)
            server.start()
            within(lambda: ready() == before, "the server is back")
        answered, failed = load.stop()
    lost = failed or "nothing"
    outcome.check(not failed and answered > 0, f"{name}, a rolling restart", f"{answered} answered, lost {lost}")
