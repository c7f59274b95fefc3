"""A run whose model does not answer can be ended at once."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from .conftest import Server


@pytest.mark.row("R10", part="cancel a model call")
def test_cancelling_a_run_closes_the_connection_to_a_model_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        server = Server(tmp_path / "data", environ={"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "unused"})
        server.start()
        try:
            asked: list[object] = []
            asking = threading.Thread(target=lambda: asked.append(server.send("POST", "/chat", {"message": "Hello"})))
            asking.start()
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(20)
                while connection.recv(65_536)[-1:] != b"}":
                    pass
                run_id = server.send("GET", "/api/v1/runs").json["runs"][0]["run_id"]

                began = time.monotonic()
                cancelled = server.send("POST", f"/api/v1/runs/{run_id}/cancel", {"reason": "enough"})
                end = connection.recv(1)
                took_s = time.monotonic() - began

            asking.join(20)
            run = server.send("GET", f"/api/v1/runs/{run_id}").json
        finally:
            server.stop()

    assert cancelled.status == 202
    assert end == b""
    assert took_s < 5  # long before the model's time-out of 60 s
    assert run["stop_reason"] == "cancelled"
    assert asked
