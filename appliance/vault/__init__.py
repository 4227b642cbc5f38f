"""The vault: the only holder of tokens, and the only one who talks to ANAF."""

from appliance.vault.server import serve

__all__ = ["serve"]
