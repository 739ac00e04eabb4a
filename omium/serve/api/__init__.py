"""The HTTP API: a FastAPI application over one client of the coordinator. Knows no Ray.

``create_app`` builds it; whoever serves it hands over a client and ``ApiSettings``.
"""

from omium.serve.api.app import create_app
from omium.serve.api.auth import Keys, Principal, Scope, ensure_admin_key
from omium.serve.api.settings import ApiSettings

__all__ = ["ApiSettings", "Keys", "Principal", "Scope", "create_app", "ensure_admin_key"]
