"""The life of a document, written out: every step, every role, and what stands in the way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from appliance.core.errors import BadInput, NotAllowed, TransitionRefused
from appliance.core.lifecycle import TRANSITIONS, Action, allowed_actions, decide
from appliance.core.roles import (
    CLIENT_ROLES,
    DocumentFacts,
    Kind,
    Membership,
    Role,
    Scope,
    Status,
    Viewer,
)

ALFA = 1
# The table of docs/architecture.md once more: (from, step): (to, who).
LIFE = {
    ("pending", "approve"): ("approved", {"owner", "approver"}),
    ("pending", "reject"): ("rejected", {"owner", "approver"}),
    ("rejected", "reconsider"): ("pending", {"owner", "approver"}),
    ("approved", "withdraw"): ("pending", {"owner", "approver"}),
    ("approved", "return"): ("pending", {"accountant"}),
    ("approved", "record"): ("archived", {"accountant"}),
    ("archived", "reopen"): ("approved", {"accountant"}),
}
DOCUMENT = DocumentFacts(
    client_id=ALFA,
    status=Status.PENDING,
    kind=Kind.RECEIVED,
    partner_cif="81042177",
    uploader_id=None,
    ron_minor=500_000,
    taken=False,
)


def person(role: Role, *, at: int = ALFA, scope: Scope | None = None) -> Viewer:
    viewer = Viewer(7, "uid", "Ana", "ana@example.ro")
    if role in CLIENT_ROLES:
        return replace(viewer, memberships={at: Membership(at, role, scope or Scope())})
    assigned = frozenset({at}) if role is Role.ACCOUNTANT else frozenset[int]()
    return replace(viewer, firm_role=role, assigned_clients=assigned)


@pytest.mark.parametrize(
    ("status", "action", "role"), list(itertools.product(Status, Action, Role))
)
def test_a_step_is_taken_by_whom_the_table_names_and_nobody_else(
    status: Status, action: Action, role: Role
) -> None:
    document, viewer = replace(DOCUMENT, status=status), person(role)
    row = LIFE.get((status.value, action.value))

    if row is None:
        with pytest.raises(TransitionRefused):
            decide(action, document, viewer, reason="da")
    elif role.value not in row[1]:
        with pytest.raises(NotAllowed):
            decide(action, document, viewer, reason="da")
    else:
        assert decide(action, document, viewer, reason="da").value == row[0]
    offered = action in allowed_actions(document, viewer)
    assert offered == (row is not None and role.value in row[1])


def test_the_table_has_no_row_beside_these() -> None:
    assert {(status.value, action.value) for status, action in TRANSITIONS} == set(LIFE)


@pytest.mark.parametrize("reason", [None, "", "  \n"])
@pytest.mark.parametrize(
    ("status", "action", "role"),
    [("pending", "reject", "owner"), ("approved", "return", "accountant"),
     ("archived", "reopen", "accountant")],
)  # fmt: skip
def test_what_takes_something_back_needs_a_reason(
    status: str, action: str, role: str, reason: str | None
) -> None:
    with pytest.raises(BadInput):
        decide(
            Action(action), replace(DOCUMENT, status=Status(status)), person(Role(role)),
            reason=reason,
        )  # fmt: skip


def test_what_the_accountant_has_taken_is_not_withdrawn() -> None:
    taken = replace(DOCUMENT, status=Status.APPROVED, taken=True)

    with pytest.raises(NotAllowed, match="taken"):
        decide(Action.WITHDRAW, taken, person(Role.OWNER), reason=None)
    assert Action.WITHDRAW not in allowed_actions(taken, person(Role.OWNER))


@pytest.mark.parametrize(
    ("ron_minor", "may"),
    [(500_000, True), (500_001, False), (-500_001, False), (None, False), (0, True)],
)
def test_the_limit_is_inclusive_and_what_is_unknown_in_lei_is_over_it(
    ron_minor: int | None, may: bool
) -> None:
    limited = person(Role.APPROVER, scope=Scope(approval_limit_minor=500_000))
    document = replace(DOCUMENT, ron_minor=ron_minor)

    assert (Action.APPROVE in allowed_actions(document, limited)) is may
    # A limit is on the yes; to say no needs none.
    assert decide(Action.REJECT, document, limited, reason="nu") is Status.REJECTED
    if not may:
        with pytest.raises(NotAllowed, match="limit"):
            decide(Action.APPROVE, document, limited, reason=None)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_at_another_client_is_none_here(role: Role) -> None:
    with pytest.raises(NotAllowed):
        decide(Action.APPROVE, DOCUMENT, person(role, at=2), reason=None)


def test_who_is_accountant_and_approver_of_the_issued_does_not_decide_on_the_received() -> None:
    """A client role counts inside its scope only, also for who sees the document otherwise."""
    both = replace(
        person(Role.ACCOUNTANT),
        memberships={ALFA: Membership(ALFA, Role.APPROVER, Scope(kinds=frozenset({Kind.ISSUED})))},
    )
    received = replace(DOCUMENT, status=Status.APPROVED)
    issued = replace(received, kind=Kind.ISSUED)

    assert both.may_see(received)
    with pytest.raises(NotAllowed):
        decide(Action.WITHDRAW, received, both, reason=None)
    assert decide(Action.WITHDRAW, issued, both, reason=None) is Status.PENDING
    assert decide(Action.RECORD, received, both, reason=None) is Status.ARCHIVED


@pytest.mark.parametrize(("status", "role"), list(itertools.product(Status, Role)))
def test_of_what_is_not_approved_the_firm_sees_nothing(status: Status, role: Role) -> None:
    seen_by = {"owner", "approver", "viewer"}
    if status in (Status.APPROVED, Status.ARCHIVED):
        seen_by |= {"admin", "accountant"}

    assert person(role).may_see(replace(DOCUMENT, status=status)) == (role.value in seen_by)


@pytest.mark.parametrize(
    ("scope", "sees"),
    [
        (Scope(kinds=frozenset({Kind.RECEIVED})), True),
        (Scope(kinds=frozenset({Kind.ISSUED})), False),
        (Scope(suppliers=frozenset({"81042177"})), True),
        (Scope(suppliers=frozenset({"1"})), False),
        (Scope(kinds=frozenset({Kind.RECEIVED}), suppliers=frozenset({"1"})), False),
        (Scope(kinds=frozenset()), False),
    ],
)
@pytest.mark.parametrize("role", sorted(CLIENT_ROLES))
def test_a_member_sees_what_the_scope_allows_and_own_uploads(
    role: Role, scope: Scope, sees: bool
) -> None:
    member = person(role, scope=scope)

    assert member.may_see(DOCUMENT) is sees
    assert member.may_see(replace(DOCUMENT, uploader_id=member.user_id))
    assert not member.memberships[ALFA].sees_everything


def test_a_contributor_without_a_scope_sees_own_uploads_alone() -> None:
    corina = person(Role.CONTRIBUTOR)

    assert not corina.may_see(DOCUMENT)
    assert corina.may_see(replace(DOCUMENT, uploader_id=corina.user_id))
    assert not corina.memberships[ALFA].sees_everything
    assert person(Role.VIEWER).memberships[ALFA].sees_everything


def test_who_may_not_is_sent_to_the_one_who_may() -> None:
    owner, accountant = person(Role.OWNER), person(Role.ACCOUNTANT)

    for who, status, action, ask in (
        (owner, Status.APPROVED, Action.RECORD, "Cere-i contabilului."),
        (owner, Status.ARCHIVED, Action.REOPEN, "Cere-i contabilului."),
        (accountant, Status.APPROVED, Action.WITHDRAW, "Cere-i titularului."),
    ):
        with pytest.raises(NotAllowed) as caught:
            decide(action, replace(DOCUMENT, status=status), who, reason="x")
        assert caught.value.sentence.ro.endswith(ask)
