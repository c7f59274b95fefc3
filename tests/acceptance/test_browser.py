"""A browser's own EventSource against a running server: it sends no header, and comes from a page of another origin."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server, environment

WAIT_S = 90
PAGE = """<!doctype html><title>stream</title><script>
const server = %(server)s, key = %(key)s;
const kinds = ["run_started", "model_reply", "tool_result", "final_answer", "text", "done"];

async function token() {
  const reply = await fetch(server + "/api/v1/stream-tokens", {
    method: "POST", headers: {Authorization: "Bearer " + key}});
  return (await reply.json()).token;
}

function watch(address, until) {
  return new Promise(resolve => {
    const seen = {kinds: [], ids: [], text: "", last: null, state: null};
    const source = new EventSource(server + address);
    const end = () => { seen.state = source.readyState; source.close(); resolve(seen); };
    source.onerror = end;
    for (const kind of kinds) source.addEventListener(kind, event => {
      const data = JSON.parse(event.data);
      seen.kinds.push(kind);
      if (event.lastEventId) seen.last = event.lastEventId;
      if (kind === "text") seen.text += data.text;
      if (kind === "done") seen.answer = data;
      if (kind === until) end();
    });
  });
}

(async () => {
  const told = {};
  try {
    const first = await token();
    const query = encodeURIComponent("How long does a VPN session last?");
    told.asked = await watch(`/api/v1/agent/stream?query=${query}&token=${first}`, "done");
    const events = `/api/v1/runs/${told.asked.answer.run_id}/events`;
    told.again = await watch(`${events}?token=${first}`, "final_answer");
    told.whole = await watch(`${events}?token=${await token()}`, "final_answer");
    told.rest = await watch(`${events}?after=1&token=${await token()}`, "final_answer");
  } catch (error) { told.error = String(error); }
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
})();
</script>"""


class _Page(ThreadingHTTPServer):
    """Serves one page and hears what its script found out."""

    html = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: queue.Queue[Any] = queue.Queue()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Page

    def do_GET(self) -> None:
        self._answer(self.server.html.encode() if self.path == "/" else b"")

    def do_POST(self) -> None:
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def log_message(self, *_: object) -> None:
        """Nothing: what matters is asserted."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def page() -> Iterator[_Page]:
    with _Page() as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium")
    return found


@pytest.mark.row("S3", part="EventSource")
def test_eventsource_of_a_foreign_page_asks_and_resumes_with_tokens(chromium: str, page: _Page, tmp_path: Path) -> None:
    server = Server(data=tmp_path / "data", environ={"QUARTERDECK_SERVER__ORIGINS": json.dumps([page.origin])})
    server.start()
    page.html = PAGE % {"server": json.dumps(server.url), "key": json.dumps(server.key("emma"))}
    # No sandbox of its own: it needs rights that containers do not give, and it opens nothing but our page.
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    quiet = ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    home = environment(HOME=str(tmp_path))
    with subprocess.Popen(
        [chromium, *flags, *quiet, page.origin], env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as browser:
        try:
            told = page.told.get(timeout=WAIT_S)
        finally:
            browser.terminate()
            server.stop()

    assert told.get("error") is None
    asked, whole, rest = told["asked"], told["whole"], told["rest"]
    assert asked["kinds"][0] == "run_started"
    assert "12 hours" in asked["answer"]["answer"]
    assert "12 hours" in asked["text"]
    assert (told["again"]["kinds"], told["again"]["state"]) == ([], 2), "a used token must open nothing"
    assert rest["kinds"] == whole["kinds"][1:]
    assert rest["last"] == whole["last"] == asked["last"]
