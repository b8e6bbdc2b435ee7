"""What the testsuite reports, and what must hold of it."""

import collections
import json

# Nobody gets more for these: what is right is left open.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
# The close frame that is answered has no code, so that the answer has none either.
WITHOUT_CODE = {"7.3.1"}


class Report:
    """The cases that one peer went through, in one or more directories of the testsuite."""

    def __init__(self, directories):
        self.cases = {}
        for directory in directories:
            for cases in json.loads((directory / "index.json").read_text()).values():
                self.cases.update(cases)

    def problems(self, expected):
        """What does not hold, a line each. `expected`: how many cases there should be."""
        if len(self.cases) != expected:
            yield f"{len(self.cases)} cases ran, and not {expected}"
        for name in sorted(self.cases, key=number):
            case = self.cases[name]
            wanted = "INFORMATIONAL" if name in INFORMATIONAL else "OK"
            for key in ["behavior", "behaviorClose"]:
                if case[key] not in {wanted, "OK"}:
                    yield f"{name}: {key} is {case[key]}"
            # The testsuite minds a wrong code, but none that is missing.
            code = case["remoteCloseCode"]
            if code is None and name not in WITHOUT_CODE:
                yield f"{name}: no close code was sent"

    def __str__(self):
        count = collections.Counter(case["behavior"] for case in self.cases.values())
        codes = collections.Counter(case["remoteCloseCode"] for case in self.cases.values())
        names = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED"]
        verdicts = ", ".join(f"{count.pop(name, 0)} {name.lower()}" for name in names)
        others = "".join(f", {many} {name}" for name, many in sorted(count.items()))
        sent = len(self.cases) - codes[None]
        refused = f"{codes[1002]} times 1002, {codes[1007]} times 1007"
        return f"{verdicts}{others} of {len(self.cases)}; {sent} close codes, {refused}"


def number(name):
    return [int(part) for part in name.split(".")]
