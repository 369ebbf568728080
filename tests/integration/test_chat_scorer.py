"""A vision-language model asked through its chat template: scores, pairs and open words, by a real vLLM engine.

The model is a Qwen2.5-VL of 200,000 random weights, made here: what it says means nothing, but whether it was asked
rightly shows, since transformers must read the same probabilities.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gem_ray.data.faces import face
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest, StripRequest
from gem_ray.scoring.asking.model_files import model_fingerprint
from gem_ray.scoring.asking.prompts import DIGITS, validate_attributes
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from gem_ray.scoring.rescoring.judgements import pair_requests

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]
Ask = Callable[[Coroutine[Any, Any, Any]], Any]
PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO = (
    f"<|{name}|>"
    for name in ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
)
PLAIN_SPECIAL = "EOS"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MAX_MODEL_LEN = 512
ATTRIBUTES = ("male", "long dark hair", "b/w")


def build_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO, PLAIN_SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Rate how strongly one attribute shows in this image. Score: 0 1 2 3 4 5"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, additional_special_tokens=special[1:]
    )


def build_model(folder: Path) -> None:
    """A folder as a hub repository of an instruction-tuned Qwen2.5-VL holds it."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = build_tokenizer()
    number = tokenizer.get_vocab()
    text = {
        "vocab_size": len(number),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,  # vLLM's CPU attention wants 32 wide heads
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "bos_token_id": number[PAD],
        "eos_token_id": number[END],
        "pad_token_id": number[PAD],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    tokens = {"image": IMAGE, "video": VIDEO, "vision_start": VISION_START, "vision_end": VISION_END}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, **{f"{name}_token_id": number[token] for name, token in tokens.items()}
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)  # the default of .02 would let no image make a difference
    model.save_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"processor_class": "Qwen2_5_VLProcessor"}))
    images = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": 28 * 28,
        "max_pixels": 28 * 28 * 1024,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(images))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VLLMScorer, Ask]]:
    """One engine for the module, and the loop it lives in."""
    from gem_ray.scoring.torchvision_compat import register

    register()  # as vLLM does in its processes: transformers' processor of this model asks for torchvision
    folder = tmp_path_factory.mktemp("chat")
    build_model(folder)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")

        async def start() -> VLLMScorer:
            # Six digits of 400 tokens have little of a random model's probability.
            return VLLMScorer(str(folder), min_digit_mass=0.0, deadline_s=120.0, max_model_len=MAX_MODEL_LEN)

        scorer = runner.run(start())
        yield scorer, runner.run
        scorer.shutdown()


def make_images() -> list[np.ndarray]:
    """Faces of three sizes, so that each takes another number of tokens."""
    return [face(7, index, side)[0] for index, side in enumerate((64, 112, 140))]


def make_requests(image: np.ndarray, wordings: int = 2) -> list[ScoreRequest]:
    pixels = image.tobytes()
    return [
        ScoreRequest(image=pixels, height=len(image), width=image.shape[1], attribute=name, wording=wording)
        for name in ATTRIBUTES
        for wording in range(wordings)
    ]


class Reader:
    """The same model in transformers."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).float().eval()
        self.digits = self.processor.tokenizer.convert_tokens_to_ids(list(DIGITS))

    def read(self, prompt: str, image: np.ndarray | None = None) -> tuple[list[float], float, int]:
        """Digit probabilities, their mass, and the tokens of the prompt."""
        images = None if image is None else [Image.fromarray(image)]
        inputs = self.processor(text=[prompt], images=images, return_tensors="pt")
        with torch.no_grad():
            p = self.model(**inputs).logits[0, -1].softmax(-1)[self.digits]
        return (p / p.sum()).tolist(), float(p.sum()), inputs["input_ids"].shape[1]


def test_scores_and_pairs_are_what_transformers_reads(engine: tuple[VLLMScorer, Ask]) -> None:
    scorer, ask = engine
    reader = Reader(scorer.model)
    images = [image for image in make_images() for _ in make_requests(image)]
    questions = [request for image in make_images() for request in make_requests(image)]
    pairs = pair_requests("male", "long dark hair", 2)
    answers: list[ScoreAnswer] = ask(scorer.score([*questions, *pairs]))
    assert [answer.failure for answer in answers] == [None] * 26
    read = [
        reader.read(scorer.prompt(request), image)
        for request, image in zip([*questions, *pairs], [*images, *[None] * len(pairs)])
    ]
    theirs = np.array([probabilities for probabilities, _, _ in read])
    assert theirs.std(axis=0).max() > 0.1  # images and words make a difference
    # vLLM computes in bfloat16. A blank image or positions that do not know of it are off by .3 to .6.
    np.testing.assert_allclose([answer.probabilities for answer in answers], theirs, atol=0.06)
    np.testing.assert_allclose([answer.digit_mass for answer in answers], [mass for _, mass, _ in read], rtol=0.2)
    assert [answer.prompt_tokens for answer in answers] == [tokens for _, _, tokens in read]
    assert {answer.model for answer in answers} == {model_fingerprint(scorer.model)}


def test_the_second_question_about_an_image_finds_its_prefix_cached_and_gets_the_answer_it_has_alone(
    engine: tuple[VLLMScorer, Ask],
) -> None:
    scorer, ask = engine
    image = face(8, 1, 112)[0]
    requests = make_requests(image, wordings=1)
    together = ask(scorer.score(requests))
    assert together[0].cached_tokens == 0
    assert all(0 < answer.cached_tokens < answer.prompt_tokens for answer in together[1:])
    for request, answer in zip(requests[1:], together[1:]):
        (alone,) = ask(scorer.score([request]))
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=0.01)


def test_a_strip_is_described_in_words_that_could_be_a_name(engine: tuple[VLLMScorer, Ask]) -> None:
    scorer, ask = engine
    strip = np.concatenate([face(9, index, 56)[0] for index in range(4)], axis=1)
    request = StripRequest(image=strip.tobytes(), height=56, width=224, num_frames=4)
    bad = StripRequest(image=b"", height=56, width=224, num_frames=4)
    first, again, refused = ask(scorer.describe([request, request, bad]))
    assert first.failure is None
    assert first.text == again.text
    assert validate_attributes([first.text]) == (first.text,)
    assert first.prompt_tokens > 2 * 8  # 16 image tokens and the words
    assert (refused.text, refused.failure) == (None, "bad_image")


@pytest.mark.parametrize("name", [PLAIN_SPECIAL, "an EOS b", "moreEOSin", "<|image_pad|>", "male<|im_end|>"])
def test_a_name_with_a_special_token_of_this_model_is_refused(engine: tuple[VLLMScorer, Ask], name: str) -> None:
    scorer, ask = engine
    image = face(7, 1, 56)[0].tobytes()
    requests = [ScoreRequest(image=image, height=56, width=56, attribute=attribute) for attribute in (name, "male")]
    answers = ask(scorer.score([*requests, *pair_requests(name, "male", 1)]))
    assert [answer.failure for answer in answers] == ["refused_name", None, *["refused_name"] * 4]


def test_a_prompt_longer_than_the_model_takes_is_missing_and_the_engine_lives_on(
    engine: tuple[VLLMScorer, Ask],
) -> None:
    scorer, ask = engine
    large = ScoreRequest(image=bytes(896 * 896 * 3), height=896, width=896, attribute="male")  # 1,024 image tokens
    small = make_requests(face(7, 1, 56)[0], wordings=1)
    answers = ask(scorer.score([large, *small]))
    assert [answer.failure for answer in answers] == ["bad_prompt", None, None, None]
    ask(scorer.check_health())
