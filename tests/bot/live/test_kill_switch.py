"""The kill switch: a file whose presence forbids entries, whatever stands in it."""

from __future__ import annotations

import pytest

from bot.errors import StorageError
from bot.live.kill_switch import KillOrder, KillSwitch


@pytest.fixture
def switch(tmp_path):
    return KillSwitch(tmp_path)


def test_without_the_file_and_without_the_home_it_is_off(switch, tmp_path):
    assert switch.read() == KillOrder(is_on=False, closes=False, reason="")
    assert not KillSwitch(tmp_path / "not" / "there").read().is_on


@pytest.mark.parametrize(
    "content", [b"", b"stop\n", b"closed\n", b"\x00\xff\xfe\xd8", b"x" * 100_000, b"please close", b"\n\n"]
)
def test_any_content_but_close_stops_entries_only(switch, content):
    switch.path.write_bytes(content)

    order = switch.read()
    assert order.is_on
    assert not order.closes
    assert len(order.reason) < 400
    assert order.reason.isprintable()


@pytest.mark.parametrize(
    "content", ["close", "close\n", "  CLOSE  \n", "close: I go on holiday\n", "Close\nthe market is mad"]
)
def test_close_as_the_first_word_closes_positions_as_well(switch, content):
    switch.path.write_text(content)

    assert switch.read().is_on
    assert switch.read().closes


def test_the_reason_names_the_file_and_says_what_stands_in_it(switch):
    switch.path.write_text("close\nthe news\tis bad\x1b[31m")

    assert switch.read().reason == f"{switch.path}: the news is bad[31m"


def test_what_cannot_be_read_stops_entries(switch, tmp_path):
    switch.path.mkdir()
    assert switch.read().is_on
    assert "cannot be read" in switch.read().reason

    switch.path.rmdir()
    switch.path.symlink_to(tmp_path / "nowhere")
    assert switch.read().is_on

    (tmp_path / "file").write_text("")
    assert KillSwitch(tmp_path / "file").read().is_on  # the home is no folder


def test_engaged_by_a_bot_it_is_seen_by_the_next_and_released_by_a_person(switch, tmp_path):
    switch.engage("drawdown of 26 %")

    after_restart = KillSwitch(tmp_path)
    assert after_restart.read() == KillOrder(is_on=True, closes=False, reason=f"{switch.path}: drawdown of 26 %")
    assert after_restart.release()
    assert not after_restart.release()
    assert not switch.read().is_on
    assert not list(tmp_path.iterdir())


def test_engaging_again_never_takes_the_order_to_close_back(switch):
    switch.engage("by hand", close=True)
    switch.engage("ten errors")

    assert switch.read() == KillOrder(is_on=True, closes=True, reason=f"{switch.path}: ten errors")


def test_a_switch_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="KILL: the kill switch cannot be written"):
        KillSwitch(tmp_path / "file").engage("why")
