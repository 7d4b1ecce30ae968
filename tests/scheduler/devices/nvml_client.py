"""Does with `Nvml` what lines of JSON on standard input say; run by test_nvml.py.

A process of its own, because the loader takes LD_LIBRARY_PATH as it was when a process started.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from scheduler.devices.nvml import Nvml, NvmlUnavailable
from scheduler.devices.selection import UnknownDevice, usable


def main() -> None:
    try:
        nvml = Nvml.open()
    except NvmlUnavailable as error:
        print(json.dumps({"unavailable": str(error)}))
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            if verb == "devices":
                answer = [
                    asdict(device)
                    for device in usable(nvml.devices(), **{"visible": None, **arguments})
                ]
            elif verb == "read":
                answer = asdict(nvml.read(**arguments))
            elif verb == "reopen_after":
                answer = nvml.REOPEN_AFTER = arguments
            print(json.dumps(answer, default=sorted), flush=True)
        except (UnknownDevice, NvmlUnavailable) as error:
            print(json.dumps({type(error).__name__: str(error)}), flush=True)
    nvml.close()


if __name__ == "__main__":
    main()
