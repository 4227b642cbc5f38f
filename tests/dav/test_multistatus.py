"""Bodies of PROPFIND, read and written."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from appliance.core import naming, tree
from appliance.core.errors import BadInput
from appliance.dav import multistatus
from appliance.dav.multistatus import Asked, Item, Name

T = "2026-11-03T09:10:11.000000Z"
FOLDER = Item("/Alfa%20(1)/Aprobate/", "Aprobate", T, T)
FILE = Item(
    "/Alfa%20(1)/Aprobate/x/x.xml",
    "x & <y>.xml",
    T,
    T,
    collection=False,
    size=6000,
    mime="application/xml",
    etag='"0123"',
)


def ask(inner: str) -> bytes:
    return f'<?xml version="1.0"?><D:propfind xmlns:D="DAV:">{inner}</D:propfind>'.encode()


def propstats(body: bytes) -> list[dict[str, dict[str, str | None]]]:
    """Return, for each response, status code -> {property: text}."""
    found = []
    for response in etree.fromstring(body).findall("{DAV:}response"):
        by_status: dict[str, dict[str, str | None]] = {}
        for propstat in response.findall("{DAV:}propstat"):
            code = (propstat.findtext("{DAV:}status") or "").split()[1]
            prop = propstat.find("{DAV:}prop")
            assert prop is not None
            by_status[code] = {str(child.tag): child.text for child in prop}
        found.append(by_status)
    return found


def test_an_empty_body_asks_for_the_compact_set() -> None:
    folder, file = propstats(multistatus.render(multistatus.parse(b""), [FOLDER, FILE]))
    assert set(folder["200"]) == {
        "{DAV:}creationdate",
        "{DAV:}getlastmodified",
        "{DAV:}resourcetype",
    }
    assert file["200"]["{DAV:}getcontentlength"] == "6000"
    assert file["200"]["{DAV:}getetag"] == '"0123"'
    assert file["200"]["{DAV:}getlastmodified"] == "Tue, 03 Nov 2026 09:10:11 GMT"
    assert file["200"]["{DAV:}creationdate"] == "2026-11-03T09:10:11Z"


@pytest.mark.parametrize("folder", [["De aprobat"], ["Primite", "2026-11"]])
def test_a_member_with_the_longest_names_takes_less_than_460_bytes(folder: list[str]) -> None:
    client = naming.client_folder_name(
        "Întreprinderea de Construcții, Montaj & Reparații București S.R.L.", "RO12345678"
    )
    day = date(2026, 11, 3)
    partner = "Societatea Națională de Transport Feroviar Călători"
    name = naming.standard_name(day, partner, "FACT" + "2" * 40, "x", day)
    assert (len(client), len(name)) == (naming.CLIENT_LENGTH, naming.NAME_LENGTH)
    href = tree.join([client, *folder, name], collection=True)
    one = len(multistatus.render(Asked(), [FOLDER._replace(href=href)]))
    two = len(multistatus.render(Asked(), [FOLDER._replace(href=href)] * 2))
    assert two - one < 460


def test_quota_is_unknown_to_everybody_because_it_hangs_macs() -> None:
    names = ("quota-available-bytes", "quota-used-bytes", "quota", "quotaused")
    asked = multistatus.parse(ask("<D:prop>" + "".join(f"<D:{n}/>" for n in names) + "</D:prop>"))
    for answer in propstats(multistatus.render(asked, [FOLDER, FILE])):
        assert set(answer) == {"404"}
        assert set(answer["404"]) == {f"{{DAV:}}{name}" for name in names}
    for question in (b"", ask("<D:allprop/>"), ask("<D:propname/>")):
        assert b"quota" not in multistatus.render(multistatus.parse(question), [FOLDER, FILE])


def test_an_unknown_property_comes_back_with_its_namespace() -> None:
    asked = multistatus.parse(
        ask(
            '<D:prop><D:getetag/><A:appledoubleheader xmlns:A="http://a/%20s?x&amp;y"/><n/></D:prop>'
        )
    )
    _, file = propstats(multistatus.render(asked, [FOLDER, FILE]))
    assert set(file["200"]) == {"{DAV:}getetag"}
    assert set(file["404"]) == {"{http://a/%20s?x&y}appledoubleheader", "n"}


def test_an_unknown_property_of_the_xml_namespace_keeps_the_answer_well_formed() -> None:
    asked = multistatus.parse(ask("<D:prop><xml:lang/></D:prop>"))
    (folder,) = propstats(multistatus.render(asked, [FOLDER]))
    assert set(folder["404"]) == {"{http://www.w3.org/XML/1998/namespace}lang"}


def test_propname_names_what_there_is_without_values() -> None:
    folder, file = propstats(
        multistatus.render(multistatus.parse(ask("<D:propname/>")), [FOLDER, FILE])
    )
    assert set(file["200"].values()) == {None}
    assert "{DAV:}getcontentlength" in file["200"]
    assert "{DAV:}getcontentlength" not in folder["200"]


def test_include_adds_to_allprop() -> None:
    asked = multistatus.parse(
        ask("<D:allprop/><D:include><D:displayname/><D:supportedlock/></D:include>")
    )
    (folder,) = propstats(multistatus.render(asked, [FOLDER]))
    assert folder["200"]["{DAV:}displayname"] == "Aprobate"
    assert "{DAV:}supportedlock" in folder["200"]


@pytest.mark.parametrize(
    "body",
    [
        b"<not xml",
        b"nonsense",
        b"<propfind/>",
        ask(""),
        ask("<D:other/>"),
        b'<!DOCTYPE D:propfind [<!ENTITY a "b">]>' + ask("<D:allprop/>"),
        ('<!DOCTYPE D [<!ENTITY a "b">]>' + ask("<D:allprop/>").decode()[21:]).encode("utf-16"),
        ask("<D:prop>" + "".join(f"<D:p{n}/>" for n in range(201)) + "</D:prop>"),
        ask("<D:a>" * 5000 + "</D:a>" * 5000),
    ],
)
def test_a_body_that_asks_nothing_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        multistatus.parse(body)
    assert refused.value.sentence.ro.endswith(".")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_question_or_refused(body: bytes) -> None:
    try:
        asked = multistatus.parse(body)
    except BadInput:
        return
    etree.fromstring(multistatus.render(asked, [FOLDER, FILE]))


def test_a_name_is_asked_once() -> None:
    asked = multistatus.parse(ask("<D:prop><D:getetag/><D:getetag/></D:prop>"))
    assert asked.names == (Name("DAV:", "getetag"),)
