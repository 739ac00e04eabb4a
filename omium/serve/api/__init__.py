"""The HTTP API: a FastAPI application over one client of the coordinator. Knows no Ray.

``create_app`` builds it; whoever serves it hands over a client and ``ApiSettings``. The
application is imported when it is first asked for: every driver writes settings, few serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omium.serve.api.settings import ApiSettings

if TYPE_CHECKING:
    from omium.serve.api.app import create_app
    from omium.serve.api.auth import Keys, Principal, Scope, ensure_admin_key

__all__ = ["ApiSettings", "Keys", "Principal", "Scope", "create_app", "ensure_admin_key"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from omium.serve.api import app as home
    elif name in __all__:
        from omium.serve.api import auth as home
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(home, name)
