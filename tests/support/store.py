"""A store with a firm, its people and two clients, for whoever needs one.

A test package gets the fixtures by `from tests.support.store import *` in its
conftest. Alfa has Ana, Bogdan, Corina and Dan; Beta has Bianca.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appliance.config import Settings
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Role, Scope, Status, Viewer
from appliance.core.spv import ListEntry, MessageType
from appliance.store import accounts, clients, documents, engine, migrate
from appliance.store.documents import NewDocument, NewFile, NewLine
from appliance.store.ids import new_uid

__all__ = ["NOW", "World", "entry", "make_world", "new_document", "settings", "store", "world"]

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
_NUMBERS = itertools.count(1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose every path is this test's own."""
    return Settings(
        data_dir=tmp_path / "data",
        vault_dir=tmp_path / "vault",
        vault_key_file=tmp_path / "vault" / "kek",
        run_dir=tmp_path / "run",
    )


T = TypeVar("T")
_LAID: dict[str, tuple[bytes, Any]] = {}


async def lay(settings: Settings, name: str, fill: Callable[[], Awaitable[T]]) -> T:
    """Lay down the database that `fill` fills, and return what it returns.

    It is filled once and copied from then on: a thousand tests begin with one, and most of
    its fifth of a second is waiting for the disk.
    """
    path = settings.database_path
    if name not in _LAID:
        async with engine.open_store(settings, migrate=True):
            filled = await fill()
        assert not path.with_name(f"{path.name}-wal").exists()
        _LAID[name] = path.read_bytes(), filled
    else:
        settings.data_dir.mkdir()
        settings.data_dir.chmod(0o2771)
        migrate.make_database_file(path)
        path.write_bytes(_LAID[name][0])
    found: T = _LAID[name][1]
    return found


async def _nothing() -> None: ...


