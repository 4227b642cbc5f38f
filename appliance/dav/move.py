"""MOVE: moving a document's folder approves, rejects, reconsiders or records it."""

from __future__ import annotations

from datetime import datetime

from appliance.core import tree
from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.dav import destination
from appliance.dav.exchange import Answer, Request, error
from appliance.dav.propfind import ABSENT
from appliance.dav.resources import Resources
from appliance.store import documents


async def move(
    request: Request, resources: Resources, *, hosts: frozenset[str], device: str, at: datetime
) -> Answer:
    """Answer 201 when the action is done, and where the folder stands now.

    404 when the person may not see the source, whatever the destination; 403
    for a move that is no action of theirs; 409 with a sentence for the wrong
    kind, a month that is not open or a document that somebody else has just
    moved; 412 when the name is taken there and under a condition that does not
    hold. Overwrite does not matter: nothing is ever replaced. Unless the answer
    is 201 nothing has changed.
    """
    header = request.header(b"destination")
    if header is None:
        raise BadInput(_NO_DESTINATION)
    node = resources.find(tree.split(request.raw_path))
    if node is None:
        return error(404, ABSENT, resources.language)
    segments = destination.parse(header, hosts)
    target = None if segments is None else tree.parse(segments)
    document = node.document
    if document is None or not node.place.is_document:
        return error(403, _NOT_THIS, resources.language)
    intent = tree.move_intent(
        node.place, target, name=document.standing.name, kind=document.standing.kind
    )
    if isinstance(intent, tree.Refusal):
        return error(409 if intent.conflict else 403, intent.sentence, resources.language)
    if resources.find(segments) is not None:
        return error(412, _TAKEN, resources.language)
    if _asks_for_another_state(request):
        return error(412, _NOT_THAT_STATE, resources.language)
    acted = await documents.act(
        document.uid,
        intent.action,
        resources.viewer,
        seen_status=document.standing.status,
        seen_revision=document.revision,
        at=at,
        channel="drive",
        device=device,
        reason=intent.reason,
        period=intent.period,
        alias_path=intent.alias_path,
    )
    now = tree.place_of(
        node.place.client,
        tree.Standing(acted.status, document.standing.kind, acted.period, acted.folder_name),
    )
    location = tree.join(now.segments, collection=True)
    return Answer(201, ((b"location", location.encode()),))


def _asks_for_another_state(request: Request) -> bool:
    """Tell whether the move was meant for a lock or an ETag: folders have neither."""
    if request.header(b"if") is not None or request.header(b"if-none-match") == b"*":
        return True
    return request.header(b"if-match") not in (None, b"*")


_NO_DESTINATION = Sentence(
    "Cererea de mutare nu spune unde. Trimite antetul Destination.",
    "the move does not say where to; send the Destination header",
)
_NOT_THIS = Sentence(
    "Se mută numai dosarul întreg al unui document. Mută dosarul, nu fișierele din el.",
    "only the whole folder of a document moves; move the folder, not the files in it",
)
_NOT_THAT_STATE = Sentence(
    "Mutarea a fost cerută pentru o altă stare a dosarului. Reîncarcă dosarul.",
    "the move was meant for another state of the folder; reload the folder",
)
_TAKEN = Sentence(
    "Acolo există deja un dosar cu acest nume, iar pe disc nu se suprascrie nimic. "
    "Reîncarcă dosarul.",
    "there is a folder of that name already and nothing on the drive is overwritten; "
    "reload the folder",
)
