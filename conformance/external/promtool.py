"""promtool, which reads what the example server tells about itself."""

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from server import TARGET

TOOL = Path(sys.prefix) / "bin/promtool"

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"

READER = {"x-api-key": "demo-key-of-the-reader-01"}

# So that every metric has samples: method, path, fields, status.
REQUESTS = [
    ("GET", "/health", {}, 200),
    ("GET", "/orders/7", {}, 401),
    ("GET", "/orders/7", {"x-api-key": "nobody's"}, 401),
    ("GET", "/orders/7", READER, 200),
    ("PUT", "/orders/7", READER, 403),
    ("BREW", "/nowhere", READER, 404),
]

# The sample's policies, on ports that are free.
PLACES = {
    'listen = ["127.0.0.1:8080"]': 'listen = ["127.0.0.1:0"]',
    '#listen = ["127.0.0.1:9090"]': 'listen = ["127.0.0.1:0"]',
}


def run(outcome, certificates):
    sample = Path("adapters/examples/server.toml").read_text()
    for line, free in PLACES.items():
        outcome.check(sample.count(f"\n{line}\n") == 1, f"the sample has the line {line}")
        sample = sample.replace(f"\n{line}\n", f"\n{free}\n")
    config = certificates.root / "server.toml"
    config.write_text(sample)
    command = [TARGET / "debug/examples/server", "--config", config]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = "http://" + process.stdout.readline().split()[-1]
        metrics = process.stdout.readline().split()[-1]
        for method, path, fields, wanted in REQUESTS:
            status, _, _ = ask(method, url + path, fields)
            outcome.check(status == wanted, f"{method} {path}", f"status {status}")
        check(outcome, metrics)
        process.terminate()
        outcome.check(process.wait(30) == 0, "the server stops in good order")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def check(outcome, metrics):
    _, kind, text = ask("GET", metrics, {})
    outcome.check(kind == "text/plain; version=0.0.4; charset=utf-8", "plain text", kind)
    counted = [line for line in text.splitlines() if not line.startswith("#")]
    refusals = sum(line.startswith("sinew_server_refusals_total") for line in counted)
    outcome.check(refusals == 3, "refusals are among the samples", f"of {refusals} kinds")
    done = subprocess.run(
        [TOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).strip()
    fine = done.returncode == 0 and not said
    outcome.check(fine, "promtool check metrics", said or f"{len(counted)} samples, no remark")
    _, kind, text = ask("GET", metrics, {"accept": OPEN_METRICS})
    outcome.check(kind == OPEN_METRICS + "; charset=utf-8", "OpenMetrics where asked for", kind)
    outcome.check(text.endswith("\n# EOF\n"), "OpenMetrics has an end")


def ask(method, url, fields):
    """Status, content type, text."""
    request = urllib.request.Request(url, method=method, headers=fields)
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers["content-type"], answer.read().decode()
