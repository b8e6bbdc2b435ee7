"""A gibibyte up and a gibibyte down, and what the server needed for it."""

import subprocess

from server import Server, everywhere

SIZE = 1 << 30

# What a transfer may add to the memory of a server that has answered one request, in MiB.
ALLOWED = 8


def run(outcome, certificates):
    zeros = certificates.root / "zeros"
    with zeros.open("wb") as file:
        file.truncate(SIZE)
    ways = [
        ("up", ["--request", "POST", "--upload-file", zeros, "--header", "Expect:"], "/sink"),
        ("down", [], f"/stream/{SIZE}"),
        ("both ways", ["--request", "POST", "--upload-file", zeros], "/echo"),
    ]
    for runtime, tls in everywhere(certificates):
        with Server(runtime, tls) as server:
            curl(server, certificates, [], "/plain")
            for what, arguments, path in ways:
                before = server.peak_memory()
                up, down, seconds = curl(server, certificates, arguments, path)
                peak = server.peak_memory()
                whole = up == (SIZE if arguments else 0) and (down == SIZE or path == "/sink")
                outcome.check(
                    whole and peak - before <= ALLOWED,
                    f"{server.name}, 1 GiB {what}",
                    f"{up} bytes up, {down} down in {seconds:.1f} s;"
                    f" peak {peak:.1f} MiB, before {before:.1f} MiB",
                )
    zeros.unlink()


def curl(server, certificates, arguments, path):
    """Bytes up, bytes down, seconds."""
    command = ["curl", "--silent", "--fail", "--cacert", certificates.ca, "--max-time", "300"]
    command += ["--output", "/dev/null", *arguments, server.url + path]
    command += ["--write-out", "%{size_upload} %{size_download} %{time_total}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    up, down, seconds = done.stdout.split()
    return int(up), int(down), float(seconds)
