"""Pairs of programs: one, and the same with one change, which may or may not change what it does."""

from __future__ import annotations

import textwrap
from typing import Any

from hypothesis import strategies as st

from tests.worker.judging.static.programs import IMPORTS, SD15, SDXL

HEAD = (
    IMPORTS
    + """\
import asyncio, atexit, contextlib, copy, functools, itertools, threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from diffusers import UNet2DConditionModel
from elsewhere import Base, accelerate, hooked
"""
)

DEFINITIONS = """\
class Delegating:
    def __init__(self, inner):
        self.inner = inner
    def __getattr__(self, name):
        if name == "inner":  # of a copy, before it has one
            raise AttributeError(name)
        return getattr(self.inner, name)
    def __call__(self, *args, **options):
        return self.inner(*args, **options)


class Forwarding:
    def __init__(self, inner):
        object.__setattr__(self, "inner", inner)
    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "inner"), name)
    def __setattr__(self, name, value):
        setattr(self.inner, name, value)


class Inherits(Base):
    def __init__(self, pipe):
        self.pipe = pipe


class InheritsAll(Base):
    pass


class Subclass(diffusers.StableDiffusionPipeline):
    def __call__(self, prompt, **options):
        options.setdefault("num_inference_steps", 30)
        return super().__call__(prompt, **options)


def later(function):
    function()
    yield function
    function()


@contextmanager
def around(before, after):
    before()
    try:
        yield
    finally:
        after()


async def soon(function):
    function()


def twice(function):
    @functools.wraps(function)
    def wrapper(*args, **options):
        function(*args, **options)
        return function(*args, **options)
    return wrapper


def remember(value, seen=[]):
    seen.append(value)
    return seen


state = "unset"


def set_state(value, keep=False):
    if keep:
        state = value
    else:
        globals_of_this(value)
    return state


def globals_of_this(value):
    global state
    state = value
"""

# What changes a pipeline `pipe`; several undo each other, some fail.
ACTIONS = (
    "pipe.load_lora_weights('a/x', adapter_name='x')",
    "pipe.load_lora_weights('a/y', adapter_name='y')",
    "pipe.load_lora_weights('a/q', adapter_name='y')",
    "pipe.disable_lora()",
    "pipe.enable_lora()",
    "pipe.fuse_lora(lora_scale=0.8)",
    "pipe.fuse_lora()",
    "pipe.unfuse_lora()",
    "pipe.unload_lora_weights()",
    "pipe.set_adapters(['x'], adapter_weights=[0.5])",
    "pipe.delete_adapters('x')",
    "pipe.load_textual_inversion('a/t')",
    "pipe.load_textual_inversion('a/u')",
    "pipe.unload_textual_inversion()",
    "pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)",
    "pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)",
    "pipe.disable_freeu()",
    "tomesd.apply_patch(pipe, ratio=0.5)",
    "tomesd.apply_patch(pipe, ratio=0.3)",
    "tomesd.remove_patch(pipe)",
    "helper.enable()",
    "helper.disable()",
    "helper.set_params(cache_interval=5)",
    "pipe.to('cuda')",
    "pipe.to(torch.float16)",
    "pipe.to('cpu')",
    "pipe.unet = UNet2DConditionModel.from_pretrained(MODEL, subfolder='unet')",
    "pipe.unet = UNet2DConditionModel.from_pretrained(MODEL, subfolder='unet_ema')",
    "pipe.unet = UNet2DConditionModel.from_pretrained(MODEL, subfolder='unet', variant='non_ema')",
    "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)",
    "pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config)",
    "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing='trailing')",
    "call['num_inference_steps'] = 30",
    "call.update(guidance_scale=3.0)",
    "call.pop('guidance_scale', None)",
    "call |= {'negative_prompt': 'blurry'}",
    "pipe('warm up', num_inference_steps=2)",
    "print('nothing')",
    "accelerate(pipe)",
    "raise ValueError('no')",
)
# How an action comes to be done, or not: {f} stands for a function without arguments that does it.
CERTAIN_WAYS = (
    "{f}()",
    "map(lambda do: do(), [{f}])",
    "list(map(lambda do: do(), [{f}]))",
    "deque(map(lambda do: do(), [{f}]), maxlen=0)",
    "({f}() for _ in range(1))",
    "any({f}() for _ in range(1))",
    "all([{f}() for _ in range(2)])",
    "later({f})",
    "next(later({f}))",
    "list(later({f}))",
    "for done in later({f}):\n    break",
    "first, *rest = (do() for do in [{f}])",
    "with around({f}, int):\n    pass",
    "with around(int, {f}):\n    pass",
    "around({f}, int)",
    "soon({f})",
    "asyncio.run(soon({f}))",
    "threading.Thread(target={f})",
    "partial({f})",
    "partial({f})()",
    "twice({f})",
    "twice({f})()",
    "with contextlib.suppress(ValueError):\n    {f}()",
    "try:\n    {f}()\nexcept ValueError:\n    pass",
    "try:\n    raise KeyError\n    {f}()\nexcept KeyError:\n    pass",
    "try:\n    raise KeyError\nexcept KeyError:\n    {f}()\nfinally:\n    int()",
    "if len(remember(1)) > 1:\n    {f}()",
    "if len(remember(1)) > 1 or len(remember(2)) > 1:\n    {f}()",
    "if set_state('set', keep=True) == 'set':\n    {f}()",
    "if set_state('set') == 'set':\n    {f}()",
    "False and {f}()",
    "'' or {f}()",
    "[do for do in [{f}] if do() or True]",
    "for _ in range(0):\n    {f}()\nelse:\n    int()",
    "for _ in range(1):\n    break\nelse:\n    {f}()",
    "while True:\n    {f}()\n    break",
    "match [1, 2]:\n    case [1, x] if x > 2:\n        {f}()\n    case [1, *_]:\n        int()",
    "max([1, 2], key=lambda item: {f}() or item)",
    "min([], default=0, key=lambda item: {f}())",
    "with ThreadPoolExecutor() as pool:\n    list(pool.map(lambda do: do(), [{f}]))",
    "next(itertools.islice((do() for do in [{f}, {f}]), 1, None), None)",
    "dict(a={f}())",
    "(lambda do={f}: do)()",
    "del remember.__defaults__[0][:]\nif len(remember(0)) == 1:\n    {f}()",
)
# What holds the pipeline from here on.
HOLDERS = (
    "pipe = Delegating(pipe)",
    "pipe = Forwarding(pipe)",
    "kept = Inherits(pipe)",
    "Inherits(pipe).speed_up()",
    "InheritsAll(pipe)",
    "with Inherits(pipe) as pipe_:\n    pass",
    "Inherits(pipe)()",
    "Inherits(pipe).anything",
    "Inherits(pipe) + 1",
    "hooked(pipe)",
    "other = copy.copy(pipe)",
    "pipe = pipe",
)
CALLS = (
    "pipe(**call)",
    "pipe(**call).images[0].save('x.png')",
    "with torch.no_grad():\n    pipe(**call)",
    "with torch.autocast('cuda', dtype=torch.float16):\n    pipe(**call)",
    "with torch.autocast('cuda', enabled=False):\n    pipe(**call)",
    "[pipe(**call) for _ in range(2)]",
    "list(map(lambda prompt: pipe(**{**call, 'prompt': prompt}), ['a red fox']))",
    "partial(pipe, **call)()",
    "for done in (pipe(**call) for _ in range(1)):\n    pass",
)


