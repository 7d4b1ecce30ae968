"""Does a file's text show a way to the harness that describes what it builds?

The harness runs in the file's own Python process, where nothing can be kept from code that looks
for it. Files that build pipelines have no need to look: they import a few well-known packages, call
them, and set a pipeline's parts. Here a file counts as plain if it does no more than that. This is
a reading of the text, not a proof; see docs/judging.md for what rests on it.
"""

from __future__ import annotations

import ast
import sys

from worker.judging.facts.packages import IMPORTED_PACKAGES
from worker.judging.facts.parts import COMPONENTS
from worker.judging.reasons.codes import Reason, Why


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PACKAGES = frozenset(IMPORTED_PACKAGES) | _words(
    """PIL accelerate cv2 datasets diffusers einops huggingface_hub matplotlib numpy pandas peft
    safetensors scipy torch torchvision tqdm transformers xformers yaml"""
)
# Of the standard library, what reaches into the interpreter or starts other programs.
_DEEP = _words(
    """ast atexit bdb builtins cProfile code codeop ctypes dis faulthandler gc imp importlib inspect
    linecache marshal mmap multiprocessing operator pdb pickle pkgutil posix profile pty runpy site
    subprocess symtable sysconfig trace traceback tracemalloc types unittest weakref
    zipimport"""
)
# Of two modules that everybody uses, the parts that do no harm.
_PARTS = {
    "sys": _words(
        """argv byteorder executable exit getsizeof maxsize platform stderr stdin stdout version
        version_info"""
    ),
    "os": _words(
        """cpu_count environ getcwd getenv getpid listdir makedirs mkdir name path remove rename
        scandir sep stat unlink urandom walk"""
    ),
}
_FUNCTIONS = _words(
    """__import__ breakpoint compile delattr eval exec getattr globals locals
    setattr vars"""
)
_OWN_NAMES = _words("__name__ __file__ __doc__ __version__ __init__ __call__")
_SETTABLE = COMPONENTS | {"scheduler"}


def way_to_harness(tree: ast.Module) -> Reason | None:
    """Return what in a file could reach the harness, or None if it is plain."""
    modules: dict[str, str] = {}  # names bound by ``import``, and to what
    judged: set[int] = set()  # names that are judged by what is done with them
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                root = item.name.partition(".")[0]
                modules[item.asname or root] = item.name if item.asname else root
        elif isinstance(node, ast.Attribute):
            judged.add(id(node.value))
        elif isinstance(node, ast.Call):
            judged.update([id(node.func)] if _is_getattr(node) else [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in judged:
            found = _named(node.id, modules)
        else:
            found = _found(node, modules)
        if found is not None:
            return found
    return None


def _is_getattr(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "getattr"


def _named(name: str, modules: dict[str, str]) -> Reason | None:
    if name in modules:
        return Why.HANDS_ON_MODULE(module=modules[name])
    return Why.USES(name=name) if name in _FUNCTIONS else None


def _found(node: ast.AST, modules: dict[str, str]) -> Reason | None:
    if isinstance(node, ast.Import):
        return next((why for item in node.names if (why := _imported(item.name))), None)
    if isinstance(node, ast.ImportFrom):
        names = [item.name for item in node.names]
        return _imported(node.module or "") or _parts(node.module or "", names)
    if isinstance(node, ast.Attribute):
        return _attribute(node, modules)
    if isinstance(node, ast.Call) and _is_getattr(node):
        name = node.args[1] if len(node.args) > 1 else None
        plain = isinstance(name, ast.Constant) and not str(name.value).startswith("_")
        return None if plain else Why.COMPUTED_NAMES()
    return None


def _imported(module: str) -> Reason | None:
    root = module.partition(".")[0]
    known = root in _PACKAGES or (root in sys.stdlib_module_names and root not in _DEEP)
    if known:
        return None
    return Why.IMPORTS(module=module) if module else Why.IMPORTS_BESIDE()


def _parts(module: str, names: list[str]) -> Reason | None:
    if module in _PARTS and not _PARTS[module].issuperset(names):
        return Why.IMPORTS_FROM(module=module, names=", ".join(names))
    return None


def _attribute(node: ast.Attribute, modules: dict[str, str]) -> Reason | None:
    owner = node.value.id if isinstance(node.value, ast.Name) else None
    module = modules.get(owner or "")
    if module in _PARTS and node.attr not in _PARTS[module]:
        return Why.USES(name=f"{module}.{node.attr}")
    if node.attr in _DEEP | _PARTS.keys() or (
        node.attr.startswith("_") and owner != "self" and node.attr not in _OWN_NAMES
    ):
        return Why.USES_ATTRIBUTE(name=node.attr)
    if isinstance(node.ctx, ast.Load) or owner == "self" or node.attr in _SETTABLE:
        return None
    return Why.SETS_ATTRIBUTE(name=node.attr)
