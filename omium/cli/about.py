"""``validate``, ``config`` and ``version``: looking at what there is, starting nothing."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from omium import __version__
from omium.cli.options import AsJson, DataDir, WorkflowFile, settings_of
from omium.cli.terminal import out, out_json
from omium.cli.wording import counted, json_text

MASK = "**********"
_NAMED = ("ray", "crewai", "langgraph", "autogen-agentchat", "openai", "xllamacpp")


def validate(workflow: WorkflowFile, as_json: AsJson = False) -> None:
    """Check a workflow definition; every mistake gets a line of its own, and the exit code is 2.

    Prints in which order the agents run. Nothing of the user's own code is imported.

    Examples:

      omium validate workflow.yaml
    """
    from omium.definitions import graph, load_workflow
    from omium.frameworks.registry import FRAMEWORKS

    definition = load_workflow(workflow, frameworks=FRAMEWORKS)
    handoffs = graph(definition)
    if as_json:
        out_json(
            {
                "valid": True,
                "workflow": definition.name,
                "version": definition.version,
                "digest": definition.digest,
                "agents": [
                    {
                        "name": name,
                        "framework": definition.agent(name).framework,
                        "model": definition.model_of(definition.agent(name)),
                        "after": list(handoffs.givers(name)),
                        "judged_by": list(handoffs.judges(name)),
                        "stands_in_towards": handoffs.stands_in(name),
                        "back_to": [to for giver, to in handoffs.loops if giver == name],
                    }
                    for name in handoffs.order
                ],
            }
        )
        return
    agents = counted(len(definition.agents), "agent")
    out(f"OK: {definition.name} {definition.version}, {agents}")
    for place, name in enumerate(handoffs.order, start=1):
        givers = handoffs.givers(name)
        after = f" after {', '.join(givers)}" if givers else ""
        judges = handoffs.judges(name)
        after += f", judged by {', '.join(judges)}" if judges else ""
        receiver = handoffs.stands_in(name)
        after += f", stands in towards {receiver}" if receiver is not None else ""
        back = [to for giver, to in handoffs.loops if giver == name]
        after += f", may hand back to {', '.join(back)}" if back else ""
        out(f"  {place}. {name} ({definition.agent(name).framework}){after}")


def config(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the settings in force, secrets masked.

    They come from OMIUM_… variables, omium.toml, and defaults, in that order.

    Examples:

      omium config
      OMIUM_POOL__SPARE=2 omium config --json | jq .pool
    """
    settings = settings_of(data_dir)
    shown: dict[str, Any] = settings.model_dump(mode="json")
    for provider in shown["providers"].values():
        # A header may well hold a token.
        provider["headers"] = dict.fromkeys(provider["headers"], MASK)
    if as_json:
        out_json(shown)
        return
    for name, value in _flat(shown, ""):
        out(f"{name} = {json_text(value)}")


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def show_version(as_json: AsJson = False) -> None:
    """Print the versions of Omium, of Python and of the frameworks that are installed.

    Examples:

      omium version
    """
    found = {"omium": __version__, "python": platform.python_version()}
    for name in _NAMED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # An extra that is not installed has no version.
            continue
    if as_json:
        out_json(found)
        return
    for name, number in found.items():
        out(f"{name} {number}")
