"""The training loop that all parts share: AdamW, a running average, a state that resumes."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from worker.errors import ConfigurationError

Model = TypeVar("Model", bound=nn.Module)

#: The running average looks back over this share of a run; the learning rate falls meanwhile.
_AVERAGED_SHARE = 1 / 20
_WARM_UP_STEPS = 200
_STATES_PER_RUN = 10
_LINES_PER_RUN = 20
#: Under this key of a state's metadata stands which run it is of.
_RUN = "run"


@dataclass(frozen=True)
class Recipe:
    """How long and on how much a part is trained.

    Attributes:
        steps: optimizer steps.
        batch_size: examples in each.
        pool_size: distinct examples, drawn once and kept on the device.
        learning_rate: at its highest, after the warm-up; it falls to zero as a cosine.
    """

    steps: int
    batch_size: int
    pool_size: int
    learning_rate: float

    def rate_at(self, step: int) -> float:
        """The learning rate of one step."""
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class Objective(Generic[Model]):
    """What a part learns.

    Attributes:
        name: stands before the lines it prints.
        model: what is trained, on its device.
        draw: everything random of one step: which examples, how much noise. The generator is on
            the model's device.
        loss: the loss of the batch that was drawn, as a scalar. It waits for no result of the
            device, so that a step can be recorded.
    """

    name: str
    model: Model
    draw: Callable[[torch.Generator], tuple[Tensor, ...]]
    loss: Callable[..., Tensor]


def fit(objective: Objective[Model], recipe: Recipe, state_file: Path, seed: int) -> Model:
    """Train a model, or go on where an earlier run was stopped.

    Every step draws its batch from the seed and its own number, so that a run that was stopped and
    resumed sees what an uninterrupted one sees.

    Args:
        objective: what to train.
        recipe: how long.
        state_file: safetensors with everything that resuming needs; written ten times a run.
        seed: of the batches.

    Returns:
        The running average of the model's weights over the steps, in evaluation mode.

    Raises:
        ConfigurationError: the state is damaged, or that of another part, seed or recipe.
        FloatingPointError: the loss is no longer a number.
    """
    run = {"part": objective.name, "seed": seed, **asdict(recipe)}
    if state_file.exists():
        _refuse_another_run(state_file, run)
    step = _Step(objective, recipe)
    done = 0
    if state_file.exists():
        done = _load_state(state_file, step)
        print(f"{objective.name}: going on after step {done} of {recipe.steps}", flush=True)

    generator = torch.Generator(step.device)
    begun, begun_at = time.perf_counter(), done
    for number in range(done, recipe.steps):
        generator.manual_seed(seed * 10_000_019 + number)
        loss = step(objective.draw(generator), recipe.rate_at(number))
        ended = number + 1
        if _is_due(ended, recipe.steps, _LINES_PER_RUN):
            if not loss.isfinite():
                raise FloatingPointError(
                    f"{objective.name}: the loss at step {ended} is {loss.item()}; "
                    f"lower the recipe's learning rate and delete {state_file}"
                )
            pace = (ended - begun_at) / (time.perf_counter() - begun)
            print(
                f"{objective.name}: step {ended} of {recipe.steps}, "
                f"loss {loss.item():.4f}, {pace:.1f} steps/s",
                flush=True,
            )
        if _is_due(ended, recipe.steps, _STATES_PER_RUN):
            _save_state(state_file, run, ended, step)
    return step.average.to(memory_format=torch.contiguous_format).eval()


class _Step(Generic[Model]):
    """One step of the optimizer and of the running average.

    A step of these models is thousands of kernels, most of which take longer to launch than to
    run. On a GPU the step is therefore recorded once and then replayed as a whole.
    """

    _EAGER_STEPS = 3  # kernels are chosen and the optimizer's state is made before the recording

    def __init__(self, objective: Objective[Model], recipe: Recipe) -> None:
        self.model = objective.model.train()
        self.device = next(self.model.parameters()).device
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            _suit_tensor_cores(self.model)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=torch.tensor(0.0, device=self.device),
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self._loss_of = objective.loss
        self._parameters = list(self.model.parameters())
        self._averages = list(self.average.parameters())
        decay = 1 - 1 / max(1.0, _AVERAGED_SHARE * recipe.steps)
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # likewise
        self._calls = 0
        self._batch: tuple[Tensor, ...] = ()
        self._loss = torch.tensor(math.nan)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: tuple[Tensor, ...], learning_rate: float) -> Tensor:
        """Take one step; return its loss, which the next call overwrites."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(learning_rate)
        self._calls += 1
        if self.device.type != "cuda":
            return self._run(batch)
        if self._calls <= self._EAGER_STEPS:
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's omission
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                loss = self._run(batch)
            torch.cuda.current_stream().wait_stream(aside)
            return loss
        if self._graph is None:
            self._batch = tuple(tensor.clone() for tensor in batch)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._run(self._batch)
        for recorded, tensor in zip(self._batch, batch, strict=True):
            recorded.copy_(tensor)
        self._graph.replay()
        return self._loss

    def _run(self, batch: tuple[Tensor, ...]) -> Tensor:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self._loss_of(self.model, *batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimizer.step()
        self._blend(self._averages, self._parameters, self._loss)
        return loss.detach()


class _WideConv2d(nn.Conv2d):
    """A convolution whose numbers of channels are rounded up to eights, with zeros.

    For others in half precision there is no fast kernel.
    """

    def forward(self, input: Tensor) -> Tensor:
        inwards, outwards = -self.in_channels % 8, -self.out_channels % 8
        wide: Tensor = functional.conv2d(
            functional.pad(input, (0, 0, 0, 0, 0, inwards)),
            functional.pad(self.weight, (0, 0, 0, 0, 0, inwards, 0, outwards)),
            None if self.bias is None else functional.pad(self.bias, (0, outwards)),
            self.stride,
            self.padding,
        )
        return wide[:, : self.out_channels]


def _suit_tensor_cores(model: nn.Module) -> None:
    """Lay a model out as the fast kernels want it; what it computes stays the same."""
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if type(module) is nn.Conv2d and (module.in_channels % 8 or module.out_channels % 8):
            module.__class__ = _WideConv2d


def _is_due(step: int, steps: int, times: int) -> bool:
    """True `times` times in a run, at even distances, the last step included."""
    return step * times // steps > (step - 1) * times // steps


def _save_state(path: Path, run: dict[str, object], done: int, step: _Step[Model]) -> None:
    """Write the state; whatever happens meanwhile, the file holds this one or the one before."""
    tensors = {"step": torch.tensor(done)}
    tensors |= {f"model.{name}": value for name, value in step.model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in step.average.state_dict().items()}
    for number, slots in step.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{slot}": value for slot, value in slots.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, unfinished, metadata={_RUN: json.dumps(run)})
    _wait_until_on_disk(unfinished)
    unfinished.replace(path)
    _wait_until_on_disk(path.parent)


def _wait_until_on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_another_run(path: Path, run: dict[str, object]) -> None:
    """Raise an error where a state would not lead to the weights that this run is to make."""
    try:
        with safe_open(path, framework="pt") as file:
            earlier = json.loads((file.metadata() or {}).get(_RUN, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"the training state {path} is damaged; delete it, and the part begins anew"
        ) from error
    differing = [
        f"{key} {earlier.get(key, 'unknown')} there, {value} here"
        for key, value in run.items()
        if earlier.get(key) != value
    ]
    if differing:
        raise ConfigurationError(
            f"the training state {path} is of another run ({'; '.join(differing)}); "
            "delete it, or train into another folder"
        )


def _load_state(path: Path, step: _Step[Model]) -> int:
    """Fill model, average and optimizer; return the number of steps they have had."""
    tensors = load_file(path)

    def under(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    step.model.load_state_dict(under("model."))
    step.average.load_state_dict(under("average."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in under("optimizer.").items():
        number, slot = name.split(".", 1)
        slots.setdefault(int(number), {})[slot] = value
    step.optimizer.load_state_dict({**step.optimizer.state_dict(), "state": slots})
    return int(tensors["step"])
