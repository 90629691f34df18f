"""Connections: how many there may be, and how long one may take to say what it wants.

uvicorn waits for ever for the end of a request's headers, and takes any number of connections.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from nas.serving.limits import Limits

# Whichever of uvicorn's two it is, it keeps its connections and its request where h11's does.
HTTPProtocol = cast("type[H11Protocol]", AutoHTTPProtocol)


def timely_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Returns uvicorn's protocol with an end to connections that say nothing whole."""

    class TimelyProtocol(HTTPProtocol):  # type: ignore[valid-type, misc]
        """Closes a connection that has brought no request for as long as one may take."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self.look_again()

        def look_again(self) -> None:
            self.last = self.cycle
            self.looking = self.loop.call_later(limits.seconds, self.look)

        def look(self) -> None:
            is_answered = self.cycle is None or self.cycle.response_complete
            if is_answered and self.cycle is self.last:
                self.transport.close()
            else:
                self.look_again()

        def connection_lost(self, exc: Exception | None) -> None:
            if hasattr(self, "looking"):
                self.looking.cancel()
            super().connection_lost(exc)

    return TimelyProtocol
