"""The certificates with which the Ministry of Finance signs what SPV delivers.

ANAF publishes no list and no chain that a client could check, so a signature
is trusted when its certificate is one of these. The facts below were computed
from the certificates themselves. A new one is added by the administrator from
a PEM file (`from_pem`); until then its signatures read "valid, certificate not
known".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence


@dataclass(frozen=True)
class PinnedCertificate:
    """A signing certificate that is trusted, known by its SHA-256 fingerprint."""

    fingerprint: str  # of the DER bytes, lower-case hex
    subject: str
    not_before: datetime
    not_after: datetime

    def valid_at(self, moment: datetime) -> bool:
        """Tell whether the moment lies inside the validity, both ends included (RFC 5280)."""
        return self.not_before <= moment <= self.not_after


def from_pem(data: bytes) -> PinnedCertificate:
    """Read one certificate, PEM or DER; raise `BadInput` for anything else."""
    try:
        return of(_read(data))
    except ValueError:
        raise BadInput(
            Sentence(
                "Fișierul nu conține un certificat X.509. Alege certificatul în format PEM.",
                "the file holds no X.509 certificate; give the certificate as PEM",
            )
        ) from None


def as_pem(data: bytes) -> str:
    """Return the certificate that `from_pem` read, as PEM and without anything around it."""
    return _read(data).public_bytes(serialization.Encoding.PEM).decode("ascii")


def issuer(data: bytes) -> str:
    """Return who issued the certificate that `from_pem` read."""
    return _read(data).issuer.rfc4514_string()


def _read(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def of(certificate: x509.Certificate) -> PinnedCertificate:
    """Return the facts by which a certificate is known."""
    return PinnedCertificate(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        subject=certificate.subject.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _at(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


_PERSON = (
    "CN=Ministerul Finantelor Publice,2.5.4.41=STEFANESCU TRAIAN-SERGIU,2.5.4.5=200506245STS9,"
    "2.5.4.42=TRAIAN-SERGIU,2.5.4.4=STEFANESCU,O=Ministerul Finantelor Publice,L=Bucuresti,C=RO"
)

_SHIPPED = (
    PinnedCertificate(
        "b02d178a67f24785ac4143b28880606e17b40ea4f622692e9e110d520b4fc525",
        _PERSON,
        _at(2020, 12, 2, 13, 36, 46),
        _at(2021, 12, 2, 13, 36, 46),
    ),
    PinnedCertificate(
        "5c4ceb903c1c73152cc1793b6557ffa31097bf820115fa17f7154503c0dea663",
        _PERSON,
        _at(2021, 11, 26, 10, 18, 51),
        _at(2023, 11, 26, 10, 18, 51),
    ),
    PinnedCertificate(
        "f014b11cfdeb451351f49ccb6854ca8b1a5ab78db5eaa130e4a000b6fc4efc7e",
        _PERSON,
        _at(2023, 11, 22, 13, 38, 55),
        _at(2025, 11, 21, 13, 38, 55),
    ),
    PinnedCertificate(
        "9c098bfc2ee1799d4bc28294e2fa4693c35d88146dca40f5ee788fddb610e11d",
        "C=RO,2.5.4.97=4221306,O=Ministerul Finantelor,CN=Ministerul Finantelor",
        _at(2024, 12, 6, 9, 48, 3),
        _at(2025, 12, 6, 9, 48, 3),
    ),
    PinnedCertificate(
        "fbdca3c696e1fca634204d989d46bd90d591d92c59f5732f29b2b7ac4d095e33",
        "CN=Ministerul Finantelor Publice,2.5.4.97=25886108,O=Ministerul Finantelor Publice,C=RO",
        _at(2025, 11, 19, 12, 1, 46),
        _at(2027, 11, 19, 12, 1, 45),
    ),
    PinnedCertificate(
        "cd5b377aa602913f717c4f9eb033ff32703043738fda7752f99d7306de2443fb",
        "CN=Ministerul Finantelor,2.5.4.97=25886108,O=Ministerul Finantelor,C=RO",
        _at(2025, 12, 5, 12, 47, 26),
        _at(2027, 12, 5, 12, 47, 25),
    ),
)

PINNED: Mapping[str, PinnedCertificate] = MappingProxyType(
    {certificate.fingerprint: certificate for certificate in _SHIPPED}
)
