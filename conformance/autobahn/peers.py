"""Our two ends: servers, and clients."""

import os
import socket
import subprocess
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
PEER = TARGET / "debug/examples/autobahn-peer"
# The bare machines, and the adapters.
CORE, ADAPTERS = "core", ["tokio", "smol", "async-std"]


class Server:
    """An echo on a free port of 127.0.0.1; with `tls`, a directory with a certificate, over TLS."""

    def __init__(self, name, tls):
        if name == CORE:
            command, path = [PEER, "serve"], "/"
        else:
            command = [TARGET / "debug/sinew", "serve", "--runtime", name]
            command += ["--listen", "127.0.0.1:0"]
            path = "/ws"
        if tls:
            command += ["--tls", tls]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        port = self.process.stdout.readline().strip().rpartition(":")[2]
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def client(name, url, tls):
    """The command that goes through all cases of the fuzzing server at `url`."""
    command = [PEER, "visit", name, url]
    return command + ["--ca", tls / "cert.pem"] if tls else command


def mint(directory):
    """Writes cert.pem and key.pem of a server that vouches for itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", directory / "key.pem", "-out", directory / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
