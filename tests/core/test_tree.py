"""The tree of names: paths in, places out, and which move is which step."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import tree
from appliance.core.lifecycle import TRANSITIONS, Action
from appliance.core.roles import Kind, Role, Status
from appliance.core.tree import Folder, Move, Place, Refusal, Standing

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLIENT = "Construcții Țepeș SRL (12345674)"
NAME = "2026-11-03_ENEL-ENERGIE_EFI-1203"

names = st.text(
    st.characters(exclude_categories=["C"], exclude_characters='\\/:*?"<>|'), min_size=1
).filter(lambda text: text not in (".", ".."))
months = st.builds("{:04d}-{:02d}".format, st.integers(0, 9999), st.integers(1, 12))
standings = st.builds(
    Standing,
    status=st.sampled_from(Status),
    kind=st.sampled_from(Kind),
    period=months,
    name=names.filter(lambda text: not tree.is_month(text)),
)
places = st.builds(
    Place,
    client=st.sampled_from([CLIENT, "Beta SRL (1)"]),
    folder=st.sampled_from(Folder),
    month=st.sampled_from(["", "2026-11"]),
    name=st.sampled_from(["", NAME, NAME.lower(), "other"]),
    file=st.sampled_from(["", f"{NAME}.pdf"]),
)


@given(names, standings)
def test_a_document_is_found_by_the_path_of_the_place_where_it_stands(
    client: str, document: Standing
) -> None:
    place = tree.place_of(client, document)
    path = tree.join(place.segments, collection=True)
    segments = tree.split(path.encode())
    assert segments is not None
    found = tree.parse(segments)
    assert found is not None
    assert tree.stands_at(found, document, NOON)


@given(names, standings)
def test_windows_case_and_the_macs_decomposed_letters_find_the_same_document(
    client: str, document: Standing
) -> None:
    place = tree.place_of(client, document)
    for spelling in (
        [unicodedata.normalize("NFD", part) for part in place.segments],
        [part.lower() for part in place.segments],
    ):
        found = tree.parse(spelling)
        assert found is not None
        if tree.key(place.name) == tree.key(spelling[-1]):  # İ and its kind change for good
            assert tree.stands_at(found, document, NOON)


@given(standings)
def test_a_document_stands_at_one_place_only(document: Standing) -> None:
    real = tree.place_of(CLIENT, document)
    elsewhere = [
        Place(CLIENT, folder, month, document.name)
        for folder in Folder
        for month in ("", document.period or "", "1999-01")
    ]
    found = [place for place in elsewhere if tree.stands_at(place, document, NOON)]
    assert set(found) <= {real}


@given(st.binary(max_size=60).map(lambda tail: b"/" + tail))
def test_any_bytes_are_a_path_or_nothing(path: bytes) -> None:
    segments = tree.split(path)
    if segments is not None:
        assert not {"", ".", ".."} & set(segments)
        assert not any("/" in segment or "\\" in segment for segment in segments)
        tree.parse(segments)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"Alfa",
        b"/../etc/passwd",
        b"/%2e%2e/etc",
        b"/./Alfa",
        b"/Alfa%2fAprobate",
        b"/Alfa%5cAprobate",
        b"/Alfa\\Aprobate",
        b"/Alfa%00",
        b"/Alfa%0d%0aX",
        b"/Alfa%7f",
        b"/\xff\xfe",
        b"/%c0%ae%c0%ae/",
        b"/Alfa%e2%80%ae",  # right-to-left override
        b"/Alfa?x",
        b"/C:",
        b"/" + b"a" * 5000,
        b"/a" * 13,
    ],
)
def test_a_path_that_means_harm_names_nothing(path: bytes) -> None:
    assert tree.split(path) is None


def test_a_percent_sign_is_decoded_once() -> None:
    assert tree.split(b"/100%2541") == ("100%41",)


def test_doubled_and_closing_slashes_do_not_count() -> None:
    assert tree.split(b"//Alfa///Aprobate/") == ("Alfa", "Aprobate")
    assert tree.split(b"/") == ()


@pytest.mark.parametrize(
    "segments",
    [
        ("Alfa", "Secret"),
        ("Alfa", "Aprobate", NAME, "x.pdf", "deeper"),
        ("Alfa", "Emise", "2026-11", NAME, "x.pdf", "deeper"),
        ("Alfa", "Aprobate", "2026-11", NAME, "x.pdf"),
    ],
)
def test_the_tree_has_no_other_levels(segments: tuple[str, ...]) -> None:
    assert tree.parse(segments) is None


def test_a_month_is_four_digits_a_dash_and_two_also_when_no_year_has_it() -> None:
    for text in ("2026-11", "2026-13", "2026-00"):
        assert tree.is_month(text)
    for text in ("26-11", "2026-1", "2026-11-03", "٢٠٢٦-١١", "2026-11\n"):
        assert not tree.is_month(text)


def test_people_of_the_firm_have_no_folder_for_what_is_not_approved() -> None:
    firm = tree.folders_for(frozenset({Role.ADMIN, Role.ACCOUNTANT}))
    assert set(Folder) - set(firm) == {Folder.TO_APPROVE, Folder.REJECTED}
    assert tree.folders_for(frozenset({Role.VIEWER})) == tuple(Folder)
    assert tree.folders_for(frozenset({Role.ACCOUNTANT, Role.OWNER})) == tuple(Folder)
    assert tree.folders_for(frozenset()) == ()


@pytest.mark.parametrize(
    ("source", "target", "action"),
    [
        (Place(CLIENT, Folder.TO_APPROVE, "", NAME), Folder.APPROVED, Action.APPROVE),
        (Place(CLIENT, Folder.TO_APPROVE, "", NAME), Folder.REJECTED, Action.REJECT),
        (Place(CLIENT, Folder.REJECTED, "", NAME), Folder.TO_APPROVE, Action.RECONSIDER),
        (Place(CLIENT, Folder.APPROVED, "", NAME), Folder.RECEIVED, Action.RECORD),
    ],
)
def test_moving_the_folder_of_a_document_is_the_action(
    source: Place, target: Folder, action: Action
) -> None:
    move = tree.move_intent(source, Place(CLIENT, target, "", NAME), name=NAME, kind=Kind.RECEIVED)
    assert isinstance(move, Move)
    assert move.action is action
    assert (move.reason == "mutat pe disc") is (action is Action.REJECT)


def test_recording_takes_the_month_of_the_path_or_the_default_and_an_alias() -> None:
    source = Place(CLIENT, Folder.APPROVED, "", NAME)
    month = tree.move_intent(
        source, Place(CLIENT, Folder.ISSUED, "2026-10", NAME), name=NAME, kind=Kind.ISSUED
    )
    assert month == Move(Action.RECORD, period="2026-10")
    default = tree.move_intent(
        source, Place(CLIENT, Folder.ISSUED, "", NAME.lower()), name=NAME, kind=Kind.ISSUED
    )
    assert default == Move(Action.RECORD, alias_path=f"Emise/{NAME}")
    nonsense = tree.parse([CLIENT, "Emise", "2026-13", NAME])
    assert tree.move_intent(source, nonsense, name=NAME, kind=Kind.ISSUED) == Move(
        Action.RECORD, period="2026-13"
    )


def test_the_wrong_kind_is_a_conflict_that_names_the_right_folder() -> None:
    refused = tree.move_intent(
        Place(CLIENT, Folder.APPROVED, "", NAME),
        Place(CLIENT, Folder.ISSUED, "", NAME),
        name=NAME,
        kind=Kind.RECEIVED,
    )
    assert isinstance(refused, Refusal)
    assert refused.conflict
    assert "Primite" in refused.sentence.ro


@given(places, places, st.sampled_from(Kind))
def test_only_whole_folders_move_under_their_name_within_their_client_along_the_table(
    source: Place, target: Place, kind: Kind
) -> None:
    intent = tree.move_intent(source, target, name=NAME, kind=kind)
    if isinstance(intent, Refusal):
        return
    assert source.is_document
    assert target.is_document
    assert source.client == target.client
    assert tree.key(target.name) == tree.key(NAME)
    assert source.folder is not None
    assert (tree.STATUS_OF[source.folder], intent.action) in TRANSITIONS


def test_the_alias_ends_after_ten_minutes_and_leads_nowhere_else() -> None:
    document = Standing(
        Status.ARCHIVED, Kind.ISSUED, "2026-11", NAME, f"Emise/{NAME}", NOON + tree.ALIAS_LASTS
    )
    alias = Place(CLIENT, Folder.ISSUED, "", NAME)
    assert tree.stands_at(alias, document, NOON)
    assert tree.stands_at(Place(CLIENT, Folder.ISSUED, "", NAME.upper()), document, NOON)
    assert not tree.stands_at(alias, document, NOON + timedelta(minutes=10))
    assert not tree.stands_at(Place(CLIENT, Folder.RECEIVED, "", NAME), document, NOON)


def test_what_systems_look_for_in_every_folder_is_litter() -> None:
    for name in ("desktop.ini", "Desktop.INI", "Thumbs.db", "._factura.pdf", ".DS_Store", "~$a"):
        assert tree.is_litter(name)
    assert not tree.is_litter(NAME)


@given(names)
def test_one_name_has_one_spelling_and_it_is_safe_inside_xml(name: str) -> None:
    encoded = tree.encode(name)
    assert not set(encoded) & set("<>&\"' /?#;%\n") - {"%"}
    assert tree.split(b"/" + encoded.encode()) == (unicodedata.normalize("NFC", name),)
