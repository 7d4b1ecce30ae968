"""The scripted worker, for a sweep whose attempts are forked from a process that has loaded this module."""

import runpy
from pathlib import Path


def main(argv):
    runpy.run_path(str(Path(__file__).with_name("scripted_worker.py")), run_name="__main__")
