"""The dashboard in a real browser, over a real server: every part, both themes, phone and desk, and bad days."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from path_models import drifting
from scripted_bot import ScriptedBot

from bot.service.routes.pages import PAGE_POLICY

from .conftest import serving

PARTS = ("market", "accuracy", "models", "live", "runs", "jobs", "pipeline")
LOOKS = {1_280: ("light", "dark"), 390: ("dark", "light")}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NAMELESS = """() => [...document.querySelectorAll(`a, button, input, select, textarea, summary,
        [role=img], [role=region], progress, table`)]
    .filter((each) => each.offsetParent !== null)
    .filter((each) => ![each.getAttribute("aria-label"), each.textContent, each.title,
        ...[...(each.labels ?? [])].map((label) => label.textContent),
        document.getElementById(each.getAttribute("aria-labelledby"))?.textContent].some((name) => name?.trim()))
    .map((each) => each.outerHTML.slice(0, 120))"""
CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const known = new Map();
    const channels = (colour) => {
        if (!known.has(colour)) known.set(colour, painted(colour));
        return known.get(colour);
    };
    const painted = (colour) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const found = channels(getComputedStyle(at).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255, 255];
    };
    const poor = [];
    for (const each of document.querySelectorAll("body *")) {
        const says = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!says || each.offsetParent === null) continue;
        if (each.closest("[aria-disabled=true], :disabled, svg, .skeleton, .chart")) continue;
        const [a, b] = [light(channels(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${each.outerHTML.slice(0, 90)}`);
    }
    return poor;
}"""


