"""What the vault refuses, each class one thing that its caller can do."""

from __future__ import annotations

from appliance.core.errors import ArhivarError, BadInput, NotFound
from appliance.core.sentence import Sentence

__all__ = [
    "BadInput",
    "KeyRefused",
    "NeedsAuthorisation",
    "NotFound",
    "RecoveryRefused",
    "SealBroken",
    "TokenRefused",
    "Unreachable",
    "VaultRunning",
]


class KeyRefused(ArhivarError):
    """The key-encryption key cannot be used: the vault does not start without it."""


class RecoveryRefused(ArhivarError):
    """The file of the keys sealed to paper, or the paper, does not belong to this vault."""


class VaultRunning(ArhivarError):
    """Another process serves this vault or owns its sockets."""


class SealBroken(ArhivarError):
    """A sealed record does not open. Always the same words: the reason would help a forger."""

    def __init__(self) -> None:
        super().__init__(
            Sentence(
                "O înregistrare din seif nu poate fi deschisă: cheia, instalarea sau conținutul nu "
                "se potrivesc. Restaurează seiful din copia de siguranță sau leagă din nou SPV.",
                "a record of the vault does not open: key, installation or content do not match; "
                "restore the vault from a backup or authorise SPV again",
            )
        )


class NeedsAuthorisation(ArhivarError):
    """No usable token: a person with the certificate has to authorise again."""


class TokenRefused(ArhivarError):
    """ANAF's token endpoint answered with an OAuth error, whose code is `code`."""

    def __init__(self, code: str, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.code = code


class Unreachable(ArhivarError):
    """ANAF did not answer, or not in a form that can be used: try again later."""
