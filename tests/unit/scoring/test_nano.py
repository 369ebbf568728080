"""The nano MLLM: what is shipped, how lessons are packed, and that training learns and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from gem_ray.config import PretrainConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.scoring.asking.model_files import NANO_FOLDER
from gem_ray.scoring.asking.prompts import DIGITS, IMAGE_TOKEN, NUM_DIGITS, nano_prompt
from gem_ray.scoring.lessons import SYNONYMS, Lessons, answer_tokens, digit_targets, draw_lesson
from gem_ray.scoring.nano_model import (
    NUM_IMAGE_TOKENS,
    PIXEL_MEAN,
    PIXEL_STD,
    build_config,
    build_model,
    build_tokenizer,
    load_nano,
)
from gem_ray.scoring.pretrain import Pupil, block_diagonal_mask, learning_rate_factor, pretrain

NAMES = [name for names in SYNONYMS.values() for name in names]


def test_shipped_files_are_few_small_and_without_pickle() -> None:
    files = {path.name: path.stat().st_size for path in NANO_FOLDER.rglob("*") if path.is_file()}
    assert {"MODEL_CARD.md", "config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= set(
        files
    )
    assert sum(files.values()) < 8e6
    assert not [name for name in files if Path(name).suffix not in {".json", ".md", ".safetensors"}]


def test_shipped_weights_are_named_as_vllm_wants_them() -> None:
    with safe_open(NANO_FOLDER / "model.safetensors", "pt") as file:
        names = list(file.keys())
        parameters = sum(file.get_tensor(name).numel() for name in names)
    assert any(name.startswith("vision_tower.vision_model.encoder.") for name in names)
    assert 1e6 < parameters < 5e6


def test_shipped_config_is_a_plain_llava_and_names_its_prompt() -> None:
    config = json.loads((NANO_FOLDER / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config["gem_ray_prompt"] == "nano"
    assert "auto_map" not in config


def test_every_digit_is_one_token_and_any_text_can_be_encoded() -> None:
    tokenizer = build_tokenizer(NAMES)
    for digit in DIGITS:
        assert len(tokenizer.encode(digit, add_special_tokens=False)) == 1
    text = "Schnurrbart \u3072\u3052 5 o'clock"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("value", [0.0, 0.1, 0.37, 0.5, 0.999, 1.0])
def test_the_expectation_of_the_digit_targets_is_the_attribute(value: float) -> None:
    target = digit_targets(value)
    assert target.sum() == pytest.approx(1.0)
    assert target @ np.arange(NUM_DIGITS) == pytest.approx(5 * value, abs=1e-6)


def test_a_lesson_is_a_function_of_seed_and_index() -> None:
    image, attributes = draw_lesson(3, 17)
    again, same = draw_lesson(3, 17)
    other, _ = draw_lesson(4, 17)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(attributes, same)
    assert image.shape == (64, 64, 3)
    assert (image != other).any()


def test_packed_questions_are_the_tokens_of_the_prompts() -> None:
    tokenizer = build_tokenizer(NAMES)
    batch = Lessons(tokenizer, seed=1, batch_images=3).batch(0)
    image = tokenizer.get_vocab()[IMAGE_TOKEN]
    seen = set()
    for row, end in batch.ends.tolist():
        group = batch.groups[row, end]
        chosen = (batch.groups[row] == 0) | (batch.groups[row] == group)
        tokens = batch.tokens[row][chosen].tolist()
        assert batch.positions[row][chosen].tolist() == list(range(len(tokens)))
        first = tokens.index(image)
        assert tokens[first : first + NUM_IMAGE_TOKENS] == [image] * NUM_IMAGE_TOKENS
        text = tokenizer.decode([*tokens[1:first], image, *tokens[first + NUM_IMAGE_TOKENS :]])
        name = text.split("0 to 5: ")[1].split("\n")[0]
        assert text == nano_prompt(name)
        assert tokens == tokenizer(nano_prompt(name).replace(IMAGE_TOKEN, IMAGE_TOKEN * NUM_IMAGE_TOKENS))["input_ids"]
        seen.add(name)
    assert len(seen & set(NAMES)) >= len(ATTRIBUTES)


def test_a_question_sees_the_prefix_and_itself_but_no_other_question() -> None:
    mask = block_diagonal_mask(torch.tensor([[0, 0, 1, 1, 2, 2, -1]]))[0, 0] == 0
    assert mask[5].tolist() == [True, True, False, False, True, True, False]
    assert mask[2].tolist() == [True, True, True, False, False, False, False]
    assert mask[1].tolist() == [True, True, False, False, False, False, False]


def test_packed_logits_are_those_of_each_question_alone() -> None:
    tokenizer = build_tokenizer(NAMES)
    model = build_model(build_config(tokenizer), seed=0).eval()
    pupil = Pupil(model, answer_tokens(tokenizer))
    batch = Lessons(tokenizer, seed=1, batch_images=2).batch(0)
    with torch.no_grad():
        packed = pupil(batch)[0]
        alone = []
        pixels = (batch.images.permute(0, 3, 1, 2).float() / 255 - PIXEL_MEAN) / PIXEL_STD
        for (row, end), answer in zip(batch.ends.tolist(), batch.answers):
            chosen = (batch.groups[row] == 0) | (batch.groups[row] == batch.groups[row, end])
            ids = batch.tokens[row][chosen][None]
            logits = model(input_ids=ids, pixel_values=pixels[row : row + 1]).logits[0, -1]
            wanted = torch.zeros_like(logits)
            wanted[answer_tokens(tokenizer)] = answer
            alone.append(torch.nn.functional.cross_entropy(logits[None], wanted[None]))
    assert packed.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-4)


def test_training_sees_the_pixels_that_the_processor_makes() -> None:
    _, processor = load_nano()
    image = draw_lesson(3, 5)[0]
    made = processor(text=nano_prompt("male"), images=Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
    ours = (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 - PIXEL_MEAN) / PIXEL_STD
    torch.testing.assert_close(made, ours, atol=1e-5, rtol=0)


def test_the_learning_rate_warms_up_and_ends_at_one_percent() -> None:
    factors = [learning_rate_factor(step, 1000) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert factors[-1] == pytest.approx(0.01, abs=1e-4)


def make_config(folder: Path, steps: int) -> PretrainConfig:
    return PretrainConfig(
        steps=steps,
        batch_images=8,
        checkpoint_every_steps=3,
        output=str(folder / "model"),
        checkpoints=str(folder / "checkpoints"),
    )


def test_interrupted_training_ends_with_the_weights_of_undisturbed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    whole = pretrain(make_config(tmp_path / "whole", 6))
    config = make_config(tmp_path / "parts", 6)
    with monkeypatch.context() as patch:
        patch.setattr("gem_ray.scoring.pretrain.save_nano", interrupt)  # after the checkpoint of step 3
        with pytest.raises(KeyboardInterrupt):
            pretrain(config)
    parts = pretrain(config)
    assert "going on from step 3" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "parts/checkpoints").iterdir()] == ["step_000006"]
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
