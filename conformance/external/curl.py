"""curl, with its many ways to ask."""

import re
import subprocess

from server import Server, everywhere

BODY = "b" * 100_000

# Fields of the answer that a check can name.
WRITE_OUT = "%{stderr}\nstatus=%{http_code} version=%{http_version} connects=%{num_connects}\n"

# What it is, arguments before the URL, the path, and what stderr or stdout must have.
QUESTIONS = [
    ("HTTP/1.1", [], "/plain", ["status=200 version=1.1", "Hello, World!"]),
    ("HTTP/1.0", ["--http1.0"], "/plain", ["status=200", "Hello, World!", "connection: close"]),
    ("HTTP/1.0, stream", ["--http1.0"], "/stream/99999", ["status=200", "a" * 99999]),
    ("HEAD", ["--head"], "/plain", ["status=200", "content-length: 13"]),
    ("OPTIONS", ["--request", "OPTIONS"], "/plain", ["status=204", "allow: GET, HEAD, OPTIONS"]),
    ("DELETE", ["--request", "DELETE"], "/plain", ["status=405", "allow: GET, HEAD, OPTIONS"]),
    ("TRACE", ["--request", "TRACE"], "/plain", ["status=405"]),
    ("an own method", ["--request", "BREW"], "/plain", ["status=405"]),
    ("204", [], "/status/204", ["status=204"]),
    ("304", [], "/status/304", ["status=304"]),
    ("no such path", [], "/nothing", ["status=404", "application/problem+json"]),
    ("query and percent", [], "/plain?a=%20&b=c", ["status=200"]),
    ("range", ["--range", "0-3"], "/plain", ["status=200", "Hello, World!"]),
    ("body", ["--data-binary", "@-"], "/echo", ["status=200", BODY]),
    ("Expect", ["--data-binary", "@-", "--header", "Expect: 100-continue"], "/echo",
     ["HTTP/1.1 100 Continue", "status=200", BODY]),
    ("Expect, refused", ["--data-binary", "@-", "--header", "Expect: 100-continue"], "/nothing",
     ["status=404"]),
    ("chunked", ["--data-binary", "@-", "--header", "Transfer-Encoding: chunked"], "/echo",
     ["status=200", BODY]),
    ("an upload of unknown length", ["--request", "POST", "--upload-file", "-"], "/sink",
     ["status=200", '{"bytes":100000}']),
    ("a body not asked for", ["--data-binary", "@-", "--request", "GET"], "/plain",
     ["status=200", "Hello, World!"]),
    ("too long a target", [], f"/{'a' * 9000}", ["status=414"]),
    ("too large a head", ["--header", f"x: {'a' * 20000}"], "/plain", ["status=431"]),
    ("too large a body, announced",
     ["--data-binary", "@-", "--header", "Content-Length: 2000000000"], "/sink", ["status=413"]),
    ("two on a connection", ["{url}/json"], "/plain",
     ["status=200 version=1.1 connects=1", "status=200 version=1.1 connects=0"]),
    ("offers HTTP/2", ["--http2"], "/plain", ["status=200 version=1.1"]),
]


def run(outcome, certificates):
    for runtime, tls in everywhere(certificates):
        with Server(runtime, tls) as server:
            for what, arguments, path, wanted in QUESTIONS:
                trusting = ["--cacert", certificates.ca]
                _, seen = ask(server, [*trusting, *arguments], path)
                missing = [text for text in wanted if text not in seen]
                detail = f"no {missing[0][:60]!r}, but {status(seen)}" if missing else status(seen)
                outcome.check(not missing, f"{server.name}, {what}", detail)
            if tls:
                refusals(outcome, server, certificates)
            else:
                prior_knowledge(outcome, server)


def prior_knowledge(outcome, server):
    """HTTP/2 without asking is answered in HTTP/1.1, which curl takes for a broken HTTP/2."""
    code, _ = ask(server, ["--http2-prior-knowledge"], "/plain")
    outcome.check(code not in (0, 28), f"{server.name}, HTTP/2 unasked", f"curl ends with {code}")
    with server.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = connection.makefile("rb").readline().decode().strip()
    outcome.check(" 505 " in answer, f"{server.name}, the preface of HTTP/2", answer)


def refusals(outcome, server, certificates):
    """It is curl that refuses."""
    for what, arguments, wanted in [
        ("an unknown authority", ["--cacert", certificates.foreign_ca], 60),
        ("another name", ["--cacert", certificates.ca, "--resolve",
                          f"another.test:{server.port}:127.0.0.1",
                          f"https://another.test:{server.port}/plain"], 60),
        ("TLS 1.1 at most", ["--cacert", certificates.ca, "--tls-max", "1.1", "--tlsv1.0",
                             "--ciphers", "ALL:@SECLEVEL=0"], 35),
    ]:
        code, _ = ask(server, ["--fail-early", *arguments], "/plain")
        outcome.check(code == wanted, f"{server.name}, {what}", f"curl ends with {code}")


def ask(server, arguments, path):
    """curl's exit code, and what it received and said."""
    command = ["curl", "--silent", "--show-error", "--verbose", "--max-time", "20", "--no-buffer"]
    command += ["--write-out", WRITE_OUT]
    command += [str(argument).replace("{url}", server.url) for argument in arguments]
    done = subprocess.run(
        [*command, server.url + path], input=BODY.encode(), capture_output=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode("latin-1")


def status(seen):
    return " ".join(re.findall(r"status=(\d+)", seen))
