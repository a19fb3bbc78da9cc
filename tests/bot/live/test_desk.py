"""The desk: whatever becomes of a request or of its reply, an order is placed once, known, and guarded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from scripted_gateway import RULES, ScriptedGateway, Time, refused

from bot.errors import StorageError
from bot.live.answers import AccessDenied, NoAnswer
from bot.live.desk import Desk, DeskSettings, Stopped
from bot.live.guards import legs_for
from bot.live.journal import Journal
from bot.live.journal_rows import RunRow, begin_run
from bot.live.orders import Guard, Ticket, client_id
from bot.state import StateDatabase

SIZE = Decimal("2.000")
LOST = NoAnswer("the connection was reset")


def entry(number: int = 0, *, guard: Guard | None = None, kind: str = "market", bar_ms: int = 60_000) -> Ticket:
    price = Decimal(99) if kind == "limit" else None
    own_id = client_id("mbtest", "BTCUSDT", bar_ms, number, "entry")
    return Ticket(own_id, "BTCUSDT", bar_ms, "buy", kind, "entry", SIZE, price, guard=guard)


def sale(*, bar_ms: int = 120_000, role: str = "exit", size: Decimal = SIZE) -> Ticket:
    return Ticket(client_id("mbtest", "BTCUSDT", bar_ms, 0, role), "BTCUSDT", bar_ms, "sell", "market", role, size)


class Place:
    """A desk on a journal, with an exchange of a few lines."""

    def __init__(self, folder, **script) -> None:
        self.time = Time()
        self.gateway = ScriptedGateway(self.time, **script)
        self.state = StateDatabase(folder / "state.db")
        self.run = RunRow("run", "bot", 0, None, "paper", "sim", {}, {"BTCUSDT": 1000.0}, {})
        if Journal.newest_run(self.state, "bot") is None:
            begin_run(self.state, self.run, {})
        self.newest = True
        self.told: list[tuple[str, str]] = []
        self.open()

    def open(self) -> None:
        """Begin another life on the same journal."""
        self.journal = Journal(self.state, self.run)
        self.desk = Desk(
            self.gateway,
            self.journal,
            {"BTCUSDT": RULES},
            now_ms=self.time,
            pause=self.time.pause,
            is_newest=lambda _ticket: self.newest,
            on_trouble=lambda kind, text: self.told.append((kind, text)),
            settings=DeskSettings(margin_ms=10_000),
        )

    def die_at(self, method: str) -> None:
        """Let the process die when the desk calls this method of the journal or the gateway; then begin another life."""
        target = self.gateway if hasattr(self.gateway, method) else self.journal

        def die(*_args, **_options):
            raise KeyboardInterrupt

        setattr(target, method, die)

    def restart(self) -> None:
        """Begin another life and learn what became of the first one's orders."""
        for name in ("send", "send_pair", "cancel", "find"):
            self.gateway.__dict__.pop(name, None)
        self.open()
        self.desk.recover()

    def open_sells(self) -> list[str]:
        return [
            name for name, report in self.gateway.orders.items() if report.status == "open" and "b" not in name[-2:]
        ]

    def state_of(self, ticket: Ticket) -> str:
        return self.journal.order(ticket.client_id).state


@pytest.fixture
def place(tmp_path):
    made: list[Place] = []

    def make(**script) -> Place:
        made.append(Place(tmp_path, **script))
        return made[-1]

    yield make
    for each in made:
        each.state.close()


# ---- placed once


@pytest.mark.parametrize(
    "script", [["ok"], ["lost after"], ["lost before"], ["lost before", "lost before", "lost after"]]
)
def test_an_order_is_placed_once_whatever_becomes_of_its_reply(place, script):
    desk = place(sends=script)
    desk.desk.place(entry())
    assert [name for _, name in desk.gateway.placed] == [entry().client_id]
    assert desk.state_of(entry()) == "filled"
    assert desk.journal.order(entry().client_id).executed == SIZE


