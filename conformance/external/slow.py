"""slowhttptest: many clients that take their time, and one that does not."""

import http.client
import ssl
import subprocess
import threading
import time

from server import RUNTIMES, Server

ATTACKERS = 50

# A busy machine is not a failure.
GRACE = 4.0

# Seconds after which an attack is given up.
WATCH = 90

# Seconds within which everybody else is answered.
AT_ONCE = 2.0

# What it is, after how many seconds the documented limits cut the attackers, how to attack.
ATTACKS = [
    # head_timeout 10 s, and linger 1 s
    ("slow heads", 11, ["-H", "-i", "3", "-u", "{url}/plain"]),
    # body_rate_window 5 s, the first one free, and linger 1 s
    ("slow bodies", 11, ["-B", "-i", "3", "-s", "4096", "-x", "10", "-u", "{url}/sink"]),
    # write_timeout 30 s, and as much again
    ("slow reads", 60, ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32",
                        "-u", "{url}/stream/100000000"]),
]


def run(outcome, certificates):
    for tls in [None, certificates.server]:
        for what, limit, arguments in ATTACKS:
            attacks = [Attack(name, tls, certificates.ca, arguments) for name in RUNTIMES]
            for attack in attacks:
                attack.thread.start()
            for attack in attacks:
                attack.thread.join()
                attack.judge(outcome, what, limit)


class Attack:
    """A server under attack, with a client that behaves."""

    def __init__(self, runtime, tls, ca, arguments):
        self.server = Server(runtime, tls)
        self.context = ssl.create_default_context(cafile=ca)
        self.arguments = [argument.replace("{url}", self.server.url) for argument in arguments]
        self.thread = threading.Thread(target=self.watch)
        self.most = 0
        self.took = None
        self.waits = []
        self.complaints = []

    def watch(self):
        with self.server:
            idle = self.server.sockets()
            # The attackers are busy, and on other machines usually.
            command = ["nice", "-n", "10", "slowhttptest"]
            command += ["-c", str(ATTACKERS), "-r", "100", "-l", str(WATCH + 30), "-p", "5"]
            attackers = subprocess.Popen(
                [*command, *self.arguments], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            began = time.monotonic()
            while time.monotonic() < began + WATCH:
                self.ask()
                open_now = self.server.sockets() - idle
                self.most = max(self.most, open_now)
                # slowhttptest asks a question of its own now and then.
                if self.most >= ATTACKERS and open_now <= 1:
                    self.took = time.monotonic() - began
                    break
                time.sleep(0.25)
            attackers.kill()
            attackers.wait()

    def ask(self):
        """A client like any other."""
        began = time.monotonic()
        port = self.server.port
        if self.server.url.startswith("https:"):
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=20, context=self.context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", "/plain")
            if connection.getresponse().read() != b"Hello, World!":
                self.complaints.append("a wrong answer")
        except (OSError, http.client.HTTPException) as error:
            self.complaints.append(str(error))
        finally:
            connection.close()
        self.waits.append(time.monotonic() - began)

    def judge(self, outcome, what, limit):
        slowest = max(self.waits)
        cut = f"cut after {self.took:.1f} s" if self.took else f"NOT CUT within {WATCH} s"
        held = not self.complaints and slowest <= AT_ONCE
        held = held and self.took is not None and self.took <= limit + GRACE
        outcome.check(
            held,
            f"{self.server.name}, {ATTACKERS} {what}",
            f"{cut} (documented {limit} s); {len(self.waits)} others answered, "
            f"the slowest in {slowest * 1000:.0f} ms" + "".join(f"; {c}" for c in self.complaints),
        )
