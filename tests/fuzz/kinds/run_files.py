"""Run files: mutated as data and as text, read, written out and read back."""

from pathlib import Path
from random import Random
from typing import Any

from nas.problem import yaml_text
from nas.problem.run_file import RunFile, read_run_file, to_yaml
from search_spaces.graphs.cost import network_cost
from search_spaces.space.space import sample
from search_spaces.space.staged import count_architectures, describe_space
from tests.fuzz.mutations import dumped, mangled, mutated
from tests.fuzz.runner import Kind
from tests.nas.parts.tiny import tiny

RICH: dict[str, Any] = {
    "name": "rich",
    "space": {
        "resolution": [16, 32],
        "stem": {"width": 16, "kernel_size": [3, 5], "stride": 2, "weight_bits": [8, 32]},
        "stages": [
            {
                "depth": [1, 2],
                "width": [16, 32],
                "blocks": ["fire", {"shuffle_v1": {"groups": [1, 2]}}, "skip"],
                "prune_ratio": [0, 0.5],
                "precision": ["fp32", "w8a8", "xnor"],
            }
        ],
        "head": {"width": [0, 64], "dropout": 0.2},
    },
    "objectives": ["accuracy", "latency_ms", "size_bytes"],
    "constraints": ["latency_ms <= 2", "params <= 1e6"],
    "baselines": ["lenet5", {"network": "resnet20", "width": 0.5}],
    "training": {"epochs": 3, "augmentation": {"shift": 0.1}},
    "search": {"trials": 9, "early_stopping": {"grace_epochs": 1}, "storage": "sqlite:///s.db"},
    "reference": {"latency_ms": 5},
}


def kind(folder: Path) -> Kind:
    samples = [RICH, yaml_text.load(to_yaml(tiny()))]
    path = folder / "run.yaml"

    def attempt(rng: Random) -> None:
        data = rng.choice(samples)
        changes = []
        if rng.random() < 0.2:
            key = rng.choice(("search.trials", "space.stages", "training", "data.kind", "a.b", ""))
            changes = [mangled(f"{key}={rng.choice(('3', '[1]', '{a: 1}', 'x'))}", rng)]
        text = dumped(mutated(data, rng)) if rng.random() < 0.6 else mangled(written(data), rng)
        path.write_text(text, errors="surrogatepass")
        file = read_run_file(path, changes)
        config = file.config()
        assert len(str(count_architectures(config.space))) < 4000
        describe_space(config.space)
        network_cost(sample(config.space, rng).graph)
        assert RunFile.model_validate(yaml_text.load(to_yaml(file))) == file

    return Kind("run_files", attempt, lines=30)


def written(data: Any) -> str:  # noqa: ANN401
    return yaml_text.dump(data)
