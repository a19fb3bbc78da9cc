"""A cycle over a planted market: what is scored by whom, refitted, kept, promoted, refused; through the real stores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from local_ccxt import local_exchange
from small_recipes import HOUR, KEY, Works, moment

from bot.exchange.clocks import Accelerated
from bot.exchange.server import ExchangeServer
from bot.market.exchanges import connect
from bot.pipeline.market import Market
from bot.pipeline.status import status_document
from ml.engine import PredictionEngine

OTHER = {"params": {"num_boost_round": 6, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 50}}


@pytest.fixture
def works(tmp_path):
    return Works(tmp_path)


def states(report):
    return {each.recipe: each.state for each in report.recipes}


def statuses(pipeline, key=KEY):
    found = pipeline.registry.list_bundles(key.symbol, key.model_type, key.timeframe)
    return {model.version_id: model.status for model in found}


@pytest.mark.parametrize("horizon", [1, 4])
def test_every_bar_is_scored_once_by_the_version_that_was_newest_when_it_closed(works, horizon):
    works.recipe("one", horizon=horizon)
    cycles = [3_000, 3_012, 3_030, 3_043, 3_060]  # with gaps of other lengths than the rhythm
    reports = [works.cycle(bars) for bars in cycles]
    assert [states(each)["one"] for each in reports] == ["registered"] * 5
    candles = works.candles(cycles[-1])
    with works.pipeline() as pipeline:
        (stream,) = pipeline.store.known_recipes()
        versions = pipeline.store.versions(stream)
        record = pipeline.records.read(stream, "direction")
        sources = pipeline.records.sources(stream)
        said = {}
        for position, (version, since) in enumerate(versions):
            engine = PredictionEngine(pipeline.bench(KEY).open(version))
            until = versions[position + 1][1] if position + 1 < len(versions) else moment(cycles[-1])
            p_up = engine.predict_batch(candles).column("p_up")
            closes = candles.open_ms + HOUR
            said |= {
                int(candles.open_ms[row]): p_up[row] for row in np.flatnonzero((closes > since) & (closes <= until))
            }
    fresh = record.open_ms >= moment(cycles[0])
    known = [open_ms for open_ms in sorted(said) if open_ms + (horizon + 1) * HOUR <= moment(cycles[-1])]
    assert record.open_ms[fresh].tolist() == known  # none lost between two refits, none twice
    assert record.p_up[fresh].tolist() == [said[open_ms] for open_ms in known]
    assert [each.recipes[0].scored for each in reports] == [0, 12 - horizon, 18, 13, 17]
    assert sources[0][:2] == (versions[0][0], "walk_forward")
    assert {source for _, source, *_ in sources[1:]} == {"prequential"}
    close = candles.columns["close"]
    rows = np.searchsorted(candles.open_ms, record.open_ms[fresh])
    assert np.allclose(record.forward_return[fresh], np.log(close[rows + horizon] / close[rows]), atol=1e-12)


def test_the_first_champion_is_refitted_and_the_rest_archived(works):
    works.recipe("one")
    works.recipe("two", **OTHER)
    first = works.cycle(6_000)
    assert [each["kind"] for each in first.decisions] == ["promote"]
    assert not first.failed
    assert first.decisions[0]["evidence"]["claim"]["lacks"] == []
    second = works.cycle(6_012)
    assert [each["kind"] for each in second.decisions] == ["refit"]
    third = works.cycle(6_024)
    with works.pipeline() as pipeline:
        found = statuses(pipeline)
        champion = pipeline.registry.champion_version(KEY)
        assert champion == third.decisions[0]["version"]
        held = pipeline.store.facts(str(KEY)).held.version
        assert held == first.decisions[0]["version"]
        rows = pipeline.registry.history(KEY)
        assert [row.evidence["kind"] for row in rows if row.action == "promote"] == ["promote", "refit", "refit"]
        newest = {each.version for each in third.recipes if each.stream in third.kept[str(KEY)]}
        for version, status in found.items():
            expected = {"champion"} if version == champion else {"archived"}
            if version == held:
                expected = {"superseded"}
            elif version in newest - {champion}:
                expected = {"candidate"}
            elif version == second.decisions[0]["version"]:
                expected = {"superseded", "archived"}  # what a rollback returns to is not archived
            assert status in expected, (version, status)
    assert set(third.kept[str(KEY)]) <= {each.stream for each in third.recipes}


def test_what_cannot_be_ranked_with_the_others_is_kept(tmp_path):
    """Candles of one recipe ended before the days that are ranked: it is not worse for that."""
    works = Works(tmp_path, settings={"window_of_ranking": "10d"})
    works.recipe("one", exchange="synth")
    works.recipe("two", exchange="synth", **OTHER)
    works.recipe("stale", exchange="other")
    works.store(2_600, exchange="other")
    report = works.cycle(3_000)
    assert "stale" in {stream.split("-")[0] for stream in report.kept[str(KEY)]}
    with works.pipeline() as pipeline:
        stale = next(each.version for each in report.recipes if each.recipe == "stale")
        assert statuses(pipeline)[stale] == "candidate"


def test_a_recipe_is_refitted_when_it_is_due_and_has_new_candles(works):
    works.recipe("one", every="1d")
    works.cycle(3_000)
    early = works.cycle(3_012)
    assert (states(early), early.recipes[0].scored) == ({"one": "skipped"}, 11)
    assert early.recipes[0].reason == "not due before 2018-05-07T00:00:00Z"
    assert states(works.cycle(3_013, force=True)) == {"one": "registered"}
    still = works.cycle(3_050, stored=False)  # nothing came
    assert (states(still), still.failed) == ({"one": "skipped"}, False)
    assert "there is nothing new to learn" in still.recipes[0].reason
    nearly = works.cycle(3_051)
    assert states(nearly) == {"one": "registered"}  # by the rhythm since the last version, not since the last try


def test_a_timer_that_fires_a_little_early_finds_a_recipe_due(works):
    works.recipe("one", every="100h")
    works.cycle(3_000)
    assert states(works.cycle(3_097)) == {"one": "skipped"}
    assert states(works.cycle(3_098)) == {"one": "registered"}


def test_without_promotion_the_champion_stays_as_it_is(works):
    works.recipe("one")
    report = works.cycle(6_000, promote=False)
    assert (report.decisions, states(report)) == ([], {"one": "registered"})
    with works.pipeline() as pipeline:
        assert pipeline.registry.champion_version(KEY) is None
    assert [each["kind"] for each in works.cycle(6_012).decisions] == ["promote"]


def test_recipes_of_one_model_read_each_its_own_candles(works):
    """One of them from another exchange, where prices are others."""
    works.recipe("here", exchange="synth")
    works.recipe("there", exchange="other")
    elsewhere = Works(works.root, seed=11)
    for bars in (3_000, 3_024):
        works.store(bars)
        works.store(elsewhere.candles(bars), exchange="other")
        report = works.cycle(bars, stored=False)
    assert states(report) == {"here": "registered", "there": "registered"}
    with works.pipeline() as pipeline:
        for recipe, market in (("here", works), ("there", elsewhere)):
            stream = next(each.stream for each in report.recipes if each.recipe == recipe)
            record, candles = pipeline.records.read(stream, "direction"), market.candles(3_024)
            rows = np.searchsorted(candles.open_ms, record.open_ms)
            assert record.open_ms[-1] == candles.open_ms[-2]
            assert np.array_equal(record.close, candles.columns["close"][rows])


def test_versions_of_two_models_with_one_name_have_records_of_their_own(works):
    works.recipe("btc")
    works.recipe("eth", symbol="ETH/USDT")
    elsewhere = Works(works.root, seed=11)
    for bars in (6_000, 6_012, 6_024):
        works.store(bars)
        works.store(elsewhere.candles(bars), symbol="ETHUSDT")
        report = works.cycle(bars, stored=False)
    assert not report.failed
    with works.pipeline() as pipeline:
        keys = pipeline.store.model_keys()
        held = {key: pipeline.store.facts(str(key)).held for key in keys}
        assert len({one.version for one in held.values()}) == 1  # the same name, of two models
        closes = {}
        for key, market in ((KEY, works), (replace(KEY, symbol="ETHUSDT"), elsewhere)):
            record, _ = pipeline.bench(key).rows(held[key].stream)
            rows = np.searchsorted(market.candles(6_024).open_ms, record.open_ms)
            closes[key] = np.array_equal(record.close, market.candles(6_024).columns["close"][rows])
            assert record.open_ms[-1] == moment(6_022)
        assert all(closes.values())


def test_a_recipe_that_was_edited_has_a_new_record_and_the_old_champion_goes_on(works):
    works.recipe("one")
    first = works.cycle(6_000)
    champion = first.decisions[0]["version"]
    works.recipe("one", params=OTHER["params"])
    second = works.cycle(6_024)
    assert second.recipes[0].stream != first.recipes[0].stream
    with works.pipeline() as pipeline:
        assert pipeline.registry.champion_version(KEY) == champion
        old = pipeline.records.read(first.recipes[0].stream, "direction")
        assert old.open_ms[-1] == moment(6_022)  # it is watched as long as it serves
        (model,) = status_document(pipeline, moment(6_024))["models"]
    assert model["champion"]["recipe"] == first.recipes[0].stream
    assert f"{first.recipes[0].stream} is none of the recipes any more" in "; ".join(model["why"])


def test_a_recipe_that_was_renamed_keeps_its_record(works):
    path = works.recipe("one")
    first = works.cycle(3_000)
    path.rename(works.recipes / "uno.yaml")
    second = works.cycle(3_012)
    assert (second.recipes[0].recipe, second.recipes[0].stream) == ("uno", first.recipes[0].stream)
    assert second.recipes[0].scored == 11


def test_new_candles_are_fetched_from_the_exchange_that_the_series_came_from(works):
    works.recipe("one")
    series = works.candles(3_030)
    works.store(series.slice(0, 3_000), exchange="binance", origin="download from binance")
    with works.pipeline() as pipeline:
        first = pipeline.run(moment(3_000) + 1)  # the last candle is there: nobody is asked
    assert states(first) == {"one": "registered"}
    clients = []
    with (
        ExchangeServer(local_exchange(series, first=3_012), clock=Accelerated(1.0)) as server,
        works.pipeline() as pipeline,
    ):

        def local(name):
            clients.append(connect(name, url=server.url, rate_limit=False))
            return clients[-1]

        pipeline.market = Market(pipeline.market.store, local, lambda: moment(3_012))
        report = pipeline.run(moment(3_012) + 1)
        stored = pipeline.market.store.read("BTCUSDT", "1h").candles
    for client in clients:
        client.session.close()
    assert (states(report), report.recipes[0].scored) == ({"one": "registered"}, 11)
    stored = stored.slice(0, 3_012)  # beyond, the exchange of the test tells the time of today
    assert stored.open_ms.tolist() == series.open_ms[:3_012].tolist()
    assert np.allclose(stored.columns["close"], series.columns["close"][:3_012])


def test_what_was_decided_by_hand_is_taken_over_and_watched(works):
    works.recipe("one")
    works.recipe("two", **OTHER)
    first = works.cycle(6_000)
    other = next(each for each in first.recipes if each.version != first.decisions[0]["version"])
    with works.pipeline() as pipeline:
        at = pipeline.bench(KEY).open(other.version).registered_at
        pipeline.registry.promote(KEY, other.version, at=at, reason="by hand")
    second = works.cycle(6_012)
    assert [each["kind"] for each in second.decisions] == ["refit"]  # of the recipe that was chosen
    with works.pipeline() as pipeline:
        facts = pipeline.store.facts(str(KEY))
        assert (facts.champion.stream, facts.champion.crowned_ms) == (other.stream, moment(6_012))
        pipeline.registry.rollback(KEY, at=at, reason="by hand")  # an older version of it: that one, and no refit of it
        assert pipeline.registry.champion_version(KEY) == other.version
    third = works.cycle(6_024)
    with works.pipeline() as pipeline:
        champion = pipeline.store.facts(str(KEY)).champion
        assert (champion.stream, champion.version) == (f"@{other.version}", other.version)
        assert pipeline.registry.champion_version(KEY) == other.version
        record, _ = pipeline.bench(KEY).rows(champion.stream)
        assert "refit" not in {each["kind"] for each in third.decisions}
        assert record.open_ms[-1] < moment(6_000)  # scored from now on
    works.cycle(6_036)
    with works.pipeline() as pipeline:
        record, _ = pipeline.bench(KEY).rows(champion.stream)
        fresh = record.open_ms[record.open_ms > moment(6_000)]
        assert fresh.tolist() == [moment(bars) for bars in range(6_024, 6_035)]
        pipeline.registry.withdraw(KEY, at=at, reason="by hand")
    assert [each["kind"] for each in works.cycle(6_048).decisions] == ["promote"]
