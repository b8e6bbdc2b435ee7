"""Runs the Autobahn testsuite against our servers and our clients."""

import argparse
import concurrent.futures
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import peers
from report import Report

HERE = Path(__file__).parent
OUT = (peers.TARGET / "autobahn").resolve()

# Parts of the suite that run side by side, and how many cases each has. Sections 1 to 7 and 10 are
# about frames, closing and UTF-8, 9 about size, 12 and 13 about compression.
BASIC = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
SAMPLE = ["9.*.1", "12.1.1", "12.1.11", "12.2.2", "12.3.12", "12.4.3", "12.5.11"]
SAMPLE += ["13.1.3", "13.2.11", "13.3.1", "13.4.12", "13.5.1", "13.6.11", "13.7.1"]
QUICK = [(BASIC + SAMPLE, 268)]
ALL = [
    (BASIC + ["9.*"], 301),
    (["12.1.*", "12.2.*"], 36),
    (["12.3.*", "12.4.*", "12.5.*"], 54),
    (["13.1.*", "13.2.*"], 36),
    (["13.3.*", "13.4.*"], 36),
    (["13.5.*", "13.6.*", "13.7.*"], 54),
]


def main():
    arguments = parse()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    certificate = None
    if "wss" in arguments.over:
        certificate = OUT / "certificate"
        certificate.mkdir()
        peers.mint(certificate)
    runs = [
        Run(name, role, certificate if over == "wss" else None)
        for over in arguments.over
        for name in arguments.on
        for role in arguments.role
        if not (over == "wss" and name == peers.CORE)
    ]
    parts = {"quick": QUICK, "all": ALL}[arguments.cases]
    if arguments.parts:
        parts = [ALL[part - 1] for part in arguments.parts]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        began = time.monotonic()
        started = [(run, [pool.submit(run.go, *part) for part in parts]) for run in runs]
        for run, shards in started:
            problems = [problem for shard in shards for problem in shard.result()]
            report = Report(run.directories())
            problems += report.problems(sum(count for _, count in parts))
            print(f"{'FAILED' if problems else 'ok    '} {run.name:24} {report}", flush=True)
            for problem in problems:
                print(f"       {problem}", flush=True)
            failed += bool(problems)
    print(f"{len(runs) - failed} passed, {failed} failed, {time.monotonic() - began:.0f} s")
    print(f"reports: {OUT}/*/*/index.html")
    return 1 if failed else 0


def parse():
    everything = [peers.CORE, *peers.ADAPTERS]
    parser = argparse.ArgumentParser(prog="conformance/autobahn/run", description=__doc__)
    parser.add_argument("cases", nargs="?", choices=["quick", "all"], default="quick")
    parser.add_argument("--on", nargs="+", choices=everything, default=everything)
    parser.add_argument("--role", nargs="+", choices=["server", "client"], default=["server", "client"])
    parser.add_argument("--over", nargs="+", choices=["ws", "wss"], default=["ws", "wss"])
    parser.add_argument("--parts", nargs="+", type=int, choices=range(1, len(ALL) + 1), help="of all")
    parser.add_argument("--jobs", type=int, default=4, help="testsuites that run at a time")
    return parser.parse_args()


class Run:
    """One of our ends, in one role."""

    def __init__(self, on, role, tls):
        self.on, self.role, self.tls = on, role, tls
        self.name = f"{on} {role} {'wss' if tls else 'ws'}"
        self.root = OUT / self.name.replace(" ", "-")

    def directories(self):
        return [index.parent for index in sorted(self.root.glob("*/index.json"))]

    def go(self, cases, _count):
        """Goes through these cases; what went wrong with that, a line each."""
        directory = self.root / cases[-1].replace("*", "x")
        directory.mkdir(parents=True)
        spec = {"outdir": str(directory), "cases": cases, "exclude-cases": []}
        spec["exclude-agent-cases"] = {}
        with open(directory / "log.txt", "w", encoding="utf8") as log:
            return (self.fuzz_server if self.role == "server" else self.fuzz_client)(spec, log)

    def fuzz_server(self, spec, log):
        with peers.Server(self.on, self.tls) as server:
            spec["servers"] = [{"agent": self.on, "url": server.url}]
            with suite("fuzzingclient", spec, [], log) as fuzzer:
                status = wait(fuzzer)
        return [] if status == 0 else [f"the suite ended with {status}: {log.name}"]

    def fuzz_client(self, spec, log):
        port = peers.free_port()
        spec["url"] = f"{'wss' if self.tls else 'ws'}://127.0.0.1:{port}"
        if self.tls:
            spec["cert"], spec["key"] = str(self.tls / "cert.pem"), str(self.tls / "key.pem")
        with suite("fuzzingserver", spec, ["--webport", "0"], log) as fuzzer:
            if not listens(port):
                fuzzer.kill()
                return [f"the suite does not listen: {log.name}"]
            command = peers.client(self.on, spec["url"], self.tls)
            status = wait(subprocess.Popen(command, stdout=log, stderr=log))
            fuzzer.kill()
        return [] if status == 0 else [f"the client ended with {status}: {log.name}"]


def suite(mode, spec, options, log):
    path = Path(spec["outdir"]) / "spec.json"
    path.write_text(json.dumps(spec))
    command = [os.environ["ENGINE_PYTHON"], HERE / "launcher.py", "--mode", mode, "--spec", path, *options]
    environment = {**os.environ, "PYTHONPATH": os.environ["ENGINE_PATH"]}
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def wait(process):
    """Its exit code, or why there is none."""
    try:
        return process.wait(timeout=1200)
    except subprocess.TimeoutExpired:
        process.kill()
        return "a timeout"


def listens(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except ConnectionRefusedError:
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