def shoot(look, name):
    """Keep a picture where somebody wants to see it."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        look.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def looks(seen, part):
    """Yield a name for each look of a part: at a desk and on a phone, loaded for its width, and there in both themes."""
    for width, themes in LOOKS.items():
        seen.page.set_viewport_size({"width": width, "height": 900})
        seen.page.emulate_media(color_scheme=themes[0])
        seen.anew(part)
        for theme in themes:
            seen.page.emulate_media(color_scheme=theme)
            seen.settle()
            dark = seen.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
            assert (seen.page.evaluate("innerWidth"), dark) == (width, theme == "dark")
            yield f"{part}-{theme}-{width}"


def sound(look):
    """Hold that nothing went wrong: no error, no breach of the policy, nothing asked of another host."""
    assert look.complaints == []
    assert look.foreign() == []
    assert look.overflow() == 0
    assert look.page.evaluate(NAMELESS) == []


def percent(share):
    return f"{100 * share:.1f} %"


# ---------------------------------------------------------------- the files


def test_the_page_is_served_with_its_policy_and_kept_by_its_digest(empty):
    page = httpx.get(f"{empty.url}/")
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == POLICY == PAGE_POLICY
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.get(f"{empty.url}/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert httpx.get(f"{empty.url}/", headers={"If-None-Match": '"other"'}).status_code == 200
    kinds = {"js/main.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}
    for path, kind in kinds.items():
        asset = httpx.get(f"{empty.url}/assets/{path}")
        assert (asset.status_code, asset.headers["content-type"].partition(";")[0]) == (200, kind)
        assert asset.headers["cache-control"] == "no-cache"
    named = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    assert len(named) == 6
    for address in named:
        asset = httpx.get(f"{empty.url}{address}")
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]  # its address changes with any file


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing.js",
        "__init__.py",
        "index.html",
        "js",
        "js/",
        "%2e%2e/app.py",
        "..%2f..%2fapp.py",
        "/etc/passwd",
        "js/%00",
    ],
)
def test_only_the_pages_own_files_are_served(empty, path):
    answer = httpx.get(f"{empty.url}/assets/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_page_script_reads_data_as_html():
    folder = Path(__file__).resolve().parents[3] / "bot" / "service" / "dashboard"
    scripts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.js")]
    assert len(scripts) > 15
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "http://",
        "https://",
    ):
        found = [text for text in scripts if word in text.replace("http://www.w3.org/2000/svg", "")]
        assert found == [], word


def test_a_token_may_ask_what_it_may_do(empty):
    def who(token):
        return httpx.get(f"{empty.url}/api/token", headers={"Authorization": f"Bearer {token}"})

    assert who(empty.token).json() == {"name": "owner", "scope": "write"}
    assert who(empty.read_token).json() == {"name": "reader", "scope": "read"}
    assert who("mlbot_wrong").status_code == 401
    assert httpx.get(f"{empty.url}/api/token").status_code == 401


# ---------------------------------------------------------------- who may look


def test_a_wrong_token_is_told_and_a_right_one_is_kept_in_this_tab_only(look, filled):
    seen = look(filled)
    assert seen.page.locator("#parts").is_hidden()
    seen.log_in("mlbot_wrong")
    seen.page.get_by_role("alert").filter(has_text="This token is wrong, or it was revoked.").wait_for()
    assert [each for each in seen.complaints if "401" not in each] == []
    assert seen.page.evaluate("sessionStorage.length") == 0
    seen.complaints.clear()
    seen.log_in(filled.token)
    seen.page.get_by_role("link", name="Models").wait_for()
    kept = "[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie, location.href]"
    session, *others = seen.page.evaluate(kept)
    assert json.loads(session) == {"token": filled.token}
    assert filled.token not in "".join(others)
    seen.page.reload()
    seen.page.get_by_role("heading", name="Market", level=1).wait_for()
    seen.page.get_by_role("button", name="Log out").click()
    seen.page.locator("#token").wait_for()
    assert seen.page.evaluate("sessionStorage.length") == 0
    sound(seen)
    assert not any(filled.token in address for address in seen.addresses)


def test_a_token_that_was_revoked_asks_for_another(look, changing):
    from bot.service.access import Scope, TokenStore

    tokens = TokenStore(changing.home / "service")
    seen = look(changing, tokens.create("guest", Scope.READ), "models")
    tokens.revoke("guest")
    seen.page.get_by_role("link", name="Runs").click()
    seen.page.get_by_text("The server does not know this token any more").wait_for()
    assert seen.page.evaluate("sessionStorage.length") == 0


def test_with_a_token_that_may_only_read_what_writes_says_why_and_does_nothing(look, filled):
    seen = look(filled, filled.read_token)
    for part, names in {
        "market": ["Predict", "Train…"],
        "models": [re.compile("^Roll back"), re.compile("^Promote")],
        "jobs": ["Train a model"],
    }.items():
        seen.go(part)
        for name in names:
            button = seen.page.get_by_role("button", name=name).first
            assert button.get_attribute("aria-disabled") == "true"
            assert button.get_attribute("title") == "Needs a token of scope write; that of reader may only read."
            button.click(force=True)
    assert seen.page.locator("dialog").count() == 0
    assert seen.sent == []
    sound(seen)


# ---------------------------------------------------------------- every part


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_an_empty_home_says_what_to_run(tour, empty, part):
    seen = tour(empty)
    for name in looks(seen, part):
        state = seen.page.locator("main .state.empty")
        assert state.count() == 1
        assert re.match(r"bot |curl ", state.locator("code").first.inner_text())
        sound(seen)
        assert seen.page.evaluate(CONTRAST) == []
        shoot(seen, f"empty-{name}")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_a_filled_home_fits_and_is_readable(tour, filled, part):
    seen = tour(filled)
    for name in looks(seen, part):
        assert seen.page.locator("main .failed").count() == 0
        if part != "jobs":
            assert seen.page.locator("main .panel").count() > 0
        seen.page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
        sound(seen)
        assert seen.page.evaluate(CONTRAST) == []
        shoot(seen, f"filled-{name}")


def test_the_market_says_what_the_model_says_beside_its_record(look, filled):
    seen = look(filled, filled.token, "market?symbol=BTC_USDT")
    said = filled.ask("/api/predictions?symbol=BTC_USDT&timeframe=1h&type=basic&auto_train=false")
    (model,) = [each for each in filled.ask("/api/models") if each["champion"]]
    text = seen.page.locator("main").inner_text()
    assert f"{said['direction'].title()}, {percent(said['confidence'])}" in text
    assert percent(model["skill"]["direction_accuracy"]) in text
    assert percent(model["skill"]["majority_baseline"]) in text
    assert said["model_info"]["version"] in text
    assert "the built-in market with a planted edge of 0.2" in text
    assert seen.page.get_by_role("img").count() >= 1
    seen.go("market?symbol=SYNTH")
    path = filled.ask("/api/predictions?symbol=SYNTH&timeframe=1h&type=autoregressive&version=newest&auto_train=false")
    assert f"{path['trusted_steps']} of {len(path['predictions'])} steps" in seen.page.locator("main").inner_text()
    assert seen.page.get_by_role("table", name="Steps of the forecast", exact=True).locator("tbody tr").count() == 12
    assert not any("auto_train=true" in address for address in seen.addresses)
    assert seen.sent == []  # looking trains nothing
    sound(seen)


def test_what_is_zoomed_to_is_asked_for_in_finer_groups(look, filled):
    seen = look(filled, filled.token, "market?symbol=BTC_USDT")
    chart = seen.page.locator("main canvas").first
    chart.focus()
    with seen.page.expect_response(lambda answer: "/api/candles" in answer.url) as asked:
        for _ in range(12):
            seen.page.keyboard.press("-")
    table = asked.value.json()
    assert len(table["rows"]) > 1_000
    sound(seen)


def test_accuracy_and_models_stand_beside_interval_and_baselines(look, filled):
    seen = look(filled, filled.token, "accuracy")
    found = filled.ask("/api/accuracy?symbol=BTC_USDT&timeframe=1h&type=basic")
    text = seen.page.locator("main").inner_text()
    overall = found["overall"]
    for share in (overall["accuracy"], overall["stated"], *overall["baselines"].values()):
        assert percent(share) in text
    assert f"{100 * overall['low']:.1f} to {100 * overall['high']:.1f} %" in text
    assert seen.page.locator("main svg").count() >= 2
    seen.go("models")
    (champion,) = [each for each in filled.ask("/api/models") if each["champion"]]
    row = seen.page.get_by_role("row").filter(has_text=champion["version"]).filter(has_text="champion").inner_text()
    skill = champion["skill"]
    assert f"{percent(skill['direction_accuracy'])} right" in row
    assert f"{100 * skill['direction_accuracy_low']:.1f} to {100 * skill['direction_accuracy_high']:.1f} %" in row
    assert f"always the majority {percent(skill['majority_baseline'])}" in row
    assert "calm" in row
    seen.page.get_by_role("link", name=champion["version"]).first.click()
    seen.page.get_by_role("heading", name="Card").wait_for()
    seen.settle()
    assert "Measured on bars that it had not seen" in seen.page.locator(".card").inner_text()
    sound(seen)
    shoot(seen, "filled-card-light-1280")


def test_runs_are_compared_beside_buying_and_holding(look, filled):
    seen = look(filled, filled.token, "runs")
    rows = filled.ask("/api/runs")
    compared = seen.page.get_by_role("table", name="Runs side by side")
    assert compared.locator("thead th").count() == len(rows) == 2
    for row in rows:
        text = compared.inner_text()
        assert f"+{percent(row['figures']['total_return'])}" in text
        assert "a planted edge of 0.2" in seen.page.locator("main").inner_text()
        assert f"buy and hold +{percent(row['figures']['buy_and_hold_return'])}" in text
    seen.page.get_by_role("checkbox", name=f"Compare {rows[0]['run_id']}").uncheck()
    compared.locator("thead th").nth(1).wait_for(state="detached")
    assert rows[1]["run_id"] in seen.page.url
    seen.page.reload()
    seen.settle()
    assert seen.page.get_by_role("checkbox", checked=True).count() == 1
    sound(seen)


def test_live_shows_account_orders_and_why(look, filled):
    seen = look(filled, filled.token, "live?bot=run")
    seen.page.locator("[data-bot=run]").wait_for()
    told = filled.ask("/api/live/run")
    decision = told["symbols"][0]["decision"]["decision"]
    text = seen.page.locator("[data-bot=run]").inner_text()
    assert f"{told['value']:,.2f}" in text
    assert f"{decision['action_words']} — {decision['reason_words']}" in text
    seen.page.get_by_text("Why: every gate with its value and threshold").click()
    shown = seen.page.get_by_role("table", name="Gates").locator("tbody tr")
    assert shown.count() == len(decision["gates"])
    sound(seen)


# ---------------------------------------------------------------- what changes while one looks


def test_a_bot_that_starts_and_stops_is_seen_without_a_reload(look, changing):
    seen = look(changing, changing.token, "live")
    bots = seen.page.get_by_role("list", name="Bots")
    seen.page.get_by_text("updated as it happens").wait_for()
    assert bots.get_by_role("button").count() == 1
    with ScriptedBot(changing.home, bot="another", protections=("daily loss reached",)):
        entry = bots.get_by_role("button").filter(has_text="another")
        entry.filter(has_text="running").wait_for()
        entry.click()
        seen.page.locator("[data-bot=another]").get_by_text("daily loss reached").wait_for()
        shoot(seen, "live-running-light-1280")
    entry.filter(has_text="stopped").wait_for()
    sound(seen)


def test_a_new_candle_brings_a_new_prediction(look, changing):
    from bot.home import Home
    from bot.market.store import CandleStore

    store = CandleStore(Home(changing.home).candles)
    store.write(drifting().slice(0, 3_000), "SYNTH", "synth")
    seen = look(changing, changing.token)
    seen.page.clock.install()
    seen.go("market?symbol=SYNTH")
    seen.page.get_by_text("closed 2018-05-06 00:00").wait_for()
    store.write(drifting().slice(0, 3_001), "SYNTH", "synth")
    seen.page.clock.fast_forward(31_000)
    seen.page.get_by_text("closed 2018-05-06 01:00").wait_for()
    assert "2018-05-06 00:00 UTC" in seen.page.locator(".chart").first.inner_text()  # the newest candle is drawn
    sound(seen)


def test_a_training_is_asked_for_and_watched_to_its_end(look, changing):
    before = len(changing.ask("/api/models"))
    seen = look(changing, changing.token, "market?symbol=BTC_USDT")
    seen.page.get_by_role("button", name="Train…").click()
    dialog = seen.page.get_by_role("dialog", name="Train a model")
    assert dialog.get_by_label("Symbol").input_value() == "BTC_USDT"
    dialog.get_by_label("Family").fill("basic")
    dialog.get_by_label("Days of history").fill("0")
    dialog.get_by_role("button", name="Train").click()
    dialog.get_by_text("Days are 1 to 36,500").wait_for()
    dialog.get_by_label("Days of history").fill("3")
    dialog.get_by_role("button", name="Train").click()
    dialog.get_by_text(re.compile("Too few candles")).wait_for()  # the server's own words, where they were asked for
    seen.complaints.clear()  # a 422 is told by the browser
    dialog.get_by_label("Days of history").fill("")
    dialog.get_by_role("button", name="Train").click()
    row = seen.page.locator("[data-job]")
    row.wait_for()
    shoot(seen, "training-light-1280")
    job = row.get_attribute("data-job")
    row.locator("header .chip", has_text="completed").wait_for(timeout=200_000)
    assert changing.ask(f"/api/jobs/{job}")["status"] == "completed"
    assert len(changing.ask("/api/models")) == before + 1
    seen.go("jobs")
    assert seen.page.locator(f'[data-job="{job}"]').get_by_text("completed").count() == 1
    sound(seen)
    shoot(seen, "filled-jobs-done-light-1280")


def test_a_job_that_runs_is_cancelled(look, changing):
    body = {"symbol": "BTC_USDT", "timeframe": "1h", "type": "basic", "days_history": None}
    job = changing.ask("/api/models/train?wait=0", method="POST", json=body)
    seen = look(changing, changing.token, "jobs")
    row = seen.page.locator(f'[data-job="{job["id"]}"]')
    row.get_by_role("button", name=re.compile("^Cancel")).click()
    row.locator("header .chip", has_text="cancelled").wait_for(timeout=60_000)
    assert changing.ask(f"/api/jobs/{job['id']}")["status"] == "cancelled"
    assert row.get_by_role("button", name=re.compile("^Cancel")).count() == 0
    sound(seen)


def test_a_promotion_and_a_rollback_need_a_reason_that_the_ledger_keeps(look, changing):
    (champion,) = [each for each in changing.ask("/api/models?symbol=BTC_USDT") if each["champion"]]
    other = next(each for each in changing.ask("/api/models?symbol=BTC_USDT") if each["status"] == "superseded")
    seen = look(changing, changing.token, "models")
    seen.page.get_by_role("button", name=f"Promote {other['version']}").click()
    dialog = seen.page.get_by_role("dialog", name=f"Promote {other['version']}")
    shoot(seen, "promote-light-1280")
    dialog.get_by_role("button", name="Promote").click()
    dialog.get_by_text("Give a reason of at least 3 characters").wait_for()
    assert seen.sent == []
    dialog.get_by_label("Reason").fill("looked at by hand")
    dialog.get_by_role("button", name="Promote").click()
    dialog.wait_for(state="detached")
    card = changing.ask(f"/api/models/BTC_USDT/basic/{other['version']}?timeframe=1h")
    assert card["champion"]
    assert card["history"][-1]["reason"] == "looked at by hand (by owner, over the service)"
    seen.settle()
    seen.page.get_by_role("button", name=re.compile("^Roll back")).click()
    dialog = seen.page.get_by_role("dialog")
    seen.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert changing.ask(f"/api/models/BTC_USDT/basic/{other['version']}?timeframe=1h")["champion"]
    seen.page.get_by_role("button", name=re.compile("^Roll back")).click()
    dialog.get_by_label("Reason").fill("on second thoughts")
    dialog.get_by_role("button", name="Roll back").click()
    dialog.wait_for(state="detached")
    assert changing.ask(f"/api/models/BTC_USDT/basic/{champion['version']}?timeframe=1h")["champion"]
    sound(seen)


# ---------------------------------------------------------------- bad days


def test_a_server_that_went_away_is_told_and_tried_again(look, own):
    with serving(own) as server:
        seen = look(server, server.token, "models")
    seen.page.get_by_role("link", name="Runs").click()
    failed = seen.page.locator("main .failed")
    failed.get_by_text("The server does not answer").wait_for()
    shoot(seen, "gone-light-1280")
    with serving(own, int(server.url.rpartition(":")[2]), server):
        failed.get_by_role("button", name="Try again").click()
        seen.page.get_by_role("table", name="Runs side by side").wait_for()
        assert seen.page.locator("main .failed").count() == 0


def test_what_is_not_there_says_so_in_the_servers_words(look, filled):
    seen = look(filled, filled.token, "models?symbol=BTC_USDT&type=basic&timeframe=1h&version=2020-01-01T000000Z_1h_v1")
    failed = seen.page.locator("main .failed")
    assert failed.get_by_role("heading").inner_text() == "There is no such model"
    assert "2020-01-01T000000Z_1h_v1" in failed.inner_text()
    assert failed.get_by_role("button", name="Try again").count() == 1


def test_a_name_that_looks_like_a_page_stays_text(look, changing):
    folder = next(iter(sorted((changing.home / "runs").iterdir())))
    result = folder / "result.json"
    document = json.loads(result.read_text())
    document["name"] = '<img src=x onerror="document.title=1"><b>bold</b>'
    result.write_text(json.dumps(document))
    seen = look(changing, changing.token, "runs")
    assert seen.page.get_by_text('<img src=x onerror="document.title=1"><b>bold</b>').count() >= 2
    assert seen.page.locator("main img, main b:text-is('bold')").count() == 0
    sound(seen)


def test_a_breach_of_the_policy_would_be_seen(look, empty):
    seen = look(empty, empty.token)
    seen.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.breached = true";
        document.body.append(script);
        fetch("https://example.invalid/").catch(() => {});
    }""")
    seen.page.wait_for_timeout(200)
    assert seen.page.evaluate("window.breached") is None
    assert any("Content Security Policy" in each for each in seen.complaints)


