"""``bot init``: files that work, and nothing overwritten."""

from __future__ import annotations

import json

from bot.cli.main import main
from bot.config.loader import load_config
from bot.config.schedules import CRONTAB, UNITS
from bot.pipeline.recipes import load_recipes
from bot.pipeline.settings import PipelineSettings, load_settings
from ml.recipes import Recipe


def test_init_writes_a_config_that_loads(tmp_path, capsys):
    folder = tmp_path / "new" / "bot"
    assert main(["init", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = ["strategy.yaml", "pipeline.yaml", "recipes/synth-basic-1h.yaml", ".env.example"]
    names += [f"schedule/{name}" for name in (CRONTAB, *UNITS)]
    assert document["files"] == names
    assert all((folder / name).is_file() for name in names)
    file = load_config(folder / "strategy.yaml")
    from strategies.catalog import check_params, find_strategy

    check_params(find_strategy(file.config.strategy), file.config.params)
    schedule = (folder / "schedule" / "crontab").read_text()
    assert str(folder) in schedule
    assert "{folder}" not in schedule
    assert "BOT_HOME" in (folder / ".env.example").read_text()


def test_every_commented_line_of_the_example_is_a_valid_choice(tmp_path):
    main(["init", str(tmp_path)])
    text = (tmp_path / "strategy.yaml").read_text()
    lines = [
        line.replace("# ", "", 1) if line.startswith("  # ") and ":" in line.split("#")[1] and "@" not in line else line
        for line in text.splitlines()
    ]
    (tmp_path / "strategy.yaml").write_text("\n".join(line for line in lines if not line.startswith("  Exchange")))
    config = load_config(tmp_path / "strategy.yaml").config
    assert config.risk.stop_loss == 0.03
    assert config.broker.min_notional == 5
    assert config.data.end == "2020-12-31"


def test_init_writes_a_pipeline_whose_recipe_loads(tmp_path):
    main(["init", str(tmp_path)])
    settings = load_settings(tmp_path / "pipeline.yaml")
    assert settings == PipelineSettings(recipes=str(tmp_path / "recipes"), fetch=False)
    (recipe,) = load_recipes(settings.recipes, every_ms=settings.every_ms)
    assert (recipe.name, str(recipe.key)) == ("synth-basic-1h", "SYNTH/1h/basic")
    # what it writes down are the defaults: without these lines it is the same recipe
    assert recipe.digest == Recipe("x", "SYNTH", "basic", "1h", 1, exchange="synth").digest


def test_every_commented_line_of_recipe_and_pipeline_is_a_valid_choice(tmp_path):
    main(["init", str(tmp_path)])
    path = tmp_path / "recipes" / "synth-basic-1h.yaml"
    told = path.read_text().replace("# model: lstm", "model: lstm").replace("# sentiment: fear", "sentiment: fear")
    told = told.replace("features: default ", "features: [default, sentiment] ").replace("all  ", "365d ")
    path.write_text(told.replace("params: {num_leaves: 15, num_boost_round: 150}", "params: {units: 16}"))
    (recipe,) = load_recipes(path)
    assert (recipe.architecture, recipe.sentiment, recipe.window_ms) == ("lstm", "fear_and_greed", 365 * 86_400_000)
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("# workers:", "workers:"))
    assert load_settings(pipeline).workers == 1


def test_init_leaves_recipes_that_are_there(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "recipes" / "mine.yaml").read_text() == "mine"
    assert (tmp_path / "recipes" / "synth-basic-1h.yaml").exists()


def test_what_was_begun_is_taken_back(tmp_path, capsys):
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "recipes").write_text("in the way")
    assert main(["init", str(tmp_path / "bot")]) == 1
    assert "cannot write to" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "bot").iterdir()] == ["recipes"]


def test_init_overwrites_nothing(tmp_path, capsys):
    (tmp_path / "strategy.yaml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "strategy.yaml already: nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["strategy.yaml"]
    assert (tmp_path / "strategy.yaml").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["init", str(tmp_path / "file")]) == 1
    assert "cannot write to" in capsys.readouterr().err


def test_schedules_alone_for_a_folder_that_is_in_use(tmp_path, capsys):
    (tmp_path / "pipeline.yaml").write_text("mine")
    assert main(["init", str(tmp_path), "--schedule"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"pipeline.yaml", "schedule"}
    assert {path.name for path in (tmp_path / "schedule").iterdir()} == {CRONTAB, *UNITS}
    assert "say what to type next" not in capsys.readouterr().out
    assert main(["init", str(tmp_path), "--schedule"]) == 2
    assert "schedule/crontab and schedule/bot-pipeline.service" in capsys.readouterr().err
