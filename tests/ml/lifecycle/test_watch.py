"""The watch over a champion: the alarm by an independent loop, its words, and a reference that is renewed on the way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_streams import at, hits, risk_rows, share, volatility_rows

from ml.candles import format_ms
from ml.lifecycle.candidacy import Candidacy
from ml.lifecycle.facts import Champion
from ml.lifecycle.watch import Watch, doubts_since

CHAMPION = Champion("a", "v1", at(0), at(0), 0.54, 4_000, 2_200)


def watched(rows, champion=CHAMPION, *, naive=False, timeframe="1h") -> Watch:
    judge, watch = Candidacy(timeframe), Watch(timeframe, champion, naive)
    judge.feed(rows)
    watch.look(judge)
    return watch


def statistics_of(pattern, p0, start):
    """Shiryaev-Roberts for a fall of five points and to a coin, averaged, evaluation by evaluation."""
    low, high = start
    for right in pattern:
        low = (1 + low) * ((p0 - 0.05) / p0 if right else (1.05 - p0) / (1 - p0))
        high = (1 + high) * (0.5 / p0 if right else 0.5 / (1 - p0))
        yield (low + high) / 2


def test_the_alarm_comes_with_the_bar_that_brings_the_statistic_to_the_level():
    pattern = np.concatenate([share(0.55, 1_000), share(0.46, 2_000)])
    watch = watched(hits(pattern))
    path = np.array(list(statistics_of(pattern, 0.54, (8_760 / 40,) * 2)))
    assert watch.statistic == pytest.approx(path[-1])
    assert watch.threshold > 8_760 * (1 + 1 / 40) - 1
    row = int(np.argmax(path >= watch.threshold))
    assert 1_000 < row < 3_000
    assert (watch.state, watch.n) == ("alarm", 3_000)
    words, figures = watch.alarm()
    assert f"at the bar of {format_ms(at(row))}" in words
    assert words.startswith("its hit rate fell from 55.0 % of 4,000 evaluations to ")
    assert figures["state"] == "alarm"
    assert figures["fall"]["n"] == pytest.approx(2_000, abs=60)
    assert figures["fall"]["rate"] == pytest.approx(0.46, abs=0.002)
    assert json.loads(json.dumps(figures)) == figures
    assert watched(hits(pattern[:row])).alarm() is None
    assert watched(hits(pattern[: row + 1])).alarm() is not None


def test_the_alarm_stays_when_the_model_recovers():
    pattern = np.concatenate([share(0.4, 600), share(0.7, 2_000)])
    watch = watched(hits(pattern))
    assert watch.statistic < watch.threshold / 10
    assert watch.state == "alarm"
    assert watch.alarm() is not None


def test_a_tenth_of_the_level_is_a_warning():
    pattern = share(0.4, 2_000)
    path = np.array(list(statistics_of(pattern, 0.54, (8_760 / 40,) * 2)))
    level = watched(hits(pattern)).threshold
    row = int(np.argmax(path >= level / 10))
    assert watched(hits(pattern[:row])).state == "calm"
    assert watched(hits(pattern[: row + 1])).state == "warning"


@pytest.mark.parametrize("reference", [None, 0.5, 0.47])
def test_who_has_no_skill_to_lose_is_not_watched(reference):
    watch = watched(hits(share(0.3, 3_000)), replace(CHAMPION, reference=reference))
    assert (watch.state, watch.alarm(), watch.statistics, watch.statistic) == ("no reference", None, None, 0.0)
    assert watch.to_dict()["threshold"] is None
    assert watch.path()[0].size == 0


def test_bars_before_the_reign_do_not_count():
    rows = hits(np.concatenate([share(0.3, 1_000), share(0.55, 500)]))
    watch = watched(rows, replace(CHAMPION, since_ms=at(1_000)))
    assert (watch.n, watch.state) == (500, "calm")
    assert watch.to_dict()["hits"] == 275
    assert watch.to_dict()["since"] == format_ms(at(1_000))


def test_the_statistics_go_on_where_the_reference_is_renewed():
    pattern = np.concatenate([share(0.52, 700), share(0.5, 700)])
    before = watched(hits(pattern[:700]))
    renewed = replace(CHAMPION, since_ms=at(700), reference=0.53, statistics=before.statistics)
    watch = watched(hits(pattern), renewed)
    path = list(statistics_of(pattern[700:], 0.53, before.statistics[0]))
    assert watch.statistic == pytest.approx(path[-1])
    assert watch.n == 700
    bars, values = watch.path()
    np.testing.assert_allclose(values, path)
    np.testing.assert_array_equal(bars, at(700) + 3_600_000 * np.arange(700))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 1_500), max_size=6),
    horizon=st.sampled_from([1, 4, 24]),
)
def test_chunks_change_no_bit(seed, cuts, horizon):
    rows = hits(np.random.default_rng(seed).random(1_500) < 0.47, horizon=horizon)
    judge, watch = Candidacy("1h"), Watch("1h", CHAMPION)
    for start, end in pairwise([0, *sorted(cuts), 1_500]):
        judge.feed(rows.take(slice(start, end)))
        watch.look(judge)
    whole = watched(rows)
    assert (watch.statistics, watch.alarm(), watch.n) == (whole.statistics, whole.alarm(), whole.n)
    assert whole.path()[1][-1] == pytest.approx(whole.statistic)


def test_phases_are_averaged_where_one_is_too_few():
    pattern = np.concatenate([share(0.55, 2_400), share(0.3, 9_600)])
    watch = watched(hits(pattern, horizon=24))
    assert watch.n == 12_000
    assert watch.threshold == pytest.approx(watched(hits(pattern)).threshold / 24)
    k = 400_000 + np.arange(12_000)
    parts = [list(statistics_of(pattern[k % 24 == phase], 0.54, (365 / 40,) * 2))[-1] for phase in range(24)]
    assert watch.statistic == pytest.approx(np.mean(parts))
    assert watch.state == "alarm"


def test_a_stated_probability_is_held_to_itself():
    rng = np.random.default_rng(8)
    stated = rng.choice([0.1, 0.5], 2_000)
    sound = watched(risk_rows(rng.random(2_000) < stated, stated, base_rate=0.3))
    assert sound.state == "calm"
    assert sound.fall() is None
    lost = watched(risk_rows(rng.random(2_000) < 0.3, stated, base_rate=0.3))
    assert lost.alarm()[0].startswith("what it states comes true less often than it says: the statistic passed")
    assert watched(volatility_rows(np.ones(3_000), np.ones(3_000))).state == "calm"
    wrong = watched(volatility_rows(np.ones(3_000), np.ones(3_000), came_true=share(0.6, 3_000)))
    assert wrong.state == "alarm"


def test_the_naive_rule_compares_a_day_with_the_record():
    day = np.concatenate([share(0.55, 100), share(0.5, 24)])
    assert watched(hits(day), naive=True).alarm() is None  # 55 less 50 is not more than five points
    day[-24:] = share(0.45, 24)
    words, figures = watched(hits(day), naive=True).alarm()
    assert words.startswith("right in 41.7 % of the 24 evaluations of 24 hours, 55.0 % before: the naive rule")
    assert figures["naive"] == {"n": 24, "rate": pytest.approx(10 / 24), "before": 0.55}
    assert watched(hits(day)).alarm() is None
    # it says nothing of less than a day, of nothing, and of what is no hit
    assert watched(hits(np.zeros(23, dtype=bool)), naive=True).alarm() is None
    assert watched(hits(np.zeros(24, dtype=bool)), naive=True).alarm() is not None
    assert Watch("1h", CHAMPION, naive=True).alarm() is None
    assert watched(risk_rows(np.zeros(50, dtype=bool), np.full(50, 0.3)), naive=True).alarm() is None


@pytest.mark.parametrize(
    ("before", "lately", "losing", "sound"),
    [(0.56, 0.56, False, True), (0.56, 0.51, False, False), (0.56, 0.56, True, False), (0.5, 0.56, False, True)],
)
def test_old_evidence_must_hold_in_the_last_days(before, lately, losing, sound):
    judge = Candidacy("1h")
    past, recent = share(before, 4_000), np.concatenate([share(0.59, 1_000), share(lately, 1_200)])
    judge.feed(hits(past))
    rows = hits(recent, first=4_000, losing=losing)
    assert losing or (rows.gain("coin").mean() > 0) == (lately > 0.5)
    judge.feed(rows)
    assert (not doubts_since(at(4_000), "1h", "a", judge)) is sound


def test_without_recent_rows_nothing_holds():
    judge = Candidacy("1h")
    judge.feed(hits(share(0.56, 4_000)))
    assert doubts_since(at(4_000), "1h", "a", judge) == ("no evaluation since 2016-02-02T08:00:00Z",)
    assert not doubts_since(at(0), "1h", "a", judge)  # no record before to fall from
    assert math.isnan(Watch("1h", CHAMPION).threshold)
