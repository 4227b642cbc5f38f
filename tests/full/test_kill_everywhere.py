"""sync is killed, or its disk fails, at every durable step; then it puts itself right.

A run fetches everything that a small SPV lists (invoices, ANAF's error, a buyer's
message, a broken zip, one of another client) and an import, with PDFs. At every fsync and
every change of a name it is killed, one after the other until there is none
left; of the other faults some are a sample, or every one with
ARHIVAR_ALL_FAULTS=1. The clock that leases and retries wait for is moved; how
long it takes by a real clock is in test_interrupted.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.faults import Campaign, Fault, World, most_by_one_thread, sample, trace
from tests.support.simulator import running_simulator

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

SIDE_BY_SIDE = 2  # cores
CALLS = (
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "ftruncate",
    "pwrite64",
    "write",
)
ALL = bool(os.environ.get("ARHIVAR_ALL_FAULTS"))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    place = tmp_path_factory.mktemp("faults")
    with running_simulator(invoices=5) as one, running_simulator(invoices=5) as two:
        made = [World(place / f"{n}", s) for n, s in enumerate((one, two)[:SIDE_BY_SIDE])]
        yield made
        for world in made:
            world.close()


@pytest.fixture(scope="module")
def calls(worlds: list[World]) -> dict[str, int]:
    """How often a thread makes each call in a run that nothing disturbs."""
    world = worlds[0]
    world.begin_again()
    world.installation.start("sync", under=trace(world.strace_log, CALLS))
    assert world.run_until(world.is_settled, hurry=True)
    assert world.installation.end("sync") == 0
    world.check()
    return most_by_one_thread(world.strace_log)


# (effect, call, how many; None: until there is none left)
PLAN: list[tuple[str, str, int | None]] = [
    ("signal=SIGKILL", "fsync", None),
    ("signal=SIGKILL", "fdatasync", None),
    ("signal=SIGKILL", "rename", None),
    ("signal=SIGKILL", "link", None),
    ("signal=SIGKILL", "unlink", None),
    ("signal=SIGKILL", "mkdir", None),
    ("signal=SIGKILL", "ftruncate", None),
    ("signal=SIGKILL", "pwrite64", 12),
    ("signal=SIGKILL", "write", 12),
    ("error=ENOSPC", "fsync", 24),
    ("error=ENOSPC", "rename", None),
    ("error=ENOSPC", "link", None),
    ("error=ENOSPC", "mkdir", 8),
    ("error=ENOSPC", "write", 24),
    ("error=ENOSPC", "pwrite64", 12),
    ("error=EIO", "fsync", 24),
    ("error=EIO", "fdatasync", 24),
    ("error=EIO", "rename", None),
    ("error=EIO", "unlink", 12),
    ("error=EIO", "ftruncate", None),
    ("error=EIO", "pwrite64", 8),
]


@pytest.mark.parametrize(("effect", "call", "wanted"), PLAN, ids=lambda value: str(value))
def test_after_a_fault_everything_is_put_right_without_a_person(
    worlds: list[World],
    calls: dict[str, int],
    effect: str,
    call: str,
    wanted: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = count(1) if wanted is None or ALL else sample(calls[call], wanted)

    campaign = Campaign(worlds).run(Fault(call, effect, number) for number in numbers)

    told(capsys, f"{effect} at {call}", campaign)
    assert not campaign.wrong, "\n\n".join(campaign.wrong)
    assert campaign.happened > 0


@pytest.mark.parametrize("call", ["fsync", "pwrite64", "mkdir"])
def test_a_disk_that_stays_full_is_waited_for(
    worlds: list[World],
    calls: dict[str, int],
    call: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faults = [
        Fault(call, "error=ENOSPC", number, lasting=True) for number in sample(calls[call], 6)
    ]

    campaign = Campaign(worlds).run(faults)

    told(capsys, f"error=ENOSPC from some {call} on", campaign)
    assert not campaign.wrong, "\n\n".join(campaign.wrong)
    assert campaign.happened > 0


def told(capsys: pytest.CaptureFixture[str], what: str, campaign: Campaign) -> None:
    recovered = campaign.happened - len(campaign.wrong)
    with capsys.disabled():
        print(f"\n{what}: {campaign.happened} faults, {recovered} recovered", flush=True)
