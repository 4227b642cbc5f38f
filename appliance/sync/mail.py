"""The job `mail`: hand one mail of the outbox to the firm's mail server.

The message is the same whenever it is built (its Message-ID is the mail's uid,
its date when it was put in the outbox): after a crash between the server's yes
and our note of it a second copy can be recognised. A server that says 5xx to
the recipient or the message ends the mail; everything else is tried again. No
password leaves before the server's certificate is verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import smtplib
import socket
import ssl
import stat
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from pathlib import Path

from appliance.config import Settings
from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.store import clients, jobs, mails
from appliance.store.engine import transaction
from appliance.store.jobs import Job
from appliance.store.mails import Mail, MailState
from appliance.sync.context import Context

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10
# A server may look at a message for long before it takes it.
_ANSWER_SECONDS = 60
_CREDENTIAL = "mail-password"
_LONGEST_PASSWORD = 1024
# What a server says to whoever has not logged in, or wrongly: not the recipient's fault.
_LOG_IN_FIRST = (530, 534, 535, 538)


class MailWaits(ArhivarError):
    """The mail server is away or does not want us now; the mail stays in the outbox."""


class MailRefused(ArhivarError):
    """The mail server will never take this mail."""


async def send_mail(job: Job, context: Context, at: datetime) -> None:
    """Send the mail unless it is settled; raises `MailWaits` when it has to be tried again."""
    mail = await mails.get(job.object_uid)
    if mail is None or mail.state is not MailState.QUEUED:
        return
    settings = context.settings
    if not settings.mail_host:
        raise MailWaits(NO_HOST)
    firm = await clients.firm()
    problem = None
    try:
        message = compose(mail, settings.mail_from, firm.name if firm else "")
        await _hand_over(message, settings)
        logger.info("mail %s sent", mail.uid)
    except MailRefused as refused:
        problem = refused.sentence
        logger.error("mail %s refused: %s", mail.uid, problem)
    async with transaction():
        state = MailState.REFUSED if problem else MailState.SENT
        await mails.settle(mail.uid, state, at, problem)
        await jobs.finish(job.id, at)


def compose(mail: Mail, sender: str, firm: str) -> EmailMessage:
    """Return the message: the same for the same mail, always. `MailRefused` for no address."""
    message = EmailMessage(policy=POLICY)
    message["From"] = Address(" ".join(firm.split()) or "Arhivar", addr_spec=sender)
    try:
        message["To"] = Address(addr_spec=mail.recipient)
    except (ValueError, IndexError, MessageError) as error:
        raise MailRefused(_NO_ADDRESS) from error
    message["Subject"] = mail.subject
    message["Date"] = mail.created_at
    message["Message-ID"] = f"<{mail.uid}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Content-Language"] = mail.language
    # Not as it is: a server need not know 8BITMIME.
    message.set_content(mail.text, charset="utf-8", cte="quoted-printable")
    return message


async def _hand_over(message: EmailMessage, settings: Settings) -> None:
    delivery = _Delivery(message, settings)
    try:
        await asyncio.to_thread(delivery.run)
    except asyncio.CancelledError:
        delivery.abort()
        raise


class _Delivery:
    """One conversation with the mail server, for a thread of its own."""

    def __init__(self, message: EmailMessage, settings: Settings) -> None:
        self._message = message
        self._settings = settings
        self._socket: socket.socket | None = None

    def abort(self) -> None:
        """Break off from another thread: whatever waits for the server waits no more."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Return when the server has taken the message."""
        try:
            smtp = self._connected()
            try:
                if self._settings.mail_user:
                    self._log_in(smtp)
                self._send(smtp)
                # It has been taken, whatever becomes of the farewell.
                with contextlib.suppress(OSError):
                    smtp.quit()
            finally:
                smtp.close()
        except ssl.SSLError as error:
            raise MailWaits(_no_certificate(error)) from error
        except smtplib.SMTPResponseException as error:
            raise MailWaits(_said(error.smtp_code, error.smtp_error)) from error
        except OSError as error:
            raise MailWaits(_AWAY) from error

    def _connected(self) -> smtplib.SMTP:
        host, port = self._settings.mail_host, self._settings.mail_port
        tls = ssl.create_default_context()
        smtp: smtplib.SMTP
        if self._settings.mail_security == "tls":
            smtp = smtplib.SMTP_SSL(host, port, timeout=_CONNECT_SECONDS, context=tls)
        else:
            smtp = smtplib.SMTP(host, port, timeout=_CONNECT_SECONDS)
        try:
            self._hold(smtp)
            if self._settings.mail_security == "starttls":
                smtp.ehlo()
                if not smtp.has_extn("starttls"):
                    raise MailWaits(_NO_STARTTLS)
                smtp.starttls(context=tls)
                self._hold(smtp)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _hold(self, smtp: smtplib.SMTP) -> None:
        assert smtp.sock is not None
        smtp.sock.settimeout(_ANSWER_SECONDS)
        self._socket = smtp.sock

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        password = _password(self._settings)
        try:
            smtp.login(self._settings.mail_user, password)
        except smtplib.SMTPAuthenticationError:
            # Not from it: what the server answered is no business of a log.
            raise MailWaits(_NOT_KNOWN) from None
        except smtplib.SMTPException as error:
            if type(error) not in (smtplib.SMTPException, smtplib.SMTPNotSupportedError):
                raise
            raise MailWaits(_NO_LOG_IN) from error

    def _send(self, smtp: smtplib.SMTP) -> None:
        try:
            smtp.send_message(self._message)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, said),) = error.recipients.values()
            if 500 <= code <= 599 and code not in _LOG_IN_FIRST:
                raise MailRefused(_said(code, said)) from error
            raise MailWaits(_said(code, said)) from error
        except smtplib.SMTPDataError as error:
            if 500 <= error.smtp_code <= 599:
                raise MailRefused(_said(error.smtp_code, error.smtp_error)) from error
            raise
        except smtplib.SMTPNotSupportedError as error:
            raise MailRefused(_NO_SUCH_ADDRESS) from error


