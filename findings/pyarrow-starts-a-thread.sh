#!/usr/bin/env bash
# Importing pyarrow, or datasets, leaves a process with a second thread.
#
# package   pyarrow 26.0.1
# date      2026-11-29
# expected  an import starts nothing: a process that has imported its libraries and done nothing yet has one
#           thread, and can be forked
# happens   jemalloc, which pyarrow brings, starts a thread (jemalloc_bg_thd) while pyarrow is imported; Python
#           3.12 and later warn at each fork from then on. JE_ARROW_MALLOC_CONF=background_thread:false, set
#           before the import, keeps it from starting
# matters   a process that imports once and is forked for each task must have one thread when it forks: what
#           another one holds locked at that moment stays locked in the child. worker/commands/preloaded.py
#           sets the variable around its imports, and a parent with a second thread is not forked.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'pyarrow==26.0.1'

cat >threads.py <<'PYTHON'
import os

import pyarrow

tasks = os.listdir("/proc/self/task")
names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in tasks]
print(pyarrow.__version__, len(names), "jemalloc_bg_thd" in names)
PYTHON
plain=$(venv/bin/python -I threads.py)
quiet=$(JE_ARROW_MALLOC_CONF=background_thread:false venv/bin/python -I threads.py)
echo "pyarrow, threads after the import, jemalloc's among them: $plain"
echo "the same with background_thread:false: $quiet"
[ "$plain" = "26.0.1 2 True" ] && [ "$quiet" = "26.0.1 1 False" ] || {
    echo "this has changed"
    exit 1
}
