"""The one guarded client for calls to the outside."""

from quarterdeck.net.client import GuardedClient, Reply

__all__ = ["GuardedClient", "Reply"]
