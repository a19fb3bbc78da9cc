"""The state database: all or nothing, for threads, processes, kills and full disks; one clear message for each bad day."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bot.errors import StorageError
from bot.state import StateDatabase

STEPS = {"create": ("CREATE TABLE pairs (id INTEGER PRIMARY KEY, side TEXT NOT NULL UNIQUE, twin TEXT)",)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "state.db"


@pytest.fixture
def state(path):
    with StateDatabase(path, busy_seconds=0.3) as opened:
        opened.apply("test", STEPS)
        yield opened


def sides(state):
    return [row["side"] for row in state.rows("SELECT side FROM pairs ORDER BY id")]


def add(state, side):
    state.execute("INSERT INTO pairs (side) VALUES (?)", (side,))


def start(code, *words):
    """Run code in another process; its standard output can be read line by line."""
    head = "import sys\nfrom pathlib import Path\nfrom bot.state import StateDatabase\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_what_was_committed_is_there_after_reopening(path):
    with StateDatabase(path) as state:
        state.apply("test", STEPS)
        with state.transaction():
            add(state, "buy")
            add(state, "sell")
    with StateDatabase(path) as state:
        assert sides(state) == ["buy", "sell"]


def test_every_connection_waits_for_the_disk(state):
    found = []

    def look():
        found.extend(state.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys"))

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert found == ["wal", 2, 1] * 2  # 2 is FULL


def test_an_error_in_the_block_undoes_all_of_it_and_is_raised_as_it_is(state):
    with pytest.raises(ZeroDivisionError), state.transaction():  # noqa: PT012
        add(state, "buy")
        _ = 1 / 0

    assert sides(state) == []


def test_a_part_is_undone_alone(state):
    with state.transaction():
        add(state, "one")
        with pytest.raises(ValueError), state.transaction():  # noqa: PT012
            add(state, "two")
            raise ValueError
        with state.transaction():
            add(state, "three")

    assert sides(state) == ["one", "three"]


def test_a_constraint_is_a_fact_about_rows_not_about_the_disk(state):
    add(state, "buy")

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), state.transaction():  # noqa: PT012
        add(state, "sell")
        add(state, "buy")

    assert sides(state) == ["buy"]


def test_rows_returns_what_an_insert_made_and_execute_how_many_it_changed(state):
    made = state.rows("INSERT INTO pairs (side) VALUES (:side) RETURNING id, side", {"side": "buy"})
    state.execute_many("INSERT INTO pairs (side) VALUES (?)", [("a",), ("b",)])

    assert [tuple(row) for row in made] == [(1, "buy")]
    assert state.execute("UPDATE pairs SET twin = 'x' WHERE id > 1") == 2
    assert state.execute("UPDATE pairs SET twin = 'x' WHERE id > 100") == 0


def test_other_threads_read_the_old_rows_until_the_commit(state):
    seen = []
    add(state, "old")
    with state.transaction():
        add(state, "new")
        reader = threading.Thread(target=lambda: seen.append(sides(state)))
        reader.start()
        reader.join()

    assert seen == [["old"]]
    assert sides(state) == ["old", "new"]


def test_connections_of_threads_that_ended_are_closed(state):
    for _ in range(20):
        thread = threading.Thread(target=lambda: sides(state))
        thread.start()
        thread.join()

    assert len(state._connections) <= 2


def test_threads_and_processes_that_count_together_lose_nothing(path):
    code = (
        "import threading\n"
        "state = StateDatabase(Path(sys.argv[1]), busy_seconds=30)\n"
        "state.apply('count', {'create': ('CREATE TABLE tally (n INTEGER)', 'INSERT INTO tally VALUES (0)')})\n"
        "def work():\n"
        "    for _ in range(15):\n"
        "        with state.transaction():\n"
        "            n = state.rows('SELECT n FROM tally')[0]['n']\n"
        "            state.execute('UPDATE tally SET n = ?', (n + 1,))\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; state.close()\n"
    )
    for process in [start(code, path) for _ in range(4)]:
        assert finish(process) == (0, "", "")

    with StateDatabase(path) as state:
        assert (
            state.rows("SELECT n FROM tally")[0]["n"] == 4 * 2 * 15
        )  # a lost update, or two first steps, would differ


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.07, 0.15])
def test_kill_9_leaves_whole_transactions_and_every_acknowledged_one(path, delay):
    code = (
        "state = StateDatabase(Path(sys.argv[1]))\n"
        "state.apply('test', {'create': ('CREATE TABLE pairs (id INTEGER PRIMARY KEY, side TEXT)',)})\n"
        "print('ready', flush=True)\n"
        "for n in range(100000):\n"
        "    with state.transaction():\n"
        "        state.execute('INSERT INTO pairs (side) VALUES (?)', (f'{n} a',))\n"
        "        state.execute('INSERT INTO pairs (side) VALUES (?)', (f'{n} b',))\n"
        "    print(n, flush=True)\n"
    )
    process = start(code, path)
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    out = process.stdout.read()  # communicate would lose what was read together with the line before
    finish(process)

    with StateDatabase(path, busy_seconds=0) as state:  # the lock died with its holder
        kept = [row["side"] for row in state.rows("SELECT side FROM pairs ORDER BY id")]
        assert state.problems() == []
    told = len(out.split())
    assert kept == [f"{n} {letter}" for n in range(len(kept) // 2) for letter in "ab"]
    assert len(kept) // 2 in {told, told + 1}  # one may be on the disk and not yet told


def test_kill_9_inside_a_transaction_leaves_nothing_of_it(path, state):
    add(state, "before")
    code = (
        "state = StateDatabase(Path(sys.argv[1]))\n"
        "with state.transaction():\n"
        "    state.execute(\"INSERT INTO pairs (side) VALUES ('inside')\")\n"
        "    print('inside', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = start(code, path)
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGKILL)
    finish(process)

    add(state, "after")
    assert sides(state) == ["before", "after"]


def test_another_process_that_holds_the_lock_is_waited_for_then_named(path, state):
    code = (
        "state = StateDatabase(Path(sys.argv[1]))\n"
        "with state.transaction():\n"
        "    print('inside', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = start(code, path)
    assert process.stdout.readline() == "inside\n"
    began = time.monotonic()
    try:
        with pytest.raises(StorageError, match=r"locked by another process \(waited 0.3 s\)"):
            add(state, "buy")
        assert 0.25 < time.monotonic() - began < 5
        assert sides(state) == []  # readers do not wait
    finally:
        process.kill()
        finish(process)


def test_a_full_disk_is_said_and_nothing_of_the_transaction_stays(state):
    add(state, "before")
    pages = state.rows("PRAGMA page_count")[0][0]
    state.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(StorageError, match=r"cannot grow: the disk is full"), state.transaction():  # noqa: PT012
        add(state, "small")
        add(state, "x" * 100_000)

    assert sides(state) == ["before"]
    state.execute("PRAGMA max_page_count = 1000000")  # room again
    add(state, "after")
    assert sides(state) == ["before", "after"]


def test_who_swallows_a_full_disk_inside_a_transaction_commits_nothing(state):
    state.execute(f"PRAGMA max_page_count = {state.rows('PRAGMA page_count')[0][0]}")

    with pytest.raises(StorageError, match=r"undone this transaction|full"), state.transaction():  # noqa: PT012
        with suppress(StorageError), state.transaction():
            add(state, "x" * 100_000)
        add(state, "kept by mistake")
        raise StorageError("the disk is full")  # where SQLite kept the outer transaction

    assert sides(state) == []


def test_a_limit_of_the_system_on_the_size_of_files_is_a_storage_error(path, state):
    add(state, "before")
    code = (
        "import resource\n"
        "from bot.errors import StorageError\n"
        "state = StateDatabase(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try:\n"
        "    with state.transaction():\n"
        "        for n in range(50):\n"
        "            state.execute('INSERT INTO pairs (side) VALUES (?)', (f'{n}' + 'x' * 5000,))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    code, out, err = finish(start(code, path))

    assert (code, err) == (0, "")
    assert "disk is full or failing" in out
    assert sides(state) == ["before"]


def test_a_read_only_file_is_said():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        path = folder / "state.db"
        StateDatabase(path).close()
        path.chmod(0o444)
        folder.chmod(0o555)
        code = (
            "import os\n"
            "if os.geteuid() == 0:\n"
            "    os.seteuid(65534)\n"  # root may write everything
            "StateDatabase(Path(sys.argv[1]))\n"
        )
        code, _, err = finish(start(code, path))
        folder.chmod(0o755)

    assert code == 1
    assert "read-only" in err.splitlines()[-1] or "may not be written" in err.splitlines()[-1]


def test_a_file_of_something_else_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("orders: buy low, sell high\n" * 100)

    with pytest.raises(StorageError, match="is not an SQLite database: move the file away"):
        StateDatabase(path)
    assert path.read_text().startswith("orders: ")


def test_a_damaged_file_is_said(path):
    with StateDatabase(path) as state:
        state.apply("test", STEPS)
        for n in range(300):
            add(state, f"{n}" + "x" * 200)
    data = bytearray(path.read_bytes())
    data[8192:40_000] = b"\xa5" * (40_000 - 8192)
    path.write_bytes(bytes(data))

    with StateDatabase(path) as state:
        assert state.problems()
        with pytest.raises(StorageError, match="is damaged"):
            sides(state)


def test_a_folder_in_its_place_and_a_file_in_place_of_its_folder_are_said(tmp_path):
    (tmp_path / "state.db").mkdir()
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be opened"):
        StateDatabase(tmp_path / "state.db")
    with pytest.raises(StorageError, match="cannot be opened"):
        StateDatabase(tmp_path / "file" / "state.db")


def test_a_file_that_was_deleted_or_replaced_under_us_takes_no_more_rows(path, state):
    with pytest.raises(StorageError, match="deleted or replaced"), state.transaction():  # noqa: PT012
        add(state, "into nowhere")
        path.unlink()
    with pytest.raises(StorageError, match="deleted or replaced"):
        add(state, "buy")

    StateDatabase(path).close()
    with pytest.raises(StorageError, match="deleted or replaced"):
        sides(state)


def test_after_close_nothing_works_and_says_why(path):
    state = StateDatabase(path)
    state.close()
    state.close()

    with pytest.raises(StorageError, match="was closed"):
        state.rows("SELECT 1")


def test_steps_are_taken_once_each_in_order_and_for_each_owner(state):
    state.apply("other", {"create": ("CREATE TABLE other (n INTEGER)",)})
    more = {"create": STEPS["create"], "widen": ("ALTER TABLE pairs ADD COLUMN size TEXT", "UPDATE pairs SET size = 1")}
    add(state, "buy")
    state.apply("test", more)
    state.apply("test", more)

    assert [tuple(row) for row in state.rows("SELECT side, size FROM pairs")] == [("buy", "1")]
    assert [tuple(row) for row in state.rows("SELECT * FROM state_migrations")] == [
        ("other", "create"),
        ("test", "create"),
        ("test", "widen"),
    ]


def test_a_step_that_fails_leaves_the_tables_as_they_were(state):
    wrong = {**STEPS, "second": ("CREATE TABLE extra (n INTEGER)", "CREATE TABLE pairs (n INTEGER)")}

    with pytest.raises(StorageError, match="already exists"):
        state.apply("test", wrong)
    with pytest.raises(StorageError, match="no such table: extra"):
        state.rows("SELECT * FROM extra")


def test_a_file_of_a_newer_program_is_refused(state):
    state.apply("test", {**STEPS, "from_the_future": ()})

    with pytest.raises(StorageError, match=r"newer version of this program \(test has the step 'from_the_future'\)"):
        state.apply("test", STEPS)


def test_a_child_of_fork_has_its_own_connection(path, state):
    add(state, "parent")
    child = os.fork()
    if child == 0:
        try:
            add(state, "child")
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    add(state, "parent again")

    assert sides(state) == ["parent", "child", "parent again"]


def test_wrong_sql_is_a_fault_of_the_caller_not_a_closed_connection(state):
    with pytest.raises(StorageError, match="syntax error"):
        state.rows("SELEKT 1")
    with pytest.raises(sqlite3.ProgrammingError):
        state.rows("SELECT ?", ())
    assert sides(state) == []


def test_only_a_transaction_that_need_not_be_durable_does_not_wait_for_the_disk(state):
    def synchronous() -> int:
        return state.rows("PRAGMA synchronous")[0][0]

    with state.transaction(durable=False):
        add(state, "bar")
        assert synchronous() == 1  # NORMAL
    with state.transaction():
        add(state, "order")
        assert synchronous() == 2  # FULL
    with state.transaction(durable=False):
        add(state, "bar again")
    add(state, "on its own")  # a lone statement is durable again

    assert synchronous() == 2
    assert sides(state) == ["bar", "order", "bar again", "on its own"]
