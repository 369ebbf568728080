"""The nano MLLM read without vLLM: as transformers reads it, and rightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.scoring.asking.nano_reader import NanoReader
from gem_ray.scoring.asking.prompts import DIGITS, nano_prompt
from gem_ray.scoring.nano_model import load_nano, token_id


@pytest.fixture(scope="module")
def reader() -> NanoReader:
    return NanoReader()


def test_answers_are_those_that_the_whole_model_gives_to_one_image_at_a_time(reader):
    images = np.stack([face(5, index, 64)[0] for index in range(3)])
    found = reader.read(images, ["beard", "male"])
    model, processor = load_nano()
    digits = [token_id(processor.tokenizer, digit) for digit in DIGITS]
    for row, image in enumerate(images):
        for column, name in enumerate(("beard", "male")):
            asked = processor(images=Image.fromarray(image), text=nano_prompt(name), return_tensors="pt")
            with torch.no_grad():
                expected = model(**asked).logits[0, -1, digits].softmax(dim=0)
            assert found[row, column] == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("side", [64, 32])
def test_drawn_attributes_are_told_at_either_size(reader, side):
    drawn = [face(6, index, side) for index in range(60)]
    probabilities = reader.read(np.stack([image for image, _ in drawn]), ATTRIBUTES)
    assert probabilities.sum(axis=2) == pytest.approx(1.0)
    values = probabilities @ np.arange(6.0)
    truth = np.stack([attributes for _, attributes in drawn])
    for column, name in enumerate(ATTRIBUTES):
        if np.ptp(truth[:, column]) > 0:
            assert np.corrcoef(values[:, column], truth[:, column])[0, 1] > 0.8, name
