"""Programs made at random from the forms that the reader follows."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

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


@dataclass
class Writer:
    """Writes a program: definitions first, then the lines that run."""

    draw: Any
    certain: bool  # leave out what the reader cannot know
    definitions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    names: int = 0

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}_{self.names}"

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def define(self, text: str) -> None:
        self.definitions.append(textwrap.dedent(text).strip())

    def add(self, text: str) -> None:
        self.lines.append(textwrap.dedent(text).strip())

    def value(self, value: Any) -> str:
        """Return an expression for a constant, in one of the ways in which people write it."""
        forms = [form for form in VALUE_FORMS if self.certain is False or form not in UNCERTAIN]
        return str(self.pick(*forms)(self, value))


def literal(w: Writer, value: Any) -> str:
    return repr(value)


def variable(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = {value!r}")
    return name


def reassigned(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = 'earlier'\n{name} = {value!r}")
    return name


def entry(w: Writer, value: Any) -> str:
    name = w.name("SETTINGS")
    w.define(f"{name} = {{'inner': {{'a': 'b', 'wanted': {value!r}}}}}")
    return w.pick(f"{name}['inner']['wanted']", f"{name}['inner'].get('wanted', 'none')")


def element(w: Writer, value: Any) -> str:
    name = w.name("items")
    w.add(f"{name} = ['x', {value!r}]\n{name}.append('y')")
    return w.pick(f"{name}[1]", f"{name}[-2]")


def unpacked(w: Writer, value: Any) -> str:
    name, other = w.name("left"), w.name("right")
    w.add(f"{name}, {other} = 'x', {value!r}\n{name}, {other} = {other}, {name}")
    return name


def function_default(w: Writer, value: Any) -> str:
    name = w.name("function")
    w.define(f"def {name}(unused=1, *, wanted={value!r}):\n    return wanted")
    return w.pick(f"{name}()", f"{name}(2)")


def closure(w: Writer, value: Any) -> str:
    name = w.name("maker")
    w.define(
        f"def {name}(given):\n    def inner(*, other=0):\n        return given\n    return inner"
    )
    return f"{name}({value!r})()"


def global_name(w: Writer, value: Any) -> str:
    name, setter = w.name("state"), w.name("set_state")
    w.define(f"{name} = 'unset'\ndef {setter}(value):\n    global {name}\n    {name} = value")
    w.add(f"{setter}({value!r})")
    return name


def class_attribute(w: Writer, value: Any) -> str:
    name = w.name("Config")
    w.define(
        f"class {name}Base:\n    wanted = {value!r}\n    other = 1\n"
        f"class {name}({name}Base):\n    @property\n    def same(self):\n        return self.wanted"
    )
    return w.pick(f"{name}.wanted", f"{name}().wanted", f"{name}().same")


def data_class(w: Writer, value: Any) -> str:
    name = w.name("Data")
    w.define(
        f"@dataclass\nclass {name}:\n    first: str = 'x'\n    wanted: object = {value!r}\n"
        "    more: list = field(default_factory=list)"
    )
    return w.pick(f"{name}().wanted", f"{name}('y', {value!r}).wanted")


def conditional(w: Writer, value: Any) -> str:
    flag = w.name("flag")
    w.add(f"{flag} = {w.pick(3, 4)} > 2")
    return f"({value!r} if {flag} else 'other')"


def branched(w: Writer, value: Any) -> str:
    name, mode = w.name("value"), w.name("mode")
    w.add(
        f"{mode} = 'fast'\nif {mode} == 'slow':\n    {name} = 'x'\n"
        f"elif {mode} in ('fast', 'faster'):\n    {name} = {value!r}\nelse:\n    {name} = 'y'"
    )
    return name


def matched(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"match 'b':\n    case 'a':\n        {name} = 'x'\n    case 'b' | 'c':\n"
        f"        {name} = {value!r}\n    case _:\n        {name} = 'y'"
    )
    return name


def looped(w: Writer, value: Any) -> str:
    name, item = w.name("value"), w.name("item")
    stop = w.pick("break", "continue", "pass")
    w.add(
        f"{name} = 'x'\nfor {item} in ('y', {value!r}, 'z'):\n    if {item} == {value!r}:\n"
        f"        {name} = {item}\n        {stop}"
    )
    return name


def counted(w: Writer, value: Any) -> str:
    name, item = w.name("value"), w.name("item")
    items = f"('y', {value!r}, 'z')"
    w.add(
        w.pick(
            f"for {item}, {name} in enumerate({items}, 1):\n    if {item} == 2:\n        break",
            f"for {item}, {name} in enumerate({items}, start=-1):\n    if not {item}:\n        break",
            f"for {item}, {name} in sorted([(3, {value!r}), (2, 'x')], key=lambda pair: pair[0]):\n"
            "    pass",
            f"{name} = sorted({items}, key=lambda item: item == {value!r}, reverse=True)[0]",
            f"for {item}, {name} in product((1, 2), ({value!r},)):\n    pass",
        )
    )
    return name


def tried(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"try:\n    {name} = {value!r}\n    raise ValueError('no')\n"
        "except (ValueError, KeyError):\n    pass\nfinally:\n    done = True"
    )
    return name


def computed(w: Writer, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return repr(value)
    return w.pick(
        f"({value - 7} + 7)", f"({value * 2} // 2)", f"int('{value}')", f"max({value}, 0)"
    )


def composed(w: Writer, value: Any) -> str:
    if not isinstance(value, str) or len(value) < 2:
        return repr(value)
    head, tail = value[: len(value) // 2], value[len(value) // 2 :]
    name = w.name("part")
    w.add(f"{name} = {head!r}")
    return w.pick(
        f"f'{{{name}}}{tail}'",
        f"{name} + {tail!r}",
        f"'{{}}{{end}}'.format({name}, end={tail!r})",
        f"''.join([{name}, {tail!r}])",
        f"'%s%s' % ({name}, {tail!r})",
    )


def by_environment(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(f"{name} = {value!r}\nif os.environ.get('NOT_SET_ANYWHERE'):\n    {name} = 'never'")
    return name


def by_environment_early(w: Writer, value: Any) -> str:
    name = w.name("choose")
    w.define(
        f"def {name}():\n    for turn in range(3):\n"
        "        if os.environ.get('NOT_SET_ANYWHERE'):\n            return 'never'\n"
        "        if os.environ.get('NOT_SET_EITHER'):\n            continue\n"
        f"        last = turn\n    return {value!r}"
    )
    return f"{name}()"


def from_environment(w: Writer, value: Any) -> str:
    return f"(os.environ.get('NOT_SET_ANYWHERE') or {value!r})"


def parsed(w: Writer, value: Any) -> str:
    return w.pick(
        f"json.loads({json.dumps({'a': [value]})!r})['a'][0]",
        f"yaml.safe_load({json.dumps({'a': [value]})!r})['a'][0]",
    )


def argument(w: Writer, value: Any) -> str:
    name = w.name("parser")
    w.add(
        f"{name} = argparse.ArgumentParser()\n"
        f"{name}.add_argument('--wanted', default={value!r})\n"
        f"{name}.add_argument('--fast', action='store_true')\n{name} = {name}.parse_args([])"
    )
    return f"{name}.wanted"


def replaced(w: Writer, value: Any) -> str:
    name = w.name("Data")
    w.define(f"@dataclass\nclass {name}:\n    wanted: object = 'x'\n    other: int = 1")
    return w.pick(
        f"dataclasses.replace({name}(other=2), wanted={value!r}).wanted",
        f"dataclasses.asdict({name}(wanted={value!r}))['wanted']",
    )


def named_tuple(w: Writer, value: Any) -> str:
    name = w.name("Pair")
    w.define(
        w.pick(
            f"class {name}(typing.NamedTuple):\n    first: object = 1\n    wanted: object = {value!r}",
            f"{name} = collections.namedtuple('{name}', 'first wanted', defaults=[1, {value!r}])",
        )
    )
    return w.pick(
        f"{name}().wanted", f"{name}()[1]", f"{name}(first=2)._asdict()['wanted']",
        f"{name}(3, 'x')._replace(wanted={value!r}).wanted", f"[b for a, b in [{name}()]][0]",
    )  # fmt: skip


def enumerated(w: Writer, value: Any) -> str:
    name = w.name("Choice")
    w.define(f"class {name}(enum.Enum):\n    other = 'x'\n    wanted = {value!r}")
    return w.pick(f"{name}.wanted.value", f"{name}['wanted'].value", f"list({name})[-1].value")


def in_a_namespace(w: Writer, value: Any) -> str:
    name = w.name("space")
    w.add(f"{name} = types.SimpleNamespace(wanted={value!r}, other=1)")
    return w.pick(f"{name}.wanted", f"vars({name})['wanted']", f"copy.copy({name}).wanted")


def by_operator(w: Writer, value: Any) -> str:
    return w.pick(
        f"operator.itemgetter(1)(['x', {value!r}])",
        f"operator.attrgetter('wanted')(types.SimpleNamespace(wanted={value!r}))",
        f"operator.methodcaller('get', 'a')({{'a': {value!r}}})",
        f"copy.deepcopy([{value!r}])[0]",
        f"min([(2, 'x'), (1, {value!r})], key=lambda pair: pair[0])[1]",
    )


def entered(w: Writer, value: Any) -> str:
    name = w.name("value")
    w.add(
        f"with ExitStack() as stack:\n    {name} = stack.enter_context(nullcontext({value!r}))\n"
        "    stack.callback(print, 'left')"
    )
    return name


UNCERTAIN = (by_environment, by_environment_early, from_environment)
VALUE_FORMS = (
    literal, variable, reassigned, entry, element, unpacked, function_default, closure,
    global_name, class_attribute, data_class, conditional, branched, matched, looped, counted, tried,
    computed, composed, parsed, argument, replaced, named_tuple, enumerated, in_a_namespace,
    by_operator, entered, *UNCERTAIN,
)  # fmt: skip


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