def test_a_model_that_says_nothing_says_why(look, changing):
    from bot.home import Home
    from bot.market.store import CandleStore

    CandleStore(Home(changing.home).candles).write(drifting().slice(0, 40), "SYNTH", "synth")
    question = "symbol=SYNTH&timeframe=1h&type=autoregressive&version=newest&auto_train=false"
    seen = look(changing, changing.token, "market?symbol=SYNTH")
    assert changing.ask(f"/api/predictions?{question}")["status"] == "warming"
    silent = seen.page.get_by_role("region", name="Prediction")
    assert silent.locator(".chip").inner_text() == "warming"
    assert "There are too few candles before this one" in silent.inner_text()
    sound(seen)
    shoot(seen, "warming-light-1280")


# ---------------------------------------------------------------- how it is used


def test_the_theme_follows_the_system_until_one_is_chosen_and_that_is_remembered(look, empty):
    seen = look(empty, empty.token, theme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = seen.page.evaluate(paper)
    seen.page.emulate_media(color_scheme="light")
    light = seen.page.evaluate(paper)
    assert dark != light
    button = seen.page.get_by_role("button", name="Theme")
    assert button.inner_text() == "Theme: system"
    button.click()
    button.click()
    assert (button.inner_text(), seen.page.evaluate(paper)) == ("Theme: dark", dark)
    seen.page.reload()
    seen.page.wait_for_selector("main h1")
    assert (button.inner_text(), seen.page.evaluate(paper)) == ("Theme: dark", dark)
    button.click()
    assert (button.inner_text(), seen.page.evaluate(paper)) == ("Theme: system", light)
    sound(seen)


def test_the_keyboard_is_enough_to_log_in_and_to_change_the_part(look, filled):
    seen = look(filled)
    page = seen.page
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.type(filled.token)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Market", level=1).wait_for()
    page.evaluate("document.activeElement.blur()")
    words = """(() => {
        const at = document.activeElement;
        return [at === document.body ? null : at.textContent, getComputedStyle(at).outlineStyle];
    })()"""
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(words))
        if reached[-1][0] == "Models":
            break
    assert reached[-1][0] == "Models"
    assert all(outline != "none" for text, outline in reached if text is not None)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Models", level=1).wait_for()
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.get_by_role("link", name="Models", exact=True).get_attribute("aria-current") == "page"
    seen.settle()
    page.keyboard.press("Tab")  # on into the part
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    sound(seen)


def test_the_page_has_its_landmarks_and_a_place_for_news(look, empty):
    seen = look(empty, empty.token, "models")
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert seen.page.get_by_role(role).count() == 1
    status = seen.page.locator("[role=status]")
    assert status.get_attribute("aria-live") == "polite"
    assert seen.page.title() == "Models · mlbot"
    assert seen.page.evaluate("document.documentElement.lang") == "en"
    assert seen.page.locator("h1").count() == 1
