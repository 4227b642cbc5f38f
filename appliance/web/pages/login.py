"""Coming in and going out."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.store import accounts, clients, links, sessions
from appliance.store.engine import transaction
from appliance.web import i18n
from appliance.web.auth import csrf
from appliance.web.auth.cookies import CookieName
from appliance.web.auth.guards import ANYONE, PERSON, allow
from appliance.web.auth.host import coarse
from appliance.web.auth.passwords import check_new_password
from appliance.web.auth.sessions import FULL, hash_of, new_id
from appliance.web.auth.throttle import (
    WRONG,
    Attempt,
    TooManyTries,
    known_device,
    new_device,
)
from appliance.web.forms import Form, read_form, see_other
from appliance.web.portal import Portal, portal_of
from appliance.web.render import page, translate
from appliance.web.visit import Visit, safe_path, viewer_of, visit_of

log = logging.getLogger("arhivar.web")

ACTIVATION = "activation"
DEVICE_SECONDS = 180 * 24 * 3600
LINK_SECONDS = 15 * 60


@get("/login", opt=allow(ANYONE))
async def show_login(request: Request[Any, Any, Any]) -> Response[str]:
    """The log-in page; somebody who is logged in goes on to the first page."""
    visit = visit_of(request)
    if visit.viewer is not None:
        return see_other("/")
    _speak(visit, request.query_params.get("lang", ""))
    come_back = safe_path(request.query_params.get("next", ""))
    said = translate(visit.language, "login.again") if come_back else ""
    return _login_page(request, come_back=come_back, said=said)


@post("/login", opt=allow(ANYONE), status_code=303)
async def log_in(request: Request[Any, Any, Any]) -> Response[str]:
    """Check the password and begin a session with a new id; the old one dies."""
    visit, portal = visit_of(request), portal_of(request)
    form = await read_form(request)
    _speak(visit, form["lang"])
    email = form["email"].strip()[:254]
    account = await accounts.by_email(email)
    cookie = portal.cookies.read(request.scope["headers"], CookieName.DEVICE)
    device = known_device(portal.key, cookie, account.uid) if account else None
    attempt = Attempt(portal.key, email, visit.address, device)
    try:
        await attempt.begin(visit.at)
    except TooManyTries as error:
        log.warning("auth fail src=%s kind=throttled", visit.address)
        return _login_page(request, form=form, problem=error.sentence, status=429)
    stored = account.password_hash if account and not account.disabled else None
    right = await portal.passwords.verify(stored, form["password"])
    if account is None or stored is None or not right:
        log.warning("auth fail src=%s kind=password", visit.address)
        return _login_page(request, form=form, problem=WRONG, status=403)
    await attempt.succeed()
    if portal.passwords.needs_rehash(stored):
        stronger = await portal.passwords.hash(form["password"])
        await accounts.set_password_hash(account.id, stronger, visit.at, rehash=True)
    if device is None:
        mark = new_device(portal.key, account.uid)
        visit.cookies.append(portal.cookies.write(CookieName.DEVICE, mark, max_age=DEVICE_SECONDS))
    await begin_session(portal, visit, account.id, request)
    return see_other(safe_path(form["next"]) or "/")


@post("/logout", opt=allow(PERSON), status_code=303)
async def log_out(request: Request[Any, Any, Any]) -> Response[str]:
    """End the session and make the browser forget what it was shown."""
    visit, portal = visit_of(request), portal_of(request)
    if visit.session_hash is not None:
        await sessions.delete_session(visit.session_hash, visit.at)
    visit.cookies.append(portal.cookies.clear(CookieName.SESSION))
    response = see_other("/login")
    response.headers["clear-site-data"] = '"cache", "cookies", "storage"'
    return response


@post("/language", opt=allow(PERSON), status_code=303)
async def choose_language(request: Request[Any, Any, Any]) -> Response[str]:
    """Remember the language of the person's pages and show the same page in it."""
    form = await read_form(request)
    if form["language"] not in i18n.LANGUAGES:
        raise BadInput(Sentence("Alege română sau engleză.", "choose Romanian or English"))
    await accounts.set_language(viewer_of(request).user_id, form["language"])
    return see_other(safe_path(form["back"]) or "/")


@get("/activate/{token:str}", opt=allow(ANYONE))
async def open_link(request: Request[Any, Any, Any], token: FromPath[str]) -> Response[str]:
    """Take the token out of the address bar, history and logs; nothing else happens."""
    visit, portal = visit_of(request), portal_of(request)
    if len(token) != 43 or not all(c.isascii() and (c.isalnum() or c in "-_") for c in token):
        raise BadInput(_DEAD_LINK)
    visit.cookies.append(portal.cookies.write(CookieName.LINK, token, max_age=LINK_SECONDS))
    response = see_other("/activate")
    response.headers["referrer-policy"] = "no-referrer"
    return response


