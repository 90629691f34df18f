"""Archives: bytes damaged, and heads and sections changed by who knows how to seal them again."""

import json
from pathlib import Path
from random import Random

from nas.models.archives.archive import archive_bytes, read_archive
from nas.models.archives.container import Section
from nas.models.archives.info import archive_info
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from tests.fuzz.mutations import damaged, json_text
from tests.fuzz.runner import Kind
from tests.nas.parts.archives import opened, sealed, shared_model, stored_model
from tests.nas.parts.models import small_graph


def kind(folder: Path) -> Kind:
    models = [
        shared_model(small_graph()),
        shared_model(uniform(small_graph(), PRECISIONS["w4a8"])),
    ]
    models[1] = snap_weights(models[1])
    samples = [
        (archive_bytes(stored_model(model), entropy), len(model.arrays))
        for model in models
        for entropy in ("huffman", "ans")
    ]
    path = folder / "network.hwz"

    def attempt(rng: Random) -> None:
        content, count = rng.choice(samples)
        if rng.random() < 0.1:
            content = damaged(content, rng)
        else:
            head, sections = opened(content, count)
            if rng.random() < 0.4:
                text = json_text(json.loads(head), rng)
                head = text.encode(errors="surrogatepass")
            else:
                index = rng.randrange(count)
                sections[index] = changed(sections[index], rng)
            content = sealed(head, sections)
        path.write_bytes(content)
        read_archive(path)
        archive_info(path)

    return Kind("archives", attempt)


def changed(section: Section, rng: Random) -> Section:
    """Returns a section of another form, of damaged bytes, or with more in it."""
    form = rng.randrange(7) if rng.random() < 0.3 else section.form
    body = damaged(section.body, rng) if rng.random() < 0.8 else section.body + rng.randbytes(9)
    return Section(form, body)
