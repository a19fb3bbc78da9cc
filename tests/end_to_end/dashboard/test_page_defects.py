"""What a new user stumbled over on the page: figures that flatter, offers that are refused, words that do not hold."""

from __future__ import annotations

import re
import shutil

import pytest
from path_models import AT, path_key, path_settings
from scripted_bot import ScriptedBot

from ml.engines import open_bundle
from ml.synthetic import synthetic_candles
from ml.training.trainer import train
from registry.store import PredictionModelRegistry

from .conftest import serving


@pytest.fixture(scope="module")
def server(template, tmp_path_factory):
    """A server over a filled home; what a test changes no other looks at."""
    folder = tmp_path_factory.mktemp("defects") / "work"
    shutil.copytree(template, folder, symlinks=True)
    with serving(folder / "home") as found:
        yield found


@pytest.fixture
def altered(server, look):
    """Open a part whose answers to an address are the server's own, changed in one thing."""

    def open_part(part, pattern, change):
        seen = look(server, server.token)
        answers = []

        def answer(route):
            real = route.fetch()
            document = real.json()
            answers.append(change(document) or document)
            route.fulfill(response=real, json=answers[-1])

        seen.page.route(re.compile(pattern), answer)
        seen.go(part)
        seen.page.reload()
        seen.settle()
        assert answers, pattern
        return seen

    return open_part


def main_text(seen):
    return seen.page.locator("main").inner_text()


def test_the_equity_chart_ends_at_the_total_return_of_all_its_candles(altered, server):
    def thin(run):
        run["equity"] = run["equity"][60:]

    seen = altered("runs", r"/api/runs/[^?]", thin)
    label = seen.page.get_by_role("region", name="Equity").locator("svg[role=img]").get_attribute("aria-label")
    for row in server.ask("/api/runs"):
        for name in ("total_return", "buy_and_hold_return"):
            share = server.ask(f"/api/runs/{row['run_id']}")["result"]["all"][name]
            assert f"{'+' if share > 0 else '−'}{100 * abs(share):.1f} %" in label


def test_a_connection_that_works_is_good_and_one_that_does_not_is_a_warning(look, server):
    seen = look(server, server.token, "live")
    for words, kind in (("live", "good"), ("broken: no answer", "watch")):
        name = words.split(":")[0]
        with ScriptedBot(server.home, bot=name, connection=words):
            seen.go(f"live?bot={name}")
            chip = seen.page.locator(f"[data-bot={name}] .chip").filter(has_text=words).last
            chip.wait_for()
            assert kind in chip.get_attribute("class").split()
            if kind == "good":
                entry = seen.page.get_by_role("list", name="Bots").get_by_role("button").filter(has_text=name)
                assert entry.locator(".chip.good", has_text="running").count() == 1


@pytest.fixture
def refused(server):
    """A version that learnt from candles in which there is nothing to learn."""
    settings = path_settings("multi_ohlc")
    made = train(synthetic_candles(2_000, seed=5), path_key("multi_ohlc"), settings, at=AT, code_version="test")
    registry = PredictionModelRegistry(server.home / "models", open_runner=open_bundle)
    found = registry.register(path_key("multi_ohlc"), made.files, at=AT)
    assert found.metrics["gate"]["promoted"] is False
    return found.version_id


def test_what_the_gate_refused_can_be_promoted_all_the_same(look, server, refused):
    seen = look(server, server.token, "models")
    region = seen.page.get_by_role("region", name="SYNTH 1h multi_ohlc", exact=True)
    region.get_by_role("button", name=f"Promote {refused}").click()
    dialog = seen.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("looked at by hand")
    insist = dialog.get_by_role("checkbox")
    assert insist.count() == 0  # not before the refusal
    dialog.get_by_role("button", name="Promote").click()
    dialog.get_by_text("The gate refused it").wait_for()
    assert "force" not in dialog.inner_text()
    insist.check()
    dialog.get_by_role("button", name="Promote").click()
    dialog.wait_for(state="detached")
    (after,) = [each for each in server.ask("/api/models") if each["type"] == "multi_ohlc"]
    assert after["champion"]


def test_a_roll_back_is_offered_only_where_there_is_one_to_go_back_to(look, altered, server):
    seen = look(server, server.token, "models")
    back = seen.page.get_by_role("button", name="Roll back the champion of BTC_USDT 1h basic")
    assert back.get_attribute("aria-disabled") is None

    def first(models):
        return [each for each in models if each["status"] != "superseded"]

    seen = altered("models", r"/api/models$", first)
    back = seen.page.get_by_role("button", name="Roll back the champion of BTC_USDT 1h basic")
    assert back.get_attribute("aria-disabled") == "true"
    assert "none to go back to" in back.get_attribute("title")
    back.click(force=True)
    assert seen.page.locator("dialog").count() == 0


