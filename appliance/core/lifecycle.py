"""Which step may follow which in the life of a document, and who may take it.

Everything that decides a status lives in this file, and nothing here touches
the database, the disk or the clock: `store.documents.act()` asks `decide()`
and records the answer. Adding a step means adding a row to `TRANSITIONS`.

             ┌────────── reconsider ──────────┐
             ▼                                │
  (SPV) → pending ── reject(reason) ──► rejected
  (upload)   │  ▲
     approve │  │ withdraw (client, until taken) / return(reason) (accountant)
             ▼  │
          approved ── record(period) ──► archived ── reopen(reason) (accountant) ──► approved
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.core.errors import BadInput, NotAllowed, TransitionRefused
from appliance.core.roles import FIRM_ROLES, DocumentFacts, Role, Status, Viewer
from appliance.core.sentence import Sentence


class Action(StrEnum):
    """What a person (or a rule, for `approve` alone) does with a document."""

    APPROVE = "approve"
    REJECT = "reject"
    RECONSIDER = "reconsider"
    WITHDRAW = "withdraw"
    RETURN = "return"
    RECORD = "record"
    REOPEN = "reopen"


@dataclass(frozen=True)
class Transition:
    """One row of the table: where the step leads and who may take it."""

    to: Status
    roles: frozenset[Role]
    needs_reason: bool = False
    only_until_taken: bool = False
    limited: bool = False  # the membership's approval limit applies


_DECIDERS = frozenset({Role.OWNER, Role.APPROVER})
_ACCOUNTANTS = frozenset({Role.ACCOUNTANT})

TRANSITIONS: Mapping[tuple[Status, Action], Transition] = {
    (Status.PENDING, Action.APPROVE): Transition(Status.APPROVED, _DECIDERS, limited=True),
    (Status.PENDING, Action.REJECT): Transition(Status.REJECTED, _DECIDERS, needs_reason=True),
    (Status.REJECTED, Action.RECONSIDER): Transition(Status.PENDING, _DECIDERS),
    (Status.APPROVED, Action.WITHDRAW): Transition(
        Status.PENDING, _DECIDERS, only_until_taken=True
    ),
    (Status.APPROVED, Action.RETURN): Transition(Status.PENDING, _ACCOUNTANTS, needs_reason=True),
    (Status.APPROVED, Action.RECORD): Transition(Status.ARCHIVED, _ACCOUNTANTS),
    (Status.ARCHIVED, Action.REOPEN): Transition(Status.APPROVED, _ACCOUNTANTS, needs_reason=True),
}


# What a person may hand in old documents as, chosen once for a whole import. The client's
# people may bring their own yes along. The firm's may not give it for them: they bring what
# they have recorded in their own books already (`archived`), or ask the client (`pending`).
IMPORTS: Mapping[Status, frozenset[Role]] = {
    Status.PENDING: _DECIDERS | FIRM_ROLES,
    Status.APPROVED: _DECIDERS,
    Status.ARCHIVED: FIRM_ROLES,
}


def import_choices(viewer: Viewer, client_id: int) -> tuple[Status, ...]:
    """Return what this person may import documents of this client as, in the table's order."""
    roles = viewer.roles_at(client_id)
    return tuple(status for status, who in IMPORTS.items() if roles & who)


def imported_as(chosen: Status, document: DocumentFacts, viewer: Viewer | None) -> Status:
    """Return the status that one document of an import gets: the chosen one, or pending.

    Approving by import reaches as far as approving one by one: a document outside the
    person's scope or over their limit waits for somebody who may. Without a person it is
    the command line, whose choice stands: who holds it holds everything.
    """
    if chosen is not Status.APPROVED or viewer is None:
        return chosen
    may = viewer.acting_roles(document) & IMPORTS[Status.APPROVED]
    return chosen if may and not _over_limit(document, viewer) else Status.PENDING


def transition(status: Status, action: Action) -> Transition:
    """Return the row for this step, or raise `TransitionRefused`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise TransitionRefused(
            Sentence(
                f"Documentul este {_STATUS_RO[status]}: acțiunea „{_ACTION_RO[action]}” "
                "nu se poate face acum. Reîncarcă pagina.",
                f"cannot {action} a document that is {status}; reload to see where it is",
            )
        ) from None


def decide(
    action: Action, document: DocumentFacts, viewer: Viewer, *, reason: str | None
) -> Status:
    """Return the status that the step leads to when this person may take it.

    Raises `TransitionRefused` when the table has no such step, `NotAllowed`
    when the person's roles, scope or limit do not reach, `BadInput` when the
    reason that the step asks for is missing. That the person may *see* the
    document at all is the caller's to check first (`Viewer.may_see`).
    """
    row = transition(document.status, action)
    if not viewer.acting_roles(document) & row.roles:
        ro, en = (
            ("contabilului", "accountant")
            if row.roles == _ACCOUNTANTS
            else ("titularului", "owner")
        )
        raise NotAllowed(
            Sentence(
                f"Rolul tău nu permite acțiunea „{_ACTION_RO[action]}”. Cere-i {ro}.",
                f"your role does not allow to {action}; ask the {en}",
            )
        )
    if row.only_until_taken and document.taken:
        raise NotAllowed(
            Sentence(
                "Contabilul a preluat deja documentul. Cere-i contabilului să îl returneze.",
                "the accountant has already taken the document; ask for it to be returned",
            )
        )
    if row.limited and _over_limit(document, viewer):
        raise NotAllowed(
            Sentence(
                "Suma depășește limita ta de aprobare. Îl poate aproba titularul contului.",
                "the amount is over your approval limit; the owner can approve it",
            )
        )
    if row.needs_reason and not (reason or "").strip():
        raise BadInput(
            Sentence(
                f"Pentru acțiunea „{_ACTION_RO[action]}” este nevoie de un motiv. Scrie motivul.",
                f"a reason is needed to {action} a document; give one",
            )
        )
    return row.to


def allowed_actions(document: DocumentFacts, viewer: Viewer) -> frozenset[Action]:
    """Return what a page may offer this person; `decide()` still has the last word."""
    roles = viewer.acting_roles(document)
    return frozenset(
        action
        for (status, action), row in TRANSITIONS.items()
        if status is document.status
        and roles & row.roles
        and not (row.only_until_taken and document.taken)
        and not (row.limited and _over_limit(document, viewer))
    )


def _over_limit(document: DocumentFacts, viewer: Viewer) -> bool:
    membership = viewer.memberships.get(document.client_id)
    limit = membership.scope.approval_limit_minor if membership else None
    if limit is None:
        return False
    return document.ron_minor is None or abs(document.ron_minor) > limit


_STATUS_RO = {
    Status.PENDING: "de aprobat",
    Status.APPROVED: "aprobat",
    Status.REJECTED: "respins",
    Status.ARCHIVED: "înregistrat",
}
_ACTION_RO = {
    Action.APPROVE: "aprobă",
    Action.REJECT: "respinge",
    Action.RECONSIDER: "reanalizează",
    Action.WITHDRAW: "retrage aprobarea",
    Action.RETURN: "returnează",
    Action.RECORD: "înregistrează",
    Action.REOPEN: "redeschide",
}
