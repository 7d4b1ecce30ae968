#!/usr/bin/env bash
# PyYAML lets a key written twice pass, and reads 1:30 as 90.
#
# package   PyYAML 6.0.3
# date      2026-11-28
# expected  an error for the second max_loss: YAML 1.1 and 1.2 both say that keys are unique; and for a
#           reader in 2026, 1:30 as text, as YAML 1.2 has it
# happens   the last value wins without a word; 1:30 is a number to base 60, and the key `on` is True
# matters   a sweep file in which a line was copied runs with a bound that its author does not see.
#           strict_yaml.py in both packages makes each of these an error with its line.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'PyYAML==6.0.3'

venv/bin/python -I - <<'PYTHON'
import sys

import yaml

print("PyYAML", yaml.__version__)
seen = {}
for text in ("max_loss: 0.01\nmax_loss: 0.5", "timeout: 1:30", "on: push"):
    seen[text] = yaml.safe_load(text)
    print(f"{text!r} is read as {seen[text]}")
if list(seen.values()) != [{"max_loss": 0.5}, {"timeout": 90}, {True: "push"}]:
    sys.exit("this has changed")
PYTHON
