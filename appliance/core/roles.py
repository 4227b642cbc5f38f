"""Who a person is at each client, and what that lets them see.

The rule of the product stands here: of documents that the client has not
approved, people of the firm see nothing. `Viewer.may_see` decides for one
document; `store` builds its SQL from the same facts and a test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """The six roles of design.md §9."""

    ADMIN = "admin"  # people, settings, health, approved documents of every client
    ACCOUNTANT = "accountant"  # approved documents of the clients assigned to them
    OWNER = "owner"  # everything at one client
    APPROVER = "approver"
    CONTRIBUTOR = "contributor"  # uploads; sees own uploads and what the scope allows
    VIEWER = "viewer"


FIRM_ROLES = frozenset({Role.ADMIN, Role.ACCOUNTANT})
CLIENT_ROLES = frozenset({Role.OWNER, Role.APPROVER, Role.CONTRIBUTOR, Role.VIEWER})
# Who may link a client to SPV: its owners, and whoever works for the firm there.
LINKERS = frozenset({Role.OWNER, *FIRM_ROLES})


class Kind(StrEnum):
    """Which of the three archive folders a document belongs to."""

    RECEIVED = "received"  # Primite
    ISSUED = "issued"  # Emise
    OTHER = "other"  # Altele


class Status(StrEnum):
    """Where a document is in its life (design.md §3)."""

    PENDING = "pending"  # waits for the client
    APPROVED = "approved"  # the accountant's inbox
    REJECTED = "rejected"
    ARCHIVED = "archived"  # recorded in the ledger, filed by kind and month


VISIBLE_TO_FIRM = frozenset({Status.APPROVED, Status.ARCHIVED})


@dataclass(frozen=True)
class Scope:
    """What a membership is narrowed to; `None` means not narrowed."""

    kinds: frozenset[Kind] | None = None
    suppliers: frozenset[str] | None = None  # partner CIFs as core.cif normalises them
    approval_limit_minor: int | None = None  # bani (RON minor units), inclusive


@dataclass(frozen=True)
class Membership:
    """A person's role at one client."""

    client_id: int
    role: Role
    scope: Scope = field(default_factory=Scope)

    @property
    def sees_everything(self) -> bool:
        """Tell whether no document of the client is kept from this member."""
        narrowed = self.scope.kinds is not None or self.scope.suppliers is not None
        return self.role is not Role.CONTRIBUTOR and not narrowed


@dataclass(frozen=True)
class DocumentFacts:
    """The facts of a document that permissions depend on."""

    client_id: int
    status: Status
    kind: Kind
    partner_cif: str | None
    uploader_id: int | None
    ron_minor: int | None  # None: unknown in RON, which counts as over every limit
    taken: bool


@dataclass(frozen=True)
class Viewer:
    """A logged-in person with everything that decides what they may see and do."""

    user_id: int
    user_uid: str
    name: str
    email: str
    language: str = "ro"
    firm_role: Role | None = None
    assigned_clients: frozenset[int] = frozenset()
    memberships: Mapping[int, Membership] = field(default_factory=dict)  # by client id

    def roles_at(self, client_id: int) -> frozenset[Role]:
        """Return every role the person has at the client, empty when none."""
        roles: set[Role] = set()
        if self.firm_role is Role.ADMIN:
            roles.add(Role.ADMIN)
        if self.firm_role is not None and client_id in self.assigned_clients:
            roles.add(Role.ACCOUNTANT)
        if client_id in self.memberships:
            roles.add(self.memberships[client_id].role)
        return frozenset(roles)

    def may_see(self, document: DocumentFacts) -> bool:
        """Tell whether the document exists at all for this person."""
        roles = self.roles_at(document.client_id)
        if roles & FIRM_ROLES and document.status in VISIBLE_TO_FIRM:
            return True
        membership = self.memberships.get(document.client_id)
        if membership is None:
            return False
        if document.uploader_id == self.user_id:
            return True
        return _within_scope(membership, document)

    def acting_roles(self, document: DocumentFacts) -> frozenset[Role]:
        """Return the roles that count for an action on this document.

        A client role counts only inside its scope, also for a person who sees
        the document in another role (an accountant who is an approver "doar
        Emise" does not approve what was received).
        """
        roles = self.roles_at(document.client_id)
        membership = self.memberships.get(document.client_id)
        if membership is not None and not _within_scope(membership, document):
            roles -= {membership.role}
        return roles


def _within_scope(membership: Membership, document: DocumentFacts) -> bool:
    scope = membership.scope
    if membership.role is Role.CONTRIBUTOR and scope.kinds is None and scope.suppliers is None:
        # A contributor sees own uploads and only what a scope opens beyond them.
        return False
    if scope.kinds is not None and document.kind not in scope.kinds:
        return False
    return scope.suppliers is None or document.partner_cif in scope.suppliers
