#!/usr/bin/env bash
# Without unsafe-eval, plotly's parallel coordinates blame the browser.
#
# package   plotly 7.1.0 (with the plotly.js that it brings along), in Debian's chromium, which must be on the path
# date      2026-11-29
# expected  under a Content-Security-Policy that lets no text be run as code the plot is drawn as without one, or
#           the console names the policy.
# happens   the page says that the browser does not support WebGL, and the console has no error. With
#           'unsafe-eval' in the policy the same page is drawn by the same browser.
# matters   a report with a strict policy lacks a plot, and its reader looks for the fault in the graphics card.
#           scheduler/report draws parallel coordinates as lines of a scatter plot.
set -euo pipefail

command -v chromium > /dev/null || { echo "this finding needs chromium on the path" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'plotly==7.1.0' 'playwright==1.65.2'

venv/bin/python -I - <<'PYTHON'
import pathlib
import shutil
import sys

import plotly
import plotly.graph_objects as go
from playwright.sync_api import sync_playwright

print("plotly", plotly.__version__)
lines = go.Figure(go.Parcoords(dimensions=[{"values": [1, 2, 3]}, {"values": [3, 1, 2]}]))
body = lines.to_html(full_html=False, include_plotlyjs=True)
policies = {
    "no policy": "",
    "strict": "script-src 'unsafe-inline'",
    "with unsafe-eval": "script-src 'unsafe-inline' 'unsafe-eval'",
}
seen = {}
with sync_playwright() as play:
    browser = play.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=["--no-sandbox", "--enable-unsafe-swiftshader"],
    )
    for name, policy in policies.items():
        head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
        file = pathlib.Path(f"{name.replace(' ', '-')}.html")
        file.write_text(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>")
        page, errors = browser.new_page(), []
        page.on("console", lambda one, errors=errors: errors.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one, errors=errors: errors.append(str(one)))
        page.goto(file.resolve().as_uri())
        page.wait_for_function(
            "document.body.innerText.includes('WebGL') || document.querySelector('.parcoords text')"
        )
        blames = "WebGL is not supported" in page.inner_text("body")
        seen[name] = blames
        print(f"{name}: {'says that WebGL is not supported' if blames else 'is drawn'}; console errors: {errors}")
    browser.close()
if seen != {"no policy": False, "strict": True, "with unsafe-eval": False}:
    sys.exit("this has changed")
PYTHON
