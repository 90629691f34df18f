"""Run folder: everything a search knows, as plain files that survive a kill at any moment.

    run.json               format version; when, where, with what versions and command it was made
    data.json              sizes and fingerprints of the data's splits
    models.json            fingerprints of trained networks that were given, where some were
    config.yaml            the configuration as resolved
    study.journal          Optuna's journal (unless the study lives in a database)
    architectures/HASH.json, evaluations/HASH.json, weights/HASH.safetensors
    checkpoints/           trainings that go on, to take them up again where they were
    checkpoints/trained/   networks that a cluster has trained, until they are filed
    heritage/HASH.json     what a network inherits that is being trained, where some do
    rungs/HASH.json        what a network was at each rung of early stopping, where that is on
    superseded/HASH.json   evaluations that were made again, after a change of the run
    kernel_table.json      what kernels take on the device, where useless precisions are looked for
    supernet.safetensors   weights that all networks share, where search.evaluation is supernet
    latency_model.json     what predicted latencies, where some were predicted
    earlier_runs.json      what other runs found, where this one learns from them
    drivers/               a file for each process that searches here and has not left
    activity/              what each of them is doing right now
    run.lock, starting.lock  who may search here (`nas.runs.lock`)
    front.json, report.html, search.log, export/

Files are written whole or not at all (`nas.runs.files`), and an evaluation before its trial is
told, so no finished work is lost. Nothing is a pickle.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from nas.problem.addresses import argument
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.files import arrays_bytes, read_json, write_json, write_whole
from nas.runs.provenance import machine, versions
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.schema import shown
from search_spaces.space.architecture import from_json, load_architecture, to_json
from search_spaces.space.space import Architecture

FORMAT = "hwnas.run"
VERSION = 1
# What run.json says for people.
RECORD: Mapping[str, Any] = {
    "started": str,
    "command": str,
    "machine": Mapping[str, str],
    "versions": Mapping[str, str],
}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An architecture that was evaluated on another machine.

    Attributes:
        host: Name of that machine, which has the weights.
        architecture: As JSON-ready data.
    """

    host: str
    architecture: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run.

    Attributes:
        elsewhere: Architectures that other machines evaluated, by their hash, as the study tells.
    """

    path: Path
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict, compare=False, repr=False)

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def data_file(self) -> Path:
        return self.path / "data.json"

    @property
    def models_file(self) -> Path:
        return self.path / "models.json"

    @property
    def log_file(self) -> Path:
        return self.path / "search.log"

    @property
    def front_file(self) -> Path:
        return self.path / "front.json"

    @property
    def drivers(self) -> Path:
        """The folder of those at work here: an empty file each, by its name."""
        return self.path / "drivers"

    @property
    def activity(self) -> Path:
        """The folder of what drivers are doing: a file each, by its name."""
        return self.path / "activity"

    @property
    def kernel_table_file(self) -> Path:
        return self.path / "kernel_table.json"

    @property
    def supernet_file(self) -> Path:
        return self.path / "supernet.safetensors"

    @property
    def latency_model_file(self) -> Path:
        return self.path / "latency_model.json"

    @property
    def earlier_runs_file(self) -> Path:
        return self.path / "earlier_runs.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of trainings that go on; missing where none was saved."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The folder of trained weights; which ones it keeps says ``search.keep_weights``."""
        return self.path / "weights"

    @property
    def rungs(self) -> Path:
        """The folder of early stopping; missing where nothing reached a rung."""
        return self.path / "rungs"

    @property
    def heritage(self) -> Path:
        """The folder of who inherits from whom, while it is trained; missing where nobody does."""
        return self.path / "heritage"

    @property
    def superseded(self) -> Path:
        """The folder of evaluations that a changed run makes again; missing where none is."""
        return self.path / "superseded"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def architecture_file(self, key: str) -> Path:
        return self.path / "architectures" / f"{checked(key)}.json"

    def evaluation_file(self, key: str) -> Path:
        return self.path / "evaluations" / f"{checked(key)}.json"

    def weights_file(self, key: str) -> Path:
        return self.weights / f"{checked(key)}.safetensors"

    def save_evaluation(
        self,
        architecture: Architecture,
        evaluation: Evaluation,
        arrays: Mapping[str, Array] | None,
    ) -> None:
        """Writes what was found out about an architecture; the evaluation itself comes last."""
        key = evaluation.hash
        write_json(self.architecture_file(key), to_json(architecture))
        if arrays is not None:
            write_whole(self.weights_file(key), arrays_bytes(arrays))
        self.replace_evaluation(evaluation)

    def replace_evaluation(self, evaluation: Evaluation) -> None:
        """Writes what is now known of an architecture whose other files are there."""
        write_json(self.evaluation_file(evaluation.hash), evaluation_to_json(evaluation))

    def evaluations(self) -> Iterator[Evaluation]:
        """Yields every evaluation on file, in the order of their hashes."""
        for path in sorted((self.path / "evaluations").glob("[!.]*.json")):
            evaluation = self.load_evaluation(path.stem)
            if evaluation is not None:
                yield evaluation

    def load_evaluation(self, key: str) -> Evaluation | None:
        """Returns the evaluation of the graph with this hash, or None where there is none."""
        path = self.evaluation_file(key)
        remedy = "delete it and go on with --resume, which evaluates that architecture again"
        try:
            data = read_json(path, remedy)
        except FileNotFoundError:
            return None
        try:
            found = evaluation_from_json(data)
        except UserError as error:
            raise damaged(path, str(error), remedy) from None
        if found.hash != key:
            raise damaged(path, f"it is of {shown(found.hash)}", remedy)
        return found

    def holds_slice(self, key: str) -> bool:
        """Whether the accuracy on file of the graph with this hash is a slice's of a supernet."""
        known = self.load_evaluation(key)
        return known is not None and known.weights == "slice"

    def load_architecture(self, key: str) -> Architecture:
        path = self.architecture_file(key)
        if key in self.elsewhere and not path.exists():
            return from_json(self.elsewhere[key].architecture)
        return load_architecture(path)

    def has_weights(self, key: str) -> bool:
        return self.weights_file(key).exists()

    def load_model(self, key: str) -> Model:
        """Returns the trained model of the graph with this hash.

        Raises:
            UserError: If its weights are missing or do not fit its graph.
        """
        path = self.weights_file(key)
        try:
            return Model(self.load_architecture(key).graph, load_file(path))
        except FileNotFoundError:
            if key in self.elsewhere:
                raise UserError(
                    f"architecture {key} was trained on {self.elsewhere[key].host}, which has its "
                    "weights; do this with the run folder there, or train it here with "
                    "'nas retrain'"
                ) from None
            raise UserError(
                f"architecture {key} has no weights in {path.parent}: it was not trained, or they "
                "went when it left the front (search.keep_weights: front); 'nas retrain' trains it"
            ) from None
        except Exception as error:  # safetensors raises its own type for a damaged file
            raise UserError(f"{path} is damaged: {error}") from None


