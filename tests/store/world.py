"""A small office for the tests of the archive: one firm, two clients, three people.

Ana owns Alfa, Bogdan owns Beta, Carmen is the accountant of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from appliance.config import Settings
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Role, Status, Viewer
from appliance.core.spv import ListEntry, MessageType
from appliance.store import (
    accounts,
    clients,
    documents,
    jobs,
    manifest,
    messages,
    notices,
)
from appliance.store.documents import NewDocument, NewFile, NewLine
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.ids import new_uid
from appliance.store.messages import Message
from tests.support.store import lay

MORNING = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


@dataclass
class World:
    settings: Settings
    archive: Archive
    alfa: int
    beta: int
    ana: Viewer
    bogdan: Viewer
    carmen: Viewer

    async def listed(self, client: int, number: int, at: datetime = MORNING) -> Message:
        """Let ANAF list one message of the client."""
        cif = "11111" if client == self.alfa else "22222"
        entry = ListEntry(
            message_id=str(3000000000 + number),
            upload_id=str(5000000000 + number),
            cif=cif,
            type="FACTURA PRIMITA",
            message_type=MessageType.RECEIVED,
            details="Factura cu id_incarcare=…",
            created_raw="202611240900",
            created_at=at,
            raw={"id": str(3000000000 + number), "tip": "FACTURA PRIMITA"},
            issuer_cif="33333",
            beneficiary_cif=cif,
            self_billed=False,
        )
        (message,) = await messages.remember(client, [entry], at)
        return message

    async def write(
        self, client: int, number: int, at: datetime = MORNING, kind: Kind = Kind.RECEIVED
    ) -> NewDocument:
        """Bring a document as far as its folder: its row is still to come."""
        message = await self.listed(client, number, at)
        bytes_of = {
            "message.zip": b"PK" + number.to_bytes(4, "big") * 200,
            "invoice.xml": f"<Invoice>{number}</Invoice>".encode(),
            "signature.xml": f"<Signature>{number}</Signature>".encode(),
        }
        new = NewDocument(
            uid=message.uid,
            client_id=client,
            kind=kind,
            source="spv",
            type="invoice",
            received_at=at,
            folder_name=f"2026-11-20_FURNIZOR_F-{number}",
            signature_result="valid",
            signature_reason="valid",
            message_uid=message.uid,
            number=f"F {number}",
            issue_date=date(2026, 11, 20),
            supplier_name="Furnizor SRL",
            supplier_cif="33333",
            customer_name="Alfa Construct SRL",
            customer_cif="11111",
            partner_name="Furnizor SRL",
            partner_cif="33333",
            currency="RON",
            payable_minor=11900 + number,
            signed_minor=11900 + number,
            ron_minor=11900 + number,
            tax_minor=1900,
            summary="Șuruburi",
            warnings=("cif_not_ours",) if number % 2 else (),
            lines=[
                NewLine(
                    line_id="1",
                    name="Șuruburi",
                    classification=[{"scheme": "STI", "code": "44"}],
                    quantity="2.500",
                    unit="H87",
                    net_minor=10000,
                ),
                NewLine(line_id="2", name="Transport"),
            ],
            files=[
                _file("zip", "message.zip", "application/zip", bytes_of, None),
                _file("invoice", "invoice.xml", "application/xml", bytes_of, ".xml"),
                _file("signature", "signature.xml", "application/xml", bytes_of, "_semnatura.xml"),
            ],
        )
        row = await clients.by_id(client)
        facts = manifest.of_document(
            new, client=row, identifiers=await clients.identifiers(client), message=message
        )
        month = documents.archive_month(at)
        self.archive.write_document(row.uid, month, new.uid, bytes_of, facts)
        return new

    async def receive(
        self, client: int, number: int, at: datetime = MORNING, kind: Kind = Kind.RECEIVED
    ) -> str:
        """Bring a document all the way in, its PDF included; return its uid."""
        new = await self.write(client, number, at, kind)
        await documents.add(new, at=at)
        row = await clients.by_id(client)
        pdf = f"%PDF {number}".encode()
        size, digest = self.archive.write_derived(
            row.uid, documents.archive_month(at), new.uid, "invoice.pdf", pdf
        )
        rendered = NewFile(
            "pdf", "invoice.pdf", "application/pdf", size, digest, shown_suffix=".pdf"
        )
        await documents.add_file(new.uid, rendered, at=at)
        await self.done(new.uid, at)
        return new.uid

    async def notice(
        self, client: int, number: int, at: datetime = MORNING, *, imported: bool = False
    ) -> str:
        """File an error of ANAF, which came with a message or an import."""
        message = None if imported else await self.listed(client, number, at)
        data = {"message.zip": b"PK notice"}
        new = notices.NewNotice(
            uid=message.uid if message else new_uid(at),
            client_id=client,
            message_uid=message.uid if message else None,
            type="anaf_error",
            text="CIF-ul vânzătorului este greșit",
            received_at=at,
            folder_name=f"2026-11-24_Eroare-ANAF_{number}",
            upload_id=message.upload_id if message else None,
            files=[_file("zip", "message.zip", "application/zip", data, ".zip")],
        )
        row = await clients.by_id(client)
        facts = manifest.of_notice(
            new, client=row, identifiers=await clients.identifiers(client), message=message
        )
        self.archive.write_document(row.uid, documents.archive_month(at), new.uid, data, facts)
        await notices.add(new, at)
        if message:
            await self.done(new.uid, at)
        return new.uid

    async def done(self, uid: str, at: datetime) -> None:
        """Finish the job of a message."""
        job = await jobs.latest("message", uid)
        assert job is not None
        await jobs.finish(job.id, at)

    async def act(
        self,
        uid: str,
        action: Action,
        who: Viewer,
        seen: Status,
        at: datetime = NOON,
        reason: str | None = None,
    ) -> None:
        await documents.act(
            uid,
            action,
            who,
            seen_status=seen,
            seen_revision=1,
            at=at,
            channel="portal",
            reason=reason,
        )

    async def path(self, uid: str, name: str) -> Path:
        """Return where a file of a document lies."""
        for folder in self.archive.folders():
            if folder.uid == uid:
                return self.archive.path_of(folder.client_uid, folder.month, uid, name)
        raise AssertionError(f"no folder of {uid}")


@asynccontextmanager
async def office(data_dir: Path) -> AsyncIterator[World]:
    """Open a store in which the office has just been set up."""
    settings = Settings(data_dir=data_dir)
    alfa, beta, ana, bogdan, carmen = await lay(settings, "office", _found)
    async with open_store(settings, migrate=True):
        yield World(
            settings=settings,
            archive=Archive(settings.archive_dir),
            alfa=alfa,
            beta=beta,
            ana=await accounts.viewer(ana),
            bogdan=await accounts.viewer(bogdan),
            carmen=await accounts.viewer(carmen),
        )


async def _found() -> tuple[int, int, int, int, int]:
    await clients.create_firm("Conta Plus SRL", MORNING)
    alfa = await clients.create_client("Alfa Construct SRL", ["11111"], MORNING)
    beta = await clients.create_client("Beta Trans SRL", ["22222"], MORNING)
    ana = await accounts.create_account("ana@alfa.example", "Ana", MORNING)
    bogdan = await accounts.create_account("bogdan@beta.example", "Bogdan", MORNING)
    carmen = await accounts.create_account(
        "carmen@conta.example", "Carmen", MORNING, firm_role=Role.ACCOUNTANT
    )
    await clients.add_member(ana, alfa, Role.OWNER, MORNING)
    await clients.add_member(bogdan, beta, Role.OWNER, MORNING)
    for client in (alfa, beta):
        await clients.assign(carmen, client, MORNING)
    return alfa, beta, ana, bogdan, carmen


def _file(
    role: str, name: str, mime: str, bytes_of: dict[str, bytes], suffix: str | None
) -> NewFile:
    data = bytes_of[name]
    return NewFile(
        role, name, mime, len(data), hashlib.sha256(data).hexdigest(), shown_suffix=suffix
    )
