"""Lists as they should not be, but are: each function changes a good answer in place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.simulator.http import Response, moment_of
from appliance.simulator.state import State

FOREIGN_CIF = "80999994"
UNKNOWN_TIP = "INSTIINTARE NOUA"


@dataclass(frozen=True)
class Place:
    """Where in which list an answer stands; `page` is 1 in a list without pages."""

    state: State
    query: Mapping[str, str]
    page: int


Spoil = Callable[[dict[str, Any], Place], None]


def spoiled(response: Response, spoil: Spoil, state: State, query: Mapping[str, str]) -> Response:
    """Return the list changed; an answer without messages stays as it is."""
    if b'"mesaje":[' not in response.body[:20]:
        return response
    answer = json.loads(response.body)
    spoil(answer, Place(state, query, answer.get("index_pagina_curenta", 1)))
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return dataclasses.replace(response, body=text.encode())


def numbers(answer: dict[str, Any], place: Place) -> None:
    answer["mesaje"] = [
        {key: int(value) if value.isdigit() else value for key, value in entry.items()}
        for entry in answer["mesaje"]
    ]


def without_ids(answer: dict[str, Any], place: Place) -> None:
    for entry in answer["mesaje"]:
        del entry["id"]


def foreign(answer: dict[str, Any], place: Place) -> None:
    for entry in answer["mesaje"]:
        entry["cif"] = FOREIGN_CIF


def with_nameless_entry(answer: dict[str, Any], place: Place) -> None:
    more = {**answer["mesaje"][0], "id_solicitare": "6471000001"}
    del more["id"]
    _one_more(answer, place, more)


def with_foreign_entry(answer: dict[str, Any], place: Place) -> None:
    more = {"cif": FOREIGN_CIF, "id_solicitare": "6471000002", "id": "7711000002"}
    _one_more(answer, place, {**answer["mesaje"][0], **more})


def unknown_tip(answer: dict[str, Any], place: Place) -> None:
    answer["mesaje"][0]["tip"] = UNKNOWN_TIP


def repeated(answer: dict[str, Any], place: Place) -> None:
    """As when something was added to the list while it was being read."""
    if place.page < 2:
        return
    query, size = place.query, place.state.limits.page_size
    found = place.state.listed(
        query["cif"],
        moment_of(query["startTime"]),
        moment_of(query["endTime"]),
        query.get("filtru", ""),
    )
    answer["mesaje"].insert(0, found[(place.page - 1) * size - 1].entry())


def growing(answer: dict[str, Any], place: Place) -> None:
    """Each page but the last says that only one more page follows."""
    if "numar_total_pagini" not in answer or place.page + 1 >= answer["numar_total_pagini"]:
        return
    answer["numar_total_pagini"] = place.page + 1
    size = answer["numar_total_inregistrari_per_pagina"]
    answer["numar_total_inregistrari"] = (place.page + 1) * size


def few(answer: dict[str, Any], place: Place) -> None:
    answer["mesaje"] = answer["mesaje"][: -(-len(answer["mesaje"]) // 10)]
    if "numar_total_pagini" in answer:
        kept = len(answer["mesaje"])
        answer |= {"numar_inregistrari_in_pagina": kept, "numar_total_inregistrari": kept}
        answer["numar_total_pagini"] = 1


def _one_more(answer: dict[str, Any], place: Place, entry: dict[str, Any]) -> None:
    """Add to the first page; the totals of every page know of it."""
    if place.page == 1:
        answer["mesaje"].append(entry)
    if "numar_total_inregistrari" in answer:
        answer["numar_total_inregistrari"] += 1
        answer["numar_inregistrari_in_pagina"] = len(answer["mesaje"])
