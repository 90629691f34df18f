"""Requests: bodies that clients send to the service, read and answered without a server."""

from pathlib import Path
from random import Random

from nas.serving.limits import Limits
from nas.serving.schemas import BatchQuery, PredictQuery, read_body
from nas.serving.service import predict_each, readable
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import to_json
from search_spaces.space.space import sample
from tests.fuzz.mutations import damaged, json_text
from tests.fuzz.runner import Kind
from tests.nas.parts.served import ByMacs
from tests.search_spaces.quantization.coded import CODED


def kind(folder: Path) -> Kind:
    each = [to_json(sample(CODED, Random(seed))) for seed in range(4)]
    batch = {"device": "one", "architectures": each[:2], "extrapolate": True}
    single = {"device": "one", "architecture": each[2], "explain": True}

    def attempt(rng: Random) -> None:
        is_batch = rng.random() < 0.3
        text = json_text(batch if is_batch else single, rng)
        body = text.encode(errors="surrogatepass")
        body = damaged(body, rng) if rng.random() < 0.1 else body
        if is_batch:
            query = read_body(BatchQuery, body, Limits())
            rows = [readable(item) for item in query.architectures]
            predict_each(ByMacs(), rows, query.extrapolate)
            return
        graph = readable(read_body(PredictQuery, body, Limits()).architecture)
        if isinstance(graph, Graph):
            ByMacs().explain(graph)
        else:
            raise graph

    return Kind("requests", attempt)
