"""The build hook: a package without fonts and scripts is refused, not built.

They come from the npm lock file and are not in git, so a clean clone lacks them
until `make assets` (a part of `make wheel`) has put them in their places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("appliance/fonts", "appliance/web/static/vendor")


class Assets(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before each target; an editable installation may come before its assets."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        absent = [name for name in BUILT if not any(Path(self.root, name).glob("*.woff2"))]
        if absent and version != "editable":
            self.app.abort(
                f"{' and '.join(absent)} must be built first: run `make wheel`, which does both"
            )
