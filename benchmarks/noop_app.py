"""A Ray Serve application that does nothing, behind the same proxy with the same flags: what a
service could answer at most on this machine. Prints its address, and ends with its input."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from omium.serve.composition import free_ports
from omium.serve.edge import edge_environment


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="omium-noop-") as scratch:
        os.environ.update(edge_environment(Path(scratch)))
        os.environ["RAY_AUTH_TOKEN"] = "noop" * 8
        import ray
        from fastapi import FastAPI
        from ray import serve

        app = FastAPI()

        @app.get("/noop")
        def _noop() -> dict[str, str]:
            return {"status": "ok", "execution": "ex_0000000000000000", "workflow": "noop"}

        @serve.deployment(max_ongoing_requests=4_096, ray_actor_options={"num_cpus": 0})
        @serve.ingress(app)
        class Noop:
            pass

        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 * 1024 * 1024,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(Path(scratch) / "ray"),
        )
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        (port,) = free_ports(1)
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": "127.0.0.1", "port": port},
            logging_config={"enable_access_log": False},
        )
        serve.run(Noop.bind(), name="noop", route_prefix="/")  # pyright: ignore
        print(f"http://127.0.0.1:{port}", flush=True)
        sys.stdin.read()
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