def test_a_dialog_ends_with_the_part_that_asked(look, server):
    seen = look(server, server.token, "jobs")
    seen.page.get_by_role("button", name="Train a model").click()
    seen.page.get_by_role("dialog").wait_for()
    seen.page.evaluate("location.hash = '#/runs'")
    seen.page.get_by_role("dialog").wait_for(state="detached")
    seen.page.get_by_role("heading", name="Runs", level=1).wait_for()


def test_a_record_of_the_training_alone_is_called_that(altered):
    def unscored(found):
        found.update(source="prequential", recipe=None, prequential_from=None)

    text = main_text(altered("accuracy", r"/api/accuracy", unscored))
    assert "walk-forward of its training; nothing scored since" in text
    assert "running record" not in text


def test_what_was_not_scored_is_not_called_calm(altered):
    def unscored(found):
        for each in found["models"]:
            each.update(hit_rate=None, state="calm")

    text = main_text(altered("models", r"/api/drift", unscored))
    assert "not scored yet" in text
    assert "calm" not in text


@pytest.mark.parametrize(("confidence", "words"), [(0.5, "No opinion"), (0.56, "Up, 56.0 %")])
def test_a_coin_has_no_opinion(altered, confidence, words):
    def say(found):
        found.update(direction="UP", confidence=confidence)

    seen = altered("market?symbol=BTC_USDT", r"/api/predictions\?", say)
    said = seen.page.locator("p.said")
    assert said.inner_text() == words
    assert said.locator(".up, .down").count() == (confidence != 0.5)


def test_the_market_opens_where_a_champion_is(altered, server):
    seen = altered("market", r"/api/series", lambda found: found[::-1])
    (symbol,) = {each["symbol"] for each in server.ask("/api/models") if each["champion"] and each["symbol"] != "SYNTH"}
    last = [each["symbol"] for each in server.ask("/api/series")][::-1]
    assert last.index(symbol) > 0  # the first is another

    def only(models):
        for each in models:
            each["champion"] = each["champion"] and each["symbol"] == symbol

    seen.page.route(re.compile(r"/api/models$"), lambda route: _only(route, only))
    seen.page.reload()
    seen.settle()
    assert seen.page.get_by_label("Series").input_value().startswith(symbol)
    seen.go("market?symbol=SYNTH")
    assert seen.page.get_by_label("Series").input_value().startswith("SYNTH")


def _only(route, change):
    real = route.fetch()
    document = real.json()
    change(document)
    route.fulfill(response=real, json=document)


def test_ages_grow_while_one_looks(look, server):
    seen = look(server, server.token)
    seen.page.route("**/api/live/events", lambda route: route.abort())  # no news renews the words meanwhile
    seen.page.clock.install()
    seen.page.reload()
    seen.go("live?bot=run")
    age = seen.page.locator("[data-bot=run] [data-since]").first
    age.wait_for()
    before = age.inner_text()
    seen.page.clock.fast_forward(3 * 3_600_000)
    seen.page.wait_for_function(
        "before => document.querySelector('[data-bot=run] [data-since]').textContent !== before", arg=before
    )
    assert age.inner_text() == "3 h"


def test_what_is_not_known_is_one_dash_on_a_card(altered, server):
    (model,) = [each for each in server.ask("/api/models") if each["type"] == "autoregressive"]

    def unknown(found):
        found["headline"] = [
            {"what": "hits", "measured": "undefined (undefined to undefined), n = 0", "beside": "53.6% and undefined"}
        ]
        found["card"] = "# Card\n\n| what | measured |\n|---|---|\n| hits | undefined (undefined to undefined) |\n"

    place = "&".join(f"{name}={model[name]}" for name in ("symbol", "type", "timeframe", "version"))
    text = main_text(altered(f"models?{place}", r"/api/models/", unknown))
    assert "undefined" not in text
    assert "–, n = 0" in text
    assert "53.6 % and –" in text


def test_what_is_not_known_is_one_dash_in_a_run(altered):
    def unknown(run):
        for name in [
            each for each in run["figures"] if each.startswith(("direction_accuracy", "gross_return_per_bet"))
        ]:
            run["figures"][name] = None

    text = main_text(altered("runs", r"/api/runs/[^?]", unknown))
    assert "– (–)" not in text
    assert "– to –" not in text


def test_charts_write_percentages_as_the_text_beside_them_does(look, server):
    seen = look(server, server.token, "accuracy")
    drawn = seen.page.locator("main .chart").all_inner_texts()
    labels = seen.page.locator("main svg[role=img]").evaluate_all(
        "all => all.map((each) => each.getAttribute('aria-label'))"
    )
    written = " ".join([*drawn, *labels])
    assert re.search(r"\d %", written)
    assert not re.search(r"\d%", written)
