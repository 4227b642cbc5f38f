"""Was this document signed by the Ministry of Finance, byte for byte?

Two shapes are known and every other is refused.

*Detached* (production): the root is `ds:Signature`, one `Reference URI=""`
without Transforms, SHA-256 over the **raw bytes** of the document, RSA-SHA1
over the canonical `SignedInfo`, one certificate inside. By the letter of
XMLDSig a reference with `URI=""` means the signature's own file, so stock
verifiers fail on it.

*Enveloped* (ANAF's test environment up to 2024): a copy of the document with
the Signature appended; SHA-256 over the canonical form of the document without
it, RSA-SHA256 over an exclusive-canonical `SignedInfo` whose white space was
added after signing.

`SignedInfo` is never canonicalised from what the file holds: both shapes have
only one canonical text for a given digest, which is built here around the
digest computed here, and the signature must be over exactly that.

SHA-1 in the production form: the integrity of the document rests on its
SHA-256 digest; the digest is signed with RSA-SHA1, as ANAF does it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from appliance.core import certificates, xml
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import DocumentRefused
from appliance.core.sentence import Sentence

NAMESPACE = "http://www.w3.org/2000/09/xmldsig#"
_DS = f"{{{NAMESPACE}}}"

C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"

_DETACHED_LIMIT = 200_000
_ENVELOPED_LIMIT = 12 * 1024 * 1024  # a document of ANAF's 10 MB and its signature
_SMALLEST_KEY = 2048


class SignatureResult(StrEnum):
    """What is known about the signature; a fact to show, never a reason to drop a document."""

    VALID = "valid"
    VALID_UNKNOWN_CERTIFICATE = "valid_unknown_certificate"
    INVALID = "invalid"
    ABSENT = "absent"


@dataclass(frozen=True)
class Verdict:
    """A result with its reason, and the certificate that the file names."""

    result: SignatureResult
    reason: str
    fingerprint: str | None = None
    subject: str | None = None

    @property
    def sentence(self) -> Sentence:
        return sentence_for(self.result, self.reason)


def signed_info(digest: bytes, *, enveloped: bool = False) -> bytes:
    """Return the canonical `SignedInfo` that the shape has for this digest: what is signed."""
    canonicalisation = EXCLUSIVE_C14N if enveloped else C14N
    method = RSA_SHA256 if enveloped else RSA_SHA1
    transforms = (
        f'<Transforms><Transform Algorithm="{ENVELOPED}"></Transform></Transforms>'
        if enveloped
        else ""
    )
    return (
        f'<SignedInfo xmlns="{NAMESPACE}">'
        f'<CanonicalizationMethod Algorithm="{canonicalisation}"></CanonicalizationMethod>'
        f'<SignatureMethod Algorithm="{method}"></SignatureMethod>'
        f'<Reference URI="">{transforms}'
        f'<DigestMethod Algorithm="{SHA256}"></DigestMethod>'
        f"<DigestValue>{base64.b64encode(digest).decode('ascii')}</DigestValue>"
        "</Reference></SignedInfo>"
    ).encode("ascii")


def verify(
    document: bytes,
    signature: bytes | None,
    *,
    pinned: Mapping[str, PinnedCertificate],
    at: datetime | None,
) -> Verdict:
    """Judge the signature of a document; never raises, whatever the bytes are.

    `valid` means: made over exactly these bytes (enveloped: over their
    canonical form) by a pinned certificate that was valid `at` the moment of
    the message; without `at` the validity is not judged. A good signature by a
    certificate that is not pinned, or was not valid then, is
    `valid_unknown_certificate`: the document is intact, who signed is open.
    """
    if not signature:
        return Verdict(SignatureResult.ABSENT, "no_signature")
    try:
        return _verify(document, signature, pinned, at)
    except _Invalid as problem:
        return Verdict(
            SignatureResult.INVALID, problem.reason, problem.fingerprint, problem.subject
        )


def certificate_in(signature: bytes) -> bytes | None:
    """Return the certificate (DER) that a signature of a known shape names; None for any other."""
    try:
        if len(signature) > _ENVELOPED_LIMIT:
            return None
        root = _parse(signature, "signature_not_xml")
        enveloped = root.tag != _DS + "Signature"
        return _shape(_appended(root) if enveloped else root, enveloped)[2]
    except _Invalid:
        return None


class _Invalid(Exception):
    def __init__(self, reason: str, certificate: PinnedCertificate | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fingerprint = certificate.fingerprint if certificate else None
        self.subject = certificate.subject if certificate else None


def _verify(
    document: bytes,
    signature: bytes,
    pinned: Mapping[str, PinnedCertificate],
    at: datetime | None,
) -> Verdict:
    if len(signature) > _ENVELOPED_LIMIT:
        raise _Invalid("too_large")
    root = _parse(signature, "signature_not_xml")
    enveloped = root.tag != _DS + "Signature"
    if enveloped:
        element = _appended(root)
    else:
        if len(signature) > _DETACHED_LIMIT:
            raise _Invalid("too_large")
        if root.nsmap != {None: NAMESPACE}:
            raise _Invalid("shape")
        element = root
    stated, value, der = _shape(element, enveloped)
    certificate, key = _certificate(der)
    if enveloped:
        digest = _digest_without_signature(document, root, element)
    else:
        digest = hashlib.sha256(document).digest()
    if stated != digest:
        raise _Invalid("digest_mismatch", certificate)
    try:
        key.verify(
            value,
            signed_info(digest, enveloped=enveloped),
            padding.PKCS1v15(),
            # ANAF's own choice; the digest beneath is SHA-256.
            hashes.SHA256() if enveloped else hashes.SHA1(),  # noqa: S303 - what the Ministry signs with
        )
    except InvalidSignature:
        raise _Invalid("signature_mismatch", certificate) from None
    return _judge(certificate, pinned, at)


def _judge(
    certificate: PinnedCertificate,
    pinned: Mapping[str, PinnedCertificate],
    at: datetime | None,
) -> Verdict:
    known = pinned.get(certificate.fingerprint)
    if known is None:
        return Verdict(
            SignatureResult.VALID_UNKNOWN_CERTIFICATE,
            "unknown_certificate",
            certificate.fingerprint,
            certificate.subject,
        )
    if at is not None and not known.valid_at(at):
        # Not proof of a forgery; ETSI EN 319 102-1 calls it indeterminate as well.
        return Verdict(
            SignatureResult.VALID_UNKNOWN_CERTIFICATE,
            "certificate_not_valid_then",
            certificate.fingerprint,
            certificate.subject,
        )
    return Verdict(SignatureResult.VALID, "ok", certificate.fingerprint, certificate.subject)


def _parse(data: bytes, reason: str) -> etree._Element:
    """Return the whole tree: what `xml.parse` leaves out is signed or has no place here."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True
    )
    try:
        xml.parse(data, max_bytes=_ENVELOPED_LIMIT)  # refuses a DTD and what is too much
        return etree.fromstring(data, parser)
    except (DocumentRefused, etree.XMLSyntaxError):
        raise _Invalid(reason) from None


