"""Forecasts as bytes: what a plain encoder makes of the same document, and no more memory than is allowed."""

from __future__ import annotations

import json

import pytest

from bot.service.encoding import EncodedForecasts


def document(steps, age=1):
    return {"symbol": "BTC_USDT", "age_seconds": age, "predictions": steps, "model_info": {"name": "é", "age": None}}


def test_the_bytes_say_what_the_document_says_at_that_moment():
    encoded = EncodedForecasts()
    steps = [{"step": 1, "predicted_close": 0.1 + 0.2, "predicted_open": None, "trusted": True}]
    for age in (1, 2):
        assert json.loads(encoded.encode("a", document(steps, age))) == document(steps, age)
    assert json.loads(encoded.encode("b", document([]))) == document([])
    with pytest.raises(ValueError, match="JSON compliant"):
        encoded.encode("c", document([{"predicted_close": float("nan")}]))


def test_steps_are_encoded_once_a_key_and_the_oldest_go():
    encoded = EncodedForecasts(most_bytes=250)
    first = [{"text": "x" * 85}]
    encoded.encode("a", document(first))
    assert json.loads(encoded.encode("a", document(["never looked at"])))["predictions"] == first
    encoded.encode("b", document(first))
    encoded.encode("a", document(first))
    encoded.encode("c", document(first))  # now b has waited longest
    assert json.loads(encoded.encode("a", document([])))["predictions"] == first
    assert json.loads(encoded.encode("b", document([])))["predictions"] == []
    large = [{"text": "x" * 500}]
    assert json.loads(encoded.encode("d", document(large)))["predictions"] == large
    assert json.loads(encoded.encode("d", document([])))["predictions"] == []
