"""``bot init``: files that work, and nothing overwritten."""

from __future__ import annotations

import json

from bot.cli.main import main
from bot.config.loader import load_config


def test_init_writes_a_config_that_loads(tmp_path, capsys):
    folder = tmp_path / "new" / "bot"
    assert main(["init", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == ["strategy.yaml", ".env.example", "schedule.example"]
    file = load_config(folder / "strategy.yaml")
    from strategies.catalog import check_params, find_strategy

    check_params(find_strategy(file.config.strategy), file.config.params)
    schedule = (folder / "schedule.example").read_text()
    assert str(folder) in schedule
    assert "{" not in schedule
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
