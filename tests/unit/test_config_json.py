"""A configuration survives JSON, and JSON of something else is refused by name."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gem_ray.config import DataConfig, GemConfig, ModelConfig, RunConfig, StorageConfig, TrainConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.errors import ConfigError


def make_config() -> GemConfig:
    return GemConfig(
        run=RunConfig(name="trial-2", address="ray://[::1]:10001"),
        storage=StorageConfig(endpoint_url="http://s3.local:9000", anonymous=True),
        data=DataConfig(batch_size=12, memory_limit_gb=0.1),
        model=ModelConfig(attributes=["Bärte", "smile"], residual_dim=0),
        train=TrainConfig(learning_rate=3e-4, num_workers=3),
        objective=dataclasses.replace(GemConfig().objective, align_batch=6),
    )


def test_a_configuration_survives_the_round_trip():
    for config in (GemConfig(), make_config()):
        found = config_from_json(config_to_json(config))
        assert found == config
        assert type(found.model) is ModelConfig


def test_the_text_holds_every_option_in_the_order_of_the_dataclasses():
    values = json.loads(config_to_json(make_config()))
    assert list(values) == [field.name for field in dataclasses.fields(GemConfig)]
    assert list(values["train"]) == [field.name for field in dataclasses.fields(TrainConfig)]
    assert values["storage"] == {
        "endpoint_url": "http://s3.local:9000",
        "region": None,
        "anonymous": True,
        "attempts": 5,
        "timeout_s": 20.0,
        "patience_s": 60.0,
    }


def test_what_is_left_out_takes_its_default():
    assert config_from_json('{"train": {"steps": 7}}') == GemConfig(train=TrainConfig(steps=7))


@pytest.mark.parametrize(("text", "option"), [('{"trian": {}}', "trian"), ('{"train": {"stesp": 3}}', "train.stesp")])
def test_an_unknown_option_is_refused_by_its_full_name(text, option):
    with pytest.raises(ConfigError, match=f": {option} is unknown"):
        config_from_json(text)


def test_values_are_checked_as_anywhere_else():
    with pytest.raises(ConfigError, match=r"train\.steps=0"):
        config_from_json('{"train": {"steps": 0}}')


@pytest.mark.parametrize("text", ["", "{", "\x00", b"\xff\xfe\x00", '{"train": {"learning_rate": 1e999}}'])
def test_text_that_is_not_json_is_a_configuration_error(text):
    with pytest.raises(ConfigError, match="not JSON"):
        config_from_json(text)


@pytest.mark.parametrize(("text", "name"), [("[]", "the configuration"), ('{"train": null}', "train=None")])
def test_a_section_that_is_no_group_of_options_is_refused(text, name):
    with pytest.raises(ConfigError, match=name):
        config_from_json(text)
