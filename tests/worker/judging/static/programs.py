"""Programs made at random from the forms that the reader follows."""

from __future__ import annotations

import textwrap
from typing import Any

from hypothesis import strategies as st

from tests.worker.judging.static.value_forms import Writer

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
IMPORTS = """\
import argparse
import collections
import copy
import enum
import json
import operator
import os
import types
import dataclasses
import typing
import yaml
import torch
import tgate
import tomesd
import diffusers
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from DeepCache import DeepCacheSDHelper as Helper
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler
"""


@st.composite
def programs(draw: Any, *, certain: bool) -> str:
    """Return a program that loads a pipeline, accelerates it perhaps, and calls it.

    With ``certain`` it holds nothing that only running could tell.
    """
    w = Writer(draw, certain)
    xl = draw(st.booleans())
    _load(w, xl)
    tgate = cached = False
    for _ in range(draw(st.integers(0, 4))):
        known = (_set_scheduler, _deepcache, _tome, _warm_up, _tgate)
        step = w.pick(*known) if certain else w.pick(*known, _perhaps, _perhaps_in_a_function)
        # A second helper wraps the first: what that does only running tells.
        if (step is _tgate and (tgate or cached)) or (step is _deepcache and (tgate or cached)):
            continue
        tgate, cached = tgate or step is _tgate, cached or step is _deepcache
        step(w, xl)
    _call(w, xl, tgate)
    return _assemble(w)


def _load(w: Writer, xl: bool) -> None:
    model = w.value(SDXL if xl else SD15)
    cls = f"diffusers.StableDiffusion{'XL' if xl else ''}Pipeline"
    options = [f"{cls}.from_pretrained({model}"]
    if w.draw(st.booleans()):
        options.append(f"torch_dtype=torch.{w.pick('float16', 'bfloat16')}")
    if w.draw(st.booleans()):
        scheduler = w.pick("DDIMScheduler", "EulerDiscreteScheduler")
        made = w.pick(
            f"from_pretrained({model}, subfolder='scheduler')",
            "from_pretrained(MODEL, subfolder='scheduler')",
        )
        if "MODEL" in made:
            w.add(f"MODEL = {(SDXL if xl else SD15)!r}")
        options.append(f"scheduler={scheduler}.{made}")
    w.add(f"pipe = {', '.join(options)})")
    w.add(w.pick("pipe = pipe.to('cuda')", "pipe.to(torch.device('cuda'))", "pass"))


def _set_scheduler(w: Writer, xl: bool) -> None:
    scheduler = w.pick("DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler")
    extra = w.pick("", f", timestep_spacing={w.value('trailing')}")
    config = w.pick("pipe.scheduler.config", "dict(pipe.scheduler.config)")
    made = f"{scheduler}.from_config({config}{extra})"
    w.add(w.pick(f"pipe.scheduler = {made}", f"pipe.register_modules(scheduler={made})"))


def _deepcache(w: Writer, xl: bool) -> None:
    helper = w.name("helper")
    interval, branch = w.value(w.pick(2, 3, 5)), w.value(w.pick(0, 1))
    w.add(f"{helper} = Helper({w.pick('pipe=pipe', 'pipe')})")
    w.add(
        f"{helper}.set_params({w.pick('', 'cache_interval=')}{interval}, cache_branch_id={branch})"
    )
    ending = w.pick(
        f"{helper}.enable()",
        "pass",
        f"{helper}.enable()\n{helper}.disable()",
        f"{helper}.enable()\n{helper}.set_params(cache_interval=4)",
    )
    w.add(ending)


def _tome(w: Writer, xl: bool) -> None:
    ratio = w.value(w.pick(0.3, 0.5))
    target = w.pick("pipe", "pipe.unet")
    w.add(f"tomesd.apply_patch({target}, ratio={ratio}{w.pick('', ', max_downsample=2')})")
    if w.draw(st.integers(0, 3)) == 0:
        w.add(f"tomesd.remove_patch({w.pick('pipe', 'pipe.unet')})")


def _warm_up(w: Writer, xl: bool) -> None:
    w.add("pipe('warm-up', num_inference_steps=2)")


def _tgate(w: Writer, xl: bool) -> None:
    kind = "SDXL" if xl else "SD"
    if w.draw(st.booleans()):
        w.add(f"pipe = tgate.Tgate{kind}Loader(pipe, gate_step={w.value(5)})")
    else:
        w.add(f"pipe = tgate.Tgate{kind}DeepCacheLoader(pipe, cache_interval={w.value(3)})")


CHANGES = (
    "tomesd.apply_patch(pipe, ratio=0.75)",
    "tomesd.remove_patch(pipe)",
    "pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config)",
    "pipe.to('cuda')",
    "pipe('never', num_inference_steps=1)",
)