@get("/activate", opt=allow(ANYONE))
async def show_activation(request: Request[Any, Any, Any]) -> Response[str]:
    """The page where a password is chosen; showing it uses nothing up."""
    account = await links.peek(_link(request), ACTIVATION, visit_of(request).at)
    return _password_page(request, account)


@post("/activate", opt=allow(ANYONE), status_code=303)
async def activate(request: Request[Any, Any, Any]) -> Response[str]:
    """Set the password, use the link up and log the person in."""
    visit, portal = visit_of(request), portal_of(request)
    token = _link(request)
    account = await links.peek(token, ACTIVATION, visit.at)
    visit.language = account.language
    form = await read_form(request)
    firm = await clients.firm()
    try:
        if form["password"] != form["again"]:
            raise BadInput(
                Sentence(
                    "Cele două parole nu sunt la fel. Scrie aceeași parolă de două ori.",
                    "the two passwords differ; type the same one twice",
                )
            )
        about = [account.email, account.name, firm.name if firm else ""]
        check_new_password(form["password"], about=about)
    except BadInput as error:
        return _password_page(request, account, problem=error.sentence)
    stored = await portal.passwords.hash(form["password"])
    async with transaction():
        # Of two that post at once one finds the link spent, and nothing is half done.
        await links.spend(token, ACTIVATION, visit.at)
        await accounts.set_password_hash(account.id, stored, visit.at)
    visit.cookies.append(portal.cookies.clear(CookieName.LINK))
    await begin_session(portal, visit, account.id, request)
    return see_other("/")


async def begin_session(
    portal: Portal, visit: Visit, account_id: int, request: Request[Any, Any, Any]
) -> None:
    """Give the browser a new session; what it presented before is ended, never adopted."""
    presented = portal.cookies.read(request.scope["headers"], CookieName.SESSION)
    session_id = new_id()
    await sessions.create_session(
        hash_of(session_id),
        account_id,
        visit.at,
        level=FULL,
        address=coarse(visit.address),
        agent=visit.agent,
        replaces=hash_of(presented) if presented else None,
    )
    # Also takes back the line that would clear a dead one.
    visit.cookies = [
        cookie for cookie in visit.cookies if cookie != portal.cookies.clear(CookieName.SESSION)
    ]
    visit.cookies.append(portal.cookies.write(CookieName.SESSION, session_id))
    visit.cookies.append(portal.cookies.clear(CookieName.PRE_SESSION))


def _speak(visit: Visit, language: str) -> None:
    """Show this page in the language that was chosen on it or that its person has."""
    if language in i18n.LANGUAGES:
        visit.language = language


def _login_page(
    request: Request[Any, Any, Any],
    *,
    come_back: str = "",
    said: str = "",
    form: Form | None = None,
    problem: Sentence | None = None,
    status: int = 200,
) -> Response[str]:
    visit = visit_of(request)
    _bind_form(request)
    return page(
        visit,
        "login.html",
        status=status,
        next=safe_path(form["next"]) if form else come_back,
        email=form["email"][:254] if form else "",
        problem=problem.in_language(visit.language) if problem else "",
        said=said,
    )


def _password_page(
    request: Request[Any, Any, Any], account: accounts.Account, problem: Sentence | None = None
) -> Response[str]:
    visit = visit_of(request)
    visit.language = account.language
    _bind_form(request)
    response = page(
        visit,
        "password.html",
        status=400 if problem else 200,
        email=account.email,
        problem=problem.in_language(visit.language) if problem else "",
    )
    response.headers["referrer-policy"] = "no-referrer"
    return response


def _bind_form(request: Request[Any, Any, Any]) -> None:
    """Bind the page's form to this browser by its nonce cookie, a new one when it has none."""
    visit, portal = visit_of(request), portal_of(request)
    nonce = portal.cookies.read(request.scope["headers"], CookieName.PRE_SESSION)
    if nonce is None:
        nonce = secrets.token_urlsafe(32)
        visit.cookies.append(portal.cookies.write(CookieName.PRE_SESSION, nonce))
    visit.csrf = csrf.nonce_token(portal.key, nonce)


def _link(request: Request[Any, Any, Any]) -> str:
    portal = portal_of(request)
    token = portal.cookies.read(request.scope["headers"], CookieName.LINK)
    if token is None:
        raise BadInput(_DEAD_LINK)
    return token


_DEAD_LINK = Sentence(
    "Linkul nu mai este valabil. Cere altul administratorului.",
    "this link does not work any more; ask the administrator for another",
)


HANDLERS = [
    show_login,
    log_in,
    log_out,
    choose_language,
    open_link,
    show_activation,
    activate,
]
