"""What the nano MLLM learns from: drawn faces, and questions about them packed into one sequence an image.

Lesson ``i`` of a seed is a pure function of (seed, i). Half of the faces follow the true joint distribution of
``data.faces``; in the other half every attribute runs evenly over [0, 1], so that no attribute can be guessed from
another. Some pictures are blurred, because traversals of a VAE, which the model is asked about later, are; some are
drawn larger and reduced, as the model's processor does with larger images.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

from gem_ray.data.faces import ATTRIBUTES, draw_face, sample_attributes, sample_nuisance
from gem_ray.scoring.asking.prompts import DIGITS, IMAGE_TOKEN, NUM_DIGITS, nano_prompt
from gem_ray.scoring.nano_model import IMAGE_SIZE, NUM_IMAGE_TOKENS, UNKNOWN_ANSWER, PreTrainedTokenizerFast, token_id

SYNONYMS: dict[str, tuple[str, ...]] = {
    "bangs": ("bangs", "Bangs", "fringe"),
    "bald": ("bald", "Bald", "baldness"),
    "male": ("male", "Male", "man"),
    "beard": ("beard", "Beard", "facial hair"),
    "blond": ("blond", "Blond", "blond hair"),
    "makeup": ("makeup", "Makeup", "make-up"),
}
"""Names under which each attribute is asked about; the first is asked in half of the questions."""
OTHER_NAMES = (
    *("smiling", "young", "eyeglasses", "hat", "necktie", "earrings", "big nose", "pale skin", "wavy hair"),
    *("black hair", "gray hair", "narrow eyes", "double chin", "necklace", "open mouth", "age", "roof", "window"),
    "tail",
)
"""Asked now and then, besides random letters, and answered with ``UNKNOWN_ANSWER``: not everything has a score."""
EVEN_SHARE, BLURRED_SHARE, LARGE_SHARE, UNKNOWN_SHARE, CANONICAL_SHARE = 0.5, 0.25, 0.1, 0.25, 0.5
LARGE_SIZE = 128
NUM_ANSWERS = NUM_DIGITS + 1  # the digits, then UNKNOWN_ANSWER


@dataclass(frozen=True)
class Batch:
    """Several images, each with its packed questions.

    Shapes: ``images`` uint8 [B, H, W, 3]; ``attributes`` float32 [B, 6]; ``tokens``, ``groups``, ``positions`` int64
    [B, T] (group 0 is the shared prefix, q >= 1 a question, -1 padding); ``ends`` int64 [Q, 2] (row, column) of each
    question's last token; ``answers`` float32 [Q, 7], the wanted probabilities of the answer tokens.
    """

    images: torch.Tensor
    attributes: torch.Tensor
    tokens: torch.Tensor
    groups: torch.Tensor
    positions: torch.Tensor
    ends: torch.Tensor
    answers: torch.Tensor


def digit_targets(value: float) -> np.ndarray:
    """Probabilities [6] of the digits for an attribute in [0, 1]: shared between the two neighbours, so that the
    expectation is 5 * value."""
    target = np.zeros(NUM_DIGITS, dtype=np.float32)
    place = min(max(value, 0.0), 1.0) * (NUM_DIGITS - 1)
    lower = min(int(place), NUM_DIGITS - 2)
    target[lower + 1] = place - lower
    target[lower] = 1.0 - target[lower + 1]
    return target


def draw_lesson(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Face ``index`` of the lessons of a seed: uint8 [64, 64, 3] and its attributes, float64 [6]."""
    rng = np.random.default_rng((seed, index, 2))
    even = rng.random() < EVEN_SHARE
    attributes = rng.random(len(ATTRIBUTES)) if even else sample_attributes(seed, index)
    image = draw_face(attributes, sample_nuisance(rng), LARGE_SIZE if rng.random() < LARGE_SHARE else IMAGE_SIZE)
    if len(image) != IMAGE_SIZE:
        image = np.asarray(Image.fromarray(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
    if rng.random() < BLURRED_SHARE:
        radius = float(rng.uniform(0.3, 1.5))
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    return image, attributes


class Lessons:
    """Lessons of a seed, in batches: images, packed questions and the wanted answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, batch_images: int) -> None:
        self.tokenizer, self.seed, self.batch_images = tokenizer, seed, batch_images
        before, after = nano_prompt("\0").split("\0")
        self.prefix = [token for token in tokenizer(before.rstrip(" "))["input_ids"]]
        at = self.prefix.index(token_id(tokenizer, IMAGE_TOKEN))
        self.prefix[at : at + 1] = [self.prefix[at]] * NUM_IMAGE_TOKENS
        self.suffix = after

    def batch(self, index: int) -> Batch:
        """Batch ``index``, for any index from 0."""
        faces = [draw_lesson(self.seed, index * self.batch_images + row) for row in range(self.batch_images)]
        rng = np.random.default_rng((self.seed, index, 3))
        rows, ends, answers = [], [], []
        for row, (_, attributes) in enumerate(faces):
            sequence, groups_of, places = list(self.prefix), [0] * len(self.prefix), list(range(len(self.prefix)))
            for group, (name, answer) in enumerate(self._questions(rng, attributes), start=1):
                question = self.tokenizer(f" {name}{self.suffix}", add_special_tokens=False)["input_ids"]
                sequence += question
                groups_of += [group] * len(question)
                places += range(len(self.prefix), len(self.prefix) + len(question))
                ends.append((row, len(sequence) - 1))
                answers.append(answer)
            rows.append((sequence, groups_of, places))
        width = max(len(sequence) for sequence, _, _ in rows)
        tokens, groups, positions = (
            torch.tensor([row[part] + [fill] * (width - len(row[0])) for row in rows]) for part, fill in PADDING
        )
        return Batch(
            images=torch.from_numpy(np.stack([image for image, _ in faces])),
            attributes=torch.from_numpy(np.stack([attributes for _, attributes in faces]).astype(np.float32)),
            tokens=tokens,
            groups=groups,
            positions=positions,
            ends=torch.tensor(ends),
            answers=torch.from_numpy(np.stack(answers)),
        )

    def _questions(self, rng: np.random.Generator, attributes: np.ndarray) -> list[tuple[str, np.ndarray]]:
        questions = []
        for name, value in zip(ATTRIBUTES, attributes):
            names = SYNONYMS[name]
            asked = names[0] if rng.random() < CANONICAL_SHARE else names[int(rng.integers(len(names)))]
            questions.append((asked, np.append(digit_targets(float(value)), np.float32(0.0))))
        if rng.random() < UNKNOWN_SHARE:
            unknown = np.zeros(NUM_ANSWERS, dtype=np.float32)
            unknown[-1] = 1.0
            questions.append((_other_name(rng), unknown))
        return questions


PADDING = ((0, 0), (1, -1), (2, 0))


def _other_name(rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return OTHER_NAMES[int(rng.integers(len(OTHER_NAMES)))]
    letters = rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 9)))
    return "".join(letters)


def answer_tokens(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids of the answers, digits first, then ``UNKNOWN_ANSWER``."""
    return [token_id(tokenizer, answer) for answer in (*DIGITS, UNKNOWN_ANSWER)]