@pytest.mark.parametrize(
    "late_ms", [0, 1, 19, 20, 21, 500, 2_000, 4_900, 4_999, 5_000, 5_001, 9_000, 14_999, 15_500, 30_000]
)
@pytest.mark.parametrize("ahead_ms", [0, 900, -900, 60_000])
def test_a_request_that_arrives_late_never_meets_a_second_one(place, late_ms, ahead_ms):
    desk = place(sends=[late_ms], exchange_ahead_ms=ahead_ms)
    desk.desk.place(entry())
    desk.time.now_ms += 100_000
    desk.gateway._arrive()
    assert len(desk.gateway.placed) == 1


def test_it_is_sent_again_only_when_the_first_request_cannot_arrive_any_more(place):
    desk = place(sends=["lost before"])
    desk.desk.place(entry())
    (first, _), (second, _) = desk.gateway.sent
    assert second - first > 5_000 + 10_000


def test_certainty_goes_by_the_clock_of_the_exchange(place):
    desk = place(sends=["lost before"])
    slow = {"ms": 0}
    desk.gateway.time_ms = lambda: 1_000_000 + (desk.time() - 1_000_000) // 2 + slow["ms"]  # half as fast as ours
    desk.desk.place(entry())
    (first, _), (second, _) = desk.gateway.sent
    assert second - first > 2 * 15_000


def test_not_to_be_able_to_ask_is_not_to_know_that_it_is_not_there(place):
    desk = place(sends=["lost after"], finds=[LOST] * 40)
    desk.desk.place(entry())
    assert len(desk.gateway.sent) == 1
    assert desk.time() > 1_000_000 + 20_000  # long after the window


def test_a_duplicate_means_that_it_was_taken_before(place):
    desk = place(sends=["lost after", refused("Duplicate order sent.", code=-2010, is_duplicate=True)])
    own = entry(kind="limit")
    desk.gateway._take(own)
    desk.gateway.sends = [refused("Duplicate order sent.", code=-2010, is_duplicate=True)]
    desk.desk.place(own)
    assert len(desk.gateway.placed) == 1
    assert desk.state_of(own) == "open"


def test_what_the_exchange_asks_to_wait_is_waited_and_the_time_stamp_in_the_journal_is_new(place):
    desk = place(sends=[refused("Too many requests.", code=-1003, wait_s=30.0)])
    stamps = []
    desk.gateway.before_send = lambda tickets: stamps.append(
        desk.time() - desk.journal.order(tickets[0].client_id).sent_ms
    )
    desk.desk.place(entry())
    (first, _), (second, _) = desk.gateway.sent
    assert second - first >= 30_000
    assert max(stamps) <= 50, "a restart would take the request for older than it is, and send another"
    assert len(desk.gateway.placed) == 1


# ---- written down before it is sent


def test_the_intent_is_on_the_disk_before_anything_is_sent(place, tmp_path):
    desk = place()
    seen = []

    def look(tickets):
        with StateDatabase(tmp_path / "state.db") as other:
            seen.extend(tuple(row) for row in other.rows("SELECT client_id, state FROM live_orders"))

    desk.gateway.before_send = look
    desk.desk.place(entry())
    assert seen == [(entry().client_id, "intended")]


def test_a_disk_that_is_full_sends_nothing(place, monkeypatch):
    desk = place()

    def full(*_args):
        raise StorageError("the disk is full")

    monkeypatch.setattr(desk.state, "execute", full)
    with pytest.raises(StorageError, match="full"):
        desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    assert desk.gateway.sent == []


def test_a_disk_that_fills_up_after_the_order_was_sent_loses_nothing(place, monkeypatch):
    desk = place()
    own = entry(guard=Guard(0.01, None))
    with monkeypatch.context() as patch:
        patch.setattr(desk.journal, "report", lambda _report: (_ for _ in ()).throw(StorageError("the disk is full")))
        with pytest.raises(StorageError):
            desk.desk.place(own)
    desk.restart()
    assert desk.state_of(own) == "filled"
    assert len(desk.open_sells()) == 1


# ---- refused


