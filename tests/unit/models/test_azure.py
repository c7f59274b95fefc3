"""Where a deployment is called, and with which header."""

from __future__ import annotations

import pytest

from quarterdeck.models.azure import AzureModel
from quarterdeck.net import GuardedClient
from tests.provider import Provider, context, question


@pytest.mark.row("R1", part="azure")
@pytest.mark.parametrize(
    ("api_version", "path"),
    [
        ("2024-10-21", "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        ("", "/openai/v1/chat/completions"),
    ],
)
async def test_a_deployment_is_called_at_its_address_with_its_key(provider: Provider, api_version: str, path: str) -> None:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        model = AzureModel("azure:my gpt", base_url=provider.origin, api_key="k-1", client=client, api_version=api_version)

        reply = await model.complete(question(), context())

    assert (reply.text, reply.model) == ("Hello.", "azure:my gpt")
    assert provider.paths == [path]
    assert provider.headers[0]["api-key"] == "k-1"
    assert "Authorization" not in provider.headers[0]
