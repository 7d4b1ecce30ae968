"""The models are of the large ones' classes, and begin and end as they should."""

import copy

import pytest
import torch

from worker.shapes import autoencoder, denoisers, models
from worker.shapes import trainer as training
from worker.shapes.grammar import captions_of, held_out_scenes
from worker.shapes.quality import generate, share_ranked_first
from worker.shapes.scorer import save as save_scorer


@pytest.fixture(scope="module")
def clip(tokenizer):
    torch.manual_seed(0)
    return models.build_scorer(tokenizer).eval()


def test_a_text_encoder_that_begins_as_the_scorers_says_the_same(tokenizer, clip):
    _, encoder = models.build_sdxl_text_encoders(tokenizer)
    models.begin_as_scorer(encoder.eval(), clip)
    tokens = torch.tensor(
        tokenizer(captions_of(held_out_scenes(4)), padding="max_length").input_ids
    )
    with torch.no_grad():
        expected = clip.encode_text(tokens)
        assert torch.allclose(encoder(tokens).text_embeds, expected, atol=1e-5)


def test_a_model_laid_out_for_tensor_cores_computes_the_same():
    torch.manual_seed(0)
    plain = models.build_autoencoder().eval()
    suited = copy.deepcopy(plain)
    training._suit_tensor_cores(suited)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(suited(pictures).sample, plain(pictures).sample, atol=1e-4)
    assert suited.state_dict().keys() == plain.state_dict().keys()


def test_a_saved_autoencoder_has_latents_of_mean_0_and_deviation_1(tmp_path):
    from diffusers import AutoencoderKL

    from worker.shapes.examples import draw_pool
    from worker.shapes.grammar import draw_scenes

    torch.manual_seed(0)
    autoencoder.save(models.build_autoencoder().eval(), tmp_path, seed=0)
    saved = AutoencoderKL.from_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(5)
    pictures = draw_pool(draw_scenes(256, generator), generator, torch.device("cpu"))
    latents = autoencoder.encode(saved, pictures)
    assert saved.config.scaling_factor == 1.0
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1


@pytest.mark.parametrize("kind", [denoisers.SD15Denoiser, denoisers.SDXLDenoiser])
def test_a_saved_pipeline_is_loaded_by_diffusers_and_draws(kind, tokenizer, clip, tmp_path):
    from diffusers import DiffusionPipeline

    torch.manual_seed(0)
    denoisers.save(kind(tokenizer, clip), models.build_autoencoder(), tokenizer, tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    captions = captions_of(held_out_scenes(3))
    together = generate(pipeline, captions, steps=2, guidance=3.0, batch_size=3)
    one_by_one = generate(pipeline, captions, steps=2, guidance=3.0, batch_size=1)
    assert together.shape == (3, 3, 64, 64)
    assert torch.allclose(together, one_by_one, atol=1e-3)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {
        ".json",
        ".txt",
        ".safetensors",
    }


def test_a_reader_asks_for_each_object_at_its_own_token():
    reader = denoisers.Reader(36)
    objects = torch.tensor([[[0, 3, 7], [1, 0, 2]]])
    text = torch.zeros(1, 32, 36)
    for place, said in ((0, (0, 2 + 3, 10 + 7)), (1, (1, 2 + 0, 10 + 2))):
        text[0, place - 2, [18 * place + value for value in said]] = 100.0
        head = torch.zeros(18, 36)
        head[:, 18 * place : 18 * place + 18] = torch.eye(18)
        reader.heads[place].weight.data.copy_(head)
        reader.heads[place].bias.data.zero_()
    assert reader(text, objects).tolist() == [0.0]
    assert reader(text, objects.flip(1)).item() > 100


def test_the_tokens_that_are_read_are_padding_in_every_caption(tokenizer):
    from worker.shapes.grammar import captions_of, draw_scenes

    captions = captions_of(draw_scenes(2_000, torch.Generator().manual_seed(0)))
    tokens = torch.tensor(tokenizer(captions, padding="max_length").input_ids)
    assert (tokens[:, -2:] == tokenizer.pad_token_id).all()
    assert (tokens[:, :8] != tokenizer.pad_token_id).all()


@pytest.mark.parametrize("kind", [denoisers.SD15Denoiser, denoisers.SDXLDenoiser])
def test_a_generator_learns_from_noise_and_from_what_it_reads(kind, tokenizer, clip):
    torch.manual_seed(0)
    recipe = training.Recipe(steps=1, batch_size=4, pool_size=8, learning_rate=1e-3)
    task = denoisers.objective(
        kind(tokenizer, clip),
        models.build_autoencoder(),
        tokenizer,
        recipe,
        seed=0,
        device=torch.device("cpu"),
    )
    loss = task.loss(task.model, *task.draw(torch.Generator().manual_seed(0)))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    for part in (task.model.unet, task.model.text_encoder, task.model.reader):
        grads = [parameter.grad for parameter in part.parameters()]
        assert sum(grad.abs().sum() for grad in grads if grad is not None) > 0


def test_open_clip_loads_a_saved_scorer(tokenizer, clip, tmp_path):
    from worker.shapes.quality import Scorer

    save_scorer(clip, tmp_path, tokenizer)
    captions = captions_of(held_out_scenes(2))
    similarities = Scorer(tmp_path).similarities(torch.zeros(3, 3, 64, 64), captions)
    tokens = torch.tensor(tokenizer(captions, padding="max_length").input_ids)
    with torch.no_grad():
        picture = clip.encode_image(torch.zeros(1, 3, 64, 64), normalize=True)
        expected = picture @ clip.encode_text(tokens, normalize=True).T
    assert torch.allclose(similarities, expected.expand(3, 2), atol=0.01)


def test_the_share_ranked_first_counts_only_the_rivals_that_follow():
    similarities = torch.tensor([[0.5, 0.9, 0.1], [0.3, 0.4, 0.2], [0.1, 0.7, 0.2]])
    assert share_ranked_first(similarities, among=2) == pytest.approx(2 / 3)
    assert share_ranked_first(similarities, among=3) == pytest.approx(1 / 3)
