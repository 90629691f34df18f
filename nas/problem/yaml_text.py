"""YAML text as run files use it: the core schema of YAML 1.2, and no key twice.

PyYAML reads YAML 1.1, where ``off`` is a truth value, ``1e-3`` is text, and the last of two equal
keys wins in silence.

Source: https://yaml.org/spec/1.2.2/#103-core-schema.
Differs from it: hexadecimal and octal numbers are text; ``<<`` merges, as in YAML 1.1.
"""

import re
from typing import Any

import yaml

# What plain text means: tag, pattern, first characters.
PLAIN = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", r"<<", "<"),
)


class Loader(yaml.SafeLoader):
    """Reads YAML."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's way to say it)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for tag, pattern, first in PLAIN:
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first)
    )


class Dumper(yaml.SafeDumper):
    """Writes YAML, with quotes around text that ``Loader`` would take for something else."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def load(text: str) -> Any:  # noqa: ANN401  (whatever it holds)
    """Returns what ``text`` holds.

    >>> load("{switch: off, rate: 1e-3, again: yes}")
    {'switch': 'off', 'rate': 0.001, 'again': 'yes'}

    Raises:
        yaml.YAMLError: If it is not YAML, or a key is given twice.
    """
    return yaml.load(text, Loader)


def dump(data: Any) -> str:  # noqa: ANN401
    """Returns ``data`` as YAML, keys in their order.

    >>> dump({"name": "1e3", "switch": "off"})
    "name: '1e3'\\nswitch: off\\n"
    """
    return yaml.dump(data, Dumper=Dumper, sort_keys=False)
