#!/usr/bin/env python3
"""Memory and CPU of a server with thousands of WebSockets that say nothing but pongs.

    cargo build --release -p sinew-conformance --bin sinew
    python3 benches/sockets.py target/release/sinew [--deflate] [--seconds 70]

One process serves, this one holds the other ends. Prints the bytes that a socket adds to the server's resident
memory beyond the first thousand, and the CPU time of the server while all of them are pinged.
"""

import argparse
import os
import resource
import selectors
import socket
import subprocess
import time

FEW, MANY = 1000, 9000
MASK = bytes(4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sinew")
    parser.add_argument("--deflate", action="store_true", help="with compression, one message each way")
    parser.add_argument("--seconds", type=int, default=70, help="to wait, with pings every 24 to 30 s")
    arguments = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    command = [arguments.sinew, "serve", "--runtime", "tokio", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        measure(server, arguments)
    finally:
        server.kill()


def measure(server, arguments):
    port = int(server.stdout.readline().rpartition(":")[2])
    selector = selectors.DefaultSelector()
    sockets = []
    few = None
    while len(sockets) < MANY:
        # A server takes no more than so many from one address.
        source = f"127.0.0.{2 + len(sockets) // 500}"
        sockets.append(connect(port, source, arguments.deflate))
        selector.register(sockets[-1], selectors.EVENT_READ)
        if len(sockets) == FEW:
            few = resident(server)
        answer(selector, 0)
    print(f"{(resident(server) - few) / (MANY - FEW):.0f} bytes a socket")
    began, cpu, own, pings = time.monotonic(), used(server.pid), time.process_time(), 0
    while time.monotonic() - began < arguments.seconds:
        pings += answer(selector, 0.2)
    took = time.monotonic() - began
    print(f"{pings} pings in {took:.0f} s, {used(server.pid) - cpu:.2f} s of CPU (here {time.process_time() - own:.2f} s)")
    print(f"{(resident(server) - few) / (MANY - FEW):.0f} bytes a socket behind that, {len(selector.get_map())} alive")


def connect(port, source, deflate):
    end = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
    end.sendall(
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + offer.encode() + b"\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += end.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 "), head
    # 300 letters, more than what is sent as it is; compressed in a stored block where that is on.
    text = b"x" * 300
    body = b"\x00" + len(text).to_bytes(2, "little") + (0xFFFF - len(text)).to_bytes(2, "little") + text + b"\x00"
    payload = body if deflate else text
    first = 0xC1 if deflate else 0x81
    end.sendall(bytes([first, 0xFE]) + len(payload).to_bytes(2, "big") + MASK + payload)
    assert end.recv(4096)[0] & 0x0F == 1
    end.setblocking(False)
    return end


def answer(selector, timeout):
    """Answers pings; how many."""
    count = 0
    for key, _ in selector.select(timeout):
        frame = key.fileobj.recv(4096)
        if not frame or frame[0] == 0x88:
            selector.unregister(key.fileobj)
        elif frame[0] == 0x89:
            length = frame[1]
            key.fileobj.sendall(bytes([0x8A, 0x80 | length]) + MASK + frame[2 : 2 + length])
            count += 1
    return count


def resident(server):
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def used(process):
    with open(f"/proc/{process}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