def _appended(root: etree._Element) -> etree._Element:
    """Return the one Signature of an enveloped copy, which must be the last child of its root."""
    signatures = list(root.iter(_DS + "Signature"))
    if len(signatures) != 1 or len(root) == 0 or root[-1] is not signatures[0]:
        raise _Invalid("shape")
    return signatures[0]


def _shape(element: etree._Element, enveloped: bool) -> tuple[bytes, bytes, bytes]:
    """Return digest, signature value and certificate of an element that has the known shape."""
    _only(element, {}, "SignedInfo", "SignatureValue", "KeyInfo")
    info, value, key_info = element
    _only(info, {}, "CanonicalizationMethod", "SignatureMethod", "Reference")
    canonicalisation, method, reference = info
    _leaf(canonicalisation, C14N if not enveloped else EXCLUSIVE_C14N)
    _leaf(method, RSA_SHA1 if not enveloped else RSA_SHA256)
    inside = ("Transforms",) if enveloped else ()
    _only(reference, {"URI": ""}, *inside, "DigestMethod", "DigestValue")
    if enveloped:
        _only(reference[0], {}, "Transform")
        _leaf(reference[0][0], ENVELOPED)
    _leaf(reference[-2], SHA256)
    _only(key_info, {}, "X509Data")
    data = key_info[0]
    if len(data) == 2:
        _only(data, {}, "X509SubjectName", "X509Certificate")
        _text(data[0])
    else:
        _only(data, {}, "X509Certificate")
    digest, signature = _base64(reference[-1]), _base64(value)
    if len(digest) != hashlib.sha256().digest_size:
        raise _Invalid("shape")
    return digest, signature, _base64(data[-1])


def _only(element: etree._Element, attributes: dict[str, str], *children: str) -> None:
    """Refuse an element that holds anything but these attributes and children, in this order."""
    if dict(element.attrib) != attributes:
        raise _Invalid("shape")
    if [child.tag for child in element] != [_DS + name for name in children]:
        raise _Invalid("shape")
    texts = [element.text, *(child.tail for child in element)]
    if any(text and text.strip() for text in texts):
        raise _Invalid("shape")


def _leaf(element: etree._Element, algorithm: str) -> None:
    if len(element) or (element.text and element.text.strip()):
        raise _Invalid("shape")
    if dict(element.attrib) != {"Algorithm": algorithm}:
        raise _Invalid("algorithm")


def _text(element: etree._Element) -> str:
    if len(element) or element.attrib:
        raise _Invalid("shape")
    return element.text or ""


