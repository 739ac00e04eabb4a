"""The mix of `python -m benchmarks api`: nine reads and one durable create of ten requests.

Run by it, headless; by hand: `locust -f benchmarks/locustfile.py --host ADDRESS` with
OMIUM_API_KEY set, and the workflow `one-step` registered.
"""

from __future__ import annotations

import os
import random
import uuid
from typing import ClassVar

from locust import FastHttpUser, constant, task


class Mixed(FastHttpUser):
    """One who reads what was created before, and creates now and then."""

    wait_time = constant(0)
    known: ClassVar[list[str]] = []

    def on_start(self) -> None:
        self.headers = {"authorization": f"Bearer {os.environ['OMIUM_API_KEY']}"}

    @task(9)
    def read(self) -> None:
        if self.known:
            execution = random.choice(self.known)
            self.client.get(
                f"/v1/executions/{execution}", headers=self.headers, name="read execution"
            )
        else:
            self.create()

    @task(1)
    def create(self) -> None:
        with self.client.post(
            "/v1/executions",
            json={"workflow": "one-step", "inputs": {}},
            headers={**self.headers, "idempotency-key": uuid.uuid4().hex},
            name="create execution",
            catch_response=True,
        ) as answer:
            if answer.status_code != 202:
                answer.failure(f"HTTP {answer.status_code}: {(answer.text or '')[:200]}")
                return
            self.known.append(answer.json()["execution"])
            if len(self.known) > 1_000:
                del self.known[:500]
