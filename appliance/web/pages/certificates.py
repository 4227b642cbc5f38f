"""For administrators: the signing certificates that are trusted, and those that were only seen.

A certificate is added out of an archived signature, after its fingerprint was
shown; what was added may be taken back. Of the documents that it signed the page
says how many and when: whose they are and what stands in them is not told.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from appliance.core import certificates as core
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import NotFound
from appliance.core.roles import Role
from appliance.core.sentence import Sentence
from appliance.store import certificates
from appliance.store.certificates import Trusted, Use
from appliance.store.pinned import pinned_certificates
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import see_other
from appliance.web.pages.frame import frame_for
from appliance.web.portal import portal_of
from appliance.web.render import page, translate
from appliance.web.visit import Visit, viewer_of, visit_of


@get("/certificates", opt=allow(Role.ADMIN))
async def certificate_list(request: Request[Any, Any, Any]) -> Response[str]:
    """Unknown ones first: they wait for somebody.

    `?added=` and `?removed=` name the one whose trust has just changed; it is said if it is so.
    """
    visit = visit_of(request)
    configured = await _configured(request)
    listed = await certificates.listed(configured)
    archive = portal_of(request).archive
    unknown = []
    for use in await certificates.strange(configured):
        found = await certificates.of_documents(use.fingerprint, archive)
        unknown.append(
            {
                "fingerprint": use.fingerprint,
                "shown": shown(use.fingerprint),
                "name": _name(found[0].subject) if found else "",
                "subject": found[0].subject if found else "",
                "readable": found is not None,
                **_signed(use, visit.language),
            }
        )
    known = {one.certificate.fingerprint for one in listed}
    text = ""
    if request.query_params.get("added") in known:
        text = translate(visit.language, "certificates.added.done")
    elif request.query_params.get("removed", "") not in {"", *known}:
        text = translate(visit.language, "certificates.removed.done")
    return page(
        visit,
        "certificates.html",
        frame=await frame_for(viewer_of(request), "certificates"),
        unknown=unknown,
        trusted=[_row(one, visit) for one in listed],
        done={"text": text, "undo": None} if text else None,
    )


@get("/certificates/{fingerprint:str}", opt=allow(Role.ADMIN))
async def certificate_page(
    request: Request[Any, Any, Any], fingerprint: FromPath[str]
) -> Response[str]:
    """What an unknown certificate says of itself, and the button that trusts it."""
    visit = visit_of(request)
    certificate, der = await _unknown(request, fingerprint)
    use = (await certificates.uses())[fingerprint]
    return page(
        visit,
        "certificate.html",
        frame=await frame_for(viewer_of(request), "certificates"),
        fingerprint=fingerprint,
        shown=shown(fingerprint),
        subject=certificate.subject,
        issuer=core.issuer(der),
        validity=_validity(certificate, visit.language),
        **_signed(use, visit.language),
    )


@post("/certificates/{fingerprint:str}", opt=allow(Role.ADMIN), status_code=303)
async def trust(request: Request[Any, Any, Any], fingerprint: FromPath[str]) -> Response[str]:
    """Trust it from now on; what it signed is judged again. A second time nothing changes."""
    if fingerprint not in await certificates.trusted(await _configured(request)):
        _, der = await _unknown(request, fingerprint)
        viewer = viewer_of(request)
        await certificates.add(der, visit_of(request).at, by=viewer.user_id, by_uid=viewer.user_uid)
    return see_other(f"/certificates?added={fingerprint}")


@post("/certificates/{fingerprint:str}/remove", opt=allow(Role.ADMIN), status_code=303)
async def distrust(request: Request[Any, Any, Any], fingerprint: FromPath[str]) -> Response[str]:
    """Take back what an administrator added; what it signed is judged again."""
    visit, viewer = visit_of(request), viewer_of(request)
    if not await certificates.remove(fingerprint, visit.at, by_uid=viewer.user_uid):
        raise NotFound(
            Sentence(
                "Certificatul nu este printre cele adăugate. Poate l-a scos deja altcineva: "
                "vezi lista.",
                "the certificate is not among those added; perhaps somebody has removed it: "
                "see the list",
            )
        )
    return see_other(f"/certificates?removed={fingerprint}")


async def _configured(request: Request[Any, Any, Any]) -> Mapping[str, PinnedCertificate]:
    directory = portal_of(request).settings.spv_extra_certificates
    return await asyncio.to_thread(pinned_certificates, directory)


async def _unknown(
    request: Request[Any, Any, Any], fingerprint: str
) -> tuple[PinnedCertificate, bytes]:
    strange = await certificates.strange(await _configured(request))
    found = None
    if any(use.fingerprint == fingerprint for use in strange):
        found = await certificates.of_documents(fingerprint, portal_of(request).archive)
    if found is None:
        raise NotFound(
            Sentence(
                "Niciun document nu are acest certificat necunoscut. Poate l-a adăugat deja "
                "altcineva: vezi lista.",
                "no document has this unknown certificate; perhaps somebody has added it: "
                "see the list",
            )
        )
    return found


def shown(fingerprint: str) -> str:
    """Return it as other programs print it, in pairs."""
    pairs = [fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)]
    return ":".join(pairs).upper()


def _name(subject: str) -> str:
    """Return the common name of a subject (RFC 4514); all of it when there is none."""
    found = re.search(r"(?:^|,)CN=((?:\\.|[^\\,])+)", subject)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else subject


def _validity(certificate: PinnedCertificate, language: str) -> str:
    first, last = certificate.not_before.date(), certificate.not_after.date()
    return f"{i18n.day(first, language)} – {i18n.day(last, language)}"


def _signed(use: Use | None, language: str) -> dict[str, Any]:
    if use is None:
        return {"number": 0, "dates": "", "late": 0}
    first, last = use.first_at.date(), use.last_at.date()
    dates = i18n.day(first, language)
    if last != first:
        dates += f" – {i18n.day(last, language)}"
    return {"number": use.number, "dates": dates, "late": use.not_valid_then}


def _row(one: Trusted, visit: Visit) -> dict[str, Any]:
    language, certificate = visit.language, one.certificate
    origin = translate(language, f"certificates.{one.origin}")
    if one.added is not None:
        day = i18n.day(one.added.at.date(), language)
        origin = f"{origin}, {one.added.by or 'arhivar certificate add'}, {day}"
    state = "current"
    if certificate.not_after < visit.at:
        state = "over"
    elif certificate.not_before > visit.at:
        state = "later"
    return {
        "fingerprint": certificate.fingerprint,
        "shown": shown(certificate.fingerprint),
        "name": _name(certificate.subject),
        "subject": certificate.subject,
        "origin": origin,
        "removable": one.origin == "added",
        "validity": _validity(certificate, language),
        "state": translate(language, f"certificates.{state}"),
        "style": "good" if state == "current" else "plain",
        "judging": one.use.unknown if one.use else 0,
        **_signed(one.use, language),
    }


HANDLERS: list[BaseRouteHandler] = [certificate_list, certificate_page, trust, distrust]
