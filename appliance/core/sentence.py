"""A sentence for a person, in both languages of the product."""

from __future__ import annotations

import json
from typing import NamedTuple, Self


class Sentence(NamedTuple):
    """One sentence with a cause and, where there is one, a next step."""

    ro: str
    en: str

    def __str__(self) -> str:
        return self.en

    def in_language(self, language: str) -> str:
        """Return the Romanian text for `ro`, the English one for anything else."""
        return self.ro if language == "ro" else self.en

    def to_json(self) -> str:
        """Return the form that the database and the manifests keep."""
        return json.dumps({"ro": self.ro, "en": self.en}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json()` wrote; a plain text stands for both languages."""
        try:
            value = json.loads(text)
            return cls(value["ro"], value["en"])
        except (ValueError, KeyError, TypeError):
            return cls(text, text)
