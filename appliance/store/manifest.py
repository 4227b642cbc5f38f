"""What `manifest.json` says: the facts of a document or notice that never change.

    {"v": 1, "uid", "client": {uid, name, folder_name, identifiers: [{scheme, value}]},
     "source", "received_at", "received_by": account uid or null,
     "imported": {source, name, upload_id} when it did not come from SPV,
     "message": {uid, message_id, upload_id, cif, type, details, created_raw, …} or null,
     "document": {kind, type, number, …, warnings, problem, lines: […]},
     "signature": {result, reason, fingerprint},
     "files": [{role, stored_name, shown_name, shown_suffix, mime, size, sha256}]}

A notice has `notice` {type, upload_id, text, folder_name, period} in place of
`document` and `signature`. Names are those of the columns, so that `reindex`
can give every column its value back; the folder's name is the one proposed at
ingest. What people decide later is not here (store/decisions.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from appliance.core import cif
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store.clients import ClientRow
from appliance.store.documents import NewDocument
from appliance.store.messages import Message
from appliance.store.notices import NewNotice
from appliance.store.periods import current_period

VERSION = 1

CLIENT = ("uid", "name", "folder_name")
MESSAGE = (
    "uid",
    "message_id",
    "upload_id",
    "cif",
    "type",
    "details",
    "created_raw",
    "created_at",
    "entry",
    "listed_at",
)
DOCUMENT = (
    "kind",
    "type",
    "number",
    "issue_date",
    "due_date",
    "tax_point_date",
    "supplier_name",
    "supplier_cif",
    "customer_name",
    "customer_cif",
    "partner_name",
    "partner_cif",
    "currency",
    "payable_minor",
    "signed_minor",
    "ron_minor",
    "tax_minor",
    "summary",
    "folder_name",
    "warnings",
    "problem",
)
LINE = (
    "position",
    "line_id",
    "name",
    "description",
    "seller_item_id",
    "standard_item_id",
    "classification",
    "quantity",
    "unit",
    "price",
    "net_minor",
    "vat_category",
    "vat_rate",
)
FILE = ("role", "stored_name", "shown_name", "shown_suffix", "mime", "size", "sha256")
NOTICE = ("type", "upload_id", "text", "folder_name", "period")


def of_document(
    new: NewDocument,
    *,
    client: ClientRow,
    identifiers: Iterable[str],
    message: Message | None = None,
    received_by: str | None = None,
    imported: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the manifest that is written with a document, before its row.

    `identifiers` are all that the client has then, `received_by` is the uid of
    the account that uploaded it, `imported` says from where (source, name, upload_id).
    """
    return {
        **_frame(new, client, identifiers, message, imported),
        "source": new.source,
        "received_by": received_by,
        "document": {
            **_pick(new, DOCUMENT),
            "lines": [
                {**_pick(line, LINE), "position": place}
                for place, line in enumerate(new.lines, start=1)
            ],
        },
        "signature": {
            "result": str(new.signature_result),
            "reason": str(new.signature_reason),
            "fingerprint": new.signature_fingerprint,
        },
    }


def of_notice(
    new: NewNotice,
    *,
    client: ClientRow,
    identifiers: Iterable[str],
    message: Message | None,
    imported: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the manifest of an ANAF error, a buyer message or a message of unknown type."""
    return {
        **_frame(new, client, identifiers, message, imported),
        "source": "spv" if imported is None else "import",
        "received_by": None,
        "notice": {**_pick(new, NOTICE), "period": current_period(new.received_at)},
    }


def columns(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return values as the database holds them, for the columns that the facts name."""
    return {name: _stored(name, facts[name]) for name in names if name in facts}


def _frame(
    new: NewDocument | NewNotice,
    client: ClientRow,
    identifiers: Iterable[str],
    message: Message | None,
    imported: Mapping[str, str] | None,
) -> dict[str, Any]:
    return {
        "v": VERSION,
        **({} if imported is None else {"imported": dict(imported)}),
        "uid": new.uid,
        "client": {
            **_pick(client, CLIENT),
            "identifiers": [
                {"scheme": cif.scheme(value), "value": value} for value in sorted(identifiers)
            ],
        },
        "received_at": to_text(new.received_at),
        "message": None if message is None else _pick(message, MESSAGE),
        "files": [_pick(file, FILE) for file in new.files],
    }


def _pick(facts: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: _plain(name, getattr(facts, name, None)) for name in names}


def _plain(name: str, value: Any) -> Any:
    """Return a value as JSON shows it to a reader."""
    if isinstance(value, Sentence):
        return {"ro": value.ro, "en": value.en}
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if name == "entry":
        # As text: ANAF may send a number that has no canonical form.
        return json.dumps(dict(value), ensure_ascii=False)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [dict(item) if isinstance(item, Mapping) else item for item in value]
    return str(value) if isinstance(value, str) else value


def _stored(name: str, value: Any) -> Any:
    if name == "problem" and isinstance(value, Mapping):
        return Sentence(str(value["ro"]), str(value["en"])).to_json()
    if name == "warnings":
        return json.dumps(value or [])
    if isinstance(value, list | Mapping):
        return json.dumps(value, ensure_ascii=False) if value else None
    return value
