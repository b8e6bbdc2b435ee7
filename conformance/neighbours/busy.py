"""A server that is full refuses before it processes, and its neighbour tries another one."""

from neighbour import Client, within


def ask(outcome, certificates, runtime, client, full):
    """Fills the server that takes one request at once, and sends POSTs through the neighbour; what came of
    them."""
    direct = Client(runtime, full.url, certificates.good)
    held = direct.start("/delay/60000")
    try:
        refused = within(lambda: refusal(direct), "the server is full")
        told = [client.ask("/busy/sink", "--method", "POST", "--body", "once") for _ in range(4)]
    finally:
        held.kill()
        held.wait()
        held.stdout.close()
    again = refused["fields"].get("retry-after")
    outcome.check(again == "1", f"{runtime}, a full server says when to come back", f"{again} s")
    seen = [(one.get("status"), one.get("attempts"), one.get("body")) for one in told]
    expected = [(200, 1, '{"bytes":4}')] * len(told)
    outcome.check(seen == expected, f"{runtime}, what it refuses goes elsewhere", f"{seen[0]}")
    return told


def refusal(direct):
    told = direct.ask("/plain", "--once")
    return told if told.get("status") == 503 else None
