"""The signature of a real document is recognised, and every way of forging it is refused."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from appliance.core import certificates
from appliance.core.anaf_zip import Package, read_zip
from appliance.core.certificates import PINNED, PinnedCertificate
from appliance.core.signature import (
    SignatureResult,
    Verdict,
    sentence_for,
    signed_info,
    verify,
)

INSIDE = datetime(2024, 2, 27, 12, 43, tzinfo=UTC)  # when the real message was made
DOCUMENT = "\ufeff<Invoice>țuică</Invoice>\r\n".encode()

OCA = Path("OCA__l10n-romania")
PROD = OCA / "branch-15.0/l10n_ro_account_edi_ubl/tests/4186086961.zip"
TEST = OCA / "branch-16.0/l10n_ro_account_edi_ubl/tests"


@pytest.fixture(scope="module")
def real(corpus: Path) -> Package:
    return read_zip((corpus / PROD).read_bytes())


def judge(document: bytes, signature: bytes | None, at: datetime | None = INSIDE) -> Verdict:
    return verify(document, signature, pinned=PINNED, at=at)


def test_a_real_document_of_2024_is_valid(real: Package) -> None:
    verdict = judge(real.document, real.signature)
    assert (verdict.result, verdict.reason) == (SignatureResult.VALID, "ok")
    assert verdict.fingerprint in PINNED
    assert "Ministerul Finantelor Publice" in (verdict.subject or "")


def test_without_a_moment_the_validity_of_the_certificate_is_not_judged(real: Package) -> None:
    assert judge(real.document, real.signature, None).result is SignatureResult.VALID


@pytest.mark.parametrize(
    "at", [datetime(2023, 11, 22, 13, 38, 54, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)]
)
def test_a_certificate_that_was_not_valid_at_the_time_of_the_message_is_not_trusted(
    real: Package, at: datetime
) -> None:
    verdict = judge(real.document, real.signature, at)
    assert (verdict.result, verdict.reason) == (
        SignatureResult.VALID_UNKNOWN_CERTIFICATE,
        "certificate_not_valid_then",
    )
    assert "was not valid at the time" in verdict.sentence.en


def test_a_certificate_that_is_not_pinned_is_said_and_nothing_more(real: Package) -> None:
    verdict = verify(real.document, real.signature, pinned={}, at=INSIDE)
    assert verdict.result is SignatureResult.VALID_UNKNOWN_CERTIFICATE
    assert verdict.fingerprint in PINNED


def test_no_signature_is_absent(real: Package) -> None:
    for nothing in (None, b""):
        assert judge(real.document, nothing).result is SignatureResult.ABSENT


@pytest.mark.parametrize(
    ("name", "result", "reason"),
    [
        ("invoice.zip", SignatureResult.VALID_UNKNOWN_CERTIFICATE, "unknown_certificate"),
        ("5004879752.zip", SignatureResult.VALID_UNKNOWN_CERTIFICATE, "unknown_certificate"),
        # Neither is, canonically, the document that ANAF signed.
        ("5004552043.zip", SignatureResult.INVALID, None),
        ("3828.zip", SignatureResult.INVALID, None),
    ],
)
def test_the_enveloped_form_of_the_test_environment_is_recognised(
    corpus: Path, name: str, result: SignatureResult, reason: str | None
) -> None:
    package = read_zip((corpus / TEST / name).read_bytes())
    verdict = judge(package.document, package.signature)
    assert verdict.result is result
    assert reason is None or verdict.reason == reason
    assert "ANAF TEST" in (verdict.subject or "ANAF TEST")


def test_a_changed_amount_in_the_enveloped_form_is_refused(corpus: Path) -> None:
    package = read_zip((corpus / TEST / "invoice.zip").read_bytes())
    assert package.signature is not None
    changed = package.document.replace(b">380<", b">381<")
    assert judge(changed, package.signature).reason == "copy_differs"
    both = package.signature.replace(b">380<", b">381<")
    assert judge(changed, both).reason == "digest_mismatch"
    moved = package.signature.replace(b"<cbc:ID>", b"<cbc:ID>0", 1)
    assert judge(package.document, moved).result is SignatureResult.INVALID


# Our own signer, to forge with


def certificate_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str = "FALS"
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(17)
        .not_valid_before(INSIDE - timedelta(days=10))
        .not_valid_after(INSIDE + timedelta(days=10))
        .sign(key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def pinned(key: rsa.RSAPrivateKey) -> Mapping[str, PinnedCertificate]:
    fact = certificates.of(certificate_of(key))
    return {fact.fingerprint: fact}


def signed(
    key: rsa.RSAPrivateKey, document: bytes = DOCUMENT, certificate: x509.Certificate | None = None
) -> str:
    info = signed_info(hashlib.sha256(document).digest())
    value = key.sign(info, padding.PKCS1v15(), hashes.SHA1())
    der = (certificate or certificate_of(key)).public_bytes(serialization.Encoding.DER)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
        '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#">'
        f"{info.decode().replace(' xmlns=' + chr(34) + NS + chr(34), '', 1)}"
        f"<SignatureValue>{base64.encodebytes(value).decode()}</SignatureValue>"
        "<KeyInfo><X509Data><X509SubjectName>CN=FALS</X509SubjectName><X509Certificate>"
        f"{base64.encodebytes(der).decode()}</X509Certificate></X509Data></KeyInfo></Signature>"
    )


NS = "http://www.w3.org/2000/09/xmldsig#"


def test_our_signer_makes_what_the_verifier_accepts(
    key: rsa.RSAPrivateKey, pinned: Mapping[str, PinnedCertificate]
) -> None:
    verdict = verify(DOCUMENT, signed(key).encode(), pinned=pinned, at=INSIDE)
    assert verdict.result is SignatureResult.VALID


def replaced(old: str, new: str):  # type: ignore[no-untyped-def]
    def forge(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    forge.__name__ = old
    return forge


def _twice(name: str):  # type: ignore[no-untyped-def]
    def forge(text: str) -> str:
        match = re.search(rf"<{name}\b.*?</{name}>", text, re.S)
        assert match
        return text.replace(match[0], match[0] * 2, 1)

    return forge


FORGERIES = {
    "another digest": (
        lambda text: re.sub(
            r"(?<=<DigestValue>)[^<]+",
            base64.b64encode(hashlib.sha256(b"x").digest()).decode(),
            text,
        ),
        "digest_mismatch",
    ),
    "a comment in the digest": (replaced("<DigestValue>", "<DigestValue><!-- -->"), "shape"),
    "a digest that is not base64": (replaced("<DigestValue>", "<DigestValue>*"), "shape"),
    "a short digest": (
        lambda text: re.sub(r"(?<=<DigestValue>)[^<]+", "AAAA", text),
        "shape",
    ),
    "transforms": (
        replaced(
            '<Reference URI="">',
            '<Reference URI=""><Transforms><Transform Algorithm="http://www.w3.org/TR/1999/'
            'REC-xpath-19991116"><XPath>0</XPath></Transform></Transforms>',
        ),
        "shape",
    ),
    "a reference by id": (replaced('URI=""', 'URI="#a"'), "shape"),
    "no URI": (replaced(' URI=""', ""), "shape"),
    "two references": (_twice("Reference"), "shape"),
    "two SignedInfo": (_twice("SignedInfo"), "shape"),
    "two values": (_twice("SignatureValue"), "shape"),
    "two certificates": (_twice("X509Certificate"), "shape"),
    "HMAC": (replaced("#rsa-sha1", "#hmac-sha1"), "algorithm"),
    "RSA-SHA256 in the detached form": (
        replaced(
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        ),
        "algorithm",
    ),
    "a SHA-1 digest": (
        replaced(
            "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"
        ),
        "algorithm",
    ),
    "another canonicalisation": (
        replaced(
            "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
            "http://www.w3.org/2001/10/xml-exc-c14n#",
        ),
        "algorithm",
    ),
    "an algorithm with a parameter": (
        replaced("</SignatureMethod>", "<HMACOutputLength>1</HMACOutputLength></SignatureMethod>"),
        "shape",
    ),
    "an object": (replaced("</KeyInfo>", "</KeyInfo><Object>x</Object>"), "shape"),
    "loose text": (replaced("<KeyInfo>", "x<KeyInfo>"), "shape"),
    "a key beside the certificate": (
        replaced("<KeyInfo>", "<KeyInfo><KeyName>k</KeyName>"),
        "shape",
    ),
    "an id on the root": (replaced("<Signature ", '<Signature Id="a" '), "shape"),
    "another namespace": (
        replaced(f'<Signature xmlns="{NS}">', '<Signature xmlns="urn:x">'),
        "shape",
    ),
    "one more namespace": (replaced("<Signature ", '<Signature xmlns:x="urn:x" '), "shape"),
    "wrapped in another root": (
        lambda text: "<a>" + text.split("?>", 1)[1] + "</a>",
        "algorithm",
    ),
    "wrapped deeper": (lambda text: "<a><b>" + text.split("?>", 1)[1] + "</b></a>", "shape"),
    "a DTD": (
        lambda text: text.replace("?>", '?><!DOCTYPE a [<!ENTITY e "x">]>', 1),
        "signature_not_xml",
    ),
    "cut in the middle": (lambda text: text[:700], "signature_not_xml"),
    "a certificate of noise": (
        lambda text: re.sub(r"(?<=<X509Certificate>)[^<]+", "AAAA", text),
        "bad_certificate",
    ),
    "a value of noise": (
        lambda text: re.sub(
            r"(?<=<SignatureValue>)[^<]+", base64.b64encode(bytes(256)).decode(), text
        ),
        "signature_mismatch",
    ),
    "an empty value": (
        lambda text: re.sub(r"(?<=<SignatureValue>)[^<]+", "", text),
        "signature_mismatch",
    ),
    "padded to a megabyte": (replaced("<KeyInfo>", " " * 1_000_000 + "<KeyInfo>"), "too_large"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_signature_is_refused_with_its_reason(
    key: rsa.RSAPrivateKey, pinned: Mapping[str, PinnedCertificate], name: str
) -> None:
    forge, reason = FORGERIES[name]
    verdict = verify(DOCUMENT, forge(signed(key)).encode(), pinned=pinned, at=INSIDE)
    assert (verdict.result, verdict.reason) == (SignatureResult.INVALID, reason)
    assert verdict.sentence == sentence_for(SignatureResult.INVALID, reason)


@pytest.mark.parametrize(
    "changed",
    [
        DOCUMENT[3:],  # without its byte order mark
        DOCUMENT.replace(b"\r\n", b"\n"),
        DOCUMENT + b" ",
        DOCUMENT.replace("ț".encode(), "ţ".encode()),
        b"",
    ],
)
def test_a_document_that_differs_in_one_byte_is_refused(
    key: rsa.RSAPrivateKey, pinned: Mapping[str, PinnedCertificate], changed: bytes
) -> None:
    verdict = verify(changed, signed(key).encode(), pinned=pinned, at=INSIDE)
    assert verdict.reason == "digest_mismatch"


def test_a_stranger_who_names_the_ministry_is_not_the_ministry(
    key: rsa.RSAPrivateKey, real: Package
) -> None:
    look_alike = certificate_of(key, "Ministerul Finantelor Publice")
    verdict = judge(DOCUMENT, signed(key, certificate=look_alike).encode())
    assert verdict.result is SignatureResult.VALID_UNKNOWN_CERTIFICATE
    # the real certificate beside a stranger's signature
    text = (real.signature or b"").decode()
    match = re.search(r"<X509Certificate>.*</X509Certificate>", text, re.S)
    assert match
    forged = re.sub(
        r"<X509Certificate>.*</X509Certificate>", lambda _: match[0], signed(key), flags=re.S
    )
    verdict = judge(DOCUMENT, forged.encode())
    assert (verdict.result, verdict.reason) == (SignatureResult.INVALID, "signature_mismatch")


def test_the_signature_of_another_document_is_refused(real: Package) -> None:
    assert judge(DOCUMENT, real.signature).reason == "digest_mismatch"


def test_weak_and_other_keys_are_refused(real: Package) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    assert judge(DOCUMENT, signed(weak).encode()).reason == "weak_key"
    curve = certificate_of(ec.generate_private_key(ec.SECP256R1()))
    strong = rsa.generate_private_key(65537, 2048)
    assert judge(DOCUMENT, signed(strong, certificate=curve).encode()).reason == "weak_key"


def test_no_damage_to_a_real_signature_is_ever_valid(real: Package) -> None:
    """Every 7th byte flipped. Nothing but the stated subject and the blanks is unsigned."""
    whole = real.signature or b""
    subject = range(whole.index(b"<X509SubjectName>"), whole.index(b"<X509Certificate>"))
    head = range(whole.index(b"<Signature "))
    results = set()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x03
        verdict = judge(real.document, bytes(damaged))
        results.add(verdict.result)
        if verdict.result is SignatureResult.VALID:
            blank = whole[position : position + 1].isspace()
            assert position in subject or position in head or blank
    assert SignatureResult.INVALID in results


def test_every_result_has_a_sentence() -> None:
    for result in SignatureResult:
        assert sentence_for(result, "anything").ro.endswith(".")