def _base64(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join(_text(element).split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Invalid("shape") from None


def _certificate(der: bytes) -> tuple[PinnedCertificate, rsa.RSAPublicKey]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        facts = certificates.of(certificate)
        key = certificate.public_key()
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise _Invalid("bad_certificate") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_KEY:
        raise _Invalid("weak_key", facts)
    return facts, key


def _digest_without_signature(
    document: bytes, copy: etree._Element, signature: etree._Element
) -> bytes:
    """Return the digest of the document, whose signed copy must say the very same."""
    original = _parse(document, "document_not_xml")
    # What follows the Signature was added by the signer's serialiser, not signed.
    signature.tail = None
    copy.remove(signature)
    canonical = etree.tostring(original, method="c14n", with_comments=False)
    if etree.tostring(copy, method="c14n", with_comments=False) != canonical:
        raise _Invalid("copy_differs")
    return hashlib.sha256(canonical).digest()


def sentence_for(result: SignatureResult, reason: str) -> Sentence:
    """Return what a person reads about a result; an unknown reason gets the result's own words."""
    return _SENTENCES.get((result, reason)) or _GENERAL[result]


_GENERAL = {
    SignatureResult.VALID: Sentence(
        "Semnătura Ministerului Finanțelor este valabilă.",
        "the signature of the Ministry of Finance is valid",
    ),
    SignatureResult.VALID_UNKNOWN_CERTIFICATE: Sentence(
        "Semnătura este corectă, dar certificatul nu se află printre cele cunoscute ale "
        "Ministerului Finanțelor. Administratorul îl poate adăuga după ce îl verifică.",
        "the signature is correct, but its certificate is not among the known ones of the "
        "Ministry of Finance; the administrator can add it after checking it",
    ),
    SignatureResult.INVALID: Sentence(
        "Semnătura nu este valabilă. Cere documentul din nou sau verifică-l în SPV.",
        "the signature is not valid; fetch the document again or check it in SPV",
    ),
    SignatureResult.ABSENT: Sentence(
        "Documentul nu are semnătura Ministerului Finanțelor. Verifică-l în SPV.",
        "the document carries no signature of the Ministry of Finance; check it in SPV",
    ),
}

_SENTENCES = {
    (SignatureResult.INVALID, "digest_mismatch"): Sentence(
        "Documentul nu este cel semnat: conținutul a fost schimbat după semnare. "
        "Descarcă-l din nou din SPV.",
        "the document is not the one that was signed: its content changed afterwards; "
        "download it again from SPV",
    ),
    (SignatureResult.INVALID, "copy_differs"): Sentence(
        "Copia semnată a documentului spune altceva decât documentul. Descarcă-l din nou din SPV.",
        "the signed copy says something else than the document; download it again from SPV",
    ),
    (SignatureResult.INVALID, "signature_mismatch"): Sentence(
        "Semnătura nu este făcută cu certificatul pe care îl conține. Verifică documentul în SPV.",
        "the signature was not made with the certificate inside it; check the document in SPV",
    ),
    (SignatureResult.VALID_UNKNOWN_CERTIFICATE, "certificate_not_valid_then"): Sentence(
        "Semnătura este corectă, dar certificatul Ministerului Finanțelor nu era valabil la data "
        "mesajului. Verifică documentul în SPV.",
        "the signature is correct, but the certificate of the Ministry of Finance was not valid "
        "at the time of the message; check the document in SPV",
    ),
    (SignatureResult.INVALID, "shape"): Sentence(
        "Fișierul de semnătură nu are forma folosită de ANAF. Verifică documentul în SPV.",
        "the signature file does not have the form that ANAF uses; check the document in SPV",
    ),
    (SignatureResult.INVALID, "algorithm"): Sentence(
        "Semnătura folosește alți algoritmi decât ANAF. Verifică documentul în SPV.",
        "the signature uses other algorithms than ANAF does; check the document in SPV",
    ),
    (SignatureResult.INVALID, "signature_not_xml"): Sentence(
        "Fișierul de semnătură nu poate fi citit. Descarcă mesajul din nou din SPV.",
        "the signature file cannot be read; download the message again from SPV",
    ),
    (SignatureResult.INVALID, "document_not_xml"): Sentence(
        "Documentul nu poate fi citit, deci semnătura nu poate fi verificată. "
        "Descarcă mesajul din nou din SPV.",
        "the document cannot be read, so its signature cannot be checked; "
        "download the message again from SPV",
    ),
    (SignatureResult.INVALID, "too_large"): Sentence(
        "Fișierul de semnătură este prea mare pentru o semnătură ANAF. Verifică documentul în SPV.",
        "the signature file is too large to be one of ANAF's; check the document in SPV",
    ),
    (SignatureResult.INVALID, "bad_certificate"): Sentence(
        "Certificatul din semnătură nu poate fi citit. Verifică documentul în SPV.",
        "the certificate in the signature cannot be read; check the document in SPV",
    ),
    (SignatureResult.INVALID, "weak_key"): Sentence(
        "Cheia din semnătură este prea slabă sau nu este RSA. Verifică documentul în SPV.",
        "the key in the signature is too weak or not RSA; check the document in SPV",
    ),
}