def _password(settings: Settings) -> str:
    """Return the password; it is read for each mail, so that a new one needs no restart."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if settings.mail_password_file is not None:
        path, ours = settings.mail_password_file, True
    elif directory:
        path, ours = Path(directory) / _CREDENTIAL, False
    else:
        raise MailWaits(_NO_PASSWORD)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            # systemd chooses the mode of a credential itself.
            if not stat.S_ISREG(found.st_mode) or (ours and found.st_mode & 0o077):
                raise MailWaits(_OPEN_PASSWORD)
            password = file.read(_LONGEST_PASSWORD).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MailWaits(_NO_PASSWORD) from error
    if not password or not password.isascii():
        raise MailWaits(_NO_PASSWORD)
    return password


def _said(code: int, answer: bytes | str) -> Sentence:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
    return Sentence(
        f"Serverul de e-mail a răspuns: „{code} {text}”.", f"the mail server said: {code} {text!r}"
    )


def _no_certificate(error: ssl.SSLError) -> Sentence:
    why = str(getattr(error, "verify_message", "") or error.reason or "TLS")[:200]
    return Sentence(
        f"Legătura criptată cu serverul de e-mail nu este de încredere ({why}); nu s-a trimis "
        "nimic. Administratorul verifică mail.host și certificatul serverului.",
        f"the encrypted connection to the mail server cannot be trusted ({why}); nothing was "
        "sent; the administrator checks mail.host and the server's certificate",
    )


NO_HOST = Sentence(
    "mail.host nu este configurat; mesajele așteaptă până când administratorul îl completează.",
    "mail.host is not configured; mails wait until the administrator sets it",
)
_AWAY = Sentence(
    "Serverul de e-mail nu răspunde. Încercăm din nou singuri.",
    "the mail server does not answer; it is tried again without you",
)
_NOT_KNOWN = Sentence(
    "Serverul de e-mail nu acceptă utilizatorul sau parola. Administratorul verifică mail.user și "
    "parola.",
    "the mail server does not accept user or password; the administrator checks mail.user and the "
    "password",
)
_NO_LOG_IN = Sentence(
    "Serverul de e-mail nu oferă autentificare pe această legătură. Administratorul verifică "
    "mail.security și mail.port.",
    "the mail server offers no log-in on this connection; the administrator checks mail.security "
    "and mail.port",
)
_NO_STARTTLS = Sentence(
    "Serverul de e-mail nu oferă STARTTLS, iar necriptat nu se trimite. Administratorul verifică "
    "mail.security și mail.port.",
    "the mail server offers no STARTTLS, and nothing is sent unencrypted; the administrator "
    "checks mail.security and mail.port",
)
_NO_ADDRESS = Sentence(
    "Adresa nu este una la care se poate trimite. Corecteaz-o.",
    "the address is none that can be sent to; correct it",
)
_NO_SUCH_ADDRESS = Sentence(
    "Serverul de e-mail nu poate trimite la adrese cu diacritice.",
    "the mail server cannot send to addresses that are not ASCII",
)
_NO_PASSWORD = Sentence(
    "Parola serverului de e-mail nu poate fi citită sau are diacritice. Administratorul verifică "
    "mail.password_file.",
    "the mail server's password cannot be read or is not ASCII; the administrator checks "
    "mail.password_file",
)
_OPEN_PASSWORD = Sentence(
    "Fișierul cu parola serverului de e-mail poate fi citit și de alții. Administratorul îi dă "
    "modul 0600.",
    "others can read the file with the mail server's password; the administrator gives it the "
    "mode 0600",
)
