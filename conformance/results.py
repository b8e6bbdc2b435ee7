"""Makes the table of RESULTS.md: `results.py DIR name=title...`, with DIR/name.json of `sinew check`."""

import json
import sys
from collections import Counter
from pathlib import Path

LEVELS = ["MUST", "GRAMMAR", "SEC", "SHOULD", "MAY", "LIMIT"]


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main():
    directory, *names = sys.argv[1:]
    titles = dict(name.split("=", 1) for name in names)
    runs = {
        name: {
            case["id"]: case
            for case in map(json.loads, (Path(directory) / f"{name}.json").read_text().splitlines())
            if case["result"] != "left out"
        }
        for name in titles
    }
    cases = next(iter(runs.values()))
    servers = list(titles)

    def passed(name, wanted):
        return sum(case["result"] == "passed" and wanted(case) for case in runs[name].values())

    print("# What servers make of the request cases\n")
    print("Made by `conformance/differential`; do not edit. Of a stranger it is known whether it took a")
    print("request, with which status it refused one, and what became of the next on the connection;")
    print("`README.md` says how that is judged. The levels are explained there, too: SEC are cases where")
    print("the RFC leaves a second way, which has been attacked.\n")

    print("## By level\n")
    print(row(["level", "cases", *(titles[name] for name in servers)]))
    print(row(["---"] + ["---:"] * (len(servers) + 1)))
    levels = Counter(case["level"] for case in cases.values())
    for level in filter(levels.get, LEVELS):
        counts = (passed(name, lambda case: case["level"] == level) for name in servers)
        print(row([level, levels[level], *counts]))
    print(row(["all", len(cases), *(passed(name, lambda _: True) for name in servers)]))

    print("\n## By category\n")
    print(row(["category", "cases", *(titles[name] for name in servers)]))
    print(row(["---"] + ["---:"] * (len(servers) + 1)))
    categories = Counter(id.split("/")[0] for id in cases)
    for category, count in categories.items():
        in_it = (
            passed(name, lambda case: case["id"].split("/")[0] == category) for name in servers
        )
        print(row([category, count, *in_it]))

    print("\n## Where one of them differs\n")
    print("A dot: as the case expects. `took`: it took what should be refused. `refused`: the other way")
    print("round. `status`: it refused with a status that says something else. `goes on`: the connection")
    print("was kept where it should end; `ends`: the other way round.\n")
    print(row(["case", "level", *servers]))
    print(row(["---"] * (len(servers) + 2)))
    for id, case in cases.items():
        cells = [verdict(runs[name].get(id)) for name in servers]
        if any(cell != "·" for cell in cells):
            print(row([id, case["level"], *cells]))


def verdict(case):
    if case is None or case["result"] == "passed":
        return "·"
    text = " ".join(case["problems"] or [])
    for sign, word in [
        ("expected Reject", "took"),
        ("expected Accept", "refused"),
        ("messages, expected", "took"),
        ("were delivered", "took"),
        ("status", "status"),
        ("refused with", "status"),
        ("close_after false", "goes on"),
        ("keep_alive true", "goes on"),
        ("close_after true", "ends"),
        ("keep_alive false", "ends"),
        ("no answer", "silent"),
        ("neither an answer", "silent"),
    ]:
        if sign in text:
            return word
    return "differs"


main()
