"""What a person may see, as SQL: the same rule as `core.roles.Viewer.may_see()`.

Every query that gives documents to a person has this condition in its WHERE;
a test compares both over every role, status, kind and scope.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from appliance.core.roles import FIRM_ROLES, VISIBLE_TO_FIRM, Role, Viewer


class Condition(NamedTuple):
    """A condition on columns of `document`, and the values of its placeholders."""

    sql: str
    values: list[Any]


_NOTHING = Condition("0", [])
_EVERYTHING = Condition("1", [])
_OPEN_TO_FIRM = Condition(
    f"document.status IN ({', '.join(repr(str(status)) for status in sorted(VISIBLE_TO_FIRM))})",
    [],
)


def scoped(viewer: Viewer) -> Condition:
    """Return the condition for documents of any client."""
    alternatives = []
    if viewer.firm_role is Role.ADMIN:
        alternatives.append(_OPEN_TO_FIRM)
    elif viewer.firm_role is not None and viewer.assigned_clients:
        alternatives.append(_all_of(_client_in(viewer.assigned_clients), _OPEN_TO_FIRM))
    for client_id in viewer.memberships:
        alternatives.append(_all_of(_client_in([client_id]), scoped_at(viewer, client_id)))
    return _any_of(alternatives)


def scoped_at(viewer: Viewer, client_id: int) -> Condition:
    """Return the condition for documents that are known to be this client's."""
    membership = viewer.memberships.get(client_id)
    alternatives = [_OPEN_TO_FIRM] if viewer.roles_at(client_id) & FIRM_ROLES else []
    if membership is None:
        return _any_of(alternatives)
    if membership.sees_everything:
        return _EVERYTHING
    scope = membership.scope
    if scope.kinds is None and scope.suppliers is None:
        # A contributor sees own uploads and only what a scope opens beyond them.
        within = _NOTHING
    else:
        within = _EVERYTHING
        if scope.kinds is not None:
            kinds = sorted(str(kind) for kind in scope.kinds)
            within = _all_of(within, _in_list("document.kind", kinds))
        if scope.suppliers is not None:
            within = _all_of(within, _in_list("document.partner_cif", sorted(scope.suppliers)))
    alternatives += [Condition("document.uploader = ?", [viewer.user_id]), within]
    return _any_of(alternatives)


def _client_in(ids: Iterable[int]) -> Condition:
    return _in_list("document.client", sorted(ids))


def _in_list(column: str, values: list[Any]) -> Condition:
    if len(values) == 1:
        return Condition(f"{column} = ?", values)
    # One placeholder however long the list is.
    return Condition(f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(values)])


def _all_of(first: Condition, second: Condition) -> Condition:
    if first is _EVERYTHING:
        return second
    if second is _EVERYTHING:
        return first
    return Condition(f"({first.sql}) AND ({second.sql})", [*first.values, *second.values])


def _any_of(alternatives: list[Condition]) -> Condition:
    useful = [each for each in alternatives if each is not _NOTHING]
    if not useful:
        return _NOTHING
    if len(useful) == 1:
        return useful[0]
    return Condition(
        " OR ".join(f"({each.sql})" for each in useful),
        [value for each in useful for value in each.values],
    )


def notices_seen(viewer: Viewer) -> Condition:
    """Return the SQL condition on `notice` for those that this person may see.

    Who sees every document of a client sees every notice there. The firm sees
    ANAF's errors, which are about uploads that became no document. Everything
    else names a document, so it is seen by whoever may see that one: by the
    firm once it is approved, by a narrowed member when it is in the scope.
    """
    unnarrowed = [
        client_id
        for client_id in viewer.memberships
        if viewer.memberships[client_id].sees_everything
    ]
    about = scoped(viewer)
    condition = Condition(
        "notice.client IN (SELECT value FROM json_each(?)) "
        "OR EXISTS (SELECT 1 FROM message about JOIN document ON document.message = about.id "
        "WHERE about.client = notice.client AND about.upload_id = notice.upload_id "
        f"AND ({about.sql}))",
        [json.dumps(sorted(unnarrowed)), *about.values],
    )
    if viewer.firm_role is Role.ADMIN:
        condition = _any_of([condition, Condition("notice.type = 'anaf_error'", [])])
    elif viewer.firm_role is not None and viewer.assigned_clients:
        of_assigned = _in_list("notice.client", sorted(viewer.assigned_clients))
        errors = _all_of(of_assigned, Condition("notice.type = 'anaf_error'", []))
        condition = _any_of([condition, errors])
    return Condition(f"({condition.sql})", condition.values)
