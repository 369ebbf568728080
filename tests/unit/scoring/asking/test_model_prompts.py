"""Requests as prompts of one model, and names that its tokenizer would take for special tokens."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gem_ray.errors import ScorerError
from gem_ray.messages.questions import PairAspect, PairRequest, ScoreRequest
from gem_ray.scoring.asking.model_prompts import ModelPrompts, Refused, digit_tokens
from gem_ray.scoring.asking.prompts import ANSWER_PREFIX, PromptStyle, chat_question, nano_prompt
from gem_ray.scoring.nano_model import load_nano

PAIR = PairRequest(source="beard", target="male", aspect=PairAspect.SIGN, target_first=True)
STYLES = {
    "qwen": (["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"], []),
    "llama 2": (["<s>", "</s>", "<unk>"], ["[INST]", "<<SYS>>"]),
    "bert": (["[CLS]", "[SEP]", "[MASK]", "[PAD]"], []),
    "deepseek": (["<\uff5cbegin\u2581of\u2581sentence\uff5c>"], []),
    "plain": (["EOS", "BOS", "s/t", "IMG_CONTEXT"], ["im_patch", "beard", "    "]),
}


def make_tokenizer(style: str, lowercase: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes with the special and added tokens of a style."""
    special, added = STYLES[style]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=lowercase) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in added])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def template(messages: list[dict[str, Any]], **options: Any) -> str:
    """The form of a chat template, as ``apply_chat_template`` gives it."""
    assert options == {"add_generation_prompt": True, "tokenize": False}
    ((*images, text),) = [message["content"] for message in messages]
    return "".join("<img>" for _ in images) + f"[user]{text['text']}[assistant]"


def make_prompts(style: str = "qwen", **options: Any) -> ModelPrompts:
    return ModelPrompts("m", PromptStyle.CHAT, make_tokenizer(style, **options), template)


def about(attribute: str, wording: int = 0) -> ScoreRequest:
    return ScoreRequest(image=b"", height=0, width=0, attribute=attribute, wording=wording)


def reason(prompts: ModelPrompts, request: ScoreRequest | PairRequest) -> str | None:
    try:
        prompts.question(request)
    except Refused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("wording", [0, 1, 2])
def test_a_chat_model_is_asked_through_its_template_up_to_the_digit(wording: int) -> None:
    prompt = make_prompts().question(about("beard", wording))
    assert prompt == f"<img>[user]{chat_question('beard', wording)}[assistant]{ANSWER_PREFIX}"


def test_a_pair_is_asked_without_an_image() -> None:
    prompt = make_prompts().question(PAIR)
    assert prompt.startswith("[user]")
    assert prompt.endswith(f"'male' by 'beard'?[assistant]{ANSWER_PREFIX}")


def test_an_open_question_has_an_image_and_no_digit_to_come() -> None:
    assert make_prompts().description(5).startswith("<img>[user]This strip shows 5 frames")
    assert not make_prompts().description(5).endswith(ANSWER_PREFIX)


def test_the_shipped_model_knows_one_wording_no_pairs_and_no_words() -> None:
    prompts = ModelPrompts("nano", PromptStyle.NANO, load_nano()[1].tokenizer)
    assert prompts.question(about(" beard ")) == nano_prompt("beard")
    assert reason(prompts, about("beard", 1)) == "unknown_wording"
    assert reason(prompts, PAIR) == "not_for_this_model"
    with pytest.raises(Refused, match="not_for_this_model"):
        prompts.description(5)


@pytest.mark.parametrize("wording", [-1, 3, 99])
def test_a_wording_that_does_not_exist_is_refused(wording: int) -> None:
    assert reason(make_prompts(), about("beard", wording)) == "unknown_wording"


@pytest.mark.parametrize("style", STYLES)
def test_names_with_special_tokens_of_the_model_are_refused(style: str) -> None:
    prompts = make_prompts(style)
    special, added = STYLES[style]
    for text in special + [text for text in added if not text.isalpha() and text.strip()]:
        for name in (text, f"a {text}", f"{text} b"):
            assert reason(prompts, about(name)) == "refused_name", name
            for pair in ({"source": name, "target": "male"}, {"source": "male", "target": name}):
                request = PairRequest(**pair, aspect=PairAspect.STRENGTH, target_first=False)
                assert reason(prompts, request) == "refused_name", name
    for name in ("male", "beard", "b/w", "5 o'clock shadow", "wavy  hair", "bossy", "Brille", "\u3072\u3052"):
        assert reason(prompts, about(name)) is None, name


def test_a_name_that_only_the_tokenizer_reads_as_special_is_refused() -> None:
    # Special tokens are looked for inside words, so that "boss" is b, o, s, s, but "EOSine" holds one.
    assert reason(make_prompts("plain"), about("aEOSb")) == "refused_name"
    assert reason(make_prompts("plain", lowercase=True), about("aeosb")) == "refused_name"
    assert reason(make_prompts("plain"), about("aeosb")) is None


def test_a_pair_of_one_name_is_refused() -> None:
    request = PairRequest(source="male", target="Male", aspect=PairAspect.SIGN, target_first=False)
    assert reason(make_prompts(), request) == "refused_name"


def test_a_model_without_a_chat_template_is_refused_with_the_remedy() -> None:
    def none(messages: list[dict[str, Any]], **options: Any) -> str:
        raise ValueError("tokenizer.chat_template is not set")

    with pytest.raises(ScorerError, match=r"'m' has no chat template .*instruction-tuned"):
        ModelPrompts("m", PromptStyle.CHAT, make_tokenizer("qwen"), none)


def test_every_token_that_reads_as_a_digit_is_known() -> None:
    tokenizer = make_tokenizer("qwen")
    tokenizer.add_tokens(["\u25814", "\u01202"])
    found = digit_tokens(tokenizer)
    assert sorted(found.values()) == ["0", "1", "2", "2", "3", "4", "4", "5"]
    assert {found[tokenizer.convert_tokens_to_ids(text)] for text in ("4", "\u25814")} == {"4"}
