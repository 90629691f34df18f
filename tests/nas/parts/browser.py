"""A browser without a screen, which draws a page and tells what came of it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to draw a page with")
BEFORE = "<script>window.problems=[];onerror=(m)=>problems.push(m)</script>"


def drawn(page: str, width: int, expression: str, folder: Path) -> Any:  # noqa: ANN401
    """Returns what a JavaScript expression gives once a window of this width shows the page.

    ``problems`` are the errors of its scripts. Nothing is asked of the network.
    """
    assert CHROMIUM is not None
    after = f"<script>document.title=JSON.stringify({expression})</script>"
    copy = folder / "page.html"
    copy.write_text(
        page.replace("<head>", f"<head>{BEFORE}").replace("</body>", f"{after}</body>")
    )
    answer = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},900",
            "--virtual-time-budget=8000",
            "--dump-dom",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", answer.stdout)
    assert title is not None, answer.stderr[-2000:]
    return json.loads(unescape(title[1]))
