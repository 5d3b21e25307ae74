"""The routes by which tests in other processes steer an emulator and look into it.

===============================  =======================================================================
``GET /emulator/state``          the counts
``GET /emulator/requests``       the journal; ``DELETE`` empties it
``GET /emulator/faults``         the orders that wait; ``DELETE`` drops them
``POST /emulator/faults``        order one: ``{"fault": NAME, …}`` with the fields of `FaultOrder`
===============================  =======================================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from apex_llm_core.errors import nearest
from apex_llm_mock.emulation.answers import encoded
from apex_llm_mock.emulation.fault_orders import FaultOrder

if TYPE_CHECKING:
    from apex_llm_mock.emulation.server import Emulator

CONTROL = "/emulator/"
_FIELDS = frozenset(field.name for field in attrs.fields(FaultOrder))


async def control_answer(emulator: Emulator, request: web.Request) -> web.StreamResponse:
    """Answer a request to one of the routes above."""
    match request.method, request.path.removeprefix(CONTROL):
        case "GET", "state":
            counts = attrs.asdict(emulator.traffic.counts)
            return _document({**counts, "faults": [order.document() for order in emulator.faults.pending()]})
        case "GET", "requests":
            return _document({"requests": [received.document() for received in emulator.journal]})
        case "DELETE", "requests":
            emulator.journal.clear()
            return web.Response(status=204)
        case "GET", "faults":
            return _document({"faults": [order.document() for order in emulator.faults.pending()]})
        case "DELETE", "faults":
            emulator.faults.clear()
            return web.Response(status=204)
        case "POST", "faults":
            return await _order(emulator, request)
        case _:
            return _document({"error": "there is no such control route"}, status=404)


async def _order(emulator: Emulator, request: web.Request) -> web.StreamResponse:
    try:
        fields = json.loads(await request.read())
        if not isinstance(fields, dict) or not isinstance(fields.get("fault"), str):
            raise TypeError('expected {"fault": NAME, …}')
        for name in fields.keys() - _FIELDS:
            raise ValueError(f"unknown field {name!r}{nearest(name, _FIELDS)}")
        order = emulator.faults.add(fields.pop("fault"), **fields)
    except (ValueError, TypeError, AttributeError) as error:
        return _document({"error": str(error)}, status=400)
    return _document(order.document(), status=201)


def _document(document: object, *, status: int = 200) -> web.Response:
    return web.Response(body=encoded(document), status=status, content_type="application/json")


__all__ = ["CONTROL", "control_answer"]
