"""Run programs against the stand-in modules beside this file, and tell their last call.

Reads paths from standard input, one a line; answers each with one line of JSON: the last
pipeline call, or why there was none. The stand-ins take part in no decision of the reader: they
have the signatures of the real packages and only record.
"""

from __future__ import annotations

import io
import json
import runpy
import sys
from contextlib import redirect_stdout

import diffusers
import torch


def main() -> None:
    for line in sys.stdin:
        diffusers.CALLS.clear()
        torch.AUTOCAST.clear()
        error = None
        with redirect_stdout(io.StringIO()):
            try:
                runpy.run_path(line.strip(), run_name="__main__")
            except SystemExit:
                pass
            except Exception as failure:
                error = repr(failure)
        last = diffusers.CALLS[-1] if diffusers.CALLS else None
        print(json.dumps({"call": last, "error": error}), flush=True)


if __name__ == "__main__":
    main()
