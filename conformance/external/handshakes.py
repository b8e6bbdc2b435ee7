"""TLS handshakes: `openssl s_client` with every odd wish."""

import contextlib
import re
import subprocess

from server import RUNTIMES, Server

REQUEST = b"GET /plain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"

# https://www.rfc-editor.org/rfc/rfc8446#section-6
ALERTS = {
    40: "handshake_failure",
    43: "unsupported_certificate",
    45: "certificate_expired",
    46: "certificate_unknown",
    48: "unknown_ca",
    70: "protocol_version",
    116: "certificate_required",
    120: "no_application_protocol",
}

# Else s_client would refuse by itself.
WILLING = ["-cipher", "ALL:@SECLEVEL=0"]
OLD_CIPHER = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]

# What s_client is told, and what it must see: the status and the protocol agreed on, or an alert.
WISHES = [
    (["-tls1_1", *WILLING], "handshake_failure"),
    (["-tls1_2"], "200"),
    (["-tls1_3"], "200"),
    (["-alpn", "http/1.1"], "200 http/1.1"),
    (["-alpn", "h2,http/1.1"], "200 http/1.1"),
    (["-alpn", "http/1.0"], "200 http/1.0"),
    (["-alpn", "h2"], "no_application_protocol"),
    (OLD_CIPHER, "handshake_failure"),
    (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "200"),
    (["-curves", "X25519"], "200"),
    (["-curves", "P-256"], "200"),
    (["-curves", "P-521", "-tls1_2"], "handshake_failure"),
]

# Which certificate the client has, where one is required.
CLIENTS = [
    (None, "certificate_required"),
    ("good", "200"),
    ("stranger", "unknown_ca"),
    ("self_signed", "certificate_unknown"),
    ("expired", "certificate_expired"),
    ("wrong_usage", "unsupported_certificate"),
]


def run(outcome, certificates):
    with contextlib.ExitStack() as running:
        servers = [running.enter_context(Server(name, certificates.server)) for name in RUNTIMES]
        for wish, wanted in WISHES:
            shake_all(outcome, servers, certificates, wish, wanted, " ".join(wish))
    with contextlib.ExitStack() as running:
        servers = [running.enter_context(Server(name, certificates.mutual)) for name in RUNTIMES]
        for version in ["-tls1_2", "-tls1_3"]:
            for client, wanted in CLIENTS:
                wish = [version]
                if client:
                    directory = getattr(certificates, client)
                    wish += ["-cert", directory / "cert.pem", "-key", directory / "key.pem"]
                what = f"{version}, client certificate: {client or 'none'}"
                shake_all(outcome, servers, certificates, wish, wanted, what)


def shake_all(outcome, servers, certificates, wish, wanted, what):
    """All runtimes must give the same."""
    seen = {server.runtime: shake(server, certificates, wish) for server in servers}
    held = all(got == wanted for got in seen.values())
    got = ", ".join(f"{runtime} {got}" for runtime, got in seen.items())
    outcome.check(held, what, f"{wanted} on all" if held else f"{got}; wanted {wanted}")


def shake(server, certificates, wish):
    """The status and the protocol agreed on, or the alert, or s_client's last words."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-ign_eof"]
    command += ["-servername", "localhost", "-verify_hostname", "localhost"]
    command += ["-CAfile", certificates.ca, "-verify_return_error", *wish]
    done = subprocess.run(command, input=REQUEST, capture_output=True, timeout=30, check=False)
    said, complained = done.stdout.decode("latin-1"), done.stderr.decode("latin-1")
    if alert := re.search(r"SSL alert number (\d+)", complained):
        return ALERTS.get(int(alert[1]), f"alert {alert[1]}")
    if status := re.search(r"^HTTP/1\.1 (\d+) ", said, re.MULTILINE):
        protocol = re.search(r"^ALPN protocol: (\S+)", said, re.MULTILINE)
        return f"{status[1]} {protocol[1]}" if protocol else status[1]
    return (complained.strip().splitlines() or ["nothing"])[-1]
