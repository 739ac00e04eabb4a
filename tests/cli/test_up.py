"""The program against the real service: everything that ``--address`` can do, end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from omium.testing.script import Answer, Rule
from omium.testing.scripted import ScriptedProvider
from tests.actors.stage import MODEL
from tests.cli.programs import Program, Start, json_lines, listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
START_S = 200.0


class Site:
    """A service of ``omium up``, and the program pointed at it."""

    def __init__(self, start: Start, directory: Path, provider: ScriptedProvider) -> None:
        self._start = start
        self.directory = directory
        self.data = directory / "data"
        self.address = ""
        self._env = {
            "XDG_CONFIG_HOME": str(directory / "config"),
            "OMIUM_PROVIDERS": json.dumps({"scripted": {"base_url": provider.base_url}}),
            # So that a command that misses the service finds nothing.
            "OMIUM_DATA_DIR": str(directory / "none"),
            "OMIUM_SERVICE__UPLOAD_TENANTS": '["default"]',
        }

    def here(self, *words: str, code: int = 0) -> Program:
        """A command about the service itself, on its data directory."""
        return self._done(*words, "--data-dir", self.data, code=code)

    def begin(self, *words: str | Path) -> Program:
        """A command to the service that goes on for a while."""
        return self._start(*words, "--address", self.address, **self._env)

    def do(self, *words: str | Path, code: int = 0, **env: str) -> str:
        """What a command to the service prints."""
        return self._done(*words, "--address", self.address, code=code, **env).stdout

    def read(self, *words: str | Path) -> Any:
        return json.loads(self.do(*words, "--json"))

    def _done(self, *words: str | Path, code: int, **env: str) -> Program:
        program = self._start(*words, **{**self._env, **env})
        assert program.wait(START_S) == code, f"{words}: {program.stdout}\n{program.stderr}"
        return program

    def key(self) -> str:
        stored = self.directory / "config" / "omium" / "credentials.json"
        return json.loads(stored.read_text())[self.address]

    def process(self) -> psutil.Process:
        return psutil.Process(json.loads(self.here("status", "--json").stdout)["pid"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    slowly = Answer(content="one two three four", chunks=4, chunk_delay_s=0.2)
    with ScriptedProvider([Rule(answer=slowly)]) as provider, programs(tmp_path) as start:
        one = Site(start, tmp_path, provider)
        up = ("up", "--detach", "--port", "0", "--dashboard", "--app-dir", str(ROOT), "--json")
        told = json.loads(one.here(*up).stdout)
        one.address = told["address"]
        top = psutil.Process(told["pid"])
        started = [top, *top.children(recursive=True)]
        try:
            yield one
        finally:
            for process in started:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def definition() -> dict[str, Any]:
    """An agent that asks the model, calls a tool, and waits for the file ``gate``."""
    worker = {
        "name": "worker",
        "framework": "python",
        "entrypoint": "tests.cli.agents:work",
        "tools": ["add"],
    }
    tool = {"name": "add", "function": "tests.cli.agents:add", "idempotent": True}
    inputs = {"type": "object", "properties": {"gate": {"type": "string"}}}
    fields = {"model": MODEL, "inputs": inputs, "tools": [tool], "agents": [worker]}
    return {"name": "work", "version": "1", **fields}


def test_the_program_at_a_service(site: Site, tmp_path: Path) -> None:
    file, gate = tmp_path / "work.json", tmp_path / "gate"
    file.write_text(json.dumps(definition()))

    # Run, and watch it from three other terminals.
    run = site.begin("run", file, "-i", f"gate={gate}", "--label", "team=red", "--json")
    wait_for(lambda: len(json_lines(run.stdout)) > 1, f"it does not begin: {run.stderr}")
    execution = json_lines(run.stdout)[0]["execution"]
    watch = site.begin("watch", execution, "--json")
    logs = site.begin("logs", execution, "--follow", "--json")
    lines = site.begin("logs", execution[:-1], "--follow")
    for follower in (watch, logs, lines):
        wait_for(lambda one=follower: bool(one.stdout), "nothing is followed")
    (row,) = site.read("ps", "--status", "running")
    assert (row["id"], row["labels"]) == (execution, {"team": "red"})

    # Act on it.
    site.do("signal", execution, "hello", '{"n": 1}')
    assert "is paused" in site.do("interrupt", execution, "--why", "lunch")
    site.do("result", execution, code=4)
    resumed = site.begin("resume", execution, "--json")
    wait_for(lambda: bool(resumed.stdout), "it does not go on")
    gate.touch()
    for program in (resumed, watch, logs, lines):
        assert program.wait(START_S) == 0, program.stderr
    # An interruption ends the command that had begun it.
    assert run.wait(START_S) in (0, 4)

    # All tell the same, each event once and in order.
    events = json_lines(logs.stdout)
    assert [one["index"] for one in events] == [*range(1, len(events) + 1)]
    *watched, result = json_lines(watch.stdout)
    assert watched == events
    assert result["output"]["said"] == "one two three four"
    assert len(lines.stdout.splitlines()) == len(events)
    kinds = [one["type"] for one in events]
    for kind in ("signalled", "paused", "resumed", "completed"):
        assert kinds.count(f"execution.{kind}") == 1, kinds
    assert site.read("show", execution)["events"] == events
    assert site.read("result", execution[:-2]) == result["output"]
    assert site.read("checkpoints", "last")

    # Cancel another one.
    gate.unlink()
    other = site.begin("run", file, "-i", f"gate={gate}", "--json")
    wait_for(lambda: len(json_lines(other.stdout)) > 1, "it does not begin")
    second = json_lines(other.stdout)[0]["execution"]
    assert site.do("cancel", second) == f"{second} is cancelled\n"
    assert other.wait(START_S) == 5

    # Keys open what they are for, until they are revoked.
    key = site.read("keys", "create", "reader", "--scope", "read")
    mine = {"OMIUM_API_KEY": key["secret"]}
    assert second in site.do("ps", **mine)
    site.do("cancel", execution, code=2, **mine)
    site.do("keys", "revoke", key["id"])
    assert [one["revoked_ms"] is None for one in site.read("keys", "list")].count(False) == 1
    site.do("ps", code=2, **mine)
    assert site.do("webhooks", "list") == "no webhooks\n"

    code_that_is_brought(site, tmp_path / "brought")
    models_for_anyone(site)
    dashboard_with_its_token(site)
    for_this_machine_alone(site)
    forced_down(site, file, gate)


def code_that_is_brought(site: Site, folder: Path) -> None:
    """A folder that the service has not, with more in it than other bodies may have."""
    folder.mkdir()
    text = "async def act(context):\n    return len(open(__file__[:-10] + 'large.txt').read())\n"
    (folder / "brought.py").write_text(text)
    (folder / "large.txt").write_text("x" * 5_000_000)
    agent = {"name": "a", "framework": "python", "entrypoint": "brought:act"}
    file = folder / "workflow.json"
    file.write_text(json.dumps({"name": "brought", "version": "1", "agents": [agent]}))
    made = site.read("workflows", "register", file)
    assert (made["code"]["files"], made["code"]["uploaded"]) == (3, True)
    shutil.move(folder, folder.with_name("gone"))
    with httpx.Client(base_url=site.address, trust_env=False, timeout=START_S) as http:
        http.headers["authorization"] = f"Bearer {site.key()}"
        ran = http.post("/v1/executions?wait=true&timeout_s=200", json={"workflow": "brought"})
    assert (ran.status_code, ran.json()["output"]) == (200, 5_000_000), ran.text


def models_for_anyone(site: Site) -> None:
    """OpenAI's own client, with a key, through Ray Serve and its proxy."""
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    with openai.OpenAI(base_url=f"{site.address}/v1", api_key=site.key(), max_retries=0) as ai:
        whole = ai.chat.completions.create(**asked)
        assert whole.choices[0].message.content == "one two three four"
        pieces = [
            chunk.choices[0].delta.content or ""
            for chunk in ai.chat.completions.create(**asked, stream=True)
        ]
        assert ("".join(pieces), len(pieces) > 3) == ("one two three four", True)


