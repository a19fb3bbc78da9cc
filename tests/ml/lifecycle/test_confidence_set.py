"""The model confidence set against a slow one written from the paper, with blocks walked row by row."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from ml.errors import NotEnoughBars
from ml.lifecycle.confidence_set import confidence_set, stationary_bootstrap


def slow_set(losses, draws: int, block: float, seed: int) -> list[float]:
    """P-values of each model by T_max: differences to the mean of those left, resampled one row after another."""
    rng = random.Random(seed)
    rows, models = len(losses), len(losses[0])
    samples = []
    for _ in range(draws):
        place, chosen = rng.randrange(rows), []
        for _ in range(rows):
            chosen.append(place)
            place = rng.randrange(rows) if rng.random() < 1 / block else (place + 1) % rows
        samples.append([sum(losses[row][i] for row in chosen) / rows for i in range(models)])
    real = [sum(row[i] for row in losses) / rows for i in range(models)]
    left, found, highest = list(range(models)), [1.0] * models, 0.0
    while len(left) > 1:
        centre = sum(real[i] for i in left) / len(left)
        d = {i: real[i] - centre for i in left}
        drawn = []
        for sample in samples:
            middle = sum(sample[i] for i in left) / len(left)
            drawn.append({i: sample[i] - middle - d[i] for i in left})
        error = {i: math.sqrt(sum(one[i] ** 2 for one in drawn) / draws) for i in left}
        t = {i: d[i] / error[i] for i in left}
        worst = max(left, key=lambda i: t[i])
        as_far = sum(max(one[i] / error[i] for i in left) >= t[worst] for one in drawn)
        highest = max(highest, as_far / draws)
        found[worst] = highest
        left.remove(worst)
    return found


def losses_of(seed: int, rows: int, gaps, correlation: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows, len(gaps)))
    for row in range(1, rows):
        noise[row] += correlation * noise[row - 1]
    return 0.69 + 0.05 * noise + 0.1 * rng.standard_normal((rows, 1)) + np.array(gaps)


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_one_written_from_the_paper(seed):
    losses = losses_of(seed, 120, [0.0, 0.004, 0.008, 0.02], correlation=0.3)
    draws = 600
    slow = slow_set(losses.tolist(), draws, max(3.0, 120 ** (1 / 3)), seed)
    found = confidence_set(losses, list("abcd"), horizon=3, draws=4_000, seed=seed)
    for name, p in zip("abcd", slow, strict=True):
        tolerance = 4 * math.sqrt(max(p * (1 - p), 0.01) * (1 / draws + 1 / 4_000))
        assert found.p_values[name] == pytest.approx(p, abs=tolerance)


def test_equal_models_are_all_kept_and_a_worse_one_goes():
    found = confidence_set(losses_of(1, 2_000, [0.0, 0.0, 0.0, 0.03]), ["a", "b", "c", "worse"])
    assert set(found.kept) == {"a", "b", "c"}
    assert found.p_values["worse"] == 0.0
    assert found.order[-1] == "worse"
    assert found.kept == found.order[:3]
    assert max(found.p_values.values()) == 1.0
    assert (found.rows, found.level) == (2_000, 0.1)
    assert found.mean_losses["worse"] == pytest.approx(losses_of(1, 2_000, [0.0, 0.0, 0.0, 0.03])[:, 3].mean())


def test_few_bars_keep_what_many_tell_apart():
    gaps = [0.0, 0.006]
    assert len(confidence_set(losses_of(2, 40, gaps), ["a", "b"]).kept) == 2
    assert confidence_set(losses_of(2, 20_000, gaps), ["a", "b"]).kept == ("a",)


def test_the_best_is_kept_as_often_as_promised():
    """Three equal models: at 25 % all three stay in at least three sets of four."""
    kept = sum(
        len(confidence_set(losses_of(seed, 300, [0.0] * 3), list("abc"), level=0.25, draws=200).kept) == 3
        for seed in range(150)
    )
    assert 0.75 - 3 * math.sqrt(0.19 / 150) <= kept / 150 < 0.95


def test_two_models_that_say_the_same_stay_together():
    losses = losses_of(3, 500, [0.0, 0.0, 0.02])
    losses[:, 1] = losses[:, 0]
    found = confidence_set(losses, ["held", "copy", "worse"])
    assert found.kept == ("held", "copy")
    same = confidence_set(np.repeat(losses[:, :1], 3, axis=1), list("abc"))
    assert same.kept == ("a", "b", "c")
    assert set(same.p_values.values()) == {1.0}


def test_the_incumbent_wins_a_tie():
    """Two columns with exactly equal means: the later one would go first."""
    rng = np.random.default_rng(4)
    one = rng.choice([0.5, 0.75], 400)
    losses = np.stack([one, one[::-1]], axis=1)
    found = confidence_set(losses, ["held", "new"])
    assert found.p_values["held"] == 1.0
    assert found.order == ("held", "new")


def test_the_same_seed_gives_the_same_set():
    losses = losses_of(5, 400, [0.0, 0.002, 0.003])
    a, b = (confidence_set(losses, list("abc"), seed=9) for _ in range(2))
    assert a == b
    assert a.to_dict()["kept"] == list(a.kept)
    assert confidence_set(losses, list("abc"), seed=10).p_values != a.p_values


def test_one_model_is_its_own_set():
    assert confidence_set(losses_of(6, 50, [0.0]), ["alone"]).kept == ("alone",)


def test_blocks_have_the_stated_mean_length_and_go_round():
    drawn = stationary_bootstrap(500, 8.0, 400, np.random.default_rng(7))
    assert drawn.shape == (400, 500)
    assert (drawn.min(), drawn.max()) == (0, 499)
    follows = (drawn[:, 1:] - drawn[:, :-1]) % 500 == 1
    # a new block may begin at the row that would have come anyway: 1 in 500
    assert 1 - follows.mean() == pytest.approx(1 / 8 * (1 - 1 / 500), abs=0.005)
    counts = np.bincount(drawn.ravel(), minlength=500)
    assert counts.mean() == 400
    assert np.abs(counts - 400).max() < 6 * math.sqrt(400 * 15)


def test_what_cannot_be_compared_is_refused():
    losses = losses_of(8, 100, [0.0, 0.0])
    with pytest.raises(ValueError, match="2 different names"):
        confidence_set(losses, ["a", "a"])
    with pytest.raises(ValueError, match="level"):
        confidence_set(losses, ["a", "b"], level=1.0)
    with pytest.raises(NotEnoughBars, match="29 bars are common"):
        confidence_set(losses[:29], ["a", "b"])
    losses[7, 1] = np.nan
    with pytest.raises(ValueError, match="loss of b in row 7"):
        confidence_set(losses, ["a", "b"])
