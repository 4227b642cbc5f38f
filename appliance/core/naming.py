"""Names of folders and files: short, ASCII, and safe on the Windows drive they are mounted as.

The bounds (40 for a client, 60 for a document and for an attachment) keep
every path of the drive under 200 characters, far from Explorer's 260.
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import date

from anyascii import anyascii

from appliance.core.cif import scheme

CLIENT_LENGTH = 40
NAME_LENGTH = 60
_PARTNER_AT_LEAST = 12
_LABEL_LENGTH = 24

# Legal forms tell no two partners apart; dotted spellings come undotted here.
_LEGAL_FORMS = frozenset(["SC", "SA", "SRL", "SRLD", "SNC", "SCS", "SCA", "PFA", "PFI", "II", "IF"])
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {f"{port}{n}" for port in ("COM", "LPT") for n in range(10)}
)
# Explorer obeys these wherever they lie.
_OBEYED = frozenset({"desktop.ini", "thumbs.db", "autorun.inf", "folder.htt"})
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9]+")
_NOT_A_NUMBER_CHARACTER = re.compile(r"[^A-Za-z0-9.-]+")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9 ()+,;=@#$%&'!{}\[\]._-]+")


def standard_name(
    issue_date: date | None, partner: str, number: str, uid: str, received: date
) -> str:
    """Return `2026-11-03_ENEL-ENERGIE_EFI-1203`, the name that a document and its files bear.

    Without a date, a partner or a number that leaves a letter or digit the
    name is `AAAA-LL-ZZ_Document_<uid6>` with the day of receipt where there is
    no date of issue. At most 60 characters, ASCII; the partner is cut before
    the number is, since the number is what people search for. Two documents
    may get the same name: `free_name()` tells them apart.
    """
    day = (issue_date or received).isoformat()
    who, what = _partner_word(partner), _number_word(number)
    if issue_date is None or not who or not what:
        return f"{day}_Document_{_NOT_A_WORD.sub('', uid)[-6:]}"
    room = NAME_LENGTH - len(day) - 2
    who = who[: max(_PARTNER_AT_LEAST, room - len(what))].rstrip("-")
    what = what[: room - len(who)].rstrip("-.")
    return f"{day}_{who}_{what}"


def notice_name(received: date, label: str, upload_id: str) -> str:
    """Return `2026-11-03_Eroare-ANAF_4186086961` for a notice filed under Altele."""
    words = [_NOT_A_WORD.sub("-", anyascii(label)).strip("-")[:_LABEL_LENGTH].rstrip("-")]
    words.append(_NOT_A_WORD.sub("-", anyascii(upload_id)).strip("-")[:20].rstrip("-"))
    return "_".join([received.isoformat(), *filter(None, words)])


def attachment_name(filename: str, position: int) -> str:
    """Return the sender's file name made safe, its extension kept; `anexa-<position>` for none."""
    base = re.split(r"[/\\]", filename)[-1]
    stem, dot, extension = _plain(base).rpartition(".")
    if not dot:
        stem, extension = extension, ""
    extension = _NOT_A_WORD.sub("", extension)[:10]
    stem = stem.strip(" .") or f"anexa-{position}"
    suffix = f".{extension}" if extension else ""
    return _whole(stem, suffix, NAME_LENGTH)


def client_folder_name(name: str, cif: str) -> str:
    """Return `Alfa Construct SRL (12345678)`, at most 40 characters; the CIF is never cut.

    A CNP is left out: it is a person's, and everybody on the drive reads the name.
    """
    shown = "" if scheme(cif) == "cnp" else cif
    suffix = f" ({_NOT_A_WORD.sub('', shown)[:16]})" if shown else ""
    return _whole(_plain(name).lstrip(" .") or "Client", suffix, CLIENT_LENGTH)


def free_name(name: str, taken: Container[str], length: int = NAME_LENGTH) -> str:
    """Return the name, or with `~2`, `~3`… the first whose casefold is not in `taken`.

    `taken` holds casefolded names. The result is at most `length` characters
    long, unless the name itself is longer. For a folder; a file keeps its
    extension with `free_file_name()`.
    """
    return _free(name, "", taken, length)


def free_file_name(name: str, taken: Container[str]) -> str:
    """Return the file name, or the first free of `contract~2.pdf`, `contract~3.pdf`…"""
    stem, dot, extension = name.rpartition(".")
    return _free(stem, dot + extension, taken, NAME_LENGTH) if stem else free_name(name, taken)


def _free(stem: str, extension: str, taken: Container[str], length: int) -> str:
    length = max(length, len(stem) + len(extension))
    candidate, count = stem + extension, 1
    while candidate.casefold() in taken:
        count += 1
        suffix = f"~{count}{extension}"
        candidate = f"{stem[: length - len(suffix)].rstrip(' .')}{suffix}"
    return candidate


def _partner_word(partner: str) -> str:
    words = _NOT_A_WORD.sub(" ", _undotted(anyascii(partner))).upper().split()
    telling = [word for word in words if word not in _LEGAL_FORMS]
    return "-".join(telling or words)


def _undotted(text: str) -> str:
    """Return S.R.L. as SRL, so that it is one word; `dr. Pop` stays two."""
    return re.sub(r"\b([A-Za-z])\.\s?(?=[A-Za-z]\b)", r"\1", text)


def _number_word(number: str) -> str:
    word = _NOT_A_NUMBER_CHARACTER.sub("-", anyascii(number))
    return re.sub(r"-{2,}", "-", word).strip("-.")


def _plain(text: str) -> str:
    """Return ASCII that Windows takes, blanks single; ends and device names are left to check."""
    safe = _FORBIDDEN.sub("-", re.sub(r"\s+", " ", anyascii(text)))
    return safe.strip()


def _whole(stem: str, suffix: str, length: int) -> str:
    stem = stem[: length - len(suffix)].rstrip(" " if suffix else " .")
    # Windows reserves a device's name with any extension: NUL.txt is NUL.
    device = stem.partition(".")[0].strip().upper() in _DEVICES
    if device or f"{stem}{suffix}".lower() in _OBEYED:
        stem = f"_{stem}"[: length - len(suffix)]
    return f"{stem}{suffix}"
