"""What SPV lists and what was sent in: the two records, and the sentence ANAF writes about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from appliance.core.times import BUCHAREST
from appliance.simulator import generator


@dataclass
class Message:
    """One entry of one CIF's list, and the zip behind it."""

    id: str
    upload_id: str
    cif: str
    tip: str
    details: str
    created: datetime
    write: Callable[[], bytes]
    raw_zip: bytes | None = None
    visible: datetime | None = None  # later than `created` when the index is late

    def entry(self) -> dict[str, str]:
        """Return the entry with ANAF's keys in ANAF's order."""
        return {
            "data_creare": f"{self.created.astimezone(BUCHAREST):%Y%m%d%H%M}",
            "cif": self.cif,
            "id_solicitare": self.upload_id,
            "detalii": self.details,
            "tip": self.tip,
            "id": self.id,
        }


@dataclass
class Upload:
    """A file that somebody sent in, and what became of it."""

    id: str
    cif: str
    created: datetime
    state: str  # ok, nok, XML cu erori nepreluat de sistem
    download_id: str = ""
    parties: frozenset[str] = frozenset()


def details(
    tip: str, upload_id: str, issuer: str, beneficiary: str, self_billed: bool, about: str
) -> str:
    """Return the sentence that ANAF puts into `detalii`."""
    if tip == generator.ERRORS:
        return f"Erori de validare identificate la factura transmisa cu id_incarcare={upload_id}"
    if tip.startswith("MESAJ"):
        # ANAF's own wording is not published
        return f"Mesaj cumparator pentru factura cu id_incarcare={about}"
    if self_billed:
        return (
            f"Factura cu id_incarcare={upload_id} transmisa de cif={beneficiary}  "
            f"ca autofactura in numele cif={issuer}"
        )
    return (
        f"Factura cu id_incarcare={upload_id} emisa de cif_emitent={issuer} "
        f"pentru cif_beneficiar={beneficiary}"
    )
