"""Series of sentiment: files read and judged, merged, listed, and joined where a model reads them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from feature_identity import Reference
from market_series import real_candles

from bot.cli.main import main
from bot.errors import DataError, SeriesNotFound, UsageError
from bot.market.sentiment import SentimentSeries, SentimentStore, read_file
from bot.market.sentiment_file import read_sentiment
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from ml.features.catalogue import feature_names
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.synthetic import START_MS

DAY = 86_400_000
NOW = START_MS + 5_000 * DAY
BARS = 2_400


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def rows(count: int = 120, seed: int = 0) -> list[tuple[int, int]]:
    values = np.random.default_rng(seed).integers(0, 101, count)
    return [(START_MS + i * DAY, int(value)) for i, value in enumerate(values)]


def write(path, lines, header="timestamp,date,value,classification"):
    text = [header, *(f"{time},{iso(time)},{value},Neutral" for time, value in lines)]
    path.write_text("\n".join(text) + "\n")
    return path


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def bot(home, capsys):
    def call(*words):
        code = main([*map(str, words), "--home", str(home)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def imported(bot, path, *words):
    return bot("data", "import", path, "--kind", "sentiment", *words)


# ------------------------------------------------------------------------------------------------- files


def test_the_shared_layout_and_others_give_the_same_values(tmp_path):
    lines = rows(5)
    expected = np.array([value for _, value in lines], dtype=float)
    texts = {
        "ours.csv": None,
        "iso.csv": "date,value\n" + "".join(f"{iso(t)},{v}\n" for t, v in lines),
        "seconds.csv": "Timestamp;Score\n" + "".join(f"{t // 1000};{v}\n" for t, v in lines),
        "index.csv": "day,index\n" + "".join(f"{iso(t)},{v}\n" for t, v in lines),
    }
    for name, text in texts.items():
        path = tmp_path / name
        write(path, lines) if text is None else path.write_text(text)
        columns = {"time": "day", "value": "INDEX"} if name == "index.csv" else {}
        found = read_sentiment(path, NOW, columns=columns)
        assert found.time_ms.tolist() == [time for time, _ in lines]
        assert np.array_equal(found.values, expected)


def test_another_scale_becomes_0_to_100(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"date,value\n{iso(START_MS)},-1\n{iso(START_MS + DAY)},0.5\n")
    assert read_sentiment(path, NOW, scale=(-1.0, 1.0)).values.tolist() == [0.0, 75.0]
    with pytest.raises(UsageError, match="two rising numbers"):
        read_sentiment(path, NOW, scale=(1.0, 1.0))


@pytest.mark.parametrize(
    "text, message",
    [
        ("date,price\n2021-01-01,5\n", "has no value column.*--column value=NAME"),
        ("value\n5\n", "has no time column"),
        (
            "date,value\n2021-01-01,101\n",
            r"a.csv:2 \(2021-01-01T00:00:00Z\): the value is 101, expected 0 to 100; --scale",
        ),
        ("date,value\n2021-01-01,\n", "the value is empty or not a number"),
        ("date,value\n2021-01-01,high\n", r"a.csv:2: value is 'high', expected a number"),
        ("date,value\n2021-01-02,5\n2021-01-01,6\n", "a.csv:3 .*out of order.*--sort"),
        ("date,value\n2021-01-01,5\n2021-01-01,5\n", "appears twice, also at a.csv:2, with the same value"),
        ("date,value\n2021-01-01,5\n2021-01-01,6\n", "appears twice.*with another value"),
        ("date,value\n2099-01-01,5\n", "lies in the future"),
        ("date,value\nsoon,5\n", "a.csv:2: the time is 'soon'"),
    ],
)
def test_faults_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_sentiment(path, NOW)


def test_disorder_and_repeats_may_be_allowed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("date,value\n2021-01-02,5\n2021-01-01,6\n2021-01-01,6\n")
    found = read_sentiment(path, NOW, sort=True, drop_duplicates=True)
    assert found.values.tolist() == [6.0, 5.0]
    assert len(found.notes) == 2


# ------------------------------------------------------------------------------------------------- the store


def series(values, start=0, **rules):
    times = START_MS + (start + np.arange(len(values), dtype=np.int64)) * DAY
    return SentimentSeries("fear_and_greed", times, np.array(values, dtype=float), **rules)


def test_merge_adds_revises_and_keeps(tmp_path):
    store = SentimentStore(tmp_path)
    first = store.merge(series([10, 20, 30]))
    assert (first.added, first.unchanged, first.revised) == (3, 0, ())
    done = store.merge(series([25, 30, 40], start=1), delay_ms=3_600_000)
    assert (done.added, done.unchanged, done.revised) == (1, 1, (START_MS + DAY,))
    found = store.read()
    assert found.values.tolist() == [10.0, 25.0, 30.0, 40.0]
    assert found.published_ms[0] == START_MS + 3_600_000
    assert store.merge(series([40], start=3)).series.delay_ms == 3_600_000  # rules stay until others are given
    assert store.merge(series([7]), fresh=True).series.delay_ms == 0
    assert store.read().values.tolist() == [7.0]
    assert [path.name for path in store.root.iterdir() if not path.name.startswith(".")] == ["fear_and_greed.parquet"]


def test_nothing_is_written_where_nothing_changes(tmp_path):
    store = SentimentStore(tmp_path)
    store.merge(series([10, 20]))
    before = store.path("fear_and_greed").stat().st_mtime_ns
    store.merge(series([20], start=1))
    assert store.path("fear_and_greed").stat().st_mtime_ns == before


def test_a_changed_or_renamed_file_is_found(tmp_path):
    store = SentimentStore(tmp_path)
    store.merge(series(range(50)))
    path = store.path("fear_and_greed")
    shutil.copy(path, path.with_name("other.parquet"))
    with pytest.raises(DataError, match="does not have the name"):
        read_file(path.with_name("other.parquet"))
    data, digest, refused = bytearray(path.read_bytes()), store.read().digest, 0
    for place in range(4, len(data), 29):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            assert read_file(path).digest == digest  # a byte that nothing reads
        except DataError:
            refused += 1
    assert refused > 20
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="is damaged"):
        store.merge(series([5]))
    assert len(store.merge(series([5]), fresh=True).series) == 1


def test_which_series_is_used(tmp_path):
    store = SentimentStore(tmp_path)
    with pytest.raises(SeriesNotFound, match="`bot data import FILE --kind sentiment`"):
        store.choose()
    for name in ("mood", "news"):
        store.merge(SentimentSeries(name, np.array([START_MS]), np.array([5.0])))
    with pytest.raises(UsageError, match=r"several series of sentiment \(mood, news\)"):
        store.choose()
    assert store.choose("News") == "news"
    with pytest.raises(SeriesNotFound, match="did you mean 'mood'"):
        store.choose("moods")
    store.merge(series([5]))
    assert store.choose() == "fear_and_greed"
    with pytest.raises(UsageError, match="is no name of a series"):
        store.choose("a/b")


def test_the_real_index_joins_real_candles_by_its_dates(shared_data):
    found = read_sentiment(shared_data / "crypto_fear_greed_daily_2018_2024.csv", NOW)
    candles = real_candles(shared_data, "binance_spot_BTCUSDT_1h", "1h")
    index = SentimentSeries("fear_and_greed", found.time_ms, found.values)
    joined = index.join(candles)

    table = pd.read_csv(shared_data / "crypto_fear_greed_daily_2018_2024.csv").rename(columns={"timestamp": "time"})
    closes = pd.DataFrame({"time": candles.open_ms + 3_600_000})
    expected = pd.merge_asof(closes, table, on="time", tolerance=7 * DAY).value.to_numpy(dtype=float)
    assert np.array_equal(joined.sentiment, expected, equal_nan=True)
    assert 0.01 < np.isnan(joined.sentiment).mean() < 0.02  # January 2018

    subject = Reference(FeaturePipeline(FeatureSchema.for_candles(joined, feature_names("sentiment"))), joined)
    rng = np.random.default_rng(3)
    for _ in range(25):
        start = int(rng.integers(0, 40_000))
        subject.check_part(start, start + int(rng.integers(3_000, 9_000)))
        subject.check_slice_start(int(rng.integers(1, len(subject.blocks))), len(joined))
    assert subject.checked > 300_000


# ------------------------------------------------------------------------------------------------- commands


def test_import_and_list(bot, tmp_path, home):
    path = write(tmp_path / "a.csv", rows(30))
    code, out, _ = imported(bot, path)
    assert code == 0
    assert "sentiment fear_and_greed: 30 values" in out
    assert "30 added, 0 unchanged, 0 revised" in out
    changed = [(time, 50 if i == 3 else value) for i, (time, value) in enumerate(rows(30))]
    code, out, _ = imported(bot, write(tmp_path / "b.csv", changed), "--publication-delay", "2h", "--json")
    document = json.loads(out)
    assert (code, document["revised"]) == (0, [iso(START_MS + 3 * DAY) + "T00:00:00Z"])
    assert document["publication_delay_seconds"] == 7_200
    assert "fear_and_greed" in bot("data", "list")[1]
    listed = json.loads(bot("data", "list", "--json")[1])
    assert [row["name"] for row in listed["sentiment"]] == ["fear_and_greed"]
    assert listed["series"] == []
    SentimentStore(home / "candles").path("fear_and_greed").write_bytes(b"PAR1")
    assert "is damaged" in bot("data", "list")[1]


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("--symbol", "BTCUSDT"), 2, "has no --symbol"),
        (("--publication-delay", "soon"), 2, "'soon' is no length of time"),
        (("--max-age", "0d"), 2, "--max-age 0"),
        (("--max-age", "99999d"), 2, "--max-age is longer than ten years"),
        (("--publication-delay", "99999d"), 2, "--publication-delay is longer than ten years"),
        (("--column", "close=x"), 2, "expected value=NAME or time=NAME"),
        (("--column", "valu"), 2, "has no column 'valu'; did you mean 'value'?"),
        (("--name", "../x"), 2, "is no name of a series"),
    ],
)
def test_bad_options_are_one_message(bot, tmp_path, home, words, code, message):
    got, out, err = imported(bot, write(tmp_path / "a.csv", rows(5)), *words)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert not home.exists()


def test_options_of_sentiment_do_not_go_with_candles(bot, tmp_path):
    path = write(tmp_path / "a.csv", rows(5))
    assert (
        "are for --kind sentiment"
        in bot("data", "import", path, "--symbol", "X", "--timeframe", "1h", "--name", "a")[2]
    )
    assert "did you mean 'sentiment'" in bot("data", "import", path, "--kind", "sentimant")[2]


QUICK = (
    "--params",
    "num_boost_round=15,min_data_in_leaf=50",
    "--features",
    "rsi_14,taker_imbalance_20",
    "--skip-plots",
)
CONFIG = """
name: with-sentiment
strategy: MLBasic
params: {enter: 0.52, exit: 0.48, min_edge: none}
symbols: [SYNTH]
timeframe: 1h
data: {exchange: synth}
models: {prediction: "{symbol}/sentiment@newest"}
broker: {cash: 10000, commission: 0.001}
"""


def test_train_predict_and_backtest_read_it_where_the_model_does(bot, tmp_path, home):
    store_synthetic(CandleStore(home / "candles"), "SYNTH", bars=BARS, edge=0.2, seed=4)
    train = ("train", "model", "SYNTH", "--type", "sentiment", *QUICK, "--skip-robustness")
    code, _, err = bot(*train)
    assert code == 2
    assert "import one with `bot data import FILE --kind sentiment`" in err
    long_ago = write(tmp_path / "old.csv", [(time - 4_000 * DAY, value) for time, value in rows(110)])
    assert imported(bot, long_ago, "--name", "mood")[0] == 0
    code, _, err = bot(*train)
    assert code == 2
    assert "no candle of SYNTH 1h has a value of mood: its values became known from 20" in err
    assert not (home / "models").exists()
    assert imported(bot, write(tmp_path / "a.csv", rows(110)), "--name", "mood")[0] == 0
    code, out, err = bot(*train, "--json")
    assert code == 0, err
    features = json.loads((home / "models/SYNTH/sentiment").glob("2*/metadata.json").__next__().read_text())
    assert features["data"]["sentiment"] == "mood"
    assert "sentiment" in features["data"]["columns"]

    predict = ("predict", "SYNTH", "--type", "sentiment", "--version", "newest", "--json")
    said = json.loads(bot(*predict)[1])
    assert said["status"] == "ok"
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    code, out, err = bot("backtest", config, "--json", "--no-report")
    assert code == 0, err
    first = json.loads(out)
    assert first["data"]["digest"] != CandleStore(home / "candles").read("SYNTH", "1h").digest
    predicted = (home / "runs").glob("*/predictions.csv").__next__().read_text()
    assert "ok" in predicted

    last = rows(110)[-1][0]  # the series goes on: only what closes later may change
    imported(bot, write(tmp_path / "b.csv", [(last + DAY, 99)]), "--name", "mood")
    assert json.loads(bot(*predict)[1])["p_up"] is not None
    shutil.rmtree(home / "candles/sentiment")
    code, _, err = bot(*predict)
    assert (code, "--kind sentiment" in err) == (2, True)
    code, _, err = bot("backtest", config)
    assert (code, "--kind sentiment" in err) == (2, True)


def test_a_model_without_it_keeps_its_digest(bot, tmp_path, home):
    store_synthetic(CandleStore(home / "candles"), "SYNTH", bars=BARS, edge=0.2, seed=4)
    train = ("train", "model", "SYNTH", "--type", "basic", *QUICK, "--skip-robustness")
    assert bot(*train)[0] == 0
    imported(bot, write(tmp_path / "a.csv", rows(110)))
    assert bot(*train)[0] == 0
    old, new = sorted((home / "models/SYNTH/basic").glob("2*"))
    for name in ("model.txt", "feature_schema.json", "oos_predictions.parquet", "golden.json", "calibration.json"):
        assert (old / name).read_bytes() == (new / name).read_bytes()
    assert "is not read by basic" in bot(*train, "--sentiment", "fear_and_greed")[2]
