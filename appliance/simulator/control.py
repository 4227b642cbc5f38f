"""The simulator's own paths, by which its world is changed. JSON in, JSON out:

    GET  /simulator             what is served, and which calls are being held
    POST /simulator/clock       {"now": "2026-11-24T10:00:00+00:00"} or {"advance": seconds}
    POST /simulator/messages    {"cif"?, "received"?: true, "count"?: 1} or {"cif"?, "tip"?, "xml"}
    POST /simulator/faults      {"kind": "waf", "path"?: "descarcare", …}; {} clears (see `rules`)
    POST /simulator/latency     {"path"?: "descarcare", "seconds": 2.5}; {} lets go of all
    POST /simulator/rights      {"cifs": [...], "serial"?, "after"?: seconds}
    POST /simulator/indexing    {"minutes": 15}: new messages are listed 0 to 15 minutes late
    POST /simulator/oauth       {"next"?: "access_denied"|"no_code", "rotation"?, "serial"?}
    POST /simulator/limits      {"calls_per_minute"?: 0, ...}; counters start again
    POST /simulator/issued      {}: every code and token that was given out since the start

`path` is any part of a path; without one every call of ANAF's is meant.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.simulator import rules
from appliance.simulator.faults import FAULTS, Fault, Scene
from appliance.simulator.http import Receive, Request, Response, json_answer
from appliance.simulator.messages import Message
from appliance.simulator.oauth import Authority
from appliance.simulator.state import State


@dataclass
class Control:
    """What was asked for by `POST /simulator/…` and is not part of SPV itself."""

    state: State
    authority: Authority
    next_authorisation: str = ""
    _rules: list[rules.Rule] = field(default_factory=list)
    _given: int = 0
    _struck: Counter[str] = field(default_factory=Counter)
    _latency: dict[str, float] = field(default_factory=dict)
    _held: Counter[str] = field(default_factory=Counter)
    _let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def keep_waiting(self, seconds: float) -> None:
        """Hold every answer of ANAF's paths back for so long."""
        self._latency[""] = seconds

    def answer(self, request: Request) -> Response:
        """Answer a request below /simulator."""
        name = request.path.strip("/").removeprefix("simulator").strip("/")
        if request.method == "GET" and not name:
            return json_answer(self.summary())
        if request.method != "POST":
            return Response(405)
        try:
            return json_answer(self._change(name, request.json()))
        except (ValueError, TypeError, KeyError, LookupError) as error:
            return json_answer({"error": str(error)}, status=400)

    def summary(self) -> dict[str, Any]:
        """Return what is served, for people and tests."""
        state = self.state
        return {
            "now": state.now().isoformat(),
            "messages": state.count(),
            "documents": state.served,
            "ignored": state.ignored,
            "cifs": list(state.reachable(self.authority.serial)),
            "certificate": state.signer.pinned.fingerprint,
            "held": dict(self._held),
            "struck": dict(self._struck),
        }

    def arm(self, wanted: Mapping[str, Any]) -> None:
        """Add a rule of faults; `ValueError` says what is wrong with it."""
        seed = f"{self.state.seed}:{self._given}"
        self._rules.append(rules.rule(wanted, given=self.state.now(), seed=seed))
        self._given += 1

    def fault_for(self, request: Request) -> tuple[Fault, Scene] | None:
        """Return the fault that strikes a call; the first rule that does is the only one."""
        if not self._rules:
            return None
        call, now = self._call(request), self.state.now()
        for rule in self._rules:
            if rule.strikes(call, now):
                self._struck[rule.kind] += 1
                return rule.fault, Scene(self.state, request, rule.seconds)
        return None

    def _call(self, request: Request) -> rules.Call:
        query = request.query
        wanted = query.get("id") or query.get("id_incarcare") or ""
        cif = query.get("cif", "")
        if not cif and wanted:
            about = self.state.message(wanted) or self.state.upload_of(wanted)
            cif = about.cif if about else ""
        return rules.Call(request.path, cif, wanted, query.get("pagina", ""))

    async def hold(self, path: str, receive: Receive, late: float = 0) -> None:
        """Keep the answer back as long as the latency says, or `late` seconds if that is longer.

        Ends early when the latency is changed or the caller hangs up; the call
        counts as `held` until then. Its body must have been received.
        """
        seconds = max((s for part, s in self._latency.items() if part in path), default=0.0)
        seconds = max(seconds, late)
        if seconds <= 0:
            return
        self._held[path] += 1
        ends = [
            asyncio.ensure_future(self._let_go.wait()),
            asyncio.ensure_future(receive()),  # all that can come is the disconnection
        ]
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            self._held[path] -= 1
            self._held += Counter()  # drops what is zero

    def _change(self, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        if name == "clock":
            if "now" in wanted:
                moment = datetime.fromisoformat(wanted["now"])
                state.set_clock(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
            state.offset += timedelta(seconds=float(wanted.get("advance", 0)))
            return {"now": state.now().isoformat()}
        if name == "messages":
            return {"messages": [m.entry() for m in self._more(wanted)]}
        if name == "faults":
            if not wanted:
                self._rules.clear()
            else:
                self.arm(wanted)
            armed = sum(1 if math.isinf(rule.left) else int(rule.left) for rule in self._rules)
            return {"kinds": sorted(FAULTS), "armed": armed}
        if name == "latency":
            if wanted:
                self._latency[str(wanted.get("path", ""))] = float(wanted["seconds"])
            else:
                self._latency.clear()
            # Those that are held now go; later ones meet the new latency.
            self._let_go.set()
            self._let_go = asyncio.Event()
            return {"latency": dict(self._latency)}
        if name == "rights":
            serial = wanted.get("serial", self.authority.serial)
            cifs = tuple(str(cif) for cif in wanted["cifs"])
            after = timedelta(seconds=float(wanted.get("after", 0)))
            state.change_rights(serial, cifs, after)
            return {"rights": {name: list(cifs) for name, cifs in state.rights.items()}}
        if name == "indexing":
            state.lateness = timedelta(minutes=float(wanted["minutes"]))
            return {"minutes": state.lateness.total_seconds() / 60}
        if name == "oauth":
            self.next_authorisation = str(wanted.get("next", ""))
            self.authority.rotation = bool(wanted.get("rotation", self.authority.rotation))
            self.authority.serial = str(wanted.get("serial", self.authority.serial))
            return {"serial": self.authority.serial, "rotation": self.authority.rotation}
        if name == "issued":
            return {"issued": list(self.authority.issued)}
        if name == "limits":
            limits = {key: int(value) for key, value in wanted.items()}
            state.limits = dataclasses.replace(state.limits, **limits)
            state.forget_counters()
            return dataclasses.asdict(state.limits)
        raise LookupError(f"nothing is called {name!r} here")

    def _more(self, wanted: Mapping[str, Any]) -> list[Message]:
        first = next(iter(self.state.rights[self.authority.serial]))
        cif = str(wanted.get("cif", first))
        if "xml" in wanted:
            document = str(wanted["xml"]).encode()
            return self.state.add_document(cif, str(wanted.get("tip", "")), document)
        received = bool(wanted.get("received", True))
        return [
            message
            for _ in range(int(wanted.get("count", 1)))
            for message in self.state.add_generated(cif, received)
        ]
