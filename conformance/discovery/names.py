"""A real name server, NSD, with one zone that the tests write."""

import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

CONFIG = """server:
    ip-address: 127.0.0.1@{port}
    port: {port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    logfile: "{folder}/nsd.log"
    # Datagrams as small as before EDNS, so that truncation shows.
    ipv4-edns-size: 512
    # Nothing is refused because it is asked often.
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: mesh.test
    zonefile: mesh.test.zone
"""

HEAD = """$ORIGIN mesh.test.
$TTL 1
@ IN SOA ns hostmaster {serial} 60 60 3600 1
@ IN NS ns
ns IN A 127.0.0.1
"""


def free_port():
    """A port that is free for UDP and TCP at all addresses of this host."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("", port))
            except OSError:
                continue
            return port


class NameServer:
    """On a free port of 127.0.0.1."""

    def __init__(self, folder, records):
        self.folder, self.port, self.process, self.serial = Path(folder), free_port(), None, 0
        self.config = self.folder / "nsd.conf"
        self.config.write_text(CONFIG.format(folder=folder, port=self.port))
        self.write(records)
        self.start()

    @property
    def place(self):
        return f"127.0.0.1:{self.port}"

    def write(self, records):
        self.serial += 1
        new = self.folder / "new.zone"
        new.write_text(HEAD.format(serial=self.serial) + "\n".join(records) + "\n")
        new.replace(self.folder / "mesh.test.zone")

    def start(self):
        self.process = subprocess.Popen(["nsd", "-d", "-c", self.config], stderr=subprocess.DEVNULL)
        self.wait_for_serial()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def change(self, records):
        """Other records, and the server has them."""
        self.write(records)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_serial()

    def wait_for_serial(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            answer = self.ask("mesh.test", 6)
            if answer and struct.pack(">I", self.serial) in answer:
                return
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "nsd.log").read_text())
            time.sleep(0.05)
        raise RuntimeError("the name server does not answer")

    def ask(self, name, kind):
        """What it answers in a datagram, or None."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = labels + b"\0" + struct.pack(">HH", kind, 1)
        extended = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
        with socket.socket(type=socket.SOCK_DGRAM) as asked:
            asked.settimeout(1)
            asked.connect(("127.0.0.1", self.port))
            try:
                asked.send(struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 1) + question + extended)
                return asked.recv(4096)
            except OSError:
                return None

    def truncates(self, name, kind):
        """Whether it says that its answer does not fit into a datagram."""
        answer = self.ask(name, kind)
        return answer is not None and bool(answer[2] & 2)
