"""Settings of the pipeline: all optional, each mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import ConfigError
from bot.pipeline.settings import PipelineSettings, load_settings, parse_settings

HOUR = 3_600_000
CONFIGS = Path(__file__).parents[3] / "configs"

GOOD = """\
recipes: my/recipes
every: 6h
workers: 3
keep: 2
window_of_ranking: 30d
fetch: false
drift: {rule: naive}
promote: none
follow: false
alerts: false
"""


def test_every_key_is_read():
    settings = parse_settings(GOOD)
    assert settings.recipes == Path("my/recipes")
    assert (settings.every_ms, settings.window_of_ranking_ms) == (6 * HOUR, 30 * 24 * HOUR)
    assert (settings.workers, settings.keep, settings.fetch) == (3, 2, False)
    assert (settings.drift.rule, settings.promote, settings.follow, settings.alerts) == ("naive", "none", False, False)


@pytest.mark.parametrize("text", ["", "# keep: 3\n", "drift: {}\n", "workers: null\n"])
def test_everything_has_a_default(text):
    settings = parse_settings(text)
    assert settings == PipelineSettings()
    assert (settings.recipes, settings.every_ms, settings.keep) == (Path("recipes"), 12 * HOUR, 5)
    assert (settings.window_of_ranking_ms, settings.fetch) == (90 * 24 * HOUR, True)
    assert (settings.drift.rule, settings.promote, settings.follow, settings.alerts) == ("sr", "evidence", True, True)


@pytest.mark.parametrize("cores, told, count", [(1, None, 1), (2, None, 1), (3, None, 1), (8, None, 4), (2, 5, 5)])
def test_half_the_cores_build_unless_told_otherwise(cores, told, count):
    assert PipelineSettings(workers=told).worker_count(cores) == count


@pytest.mark.parametrize(
    "old, new, place, words",
    [
        ("recipes: my/recipes", "recipes: 5", "1:10", ["expected a folder such as recipes/, got 5"]),
        ("recipes: my/recipes", "recipes: ''", "1:10", ["expected a folder"]),
        ("recipes: my/recipes", "recipies: my/recipes", "1:1", ["unknown key 'recipies'", "did you mean 'recipes'?"]),
        ("every: 6h", "every: 6", "2:8", ["every: expected a length of time such as 12h or 7d, got 6"]),
        ("every: 6h", "every: 0h", "2:8", ["every: expected a length of time"]),
        ("every: 6h", "evry: 6h", "2:1", ["did you mean 'every'?"]),
        ("workers: 3", "workers: 0", "3:10", ["workers: expected at least 1, got 0"]),
        ("workers: 3", "workers: many", "3:10", ["workers: expected a whole number, got the text 'many'"]),
        ("keep: 2", "keep: 0", "4:7", ["keep: expected at least 1, got 0"]),
        ("window_of_ranking: 30d", "window_of_ranking: month", "5:20", ["'month' is not a length of time"]),
        ("fetch: false", "fetch: no", "6:8", ["fetch: expected true or false, got the text 'no'"]),
        ("rule: naive", "rule: naiv", "7:15", ["drift.rule: expected 'sr' or 'naive'", "did you mean 'naive'?"]),
        ("rule: naive", "rul: naive", "7:9", ["unknown key 'rul' in drift", "did you mean 'rule'?"]),
        ("promote: none", "promote: null", "8:10", ["promote: expected 'evidence' or 'none', got nothing"]),
        ("promote: none", "promote: evidnce", "8:10", ["did you mean 'evidence'?"]),
        ("alerts: false", "alerts: [a]", "10:9", ["alerts: expected true or false, got a list"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(old, new, place, words):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_settings(GOOD.replace(old, new), "bad.yaml")
    message = str(caught.value)
    assert message.startswith(f"bad.yaml:{place}: ")
    for word in words:
        assert word in message


def test_recipes_are_beside_the_file(tmp_path):
    path = tmp_path / "sub" / "pipeline.yaml"
    path.parent.mkdir()
    path.write_text("recipes: ../other/\n")
    assert load_settings(path).recipes.resolve() == tmp_path / "other"
    path.write_text(f"recipes: {tmp_path / 'absolute'}\n")
    assert load_settings(path).recipes == tmp_path / "absolute"


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "pipeline.yaml").write_text("[a]")
    with pytest.raises(ConfigError, match=r"pipeline.yaml:1:1: expected keys and values \(recipes: ..., every: ...\)"):
        load_settings(tmp_path / "pipeline.yaml")
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*pipeline.yaml"):
        load_settings(tmp_path / "pipline.yaml")


def test_the_settings_of_the_project_are_the_defaults():
    settings = load_settings(CONFIGS / "pipeline.yaml")
    assert settings == PipelineSettings(recipes=str(CONFIGS / "recipes"))
