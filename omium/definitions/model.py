"""What a workflow is: the records of a definition, and their form on the wire.

Owns the shape of each part and the limits of a single field. It does not look across parts
(``checks`` does) and turns nothing into prose except the ``description`` of each field, which
says what a correct value is and ends up in problem lines.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias, cast

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    JsonValue,
    Strict,
    StringConstraints,
    Tag,
)

from omium.definitions.digest import digest_of
from omium.types import Json

MAX_AGENTS = 64
MAX_TOOLS = 128
MAX_TASKS = 64
MAX_MEMBERS = 16
MAX_HANDOFFS = 1024
MAX_VALIDATORS = 16
MAX_ROUNDS = 100
MAX_RETRIES = 10
MAX_TIMEOUT_S = 86_400.0
DEFAULT_TIMEOUT_S = 600.0
MAX_REQUIREMENTS = 64
MAX_EXECUTION_S = 365 * 86_400.0
MAX_TEXT_CHARS = 262_144

AGENT_NAME = r"[a-z][a-z0-9_]{0,62}"
_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"

_A_NAME = "a lower-case letter and then up to 62 of a-z, 0-9 and _"
_A_TEXT = "a text that is not empty"
_A_TOOL_NAME = "the name of a declared tool"
_A_FUNCTION = "package.module:function"
_A_VALIDATOR = f"{_A_FUNCTION} or the name of an agent"
_A_MODEL = "provider/model, such as local/smollm2-135m-instruct"
_A_REQUIREMENT = "a requirement such as 'pandas>=2.2', or a requirements file (*.txt)"
_A_SCHEMA = "a JSON Schema (a mapping)"
_A_RULE = f"all, majority, or how many have to be for it, from 1 to {MAX_VALIDATORS}"
_A_CONDITION = "a JSON Schema (a mapping) that the output must fit"
_A_COMPONENT = "an AutoGen component (a mapping with provider and config)"


def _str(pattern: str, max_length: int) -> Any:
    return StringConstraints(pattern=f"^({pattern})$", max_length=max_length)


def _handoff_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "chain"
    return "link" if isinstance(value, dict | Handoff) else None


def _is_none(value: object) -> bool:
    # A field that came later is written where it is used only: older digests stay as they are.
    return value is None


def _is_false(value: object) -> bool:
    return value is False


def _requirement(text: str) -> str:
    if text.endswith(".txt"):
        parts = PurePosixPath(text).parts
        if text.startswith(("/", "-")) or ".." in parts or not text.isprintable():
            raise ValueError(_A_REQUIREMENT)
        return text
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(_A_REQUIREMENT) from error
    return text


def _rule(value: object) -> object:
    # Before the types of the union: each of them would make a problem of its own.
    match value:
        case "all" | "majority":
            return value
        case int() if not isinstance(value, bool) and 1 <= value <= MAX_VALIDATORS:
            return value
        case _:
            raise ValueError(_A_RULE)


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Name: TypeAlias = Annotated[str, Strict(), _str(AGENT_NAME, 63)]
ToolName: TypeAlias = Annotated[str, Strict(), _str(r"[A-Za-z][A-Za-z0-9_]{0,62}", 63)]
Function: TypeAlias = Annotated[str, Strict(), _str(f"{_DOTTED}:{_DOTTED}", 300)]
Validator: TypeAlias = Annotated[str, Strict(), _str(f"{_DOTTED}:{_DOTTED}|{AGENT_NAME}", 300)]
VoteRule: TypeAlias = Annotated[
    Literal["all", "majority"] | Annotated[int, Field(ge=1, le=MAX_VALIDATORS)],
    BeforeValidator(_rule),
]
MemberName: TypeAlias = Annotated[str, Strict(), _str(r"[^\W\d]\w*", 200)]
ModelName: TypeAlias = Annotated[str, Strict(), _str(r"[a-z][a-z0-9_-]*/[^\s/]\S*", 200)]
RequirementText: TypeAlias = Annotated[
    str, Strict(), StringConstraints(max_length=1_000), AfterValidator(_requirement)
]
Text: TypeAlias = Annotated[
    str, Strict(), StringConstraints(pattern=r"\S", max_length=MAX_TEXT_CHARS)
]
# pydantic cannot see through a recursive alias that is a string; JsonValue is the same type.
Schema: TypeAlias = Annotated[
    dict[str, Json], GetPydanticSchema(lambda _source, build: build(dict[str, JsonValue]))
]
Chain: TypeAlias = Annotated[
    str, Strict(), _str(rf"\s*{AGENT_NAME}(\s*->\s*{AGENT_NAME})+\s*", 10_000)
]


class Record(BaseModel):
    """Base of the parts: frozen, and strict about keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tool(Record):
    """A function that agents may call.

    ``idempotent`` says that running it twice with the same arguments does no harm: only then
    is a call whose outcome nobody recorded run again without asking. ``description`` defaults
    to the function's docstring. ``approval: required`` has a person approve each call, with its
    arguments, before it is made.
    """

    name: ToolName = Field(description="a letter and then up to 62 of A-Z, a-z, 0-9 and _")
    function: Function = Field(description=_A_FUNCTION)
    description: Text | None = Field(default=None, description=_A_TEXT)
    idempotent: Annotated[bool, Strict()] = Field(default=False, description="true or false")
    approval: Literal["required"] | None = Field(
        default=None, description="required", exclude_if=_is_none
    )


