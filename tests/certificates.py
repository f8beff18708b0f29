"""Certificates for tests, each signed by itself."""

import subprocess
from pathlib import Path


def certify(directory: Path, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """`name`.crt and `name`.key for who answers at `address`."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}")
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")
    subprocess.run((*new, *subject, "-keyout", key, "-out", certificate), check=True, capture_output=True)
    return certificate, key
