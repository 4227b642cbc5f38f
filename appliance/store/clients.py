"""The firm, its clients, their identifiers, and who belongs to whom."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from appliance.core import cif as identifiers_of
from appliance.core import naming
from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import CLIENT_ROLES, Membership, Role, Scope, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import audit, tables
from appliance.store.accounts import SYSTEM, membership_of
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.ids import new_uid


@dataclass(frozen=True)
class Firm:
    """The firm of this appliance."""

    id: int
    uid: str
    name: str


@dataclass(frozen=True)
class ClientRow:
    """A company or sole trader; `cif` is the first identifier, '' while none is known."""

    id: int
    uid: str
    name: str
    folder_name: str
    cif: str
    provisional: bool = False
    created_at: str = ""  # text of core.times, for the drive


@dataclass(frozen=True)
class Person:
    """Somebody who belongs to a client, with the role they have there."""

    account_id: int
    account_uid: str
    name: str
    email: str
    disabled: bool
    membership: Membership


async def create_firm(name: str, at: datetime) -> int:
    """Name the firm of the appliance and return its id; there is one: `BadInput` for a second."""
    name = _name(name)
    async with joined():
        if await firm() is not None:
            raise BadInput(
                Sentence(
                    "Firma există deja. Adaugă clienți și colegi la ea.",
                    "there already is a firm; add clients and colleagues to it",
                )
            )
        uid = new_uid(at)
        made = await tables.Firm.insert(tables.Firm(uid=uid, name=name, created_at=to_text(at)))
        await audit.append("firm:create", SYSTEM, "", uid, {}, at=at)
    return int(made[0]["id"])


async def firm() -> Firm | None:
    """Return the firm, or None before the first run."""
    rows = await fetch("SELECT id, uid, name FROM firm ORDER BY id LIMIT 1")
    return Firm(rows[0]["id"], rows[0]["uid"], rows[0]["name"]) if rows else None


async def create_client(
    name: str, identifiers: Iterable[str], at: datetime, *, by: Viewer | None = None
) -> int:
    """Add a client with what identifies it to ANAF, and return its id.

    Without an identifier it is provisional and nothing is fetched for it. A
    wrong check digit is accepted (core.cif tells); an identifier that another
    client has is `BadInput`.
    """
    name = _name(name)
    values = list(dict.fromkeys(filter(None, map(identifiers_of.normalise, identifiers))))
    uid = new_uid(at)
    async with joined():
        taken = {row["folder_key"] for row in await fetch("SELECT folder_key FROM client")}
        folder = naming.client_folder_name(name, values[0] if values else "")
        folder = _free_folder(folder, taken)
        made = await tables.Client.insert(
            tables.Client(
                uid=uid,
                name=name,
                folder_name=folder,
                folder_key=folder.casefold(),
                provisional=int(not values),
                created_at=to_text(at),
            )
        )
        client_id = int(made[0]["id"])
        await audit.append("client:create", _actor(by), uid, uid, {}, at=at)
        for value in values:
            await add_identifier(client_id, value, at, by=by)
    return client_id


async def add_identifier(
    client_id: int, text: str, at: datetime, *, by: Viewer | None = None
) -> str:
    """Give the client one more identifier and return its normalised form; again does nothing."""
    value = identifiers_of.normalise(text)
    if not value:
        raise BadInput(
            Sentence(
                "Lipsește codul fiscal. Scrie CUI-ul sau CNP-ul clientului.",
                "the identifier is missing; give the client's CUI or CNP",
            )
        )
    async with joined():
        client = await by_id(client_id)
        owner = await fetch("SELECT client FROM client_identifier WHERE value = ?", [value])
        if owner and owner[0]["client"] != client_id:
            shown = identifiers_of.mask_cnp(value)
            raise BadInput(
                Sentence(
                    f"Codul fiscal {shown} este deja al altui client. Verifică-l.",
                    f"the identifier {shown} already belongs to another client; check it",
                )
            )
        if not owner:
            await tables.ClientIdentifier.insert(
                tables.ClientIdentifier(
                    client=client_id,
                    scheme=identifiers_of.scheme(value),
                    value=value,
                    confirmed_at=to_text(at),
                )
            )
            await execute("UPDATE client SET provisional = 0 WHERE id = ?", [client_id])
            # The identifier itself may be a CNP, which the log must not keep.
            await audit.append(
                "client:identifier",
                _actor(by),
                client.uid,
                client.uid,
                {"scheme": identifiers_of.scheme(value)},
                at=at,
            )
    return value


async def identifiers(client_id: int) -> frozenset[str]:
    """Return every identifier of the client, normalised."""
    rows = await fetch("SELECT value FROM client_identifier WHERE client = ?", [client_id])
    return frozenset(row["value"] for row in rows)


async def all_identifiers() -> Mapping[str, int]:
    """Return every identifier with the id of its client; each belongs to one client only."""
    rows = await fetch("SELECT value, client FROM client_identifier")
    return {row["value"]: row["client"] for row in rows}


async def list_for(viewer: Viewer) -> list[ClientRow]:
    """Return the clients that exist for this person, by name."""
    if viewer.firm_role is Role.ADMIN:
        return await all_clients()
    rows = await fetch(
        f"{CLIENT_QUERY} WHERE client.id IN (SELECT value FROM json_each(?)) "
        "ORDER BY client.folder_key",
        [json.dumps(visible_clients(viewer))],
    )
    return [client_of(row) for row in rows]


def visible_clients(viewer: Viewer) -> list[int]:
    """Return the ids of the clients where the person has a role of their own.

    An administrator of the firm has one at every client besides.
    """
    ids = set(viewer.memberships)
    if viewer.firm_role is not None:
        ids |= viewer.assigned_clients
    return sorted(ids)


async def all_clients() -> list[ClientRow]:
    """Return every client, by name."""
    return [client_of(row) for row in await fetch(f"{CLIENT_QUERY} ORDER BY client.folder_key")]


async def by_id(client_id: int) -> ClientRow:
    """Return the client; `NotFound` when there is none."""
    rows = await fetch(f"{CLIENT_QUERY} WHERE client.id = ?", [client_id])
    if not rows:
        raise no_client()
    return client_of(rows[0])


async def by_uid(uid: str, viewer: Viewer | None = None) -> ClientRow:
    """Return the client; `NotFound` when there is none or it is none of the viewer's.

    Without a viewer (for the system) any client is returned.
    """
    rows = await fetch(f"{CLIENT_QUERY} WHERE client.uid = ?", [uid])
    if not rows or (viewer is not None and not viewer.roles_at(rows[0]["id"])):
        raise no_client()
    return client_of(rows[0])


async def by_identifier(text: str) -> ClientRow | None:
    """Return the client that the CUI, CNP or VAT identifier belongs to, however it is spelled."""
    rows = await fetch(
        f"{CLIENT_QUERY} WHERE client.id = (SELECT client FROM client_identifier WHERE value = ?)",
        [identifiers_of.normalise(text)],
    )
    return client_of(rows[0]) if rows else None


async def named(text: str) -> ClientRow:
    """Return what `by_identifier()` does, for who typed it; `NotFound` when it is nobody's."""
    found = await by_identifier(text)
    if found is None:
        shown = text[:20]
        raise NotFound(
            Sentence(
                f"Niciun client nu are CIF-ul {shown}. Verifică numărul.",
                f"no client has the CIF {shown}; check the number",
            )
        )
    return found


