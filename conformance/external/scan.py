"""sslyze: protocols, ciphers, curves, known holes, against Mozilla's intermediate profile."""

import sslyze
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

from server import RUNTIMES, Server

# The authority of the run is in nobody's trust store.
EXPECTED = {"certificate_path_validation"}


def run(outcome, certificates):
    profile = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    for runtime in RUNTIMES:
        with Server(runtime, certificates.server) as server:
            location = sslyze.ServerNetworkLocation("localhost", server.port, "127.0.0.1")
            scanner = sslyze.Scanner()
            scanner.queue_scans([sslyze.ServerScanRequest(location)])
            (result,) = scanner.get_results()
        try:
            check_server_against_tls_configuration(result, profile)
            issues = {}
        except ServerNotCompliantWithTlsConfiguration as error:
            issues = error.issues
        found = {name: text for name, text in issues.items() if name not in EXPECTED}
        outcome.check(not found, f"{runtime}, Mozilla's intermediate profile", found or "met")