def test_an_order_that_lacks_cash_is_refused_once(place):
    desk = place(sends=[refused("Account has insufficient balance", code=-2010, is_cash_short=True)])
    desk.desk.place(entry())
    row = desk.journal.order(entry().client_id)
    assert (row.state, row.is_cash_short, len(desk.gateway.sent)) == ("refused", True, 1)


def test_keys_that_are_refused_stop_everything(place):
    desk = place(sends=[AccessDenied("Invalid API-key", -2015)])
    with pytest.raises(AccessDenied):
        desk.desk.place(entry())
    assert desk.state_of(entry()) == "refused"


def test_a_guard_whose_keys_are_refused_is_placed_at_the_next_start(place):
    desk = place(sends=["ok", AccessDenied("Invalid API-key", -2015)])
    with pytest.raises(AccessDenied):
        desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    desk.restart()
    assert len(desk.open_sells()) == 2


def test_an_order_of_a_bar_that_is_not_the_newest_is_not_sent(place):
    desk = place()
    desk.newest = False
    desk.desk.place(entry())
    assert (desk.gateway.sent, desk.state_of(entry())) == ([], "refused")


def test_a_symbol_that_has_vanished_is_not_asked_about_for_ever(place):
    desk = place(sends=["lost before"], finds=[refused("Invalid symbol.", code=-1121)] * 1_000)
    with pytest.raises(NoAnswer, match="does not tell"):
        desk.desk.place(entry())
    assert desk.state_of(entry()) == "intended"


# ---- asked to stop


def test_a_stop_while_the_fate_is_unknown_leaves_it_to_the_next_start(place):
    desk = place(sends=["lost after"], finds=[LOST] * 3)
    desk.time.is_stopping = True
    with pytest.raises(Stopped):
        desk.desk.place(entry())
    assert desk.state_of(entry()) == "intended"
    desk.time.is_stopping, desk.gateway.finds = False, []
    desk.restart()
    assert (desk.state_of(entry()), len(desk.gateway.placed)) == ("filled", 1)


# ---- guards


def test_a_purchase_is_guarded_by_a_pair_as_soon_as_it_is_filled(place):
    desk = place()
    desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    stop, target = (desk.journal.order(name) for name in desk.open_sells())
    assert (stop.ticket.stop_price, stop.ticket.size) == (Decimal("99.0"), SIZE)
    assert (target.ticket.price, target.ticket.size) == (Decimal("102.0"), SIZE)
    assert stop.ticket.pair == target.ticket.pair


def test_a_guard_that_the_exchange_will_not_have_is_a_sale_at_the_market(place):
    desk = place(sends=["ok", refused("Stop price would trigger immediately.", would_trigger=True)])
    desk.desk.place(entry(guard=Guard(0.01, None)))
    sold = [row for row in desk.journal.guards_of(entry().client_id) if row.ticket.kind == "market"]
    assert [row.executed for row in sold] == [SIZE]


def test_a_purchase_that_fills_in_parts_is_guarded_for_all_that_is_held(place):
    own = entry(kind="limit", guard=Guard(0.01, None))
    desk = place()
    desk.desk.place(own)
    for part in (Decimal("0.5"), Decimal("0.7")):
        desk.gateway.fill(own.client_id, part, "open")
        desk.desk.sync("BTCUSDT")
    desk.gateway.fill(own.client_id, Decimal("0.8"))
    desk.desk.sync("BTCUSDT")
    (only,) = desk.open_sells()
    assert desk.journal.order(only).ticket.size == SIZE


def test_an_order_that_trades_on_between_two_questions_is_asked_for_again(place):
    own = entry(kind="limit")
    desk = place()
    desk.desk.place(own)
    desk.gateway.fill(own.client_id, Decimal("0.5"), "open")
    plain, calls = desk.gateway.executions, []

    def trades(symbol, report):
        calls.append(report.executed)
        if len(calls) == 1:
            desk.gateway.fill(own.client_id, Decimal("0.25"), "open")
        return plain(symbol, report)

    desk.gateway.executions = trades
    desk.desk.sync("BTCUSDT")
    assert calls == [Decimal("0.5"), Decimal("0.75")]
    assert desk.journal.order(own.client_id).executed == Decimal("0.75")


