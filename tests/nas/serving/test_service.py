"""The HTTP service: real clients on loopback, what they may ask, and one clear line if not."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_models.devices.latency import to_json as latency_json
from nas.serving.sockets import LEAST_TOKEN, open_socket, read_token
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture
from tests.nas.parts.served import SLOW, UNKNOWN, ByMacs, served
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parent.parent.parent.parent
SECRET = "a-token-that-only-these-tests-know"
JSON = {"Content-Type": "application/json"}
BODY_BYTES = 100_000
SECONDS = 1.5
CONNECTIONS = 30


def network(channels: int = 3, width: int = 8) -> Architecture:
    net = GraphBuilder((channels, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3)), net.input)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("head", Linear(10), x)
    return Architecture("test", (), net.graph())


def query(architecture: Architecture, **more: object) -> dict[str, Any]:
    return {"device": "one", "architecture": to_json(architecture), **more}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    limits = {
        "body_bytes": BODY_BYTES,
        "batch": 20,
        "seconds": SECONDS,
        "connections": CONNECTIONS,
        "waiting_bytes": BODY_BYTES,
    }
    with served(None, 4.0, **limits) as (url, _), httpx.Client(base_url=url) as made:
        yield made


def error_of(response: httpx.Response, status: int = 422) -> str:
    """The one line that a request was refused with."""
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    text: str = response.json()["error"]
    assert len(text.splitlines()) == 1
    return text


def test_a_prediction_is_what_the_model_says(client: httpx.Client) -> None:
    architecture = network()

    answer = client.post("/predict", json=query(architecture)).json()

    assert answer == {
        "device": "one",
        "latency": latency_json(ByMacs().latency(architecture.graph)),
    }


def test_an_explanation_lists_kernels(client: httpx.Client) -> None:
    answer = client.post("/predict", json=query(network(), explain=True)).json()

    assert [row["node"] for row in answer["kernels"]] == ["head"]
    assert answer["overhead_ms"] == 0
    assert answer["latency"]["interval"]["probability"] == 0.9


def test_a_batch_is_answered_in_order_and_one_mistake_spoils_no_other(
    client: httpx.Client,
) -> None:
    graphs = [network(width=width) for width in (8, 16, 24)]
    rows = [to_json(graph) for graph in (*graphs, network(UNKNOWN))]
    rows.insert(1, rows[0] | {"hash": "0"})

    answer = client.post("/predict/batch", json={"device": "two", "architectures": rows}).json()

    wanted: list[Any] = [latency_json(ByMacs(2.0).latency(item.graph)) for item in graphs]
    assert [row.get("latency") for row in answer["answers"]] == [
        wanted[0],
        None,
        *wanted[1:],
        None,
    ]
    assert "was changed" in answer["answers"][1]["error"]
    assert "profile one" in answer["answers"][4]["error"]


def test_devices_health_and_metrics(client: httpx.Client) -> None:
    client.post("/predict", json=query(network()))
    client.post("/nowhere/a")

    devices = client.get("/devices").json()["devices"]
    assert [(row["name"], row["about"]["factor"]) for row in devices] == [("one", 1), ("two", 2)]
    health = client.get("/health").json()
    assert (health["status"], health["devices"]) == ("ok", 2)
    text = client.get("/metrics").text
    assert re.search(r'hwnas_requests_total\{path="/predict",status="200"\} [1-9]', text)
    assert re.search(r'hwnas_requests_total\{path="other",status="404"\} [1-9]', text)
    assert re.search(r'hwnas_predictions_total\{device="one"\} [1-9]', text)
    assert re.search(r'hwnas_request_seconds_count\{path="/predict"\} [1-9]', text)


def test_the_openapi_page_needs_no_other_host(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    page = client.get("/docs").text

    assert {"/predict", "/predict/batch", "/devices", "/health", "/metrics"} == set(
        described["paths"]
    )
    assert all(path in page for path in described["paths"])
    for key in ("device", "architecture", "explain", "extrapolate", "overhead_ms"):
        assert f"<code>{key}</code>" in page
    assert not re.search(r"https?://|<script|src=", page)
    assert client.get("/redoc").status_code == 404


def mistakes() -> dict[str, tuple[bytes, str]]:
    """Bodies, and what must be said about them."""
    good = query(network())
    changed = {
        "unknown device": (good | {"device": "phone"}, "'phone' has no latency model (profiled"),
        "a path for a device": (good | {"device": "../one"}, "profiled devices: one, two"),
        "not profiled": (query(network(UNKNOWN)), "no kernel reads 11 channels; profile one"),
        "unknown key": (good | {"explian": True}, "unknown key 'explian' at the top; did you"),
        "no device": ({"architecture": {}}, "device is missing; add it"),
        "device of numbers": (good | {"device": 3}, "device: input should be a valid string"),
        "no architecture": (good | {"architecture": {}}, "this is no architecture file"),
        "truth for an architecture": (good | {"architecture": True}, "must not be true or false"),
        "other version": (
            good | {"architecture": good["architecture"] | {"version": 9}},
            "architecture file of version 9; this hwnas reads version 1",
        ),
        "no graph": (
            good | {"architecture": {"format": "hwnas.architecture", "version": 1}},
            "the architecture file is damaged: it lacks 'graph'",
        ),
        "a list": ([good], "the body must be a JSON object, got list"),
        "lone surrogate": (good | {"device": "\ud800"}, "has no latency model"),
    }
    raw = {name: (json.dumps(body).encode(), text) for name, (body, text) in changed.items()}
    return raw | {
        "no JSON": (b"{", "the body is not JSON: "),
        "no text": (b"\xff\xfe{", "the body is not JSON: "),
        "nothing": (b"", "the body is not JSON: "),
        "not a number": (b'{"device": NaN}', "the body is not JSON: NaN is no JSON number"),
        "long number": (b'{"device": ' + b"1" * 5000 + b"}", "the body is not JSON: "),
        "deep": (b'{"device":' * 40 + b"1" + b"}" * 40, "may nest 32 deep"),
        "very deep": (b"[" * 90_000, "may nest 32 deep"),
    }


@pytest.mark.parametrize("what", mistakes())
def test_a_mistake_is_422_and_one_line(what: str, client: httpx.Client) -> None:
    body, message = mistakes()[what]

    assert message in error_of(client.post("/predict", content=body, headers=JSON))


def test_a_batch_has_a_limit(client: httpx.Client) -> None:
    rows: list[dict[str, Any]] = [{}] * 21

    said = error_of(client.post("/predict/batch", json={"device": "one", "architectures": rows}))
    assert said == "a batch holds at most 20 architectures, got 21; send several"
    empty = {"device": "one", "architectures": []}
    assert "at least 1 item" in error_of(client.post("/predict/batch", json=empty))


def test_a_body_has_a_limit_whether_it_tells_its_size_or_not(client: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * (BODY_BYTES // 20)

    whole = client.post("/predict", content=b"".join(parts()), headers=JSON)
    streamed = client.post("/predict", content=parts(), headers=JSON)

    for response in (whole, streamed):
        assert f"at most {BODY_BYTES} bytes" in error_of(response, 413)


def test_paths_methods_and_content_types_are_refused_in_json(client: httpx.Client) -> None:
    assert "there is no /predic; see /docs" in error_of(client.post("/predic"), 404)
    assert "has no method GET" in error_of(client.get("/predict"), 405)
    form = client.post("/predict", data={"device": "one"})
    assert "must be sent as application/json" in error_of(form, 415)


def test_what_takes_too_long_is_503_and_others_are_answered(client: httpx.Client) -> None:
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(client.post, "/predict", json=query(network(SLOW)))
        sleep(0.2)
        other = query(network()) | {"device": "two"}
        assert client.post("/predict", json=other).status_code == 200
        assert f"longer than {SECONDS:g} s" in error_of(slow.result(), 503)


def test_requests_that_would_never_end_leave_their_threads(client: httpx.Client) -> None:
    with ThreadPoolExecutor(2) as threads:  # as many as the service has
        slow = [
            threads.submit(client.post, "/predict", json=query(network(SLOW))) for _ in range(2)
        ]
        assert {each.result().status_code for each in slow} == {503}

    assert client.post("/predict", json=query(network())).status_code == 200


def connect(client: httpx.Client) -> socket.socket:
    address = urlsplit(str(client.base_url))
    opened = socket.create_connection((address.hostname, address.port))
    opened.settimeout(PATIENCE_S)
    return opened


def test_headers_that_never_end_are_not_waited_for(client: httpx.Client) -> None:
    with connect(client) as opened:
        opened.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        start = monotonic()
        assert opened.recv(100) == b""

    assert monotonic() - start >= SECONDS


def test_connections_have_a_limit(client: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(connect(client))
        last = stack.enter_context(connect(client))
        with suppress(ConnectionResetError):
            assert last.recv(1) == b""
    assert client.get("/health").status_code == 200


def test_bodies_have_a_limit_together(client: httpx.Client) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n"
    with connect(client) as opened:
        opened.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        opened.sendall(b" " * (BODY_BYTES - 10))
        sleep(0.2)  # until it is received
        busy = client.post("/predict", content=b" " * BODY_BYTES, headers=JSON)

    assert "as many requests as it can" in error_of(busy, 503)
    # The server notices in its own time that the other one hung up.
    wait_until(lambda: client.post("/predict", json=query(network())).status_code == 200)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.nip.io", ""])
def test_a_page_of_another_site_is_not_answered(client: httpx.Client, host: str) -> None:
    for path in ("/health", "/devices", "/docs"):
        answer = client.get(path, headers={"Host": host})
        assert "under this machine's own name" in error_of(answer, 400)

    assert client.get("/health", headers={"Host": "localhost:1"}).status_code == 200


def test_a_signal_right_after_the_first_line_is_an_end_in_order() -> None:
    with served() as (_, process):
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_a_body_that_never_comes_is_503(client: httpx.Client) -> None:
    at = urlsplit(str(client.base_url))
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    with socket.create_connection((at.hostname or "", at.port or 0), timeout=PATIENCE_S) as slow:
        slow.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 503")


def test_eight_clients_get_their_own_answers(client: httpx.Client) -> None:
    def ask(number: int) -> list[float]:
        with httpx.Client(base_url=client.base_url) as own:
            bodies = [query(network(width=8 * number + 8 + k)) for k in range(10)]
            return [
                own.post("/predict", json=body).json()["latency"]["median_ms"] for body in bodies
            ]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))

    assert answers == [
        [ByMacs().latency(network(width=8 * n + 8 + k).graph).median_ms for k in range(10)]
        for n in range(8)
    ]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["conv2d", "add", "input", "stem", "w8a8", "same", "batch"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """The way to each value inside JSON."""
    if path:
        yield path
    if isinstance(data, list):
        data = dict(enumerate(data))
    for key, value in data.items() if isinstance(data, dict) else ():
        yield from places(value, (*path, key))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_body_is_an_internal_error(client: httpx.Client, data: st.DataObject) -> None:
    body = query(network())
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(list(places(body))))
        target: Any = body
        for key in way:
            target = target[key]
        target[last] = data.draw(VALUES)
    response = client.post("/predict", json=body)
    # What changes the graph is refused by its hash; then ask for the changed graph itself.
    if found := re.search(r"hashes to (\w+),", response.text):
        body["architecture"]["hash"] = found[1]
        response = client.post("/predict", json=body)

    assert response.status_code in (200, 422), response.text


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=50) | VALUES.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_no_bytes_are_an_internal_error(client: httpx.Client, path: str, body: bytes) -> None:
    error_of(client.post(path, content=body, headers=JSON))


def test_only_who_brings_the_token_is_answered() -> None:
    with served(SECRET) as (url, _), httpx.Client(base_url=url) as client:
        for given in ("", "Bearer", "Bearer wrong", f"Basic {SECRET}", f"Bearer {SECRET}x"):
            answer = client.post("/predict", content=b"{", headers={"Authorization": given})
            assert "needs its token" in error_of(answer, 401)
            assert SECRET not in answer.text
        assert client.get("/metrics").status_code == 401
        assert client.get("/nowhere").status_code == 401
        assert client.get("/health").status_code == client.get("/docs").status_code == 200
        client.headers["Authorization"] = f"Bearer {SECRET}"
        assert client.post("/predict", json=query(network())).status_code == 200
        assert SECRET not in client.get("/metrics").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_the_end(number: signal.Signals) -> None:
    with (
        served(None, 1.0) as (url, process),
        ThreadPoolExecutor(1) as threads,
        httpx.Client(base_url=url) as client,
    ):
        assert client.get("/health").status_code == 200
        slow = threads.submit(
            client.post, "/predict", json=query(network(SLOW)), timeout=PATIENCE_S
        )
        sleep(0.4)
        process.send_signal(number)
        assert slow.result().status_code == 200
        assert process.wait(timeout=PATIENCE_S) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(UserError, match=f"host {host} can be reached from other machines"):
        open_socket(host, 0, has_token=False)


def test_answers_are_not_held_back() -> None:
    with open_socket("127.0.0.1", 0, has_token=False) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # or asyncio would not set TCP_NODELAY


def test_a_port_in_use_and_an_unknown_host_are_one_line() -> None:
    with open_socket("127.0.0.1", 0, has_token=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: Address already in use; choose"):
            open_socket("127.0.0.1", port, has_token=False)
    with pytest.raises(UserError, match="unknown host 'no such host'"):
        open_socket("no such host", 0, has_token=True)


def test_a_token_comes_from_one_place_and_is_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("HWNAS_TOKEN", SECRET[::-1])

    assert read_token(None, None) == SECRET[::-1]
    assert read_token(None, file) == SECRET
    assert read_token(SECRET, None) == SECRET
    with pytest.raises(UserError, match="give the token once"):
        read_token(SECRET, file)
    with pytest.raises(UserError, match="cannot read token file"):
        read_token(None, tmp_path / "none")
    for weak in ("", "guess", f"{SECRET} {SECRET}", f"{SECRET}\N{SNOWMAN}"):
        with pytest.raises(UserError, match=f"at least {LEAST_TOKEN} letters") as caught:
            read_token(weak, None)
        assert not weak or weak not in str(caught.value)


def test_a_missing_extra_is_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from nas.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "latency", "serve"],
        cwd=ROOT,
        env=os.environ | {"HWNAS_PROFILES": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: serving needs uvicorn, which is not installed: pip install '.[serve]' in the "
        "folder of hwnas's sources"
    )
