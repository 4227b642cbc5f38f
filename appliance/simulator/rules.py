"""Which calls a fault strikes: the fault script, one rule for each.

A rule's conditions must all hold. What is random is drawn from the seed and
from what is asked for, not from the order of the calls: the same message meets
the same faults at its first, second, third try, whoever else is calling.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.simulator.faults import FAULTS, Fault

KEYS: Mapping[str, str] = {
    "kind": "what happens",
    "path": "regular expression found in the path; by default the path that the kind is about",
    "cif": "regular expression of the whole CIF that is asked for, or whose message it is",
    "id": "regular expression of the whole id or id_incarcare",
    "nth": "of the calls that match so far, the n-th; a number or a list",
    "attempt": "the n-th call for the same thing; a number or a list",
    "probability": "0.02: one in fifty, drawn from the seed",
    "since": "seconds after the rule was given, by the simulator's clock",
    "until": "seconds after the rule was given, by the simulator's clock",
    "times": "at most so often; without it and without any condition on calls or time, once",
    "seconds": "how long what takes time takes",
}
_API = "^/(?!anaf-oauth2/)"  # a fault at OAuth must be asked for by its path
_CONDITIONS = frozenset(("nth", "attempt", "probability", "since", "until"))


@dataclass(frozen=True)
class Call:
    """What a rule can see of a call."""

    path: str
    cif: str = ""
    id: str = ""
    page: str = ""


@dataclass
class Rule:
    """One line of a fault script, and how often it matched."""

    kind: str
    path: re.Pattern[str]
    cif: re.Pattern[str] | None
    id: re.Pattern[str] | None
    nth: frozenset[int]
    attempt: frozenset[int]
    probability: float
    since: timedelta | None
    until: timedelta | None
    left: float  # times it may still strike
    seconds: float
    given: datetime
    seed: str
    _matched: int = 0
    _tries: Counter[Call] = field(default_factory=Counter)

    @property
    def fault(self) -> Fault:
        return FAULTS[self.kind]

    def strikes(self, call: Call, now: datetime) -> bool:
        """Count this call and tell whether it is struck; a call that is struck is used up."""
        if self.left <= 0 or not self.path.search(call.path):
            return False
        if self.cif is not None and not self.cif.fullmatch(call.cif):
            return False
        if self.id is not None and not self.id.fullmatch(call.id):
            return False
        if self.since is not None and now < self.given + self.since:
            return False
        if self.until is not None and now >= self.given + self.until:
            return False
        self._matched += 1
        if self.attempt or self.probability < 1:
            self._tries[call] += 1
        if self.nth and self._matched not in self.nth:
            return False
        if self.attempt and self._tries[call] not in self.attempt:
            return False
        if self.probability < 1 and self._drawn(call) >= self.probability:
            return False
        self.left -= 1
        return True

    def _drawn(self, call: Call) -> float:
        text = f"{self.seed}:{call}:{self._tries[call]}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56


def rule(wanted: Mapping[str, Any], *, given: datetime, seed: str) -> Rule:
    """Read one rule; `ValueError` with an English sentence for what it cannot mean."""
    unknown = sorted(set(wanted) - set(KEYS))
    if unknown:
        raise ValueError(f"a fault has no {', '.join(unknown)}; it has {', '.join(KEYS)}")
    kind = str(wanted.get("kind", ""))
    if kind not in FAULTS:
        raise ValueError(f"there is no fault {kind!r}; there are {', '.join(sorted(FAULTS))}")
    try:
        once = _CONDITIONS.isdisjoint(wanted)
        return Rule(
            kind=kind,
            path=re.compile(str(wanted.get("path") or FAULTS[kind].path or _API)),
            cif=re.compile(str(wanted["cif"])) if "cif" in wanted else None,
            id=re.compile(str(wanted["id"])) if "id" in wanted else None,
            nth=_numbers(wanted.get("nth", ())),
            attempt=_numbers(wanted.get("attempt", ())),
            probability=float(wanted.get("probability", 1)),
            since=timedelta(seconds=float(wanted["since"])) if "since" in wanted else None,
            until=timedelta(seconds=float(wanted["until"])) if "until" in wanted else None,
            left=int(wanted["times"]) if "times" in wanted else 1 if once else math.inf,
            seconds=float(wanted.get("seconds", FAULTS[kind].seconds)),
            given=given,
            seed=seed,
        )
    except (TypeError, ValueError, re.error) as error:
        raise ValueError(f"the fault {kind} cannot be read: {error}") from None


def script(sources: Iterable[str]) -> list[dict[str, Any]]:
    """Read `--faults`: each a file with a JSON list of rules, or one rule `kind=waf,path=lista`.

    Raises `BadInput` for what is neither.
    """
    rules: list[dict[str, Any]] = []
    for source in sources:
        try:
            if Path(source).is_file():
                read = json.loads(Path(source).read_text(encoding="utf-8"))
                rules += [dict(wanted) for wanted in read]
            elif "=" not in source:
                raise ValueError("no file has this name")
            else:
                pairs = [part.partition("=") for part in source.split(",")]
                rules.append({key.strip(): value.strip() for key, _, value in pairs})
            for wanted in rules:
                rule(wanted, given=datetime.min, seed="")  # noqa: DTZ901 - only read, never used
        except (ValueError, TypeError, OSError) as error:
            raise BadInput(
                Sentence(
                    f"Defecțiunea „{source}” nu este una ({error}). Vezi docs/simulator.md.",
                    f"{source!r} is no fault ({error}); see docs/simulator.md",
                )
            ) from None
    return rules


def _numbers(value: object) -> frozenset[int]:
    if isinstance(value, list | tuple):
        return frozenset(int(number) for number in value)
    return frozenset((int(str(value)),))
