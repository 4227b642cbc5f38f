"""Every error that a person may meet, each class one thing a caller can do.

An `ArhivarError` carries a `Sentence`, so portal, drive and command line show
the same words. An error that is none of these is a defect of ours and passes
through to a plain 500.
"""

from __future__ import annotations

from appliance.core.sentence import Sentence


class ArhivarError(Exception):
    """The root: its text is one sentence, with cause and next step."""

    def __init__(self, sentence: Sentence | str) -> None:
        self.sentence = sentence if isinstance(sentence, Sentence) else Sentence(sentence, sentence)
        super().__init__(str(self.sentence))


class ConfigError(ArhivarError):
    """The configuration cannot be used; the text names every problem found."""


class BadInput(ArhivarError):
    """A person, a file or a request gave something that cannot be accepted (400, exit 2)."""


class DocumentRefused(BadInput):
    """The bytes are no UBL document that can be read: keep them and show the sentence."""


class ZipRefused(BadInput):
    """The bytes are no ANAF zip that can be opened safely."""


class NotFound(ArhivarError):
    """There is no such thing, or it is not theirs to see: the caller must not tell which."""


class NotAllowed(ArhivarError):
    """The person sees the thing but may not do this with it."""


class TransitionRefused(ArhivarError):
    """The table of `core.lifecycle` has no such step from this status."""


class StaleDocument(ArhivarError):
    """Somebody changed the document since the actor saw it: look again, then decide."""


class PeriodClosed(ArhivarError):
    """The accounting month does not take documents any more, or cannot be closed yet."""


class ArchiveConflict(ArhivarError):
    """The archive already holds other bytes under this name; the first copy stays."""


class SchemaUnknown(ArhivarError):
    """The database was written by another version: run the migration, or upgrade."""


class Busy(ArhivarError):
    """The database or the disk could not take the work now; nothing was written, try again."""