@pytest.fixture
async def store(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[engine.Store]:
    """A store that is empty, but for the world when the test asks for that as well."""
    if "world" in request.fixturenames:
        await lay(settings, "world", lambda: make_world(settings))
    else:
        await lay(settings, "empty", _nothing)
    async with engine.open_store(settings, migrate=True) as opened:
        yield opened


@dataclass
class World:
    """The firm, its people and its clients, by id."""

    settings: Settings
    alfa: int = 0
    beta: int = 0
    alfa_uid: str = ""
    beta_uid: str = ""
    ids: dict[str, int] = field(default_factory=dict)

    async def viewer(self, name: str) -> Viewer:
        """Return the person with the roles they have now."""
        return await accounts.viewer(self.ids[name])

    async def person(
        self,
        name: str,
        *,
        firm_role: Role | None = None,
        at_alfa: Role | None = None,
        scope: Scope | None = None,
    ) -> int:
        """Add one more person."""
        self.ids[name] = await accounts.create_account(
            f"{name}@example.ro", name.capitalize(), NOW, firm_role=firm_role
        )
        if at_alfa is not None:
            await clients.add_member(self.ids[name], self.alfa, at_alfa, NOW, scope=scope)
        return self.ids[name]

    async def document(self, status: Status = Status.PENDING, **fields: Any) -> str:
        """Add a document, of Alfa unless told, bring it to the status and return its uid."""
        new = new_document(fields.pop("client_id", self.alfa), **fields)
        await documents.add(new, at=NOW)
        if status is not Status.PENDING:
            await self.bring(new.uid, status)
        return new.uid

    async def bring(self, uid: str, status: Status) -> None:
        """Let the people of its client bring a pending document to the status."""
        document = await documents.by_uid(uid)
        mine = document.client_id == self.alfa
        owner = await self.viewer("ana" if mine else "bianca")
        accountant = await self.viewer("elena" if mine else "florin")
        steps = {
            Status.PENDING: [],
            Status.REJECTED: [("reject", owner)],
            Status.APPROVED: [("approve", owner)],
            Status.ARCHIVED: [("approve", owner), ("record", accountant)],
        }[status]
        seen = Status.PENDING
        for action, who in steps:
            acted = await documents.act(
                uid,
                Action(action),
                who,
                seen_status=seen,
                seen_revision=document.revision,
                at=NOW,
                channel="portal",
                reason="test" if action == "reject" else None,
            )
            seen = acted.status


@pytest.fixture
async def world(store: engine.Store) -> World:
    """The firm with its people and clients; see `make_world()`."""
    laid = _LAID["world"][1]
    return replace(laid, settings=store.settings, ids=dict(laid.ids))


async def make_world(settings: Settings) -> World:
    """Firm: Gina (admin), Elena (accountant of Alfa), Florin (accountant of Beta).

    Alfa: Ana (owner), Bogdan (approver up to 5.000 lei), Corina (contributor),
    Dan (viewer). Beta: Bianca (owner).
    """
    made = World(settings)
    await clients.create_firm("Contabilitate Tismana SRL", NOW)
    made.alfa = await clients.create_client("Alfa Construct SRL", ["RO 12345674"], NOW)
    made.beta = await clients.create_client("Beta Comerț SRL", ["98765438"], NOW)
    made.alfa_uid = (await clients.by_id(made.alfa)).uid
    made.beta_uid = (await clients.by_id(made.beta)).uid
    await made.person("gina", firm_role=Role.ADMIN)
    await made.person("elena", firm_role=Role.ACCOUNTANT)
    await made.person("florin", firm_role=Role.ACCOUNTANT)
    await made.person("ana", at_alfa=Role.OWNER)
    await made.person("bogdan", at_alfa=Role.APPROVER, scope=Scope(approval_limit_minor=500_000))
    await made.person("corina", at_alfa=Role.CONTRIBUTOR)
    await made.person("dan", at_alfa=Role.VIEWER)
    await made.person("bianca")
    await clients.add_member(made.ids["bianca"], made.beta, Role.OWNER, NOW)
    await clients.assign(made.ids["elena"], made.alfa, NOW)
    await clients.assign(made.ids["florin"], made.beta, NOW)
    return made


def new_document(client_id: int, **fields: Any) -> NewDocument:
    """Return an invoice of 119,00 lei from ENEL that nobody has stored yet."""
    number = next(_NUMBERS)
    uid = fields.pop("uid", None) or new_uid(NOW)

    def digest(role: str) -> str:
        return hashlib.sha256(f"{uid}{role}".encode()).hexdigest()

    defaults: dict[str, Any] = {
        "kind": Kind.RECEIVED,
        "source": "spv",
        "type": "invoice",
        "received_at": NOW - timedelta(hours=1),
        "folder_name": f"2026-11-03_ENEL-ENERGIE_EFI-{number}",
        "signature_result": "valid",
        "signature_reason": "ok",
        "number": f"EFI-{number}",
        "issue_date": date(2026, 11, 3),
        "due_date": date(2026, 12, 3),
        "supplier_name": "ENEL ENERGIE SA",
        "supplier_cif": "22000460",
        "customer_name": "Alfa Construct SRL",
        "customer_cif": "12345674",
        "partner_name": "ENEL ENERGIE SA",
        "partner_cif": "22000460",
        "currency": "RON",
        "payable_minor": 11900,
        "signed_minor": 11900,
        "ron_minor": 11900,
        "tax_minor": 1900,
        "summary": "Energie electrică",
        "lines": [
            NewLine(
                line_id="1",
                name="Energie electrică",
                quantity="100",
                unit="KWH",
                price="1.00",
                net_minor=10000,
                vat_category="S",
                vat_rate="19",
            )
        ],
        "files": [
            NewFile("zip", "message.zip", "application/zip", 2000, digest("zip")),
            NewFile(
                "invoice",
                "invoice.xml",
                "application/xml",
                6000,
                digest("invoice"),
                shown_suffix=".xml",
            ),
            NewFile(
                "signature",
                "signature.xml",
                "application/xml",
                3000,
                digest("signature"),
                shown_suffix="_semnatura.xml",
            ),
        ],
    }
    return NewDocument(uid=uid, client_id=client_id, **{**defaults, **fields})


def entry(message_id: str | None, **fields: Any) -> ListEntry:
    """Return an entry of the SPV list, a received invoice unless told."""
    defaults: dict[str, Any] = {
        "upload_id": f"5{message_id}",
        "cif": "12345674",
        "type": "FACTURA PRIMITA",
        "message_type": MessageType.RECEIVED,
        "details": f"Factura cu id_incarcare=5{message_id}",
        "created_raw": "202611230915",
        "created_at": datetime(2026, 11, 23, 7, 15, tzinfo=UTC),
        "raw": {"id": message_id, "tip": "FACTURA PRIMITA", "cif": "12345674"},
    }
    return ListEntry(message_id=message_id, **{**defaults, **fields})
