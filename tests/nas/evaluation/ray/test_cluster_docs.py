"""The files and commands that docs/cluster.md gives are whole and belong together."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import ray
import typer
from ruamel.yaml import YAML

from nas.cli import app

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "cluster.md").read_text()
FILES = DOCS / "cluster"
PLACES = [PAGE, *(path.read_text() for path in sorted(FILES.iterdir()))]


def commands() -> Iterator[str]:
    """Every command of ours on the page and in its files."""
    text = "\n".join(PLACES).replace("\\\n", " ")
    for found in re.findall(r"(?<![\w.-])nas ([a-z][^`#\n]*)", text):
        words = found.split("'")[0].strip()
        if re.match(r"(search|cluster|device|latency|status) ", words + " "):
            yield words


def walk(command: Any, words: list[str]) -> list[str]:  # noqa: ANN401  (of typer's own click)
    """Returns what a command line says that our CLI does not know."""
    unknown = []
    for word in words:
        commands = getattr(command, "commands", {})
        if word in commands:
            command = commands[word]
        elif word.startswith("--"):
            known = [name for option in command.params for name in option.opts]
            unknown += [] if word.partition("=")[0] in known else [word]
        elif commands:
            unknown.append(word)
            break
    return unknown


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_exists(command: str) -> None:
    found = typer.main.get_command(app)
    words = [word.strip(",;()") for word in shlex.split(command, posix=False)]
    until = next((i for i, word in enumerate(words) if word in ("&", "(TVM's", "|")), len(words))
    assert walk(found, words[:until]) == []


def test_there_are_commands_to_look_at() -> None:
    assert {"cluster up", "cluster down", "cluster status"} <= {
        " ".join(command.split()[:2]) for command in commands()
    }


def test_what_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []
    assert {path.name for path in FILES.iterdir()} == {
        Path(link).name for link in links if link.startswith("cluster/")
    }


def test_the_clusters_file_is_valid_by_rays_own_schema() -> None:
    config = YAML(typ="safe").load((FILES / "ray-up.yaml").read_text())
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    for command in starts:
        assert "RAY_AUTH_MODE=token" in command
        assert_rays_options(command)
    assert "~/.ray/auth_token" in config["file_mounts"]


def assert_rays_options(command: str) -> None:
    """Checks that `ray start` has the options that a command gives."""
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    given = {word.partition("=")[0] for word in re.findall(r"--[a-z-]+", command)}
    assert given <= known | {"--exclude"}, given - known


def test_the_slurm_script_is_sound() -> None:
    path = FILES / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(path)], check=True)
    text = path.read_text()
    assert "umask 077" in text.partition("RAY_AUTH_TOKEN_PATH=")[0]
    options = text[text.index("options=(") : text.index(")\n", text.index("options=("))]
    assert_rays_options(options)
    for call in re.findall(r"ray start ((?:.*\\\n)*.*)", text):
        assert_rays_options(call)


@pytest.fixture
def manifests() -> dict[str, Any]:
    return {m["kind"]: m for m in YAML(typ="safe").load_all((FILES / "kuberay.yaml").read_text())}


def test_the_kubernetes_manifests_belong_together(manifests: dict[str, Any]) -> None:
    versions = {kind: manifest["apiVersion"] for kind, manifest in manifests.items()}
    assert versions == {
        "PersistentVolumeClaim": "v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "RayCluster": "ray.io/v1",
    }
    assert {manifest["metadata"]["namespace"] for manifest in manifests.values()} == {"hwnas"}
    cluster = manifests["RayCluster"]
    labels = {"ray.io/cluster": cluster["metadata"]["name"]}
    policy = manifests["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    [rule] = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]
    pod = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == volumes.keys()
    claim = volumes["runs"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


def test_every_pod_has_the_token_from_the_secret_and_rays_options(
    manifests: dict[str, Any],
) -> None:
    spec = manifests["RayCluster"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    names = [group["groupName"] for group in spec["workerGroupSpecs"]]
    assert len(set(names)) == len(names)
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        assert container["image"] == "IMAGE"
        assert container["resources"]["limits"] == container["resources"]["requests"]
        variables = {item["name"]: item for item in container["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        secret = variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "ray-token", "key": "token"}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert_rays_options(" ".join(f"--{key}" for key in group["rayStartParams"]))
    devices = spec["workerGroupSpecs"][1]["rayStartParams"]["resources"]
    assert json.loads(json.loads(devices)) == {"device:host": 1}
