#!/usr/bin/env python3
"""What a server of WebSockets holds in memory, and what it notices, over real sockets.

    cargo build --release -p sinew-conformance --bin sinew
    python3 benches/sockets.py target/release/sinew idle [--deflate keep|forget] [--seconds 70]
    python3 benches/sockets.py target/release/sinew half-open
    python3 benches/sockets.py target/release/sinew slow
    python3 benches/sockets.py target/release/sinew hostile

One process serves, this one holds the other ends.

idle       9,000 sockets that say nothing but pongs: bytes of each, CPU time while all of them are pinged
half-open  1,000 that fall silent, and stay connected: when they are given up
slow       100 clients that take less than is sent, for each policy of the queue: memory, and the close code
hostile    a flood of pings, frames that are announced and do not come, a bomb: memory, and the close code

Fails where something is later, larger or told otherwise than it should be.
"""

import argparse
import os
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time
import zlib

FEW, MANY = 1000, 9000
MASK = bytes(4)
MIB = 1 << 20

# How a client offers compression.
OFFERS = {
    None: "",
    "keep": "permessage-deflate",
    "forget": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
}

# Seconds: `sinew serve` pings after 24 to 30, and waits for 10.
PING, PONG = 30, 10
# A busy machine has its own idea of a second.
GRACE = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sinew")
    parser.add_argument("what", choices=["idle", "half-open", "slow", "hostile"])
    parser.add_argument("--deflate", choices=["keep", "forget"], help="idle: one packed message each way before")
    parser.add_argument("--seconds", type=int, default=70, help="idle: to wait")
    arguments = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    checks = {
        "idle": [lambda server: idle(server, arguments.deflate, arguments.seconds)],
        "half-open": [half_open],
        "slow": [lambda server, policy=policy: slow(server, policy) for policy in ("wait", "drop-oldest", "close")],
        "hostile": [ping_flood, announced, bomb],
    }
    # Each with a server of its own: what one needed once does not hide what the next one needs.
    return 0 if all([with_server(arguments.sinew, check) for check in checks[arguments.what]]) else 1


def with_server(sinew, check):
    with Server(sinew) as server:
        return check(server)


class Server:
    def __init__(self, sinew):
        command = [sinew, "serve", "--runtime", "tokio", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def memory(self, field="VmRSS"):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """The other end of a socket, with a reader of frames."""

    def __init__(self, server, number=0, path="/ws", deflate=None):
        # A server takes no more than so many from one address.
        source = f"127.0.0.{2 + number // 500}"
        self.socket = socket.create_connection(("127.0.0.1", server.port), source_address=(source, 0))
        self.socket.settimeout(60)
        offer = f"Sec-WebSocket-Extensions: {OFFERS[deflate]}\r\n" if deflate else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n".encode()
        )
        self.held = b""
        while b"\r\n\r\n" not in self.held:
            self.read()
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert bool(deflate) == (b"permessage-deflate" in head), head

    def fileno(self):
        return self.socket.fileno()

    def read(self, most=65536):
        """Reads once; whether there was something."""
        try:
            came = self.socket.recv(most)
        except ConnectionResetError:
            came = b""
        self.held += came
        return bool(came)

    def send(self, first, payload, announced=None):
        length = len(payload) if announced is None else announced
        if length < 126:
            head = bytes([first, 0x80 | length])
        elif length < 65536:
            head = bytes([first, 0xFE]) + struct.pack(">H", length)
        else:
            head = bytes([first, 0xFF]) + struct.pack(">Q", length)
        self.socket.sendall(head + MASK + payload)

    def frame(self):
        """The next frame that is here; None where there is none."""
        if len(self.held) < 2:
            return None
        short, start = self.held[1], 2
        if short == 126:
            short, start = int.from_bytes(self.held[2:4], "big"), 4
        elif short == 127:
            short, start = int.from_bytes(self.held[2:10], "big"), 10
        if len(self.held) < start + short:
            return None
        frame = self.held[0] & 0x0F, self.held[start : start + short]
        self.held = self.held[start + short :]
        return frame

    def close_code(self):
        """Reads to the end; the code of the close frame there."""
        code = None
        while True:
            while frame := self.frame():
                if frame[0] == 8:
                    code = int.from_bytes(frame[1][:2], "big")
            if not self.read():
                return code

    def greet(self, deflate=None):
        """One message each way: 300 letters, more than what is sent as it is; packed in a stored block."""
        text = b"x" * 300
        stored = b"\x00" + struct.pack("<HH", len(text), 0xFFFF - len(text)) + text + b"\x00"
        self.send(0xC1 if deflate else 0x81, stored if deflate else text)
        while not self.frame():
            assert self.read()


def crowd(server, count, **how):
    clients = []
    while len(clients) < count:
        clients.append(Client(server, len(clients), **how))
    return clients


