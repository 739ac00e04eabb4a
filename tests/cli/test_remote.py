"""The program against a service: the same commands, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.client.webhooks import verify
from omium.clock import SystemClock
from omium.runtime import endpoint, service_file
from omium.runtime.service_file import ServiceRecord
from omium.serve.composition import PEPPER_NAME
from tests.cli.conftest import Omium, workflow_of
from tests.cli.programs import wait_for
from tests.cli.served import Service, service
from tests.serve.api.stage import PEPPER
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("service")) as one:
        yield one


@pytest.fixture(autouse=True)
def _own_key(omium: Omium, at: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # After ``omium``, which forgets all settings.
    monkeypatch.setenv("OMIUM_API_KEY", at.key)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OMIUM_DATA_DIR", str(tmp_path / "none"))


def write(directory: Path, name: str, *entrypoints: str, **fields: Any) -> Path:
    path = directory / f"{name}.json"
    inputs = {"type": "object", "properties": {"to": {"type": "integer"}, "gate": {}}}
    fields = {"inputs": inputs, **fields}
    path.write_text(json.dumps({**workflow_of(name, *entrypoints).to_data(), **fields}))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def start(omium: Omium, at: Service, file: Path, gate: Path) -> str:
    """Run an execution that waits at a gate, stop watching it, and return its id."""
    shown = omium("run", file, "-i", f"gate={gate}", "--address", at.address, "--timeout", "0.5")
    assert shown.exit_code == 1, shown.output
    *_, last = shown.stderr.splitlines()
    assert "omium watch ex_" in last
    return last.split("omium watch ")[1].split()[0]


def test_resume_answers_what_is_asked(omium: Omium, at: Service, tmp_path: Path) -> None:
    there = ("--address", at.address)
    shown = omium("run", write(tmp_path, "asking", "asks"), *there)
    assert shown.exit_code == 4, shown.output
    assert "Which rate?" in shown.stderr
    *_, last = shown.stderr.splitlines()
    assert last.startswith("answer with: omium resume ex_")
    (row,) = json.loads(omium("ps", "--status", "paused", "--json", *there).stdout)
    one = row["id"]
    assert "Which rate?" in omium("ps", *there).stdout
    head = omium("show", one, *there).stdout
    (asked,) = json.loads(omium("show", one, "--json", *there).stdout)["questions"]
    assert f"question {asked['call']} of a: Which rate? as {{" in head
    bare = omium("resume", one, *there)
    assert (bare.exit_code, "answer with: omium resume" in bare.stderr) == (4, True)
    wrong = omium("resume", one, "--answer", '{"rate": 99}', *there)
    assert wrong.exit_code == 2
    assert "rate: found 99" in wrong.stderr
    both = omium("resume", one, "--answer", "1", "--deny", *there)
    assert both.exit_code == 2
    file = tmp_path / "answer.json"
    file.write_text('{"rate": 9}')
    done = omium("resume", one, "--answer", f"@{file}", "--call", str(asked["call"]), *there)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"rate": 9}


def test_resume_takes_text_and_denials(omium: Omium, at: Service, tmp_path: Path) -> None:
    there = ("--address", at.address)
    file = write(tmp_path, "naming", "asks_a_name")
    for words, answer in (
        (("--answer", "Bob"), "Bob"),
        (("--answer", "42"), "42"),
        (("--deny", "--reason", "busy"), "'Which name?' was not answered by key "),
    ):
        omium("run", file, *there)
        done = omium("resume", "last", *words, *there)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout).startswith(answer)


def test_run_registers_runs_shows_and_prints(omium: Omium, at: Service, tmp_path: Path) -> None:
    file = write(tmp_path, "counting", "count", "count")
    there = ("--address", at.address)
    shown = omium("run", file, "-i", "to=1", "--label", "team=red", *there)
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout) == {"reached": 1}
    assert "a: step completed" in shown.stderr
    assert "checkpoints: 3 a, 6 b\n" in shown.stderr
    shown = omium("run", file, "-i", "to=2", "--json", *there)
    *events, result = lines(shown.stdout)
    assert [one["index"] for one in events] == [*range(1, len(events) + 1)]
    assert (result["type"], result["output"]) == ("result", {"reached": 2})
    one = result["execution"]
    (row,) = [row for row in json.loads(omium("ps", "--json", *there).stdout) if row["id"] == one]
    assert (row["status"], row["interrupted"], row["labels"]) == ("completed", False, {})
    assert [row["labels"] for row in json.loads(omium("ps", "--json", *there).stdout)].count(
        {"team": "red"}
    ) == 1
    assert omium("ps", "--limit", "1", *there).stdout.splitlines()[1].startswith(one)
    assert json.loads(omium("result", one[:-1], *there).stdout) == {"reached": 2}
    shown = omium("show", "last", *there)
    assert f"execution    {one}\n" in shown.stdout
    assert shown.stdout.count("step.completed") == 4
    assert json.loads(omium("show", one, "--json", *there).stdout)["events"] == events
    points = json.loads(omium("checkpoints", one, "--json", *there).stdout)
    assert len(points) == 4
    at_two = omium("checkpoints", one, "--at", points[1]["index"], *there)
    assert json.loads(at_two.stdout) == 2
    fork = omium("fork", one, "--at", points[0]["index"], "--set", "inputs.to=3", "--json", *there)
    *_, end = lines(fork.stdout)
    assert (end["output"], end["checkpoints"]) == ({"reached": 3}, 6)
    assert omium("logs", one, "--json", *there).stdout == "\n".join(map(json.dumps, events)) + "\n"
    plain = omium("logs", one, "--follow", *there).stdout.splitlines()
    assert len(plain) == len(events)
    assert plain[-1].endswith("execution completed  result of b")
    watched = omium("watch", one, *there)
    assert (watched.exit_code, json.loads(watched.stdout)) == (0, {"reached": 2})


BROUGHT = "async def act(context):\n    return 'VERSION'\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a workflow and its code, which the service has not. Its workers are in this
    process, so what they import of it is undone."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "brought", raising=False)
    agent = {"name": "a", "framework": "python", "entrypoint": "brought:act"}
    (folder / "workflow.json").write_text(
        json.dumps({"name": "brought", "version": "1", "agents": [agent]})
    )
    (folder / "brought.py").write_text(BROUGHT.replace("VERSION", "one"))
    return folder


def test_a_folder_is_brought_and_run(omium: Omium, at: Service, project: Path) -> None:
    there, file = ("--address", at.address), "workflow.json"
    refused = omium("workflows", "register", file, "--service-code", *there)
    assert (refused.exit_code, "no module 'brought'" in refused.stderr) == (2, True)
    made = omium("workflows", "register", file, *there)
    assert (made.exit_code, made.stdout) == (0, "brought@1\n"), made.stderr
    assert "2 files, uploaded" in made.stderr
    again = json.loads(omium("workflows", "register", file, "--json", *there).stdout)
    assert (again["version"], again["code"]["uploaded"]) == ("1", True)
    ran = omium("run", file, *there)
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, "one"), ran.stderr
    assert "note:" not in ran.stderr

    # Another code is another version; until then what was uploaded runs, and that is told.
    (project / "brought.py").write_text(BROUGHT.replace("VERSION", "two"))
    sys.modules.pop("brought")
    ran = omium("run", file, *there)
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, "one")
    assert "note: the code here is another than was uploaded" in ran.stderr
    refused = omium("workflows", "register", file, "--json", *there)
    assert refused.exit_code == 2
    error = json.loads(refused.stdout)
    assert error["kind"] == "conflict"
    assert "(changed brought.py): give this one another version" in error["message"]
    definition = json.loads((project / file).read_text())
    (project / file).write_text(json.dumps({**definition, "version": "2"}))
    assert omium("workflows", "register", file, "--code", project, *there).exit_code == 0

    rows = omium("workflows", "list", *there).stdout
    assert any(line.split()[:3] == ["brought", "2", "2"] for line in rows.splitlines())
    listed = json.loads(omium("workflows", "list", "--json", *there).stdout)
    assert "brought" in [one["name"] for one in listed]
    shown = omium("workflows", "show", "brought@1", *there).stdout
    assert f"code        {again['code']['digest']}, 2 files, uploaded\n" in shown
    assert "workflow    brought@1\n" in shown
    both = json.loads(omium("workflows", "show", "brought", "--json", *there).stdout)
    assert (both["version"], len(both["versions"])) == ("2", 2)
    assert omium("workflows", "show", "nothing", *there).exit_code == 2


def test_what_is_not_allowed_or_makes_no_sense(
    omium: Omium, at: Service, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ("--address", at.address)
    both = omium("workflows", "register", "workflow.json", "--code", ".", "--service-code", *there)
    assert (both.exit_code, "give one of them" in both.stderr) == (2, True)
    monkeypatch.setenv("OMIUM_API_KEY", at.key_of("other", "admin"))
    refused = omium("workflows", "register", "workflow.json", *there)
    assert (refused.exit_code, "service.upload_tenants" in refused.stderr) == (2, True)
    (project / "workflow.json").write_text("{}")
    wrong = omium("workflows", "register", "workflow.json", *there)
    assert (wrong.exit_code, "agents" in wrong.stderr) == (2, True)
    nowhere = omium("workflows", "list")
    assert (nowhere.exit_code, "omium up" in nowhere.stderr) == (2, True)


def test_ends_have_their_exit_codes(omium: Omium, at: Service, tmp_path: Path) -> None:
    there = ("--address", at.address)
    shown = omium("run", write(tmp_path, "failing", "boom"), "-i", "to=1", *there)
    assert shown.exit_code == 3
    assert "agent: ValueError: it does not work\n" in shown.stderr
    assert shown.stderr.endswith(f" --address {at.address}\n")
    assert omium("result", "last", *there).exit_code == 3
    assert omium("watch", "last", *there).exit_code == 3
    assert omium("resume", "last", *there).exit_code == 3
    assert omium("cancel", "last", *there).exit_code == 2
    many = omium("show", "ex_", *there)
    assert (many.exit_code, "more than one begins so" in many.stderr) == (2, True)
    nothing = omium("show", "ex_nothing", *there)
    assert nothing.exit_code == 2
    assert nothing.stderr == "error: no execution 'ex_nothing'; `omium ps` lists what there is\n"


def test_interrupted_signalled_resumed_and_cancelled(
    omium: Omium, at: Service, tmp_path: Path
) -> None:
    gate, there = tmp_path / "gate", ("--address", at.address)
    one = start(omium, at, write(tmp_path, "waiting", "gated"), gate)
    sent = omium("signal", one, "hello", '{"n": 1}', *there)
    assert (sent.exit_code, sent.stdout) == (0, f"{one} was sent hello\n")
    paused = omium("interrupt", one, "--why", "lunch", *there)
    assert paused.stdout == (
        f"{one} is paused; go on with: omium resume {one} --address {at.address}\n"
    )
    assert omium("result", one, *there).exit_code == 4
    gate.touch()
    resumed = omium("resume", one, "--json", *there)
    *events, end = lines(resumed.stdout)
    assert end["output"] == "open"
    assert events[0]["type"] == "execution.resumed"
    told = lines(omium("logs", one, "--json", *there).stdout)
    (heard,) = [event for event in told if event["type"] == "execution.signalled"]
    assert (heard["name"], heard["payload"]) == ("hello", {"inline": {"n": 1}})
    again = omium("resume", one, *there)
    assert "has completed already" in again.stderr
    gate.unlink()
    other = start(omium, at, tmp_path / "waiting.json", gate)
    assert omium("cancel", other, *there).stdout == f"{other} is cancelled\n"
    assert omium("cancel", other, *there).stdout == f"{other} was cancelled already\n"
    assert omium("watch", other, *there).exit_code == 5


def test_ctrl_c_leaves_it_running(omium: Omium, at: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    file = write(tmp_path, "waiting", "gated")
    there = ("--address", at.address)

    def press() -> None:
        wait_for(at.is_followed, "nobody watches")
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    shown = omium("run", file, "-i", f"gate={gate}", "--json", *there)
    presser.join()
    assert shown.exit_code == 130
    *_, end = lines(shown.stdout)
    assert end["interrupted"] is False
    execution = end["execution"]
    assert shown.stderr.endswith(
        f"interrupted; it goes on at {at.address}; watch it with: omium watch {execution} "
        f"--address {at.address}\n"
    )
    gate.touch()
    assert json.loads(omium("watch", execution, *there).stdout) == "open"


def test_what_keeps_it_from_asking(
    omium: Omium, at: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = omium("ps", "--address", at.address, "--data-dir", tmp_path)
    assert both.exit_code == 2
    assert both.stderr.startswith("error: --address names a service")
    assert omium("ps", "--address", "localhost").exit_code == 2
    file = write(tmp_path, "counting", "count", version="9")
    # A key that may only run will do for what is there already, and for nothing new.
    monkeypatch.setenv("OMIUM_API_KEY", at.key_of("default", "run"))
    shown = omium("run", file, "-i", "to=1", "--address", at.address)
    assert (shown.exit_code, "'admin'" in shown.stderr) == (2, True)
    monkeypatch.setenv("OMIUM_API_KEY", at.key)
    monkeypatch.setenv("OMIUM_ADDRESS", at.address)
    assert omium("run", file, "-i", "to=1").exit_code == 0
    monkeypatch.setenv("OMIUM_API_KEY", at.key_of("default", "run"))
    assert omium("run", file, "-i", "to=1").exit_code == 0
    monkeypatch.setenv("OMIUM_API_KEY", at.key)
    changed = omium("run", write(tmp_path, "counting", "boom", version="9"), "-i", "to=1")
    assert (changed.exit_code, "another definition" in changed.stderr) == (2, True)
    monkeypatch.setenv("OMIUM_API_KEY", "omk_wrong")
    wrong = omium("ps")
    assert wrong.exit_code == 2
    assert "API key" in wrong.stderr
    odd = omium("run", file, "-i", "to=1", "--label", "a b=c")
    assert (odd.exit_code, "--label" in odd.stderr) == (2, True)


def test_keys(omium: Omium, at: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ("--address", at.address)
    made = omium("keys", "create", "ci", "--scope", "run", *there)
    assert made.exit_code == 0
    secret = made.stdout.strip()
    key_id = secret.split("_")[1]
    assert made.stderr == f"key {key_id} may run; keep it, it is not shown again\n"
    listed = omium("keys", "list", *there)
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith(key_id)]
    assert (line.split()[1], line.split()[-1]) == ("run", "ci")
    assert secret not in listed.stdout
    assert omium("keys", "create", "x", "--scope", "all", *there).exit_code == 2
    assert omium("keys", "revoke", key_id, *there).stdout == f"{key_id} is revoked\n"
    (row,) = [k for k in json.loads(omium("keys", "list", "--json", *there).stdout)
              if k["id"] == key_id]  # fmt: skip
    assert row["revoked_ms"] is not None
    monkeypatch.setenv("OMIUM_API_KEY", secret)
    assert omium("ps", *there).exit_code == 2
    nobody = omium("keys", "list")
    assert (nobody.exit_code, "omium up" in nobody.stderr) == (2, True)


@pytest.fixture
def receiver(at: Service) -> Iterator[Receiver]:
    """One who receives webhooks, in the service's event loop."""
    receiving_here = receiving()
    yield at.do(receiving_here.__aenter__())
    at.do(receiving_here.__aexit__(None, None, None))


