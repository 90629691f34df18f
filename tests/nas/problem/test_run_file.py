"""A run file is checked as a whole: every mistake with its place, and nothing is guessed."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from nas.problem import yaml_text
from nas.problem.records import EarlyStopping
from nas.problem.run_file import RunFile, differences, read_run_file, to_yaml
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.precision import PRECISIONS
from tests.nas.parts.tiny import SPACE, tiny

DATA: dict[str, Any] = yaml_text.load(to_yaml(tiny()))
STAGE = ("space", "stages", 0)
Read = Callable[..., RunFile]


def changed(place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    data: Any = deepcopy(DATA)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return data


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_written(data: object, *overrides: str) -> RunFile:
        path = tmp_path / "run.yaml"
        path.write_text(data if isinstance(data, str) else yaml_text.dump(data))
        return read_run_file(path, overrides)

    return read_written


def test_a_file_that_is_written_out_reads_back_as_the_same_run(read: Read) -> None:
    file = tiny(constraints=["macs <= 1e5"], baselines=["lenet5"], reference={"macs": 1e5})

    again = read(yaml_text.load(to_yaml(file)))

    assert again == file
    assert again.config() == file.config()
    assert to_yaml(again) == to_yaml(file)


def test_everything_that_is_left_out_has_a_default(read: Read) -> None:
    config = read({"name": "a", "space": SPACE}).config()

    assert [metric.name for metric in config.objectives] == ["accuracy", "latency_ms"]
    assert (config.search.sampler, config.data.kind) == ("surrogate", "digits")


def test_one_value_stands_for_a_list_of_one(read: Read) -> None:
    one = read(changed((*STAGE, "width"), 8))
    many = read(changed((*STAGE, "width"), [8]))

    assert one == many
    assert one.config().space.stages[0].widths == (8,)


@pytest.mark.parametrize(
    "blocks",
    [
        ["fire", {"plain": {"kernel_size": 3}}],
        [{"fire": None}, {"plain": {"kernel_size": [3]}}],
        [{"fire": {}, "plain": {"kernel_size": [3]}}],
        {"fire": None, "plain": {"kernel_size": 3}},
    ],
)
def test_blocks_are_names_with_or_without_settings(read: Read, blocks: object) -> None:
    stage = read(changed((*STAGE, "blocks"), blocks)).config().space.stages[0]

    assert [option.name for option in stage.blocks] == ["fire", "plain"]
    assert stage.blocks[1].settings[0].values == (3,)


@pytest.mark.parametrize(
    ("keys", "precisions"),
    [
        ({}, "fp32"),
        ({"precision": "w4a4"}, "w4a4"),
        ({"precision": list(PRECISIONS)}, " ".join(PRECISIONS)),
        ({"weight_bits": [32, 8, 4], "activation_bits": [32, 8]}, "fp32 w8a8 w4a8"),
        ({"weight_bits": [4, 8]}, "w8a8 w4a8 w4a4"),
        ({"weight_bits": 1}, "w1a2 bwn xnor"),
        ({"activation_bits": [2, 1]}, "w2a2 w1a2 xnor"),
        ({"binarize": "none"}, "fp32"),
        ({"binarize": "weights"}, "bwn"),
        ({"binarize": ["both", "weights", "none"]}, "fp32 bwn xnor"),
        ({"weight_bits": 8, "binarize": ["none", "both"]}, "w8a8 xnor"),
        ({"weight_bits": 1, "activation_bits": 1, "binarize": "both"}, "xnor"),
    ],
)
def test_bits_are_shorthand_for_the_precisions_they_mean(
    read: Read, keys: dict[str, object], precisions: str
) -> None:
    space = DATA["space"] | {"stem": {"width": 8, **keys}}
    file = read(DATA | {"space": space})

    assert file.config().space.stem.precisions == tuple(precisions.split())
    assert read(to_yaml(file)) == read(DATA | {"space": space | {"stem": written(file)}})


def written(file: RunFile) -> dict[str, Any]:
    """The stem as the run folder keeps it: precisions by name."""
    stem: dict[str, Any] = yaml_text.load(to_yaml(file))["space"]["stem"]
    assert stem.keys() == {"width", "kernel_size", "stride", "precision"}
    return stem


def test_every_place_takes_precisions(read: Read) -> None:
    stage = DATA["space"]["stages"][0] | {"precision": ["fp32", "xnor_k"]}
    space = DATA["space"] | {"stages": [stage], "head": {"precision": "w4a8"}}
    config = read(DATA | {"space": space | {"stem": {"precision": "w8a8"}}}).config()

    assert config.space.stem.precisions == ("w8a8",)
    assert config.space.stages[0].precisions == ("fp32", "xnor_k")
    assert config.space.head.precisions == ("w4a8",)


def test_a_space_may_be_a_file_beside_the_run_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "small.yaml").write_text(yaml_text.dump(DATA["space"]))

    file = read(changed(("space",), "spaces/small.yaml"))

    assert file == tiny()
    assert read(changed(("space",), "spaces/small.yaml"), "space.round_to=4").space.round_to == 4
    with pytest.raises(UserError, match=r"cannot read .*/none\.yaml: No such file"):
        read(changed(("space",), "none.yaml"))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("serch",), {}, "unknown key 'serch' at the top; did you mean 'search'?"),
        (("zzz",), 1, "unknown key 'zzz' at the top; known keys: name, data, space, training"),
        (("search", "trails"), 3, "unknown key 'trails' in search; did you mean 'trials'?"),
        (
            ("training", "augmentation", "filp"),
            True,
            "unknown key 'filp' in training.augmentation; did you mean 'flip'?",
        ),
        ((*STAGE, "depht"), 3, "unknown key 'depht' in space.stages.0; did you mean 'depth'?"),
        (("space", "head", "widht"), 3, "unknown key 'widht' in space.head; did you mean 'width'"),
        (
            ("baselines",),
            [{"network": "lenet5", "widht": 1}],
            "unknown key 'widht' in baselines.0; did you mean 'width'?",
        ),
        (("data", "pth"), "x", "data: data kind 'digits' has no setting 'pth'; known: none"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_known_one(
    read: Read, place: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(changed(place, value))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("search", "trials"), "many", "search.trials: input should be a valid integer"),
        (("search", "trials"), 2.5, "search.trials: input should be a valid integer"),
        (("search", "trials"), True, "search.trials: must not be true or false, got True"),
        (("search", "trials"), None, "search.trials: input should be a valid integer"),
        (("search", "trials"), 0, "search: trials must be at least 1, got 0"),
        (("search", "workers"), 0, "search: workers must be at least 1, got 0"),
        (("search", "seed"), -1, "search: seed must be between 0 and 4294967295, got -1"),
        (("search", "early_stopping"), True, "search.early_stopping: must not be true or false"),
        (("search", "early_stopping"), 3, "search.early_stopping: input should be a valid dict"),
        (
            ("search", "early_stopping"),
            {"grace_epoch": 1},
            "unknown key 'grace_epoch' in search.early_stopping; did you mean 'grace_epochs'?",
        ),
        (
            ("search", "early_stopping"),
            {"grace_epochs": 0},
            "search.early_stopping: grace_epochs must be at least 1, got 0",
        ),
        (
            ("search", "early_stopping"),
            {"reduction": 1},
            "search.early_stopping: reduction must be at least 2, got 1",
        ),
        (
            ("search", "early_stopping"),
            {"grace_epochs": 1},
            "search.early_stopping.grace_epochs must be below training.epochs (= 1), got 1; lower",
        ),
        (("search", "cpus"), 0, "search: cpus must be above 0: a fraction up to 1, or a whole"),
        (("search", "cpus"), 1.5, "search: cpus must be above 0: a fraction up to 1, or a whole"),
        (("search", "gpus"), -1, "search: gpus must be at least 0: a fraction up to 1, or a who"),
        (("search", "gpus"), 2.5, "search: gpus must be at least 0: a fraction up to 1, or a wh"),
        (
            ("search", "sampler"),
            "evo",
            "sampler must be one of evolution, surrogate, tpe, nsga2, aging, reinforce, random,",
        ),
        (("space",), 7, "space: input should be a valid dictionary, got 7"),
        (("space",), {}, "space.resolution is missing; add it"),
        (("space", "stages"), [], "space.stages: list should have at least 1 item"),
        (("space", "activation"), "mish", "space.activation.0: input should be 'none', 'relu'"),
        ((*STAGE, "blocks"), [], "space.stages.0.blocks: dictionary should have at least 1 item"),
        ((*STAGE, "blocks"), "fir", "unknown block 'fir'; known blocks: depthwise_separable, "),
        ((*STAGE, "blocks"), [3], "a block must be a name, or a name with settings, got 3"),
        ((*STAGE, "blocks"), ["fire", "fire"], "blocks must differ, got 'fire' twice"),
        ((*STAGE, "width"), [8, 8], "space.stages.0.width: values must differ, got 8 twice"),
        ((*STAGE, "width"), [8, True], "space.stages.0.width: must not be true or false"),
        ((*STAGE, "depth"), [0], "space.stages.0.depth.0: input should be greater than or equal"),
        ((*STAGE, "prune_ratio"), [1.0], "space.stages.0.prune_ratio.0: input should be less th"),
        ((*STAGE, "precision"), "w9", "unknown precision 'w9'; known precisions: fp32, w8a8"),
        ((*STAGE, "precision"), [], "space.stages.0.precision: value should have at least 1 item"),
        ((*STAGE, "precision"), None, "space.stages.0.precision.0: input should be a valid strin"),
        (("space", "stem"), {"precision": "w9"}, "unknown precision 'w9'; known precisions: fp32"),
        (("space", "head"), {"precision": "w9"}, "unknown precision 'w9'; known precisions: fp32"),
        (("space", "head"), {"binarize": "all"}, "space.head.binarize.0: input should be 'none',"),
        (("space", "head"), {"weight_bits": 3}, "weight_bits 3 makes no precision with the other"),
        (
            ("space", "head"),
            {"weight_bits": 8, "activation_bits": [8, 4]},
            "space.head.precision: activation_bits 4 makes no precision with the other bits given",
        ),
        (
            ("space", "stem"),
            {"precision": "fp32", "binarize": "both", "weight_bits": 8},
            "space.stem: precision must not stand beside weight_bits and binarize, which mean",
        ),
        (
            ("space", "stem"),
            {"weight_bit": 8},
            "unknown key 'weight_bit' in space.stem; did you",
        ),
        (("objectives",), ["accuracy"], "objectives: value should have at least 2 items"),
        (("objectives",), ["macs", "macs"], "objectives: values must differ, got 'macs' twice"),
        (("objectives",), ["acc", "macs"], "objectives.0: unknown metric 'acc'; known metrics:"),
        (("constraints",), ["macs < 3"], "constraints.0: constraint 'macs < 3' must read"),
        (("baselines",), ["lenet"], "baselines.0: unknown network 'lenet'; known networks: ale"),
        (("baselines",), [{"network": "lenet5", "width": 0}], "baselines.0: width must be above"),
        (("baselines",), [{"network": "lenet5", "precision": "w9"}], "unknown precision 'w9'; kn"),
        (
            ("baselines",),
            [{"network": "lenet5", "resolution": 0}],
            "baselines.0: resolution must be at least 1, got 0",
        ),
        (("reference",), {"params": 3.0}, "reference is for objectives, got 'params'; the obj"),
        (("reference",), {"macs": float("nan")}, "reference.macs: input should be a finite num"),
        (("latency", "runtime"), "tvn", "latency.runtime: input should be 'tvm' or 'onnxruntime"),
        (("latency", "time_limit_s"), -1, "latency: time_limit_s must be above 0, got -1"),
        (("training", "learning_rate"), -1, "training learning_rate must be above 0, got -1.0"),
        (("training", "optimizer"), "adam", "training.optimizer: input should be 'adamw', 'sgd"),
        (
            ("training", "hold"),
            "zeros",
            "training.hold is of weights that are given, and a search draws",
        ),
        (("training",), None, "training: input should be a valid dictionary, got None"),
        (("data", "kind"), "digit", "data: unknown data kind 'digit'; known kinds: digits, fold"),
        (("data", "seed"), -1, "data.seed: input should be greater than or equal to 0, got -1"),
        (("data", "validation"), True, "data.validation: must not be true or false, got True"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_the_rule(
    read: Read, place: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read(changed(place, value))

    assert len(str(caught.value).splitlines()) == 1 + (value == {})


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/b", "/tmp/x", ".hidden", "-x", "", "a\n", "x" * 101]
)
def test_a_name_stays_a_folder_inside_the_runs(read: Read, name: str) -> None:
    with pytest.raises(UserError, match="name: a name must be 1 to 100 letters"):
        read(changed(("name",), name))


def test_every_mistake_has_a_line_of_its_own(read: Read) -> None:
    data = changed((*STAGE, "depht"), 1)
    del data["name"]
    data["search"]["trials"] = "x"
    data["objectives"] = ["acc", "macs"]
    data["constraints"] = ["?"]

    with pytest.raises(UserError) as caught:
        read(data)

    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert all("run.yaml: " in line for line in lines)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (
            [{"shuffle_v1": {"groups": [3]}}],
            r"stage0: block 'shuffle_v1' \(groups = 3, kernel_size = 3\) from 4 to 8 channels, "
            r"stride 2: .* must be divisible by groups \(=3\); take that value or block out",
        ),
        ([{"fire": {"nope": 3}}], "block 'fire' has no setting 'nope'; its settings are squeeze"),
        ([{"plain": {"kernel_size": 0}}], r"block 'plain' \(kernel_size = 0\): .* at least 1"),
        ([{"plain": {"kernel_size": "a"}}], "block 'plain': kernel_size must be like 1, 3, 5, go"),
        ([{"plain": {"kernel_size": 3.5}}], "block 'plain': kernel_size must be like 1, 3, 5"),
        (["skip"], "the first layer needs a block other than 'skip'"),
    ],
)
def test_a_block_that_does_not_fit_is_found_before_anything_starts(
    read: Read, blocks: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(changed((*STAGE, "blocks"), blocks)).config()


def test_a_resolution_too_small_for_the_strides_is_found_before_anything_starts(
    read: Read,
) -> None:
    with pytest.raises(UserError, match="resolution 2 is too small for strides that multiply to"):
        read(changed(("space", "resolution"), [2, 8])).config()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("search.trials=7", 7),
        ("search.sampler=tpe", "tpe"),
        ("training.augmentation.shift=0.1", 0.1),
        ("training.mixed_precision=off", "off"),
        ("training.learning_rate=1e-3", 0.001),
        ("search.storage=sqlite:///a=b.db", "sqlite:///a=b.db"),
        ("objectives=[accuracy, params]", ("accuracy", "params")),
    ],
)
def test_an_override_is_read_as_yaml(read: Read, text: str, value: object) -> None:
    found: Any = read(DATA, text)
    for part in text.partition("=")[0].split("."):
        found = getattr(found, part)

    assert found == value


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (None, None),
        ({}, EarlyStopping(1, 3)),
        ({"grace_epochs": 4, "reduction": 2}, EarlyStopping(4, 2)),
    ],
)
def test_early_stopping_is_off_or_a_record_that_survives_writing(
    read: Read, given: object, rule: EarlyStopping | None
) -> None:
    file = read(changed(("search", "early_stopping"), given), "training.epochs=9")

    assert file.config().search.early_stopping == rule
    assert read(to_yaml(file)) == file


def test_one_value_of_early_stopping_may_be_set_by_itself(read: Read) -> None:
    file = read(DATA, "training.epochs=9", "search.early_stopping.reduction=4")

    assert file.config().search.early_stopping == EarlyStopping(1, 4)


def test_a_run_file_from_before_early_stopping_is_the_run_that_it_was(read: Read) -> None:
    old = deepcopy(DATA)
    for key in ("early_stopping", "cpus", "gpus"):
        del old["search"][key]

    assert read(old) == tiny()
    assert (tiny().config().search.cpus, tiny().config().search.gpus) == (1, 0)


@pytest.mark.parametrize(("cpus", "gpus"), [(0.5, 0), (1, 0.25), (4, 2), (2.0, 1.0)])
def test_a_training_takes_a_share_or_whole_numbers(read: Read, cpus: float, gpus: float) -> None:
    search = read(DATA, f"search.cpus={cpus}", f"search.gpus={gpus}").config().search

    assert (search.cpus, search.gpus) == (cpus, gpus)


def test_an_override_may_add_a_section_or_fill_an_empty_one(read: Read) -> None:
    assert read({"name": "a", "space": SPACE}, "search.trials=3").search.trials == 3
    assert read(DATA | {"search": None}, "search.trials=3").search.trials == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search.trials", "must read key=value, e.g. --set search.trials=20"),
        ("=3", "must read key=value"),
        ("search.trials=[", "--set 'search.trials=[' is not YAML: while parsing"),
        ("search.trials.x=3", "'trials' holds a value, not keys; set it as a whole"),
        ("space.stages.0.depth=2", "'stages' holds a value, not keys; set it as a whole"),
        ("serch.trials=3", "unknown key 'serch' at the top; did you mean 'search'?"),
    ],
)
def test_a_wrong_override_is_refused(read: Read, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(DATA, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML: while parsing a flow node"),
        ("- 1", "must hold keys and values, got list"),
        ("", "must hold keys and values, got NoneType"),
        ("name: a\nname: b", "is not YAML: key 'name' is given twice"),
        ("1: 2\nname: a\nspace: {}", "1: keys should be strings"),
    ],
)
def test_what_is_no_run_file_is_refused(read: Read, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(UserError, match=r"cannot read .*none\.yaml: No such file"):
        read_run_file(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_run_file(tmp_path)
    with pytest.raises(UserError, match=r"bytes\.yaml is not text in UTF-8"):
        read_run_file(tmp_path / "bytes.yaml")


def test_a_name_that_looks_like_a_number_survives_writing(read: Read) -> None:
    file = tiny(name="1e3")

    assert read(to_yaml(file)) == file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "1" * 5000, "a number of 5000 digits, at most 40 are read, in line 1"),
        ("a: " + "[" * 3000, "values may nest 32 deep, in line 1"),
        ("a: !!int abc", "'abc' is no int, in line 1"),
        ("a: !!bool maybe", "'maybe' is no bool, in line 1"),
        ("a: !!float ''", "'' is no float, in line 1"),
        ("a: !!int 1:99", "'1:99' is no int, in line 1"),
        ("a: !!binary 1234", "is no plain value, in line 1"),
        ("a: !!set {b}", "is no plain value, in line 1"),
        ("a: &a [*a]", "an alias stands inside what it names, in line 1"),
        ("x" * 1_000_001, "it has 1000001 characters, at most 1000000 are read"),
    ],
)
def test_what_the_yaml_library_trips_over_is_one_line(read: Read, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read(text)

    assert len(str(caught.value).splitlines()) == 1


def test_aliases_that_stand_for_too_much_are_refused_before_they_are_made(read: Read) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]

    with pytest.raises(UserError, match="it holds more than 100000 values"):
        read("\n".join(rows))


@pytest.mark.parametrize(
    "text",
    ["", "1_000", "~", "off", "0o7", "\x85:\\", "a: b", "# no", "\u2028", " x ", "'\"", "1e5"],
)
def test_what_is_written_reads_back_whatever_its_letters(text: str) -> None:
    for data in ({"k": text}, {text: 1}, {"k": [text]}):
        assert yaml_text.load(yaml_text.dump(data)) == data


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((*STAGE, "depth"), 10**9),
        ((*STAGE, "width"), 10**9),
        ((*STAGE, "stride"), 10**9),
        (("space", "resolution"), 10**9),
        (("space", "round_to"), 10**9),
        (("space", "stem", "kernel_size"), 10**9),
        (("space", "head", "width"), 10**9),
    ],
)
def test_a_space_is_bounded(read: Read, place: tuple[str | int, ...], value: int) -> None:
    with pytest.raises(UserError, match="should be less than or equal to"):
        read(changed(place, value))


def test_a_setting_of_a_block_is_bounded(read: Read) -> None:
    for value in (10**6, 1e308):
        with pytest.raises(UserError, match="a block's setting must be at most 1024"):
            read(changed((*STAGE, "blocks"), [{"fire": {"expand_ratio": value}}]))


def test_differences_name_what_changed_and_nothing_else() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": 3}, "gone": True}
    new = {"a": 1, "b": {"c": [1, 3], "d": 3}, "new": "x" * 80}

    shown = "'" + "x" * 56 + "..."
    assert differences(old, new) == [
        "b.c: [1, 2] -> [1, 3]",
        "gone: True -> None",
        f"new: None -> {shown}",
    ]
    assert differences(old, old) == []
