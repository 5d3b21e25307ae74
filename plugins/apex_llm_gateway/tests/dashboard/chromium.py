"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
from contextlib import asynccontextmanager

import aiohttp

#: Seconds that anything may take before it counts as hanging.
PATIENCE = 20.0
#: Names of keys with their Windows key codes and the text they type.
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "End": (35, ""),
    "Home": (36, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
}
SHIFT = 8


class Chromium:
    """The process; tabs of it share nothing.

    Args:
        program: the path of the executable.
        folder: for its profile.
    """

    def __init__(self, program, folder):
        arguments = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
        )
        self._process = subprocess.Popen(
            [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for line in self._process.stderr:
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                self._address = found[1]
                return
        self.close()
        raise RuntimeError("Chromium did not start")

    def close(self):
        self._process.kill()
        self._process.communicate()

    @asynccontextmanager
    async def tab(self, *, width=1280, height=900, scheme="light"):
        """Open a tab with a profile of its own, of a window and a colour scheme."""
        async with aiohttp.ClientSession() as session, session.ws_connect(self._address, max_msg_size=0) as socket:
            tab = Tab(socket)
            reading = asyncio.create_task(tab.read())
            try:
                await tab.open(width, height, scheme)
                yield tab
                await tab.send("Target.disposeBrowserContext", session=None, browserContextId=tab.profile)
            finally:
                reading.cancel()
                await asyncio.wait((reading,))


class Tab:
    def __init__(self, socket):
        self._socket = socket
        self._count = itertools.count(1)
        self._asked = {}
        self._session = None
        self.profile = None
        #: Everything a developer would see in red or yellow: exceptions, refusals by the policy, complaints of the console.
        self.problems = []

    async def open(self, width, height, scheme):
        self.profile = (await self.send("Target.createBrowserContext", session=None))["browserContextId"]
        made = await self.send("Target.createTarget", session=None, url="about:blank", browserContextId=self.profile)
        attached = await self.send("Target.attachToTarget", session=None, targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def read(self):
        async for message in self._socket:
            document = json.loads(message.data)
            if "id" in document:
                self._asked.pop(document["id"]).set_result(document)
            else:
                self._note(document["method"], document["params"])

    def _note(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.problems.append(str(params["args"]))
        # The browser also logs each answer that is an error, which some tests provoke.
        elif method == "Log.entryAdded" and params["entry"]["source"] != "network":
            self.problems.append(params["entry"]["text"])

    async def send(self, method, *, session="own", **params):
        number = next(self._count)
        self._asked[number] = asked = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        if session is not None and self._session is not None:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        document = await asyncio.wait_for(asked, PATIENCE)
        if "error" in document:
            raise RuntimeError(f"{method}: {document['error']}")
        return document["result"]

    async def go(self, url):
        await self.send("Page.navigate", url=url)
        await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    async def js(self, expression):
        """Return the value of *expression*; promises are awaited."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, condition):
        """Wait until *condition* holds, and return its value; it is looked at before every frame."""
        waiting = f"""new Promise((resolve, reject) => {{
            const began = performance.now();
            const look = () => {{
                let value;
                try {{ value = ({condition}); }} catch {{ }}
                if (value) resolve(value);
                else if (performance.now() - began > {PATIENCE * 500}) reject(new Error("it never holds"));
                else requestAnimationFrame(look);
            }};
            look();
        }})"""
        # A page that loads anew takes what waits in it along.
        for _ in range(3):
            try:
                return await self.js(waiting)
            except RuntimeError as error:
                if "navigated" not in str(error) and "context" not in str(error):
                    raise
        raise RuntimeError(f"the page goes from one place to the next: {condition}")

    async def until_says(self, text, within="body"):
        """Wait until the element at the selector *within* shows *text*."""
        await self.until(f"document.querySelector({json.dumps(within)}).innerText.includes({json.dumps(text)})")

    async def text(self, selector):
        return await self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    async def press(self, key, *, times=1, shift=False):
        code, text = KEYS[key]
        event = {
            "key": " " if key == "Space" else key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "modifiers": SHIFT if shift else 0,
        }
        for _ in range(times):
            await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def write(self, text):
        await self.send("Input.insertText", text=text)

    async def focus(self, selector):
        await self.js(f"document.querySelector({json.dumps(selector)}).focus()")

    async def click(self, selector):
        await self.js(f"document.querySelector({json.dumps(selector)}).click()")