def test_webhooks(omium: Omium, at: Service, receiver: Receiver) -> None:
    there = ("--address", at.address)
    assert omium("webhooks", "list", *there).stdout == "no webhooks\n"
    made = omium("webhooks", "create", receiver.url, "--event", "execution.failed", *there)
    assert made.exit_code == 0, made.stderr
    secret, hook = made.stdout.strip(), made.stderr.split()[1]
    assert made.stderr == (
        f"webhook {hook} is told of failed; keep the secret, it is not shown again\n"
    )
    _, listed = omium("webhooks", "list", *there).stdout.splitlines()
    assert (listed.split()[0], listed.split()[2:]) == (hook, ["failed", receiver.url])
    shown = omium("webhooks", "show", hook, *there)
    assert f"url          {receiver.url}\n" in shown.stdout
    assert secret not in shown.stdout + omium("webhooks", "list", "--json", *there).stdout
    sent = omium("webhooks", "test", hook, *there)
    delivery = sent.stdout.split()[0]
    assert sent.stdout == f"{delivery} is on its way to {hook}\n"

    def delivered() -> list[dict[str, Any]]:
        log = omium("webhooks", "deliveries", hook, "--state", "delivered", "--json", *there)
        return json.loads(log.stdout)

    wait_for(lambda: len(delivered()) == 1, "the trial does not arrive")
    (message,) = receiver.messages
    assert verify(message.body, message.headers, secret) == delivery
    _, row = omium("webhooks", "deliveries", hook, *there).stdout.splitlines()
    assert (row.split()[:3], row.split()[-2:]) == (
        [delivery, "delivered", "1"],
        ["webhook.test", "204"],
    )
    none = omium("webhooks", "deliveries", hook, "--state", "given_up", *there)
    assert none.stdout == "no deliveries\n"
    again = omium("webhooks", "redeliver", hook, delivery, "--json", *there)
    assert json.loads(again.stdout)["id"] == delivery
    new = json.loads(omium("webhooks", "rotate", hook, "--json", *there).stdout)
    assert (new["id"], new["secret"] != secret) == (hook, True)
    wait_for(lambda: len(receiver.messages) == 2, "it does not come again")
    assert omium("webhooks", "delete", hook, *there).stdout == f"{hook} is deleted\n"
    for words in (
        ("show", hook),
        ("create", "ftp://example.com"),
        ("create", receiver.url, "--event", "execution.rumoured"),
        ("deliveries", hook, "--state", "lost"),
    ):
        wrong = omium("webhooks", *words, *there)
        assert (wrong.exit_code, wrong.stdout) == (2, ""), words
    nobody = omium("webhooks", "list")
    assert (nobody.exit_code, "omium up" in nobody.stderr) == (2, True)


