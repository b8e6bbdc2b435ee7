"""Real neighbours of clients and servers of sinew; started by `run`, which brings them."""

import argparse
import functools
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import envoy
import haproxy
import nginx
import prometheus
from certificates import Certificates
from outcome import Outcome
from server import RUNTIMES

STEPS = {
    "envoy": envoy.run,
    "nginx": nginx.run,
    "haproxy": haproxy.run,
    "prometheus": prometheus.run,
}


def main():
    parser = argparse.ArgumentParser(prog="conformance/neighbours/run")
    parser.add_argument("--list", action="store_true", help="names of the steps")
    parser.add_argument("--on", choices=RUNTIMES, action="append", help="the runtime")
    parser.add_argument("step", nargs="*", help="default: all")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(STEPS))
        return 0
    unknown = [name for name in arguments.step if name not in STEPS]
    if unknown:
        parser.error(f"no step {', '.join(unknown)}")
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as directory:
        certificates = Certificates(Path(directory))
        for name in arguments.step or STEPS:
            outcome.begin(name)
            run = functools.partial(STEPS[name], outcome, certificates)
            # A neighbour for each; they mostly wait.
            with ThreadPoolExecutor() as together:
                list(together.map(run, arguments.on or RUNTIMES))
    return outcome.report()


sys.exit(main())
