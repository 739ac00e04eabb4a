"""Lets the streams between coordinators go through proxies, where hosts cannot be cut off.

Coordinators listen where they look for one another, so nothing can stand between them unless each
looks elsewhere. A process that has ``install``ed this writes down in a folder, for each way from
one seat to another, where it will connect to and where that was to lead; whoever has the proxies
reads it. The product knows nothing of this: its one module is changed as it is imported. Imported
early in every process of a service, so it imports nothing of it by itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER_VARIABLE = "OMC_DETOURS"
HOST = "127.0.0.1"
_MODULE = "omium.actors.group.peers"
_SITE = "sitecustomize.py"

Address = tuple[str, int]


def environment(folder: Path, root: Path) -> dict[str, str]:
    """Make ``folder``, and return the variables by which every Python process that has them goes
    through the proxies; ``root`` is where this package is found."""
    folder.mkdir()
    site = folder / "site"
    site.mkdir()
    (site / _SITE).write_text(f"import {__name__}\n\n{__name__}.install()\n")
    return {"PYTHONPATH": f"{site}{os.pathsep}{root}", FOLDER_VARIABLE: str(folder)}


def install() -> None:
    """From now on this process goes through the proxies of the folder in its environment."""
    sys.meta_path.insert(0, _Finder(Path(os.environ[FOLDER_VARIABLE])))


def ways(folder: Path) -> dict[tuple[int, int], tuple[Address, Address]]:
    """By seat and other seat: where the first connects to, and where that is to lead."""
    found: dict[tuple[int, int], tuple[Address, Address]] = {}
    for path in folder.glob("*.json"):
        source, target = map(int, path.stem.split("-"))
        at, to = json.loads(path.read_text())
        found[source, target] = (at[0], at[1]), (to[0], to[1])
    return found


def detour(folder: Path, source: int, target: int, address: Address) -> Address:
    """Where ``source`` connects to instead of to ``target`` at its ``address``; the same again in
    a later life."""
    # Imported here: see the module's docstring.
    from omium.ports import free_ports

    path = folder / f"{source}-{target}.json"
    if not path.exists():
        written = path.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps([(HOST, free_ports(1)[0]), address]))
        written.rename(path)
    host, port = json.loads(path.read_text())[0]
    return host, port


class _Finder(MetaPathFinder):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(self._folder, fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, folder: Path, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._folder = folder

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        peers: Any = module.Peers
        peers.__init__ = _detoured(peers.__init__, self._folder)


def _detoured(made: Callable[..., None], folder: Path) -> Callable[..., None]:
    @wraps(made)
    def init(
        self: Any, seat: int, addresses: Mapping[int, Address], *rest: Any, **named: Any
    ) -> None:
        led = {
            other: address if other == seat else detour(folder, seat, other, address)
            for other, address in addresses.items()
        }
        made(self, seat, led, *rest, **named)

    return init
