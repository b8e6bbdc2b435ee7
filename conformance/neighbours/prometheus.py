"""A Prometheus that scrapes a server, and is asked in PromQL."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from neighbour import HERE, Neighbour, free_port, within
from server import Server

# What is asked of the server: so often, the path, and the status.
REQUESTS = [(40, "/plain", 200), (7, "/nothing", 404), (5, "/status/500", 500)]


def run(outcome, _, runtime):
    check = lambda held, what, detail="": outcome.check(held, f"{runtime}, {what}", detail)
    operators = free_port()
    with (
        Server(runtime, more=["--operators", f"127.0.0.1:{operators}"]) as server,
        Prometheus(operators) as prometheus,
    ):
        within(lambda: prometheus.value("up") == 1, "it is scraped")
        # The first sample of a series is no increase: there has to be one of each.
        ask(server, 1)
        total = "sum(http_server_request_duration_seconds_count)"
        within(lambda: prometheus.value(total) == len(REQUESTS), "the first requests are counted")
        ask(server)
        wanted = len(REQUESTS) + sum(often for often, _, _ in REQUESTS)
        within(lambda: prometheus.value(total) == wanted, "all are counted")
        for often, path, status in REQUESTS:
            counted = prometheus.value(
                f'sum(http_server_request_duration_seconds_count{{http_response_status_code="{status}"}})'
            )
            check(counted == often + 1, f"requests for {path} by status", f"{status}: {counted:.0f}")
        routes = prometheus.vector("sum by (http_route) (http_server_request_duration_seconds_count)")
        names = sorted(sample["metric"].get("http_route", "") for sample in routes)
        check(names == ["", "/plain", "/status/{code}"], "routes are templates", names)
        quantile = prometheus.value(
            "histogram_quantile(0.9, sum by (le) (rate(http_server_request_duration_seconds_bucket[1m])))"
        )
        check(quantile is not None and 0 < quantile < 10, "a quantile of the durations", f"{quantile} s")
        recorded = within(
            lambda: prometheus.value('route:http_server_requests:rate{http_route="/plain"}'), "a rule is recorded"
        )
        check(recorded > 0, "a recorded rate", f"{recorded:.1f} a second")
        firing = within(lambda: prometheus.vector('ALERTS{alertstate="firing"}'), "an alert fires")
        names = [sample["metric"]["alertname"] for sample in firing]
        check(names == ["Errors"], "500 is an alert, and 404 none", names)
        healthy = lambda: prometheus.get("targets")["activeTargets"][0]["health"] == "up"
        check(within(healthy, "a target in health"), "the target is up")
        kind = prometheus.get("metadata", metric="http_server_request_duration_seconds")
        kind = kind.get("http_server_request_duration_seconds", [{}])[0]
        check((kind.get("type"), kind.get("unit")) == ("histogram", "seconds"), "type and unit are known", kind)
        dropped = prometheus.value("scrape_samples_scraped - scrape_samples_post_metric_relabeling")
        check(dropped == 0, "no sample is left out", dropped)
    done = subprocess.run(
        ["promtool", "check", "rules", HERE / "rules.yml"], capture_output=True, text=True, check=False
    )
    check(done.returncode == 0, "promtool takes the rules", done.stdout.strip().splitlines()[-1:])


class Prometheus(Neighbour):
    """Prometheus, which scrapes this port."""

    def __init__(self, operators):
        self.port = free_port()
        command = ["prometheus", "--config.file=@file@", "--storage.tsdb.path=@directory@/data"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"]
        super().__init__(
            "Prometheus", "prometheus.yml", command, self.ready,
            operators=operators, rules=HERE / "rules.yml",
        )

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def get(self, what, **arguments):
        """What its API answers."""
        query = urllib.parse.urlencode(arguments)
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def vector(self, expression):
        """All samples that an expression has."""
        return self.get("query", query=expression)["result"]

    def value(self, expression):
        """The one sample that an expression has; None while there is none."""
        samples = self.vector(expression)
        return float(samples[0]["value"][1]) if samples else None


def ask(server, often=None):
    for times, path, status in REQUESTS:
        for _ in range(often or times):
            try:
                with urllib.request.urlopen(server.url + path, timeout=10) as answer:
                    seen = answer.status
                    answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    seen = error.code
            if seen != status:
                raise RuntimeError(f"{path}: {seen}")
