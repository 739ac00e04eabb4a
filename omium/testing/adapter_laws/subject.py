"""What the author of an adapter supplies for the laws: the adapter, and a few small agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omium.frameworks.protocol import Adapter

AgentFields = Mapping[str, Any]
"""An agent of a workflow's definition, without ``name`` and ``framework``."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A framework on trial. ``adapter`` makes what a worker would make, once a worker.

    The inputs of every agent are ``topic`` and ``ledger``, two words. Agents find the model's
    server and key in ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``, or in their assignment; whatever
    model they name is answered. What there is no agent for is None, and its laws are skipped.
    """

    framework: str
    adapter: Callable[[], Adapter]

    steps: AgentFields
    """Three steps, each with one LLM call. Each question has ``topic`` in it, and the later ones
    what was answered before; the output depends on the last answer."""

    loop: AgentFields
    """Three steps, each with one LLM call, as alike as the framework lets them be."""

    tool: Callable[[str], AgentFields]
    """One that offers the model the tool of that name, out of ``ledger.TOOLS``, in a question that
    has ``ledger`` in it; and asks again with what came of the call."""

    streaming: AgentFields | None = None
    """``steps`` with answers that are streamed."""

    parallel: AgentFields | None = None
    """Two branches that run side by side, each with one LLM call."""
