"""The model client of components: AutoGen's OpenAI client, sent to the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from autogen_core.models import ModelFamily
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

_MODEL_INFO: dict[str, Any] = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "structured_output": True,
    "family": ModelFamily.UNKNOWN,
    "multiple_system_messages": False,
}


class GatewayOptions(BaseModel):
    """``options`` are those of AutoGen's client; an answer is asked for under ``answer``, a JSON
    Schema, wherever no tools are offered."""

    options: dict[str, Any]
    answer: dict[str, Any] | None = None


class GatewayClient(OpenAIChatCompletionClient):
    """See the module's docstring. Made from a component only."""

    component_config_schema = GatewayOptions  # pyright: ignore[reportAssignmentType]
    component_provider_override = "omium.frameworks.autogen_model.GatewayClient"
    _answer: dict[str, Any] | None = None

    @classmethod
    def _from_config(cls, config: GatewayOptions) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        options: Any = {"model_info": _MODEL_INFO, **config.options}
        client = cls(**options)
        client._answer = config.answer
        # AutoGen would warn that the provider calls the model by another name.
        client._resolved_model = None
        return client

    def _process_create_args(
        self,
        messages: Sequence[Any],
        tools: Sequence[Any],
        tool_choice: Any,
        json_output: bool | type[BaseModel] | None,
        extra_create_args: Mapping[str, Any],
    ) -> Any:
        # Beside tools a schema would keep a small model from calling them.
        if self._answer is not None and not tools and json_output is None:
            shape = {"name": "answer", "strict": True, "schema": self._answer}
            asked = {"type": "json_schema", "json_schema": shape}
            extra_create_args = {"response_format": asked, **extra_create_args}
        return super()._process_create_args(
            messages, tools, tool_choice, json_output, extra_create_args
        )


async def close_connections(client: Any, *, busy: bool = False) -> None:
    """Close what an OpenAI client of AutoGen's keeps open for its next call, with ``busy`` also
    what it has under way, and all that one of ours has open.

    Else it would be closed whenever the client is collected. Other clients are left alone.
    """
    if isinstance(client, GatewayClient):
        await client.close()
        return
    web = getattr(getattr(client, "_client", None), "_client", None)
    pool: Any = getattr(getattr(web, "_transport", None), "_pool", None)
    connections: list[Any] = list(getattr(pool, "connections", ()))
    for connection in connections:
        if busy or connection.is_idle():
            await connection.aclose()