# Who belongs to whom


async def add_member(
    account_id: int,
    client_id: int,
    role: Role,
    at: datetime,
    *,
    scope: Scope | None = None,
    by: Viewer | None = None,
) -> None:
    """Give the person this role and scope at the client, in place of the one they had there."""
    if role not in CLIENT_ROLES:
        raise BadInput(
            Sentence(
                f"Rolul „{role}” nu este al unui client. Alege owner, approver, contributor "
                "sau viewer.",
                f"{role} is no role at a client; choose owner, approver, contributor or viewer",
            )
        )
    narrowed = scope or Scope()
    async with joined():
        client = await by_id(client_id)
        account_uid = await _account_uid(account_id)
        await execute(
            "INSERT INTO member (account, client, role, scope_kinds, scope_suppliers, "
            "approval_limit_minor, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (account, client) DO UPDATE SET role = excluded.role, "
            "scope_kinds = excluded.scope_kinds, scope_suppliers = excluded.scope_suppliers, "
            "approval_limit_minor = excluded.approval_limit_minor",
            [
                account_id,
                client_id,
                role.value,
                _json_list(narrowed.kinds),
                _json_list(narrowed.suppliers),
                narrowed.approval_limit_minor,
                to_text(at),
            ],
        )
        await audit.append(
            "member:set",
            _actor(by),
            client.uid,
            account_uid,
            {
                "role": role.value,
                "kinds": _json_list(narrowed.kinds) or "",
                "suppliers": len(narrowed.suppliers) if narrowed.suppliers is not None else -1,
                "limit_minor": narrowed.approval_limit_minor
                if narrowed.approval_limit_minor is not None
                else -1,
            },
            at=at,
        )