class Task(Record):
    """One task of a crew: one step of an execution.

    ``description`` and ``expected_output`` are templates. ``tools`` is what of the agent's
    tools this task may use; ``None`` means all. ``output`` is the JSON Schema of this task's
    own answer; see :meth:`Agent.output_of`. ``tool_choice: required`` makes the model call one
    of the tools before it answers, for models too small to see when they should. ``context``
    names the earlier tasks whose answers this one is told; ``None`` means all. A task with
    ``side_by_side`` (``async`` in a definition) does not wait for the one before it, and the
    next task without it waits for all.
    """

    name: Name | None = Field(default=None, description=_A_NAME)
    description: Text = Field(description=_A_TEXT)
    expected_output: Text = Field(description=_A_TEXT)
    tools: tuple[ToolName, ...] | None = Field(
        default=None, max_length=MAX_TOOLS, description="a list of tools of this agent"
    )
    tool_choice: Literal["auto", "required"] = Field(default="auto", description="auto or required")
    output: Schema | None = Field(default=None, description=_A_SCHEMA)
    context: tuple[Name, ...] | None = Field(
        default=None,
        max_length=MAX_TASKS,
        description="a list of names of earlier tasks",
        exclude_if=_is_none,
    )
    side_by_side: Annotated[bool, Strict()] = Field(
        default=False, alias="async", description="true or false", exclude_if=_is_false
    )


class Member(Record):
    """One of those to whom the manager of a crew hands work.

    ``role``, ``goal`` and ``backstory`` are templates. ``model`` left out is the agent's;
    ``tools`` are names of tools of the agent, ``None`` means all.
    """

    role: Text = Field(description=_A_TEXT)
    goal: Text = Field(description=_A_TEXT)
    backstory: Text = Field(description=_A_TEXT)
    model: ModelName | None = Field(default=None, description=_A_MODEL)
    tools: tuple[ToolName, ...] | None = Field(
        default=None, max_length=MAX_TOOLS, description="a list of tools of this agent"
    )


