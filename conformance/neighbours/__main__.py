"""Real neighbours of clients and servers of sinew; started by `run`, which brings them."""

import argparse
import sys
import tempfile
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
            for runtime in arguments.on or RUNTIMES:
                STEPS[name](outcome, certificates, runtime)
    return outcome.report()


sys.exit(main())
