#!/usr/bin/env bash
# write_to_textfile puts a regular file in the place of whatever its path names, a FIFO or a link included.
#
# package   prometheus_client 0.26.0
# date      2026-11-29
# expected  a path that names a FIFO is written through it, or refused; one that names a link writes the file
#           that the link means, as open(path, "w") does
# happens   a new file is written beside it and renamed over the path: who reads from the FIFO waits for
#           ever, and the link's target keeps its old figures. As root the same replaces a device of /dev
# matters   metrics of a program are handed to node_exporter by such a path, and people name /dev/stdout or
#           a link there. scheduler's --metrics-file therefore refuses what is no regular file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'prometheus_client==0.26.0'

cat >write.py <<'PYTHON'
import os
import stat
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

registry = CollectorRegistry()
Gauge("tasks", "Tasks that are done.", registry=registry).set(3)

os.mkfifo("fifo.prom")
open("target.prom", "w").close()
os.symlink("target.prom", "link.prom")
for path in ("fifo.prom", "link.prom"):
    write_to_textfile(path, registry)
print(
    version("prometheus_client"),
    "fifo:", "regular file" if stat.S_ISREG(os.lstat("fifo.prom").st_mode) else "fifo",
    "link:", "link" if os.path.islink("link.prom") else "regular file",
    "target:", os.path.getsize("target.prom"), "bytes",
)
PYTHON
found=$(venv/bin/python -I write.py)
echo "prometheus_client, what stands there after write_to_textfile: $found"
[ "$found" = "0.26.0 fifo: regular file link: regular file target: 0 bytes" ] || {
    echo "this has changed"
    exit 1
}