class Agent(Record):
    """One member of a workflow.

    Either ``entrypoint`` names the user's own code, or data describes the agent: for CrewAI
    ``role``, ``goal``, ``backstory`` and ``tasks`` (the three texts are templates), for AutoGen
    ``component``, a team or an agent in AutoGen's own format. For AutoGen, ``task`` is a template
    of what it is set to, and ``answer_from`` names the member of a team whose last message is
    the output, instead of the last message of all; with ``isolation: member`` each member of the
    team has a process of its own. ``input`` is a JSON Schema that every output
    handed to the agent must fit, or it is not taken; ``accept_timeout_s`` is how long that may
    take, in seconds since it was offered. A crew with ``process: hierarchical`` has
    ``members``, and the agent itself is the manager who hands the tasks to them. With
    ``tool_calls: text`` it is told of its tools in words and calls them in words (ReAct), for
    models that cannot call tools otherwise. ``timeout_s`` is how long a step may write nothing
    into the journal, in seconds, ``step_timeout_s`` the time from one checkpoint to the next
    whatever is written, ``call_timeout_s`` that for one LLM or tool call; ``retries`` how often a
    failed step is tried again. ``model``, ``temperature`` and ``max_tokens`` left out mean the
    default of the workflow, or of the provider.
    """

    name: Name = Field(description=_A_NAME)
    framework: Annotated[str, Strict()] = Field(description="the name of a framework")
    model: ModelName | None = Field(default=None, description=_A_MODEL)
    temperature: Annotated[float, Strict(), Field(ge=0, le=2)] | None = Field(
        default=None, description="a number from 0 to 2"
    )
    max_tokens: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="a whole number from 1 to 1000000"
    )
    role: Text | None = Field(default=None, description=_A_TEXT)
    goal: Text | None = Field(default=None, description=_A_TEXT)
    backstory: Text | None = Field(default=None, description=_A_TEXT)
    tasks: tuple[Task, ...] = Field(
        default=(), max_length=MAX_TASKS, description=f"a list of 1 to {MAX_TASKS} tasks"
    )
    process: Literal["sequential", "hierarchical"] | None = Field(
        default=None, description="sequential or hierarchical", exclude_if=_is_none
    )
    tool_calls: Literal["native", "text"] | None = Field(
        default=None, description="native or text", exclude_if=_is_none
    )
    members: tuple[Member, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_MEMBERS,
        description=f"a list of 1 to {MAX_MEMBERS} members",
        exclude_if=_is_none,
    )
    tools: tuple[ToolName, ...] = Field(
        default=(), max_length=MAX_TOOLS, description="a list of names of declared tools"
    )
    entrypoint: Function | None = Field(default=None, description=_A_FUNCTION)
    component: Schema | None = Field(default=None, description=_A_COMPONENT, exclude_if=_is_none)
    task: Text | None = Field(default=None, description=_A_TEXT, exclude_if=_is_none)
    answer_from: MemberName | None = Field(
        default=None, description="the name of a member of the team", exclude_if=_is_none
    )
    isolation: Literal["member"] | None = Field(
        default=None, description="member", exclude_if=_is_none
    )
    input: Schema | None = Field(default=None, description=_A_SCHEMA, exclude_if=_is_none)
    accept_timeout_s: Annotated[float, Strict(), Field(gt=0, le=MAX_EXECUTION_S)] | None = Field(
        default=None,
        description="a number of seconds above 0 and at most 31536000",
        exclude_if=_is_none,
    )
    output: Schema | None = Field(default=None, description=_A_SCHEMA)
    timeout_s: Annotated[float, Strict(), Field(gt=0, le=MAX_TIMEOUT_S)] = Field(
        default=DEFAULT_TIMEOUT_S, description="a number of seconds above 0 and at most 86400"
    )
    step_timeout_s: Annotated[float, Strict(), Field(gt=0, le=MAX_TIMEOUT_S)] | None = Field(
        default=None,
        description="a number of seconds above 0 and at most 86400",
        exclude_if=_is_none,
    )
    call_timeout_s: Annotated[float, Strict(), Field(gt=0, le=MAX_TIMEOUT_S)] | None = Field(
        default=None,
        description="a number of seconds above 0 and at most 86400",
        exclude_if=_is_none,
    )
    retries: Annotated[int, Strict(), Field(ge=0, le=MAX_RETRIES)] = Field(
        default=0, description=f"a whole number from 0 to {MAX_RETRIES}"
    )

    def output_of(self, task: int) -> dict[str, Json] | None:
        """JSON Schema of the answer of task number ``task``; the last defaults to the agent's."""
        own = self.tasks[task].output
        return self.output if own is None and task == len(self.tasks) - 1 else own

    @property
    def final_output(self) -> dict[str, Json] | None:
        """JSON Schema of what the agent hands on, if any was declared."""
        if self.output is None and self.tasks:
            return self.tasks[-1].output
        return self.output


