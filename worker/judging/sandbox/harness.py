"""The harness: runs one judged program and tells, frame by frame, what it built.

Started by the jail as ``python -m worker.judging.sandbox.harness``. The request comes over standard input:
``program`` (a path), ``result`` (a descriptor), ``word`` (opens every frame), ``models`` (model ids
to local folders). Frames: ``call`` for every pipeline call, ``built`` for a pipeline that was built
and never called, ``end`` when the program has run through, with its error or None.

Everything here shares its process with the judged program, so nothing here can be trusted by the
judge beyond what the program says about itself: see docs/judging.md.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from worker.judging.sandbox.sandbox import write_frame


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function right after the program, or anything else, first imports a module."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name = name
        self.then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as if this finder were not there, and wrap its execution."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_hook(module: ModuleType) -> None:
            execute(module)
            self.then()

        spec.loader.exec_module = execute_and_hook  # type: ignore[method-assign]
        return spec


def main() -> int:
    """Run the program of the request; the exit code is the program's own."""
    request = json.load(sys.stdin)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    descriptor, word = request["result"], request["word"]

    own = os.getpid()

    def send(kind: str, content: Mapping[str, Any]) -> None:
        if os.getpid() == own:  # a child of the program is not the program
            write_frame(descriptor, word, kind, content)

    from worker.judging.sandbox.hooks import Recorder

    recorder = Recorder(send, request.get("models", {}))
    sys.meta_path.insert(0, _AfterImport("diffusers", recorder.install))
    error, code = _run(request["program"])
    recorder.finish()
    send("end", {"error": error})
    return code


def _run(program: str) -> tuple[str | None, int]:
    """Run the program; return its error in one line, if it failed, and its exit code."""
    sys.argv = [program]
    # A module beside the program is not one of its own but one that it wrote itself, perhaps by the
    # name of a package that its text is taken to import.
    beside = ("", os.path.dirname(program))
    sys.path[:] = [folder for folder in sys.path if folder not in beside]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as leaving:
        code = leaving.code
        if code is None or code == 0:
            return None, 0
        return f"SystemExit: {code}"[:500], code if isinstance(code, int) else 1
    except BaseException as error:  # noqa: BLE001  # whatever the judged program raises
        traceback.print_exc(limit=-5)
        return f"{type(error).__name__}: {error}"[:500], 1
    return None, 0


if __name__ == "__main__":
    sys.exit(main())
