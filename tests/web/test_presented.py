"""Nothing that the invoice says is missing from its page."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.core import presentation, ubl
from appliance.core.errors import DocumentRefused
from appliance.core.presentation import Presented
from appliance.simulator import generator
from appliance.web.render import environment
from tests.support.store import NOW

_WORDS = re.compile(r"\s+")


def texts(value: Any) -> Iterator[str]:
    """Yield every text of what is to be shown, whatever it stands in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from texts(each)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))


def page_of(presented: Presented) -> str:
    """Return what a person reads of the page, with the markup taken away."""
    source = environment(presented.language).get_template("invoice.html")
    page = source.render(presented=presented)
    return _WORDS.sub(" ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def missing(presented: Presented) -> list[str]:
    page = page_of(presented)
    return [
        text
        for text in texts(dataclasses.replace(presented, language="", currency=""))
        if _WORDS.sub(" ", text).strip() not in page
    ]


@pytest.mark.parametrize("language", ["ro", "en"])
def test_every_text_of_a_generated_invoice_is_on_its_page(language: str) -> None:
    planned = [
        entry
        for entry in generator.plan(11, 60, NOW)
        if entry.tip in (generator.RECEIVED, generator.ISSUED)
    ]
    assert len(planned) >= 60
    for entry in planned:
        presented = presentation.present(ubl.read(entry.write("5001", "")), language)
        assert missing(presented) == []


def test_every_text_of_a_real_invoice_is_on_its_page(corpus: Path) -> None:
    read = 0
    for path in sorted(corpus.rglob("*.xml")):
        try:
            invoice = ubl.read(path.read_bytes())
        except DocumentRefused:
            continue
        if len(invoice.lines) > 1000:
            continue
        read += 1
        assert missing(presentation.present(invoice, "ro")) == [], path
    assert read > 50
