"""Signs as ANAF does in production, with a certificate that says it is a fake.

The form is described in `core.signature`. The same key signs the access
tokens, so a simulator that is started again with the same key file still
accepts the tokens it gave out before.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from appliance.core.certificates import PinnedCertificate, of
from appliance.core.signature import NAMESPACE, signed_info

_SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "RO"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Simulator SPV"),
        x509.NameAttribute(NameOID.COMMON_NAME, "FAKE MF - simulator, fara valoare fiscala"),
    ]
)
# Wide, and the same at each start, so that one key always makes one certificate.
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)


class Signer:
    """A key with its self-signed certificate."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(_SUBJECT)
            .issuer_name(_SUBJECT)
            .public_key(key.public_key())
            .serial_number(0x5350560001)
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        self._tail = (
            "<KeyInfo><X509Data>"
            f"<X509SubjectName>{_SUBJECT.rfc4514_string()}</X509SubjectName>"
            f"<X509Certificate>{_base64(der)}</X509Certificate>"
            "</X509Data></KeyInfo></Signature>"
        )

    @classmethod
    def load(cls, path: Path | None) -> Signer:
        """Return the signer of the key file, made at the first call; without a path a new one."""
        if path is not None and path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(key, rsa.RSAPrivateKey):
                return cls(key)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if path is not None:
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            temporary = path.with_name(path.name + ".new")
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            temporary.replace(path)
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The certificate, for whoever wants to pin it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def secret(self) -> bytes:
        """Bytes that only this key makes and always makes again."""
        return self.key.sign(b"simulator/oauth-client", padding.PKCS1v15(), hashes.SHA256())

    @property
    def pinned(self) -> PinnedCertificate:
        return of(self.certificate)

    def sign(self, document: bytes) -> bytes:
        """Return the content of `semnatura_N.xml` for these bytes."""
        info = signed_info(hashlib.sha256(document).digest())
        # RSA-SHA1 is the form that ANAF signs in.
        value = self.key.sign(info, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as the Ministry does
        embedded = info.decode("ascii").replace(f' xmlns="{NAMESPACE}"', "", 1)
        for name in ("CanonicalizationMethod", "SignatureMethod", "DigestMethod"):
            embedded = embedded.replace(f"></{name}>", "/>")
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
            f'<Signature xmlns="{NAMESPACE}">{embedded}'
            f"<SignatureValue>{_base64(value)}</SignatureValue>{self._tail}"
        ).encode("ascii")

    def sign_enveloped(self, document: bytes) -> bytes:
        """Return a copy with the signature inside, as ANAF's test environment signed up to 2024.

        A document that has no closing tag to put it before is signed as in production.
        """
        end = document.rfind(b"</")
        if end < 0:
            return self.sign(document)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        canonical = etree.tostring(etree.fromstring(document, parser), method="c14n")
        info = signed_info(hashlib.sha256(canonical).digest(), enveloped=True)
        value = self.key.sign(info, padding.PKCS1v15(), hashes.SHA256())
        # The blanks between its elements were put there after signing, and signed they are not.
        embedded = info.decode("ascii").replace(f' xmlns="{NAMESPACE}"', "", 1)
        embedded = embedded.replace("><", ">\n        <")
        signature = (
            f'<Signature xmlns="{NAMESPACE}">{embedded}'
            f"<SignatureValue>{_base64(value)}</SignatureValue>{self._tail}"
        ).replace("=\n", "=&#13;\n")
        return document[:end] + signature.encode("ascii") + document[end:]

    def pack(self, upload_id: str, document: bytes, at: datetime) -> bytes:
        """Return the zip that `descarcare` gives out: the signature first, as seen at ANAF."""
        signature = f"semnatura_{upload_id}.xml"
        return zipped(((signature, self.sign(document)), (f"{upload_id}.xml", document)), at)


def zipped(members: tuple[tuple[str, bytes], ...], at: datetime) -> bytes:
    """Return a deflated zip; equal input makes equal bytes."""
    buffer = io.BytesIO()
    stamp = (at.year, at.month, at.day, at.hour, at.minute, at.second)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, stamp)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    """Lines of 76 characters, without a last line end, as Java writes them."""
    return base64.encodebytes(data).decode("ascii").strip()
