"""The page as people meet it, in a real browser: what it shows, by mouse and by keyboard, in both widths and schemes."""

from __future__ import annotations

import json

import pytest

WIDTHS = pytest.mark.parametrize("width", [1280, 390])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
KEY = "apex-Bf9uKp4cXo6GjTn1ZeAi"
LIVE = "document.getElementById('connection').textContent === 'live'"
FITS = "document.documentElement.scrollWidth === document.documentElement.clientWidth"
#: Everything the keyboard can reach, that can be seen.
REACHABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((element) => !element.disabled && element.checkVisibility({ visibilityProperty: true }) && element.tabIndex >= 0)"""
NAME = "document.activeElement.dataset.walk ?? document.activeElement.tagName"


def chat_frame(text, **more):
    return {"choices": [{"index": 0, "delta": {"content": text}, **more}], "usage": None}


class TestSight:
    @WIDTHS
    @SCHEMES
    def test_everything_is_there_and_nothing_sticks_out(self, look, width, scheme):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            page = await tab.text("main")
            for expected in (
                "Requests per second", "Requests under way", "Decisions", "Tokens and cost by model", "Tokens and cost by user",
                "Try it", "Events", "Limits", "Workers", "failures in a row", "probe in 18", "degraded", "switched off",
                "alice-laptop", "1.24", "east, large: closed to open", "1,000 of 1,000 tokens", "0 (41)", "61\u202fMB",
                "/etc/apex-llm/config.toml", "1 warning of the configuration",
            ):  # fmt: skip
                assert expected in page, expected
            assert await tab.js(FITS)
            for panel in (
                "figures",
                "traffic",
                "providers",
                "live",
                "decisions",
                "usage",
                "users",
                "try",
                "events",
                "limits",
            ):
                box = await tab.js(f"document.getElementById('{panel}').getBoundingClientRect().toJSON()")
                assert 0 <= box["left"] < box["right"] <= width, panel
                inside = f"[...document.querySelectorAll('#{panel} *')].filter((one) => one.checkVisibility())"
                reach = await tab.js(f"Math.max(...{inside}.map((one) => one.getBoundingClientRect().right))")
                assert reach <= width, panel

        look(story, width=width, scheme=scheme)

    def test_the_scheme_of_the_system_is_followed_until_one_is_chosen(self, look):
        ground = "getComputedStyle(document.body).backgroundColor"

        async def story(tab, _gateway):
            await tab.until(LIVE)
            dark = await tab.js(ground)
            seen = []
            for _ in range(3):
                await tab.click("#theme")
                seen.append((await tab.text("#theme"), await tab.js(ground) == dark))
            assert seen == [("Theme: light", False), ("Theme: dark", True), ("Theme: system", True)]
            await tab.click("#theme")
            await tab.send("Page.reload")
            await tab.until(f"{LIVE} && document.getElementById('theme').textContent === 'Theme: light'")
            assert await tab.js(ground) != dark

        look(story, scheme="dark")

    def test_what_is_not_known_is_no_zero(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            models = await tab.js("[...document.querySelectorAll('#usage tbody tr')].map((row) => row.innerText)")
            assert [row.split()[-1] for row in models] == ["1.24", "unknown"]
            assert "0.24 + 40 unknown" in await tab.text("#users")
            assert "without 40 requests of unknown cost" in await tab.text("#figures")
            assert "\u2013" in await tab.text("#providers")

        look(story)

    def test_a_gateway_nobody_has_used_says_how_to_use_it(self, look, pretending):
        async def story(tab, gateway):
            await tab.until(LIVE)
            page = await tab.text("main")
            for expected in (
                "no requests", "Nothing is under way", "No request was routed yet", "No request ended yet", "No limit is configured",
                f"curl {gateway.url}v1/chat/completions", '"model":"mock-small"', "open to everybody on this machine",
            ):  # fmt: skip
                assert expected in page, expected
            gateway.state["totals"]["requests"] = 1
            gateway.publish()
            await tab.until("!document.getElementById('first').checkVisibility()")

        look(story, pretending.empty())

    def test_narrow_rows_of_decisions_use_the_width_for_names(self, look, pretending):
        state = pretending.busy()
        for each in state["decisions"]:
            each.update(model="mock-embed", operation="embed", outcome="context_length_exceeded_error")
            each["candidates"][0].update(
                verdict="taken", provider="primary-azure-eastus-production-with-a-long-name", model="mock-embed"
            )
        lines = """((selector) => [...document.querySelectorAll(selector)].map((one) => {
            const style = getComputedStyle(one);
            return Math.round(one.getBoundingClientRect().height / parseFloat(style.lineHeight));
        }))"""

        async def story(tab, _gateway):
            await tab.until(LIVE)
            assert set(await tab.js(f"{lines}('.decisions .where')")) <= {1, 2}
            # Model and operation, each whole on its line, beside a long outcome.
            assert set(await tab.js(f"{lines}('.decisions .what b')")) == {1}
            assert set(await tab.js(f"{lines}('.decisions .what .muted')")) == {1}

        look(story, state, width=390)

    @pytest.mark.parametrize("width", [390, 360, 320, 600])
    def test_every_section_can_be_reached_without_scrolling_the_navigation(self, look, width):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            assert await tab.js(
                "document.querySelector('nav').scrollWidth <= document.querySelector('nav').clientWidth"
            )
            ends = await tab.js(
                "[...document.querySelectorAll('nav a')].map((one) => one.getBoundingClientRect().right)"
            )
            assert len(ends) == 7
            assert max(ends) <= width

        look(story, width=width)

    def test_states_of_breakers_are_not_split_beside_long_names(self, look, pretending):
        state = pretending.busy()
        for one in (model for provider in state["providers"] for model in provider["models"]):
            one["model"] = "gpt-4o-mini-2024-07-18-provisioned-throughput"
            one["weight_factor"] = 0.059
            one["breaker"].update(state="closed", reason="", retry_after=0.0, states={})

        async def story(tab, _gateway):
            await tab.until(LIVE)
            # One box for each line of text.
            split = """[...document.querySelectorAll('.providers td .badge')].map((one) => {
                const range = document.createRange();
                range.selectNodeContents(one.lastChild);
                return [one.innerText, range.getClientRects().length];
            }).filter(([text, lines]) => lines > text.trim().split(" ").length)"""
            assert await tab.js(split) == []

        look(story, state, width=1190)

    @WIDTHS
    def test_names_are_texts_whatever_they_hold(self, look, pretending, width):
        state = pretending.busy()
        for each in state["providers"]:
            each.update(name=HOSTILE + each["name"], region=HOSTILE, health_message=HOSTILE)
            for one in each["models"]:
                one.update(model=HOSTILE, provider_model_id=HOSTILE * 2)
                one["breaker"].update(reason=HOSTILE)
        for each in (*state["live"], *state["decisions"], *state["usage"]["by_model"], *state["events"]):
            each.update(model=HOSTILE, provider=HOSTILE)
        for each in state["live"]:
            each.update(request_id=HOSTILE, user=HOSTILE, operation=HOSTILE)
        for each in state["decisions"]:
            each.update(outcome=HOSTILE, needs=[HOSTILE])
            each["candidates"][0].update(provider=HOSTILE, model=HOSTILE, reason=HOSTILE, score={HOSTILE: HOSTILE})
        state["events"][0].update(text=HOSTILE, type=HOSTILE)
        state["limits"][0].update(limit=HOSTILE, subject=HOSTILE)
        state["usage"]["by_user"][0]["user"] = HOSTILE
        state["gateway"].update(version=HOSTILE, warnings=[HOSTILE], config_files=[HOSTILE])

        async def story(tab, gateway):
            gateway.frames = [chat_frame(HOSTILE), {"error": {"message": HOSTILE}}]
            await tab.until(LIVE)
            await tab.js("document.querySelectorAll('details').forEach((one) => (one.open = true))")
            await tab.until("document.querySelector('.why .part')")
            await tab.focus("#chat-prompt")
            await tab.write(HOSTILE)
            await tab.press("Enter")
            await tab.until("document.querySelector('.log .refusal')")
            shown = await tab.js("document.body.textContent")
            assert shown.count(HOSTILE) > 40
            assert await tab.js("document.images.length + document.querySelectorAll('body script').length") == 1
            assert await tab.js("window.harmed === undefined")
            assert await tab.js(FITS)

        look(story, state, width=width)


class TestCharts:
    def test_values_are_read_by_the_arrow_keys(self, look):
        told = "document.activeElement.getAttribute('aria-valuetext')"

        async def story(tab, _gateway):
            await tab.until(LIVE)
            await tab.focus("#traffic .surface")
            assert (await tab.js(told)).startswith("last 10\u202fmin: failed 3, all ")
            await tab.press("ArrowLeft", times=2)
            assert "2 rate limit error, 1 timeout error: failed 3, all 9" in await tab.js(told)
            assert "failed 3 all 9" in " ".join((await tab.text("#traffic .legend")).split())
            assert await tab.js("document.querySelectorAll('.cursor line').length") == 1
            await tab.press("Home")
            assert await tab.js("document.activeElement.getAttribute('aria-valuenow')") == "0"
            await tab.press("Escape")
            assert (await tab.js(told)).startswith("last 10")

        look(story)

    def test_the_pointer_tells_the_bucket_below_it(self, look):
        async def story(tab, _gateway):
            await tab.until("document.querySelectorAll('#traffic .marks rect').length > 200")
            box = await tab.js(
                "document.querySelector('#traffic .marks rect:nth-last-of-type(2)').getBoundingClientRect().toJSON()"
            )
            at = {"x": box["x"] + box["width"] / 2, "y": box["y"]}
            await tab.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
            await tab.until(
                "document.querySelector('#traffic .legend').innerText.replace(/\\s+/g, ' ') === 'failed 3 all 9'"
            )

        look(story)

    def test_every_bucket_with_requests_is_drawn(self, look, pretending):
        state = pretending.empty()
        state["series"]["buckets"][7].update(requests=3)
        state["series"]["buckets"][9].update(requests=2000, errors={"timeout_error": 1}, p50=0.5, p95=2.0)

        async def story(tab, _gateway):
            await tab.until("document.querySelector('#traffic .marks rect')")
            bars = await tab.js(
                "[...document.querySelectorAll('#traffic .marks')[0].querySelectorAll('rect')].map((one) => one.className.baseVal)"
            )
            assert bars == ["first", "bad", "first"]
            error = await tab.js("document.querySelector('#traffic rect.bad').getBoundingClientRect().height")
            assert error >= 2
            assert "M" in await tab.js("document.querySelector('#traffic path.second').getAttribute('d')")

        look(story, state)

    def test_a_table_says_the_same_as_the_chart(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            await tab.click("#traffic .chart button")
            rows = await tab.js(
                "[...document.querySelectorAll('#traffic .values tbody tr')].map((row) => row.innerText.split('\\t'))"
            )
            assert len(rows) == 120
            assert rows[1][1:] == ["3", "9"]
            assert (
                await tab.js("document.querySelector('#traffic .chart button').getAttribute('aria-expanded')") == "true"
            )

        look(story)


class TestKeyboard:
    @WIDTHS
    def test_tab_reaches_everything_and_the_focus_is_seen(self, look, width):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            expected = await tab.js(f"{REACHABLE}.map((element, index) => (element.dataset.walk = String(index)))")
            assert len(expected) > 40
            # The page follows its feed while we walk; nothing of that may move the focus.
            walked = []
            for _ in expected:
                await tab.press("Tab")
                walked.append(await tab.js(NAME))
                style = await tab.js("getComputedStyle(document.activeElement).outlineStyle")
                assert style != "none" or walked[-1] == "0", walked[-1]
            assert walked == expected
            await tab.press("Tab", shift=True)
            assert await tab.js(NAME) == expected[-2]

        look(story, width=width)

    def test_everything_that_can_be_used_has_a_name_and_every_head_its_scope(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            await tab.send("Accessibility.enable")
            tree = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
            usable = {
                "button",
                "link",
                "textbox",
                "combobox",
                "slider",
                "table",
                "dialog",
                "log",
                "region",
                "searchbox",
            }
            found = [
                (node["role"]["value"], node.get("name", {}).get("value", "").strip())
                for node in tree
                if not node["ignored"] and node["role"]["value"] in usable
            ]
            assert {role for role, _ in found} >= {"button", "link", "textbox", "combobox", "slider", "table", "log"}
            assert [role for role, name in found if not name] == []
            assert await tab.js("document.querySelectorAll('th:not([scope])').length") == 0
            assert await tab.js("[...document.querySelectorAll('table')].every((table) => table.caption)")

        look(story)

    def test_the_first_stop_leads_to_the_content(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            await tab.press("Tab")
            assert await tab.js("document.activeElement.className") == "skip"
            await tab.press("Enter")
            await tab.until("document.activeElement.id === 'content'")

        look(story)

    def test_states_that_arrive_leave_the_focus_where_it_is(self, look, pretending):
        button = "#providers tbody:nth-of-type(2) tr:nth-child(2) button:not([hidden])"

        async def story(tab, gateway):
            await tab.until(LIVE)
            await tab.focus(button)
            gateway.state["providers"].insert(0, pretending.provider("another", pretending.model("new")))
            gateway.state["providers"][1]["models"][0]["latency"] = 3.0
            gateway.publish()
            await tab.until("document.getElementById('providers').innerText.includes('another')")
            assert await tab.js("document.activeElement.getAttribute('aria-label')") == "Open large at west"

        look(story)


class TestBreakers:
    ISOLATE = '[aria-label="Isolate large at west"]'

    def test_they_are_moved_by_keyboard_after_a_question(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            await tab.focus(self.ISOLATE)
            await tab.press("Enter")
            assert "Isolate large at west?" in await tab.text("dialog[open]")
            assert await tab.js("document.activeElement.textContent") == "Cancel"
            await tab.press("Tab")
            await tab.press("Enter")
            await tab.until("!document.querySelector('dialog[open]')")
            assert (
                "POST",
                "/admin/breakers",
                {"provider": "west", "model": "large", "action": "isolate"},
            ) in gateway.asked
            await tab.until_says("isolated", "#providers")
            # The button that was pressed is not offered any more; the one that undoes it has the focus.
            await tab.until("document.activeElement.getAttribute('aria-label') === 'Close large at west'")
            assert await tab.js("document.getElementById('announcements').textContent") == "1 breaker moved."

        look(story)

    def test_escape_changes_nothing(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            await tab.focus(self.ISOLATE)
            await tab.press("Enter")
            await tab.press("Escape")
            await tab.until("!document.querySelector('dialog[open]')")
            assert not [asked for asked in gateway.asked if asked[0] == "POST"]
            assert await tab.js("document.activeElement.getAttribute('aria-label')") == "Isolate large at west"

        look(story)

    def test_all_models_of_a_provider_are_moved_at_once(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            await tab.click('[aria-label="Isolate all models of east"]')
            await tab.click("#confirm-yes")
            await tab.until_says("Close all", "#providers")
            assert ("POST", "/admin/breakers", {"provider": "east", "action": "isolate"}) in gateway.asked

        look(story)

    def test_a_refusal_is_told_where_the_question_was(self, look):
        async def story(tab, gateway):
            gateway.refusals["/admin/breakers"] = 404
            await tab.until(LIVE)
            await tab.click(self.ISOLATE)
            await tab.click("#confirm-yes")
            await tab.until_says("Refused with 404.", "dialog[open]")
            assert await tab.js("document.getElementById('confirm-yes').disabled") is False

        look(story)

    def test_what_is_switched_off_offers_nothing(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            labels = await tab.js(
                "[...document.querySelectorAll('#providers button:not([hidden])')].map((one) => one.getAttribute('aria-label'))"
            )
            assert labels == [
                "Isolate all models of east",
                "Isolate large at east",
                "Close large at east",
                "Open small at east",
                "Isolate small at east",
                "Open large at west",
                "Isolate large at west",
            ]

        look(story)

    def test_workers_that_disagree_are_told(self, look, pretending):
        state = pretending.busy()
        state["providers"][0]["models"][0]["breaker"]["states"] = {"open": 1, "closed": 2}

        async def story(tab, _gateway):
            await tab.until_says("open in 1 worker, closed in 2 workers", "#providers")

        look(story, state)


class TestDecisions:
    def test_one_is_opened_by_enter_and_says_why(self, look):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            await tab.focus("#decisions summary")
            await tab.press("Enter")
            await tab.until("document.querySelector('#decisions .why table')")
            why = " ".join((await tab.text("#decisions .why")).split())
            for expected in ("Strategy cost", "Rule eu-only", "about 312 tokens", "failed", "service_unavailable_error", "taken", "cost 0.0041", "input cost unknown"):  # fmt: skip
                assert expected in why, expected

        look(story)

    def test_the_list_stands_still_while_one_is_read(self, look, pretending):
        times = "document.querySelectorAll('#decisions details').length"

        async def story(tab, gateway):
            await tab.until(LIVE)
            await tab.click("#decisions summary")
            gateway.state["decisions"].insert(0, pretending.decision("decided-0", outcome="cancelled"))
            gateway.publish()
            await tab.until_says("standing still", "#decisions")
            assert await tab.js(times) == 2
            await tab.click("#decisions summary")
            gateway.publish()
            await tab.until(f"{times} === 3")

        look(story)

    def test_many_are_shown_when_asked_for(self, look, pretending):
        state = pretending.empty()
        state["decisions"] = [pretending.decision(f"decided-{position}") for position in range(30)]

        async def story(tab, _gateway):
            await tab.until("document.querySelectorAll('#decisions details').length === 12")
            await tab.click("#decisions .further button")
            assert await tab.js("document.querySelectorAll('#decisions details').length") == 30

        look(story, state)


class TestKey:
    def test_it_is_asked_for_kept_by_the_tab_and_forgotten(self, look):
        async def story(tab, _gateway):
            await tab.until("document.body.dataset.view === 'sign-in' && document.activeElement.id === 'key'")
            assert "east" not in await tab.text("body")
            assert await tab.text("#key-refused") == ""
            await tab.write("apex-a-key-nobody-knows")
            await tab.press("Enter")
            await tab.until_says("This key is not known here.", "#sign-in")
            assert await tab.js("sessionStorage.length") == 0
            await tab.write(KEY)
            await tab.press("Enter")
            await tab.until(LIVE)
            assert await tab.js(
                "[...Array(sessionStorage.length).keys()].map((at) => sessionStorage.getItem(sessionStorage.key(at)))"
            ) == [KEY]
            kept = "JSON.stringify(localStorage) + document.cookie + document.documentElement.outerHTML + document.getElementById('key').value"
            assert KEY not in await tab.js(kept)
            await tab.send("Page.reload")
            await tab.until(LIVE)
            await tab.click("#sign-out")
            await tab.until("document.body.dataset.view === 'sign-in'")
            assert await tab.js("sessionStorage.length") == 0
            assert "east" not in await tab.js("document.querySelector('main').textContent")

        look(story, key=KEY)

    def test_one_that_no_header_takes_is_refused_at_once(self, look):
        async def story(tab, gateway):
            await tab.until("document.activeElement.id === 'key'")
            before = len(gateway.asked)
            await tab.write("Schlüssel")
            await tab.press("Enter")
            await tab.until_says("none but ASCII", "#sign-in")
            assert len(gateway.asked) == before

        look(story, key=KEY)

    def test_an_open_gateway_asks_for_none(self, look, pretending):
        async def story(tab, _gateway):
            await tab.until(LIVE)
            assert not await tab.js(
                "document.getElementById('sign-in').checkVisibility() || document.getElementById('sign-out').checkVisibility()"
            )

        look(story, pretending.empty())


class TestConnection:
    def test_states_are_shown_as_they_come(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            gateway.state["live_count"] = 4321
            gateway.publish()
            await tab.until_says("4,321", "#figures")
            gateway.happen(
                {
                    "at": 1.0,
                    "type": "fell_back",
                    "text": "large went from east to west",
                    "provider": None,
                    "model": None,
                    "severity": "warning",
                }
            )
            await tab.until_says("large went from east to west", "#events")

        look(story)

    def test_a_lost_one_is_told_and_taken_up_again(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            gateway.refusals["/admin/state"] = 503
            gateway.hang_up()
            await tab.until_says("The connection is lost", "#lost")
            await tab.until("document.getElementById('connection').textContent.startsWith('lost')")
            assert await tab.js("document.body.hasAttribute('data-stale')")
            assert "east" in await tab.text("#providers")
            gateway.refusals.clear()
            await tab.click("#lost button")
            await tab.until(
                f"{LIVE} && !document.getElementById('lost').checkVisibility() && !document.body.hasAttribute('data-stale')"
            )

        look(story)

    def test_it_comes_back_by_itself(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            gateway.hang_up()
            await tab.until("!document.getElementById('lost').hidden")
            await tab.until(LIVE)

        look(story)

    def test_a_gateway_that_never_answered_is_told(self, look):
        async def story(tab, gateway):
            gateway.refusals["/admin/state"] = 500
            await tab.send("Page.reload")
            await tab.until_says("refused with 500", "#unreachable")
            gateway.refusals.clear()
            await tab.click("#try-now")
            await tab.until(LIVE)

        look(story)

    def test_one_that_stops_says_so(self, look):
        async def story(tab, gateway):
            await tab.until(LIVE)
            gateway.state["gateway"].update(draining=True, ready=False)
            gateway.publish()
            await tab.until_says("This gateway is stopping", "#notices")

        look(story)


class TestChat:
    def test_answers_stream_in_with_where_they_came_from(self, look):
        async def story(tab, gateway):
            origin = {"provider": "west", "model": "large", "attempts": 2}
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            last = {"choices": [], "usage": usage, "x_apex": origin}
            gateway.frames = [chat_frame("Hello"), None, chat_frame(" there.", finish_reason="stop"), last]
            await tab.until(f"{LIVE} && document.querySelectorAll('#chat-model option').length === 5")
            await tab.js("document.getElementById('chat-model').value = 'west/large'")
            await tab.focus("#chat-prompt")
            await tab.write("Hi!")
            await tab.press("Enter")
            await tab.until("document.querySelector('.answer').textContent === 'Hello'")
            assert await tab.text(".chat .primary") == "Stop"
            gateway.go_on.set()
            await tab.until_says("Hello there.", ".log")
            await tab.until_says("west, large", ".log")
            note = await tab.text(".log .note")
            for expected in ("first chunk", "9 + 4 tokens", "cost unknown", "2 attempts"):
                assert expected in note, expected
            await tab.write("And?")
            await tab.press("Enter")
            await tab.until("document.querySelectorAll('.log article').length === 2")
            asked = [body["messages"] for method, path, body in gateway.asked if path == "/v1/chat/completions"]
            assert [message["content"] for message in asked[-1]] == ["Hi!", "Hello there.", "And?"]
            assert [body["model"] for _, path, body in gateway.asked if path == "/v1/chat/completions"] == [
                "west/large"
            ] * 2

        look(story)

    def test_why_it_went_there_is_one_step_away(self, look):
        async def story(tab, gateway):
            gateway.frames = [chat_frame("Hello")]
            await tab.until(f"{LIVE} && document.querySelector('#chat-model option')")
            await tab.focus("#chat-prompt")
            await tab.write("Hi!")
            await tab.press("Enter")
            await tab.until("document.querySelector('.log .note button')")
            await tab.click(".log .note button")
            await tab.until("document.querySelector('#decisions details[open] .why')")
            assert "decided-1" in await tab.text("#decisions .why")
            assert await tab.js("document.activeElement.tagName") == "SUMMARY"

        look(story)

    def test_one_under_way_can_be_stopped(self, look):
        async def story(tab, gateway):
            gateway.frames = [chat_frame("Hello"), None]
            await tab.until(f"{LIVE} && document.querySelector('#chat-model option')")
            await tab.focus("#chat-prompt")
            await tab.write("Hi!")
            await tab.press("Enter")
            await tab.until_says("Hello", ".log .answer")
            await tab.click(".chat .primary")
            await tab.until_says("stopped", ".log .note")
            gateway.go_on.set()

        look(story)

    @pytest.mark.parametrize("whole", [True, False])
    def test_failures_are_told(self, look, whole):
        async def story(tab, gateway):
            gateway.frames = [
                chat_frame("Hel"),
                {"error": {"message": "west broke off", "type": "server_error", "code": None}},
            ]
            if whole:
                gateway.refusals["/v1/chat/completions"] = 429
            await tab.until(f"{LIVE} && document.querySelector('#chat-model option')")
            await tab.focus("#chat-prompt")
            await tab.write("Hi!")
            await tab.press("Enter")
            await tab.until_says("Refused with 429." if whole else "West broke off.", ".log .refusal")
            assert await tab.text(".chat .primary") == "Send"

        look(story)


def test_the_page_is_closed_to_what_is_put_into_it(look):
    async def story(tab, _gateway):
        await tab.until(LIVE)
        await tab.js(
            "window.refused = []; document.addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective))"
        )
        inserted = json.dumps(
            HOSTILE + '<style>body { display: none }</style><p style="color: red" onclick="harmed = 1"></p>'
        )
        await tab.js(
            f"document.body.insertAdjacentHTML('beforeend', {inserted}); document.querySelector('p[onclick]').click()"
        )
        await tab.js(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.harmed = 1'}))"
        )
        await tab.js("fetch('http://127.0.0.1:9/').catch(() => {})")
        await tab.until("refused.length >= 6")
        assert await tab.js("window.harmed === undefined")
        assert set(await tab.js("refused")) == {
            "img-src",
            "style-src-elem",
            "style-src-attr",
            "script-src-elem",
            "script-src-attr",
            "connect-src",
        }
        tab.problems.clear()

    look(story)
