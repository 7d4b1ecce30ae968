"""The cut-down tokenizer splits the grammar's words as CLIP's does, and still reads any text."""

import open_clip

from worker.shapes.grammar import captions_of, draw_scenes, words
from worker.shapes.vocabulary import MAX_TOKENS


def test_every_word_of_the_grammar_is_one_token(tokenizer):
    assert [tokenizer.tokenize(word) for word in words()] == [[f"{word}</w>"] for word in words()]


def test_captions_are_split_as_clip_splits_them(tokenizer):
    import torch

    clip = open_clip.tokenizer.SimpleTokenizer()
    for caption in captions_of(draw_scenes(50, torch.Generator().manual_seed(0))):
        expected = [clip.decoder[number] for number in clip.encode(caption)]
        assert tokenizer.tokenize(caption) == expected
        assert len(expected) + 2 <= 16 < MAX_TOKENS


def test_a_foreign_text_has_an_encoding_too(tokenizer):
    numbers = tokenizer("Ein grüner Kreis 圆").input_ids
    assert len(numbers) > 10
    assert max(numbers) < len(tokenizer)


def test_the_token_that_ends_a_text_has_the_highest_number(tokenizer):
    assert tokenizer.eos_token_id == len(tokenizer) - 1
