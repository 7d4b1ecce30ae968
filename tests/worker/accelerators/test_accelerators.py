"""Every accelerator does what it says, and leaves the pipeline bit for bit as it was."""

import functools
import itertools

import pytest
import torch
from DeepCache import DeepCacheSDHelper

from worker.accelerators.compose import Accelerated
from worker.accelerators.deepcache import full_calls
from worker.models.catalogue import SCHEDS, find_pipe, find_sched
from worker.models.task import Task
from worker.search.configuration import Configuration
from worker.search.simplify import simplify

PIPES = ["TINY_SD15", "TINY_SD21", "TINY_SDXL"]
DEEPCACHE = {"deepcache": {"cache_interval": 3, "cache_branch_id": 0}}
TOME = {"tome": {"ratio": 0.5, "max_downsample": 2}}
TGATE = {"tgate": {"gate_step": 3}}
GUIDANCE = {"guidance_cutoff": {"step": 3}}
COMBINATIONS = [
    first | second | third
    for first, second, third in itertools.product(
        ({}, DEEPCACHE), ({}, TOME), ({}, TGATE, GUIDANCE)
    )
    if first | second | third
]
STEPS = 6


def generate(
    pipeline,
    accelerated=None,
    sched="DDIM",
    steps=STEPS,
    prompts=("a cat", "a red car"),
    guidance=5.0,
):
    calls = find_sched(sched).calls(steps)
    arguments = accelerated.begin(calls, seed=0) if accelerated else {}
    with torch.inference_mode():
        return pipeline(
            list(prompts),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator("cpu").manual_seed(i) for i in range(len(prompts))],
            output_type="pt",
            **arguments,
        ).images


def label(configuration):
    return "+".join(configuration)


def state(pipeline):
    """Everything that a patch could leave behind in the UNet and the pipeline's own attributes."""
    modules = {
        name: (type(module), frozenset(vars(module)), len(module._forward_pre_hooks))
        for name, module in pipeline.unet.named_modules()
    }
    return modules, dict(pipeline.unet.config)


@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("configuration", COMBINATIONS, ids=label)
def test_pipeline_is_restored_bit_for_bit(load, name, configuration):
    pipeline = load(name)
    before, state_before = generate(pipeline), state(pipeline)
    with Accelerated(pipeline, configuration) as accelerated:
        changed = generate(pipeline, accelerated)
        again = generate(pipeline, accelerated)
    assert not torch.equal(before, changed)
    assert torch.equal(changed, again), "the same seed must give the same image"
    assert torch.equal(before, generate(pipeline))
    assert state(pipeline) == state_before


class OfAnotherPart(torch.nn.Module):
    """A pipeline whose denoiser is not called unet."""

    def __init__(self):
        super().__init__()
        self.transformer = torch.nn.Identity()


def test_the_denoiser_is_the_part_that_the_family_names():
    pipeline = OfAnotherPart()
    with Accelerated(pipeline, {}, denoiser="transformer") as accelerated:
        assert accelerated.begin(calls=1, seed=0) == {}
        assert pipeline.transformer(3) == 3


@pytest.mark.parametrize("configuration", COMBINATIONS, ids=label)
def test_pipeline_is_restored_after_an_error(load, configuration):
    pipeline = load("TINY_SD15")
    before, state_before = generate(pipeline), state(pipeline)
    with pytest.raises(ZeroDivisionError), Accelerated(pipeline, configuration) as accelerated:
        generate(pipeline, accelerated)
        raise ZeroDivisionError
    assert state(pipeline) == state_before
    assert torch.equal(before, generate(pipeline))


@pytest.mark.parametrize("name", [*PIPES, "SHAPES_SD15", "SHAPES_SDXL"])
@pytest.mark.parametrize("interval", [2, 3])
def test_deepcache_equals_the_package_on_every_branch(load, name, interval):
    pipeline = load(name)
    branches = 3 * len(pipeline.unet.down_blocks)
    for branch in range(branches):
        with Accelerated(
            pipeline, {"deepcache": {"cache_interval": interval, "cache_branch_id": branch}}
        ) as accelerated:
            ours = generate(pipeline, accelerated)
        helper = DeepCacheSDHelper(pipe=pipeline)
        helper.set_params(cache_interval=interval, cache_branch_id=branch)
        helper.enable()
        theirs = generate(pipeline)
        helper.disable()
        for module in pipeline.unet.modules():
            vars(module).pop("forward", None)
        assert torch.equal(ours, theirs), f"branch {branch}"


