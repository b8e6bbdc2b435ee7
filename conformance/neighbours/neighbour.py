"""A neighbour that runs, and who asks through it."""

import json
import random
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from server import TARGET

HERE = Path(__file__).parent

# What is waited for comes within this time, or not at all.
PATIENCE = 30

# Ports that somebody in this run has.
GIVEN = set()


class Neighbour:
    """A process with a configuration, of which it has @names@ replaced; killed at the end."""

    def __init__(self, name, configuration, command, ready, **values):
        self.directory = tempfile.TemporaryDirectory()
        root = Path(self.directory.name)
        text = (HERE / configuration).read_text()
        values["directory"] = root
        text = re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)
        self.file = root / configuration
        self.file.write_text(text)
        self.log = root / "log"
        command = [str(word).replace("@file@", str(self.file)) for word in command]
        command = [word.replace("@directory@", str(root)) for word in command]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            within(lambda: self.alive() and ready(), f"{name} is ready")
        except Exception:
            print(self.log.read_text()[-4000:])
            self.__exit__()
            raise

    def alive(self):
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"{self.process.args[0]} ended with {code}")
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.directory.cleanup()


class Client:
    """The client of a runtime, sent through a neighbour with a certificate."""

    def __init__(self, runtime, url, identity=None):
        self.command = [TARGET / "debug/examples/neighbours-client", "--runtime", runtime, "--url", url]
        if identity:
            self.command += ["--identity", identity]

    def ask(self, *arguments):
        """One call, and what came of it; `{}`: it was never made."""
        done = subprocess.run(
            [*self.command, "ask", *arguments],
            stdout=subprocess.PIPE, text=True, check=False, timeout=60,
        )
        return json.loads(done.stdout or "{}")

    def start(self, *arguments):
        """The same, in the background."""
        return subprocess.Popen([*self.command, "ask", *arguments], stdout=subprocess.PIPE, text=True)

    def check_what_passes(self, outcome, name, *arguments):
        """What no proxy may harm."""
        done = subprocess.run(
            [*self.command, "pass", *arguments], stdout=subprocess.PIPE, text=True, check=False, timeout=300
        )
        lines = done.stdout.splitlines()
        for line in lines:
            verdict, _, seen = line.partition(" ")
            outcome.check(verdict == "ok", f"{name}, {seen}")
        finished = done.returncode == (0 if all(line.startswith("ok ") for line in lines) else 1)
        outcome.check(finished and lines, f"{name}, all was tried", f"{len(lines)} ways")


class Load:
    """Some 2,000 requests a second, none of them made twice."""

    def __init__(self, client):
        self.process = subprocess.Popen(
            [*client.command, "load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stdin.close()

    def stop(self):
        """How many were answered, and how many failed of what."""
        self.process.stdin.close()
        tally = json.loads(self.process.stdout.readline())
        self.process.wait()
        return tally["answered"], tally["failed"]


def within(condition, what, patience=PATIENCE):
    """Waits for a condition, and gives what it gave."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"not in {patience} s: {what}")


def free_port():
    """A port that is free now, and that nobody gets by chance: below those that are given out."""
    while True:
        port = random.randrange(20_000, 32_000)
        if port in GIVEN:
            continue
        GIVEN.add(port)
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port):
    """Whether somebody listens there."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
