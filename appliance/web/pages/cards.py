"""A document as a card or a row: the values of the store in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from appliance.core import money, signature
from appliance.core.lifecycle import Action, allowed_actions
from appliance.core.roles import Status, Viewer
from appliance.core.times import BUCHAREST
from appliance.store.documents import DocumentRow, Why
from appliance.store.duplicates import Duplicates
from appliance.web import i18n
from appliance.web.render import translate

KNOWN_WARNINGS = frozenset({"cif_not_ours", "check_digit", "zip_has_more"})
# The steps whose reason is shown where they led to.
_EXPLAINED = frozenset({Action.REJECT, Action.RETURN, Action.REOPEN})


@dataclass(frozen=True)
class Flag:
    """A word of caution with its colour and sign."""

    text: str
    icon: str
    style: str


@dataclass(frozen=True)
class Card:
    """What a list or a page shows of one document."""

    uid: str
    status: str
    revision: int
    partner: str
    total: str
    summary: str
    kind_label: str
    number: str
    issued: str
    due: str
    period: str
    flags: tuple[Flag, ...]
    warnings: tuple[Flag, ...]
    actions: frozenset[str]
    why: str  # somebody gave a reason for bringing it here
    folder_name: str

    @property
    def what(self) -> str:
        """Name the document in a sentence."""
        named = ", ".join(filter(None, (self.partner, self.total)))
        return named or self.number or self.folder_name


def card_of(
    row: DocumentRow,
    viewer: Viewer,
    at: datetime,
    why: Why | None = None,
    twins: Duplicates | None = None,
) -> Card:
    """Return the document for this person's eyes."""
    language = viewer.language
    today = at.astimezone(BUCHAREST).date()
    total = ""
    if row.signed_minor is not None and row.currency:
        total = money.format_amount(row.signed_minor, row.currency, language)
    return Card(
        uid=row.uid,
        status=row.status.value,
        revision=row.revision,
        partner=row.partner_name or "",
        total=total,
        summary=row.summary or "",
        kind_label=_kind_label(row, language),
        number=row.number or "",
        issued=i18n.day(row.issue_date, language),
        due=i18n.day(row.due_date, language) if row.due_date and row.due_date >= today else "",
        period=i18n.month(row.period, language) if row.period else "",
        flags=_flags(row, language, today, twins),
        warnings=_warnings(row.warnings, language),
        actions=frozenset(action.value for action in allowed_actions(row.facts, viewer)),
        why=_why(why, language),
        folder_name=row.folder_name,
    )


def _why(why: Why | None, language: str) -> str:
    if why is None or why.action not in _EXPLAINED:
        return ""
    if why.actor_name is None:
        return why.reason
    return translate(language, f"why.{why.action}", who=why.actor_name, reason=why.reason)


def signature_flag(row: DocumentRow, language: str) -> Flag:
    """Return the result of the signature with its colour."""
    icon, style = {
        signature.SignatureResult.VALID.value: ("shield-check", "good"),
        signature.SignatureResult.INVALID.value: ("shield-exclamation", "bad"),
    }.get(row.signature_result, ("shield-exclamation", "warn"))
    return Flag(translate(language, f"signature.{row.signature_result}"), icon, style)


def signature_sentence(row: DocumentRow, language: str) -> str:
    """Return the result of the signature in words."""
    result = signature.SignatureResult(row.signature_result)
    text = signature.sentence_for(result, row.signature_reason).in_language(language)
    return text[:1].upper() + text[1:]


def _kind_label(row: DocumentRow, language: str) -> str:
    if row.type in ("invoice", "credit_note"):
        return translate(language, f"kind.{row.kind.value}.{row.type}")
    known = row.type if row.type in ("supporting", "unreadable") else "document"
    return translate(language, f"kind.{known}")


def _flags(
    row: DocumentRow, language: str, today: date, twins: Duplicates | None
) -> tuple[Flag, ...]:
    flags = []
    if twins:
        flags.append(Flag(translate(language, "flag.duplicate"), "exclamation-triangle", "warn"))
    if row.warnings or row.problem:
        flags.append(Flag(translate(language, "flag.warning"), "exclamation-triangle", "warn"))
    if row.signature_result == "invalid":
        flags.append(Flag(translate(language, "flag.signature"), "shield-exclamation", "bad"))
    if row.status is Status.PENDING and row.due_date is not None and row.due_date < today:
        overdue = translate(language, "flag.overdue", date=i18n.day(row.due_date, language))
        flags.append(Flag(overdue, "clock", "warn"))
    if row.status is Status.APPROVED and row.taken_at is not None:
        flags.append(Flag(translate(language, "flag.taken"), "hand-raised", "archived"))
    return tuple(flags)


def _warnings(codes: Sequence[str], language: str) -> tuple[Flag, ...]:
    """Return a sentence for each warning; what the reader noticed is told by the invoice itself."""
    keys = [f"warning.{code}" if code in KNOWN_WARNINGS else "warning.other" for code in codes]
    return tuple(
        Flag(translate(language, key), "exclamation-triangle", "warn")
        for key in dict.fromkeys(keys)
    )