def dashboard_with_its_token(site: Site) -> None:
    told = json.loads(site.here("status", "--json").stdout)
    address, token = told["dashboard"], told["ray_token"]
    asked = f"{address}/api/version"
    assert httpx.get(asked, trust_env=False, timeout=30).status_code == 401
    bearer = {"authorization": f"Bearer {token}"}
    answer = httpx.get(asked, headers=bearer, trust_env=False, timeout=30)
    assert (answer.status_code, "ray_version" in answer.json()) == (200, True)


def for_this_machine_alone(site: Site) -> None:
    """Neither the service nor a page of its proxy's is heard from outside."""
    proxies = [one for one in site.process().children(recursive=True) if one.name() == "haproxy"]
    heard = [one for proxy in proxies for one in proxy.net_connections("inet")]
    listening = {(one.laddr.ip, one.laddr.port) for one in heard if one.status == "LISTEN"}
    assert len(listening) >= 3
    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert int(site.address.rpartition(":")[2]) in {port for _, port in listening}


def forced_down(site: Site, file: Path, gate: Path) -> None:
    """A service that is killed has ended, and says what it left."""
    run = site.begin("run", file, "-i", f"gate={gate}", "--timeout", "600", "--json")
    wait_for(lambda: "step.completed" in run.stdout, f"it does not begin: {run.stderr}")
    beneath = site.process().children(recursive=True)
    down = json.loads(site.here("down", "--force", "--json").stdout)
    assert down == {"ended": True, "resumable": 1, "paused": 0}
    _, alive = psutil.wait_procs(beneath, timeout=30)
    assert [one.name() for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert not listens("127.0.0.1", int(site.address.rpartition(":")[2]))
    assert json.loads(site.here("status", "--json").stdout) == {
        "running": False,
        "executions": {"running": 1, "completed": 2, "cancelled": 1},
    }
    again = site.here("down", "--force", "--json")
    assert json.loads(again.stdout)["ended"] is False