def damaged(path: Path, why: str, remedy: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); {remedy}")


def checked(key: str) -> str:
    """Returns a hash that is part of a file's name, if it is one.

    Raises:
        UserError: If it could name a file outside its folder.
    """
    if not isinstance(key, str) or not re.fullmatch(r"\w{1,64}", key, re.ASCII):
        raise UserError(
            f"a hash of an architecture must be letters and digits, got {shown(key)}; the run or "
            "study it is from is damaged or forged"
        )
    return key


def create_run(path: Path, config_yaml: str) -> RunFolder:
    """Makes a new run folder.

    Raises:
        UserError: If there is one already; the message says how to go on.
    """
    refuse_other_run(path)
    for part in ("architectures", "evaluations", "weights"):
        (path / part).mkdir(parents=True, exist_ok=True)
    run = RunFolder(path)
    write_whole(run.config_file, config_yaml.encode())
    started = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        path / "run.json",
        {
            "format": FORMAT,
            "version": VERSION,
            "started": started,
            "command": shlex.join(map(argument, [Path(sys.argv[0]).name, *sys.argv[1:]])),
            "machine": machine(),
            "versions": versions(),
        },
    )
    return run


def has_run(path: Path) -> bool:
    """Whether a run was made here; one that was killed before its ``run.json`` never began."""
    return (path / "run.json").exists()


def refuse_other_run(path: Path) -> None:
    """Makes sure that a new run may be made at ``path``.

    Raises:
        UserError: If there is one already; the message says how to go on.
    """
    if has_run(path):
        raise UserError(
            f"{path} already holds a run; continue it with --resume, or choose another name with "
            "--set name=NAME"
        )


def open_run(path: Path) -> RunFolder:
    """Opens an existing run folder.

    Raises:
        UserError: If there is none, or it is of a newer format.
    """
    try:
        data = read_json(path / "run.json", "restore it from another run of this hwnas", RECORD)
    except OSError:
        raise UserError(
            f"{path} holds no run (no run.json there); give the folder that 'nas search' made, "
            "e.g. runs/digits"
        ) from None
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise UserError(
            f"{path} is a run of format {shown(data.get('format'))} version "
            f"{shown(data.get('version'))}; "
            f"this hwnas reads {FORMAT!r} version {VERSION}; open it with the hwnas that made it"
        )
    return RunFolder(path)
