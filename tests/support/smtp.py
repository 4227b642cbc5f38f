"""A real mail server: it keeps what it takes, and answers as a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cache
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from appliance.config import Settings

USER, PASSWORD = "arhivar@tismana.example", "canary-mail-password-7731"


@dataclass
class MailServer:
    """The messages that it took, and what it answers next: by RCPT address, or to any DATA."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    refuse: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refuse_data: list[str] = field(default_factory=list)
    silent: bool = False  # it says nothing to DATA, for ever
    waited_for: threading.Event = field(default_factory=threading.Event)

    def settings(self, settings: Settings, **options: Any) -> Settings:
        """Return the settings of an installation that uses this server."""
        known = {"mail_host": "localhost", "mail_port": self.port, "mail_security": "none"}
        return replace(settings, **{**known, "mail_from": "arhivar@tismana.example", **options})

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse[address]:
            return self.refuse[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.silent:
            self.waited_for.set()
            await asyncio.Event().wait()
        if self.refuse_data:
            return self.refuse_data.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None or isinstance(server, _Encrypted))
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False)
        self.users.append(data.login.decode())
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=right)


class _Encrypted(SMTP):
    """A server that is spoken to under TLS from the first byte."""


class _Controller(Controller):
    def factory(self) -> SMTP:
        kind = _Encrypted if self.ssl_context is not None else SMTP
        return kind(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # it was asked for any
        super()._trigger_server()


@contextmanager
def mail_server(
    security: str = "none", *, log_in: bool = False, port: int = 0, directory: Path | None = None
) -> Iterator[MailServer]:
    """Serve at a port of this machine. With TLS the certificate is `certificate(directory)`."""
    server = MailServer()
    options: dict[str, Any] = {}
    context = None
    if directory is not None and security != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(directory))
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if log_in:
        options |= {
            "authenticator": server.authenticate,
            "auth_required": True,
            # What is under TLS from the first byte the library does not see.
            "auth_require_tls": security == "starttls",
        }
    controller = _Controller(
        server,
        hostname="127.0.0.1",
        port=port,
        ssl_context=context if security == "tls" else None,
        **options,
    )
    controller.start()
    try:
        server.port = controller.port
        yield server
    finally:
        controller.stop()


def certificate(directory: Path) -> Path:
    """Return a PEM file with a key and the certificate of localhost, which is its own root."""
    path = directory / "localhost.pem"
    path.write_bytes(_pem())
    return path


@cache
def _pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)
