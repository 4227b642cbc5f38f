"""What every job of sync works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from appliance.config import Settings
from appliance.core.certificates import PinnedCertificate
from appliance.store.files import Archive
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient


@dataclass
class Context:
    """What the jobs work with; one per process."""

    settings: Settings
    archive: Archive
    spv: SpvClient
    renderers: Renderers
    pinned: Mapping[str, PinnedCertificate]
    # ANAF's ceiling is reached: no list or download begins before this moment.
    paused_until: datetime = field(default_factory=lambda: datetime.min.replace(tzinfo=UTC))