def _perhaps(w: Writer, xl: bool) -> None:
    """Write a change that does not happen when the program runs, and that only running tells."""
    change, other = w.pick(*CHANGES), w.pick("pass", "never = True")
    form = w.pick("if", "else", "for", "while", "choice", "try")
    asked = "os.environ.get('NOT_SET_ANYWHERE', '')"
    if form == "if":
        w.add(f"if {asked}:\n    {change}\nelse:\n    {other}")
    elif form == "else":
        w.add(f"if not {asked}:\n    {other}\nelse:\n    {change}")
    elif form == "for":
        stop = w.pick("break", "continue", "pass")
        w.add(f"for word in {asked}.split():\n    {change}\n    {stop}")
    elif form == "while":
        w.add(f"while {asked}:\n    {change}")
    elif form == "choice":
        w.add(f"{asked} and pipe.to('cuda')")
    else:
        w.add(
            f"try:\n    if {asked}:\n        raise ValueError\nexcept ValueError:\n"
            f"    {change}\nfinally:\n    {other}"
        )


def _perhaps_in_a_function(w: Writer, xl: bool) -> None:
    """Write a function that leaves early before a change, or changes before it leaves."""
    name, change = w.name("perhaps"), w.pick(*CHANGES)
    asked = "os.environ.get('NOT_SET_ANYWHERE')"
    w.define(
        w.pick(
            f"def {name}(pipe):\n    if not {asked}:\n        return pipe\n    {change}\n"
            "    return pipe",
            f"def {name}(pipe):\n    for turn in range(2):\n        if {asked}:\n"
            f"            {change}\n            break\n    else:\n        return pipe\n"
            "    return None",
        )
    )
    w.add(f"{name}(pipe)")


def _asked(w: Writer, xl: bool, value: str) -> str:
    """Choose a value by what the pipeline is."""
    other = f"diffusers.StableDiffusion{'' if xl else 'XL'}Pipeline"
    has = "not hasattr" if xl else "hasattr"
    return w.pick(
        value,
        f"('x' if isinstance(pipe, {other}) else {value})",
        f"('x' if {has}(pipe, 'text_encoder_2') else {value})",
        f"({value} if getattr(pipe, 'transformer', None) is None else 'x')",
    )


def _call(w: Writer, xl: bool, tgate: bool) -> None:
    steps = _asked(w, xl, w.value(w.pick(20, 25, 50)))
    arguments = {"num_inference_steps": steps}
    if w.draw(st.booleans()):
        arguments["guidance_scale"] = w.value(w.pick(3.0, 7.5))
    if w.draw(st.booleans()):
        arguments["num_images_per_prompt"] = w.value(4)
    if tgate:
        arguments["gate_step"] = w.value(w.pick(8, 12))
    function = "pipe.tgate" if tgate else "pipe"
    prompt = w.value("a red fox")
    plain = ", ".join(f"{key}={value}" for key, value in arguments.items())
    entries = ", ".join(f"'{key}': {value}" for key, value in arguments.items())
    form = w.pick("plain", "dictionary", "partial", "function", "method", "manager", "loop")
    if form == "plain":
        w.add(f"image = {function}({prompt}, {plain}).images[0]")
    elif form == "dictionary":
        w.add(f"call = {{{entries}}}\ncall.update(prompt={prompt})\n{function}(**call)")
    elif form == "partial":
        w.add(f"run = partial({function}, {plain})\nrun({prompt}).images[0].save('x.png')")
    elif form == "function":
        w.define("def run(function, prompt, **options):\n    return function(prompt, **options)")
        w.add(f"run({function}, {prompt}, {plain})")
    elif form == "method":
        w.define(
            "class Runner:\n    def __init__(self, function):\n        self.function = function\n"
            "    @torch.no_grad()\n    def __call__(self, *texts, **options):\n"
            "        return self.function(texts[0], **options)"
        )
        w.add(f"Runner({function})({prompt}, {plain})")
    elif form == "manager":
        w.define(
            "@contextmanager\ndef patched(pipe, ratio):\n"
            "    tomesd.apply_patch(pipe, ratio=ratio)\n"
            "    try:\n        yield pipe\n    finally:\n        tomesd.remove_patch(pipe)"
        )
        w.add(f"with patched(pipe, 0.25) as patched_pipe:\n    {function}({prompt}, {plain})")
    else:
        w.add(f"for text in ['first', {prompt}]:\n    {function}(text, {plain})")


def _assemble(w: Writer) -> str:
    """Put the lines where people put them: at the top level, in main(), under a guard."""
    body = "\n".join(w.lines)
    head = IMPORTS + "\n" + "\n\n".join(w.definitions) + "\n\n"
    place = w.pick("top", "main", "guard")
    if place == "top":
        return head + body + "\n"
    inside = textwrap.indent(body, "    ")
    if place == "guard":
        return head + f"if __name__ == '__main__':\n{inside}\n"
    return head + f"def main():\n{inside}\n\n\nif __name__ == '__main__':\n    main()\n"
