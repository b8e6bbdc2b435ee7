"""Certificates for one run: an authority, servers, and clients good and bad."""

import datetime
import ipaddress
import shutil

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """Whoever signs leaves."""

    def __init__(self, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named(name)
        self.certificate = (
            blank(self.name, self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def leaf(self, directory, name, usage, days=(-1, 90)):
        """Writes cert.pem and key.pem of a leaf that is valid between these days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            blank(named(name), self.name, key, days)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        write(directory, certificate, key)


class Certificates:
    """`root` is the run's directory; `ca` and `foreign_ca` are files with an authority, the others
    directories with cert.pem and key.pem."""

    def __init__(self, root):
        ours, theirs = Authority("sinew test authority"), Authority("somebody else")
        self.root = root
        self.ca = root / "ca.pem"
        self.ca.write_bytes(pem(ours.certificate))
        self.foreign_ca = root / "foreign.pem"
        self.foreign_ca.write_bytes(pem(theirs.certificate))

        client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
        self.server = root / "server"
        ours.leaf(self.server, "localhost", server)
        # With an authority beside it, the server asks its clients for certificates.
        self.mutual = root / "mutual"
        ours.leaf(self.mutual, "localhost", server)
        shutil.copy(self.ca, self.mutual / "ca.pem")

        self.good = root / "good"
        ours.leaf(self.good, "client", client)
        self.proxy = root / "proxy"
        ours.leaf(self.proxy, "proxy", client)
        self.stranger = root / "stranger"
        theirs.leaf(self.stranger, "client", client)
        # Whom they trust stands beside what they show.
        for directory in (self.good, self.stranger):
            shutil.copy(self.ca, directory / "ca.pem")
        self.self_signed = root / "self-signed"
        write(self.self_signed, theirs.certificate, theirs.key)
        self.expired = root / "expired"
        ours.leaf(self.expired, "client", client, days=(-30, -1))
        self.wrong_usage = root / "wrong-usage"
        ours.leaf(self.wrong_usage, "client", server)


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def blank(subject, issuer, key, days=(-1, 90)):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def write(directory, certificate, key):
    """Certificate and key apart, and both in one file, as haproxy has them."""
    directory.mkdir()
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = key.private_bytes(*encoding, serialization.NoEncryption())
    (directory / "cert.pem").write_bytes(pem(certificate))
    (directory / "key.pem").write_bytes(key)
    (directory / "both.pem").write_bytes(pem(certificate) + key)
