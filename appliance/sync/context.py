"""What every job of sync works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from appliance.config import Settings
from appliance.core.certificates import PinnedCertificate
from appliance.store.files import Archive
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient

_LONGEST_PAUSE = timedelta(minutes=6)  # the vault's is five


@dataclass
class Context:
    """What the jobs work with; one per process."""

    settings: Settings
    archive: Archive
    spv: SpvClient
    renderers: Renderers
    pinned: Mapping[str, PinnedCertificate]
    # ANAF holds every call up: no list or download begins before this moment.
    paused_until: datetime = field(default_factory=lambda: datetime.min.replace(tzinfo=UTC))
    # A refusal just now says that what is known of the authorisations may be old (`standing`).
    standing_asked: bool = False

    def pause(self, at: datetime) -> timedelta:
        """Return for how long no call may begin; zero in general, and never more than minutes.

        A moment further away was chosen by a clock that was wrong.
        """
        left = self.paused_until - at
        return left if timedelta(0) < left <= _LONGEST_PAUSE else timedelta(0)
