"""YAML text as run files use it: version 1.2, in which ``off`` is text, and no key twice."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import Node

__all__ = ["YAMLError", "dump", "load"]


class Constructor(SafeConstructor):
    """Makes plain data; a date is text."""

    def check_mapping_key(
        self, node: Node, key_node: Node, mapping: dict[Any, Any], key: object, value: object
    ) -> bool:
        if key in mapping:
            raise ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        return True


Constructor.add_constructor("tag:yaml.org,2002:timestamp", Constructor.construct_yaml_str)


def reader_and_writer() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    yaml.default_flow_style = False
    yaml.representer.sort_base_mapping_type_on_output = False
    return yaml


def load(text: str) -> Any:  # noqa: ANN401  (whatever it holds)
    """Returns what ``text`` holds.

    >>> load("{switch: off, rate: 1e-3, again: yes, day: 2026-11-30}")
    {'switch': 'off', 'rate': 0.001, 'again': 'yes', 'day': '2026-11-30'}

    Raises:
        YAMLError: If it is not YAML, or a key is given twice.
    """
    return reader_and_writer().load(text)


def dump(data: Any) -> str:  # noqa: ANN401
    """Returns ``data`` as YAML, keys in their order.

    >>> dump({"switch": "off", "name": "1e3"})
    "switch: off\\nname: '1e3'\\n"
    """
    written = StringIO()
    reader_and_writer().dump(data, written)
    return written.getvalue()
