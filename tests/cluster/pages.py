"""Kubeflow's web pages in Chromium: what a person sees and clicks.

KFP_UI names their address, such as http://127.0.0.1:3000, and KFP_UI_USER who looks (in the header `kubeflow-userid`,
as a gateway would add it). Outside of Kubeflow's dashboard nobody tells the pages which namespace was chosen, so a
script that stands for the dashboard does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

DASHBOARD = (
    "window.centraldashboard = {CentralDashboardEventHandler: {init: (started) => {"
    "const handler = {}; started(handler, false); handler.onNamespaceSelected('NAMESPACE'); }}}"
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def opened(namespace: str) -> Iterator[Any]:
    """A page of a browser that is closed afterwards."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-cluster does"
    )
    programs = [path for name in CHROMIUM if (path := shutil.which(name))]
    if not programs or not os.environ.get("KFP_UI"):
        pytest.skip("no pages to look at: KFP_UI is not set, or there is no chromium")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=programs[0], args=["--no-sandbox"])
        who = {"kubeflow-userid": os.environ.get("KFP_UI_USER", "user@example.com")}
        page = browser.new_context(viewport={"width": 1500, "height": 1150}, extra_http_headers=who).new_page()
        script = DASHBOARD.replace("NAMESPACE", namespace)
        page.route(
            "**/dashboard_lib.bundle.js", lambda route: route.fulfill(content_type="text/javascript", body=script)
        )
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def go(page: Any, where: str) -> None:
    """Open a place of the pages."""
    page.goto(f"{os.environ['KFP_UI'].rstrip('/')}/#/{where}")