def test_a_guard_is_for_no_more_than_what_is_left_to_guard(place):
    """The ledger asks for a guard before it knows that a part was sold."""
    desk = place()
    own = entry(guard=Guard(0.01, None))
    desk.desk.place(own)
    desk.desk.withdraw(desk.open_sells())
    desk.desk.place(sale(size=Decimal("1.5")))
    legs = legs_for(own, 2.0, (99.0, 102.0), RULES, desk.journal.guards_of(own.client_id))
    desk.desk.place_guard(legs, 120_000)
    assert {desk.journal.order(name).ticket.size for name in desk.open_sells()} == {Decimal("0.5")}


def test_nothing_is_sent_to_guard_what_is_sold_already(place):
    desk = place()
    own = entry(guard=Guard(0.01, None))
    desk.desk.place(own)
    desk.desk.withdraw(desk.open_sells())
    desk.desk.place(sale())
    number = len(desk.gateway.sent)
    desk.desk.place_guard(legs_for(own, 2.0, (99.0, None), RULES, desk.journal.guards_of(own.client_id)), 120_000)
    assert len(desk.gateway.sent) == number
    assert desk.told == []
    desk.restart()
    assert len(desk.gateway.sent) == number


# ---- races


def test_a_cancel_that_comes_too_late_books_the_fill_and_forgoes_the_sale(place):
    desk = place()
    desk.desk.place(entry(guard=Guard(0.01, None)))
    (stop,) = desk.open_sells()
    desk.gateway.fill(stop, SIZE)
    desk.desk.withdraw([stop])
    desk.desk.place(sale(), [stop])
    assert desk.journal.order(stop).state == "filled"
    assert desk.state_of(sale()) == "refused"
    assert sum(name == sale().client_id for _, name in desk.gateway.sent) == 0


@pytest.mark.parametrize("trouble", [[LOST], [refused("busy", wait_s=0.5)], [LOST, LOST, LOST]])
def test_a_cancel_whose_reply_is_lost_is_asked_again(place, trouble):
    desk = place(cancels=trouble)
    own = entry(kind="limit")
    desk.desk.place(own)
    desk.desk.withdraw([own.client_id])
    assert desk.state_of(own) == "cancelled"


def test_an_order_that_the_exchange_forgets_for_a_moment_is_not_given_up(place):
    own = entry(kind="limit")
    desk = place()
    desk.desk.place(own)
    hidden = desk.gateway.orders.pop(own.client_id)
    with pytest.raises(NoAnswer, match="at this moment"):
        desk.desk.sync("BTCUSDT")
    assert desk.state_of(own) == "open"
    desk.gateway.orders[own.client_id] = hidden
    assert desk.desk.sync("BTCUSDT") == []


def test_open_orders_of_others_are_named(place):
    desk = place()
    desk.desk.place(entry(kind="limit"))
    desk.gateway._take(entry(7, kind="limit"))
    assert desk.desk.sync("BTCUSDT") == [entry(7).client_id]


# ---- killed, and started again


@pytest.mark.parametrize("method", ["intend", "send", "report", "send_pair"])
def test_a_life_that_ends_at_any_step_leaves_a_purchase_that_is_known_and_guarded(place, method):
    desk = place()
    own = entry(guard=Guard(0.01, 0.02))
    desk.die_at(method)
    with pytest.raises(KeyboardInterrupt):
        desk.desk.place(own)
    desk.restart()
    if method in {"intend", "send"}:  # the replay decides again
        assert method == "intend" or desk.state_of(own) == "unsent"
        desk.desk.place(own)
    assert [name for _, name in desk.gateway.placed].count(own.client_id) == 1
    assert desk.state_of(own) == "filled"
    assert len(desk.open_sells()) == 2