@st.composite
def pairs(draw: Any) -> tuple[str, str]:
    """Return two programs that differ in at most one of their steps."""
    xl = draw(st.booleans())
    steps = [_step(draw) for _ in range(draw(st.integers(0, 4)))]
    call = draw(st.sampled_from(CALLS))
    other, other_call = list(steps), call
    change = draw(
        st.sampled_from(("none", "insert", "remove", "replace", "swap", "double", "call"))
    )
    at = draw(st.integers(0, max(0, len(steps) - 1)))
    if change == "insert" or (not steps and change != "none"):
        other.insert(at, _step(draw))
    elif change == "remove":
        del other[at]
    elif change == "replace":
        other[at] = _step(draw)
    elif change == "swap":
        other.insert(0, other.pop(at))
    elif change == "double":
        other.insert(at, other[at])
    elif change == "call":
        other_call = draw(st.sampled_from(CALLS))
    return _program(xl, steps, call), _program(xl, other, other_call)


def _step(draw: Any) -> str:
    """Return lines that do something, perhaps; ``ACTION`` is the name of a function of their own."""
    if draw(st.integers(0, 4)) == 0:
        return str(draw(st.sampled_from(HOLDERS)))
    action = draw(st.sampled_from(ACTIONS))
    way = draw(st.sampled_from(("", *CERTAIN_WAYS)))
    if not way:
        return str(action)
    body = "global pipe, call\n" + action
    return f"def ACTION():\n{textwrap.indent(body, '    ')}\n" + way.replace("{f}", "ACTION")


def _program(xl: bool, steps: list[str], call: str) -> str:
    kind, model = ("XL", SDXL) if xl else ("", SD15)
    lines = [step.replace("ACTION", f"action_{number}") for number, step in enumerate(steps)]
    return "\n".join(
        [
            HEAD,
            f"MODEL = {model!r}",
            DEFINITIONS,
            f"pipe = diffusers.StableDiffusion{kind}Pipeline.from_pretrained(MODEL)",
            "helper = Helper(pipe=pipe)",
            "helper.set_params(cache_interval=3)",
            "call = {'prompt': 'a red fox', 'num_inference_steps': 25, 'guidance_scale': 7.5}",
            *lines,
            call,
            "",
        ]
    )
