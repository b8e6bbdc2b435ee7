"""A running `sinew serve`."""

import os
import socket
import subprocess
from pathlib import Path

RUNTIMES = ["tokio", "smol", "async-std"]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))


class Server:
    """On a port of 127.0.0.1, a free one unless said; with `tls`, the directory of its certificate, over TLS; with `more`
    arguments."""

    def __init__(self, runtime, tls=None, more=(), port=0):
        self.runtime = runtime
        self.name = f"{runtime} {'TLS' if tls else 'plain'}"
        self.arguments = ["--tls", tls, *more] if tls else more
        self.port = port
        self.start()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def start(self):
        """Where it was, if it was anywhere."""
        command = [TARGET / "debug/sinew", "serve", "--runtime", self.runtime]
        command += ["--listen", f"127.0.0.1:{self.port}", *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.line().rpartition(":")[2])

    def line(self):
        """What it says next."""
        return self.process.stdout.readline().strip()

    def leave(self):
        """Asks it to stop in good order, and gives its report."""
        self.process.terminate()
        report = self.line()
        self.process.wait(60)
        self.process.stdout.close()
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def sockets(self):
        """How many sockets the process has open."""
        count = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                count += os.readlink(descriptor).startswith("socket:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def peak_memory(self):
        """The most memory that it ever had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


def everywhere(certificates):
    """On each runtime, plain and over TLS: its directory of certificates, or None."""
    for runtime in RUNTIMES:
        yield runtime, None
        yield runtime, certificates.server
