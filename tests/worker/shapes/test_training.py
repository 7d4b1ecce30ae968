"""The training loop: what is stopped goes on as if it had not been."""

import pytest
import torch

from worker.shapes.training import Objective, Recipe, fit

RECIPE = Recipe(steps=40, batch_size=4, pool_size=16, learning_rate=0.1)


class StoppedError(Exception):
    pass


def objective(stop_at=None, poison=False):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    drawn = 0

    def draw(generator):
        nonlocal drawn
        drawn += 1
        if drawn == stop_at:
            raise StoppedError
        return (torch.randn(4, 3, generator=generator),)

    def loss(model, inputs):
        return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    if poison:
        return Objective("line", model, draw, lambda model, inputs: model(inputs).sum() * torch.nan)
    return Objective("line", model, draw, loss)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    whole = fit(objective(), RECIPE, tmp_path / "whole.safetensors", seed=1)
    with pytest.raises(StoppedError):
        fit(objective(stop_at=23), RECIPE, tmp_path / "parts.safetensors", seed=1)
    parts = fit(objective(), RECIPE, tmp_path / "parts.safetensors", seed=1)
    assert torch.equal(whole.weight, parts.weight)
    assert torch.equal(whole.bias, parts.bias)


def test_a_run_that_resumes_says_from_where(tmp_path, capsys):
    with pytest.raises(StoppedError):
        fit(objective(stop_at=23), RECIPE, tmp_path / "state.safetensors", seed=1)
    fit(objective(), RECIPE, tmp_path / "state.safetensors", seed=1)
    assert "line: going on after step 20 of 40" in capsys.readouterr().out


def test_training_learns(tmp_path):
    recipe = Recipe(steps=400, batch_size=4, pool_size=16, learning_rate=0.1)
    model = fit(objective(), recipe, tmp_path / "state.safetensors", seed=1)
    assert (model.weight - 1).abs().max() < 0.05


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path):
    state = tmp_path / "state.safetensors"
    with pytest.raises(FloatingPointError, match="lower the recipe's learning rate"):
        fit(objective(poison=True), RECIPE, state, seed=1)
