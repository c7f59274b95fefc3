"""Models behind Azure's form of chat completions: the deployment stands in the address, the key in a header of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from quarterdeck.models.openai import OpenAIModel
from quarterdeck.net.client import GuardedClient

__all__ = ["AzureModel"]


class AzureModel(OpenAIModel):
    """An Azure deployment; what stands behind the colon of its name is the deployment's."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str,
        client: GuardedClient,
        timeout_s: float = 60.0,
        idle_timeout_s: float = 30.0,
        options: Mapping[str, Any] | None = None,
        api_version: str = "",
    ) -> None:
        """
        Args:
            base_url: Of the resource, such as ``https://NAME.openai.azure.com``.
            api_version: Sent as a query, such as ``2024-10-21``; empty for the newer API that has none.
        """
        self._api_version = api_version
        super().__init__(
            name,
            base_url=base_url,
            api_key=api_key,
            client=client,
            timeout_s=timeout_s,
            idle_timeout_s=idle_timeout_s,
            options=options,
        )

    def _url(self, base_url: str) -> str:
        if not self._api_version:
            return f"{base_url}/openai/v1{self.path}"
        deployment = quote(self._wire_name, safe="")
        return f"{base_url}/openai/deployments/{deployment}{self.path}?api-version={quote(self._api_version, safe='')}"

    def _authorization(self) -> dict[str, str]:
        return {"api-key": self._key} if self._key else {}