class Loop(Record):
    """What makes a handoff one back: to an agent before the one that hands over, or to itself.

    ``max`` is how often it may be taken. ``then`` says what follows when it would be taken once
    more: the agent hands on to those after it (``continue``), or the execution fails (``fail``).
    """

    max: Annotated[int, Strict(), Field(ge=1, le=MAX_ROUNDS)] = Field(
        description=f"a whole number from 1 to {MAX_ROUNDS}"
    )
    then: Literal["continue", "fail"] = Field(default="continue", description="continue or fail")


class Handoff(Record):
    """The output of agent ``source`` (``from`` in a definition) goes to each agent of ``to``.

    With ``when``, only if it fits that JSON Schema; with ``otherwise``, only if it fits the
    ``when`` of no other handoff of ``source``. With ``loop`` the handoff goes back, to one agent.
    ``validators`` vote about it before a receiver takes it, and ``rule`` says how many have to be
    for it: ``all`` (the default), ``majority``, more than half, or a number. They are functions,
    ``package.module:function``, or agents of the workflow, by their names: judges. ``stand_in``
    is the agent that has another output for the receiver when this one is not taken.
    """

    source: Name = Field(alias="from", description="the name of an agent")
    to: Annotated[tuple[Name, ...], BeforeValidator(_several)] = Field(
        min_length=1, max_length=MAX_AGENTS, description="a list of names of agents"
    )
    when: Schema | None = Field(default=None, description=_A_CONDITION, exclude_if=_is_none)
    otherwise: Literal[True] | None = Field(
        default=None, description="true, or nothing", exclude_if=_is_none
    )
    loop: Loop | None = Field(default=None, description="a mapping with max", exclude_if=_is_none)
    validators: tuple[Validator, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALIDATORS,
        description=f"a list of 1 to {MAX_VALIDATORS} validators, each {_A_VALIDATOR}",
        exclude_if=_is_none,
    )
    rule: VoteRule | None = Field(default=None, description=_A_RULE, exclude_if=_is_none)
    stand_in: Name | None = Field(
        default=None, description="the name of an agent", exclude_if=_is_none
    )

    @property
    def functions(self) -> tuple[str, ...]:
        """Those of the ``validators`` that are functions."""
        return tuple(name for name in self.validators or () if ":" in name)

    @property
    def judges(self) -> tuple[str, ...]:
        """Those of the ``validators`` that are agents."""
        return tuple(name for name in self.validators or () if ":" not in name)

    @property
    def votes_min(self) -> int:
        """How many of the ``validators`` have to be for what is handed over."""
        voters = len(self.validators or ())
        match self.rule:
            case None | "all":
                return voters
            case "majority":
                return voters // 2 + 1
            case count:
                return count


Handoffs: TypeAlias = tuple[
    Annotated[
        Annotated[Chain, Tag("chain")] | Annotated[Handoff, Tag("link")],
        Discriminator(_handoff_kind),
    ],
    ...,
]