def idle(server, deflate, seconds):
    selector = selectors.DefaultSelector()
    few = None
    for number in range(MANY):
        client = Client(server, number, deflate=deflate)
        client.greet(deflate)
        selector.register(client, selectors.EVENT_READ)
        if number + 1 == FEW:
            few = server.memory()
        pong(selector, 0)
    print(f"{(server.memory() - few) / (MANY - FEW):.0f} bytes a socket")
    began, cpu, own, pings = time.monotonic(), server.cpu(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        pings += pong(selector, 0.2)
    took = time.monotonic() - began
    own = time.process_time() - own
    print(f"{pings} pings in {took:.0f} s, {server.cpu() - cpu:.2f} s of CPU (here {own:.2f} s)")
    alive = len(selector.get_map())
    print(f"{(server.memory() - few) / (MANY - FEW):.0f} bytes a socket behind that, {alive} alive")
    return alive == MANY


def pong(selector, timeout):
    """Answers pings; how many."""
    count = 0
    for key, _ in selector.select(timeout):
        client = key.fileobj
        if not client.read():
            selector.unregister(client)
        while frame := client.frame():
            if frame[0] == 9:
                client.send(0x8A, frame[1])
                count += 1
    return count


def half_open(server):
    clients = crowd(server, 1000)
    selector = selectors.DefaultSelector()
    silent, pinged, given_up = {}, {}, {}
    for client in clients:
        client.greet()
        silent[client] = time.monotonic()
        selector.register(client, selectors.EVENT_READ)
    codes = set()
    while selector.get_map() and time.monotonic() < max(silent.values()) + PING + PONG + 10 * GRACE:
        for key, _ in selector.select(1):
            client, now = key.fileobj, time.monotonic()
            alive = client.read()
            while frame := client.frame():
                if frame[0] == 9:
                    pinged[client] = now
                elif frame[0] == 8:
                    codes.add(int.from_bytes(frame[1][:2], "big"))
                    given_up[client] = now
            if not alive:
                selector.unregister(client)
    silence = [given_up[client] - silent[client] for client in given_up]
    waited = [given_up[client] - pinged[client] for client in given_up]
    print(
        f"{len(given_up)} of {len(clients)} given up, {min(silence):.1f} to {max(silence):.1f} s after their last "
        f"byte, {min(waited):.1f} to {max(waited):.1f} s after the ping, with {sorted(codes)}"
    )
    return len(given_up) == len(clients) and max(silence) < PING + PONG + GRACE and codes == {1011}


def slow(server, policy):
    """100 clients that take 10 KiB a second each, of 64 MB that are sent to each."""
    clients = crowd(server, 100, path=f"/ws/{policy}")
    figures = []
    for second in range(20):
        for client in clients:
            client.read(10 * 1024)
        time.sleep(1)
        figures.append(server.memory())
    early, late = max(figures[:5]), max(figures)
    code = clients[0].close_code() if policy == "close" else None
    flat = late - early < 2 * MIB
    verdict = f", closed with {code}" if code else ""
    print(f"{policy}: {early / MIB:.1f} MiB in the first 5 s, {late / MIB:.1f} MiB in 20 s{verdict}")
    return flat and code == (1013 if policy == "close" else None)


def hostile(name, server, before, code, expected, most):
    grown = (server.memory("VmHWM") - before) / MIB
    print(f"{name}: closed with {code}, memory grew by {grown:.1f} MiB at most")
    return code == expected and grown < most


def ping_flood(server):
    clients = crowd(server, 10)
    for client in clients:
        client.greet()
    before = server.memory("VmHWM")
    flood = bytes([0x89, 0x80 | 125]) + MASK + bytes(125)
    codes = set()
    for client in clients:
        try:
            for _ in range(1000):
                client.socket.sendall(flood * 100)
        except (ConnectionResetError, BrokenPipeError):
            pass
        codes.add(client.close_code())
    code = codes.pop() if len(codes) == 1 else codes
    return hostile("100,000 pings", server, before, code, 1008, 2)


def announced(server):
    clients = crowd(server, 100)
    for client in clients:
        client.greet()
    before = server.memory("VmHWM")
    for client in clients:
        client.send(0x82, b"", announced=16 * MIB)
        client.send(0x00, b"")
    time.sleep(1)
    within = hostile("100 times 16 MiB announced", server, before, None, None, 2)
    client = Client(server)
    client.send(0x82, b"", announced=16 * MIB + 1)
    return hostile("one byte more", server, before, client.close_code(), 1009, 2) and within


def bomb(server):
    client = Client(server, deflate="keep")
    client.greet("keep")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush(zlib.Z_SYNC_FLUSH)
    before = server.memory("VmHWM")
    client.send(0xC2, packed)
    name = f"{len(packed)} bytes that unpack to 1 GiB"
    # What the route takes, 16 MiB, in a block of up to twice its size; and what was read of it.
    return hostile(name, server, before, client.close_code(), 1009, 34)


if __name__ == "__main__":
    sys.exit(main())
