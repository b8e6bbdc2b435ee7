"""`sinew follow` and `sinew serve`, as processes."""

import os
import queue
import signal
import subprocess
import textwrap
import threading
import time
from pathlib import Path

SINEW = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug/sinew"
RUNTIMES = ["tokio", "smol", "async-std"]


class Follower:
    """A `sinew follow`, whose lines are shown and waited for."""

    def __init__(self, runtime, *arguments):
        command = [SINEW, "follow", "--runtime", runtime, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            print(f"    {textwrap.shorten(line.rstrip(), 160)}", flush=True)
            self.lines.put(line)
        self.lines.put(None)

    def wait_for(self, *words, seconds=60):
        """Reads on until a line has all these words."""
        until = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            if line is None:
                raise RuntimeError(f"it ended before it said {words}")
            if all(word in line for word in words):
                return line

    def stop(self):
        """Its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait()
        while self.lines.get() is not None:
            pass
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Server:
    """A `sinew serve` at this place."""

    def __init__(self, runtime, address, port):
        self.place = f"{address}:{port}"
        self.command = [SINEW, "serve", "--runtime", runtime, "--listen", self.place]
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"{self.place}: {line!r}")

    def restart(self):
        """Drains it, and starts another one at the same place. What the old one reported."""
        self.process.send_signal(signal.SIGTERM)
        report = self.process.communicate()[0].splitlines()[0]
        self.start()
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
