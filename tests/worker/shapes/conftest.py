"""The tokenizer of shapes, made once."""

import pytest

from worker.shapes.vocabulary import load_tokenizer, save_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return load_tokenizer(folder)