@pytest.mark.parametrize("sched", ["PNDM", "HeunDiscrete"])
def test_deepcache_refreshes_although_timesteps_repeat(load, sched):
    pipeline = load("TINY_SD15", sched)
    calls = find_sched(sched).calls(STEPS)
    whole = []
    hook = pipeline.unet.mid_block.resnets[0].register_forward_hook(lambda *_: whole.append(1))
    with Accelerated(pipeline, {"deepcache": {"cache_interval": 2}}) as accelerated:
        generate(pipeline, accelerated, sched)
    hook.remove()
    assert len(whole) == -(-calls // 2)


@pytest.mark.parametrize("sched", SCHEDS)
def test_calls_of_the_unet_are_as_the_catalogue_says(load, sched):
    pipeline = load("TINY_SD15", sched)
    calls = []
    hook = pipeline.unet.register_forward_hook(lambda *_: calls.append(1))
    generate(pipeline, sched=sched)
    hook.remove()
    assert len(calls) == find_sched(sched).calls(STEPS)


def test_full_calls_uniform():
    assert full_calls(10, 3) == {0, 3, 6, 9}


def test_full_calls_count_on_from_the_gate():
    assert full_calls(12, 3, gate=5) == {0, 3, 4, 5, 8, 11}


def test_a_gate_behind_the_end_changes_no_schedule():
    assert full_calls(10, 4, gate=10) == full_calls(10, 4) == {0, 4, 8}


@pytest.mark.parametrize(
    ("calls", "interval", "center", "power", "expected"),
    [
        (50, 5, 15, 1.4, {0, 5, 9, 13, 17, 21, 26, 31, 37, 43}),
        (50, 5, 10, 1.2, {0, 5, 9, 12, 16, 21, 26, 32, 38, 43}),
        (50, 5, 25, 1.4, {0, 6, 11, 16, 21, 25, 29, 34, 39, 44}),
        (50, 10, 15, 1.4, {0, 9, 17, 26, 37}),
        (20, 3, 5, 1.3, {0, 3, 5, 7, 9, 13, 16}),
        (50, 3, 15, 2.0, {0, 2, 4, 6, 9, 11, 14, 15, 18, 21, 24, 27, 31, 34, 38, 42, 45}),
    ],
)
def test_full_calls_not_uniform_are_the_released_ones(calls, interval, center, power, expected):
    """What ``sample_from_quad_center`` of DeepCache 0.1.1's own pipelines returns."""
    assert full_calls(calls, interval, center=center, power=power) == expected


@pytest.mark.parametrize("name", PIPES)
def test_tgate_halves_the_batch_and_leaves_out_cross_attention(load, name):
    pipeline = load(name)
    batches, cross = [], []
    hooks = [pipeline.unet.register_forward_pre_hook(lambda _m, args: batches.append(len(args[0])))]
    for module in pipeline.unet.modules():
        if module.__class__.__name__ == "Attention" and module.is_cross_attention:
            hooks.append(module.to_q.register_forward_hook(lambda *_: cross.append(len(batches))))
    with Accelerated(pipeline, TGATE) as accelerated:
        generate(pipeline, accelerated)
    for hook in hooks:
        hook.remove()
    assert batches == [4, 4, 4, 2, 2, 2]
    assert set(cross) == {1, 2, 3}


def test_tgate_refreshes_deep_self_attention_whenever_deepcache_runs_it(load):
    """Counted by calls alone, it would be kept over full calls, in which nothing else is old."""
    pipeline = load("TINY_SD15")
    computed, calls = [], []
    deep = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    hooks = [
        pipeline.unet.register_forward_pre_hook(lambda *_: calls.append(1)),
        deep.to_q.register_forward_hook(lambda *_: computed.append(len(calls) - 1)),
    ]
    both = {"deepcache": {"cache_interval": 5}, "tgate": {"gate_step": 18, "sp_interval": 2}}
    with Accelerated(pipeline, both) as accelerated:
        generate(pipeline, accelerated, steps=20)
    for hook in hooks:
        hook.remove()
    assert computed == sorted(full_calls(20, 5, gate=18)) == [0, 5, 10, 15, 17, 18]


def test_tgate_works_without_guidance(load):
    pipeline = load("TINY_SD15")
    plain = generate(pipeline, guidance=1.0)
    with Accelerated(pipeline, TGATE) as accelerated:
        gated = generate(pipeline, accelerated, guidance=1.0)
    assert plain.shape == gated.shape
    assert not torch.equal(plain, gated)


def test_guidance_cutoff_keeps_each_prompt(load):
    """Each image of a batch must go on with its own text, not with the last prompt's."""
    pipeline = load("TINY_SD15")
    with Accelerated(pipeline, GUIDANCE) as accelerated:
        both = generate(pipeline, accelerated)
        alone = generate(pipeline, accelerated, prompts=["a cat"])
    torch.testing.assert_close(both[:1], alone, rtol=1e-3, atol=1e-4)


def test_tome_does_not_depend_on_what_ran_before(load):
    pipeline = load("TINY_SD15")
    with Accelerated(pipeline, TOME) as accelerated:
        first = generate(pipeline, accelerated)
    torch.rand(7)
    with Accelerated(pipeline, TOME) as accelerated:
        generate(pipeline, accelerated, prompts=["another"])
        assert torch.equal(first, generate(pipeline, accelerated))


def test_tgate_equals_the_package(load):
    tgate = pytest.importorskip("tgate", reason="it comes with the extra [test]")
    parameters = {"gate_step": 4, "sp_interval": 2, "fi_interval": 2, "warm_up": 1}
    for name in PIPES:
        pipeline = load(name)
        with Accelerated(pipeline, {"tgate": parameters}) as accelerated:
            ours = generate(pipeline, accelerated, steps=8)
        loader = tgate.TgateSDXLLoader if name.endswith("SDXL") else tgate.TgateSDLoader
        with torch.inference_mode():
            theirs = (
                loader(pipeline)
                .tgate(
                    ["a cat", "a red car"],
                    num_inference_steps=8,
                    guidance_scale=5.0,
                    generator=[torch.Generator("cpu").manual_seed(i) for i in range(2)],
                    output_type="pt",
                    **parameters,
                )
                .images
            )
        for module in pipeline.unet.modules():
            vars(module).pop("forward", None)
            vars(module).pop("cache", None)
        assert torch.equal(ours, theirs)


def test_a_compiled_unet_keeps_configurations_apart(load, monkeypatch):
    """Traced as for compiling, run as it is: what could go wrong is the choice of the graph."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    pipeline = load("TINY_SD15")
    configurations = [{}, DEEPCACHE | {"tgate": {"gate_step": 1}}]
    plain = []
    for configuration in configurations:
        with Accelerated(pipeline, configuration) as accelerated:
            plain.append(generate(pipeline, accelerated))
    arms = [Accelerated(pipeline, item, compiled=True) for item in configurations]
    for _ in range(2):
        for arm, expected in zip(arms, plain, strict=True):
            with arm:
                assert torch.equal(generate(pipeline, arm), expected)
    assert torch.equal(generate(pipeline), plain[0])


def simplified(name, accelerators):
    task = Task(find_pipe(name), find_sched("DDIM"), STEPS)
    return simplify(Configuration.accelerated(accelerators), task, guided=True)[0].accelerators


@pytest.mark.parametrize(
    ("name", "accelerators"),
    [
        ("TINY_SD15", {"deepcache": {"cache_interval": 1, "cache_branch_id": 0}}),
        ("TINY_SD15", {"deepcache": {"cache_interval": 9, "cache_branch_id": 0}}),
        (
            "TINY_SD15",
            {
                "deepcache": {"cache_interval": 2, "cache_branch_id": 0},
                "tgate": {"gate_step": 4, "sp_interval": 3, "warm_up": 1},
            },
        ),
        (
            "TINY_SD15",
            {
                "deepcache": {"cache_interval": 4, "cache_branch_id": 0},
                "tgate": {"gate_step": STEPS},
            },
        ),
        ("TINY_SD15", {"tome": {"ratio": 0.0, "max_downsample": 1}}),
        ("TINY_SDXL", {"tome": {"ratio": 0.5, "max_downsample": 1}}),
        ("TINY_SDXL", {"tome": {"ratio": 0.5, "max_downsample": 8}}),
        ("TINY_SDXL", {"tome": {"ratio": 0.5, "max_downsample": 2, "merge_attn": False}}),
        ("TINY_SD15", {"tome": {"ratio": 0.5, "max_downsample": 1, "sx": 1, "sy": 1}}),
        ("TINY_SD15", {"tome": {"ratio": 0.7, "max_downsample": 1, "sx": 2, "sy": 1}}),
        ("TINY_SD15", {"tgate": {"gate_step": STEPS}}),
        ("TINY_SDXL", {"tgate": {"gate_step": STEPS + 4}}),
        ("TINY_SD15", {"tgate": {"gate_step": STEPS + 4, "sp_interval": 2}}),
        ("TINY_SD15", {"tgate": {"gate_step": 3, "sp_interval": 4, "warm_up": 2}}),
        ("TINY_SD15", {"tgate": {"gate_step": 3, "warm_up": 2}}),
        ("TINY_SD15", {"tgate": {"gate_step": 5, "fi_interval": 5}}),
        ("TINY_SD15", {"guidance_cutoff": {"step": STEPS}}),
    ],
    ids=str,
)
def test_what_the_plan_takes_for_the_same_makes_the_same_images(load, name, accelerators):
    if "tgate" in accelerators:
        defaults = {"sp_interval": 1, "fi_interval": 1, "warm_up": 0}
        accelerators = accelerators | {"tgate": defaults | accelerators["tgate"]}
    simpler = simplified(name, accelerators)
    assert simpler != accelerators
    images = []
    for wanted in (accelerators, simpler):
        with Accelerated(load(name), wanted) as accelerated:
            images.append(generate(load(name), accelerated))
    # where ToMe merges nothing it still sorts the tokens, which moves the last bits
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)