async def remove_member(
    account_id: int, client_id: int, at: datetime, *, by: Viewer | None = None
) -> None:
    """Take the person's role at the client away; again does nothing."""
    async with joined():
        client = await by_id(client_id)
        gone = await execute(
            "DELETE FROM member WHERE account = ? AND client = ? RETURNING id",
            [account_id, client_id],
        )
        if gone:
            account_uid = await _account_uid(account_id)
            await audit.append("member:remove", _actor(by), client.uid, account_uid, {}, at=at)


async def members(client_id: int) -> list[Person]:
    """Return the client's people, by name."""
    rows = await fetch(
        "SELECT account.uid, account.name, account.email, account.disabled_at, member.account, "
        "member.client, member.role, member.scope_kinds, member.scope_suppliers, "
        "member.approval_limit_minor FROM member JOIN account ON account.id = member.account "
        "WHERE member.client = ? ORDER BY account.name, account.id",
        [client_id],
    )
    return [
        Person(
            account_id=row["account"],
            account_uid=row["uid"],
            name=row["name"],
            email=row["email"],
            disabled=row["disabled_at"] is not None,
            membership=membership_of(row),
        )
        for row in rows
    ]


async def assign(
    account_id: int, client_id: int, at: datetime, *, by: Viewer | None = None
) -> None:
    """Make the person of the firm this client's accountant; again does nothing."""
    async with joined():
        client = await by_id(client_id)
        rows = await fetch("SELECT uid, firm_role FROM account WHERE id = ?", [account_id])
        if not rows or rows[0]["firm_role"] is None:
            raise BadInput(
                Sentence(
                    "Numai oamenii firmei pot lucra la un client. Dă-i întâi un rol la firmă.",
                    "only people of the firm can be assigned; give them a role at the firm first",
                )
            )
        made = await execute(
            "INSERT INTO assignment (account, client) VALUES (?, ?) ON CONFLICT DO NOTHING "
            "RETURNING id",
            [account_id, client_id],
        )
        if made:
            await audit.append("assignment:add", _actor(by), client.uid, rows[0]["uid"], {}, at=at)


async def unassign(
    account_id: int, client_id: int, at: datetime, *, by: Viewer | None = None
) -> None:
    """End the assignment; again does nothing."""
    async with joined():
        client = await by_id(client_id)
        gone = await execute(
            "DELETE FROM assignment WHERE account = ? AND client = ? RETURNING id",
            [account_id, client_id],
        )
        if gone:
            account_uid = await _account_uid(account_id)
            await audit.append("assignment:remove", _actor(by), client.uid, account_uid, {}, at=at)


CLIENT_QUERY = (
    "SELECT client.id, client.uid, client.name, client.folder_name, client.provisional, "
    "client.created_at, "
    "COALESCE((SELECT value FROM client_identifier WHERE client_identifier.client = client.id "
    "ORDER BY client_identifier.id LIMIT 1), '') AS cif FROM client"
)


def client_of(row: Row) -> ClientRow:
    """Return what a row of the client query says."""
    return ClientRow(
        id=row["id"],
        uid=row["uid"],
        name=row["name"],
        folder_name=row["folder_name"],
        cif=row["cif"],
        provisional=bool(row["provisional"]),
        created_at=row["created_at"],
    )


def no_client() -> NotFound:
    """Return the error for a client that is absent or somebody else's, in the same words."""
    return NotFound(
        Sentence(
            "Clientul nu există sau nu ai acces la el. Verifică lista de clienți.",
            "there is no such client, or it is not yours to see; look at the list of clients",
        )
    )


def _free_folder(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate.casefold() in taken:
        count += 1
        suffix = f"~{count}"
        candidate = name[: naming.CLIENT_LENGTH - len(suffix)].rstrip(" .") + suffix
    return candidate


def _name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not cleaned:
        raise BadInput(Sentence("Lipsește numele. Scrie-l.", "the name is missing; give it"))
    return cleaned


async def _account_uid(account_id: int) -> str:
    rows = await fetch("SELECT uid FROM account WHERE id = ?", [account_id])
    if not rows:
        raise NotFound(
            Sentence("Contul nu există. Verifică adresa.", "there is no such account; check it")
        )
    return str(rows[0]["uid"])


def _json_list(values: Iterable[str] | None) -> str | None:
    return None if values is None else json.dumps(sorted(str(value) for value in values))


def _actor(by: Viewer | None) -> str:
    return by.user_uid if by else SYSTEM