class Workflow(Record):
    """A named, versioned definition: agents, their tools, their order.

    Build one with :func:`~omium.definitions.load_workflow`,
    :func:`~omium.definitions.parse_workflow` or :func:`~omium.definitions.workflow_from`:
    those also check what holds between the parts. ``inputs`` is a JSON Schema of an object;
    ``None`` takes any object. ``timeout_s`` is how long an execution may take, in seconds since it
    was created or resumed. ``requirements`` are what its code imports beside what is installed
    where it runs. ``handoffs`` left out means each agent hands to the next of the
    list; an empty list means that no agent hands to another.

    Frozen, but the schemas are ordinary dicts for the sake of their readers: do not change
    them.
    """

    name: Annotated[str, Strict(), _str(r"[a-z][a-z0-9-]{0,62}", 63)] = Field(
        description="a lower-case letter and then up to 62 of a-z, 0-9 and -"
    )
    version: Annotated[str, Strict(), _str(r"\S{1,32}", 32)] = Field(
        description="a string of 1 to 32 characters without spaces"
    )
    description: Text | None = Field(default=None, description=_A_TEXT)
    model: ModelName | None = Field(default=None, description=_A_MODEL)
    inputs: Schema | None = Field(default=None, description=_A_SCHEMA)
    timeout_s: Annotated[float, Strict(), Field(gt=0, le=MAX_EXECUTION_S)] | None = Field(
        default=None,
        description="a number of seconds above 0 and at most 31536000",
        exclude_if=_is_none,
    )
    requirements: tuple[RequirementText, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_REQUIREMENTS,
        description=f"a list of 1 to {MAX_REQUIREMENTS} requirements",
        exclude_if=_is_none,
    )
    tools: tuple[Tool, ...] = Field(
        default=(), max_length=MAX_TOOLS, description=f"a list of at most {MAX_TOOLS} tools"
    )
    agents: tuple[Agent, ...] = Field(
        min_length=1, max_length=MAX_AGENTS, description=f"a list of 1 to {MAX_AGENTS} agents"
    )
    handoffs: Handoffs | None = Field(
        default=None,
        max_length=MAX_HANDOFFS,
        description=f"a list of at most {MAX_HANDOFFS} handoffs",
    )

    def agent(self, name: str) -> Agent:
        """The agent called ``name``. Raises ``KeyError`` where there is none."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise KeyError(name)

    def tool(self, name: str) -> Tool:
        """The tool called ``name``. Raises ``KeyError`` where there is none."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        raise KeyError(name)

    def model_of(self, agent: Agent) -> str | None:
        """``provider/model`` of ``agent``: its own, else the workflow's, else ``None``."""
        return agent.model or self.model

    def to_data(self) -> dict[str, Json]:
        """The definition as plain JSON data, defaults written out.

        :func:`~omium.definitions.workflow_from_data` gives the same workflow back, whatever
        the defaults are by then. The order of a schema's keys is kept: under guided decoding
        a model writes its fields in that order.
        """
        return cast("dict[str, Json]", self.model_dump(mode="json", by_alias=True))

    def to_json(self) -> str:
        """:meth:`to_data` as JSON text."""
        return json.dumps(self.to_data(), ensure_ascii=False, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the definition: pins an execution to what started it."""
        return digest_of(self.to_data())


MEMBERS: dict[tuple[type[Record], str], type[Record]] = {
    (Workflow, "tools"): Tool,
    (Workflow, "agents"): Agent,
    (Workflow, "handoffs"): Handoff,
    (Handoff, "loop"): Loop,
    (Agent, "tasks"): Task,
    (Agent, "members"): Member,
}
"""Which field of which record holds which records."""

ITEMS: dict[str, str] = {
    "tools": _A_TOOL_NAME,
    "to": "the name of an agent",
    "context": "the name of an earlier task",
    "requirements": _A_REQUIREMENT,
    "validators": _A_VALIDATOR,
    "handoffs": "a chain such as 'first -> second', or {from: first, to: [second]}",
}
"""What a correct item is, for the fields whose items are not records only."""
