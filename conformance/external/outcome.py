"""What held and what did not."""

import threading
import time


class Outcome:
    """Checks by step, printed as they are made."""

    def __init__(self):
        self.steps = {}
        self.failures = []
        self.step = None
        self.began = None
        self.lock = threading.Lock()

    def begin(self, step):
        self.end()
        self.step = step
        self.steps[step] = [0, 0, 0.0]
        self.began = time.monotonic()
        print(f"\n== {step}", flush=True)

    def end(self):
        if self.step is not None:
            self.steps[self.step][2] = time.monotonic() - self.began

    def check(self, held, what, detail=""):
        """One thing that must hold; `detail` is what was seen. Any thread may tell."""
        line = f"{what}: {detail}" if detail else what
        with self.lock:
            self.steps[self.step][0 if held else 1] += 1
            if not held:
                self.failures.append(f"{self.step}: {line}")
            print(f"{'ok    ' if held else 'FAILED'} {line}", flush=True)

    def report(self):
        """Prints the summary, and gives the exit code."""
        self.end()
        print(f"\n{'step':12}{'passed':>8}{'failed':>8}{'seconds':>9}")
        for step, (passed, failed, seconds) in self.steps.items():
            print(f"{step:12}{passed:8}{failed:8}{seconds:9.0f}")
        for failure in self.failures:
            print(f"FAILED {failure}")
        return 1 if self.failures else 0
