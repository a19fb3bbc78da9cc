"""Who serves: each rule alone on hand-made records, crashes between two cycles, and short simulations of the error rates."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_runs import first_champion, no_skill_year, refits, vanishing_edge
from simulated_streams import (
    HOUR_MS,
    at,
    direction_rows,
    first,
    hits,
    knowing,
    live,
    right_in,
    risk_rows,
    serving,
    share,
    volatility_rows,
)

from ml.intervals import wilson
from ml.lifecycle.facts import Champion, Facts, Held
from ml.lifecycle.tenure import Rules, Tenure

GOOD, FLAT, BAD = share(0.57, 3_000), share(0.5, 3_000), share(0.44, 3_000)
V1 = {"a": "a1", "b": "b1"}


def tenure_with(streams, *, facts=None, timeframe="1h", rules=None) -> Tenure:
    """Return a judge that has been told the rows of each recipe."""
    tenure = Tenure(timeframe, facts, rules)
    for name, rows in streams.items():
        if not name.startswith("@"):
            tenure.enroll(name, at(0))
        tenure.feed(name, rows)
    return tenure


def decided(tenure, bar, versions):
    return [*tenure.watch(at(bar), versions), *tenure.choose(at(bar), versions)]


def crowned(stream="a", version="a1", bar=3_000, *, enrolled=("a", "b"), held=None, **known) -> Facts:
    champion = Champion(stream, version, at(bar), at(bar), 0.55, 3_000, 1_710)
    return Facts(dict.fromkeys(enrolled, at(0)), champion=replace(champion, **known), held=held)


# ---------------------------------------------------------------------- first champion


def test_a_record_that_shows_skill_is_promoted_with_its_evidence():
    tenure = tenure_with({"a": hits(GOOD), "b": hits(FLAT)})
    (decision,) = decided(tenure, 3_000, V1)
    assert (decision.kind, decision.stream, decision.version) == ("promote", "a", "a1")
    assert decision.reason.startswith("shows skill: right in 57.0 % of 3,000 evaluations, at least 55.8 % (evidence ")
    assert decision.evidence["trials"] == 2
    assert decision.evidence["claim"]["evaluations"] == 3_000
    json.dumps(decision.evidence)
    champion = tenure.facts.champion
    assert (champion.stream, champion.version, champion.crowned_ms, champion.since_ms) == (
        "a",
        "a1",
        at(3_000),
        at(3_000),
    )
    assert (champion.reference_hits, champion.reference_rows) == (1_710, 3_000)
    assert champion.reference == wilson(1_710, 3_000, 1.0364333894937898)[0]  # one-sided 85 %
    assert tenure.facts.held is None
    assert decided(tenure, 3_000, V1) == []


def test_nobody_is_promoted_without_skill_or_without_a_version():
    assert decided(tenure_with({"a": hits(FLAT), "b": hits(BAD)}), 3_000, V1) == []
    tenure = tenure_with({"a": hits(GOOD)})
    assert decided(tenure, 3_000, {}) == []
    assert tenure.facts.champion is None
    assert decided(Tenure("1h"), 0, {}) == []


def test_more_recipes_that_were_tried_need_more_evidence():
    tenure = tenure_with({"a": hits(share(0.57, 700))})
    assert math.exp(tenure.needed) == pytest.approx(1 / 0.03)
    claim = tenure.claim("a")
    assert claim.holds
    for number in range(60):  # whether they have a record or not
        tenure.enroll(f"tried{number}", at(0))
    assert math.exp(tenure.needed) == pytest.approx(61 / 0.03)
    assert decided(tenure, 700, V1) == []
    assert tenure.claim("nobody") is None


def test_the_recipe_that_lost_least_lately_is_the_first_and_the_first_of_equals():
    better = hits(share(0.58, 3_000), stated=0.58)
    assert [d.stream for d in decided(tenure_with({"a": hits(GOOD), "b": better}), 3_000, V1)] == ["b"]
    assert [d.stream for d in decided(tenure_with({"b": hits(GOOD), "a": hits(GOOD)}), 3_000, V1)] == ["b"]


def test_old_evidence_makes_no_champion():
    dead = hits(np.concatenate([share(0.57, 6_000), share(0.49, 2_160)]))
    tenure = tenure_with({"a": dead})
    assert tenure.claim("a").holds
    assert decided(tenure, 8_160, V1) == []


def test_a_recipe_that_answers_another_question_is_no_rival_and_no_fault():
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD, horizon=4)})
    assert [d.stream for d in decided(tenure, 3_000, V1)] == ["a"]
    tenure.feed("a", hits(FLAT[:200], first=3_000))
    tenure.feed("b", hits(GOOD[:200], horizon=4, first=3_000))
    assert decided(tenure, 3_200, V1) == []
    assert tenure.duels() == {}
    assert tenure.kept(at(3_200), ["a", "b"]) is None
    tenure.adopt("b", "b1", at(3_200))  # by hand it may serve all the same
    tenure.feed("a", hits(FLAT[:24], first=3_200))
    tenure.feed("b", hits(GOOD[:24], horizon=4, first=3_200))
    assert decided(tenure, 3_224, V1) == []
    assert tenure.harm.n == 0


# ---------------------------------------------------------------------- refit


def test_a_refit_follows_and_the_version_before_is_held_beside_it():
    tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(enrolled=("a",)))
    (decision,) = decided(tenure, 3_012, {"a": "a2"})
    assert (decision.kind, decision.version) == ("refit", "a2")
    assert tenure.facts.held == Held("@a1", "a1", at(3_012))
    assert tenure.facts.champion.version == "a2"
    assert tenure.facts.champion.crowned_ms == at(3_000)  # it is the same reign
    assert decided(tenure, 3_012, {"a": "a2"}) == []
    assert decided(tenure, 3_024, {"b": "b2"}) == []


def test_the_held_version_stays_until_it_was_compared_and_nothing_points_at_harm():
    mine, theirs = share(0.57, 1_200), share(0.53, 1_200)
    held = Held("@a1", "a1", at(3_000))
    for bars, recipe, expected in ((480, mine, "a1"), (520, mine, "a2"), (520, theirs, "a1")):
        tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(version="a2", enrolled=("a",), held=held))
        other = theirs if recipe is mine else mine
        tenure.feed("a", hits(recipe[:bars], first=3_000))
        tenure.feed("@a1", hits(other[:bars], first=3_000))
        (decision,) = decided(tenure, 3_000 + bars, {"a": "a3"})
        assert decision.kind == "refit"
        assert "over " in decision.reason
        assert tenure.facts.held.version == expected


def test_a_refit_does_not_follow_refits_that_are_shown_worse():
    held = Held("@a1", "a1", at(3_000))
    tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(version="a2", enrolled=("a",), held=held))
    tenure.feed("a", hits(share(0.5, 400), first=3_000))
    tenure.feed("@a1", hits(share(0.8, 400), first=3_000, stated=0.7))
    assert tenure.choose(at(3_400), {"a": "a3"}) == []


# ---------------------------------------------------------------------- replacement


def replacement(mine, theirs, *, start=0, bars=900, joined=0, trials=()):
    """Return what is decided after bars that both spoke of, where ``a`` serves."""
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned())
    for name in trials:
        tenure.enroll(name, at(0))
    if joined:
        tenure.facts = replace(tenure.facts, enrolled={"a": at(0), "b": at(joined)})
    tenure.feed("a", hits(mine[:bars], first=3_000))
    tenure.feed("b", hits(theirs[start:bars], first=3_000 + start, stated=0.75))
    return tenure, decided(tenure, 3_000 + bars, V1)


STRONG = share(0.75, 900)


def test_another_recipe_that_is_shown_better_replaces_the_champion_which_is_held():
    tenure, (decision,) = replacement(share(0.57, 900), STRONG)
    assert (decision.kind, decision.stream, decision.version) == ("replace", "b", "b1")
    assert decision.reason.startswith("shown better than a: over 900 evaluations b saves +0.")
    assert decision.evidence["needed"] == pytest.approx(20)
    assert tenure.facts.held == Held("a", "a1", at(3_900))
    assert tenure.facts.champion.crowned_ms == at(3_900)
    assert list(tenure.duels()) == []


def test_a_replacement_needs_fresh_bars_of_both():
    # better on the record before, but not on bars since the reign began
    tenure = tenure_with({"a": hits(GOOD), "b": hits(share(0.75, 3_000), stated=0.75)}, facts=crowned())
    assert decided(tenure, 3_000, V1) == []
    # better since, but only on bars before it came under trial, or on bars that the champion does not know
    assert replacement(share(0.57, 900), STRONG, joined=3_880)[1] == []
    assert replacement(share(0.57, 900), STRONG, start=890)[1] == []
    late = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned())
    late.feed("b", hits(STRONG, first=3_000, stated=0.75))
    assert decided(late, 3_900, V1) == []


def test_a_replacement_must_show_skill_of_its_own():
    tenure = tenure_with({"a": hits(GOOD), "b": hits(BAD)}, facts=crowned())
    tenure.feed("a", hits(share(0.57, 900), first=3_000))
    tenure.feed("b", hits(STRONG, first=3_000, stated=0.75))
    assert tenure.duels() == {}
    assert decided(tenure, 3_900, V1) == []
    assert tenure.duels()["b"].log_e > math.log(20)
    assert not tenure.claim("b").holds


def test_as_many_recipes_as_were_tried_share_the_level():
    bars = next(n for n in range(20, 900, 20) if replacement(share(0.57, 900), STRONG, bars=n)[1])
    assert replacement(share(0.57, 900), STRONG, bars=bars, trials=("c", "d", "e"))[1] == []
    assert replacement(share(0.57, 900), STRONG, bars=bars - 20)[1] == []


def test_equals_do_not_replace_each_other():
    assert replacement(share(0.57, 900), share(0.57, 900))[1] == []


# ---------------------------------------------------------------------- rollback


def test_the_champion_that_is_shown_worse_goes_back_once():
    held = Held("a", "a9", at(3_000))
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned("b", "b1", held=held))
    tenure.feed("b", hits(share(0.53, 300), first=3_000))
    tenure.feed("a", hits(share(0.8, 300), first=3_000, stated=0.8))
    (decision,) = tenure.watch(at(3_300), {"a": "a9", "b": "b1"})
    assert (decision.kind, decision.stream, decision.version) == ("rollback", "a", "a9")
    assert decision.reason.startswith("shown worse than the model before it: over 300 evaluations a saves +0.")
    assert (decision.evidence["from"], decision.evidence["to"]) == ("b1", "a9")
    assert tenure.facts.held is None
    assert tenure.harm is None
    # there is nobody to go back to a second time
    tenure.feed("a", hits(share(0.55, 300), first=3_300))
    tenure.feed("b", hits(share(0.9, 300), first=3_300, stated=0.9))
    assert tenure.watch(at(3_600), {"a": "a9", "b": "b1"}) == []


def test_the_newest_version_of_the_recipe_before_serves_and_nobody_where_it_has_none():
    for versions, kind, expected in (({"a": "a12", "b": "b1"}, "rollback", "a12"), ({"b": "b1"}, "quarantine", "b1")):
        tenure = tenure_with(
            {"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned("b", "b1", held=Held("a", "a9", at(3_000)))
        )
        tenure.feed("b", hits(share(0.53, 300), first=3_000))
        tenure.feed("a", hits(share(0.8, 300), first=3_000, stated=0.8))
        assert [(d.kind, d.version) for d in tenure.watch(at(3_300), versions)] == [(kind, expected)]
        assert (tenure.facts.champion is None) == (kind == "quarantine")


def test_after_a_rollback_to_a_version_refits_must_be_shown_better():
    held = Held("@a1", "a1", at(3_000))
    tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(version="a2", enrolled=("a",), held=held))
    tenure.feed("a", hits(share(0.53, 300), first=3_000))
    tenure.feed("@a1", hits(np.concatenate([GOOD, share(0.8, 300)]), stated=0.8))
    assert [d.kind for d in decided(tenure, 3_300, {"a": "a3", "@a1": "a1"})] == ["rollback"]
    assert tenure.facts.champion.stream == "@a1"
    assert decided(tenure, 3_312, {"a": "a4", "@a1": "a1"}) == []
    tenure.feed("@a1", hits(share(0.57, 900), first=3_300))
    tenure.feed("a", hits(share(0.8, 900), first=3_300, stated=0.8))
    assert [(d.kind, d.version) for d in decided(tenure, 4_200, {"a": "a5", "@a1": "a1"})] == [("replace", "a5")]


# ---------------------------------------------------------------------- quarantine, fallback, restart


def test_a_fall_ends_in_quarantine_and_the_best_sound_recipe_serves():
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned())
    tenure.feed("a", hits(BAD[:2_000], first=3_000))
    tenure.feed("b", hits(GOOD[:2_000], first=3_000))
    out, fallback = tenure.watch(at(5_000), V1)
    assert (out.kind, out.stream, out.version) == ("quarantine", "a", "a1")
    assert out.reason.startswith("its hit rate fell from 57.0 % of ")
    assert "a sound model's does once a year at most" in out.reason
    assert (fallback.kind, fallback.stream, fallback.version) == ("fallback", "b", "b1")
    assert fallback.reason.startswith("serves in place of a: shows skill: right in 57.0 % of 5,000")
    assert tenure.facts.restarts == {"a": at(5_000), "@a1": at(5_000)}
    assert tenure.facts.held is None


@pytest.mark.parametrize("other", [FLAT[:2_000], BAD[:2_000]])
def test_nobody_serves_where_the_others_fell_too(other):
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned())
    tenure.feed("a", hits(BAD[:2_000], first=3_000))
    tenure.feed("b", hits(other, first=3_000))
    assert [d.kind for d in decided(tenure, 5_000, V1)] == ["quarantine"]
    assert tenure.facts.champion is None
    assert tenure.drift is None


def test_who_was_quarantined_must_earn_the_place_anew_and_refits_do_not_help():
    tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(enrolled=("a",)))
    tenure.feed("a", hits(BAD[:2_000], first=3_000))
    assert [d.kind for d in decided(tenure, 5_000, {"a": "a1"})] == ["quarantine"]
    assert decided(tenure, 5_012, {"a": "a2"}) == []
    claim = tenure.claim("a")
    assert (claim.n, claim.log_e) == (0, 0.0)
    tenure.feed("a", hits(share(0.57, 2_000), first=5_000))
    (decision,) = decided(tenure, 7_000, {"a": "a3"})
    assert (decision.kind, decision.evidence["claim"]["evaluations"]) == ("promote", 2_000)


def test_the_fall_of_a_version_does_not_bar_another_recipe():
    facts = crowned("@x1", "x1", enrolled=("a",))
    tenure = tenure_with({"@x1": hits(GOOD), "a": hits(GOOD)}, facts=facts)
    tenure.feed("@x1", hits(BAD[:2_000], first=3_000))
    tenure.feed("a", hits(GOOD[:2_000], first=3_000))
    assert [d.kind for d in tenure.watch(at(5_000), V1)] == ["quarantine", "fallback"]


def test_a_worse_member_of_the_kept_set_is_no_fallback():
    rng = np.random.default_rng(5)
    rose, (strong, weak) = knowing(rng, 5_000, [0.6, 0.54])
    streams = {"b": direction_rows(rose, strong), "c": direction_rows(rose, weak)}
    tenure = tenure_with({"a": hits(GOOD), **streams}, facts=crowned(enrolled=("a", "b", "c")))
    tenure.feed("a", hits(BAD[:2_000], first=3_000))
    kept = tenure.kept(at(5_000), ["b", "c"])
    assert kept.kept == ("b",)
    assert [d.kind for d in tenure.watch(at(5_000), {"a": "a1", "c": "c1"})] == ["quarantine"]


def test_the_naive_rule_triggers_only_where_it_is_asked_for():
    for naive, expected in ((False, []), (True, ["quarantine"])):
        tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(enrolled=("a",)), rules=Rules(naive_drift=naive))
        tenure.feed("a", hits(share(0.5, 24), first=3_000))
        assert [d.kind for d in tenure.watch(at(3_024), {"a": "a1"})] == expected


# ---------------------------------------------------------------------- the reference


def test_the_champion_is_held_to_its_longer_record_while_it_is_calm():
    tenure = tenure_with(
        {"a": hits(share(0.6, 1_000))}, facts=crowned(enrolled=("a",), bar=1_000, reference_rows=1_000)
    )
    tenure.feed("a", hits(share(0.6, 96), first=1_000))
    tenure.watch(at(1_096), {})
    assert tenure.facts.champion.since_ms == at(1_000)  # not a tenth longer yet
    statistics = tenure.drift.statistics
    tenure.feed("a", hits(share(0.6, 10), first=1_096))
    tenure.watch(at(1_106), {})
    champion = tenure.facts.champion
    assert (champion.since_ms, champion.reference_rows, champion.crowned_ms) == (at(1_106), 1_106, at(1_000))
    assert champion.reference == pytest.approx(wilson(champion.reference_hits, 1_106, 0.8416212335729143)[0])
    assert champion.statistics != statistics
    # nothing is forgotten: the statistics go on
    tenure.feed("a", hits([True], first=1_106))
    tenure.watch(at(1_107), {})
    assert tenure.drift.statistic < sum(champion.statistics[0]) / 2


def test_a_lucky_record_is_put_right_and_a_fall_is_not():
    for rate, renewed in ((0.62, True), (0.5, False)):
        lucky = crowned(enrolled=("a",), bar=500, reference=0.6, reference_rows=500)
        tenure = tenure_with({"a": hits(share(0.63, 500))}, facts=lucky)
        for start in range(500, 620, 12):
            tenure.feed("a", hits(share(rate, 12), first=start))
            tenure.watch(at(start + 12), {})
        assert (tenure.facts.champion.since_ms > at(500)) is renewed


def test_whose_record_has_no_bound_above_a_coin_is_watched_once_it_has():
    facts = crowned(enrolled=("a",), bar=100, reference=0.49, reference_rows=100)
    tenure = tenure_with({"a": hits(share(0.5, 100))}, facts=facts)
    tenure.feed("a", hits(share(0.5, 100), first=100))
    tenure.watch(at(200), {})
    assert tenure.drift.state == "no reference"
    tenure.feed("a", hits(share(0.6, 500), first=200))
    tenure.watch(at(700), {})
    tenure.feed("a", hits(share(0.6, 12), first=700))
    tenure.watch(at(712), {})
    assert tenure.drift.state == "calm"
    assert tenure.facts.champion.reference > 0.5


# ---------------------------------------------------------------------- by hand


def test_who_was_chosen_by_hand_is_watched_and_the_one_before_is_held():
    tenure = tenure_with({"a": hits(GOOD), "b": hits(GOOD)}, facts=crowned())
    tenure.adopt("b", "b7", at(3_000))
    assert (tenure.facts.champion.stream, tenure.facts.champion.version) == ("b", "b7")
    assert tenure.facts.held == Held("a", "a1", at(3_000))
    tenure.adopt("b", "b8", at(3_012))
    assert (tenure.facts.champion.version, tenure.facts.held.version) == ("b8", "a1")
    tenure.feed("b", hits(BAD[:2_000], first=3_000))
    assert [d.kind for d in tenure.watch(at(5_000), {"b": "b8"})] == ["quarantine"]


def test_a_champion_without_a_record_may_be_chosen_by_hand():
    tenure = Tenure("1h")
    tenure.adopt("@x", "x", at(10))
    assert (tenure.facts.champion.reference, tenure.facts.champion.reference_rows) == (None, 0)
    assert tenure.watch(at(20), {}) == []
    assert tenure.choose(at(20), {"a": "a1"}) == []


@pytest.mark.parametrize("fallen", [True, False])
def test_a_key_may_be_left_without_a_champion_by_hand(fallen):
    tenure = tenure_with({"a": hits(GOOD)}, facts=crowned(enrolled=("a",), held=Held("@a0", "a0", at(0))))
    tenure.dismiss(at(3_000), fallen=fallen)
    assert (tenure.facts.champion, tenure.facts.held, tenure.drift, tenure.harm) == (None,) * 4
    assert tenure.claim("a").holds is not fallen
    assert [d.kind for d in decided(tenure, 3_000, V1)] == ([] if fallen else ["promote"])


# ---------------------------------------------------------------------- the kept set


def test_the_kept_set_is_ranked_on_common_bars_of_the_last_days_with_the_champion_first():
    rng = np.random.default_rng(6)
    rose, said = knowing(rng, 4_000, [0.6, 0.6, 0.52])
    rows = dict(zip("abc", (direction_rows(rose, p) for p in said), strict=True))
    rows["b"] = rows["b"].take(slice(0, 3_990))
    tenure = tenure_with(rows, facts=crowned("b", "b1", enrolled=("a", "b", "c")))
    kept = tenure.kept(at(4_000), ["a", "b", "c", "unknown"])
    assert set(kept.kept) == {"a", "b"}
    assert kept.rows == 90 * 24 - 10
    assert tenure.kept(at(4_000), ["a"]) is None
    assert tenure.kept(at(3_995 + 90 * 24), ["a", "b"]) is None  # b has no row there
    assert tenure.kept(at(3_970 + 90 * 24), ["a", "b"]) is None  # 20 bars rank nobody


# ---------------------------------------------------------------------- other tasks, other phases


@pytest.mark.parametrize("task", ["risk", "volatility"])
def test_other_tasks_are_promoted_by_their_losses_and_fall_by_what_they_state(task):
    rng = np.random.default_rng(9)
    count, fall = 7_000, 4_000
    if task == "risk":
        stated = rng.choice([0.05, 0.45], count)
        chance = np.where(np.arange(count) < fall, stated, 0.25)
        rows = risk_rows(rng.random(count) < chance, stated, base_rate=0.25)
    else:
        loss = rng.standard_gamma(1.0, count)
        came = np.concatenate([share(0.8, fall), share(0.55, count - fall)])
        rows = volatility_rows(loss, loss + rng.normal(0.4, 0.5, count), came_true=came)
    events, tenure = live({"a": rows})
    assert [event.kind for event in events][:2] == ["promote", "quarantine"]
    assert events[0].decision.reason.startswith("shows skill: it loses less than every baseline over")
    assert fall < events[1].bar < fall + 1_500
    assert events[1].decision.reason.startswith("what it states comes true less often than it says")
    assert (tenure.facts.champion is None) or tenure.facts.champion.reference is None


def test_a_horizon_of_a_day_is_judged_by_every_phase():
    rng = np.random.default_rng(10)
    count, fall = 26_000, 14_000
    pattern = rng.random(count) < np.where(np.arange(count) < fall, 0.62, 0.38)
    events, _ = live({"a": hits(pattern, horizon=24, stated=0.6)}, record=4_000, per=120)
    assert [event.kind for event in events] == ["promote", "quarantine"]
    assert events[0].bar < fall < events[1].bar < fall + 24 * 200


# ---------------------------------------------------------------------- crashes


def seen(tenure):
    """Everything that a judge says of itself, and of the streams that it reads."""
    watched = [one.stream for one in (tenure.facts.champion, tenure.facts.held) if one is not None]
    return repr(
        (
            tenure.facts.to_dict(),
            [tenure.claim(name) for name in ("a", "b", *watched)],
            {name: (duel.n, duel.log_e) for name, duel in sorted(tenure.duels().items())},
            None if tenure.harm is None else (tenure.harm.n, tenure.harm.log_e),
            None if tenure.drift is None else (tenure.drift.state, tenure.drift.statistics),
        )
    )


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cycles=st.lists(st.integers(1, 500), min_size=6, max_size=14),
    dies=st.sets(st.integers(0, 13)),
)
def test_a_judge_that_is_built_again_from_the_facts_and_the_rows_decides_the_same(seed, cycles, dies):
    rng = np.random.default_rng(seed)
    count = sum(cycles) + 2_500
    rose = rng.random(count) < 0.5
    rates = np.where(np.arange(count) < 3_500, 0.58, 0.47)
    rows = {
        "a": direction_rows(rose, right_in(rng, rose, rates, 0.56)),
        "b": direction_rows(rose, right_in(rng, rose, 0.56, 0.55)),
    }
    alone = direction_rows(rose, right_in(rng, rose, 0.58, 0.56))
    lived, restarted, begun = Tenure("1h"), Tenure("1h"), {}
    bar = 2_500
    for number, length in enumerate(cycles):
        if number in dies:
            restarted = Tenure("1h", Facts.from_dict(json.loads(json.dumps(restarted.facts.to_dict()))))
        bar += length
        versions = {"a": f"a{number // 2}", "b": f"b{number // 3}"}
        streams = dict(rows)
        for one in (lived.facts.champion, lived.facts.held):
            if one is not None and one.stream.startswith("@"):  # as the pipeline does: scored from where it is watched
                streams[one.stream] = alone.since(begun.setdefault(one.stream, one.since_ms))
        for name, part in streams.items():
            known = part.before(at(bar))
            for tenure in (lived, restarted):
                last = tenure.last_ms(name)
                tenure.enroll(name, at(2_500)) if name in rows else None
                tenure.feed(name, known if last is None else known.since(last + 1))
        assert decided(lived, bar, versions) == decided(restarted, bar, versions)
        again = Tenure("1h", lived.facts)
        for name, part in streams.items():
            again.feed(name, part.before(at(bar)))
        for tenure in (lived, restarted, again):
            tenure.watch(at(bar), versions)
        for name in streams:
            assert again.claim(name) == lived.claim(name) == restarted.claim(name)
        assert seen(lived) == seen(restarted)


# ---------------------------------------------------------------------- error rates, short


@pytest.mark.parametrize("kind", ["walk", "shuffled"])
def test_no_skill_has_no_champion(kind):
    found = [no_skill_year((kind, seed)) for seed in range(2)]
    assert not any(one.promoted for one in found)
    assert all(one.by_f1 for one in found)  # the rule that keeps the better F1 believes in skill every time


def test_a_model_of_54_percent_becomes_the_champion_in_time():
    times = [first_champion((0.54, 1, seed)) for seed in range(8)]
    assert sum(time <= 3_500 for time in times) >= 7


def test_an_edge_that_disappears_is_out_of_service_within_the_bound():
    found = [vanishing_edge((0.55, 0.50, 8_760, 12 * 41, "healthy", seed)) for seed in range(8)]
    assert all(one.before == "r0" for one in found)
    assert sum(one.delay <= 1_700 for one in found) >= 7
    assert sum(one.after[0] in {"r1", None} for one in found) >= 7
    assert sum(one.after[0] == "r1" for one in found) >= 5


def test_refits_that_are_worse_do_not_stay():
    found = [refits((0.5, seed)) for seed in range(3)]
    assert all(one.kind in {"rollback", "quarantine"} for one in found)
    assert all(one.rollbacks <= 1 for one in found)
    assert any(one.kind == "rollback" for one in found)


def test_a_run_tells_who_served_when():
    rows = hits(np.concatenate([GOOD, BAD]))
    events, tenure = live({"a": rows})
    promoted, fallen = first(events, "promote"), first(events, "quarantine")
    assert 0 < promoted < 3_000 < fallen < 6_000
    assert [serving(events, bar) for bar in (promoted - 1, promoted, fallen - 1, fallen)] == [None, "a", "a", None]
    assert tenure.last_ms("a") == at(6_000) - HOUR_MS