def test_a_life_that_ends_between_a_refused_guard_and_the_sale_sells_at_the_next_start(place):
    desk = place(sends=["ok", refused("would trigger immediately", would_trigger=True)])
    plain = desk.journal.intend

    def intend(tickets, *rest):
        if tickets[0].kind == "market" and tickets[0].role == "stop":
            raise KeyboardInterrupt
        plain(tickets, *rest)

    desk.journal.intend = intend
    with pytest.raises(KeyboardInterrupt):
        desk.desk.place(entry(guard=Guard(0.01, None)))
    desk.restart()
    assert sum(row.executed for row in desk.journal.guards_of(entry().client_id)) == SIZE


@pytest.mark.parametrize("written", [0, 1])
def test_a_life_that_ends_while_it_writes_down_a_refused_pair_sells_at_the_next_start(place, written):
    desk = place(sends=["ok", refused("would trigger immediately", would_trigger=True)])
    plain, left = desk.journal.refuse, [written]

    def refuse(*args, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        plain(*args, **options)

    desk.journal.refuse = refuse
    with pytest.raises(KeyboardInterrupt):
        desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    desk.gateway.sends = [] if written else [refused("would trigger immediately", would_trigger=True)]
    desk.restart()
    assert sum(row.executed for row in desk.journal.guards_of(entry().client_id)) == SIZE
    assert not desk.open_sells()


def test_a_target_that_the_price_has_passed_is_not_left_alone_by_a_life_that_ends(place):
    """The pair is refused, the sale at the target is placed and not filled, and the process dies."""
    passed = refused("The relationship of the prices for the orders is not correct.", code=-2010)
    desk = place(sends=["ok", passed])
    plain = desk.desk.withdraw

    def withdraw(orders):
        if any(name.endswith("T1") for name in orders):
            raise KeyboardInterrupt
        plain(orders)

    desk.desk.withdraw = withdraw
    with pytest.raises(KeyboardInterrupt):
        desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    assert [name[-2:] for name in desk.open_sells()] == ["T1"]
    desk.restart()
    assert desk.open_sells() == []
    assert desk.journal.held("BTCUSDT") == 0


def test_a_guard_that_was_refused_long_ago_sells_nothing_at_a_start(place):
    desk = place(sends=["ok", refused("would trigger immediately", would_trigger=True), refused("halted")])
    desk.desk.place(entry(guard=Guard(0.01, None)))
    desk.journal.deliver("BTCUSDT", 120_000, 180_000, b"", is_late=False, now_ms=0)
    number = len(desk.gateway.sent)
    desk.restart()
    assert len(desk.gateway.sent) == number


def test_a_life_that_ends_between_two_guards_is_guarded_at_the_next_start(place):
    own = entry(kind="limit", guard=Guard(0.01, None))
    desk = place()
    desk.desk.place(own)
    desk.gateway.fill(own.client_id, Decimal("0.5"), "open")
    desk.desk.sync("BTCUSDT")
    desk.gateway.fill(own.client_id, Decimal("1.5"))
    desk.die_at("intend")
    with pytest.raises(KeyboardInterrupt):
        desk.desk.sync("BTCUSDT")  # the first guard is cancelled, the second not yet there
    assert desk.open_sells() == []
    desk.restart()
    (only,) = desk.open_sells()
    assert desk.journal.order(only).ticket.size == SIZE


def test_a_sale_by_command_that_was_not_sent_is_not_sent_at_the_next_start(place):
    desk = place()
    desk.desk.place(entry())
    desk.die_at("send")
    with pytest.raises(KeyboardInterrupt):
        desk.desk.close_out("BTCUSDT", lambda: SIZE, 120_000, "mbtest")
    desk.restart()
    assert desk.journal.undone() == []
    assert [name for _, name in desk.gateway.placed] == [entry().client_id]
    assert desk.desk.sync("BTCUSDT") == []


def test_a_sale_by_command_cancels_everything_and_sells_what_is_held(place):
    desk = place()
    desk.desk.place(entry(guard=Guard(0.01, 0.02)))
    assert desk.desk.close_out("BTCUSDT", lambda: SIZE, 120_000, "mbtest") == "BTCUSDT: sold 2.0"
    assert desk.open_sells() == []
