"""Puts a simulated instrument on a TCP port of this machine, which pyserial opens as `socket://`, on every platform."""

import selectors
import socket
from contextlib import suppress

from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.server import Server


class SocketServer(Server):
    """Serves one instrument, one client at a time; a second client is shown the door.

    Args:
        instrument: Who answers.
        port: TCP port; a free one by default.
        late_s: How late a late answer is.
    """

    def __init__(self, instrument: Instrument, port: int = 0, late_s: float = 0.5) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._client: socket.socket | None = None
        super().__init__(instrument, late_s)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self._listener, self._woken):
                selector.register(one, selectors.EVENT_READ)
            while not self._stopped.is_set():
                # the client first: one that has gone makes room for the next, who may have come already
                ready = sorted(selector.select(), key=lambda one: one[0].fileobj is self._listener)
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._admit(selector)
                    elif key.fileobj is self._client:
                        self._talk(selector)
        for one in (self._client, self._listener):
            if one is not None:
                one.close()

    def _admit(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        if self._client is not None:
            client.close()
            return
        # answers are short, and waiting for more to send with them would cost 40 ms each
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        with suppress(OSError):  # one that has gone already is noticed when it is read from
            client.sendall(self._conversation.greeting())
        selector.register(client, selectors.EVENT_READ)

    def _talk(self, selector: selectors.BaseSelector) -> None:
        client = self._client
        if client is None:
            return
        try:
            data = client.recv(4096)
            for answer in self._conversation.receive(data):
                self._stopped.wait(answer.delay_s)
                client.sendall(answer.data)
        except OSError:  # the client went in the middle of it
            data = b""
        if not data:
            selector.unregister(client)
            client.close()
            self._client = None
