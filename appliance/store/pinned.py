"""Which signing certificates are trusted here: those shipped, and those that a person added."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from appliance.core import certificates
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.core.times import from_text


def pinned_certificates(
    directory: Path | None, files: Sequence[Path] = ()
) -> Mapping[str, PinnedCertificate]:
    """Return the trusted certificates by fingerprint: shipped, `directory/*.pem`, `files`.

    Raises `BadInput`, which names the file, for one that cannot be read or is
    no certificate: to go on without it would call good signatures unknown.
    """
    added = sorted(directory.glob("*.pem")) if directory is not None else []
    pinned = dict(certificates.PINNED)
    for path in (*added, *files):
        try:
            certificate = certificates.from_pem(path.read_bytes())
        except OSError as error:
            raise BadInput(
                Sentence(
                    f"Certificatul {path} nu poate fi citit ({error.strerror}). Verifică fișierul.",
                    f"the certificate {path} cannot be read ({error.strerror}); check the file",
                )
            ) from None
        except BadInput:
            raise BadInput(
                Sentence(
                    f"{path} nu conține un certificat X.509. Dă certificatul în format PEM.",
                    f"{path} holds no X.509 certificate; give the certificate as PEM",
                )
            ) from None
        pinned[certificate.fingerprint] = certificate
    return pinned


def added_certificates(database: Path) -> Mapping[str, PinnedCertificate]:
    """Return what administrators added, for a command that needs no database.

    Of one that is not there, not ours to read or not at this program's version: none.
    """
    if not os.access(database, os.R_OK):
        return {}
    # Not above: it brings the whole store along, which `inspect` of bare files does not need.
    from appliance.store.audit import read_only

    with suppress(sqlite3.Error), closing(read_only(database)) as connection:
        rows = connection.execute(
            "SELECT fingerprint, subject, not_before, not_after FROM certificate"
        ).fetchall()
        return {
            fingerprint: PinnedCertificate(
                fingerprint, subject, from_text(not_before), from_text(not_after)
            )
            for fingerprint, subject, not_before, not_after in rows
        }
    return {}