@pytest.fixture
def owned(at: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data directory of the service, with the files that lead there."""
    port, secret = at.endpoint
    reached = endpoint.Endpoint(host="127.0.0.1", port=port, secret=secret, pid=os.getpid())
    record = ServiceRecord(
        address=at.address, pid=os.getpid(), dashboard=None, started_ms=SystemClock().now_ms()
    )
    (at.data_dir / PEPPER_NAME).write_bytes(PEPPER)
    (at.data_dir / PEPPER_NAME).chmod(0o600)
    endpoint.publish(at.data_dir, reached)
    service_file.publish(at.data_dir, record)
    yield at.data_dir
    service_file.withdraw(at.data_dir, record)
    endpoint.withdraw(at.data_dir, reached)


def test_the_service_of_the_data_directory_is_asked(
    omium: Omium, at: Service, owned: Path, tmp_path: Path
) -> None:
    file = write(tmp_path, "counting-here", "count")
    here = ("--data-dir", owned)
    shown = omium("run", file, "-i", "to=1", *here)
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout) == {"reached": 1}
    assert shown.stderr.startswith(f"asking the service at {at.address}, which uses {owned}\n")
    # What only reads needs nobody.
    read = omium("ps", "--limit", "1", *here)
    assert (read.exit_code, read.stderr, "completed" in read.stdout) == (0, "", True)
    assert omium("logs", "last", *here).stdout.endswith("execution completed  result of a\n")
    watched = omium("watch", "last", "--quiet", *here)
    assert (watched.exit_code, json.loads(watched.stdout)) == (0, {"reached": 1})
    gate = tmp_path / "gate"
    waiting = write(tmp_path, "waiting", "gated")
    left = omium("run", waiting, "-i", f"gate={gate}", "--timeout", "0.5", "--json", *here)
    one = lines(left.stdout)[-1]["execution"]
    assert omium("signal", one, "hello", "you", *here).exit_code == 0
    assert omium("interrupt", one, *here).exit_code == 0
    assert omium("cancel", one, *here).exit_code == 0
    (heard,) = [
        event
        for event in lines(omium("logs", one, "--json", *here).stdout)
        if event["type"] == "execution.signalled"
    ]
    assert (heard["by"], heard["payload"]) == ("cli", {"inline": "you"})


def test_an_operator_makes_a_tenant_its_first_key(
    omium: Omium, at: Service, owned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ("--tenant", "acme", "--data-dir", owned)
    made = omium("keys", "create", "first", "--scope", "admin", "--json", *here)
    key = json.loads(made.stdout)
    listed = omium("keys", "list", "--json", *here)
    assert listed.exit_code == 0, listed.stderr
    assert [k["id"] for k in json.loads(listed.stdout)] == [key["id"]]
    monkeypatch.setenv("OMIUM_API_KEY", key["secret"])
    assert omium("ps", "--address", at.address).stdout == "no executions\n"
    assert omium("keys", "revoke", key["id"], *here).exit_code == 0
    assert omium("keys", "list", "--tenant", "_system", "--data-dir", owned).exit_code == 2
    assert omium("keys", "list", "--tenant", "a", "--address", at.address).exit_code == 2
