"""Runs other people's tools against `sinew serve`; started by `run`, which installs them."""

import sys
import tempfile
from pathlib import Path

import checkers
import curl
import handshakes
import large
import promtool
import scan
import slow
from certificates import Certificates
from outcome import Outcome

STEPS = {
    "curl": curl.run,
    "handshakes": handshakes.run,
    "sslyze": scan.run,
    "redbot": checkers.run_redbot,
    "httpolice": checkers.run_httpolice,
    "large": large.run,
    "promtool": promtool.run,
    "slow": slow.run,
}


def main(names):
    if names == ["--list"]:
        print("\n".join(STEPS))
        return 0
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"no step {', '.join(unknown)}", file=sys.stderr)
        return 2
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as directory:
        certificates = Certificates(Path(directory))
        for name in names or STEPS:
            outcome.begin(name)
            STEPS[name](outcome, certificates)
    return outcome.report()


sys.exit(main(sys.argv[1:]))
