"""YAML text as run files use it: version 1.2, in which ``off`` is text, and no key twice.

What is read is bounded while it is read (characters, depth, digits, what aliases stand for), and
holds plain data alone; what is written reads back as the same.
"""

import json
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import Node, ScalarNode

from nas.problem.addresses import told
from search_spaces.graphs.schema import MOST_DIGITS

__all__ = ["YAMLError", "dump", "load"]

MOST_CHARACTERS = 1_000_000
MOST_DEPTH = 32
MOST_NODES = 100_000  # with what aliases stand for
PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq")}
PLAIN |= {f"tag:yaml.org,2002:{kind}" for kind in ("map", "timestamp")}


class BoundedComposer(Composer):
    """Stops at a text that nests too deep, or whose aliases stand for too much."""

    depth = nodes = 0

    def compose_node(self, parent: Node | None, index: object) -> Node:
        if not hasattr(self, "sizes"):
            self.sizes: dict[int, int] = {}  # nodes of what an anchor names, when it is whole
        mark, is_alias = self.parser.peek_event().start_mark, self.parser.check_event(AliasEvent)
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise ComposerError(None, None, f"values may nest {MOST_DEPTH} deep", mark)
        before = self.nodes
        node: Node = super().compose_node(parent, index)
        self.nodes += self.sizes.get(id(node), 0) if is_alias else 1
        if is_alias and id(node) not in self.sizes:
            raise ComposerError(None, None, "an alias stands inside what it names", mark)
        if self.nodes > MOST_NODES:
            raise ComposerError(None, None, f"it holds more than {MOST_NODES} values", mark)
        if not is_alias:
            self.sizes[id(node)] = self.nodes - before
        self.depth -= 1
        return node


class Constructor(SafeConstructor):
    """Makes plain data; a date is text."""

    def check_mapping_key(
        self, node: Node, key_node: Node, mapping: dict[Any, Any], key: object, value: object
    ) -> bool:
        if key in mapping:
            message = f"key {told(key)} is given twice"
            raise ConstructorError(None, None, message, key_node.start_mark)
        return True

    def construct_object(self, node: Node, deep: bool = False) -> object:
        kind = str(node.tag).rpartition(":")[2]
        if node.tag not in PLAIN:
            raise refusal(node, f"{told(node.tag)} is no plain value")
        is_number = isinstance(node, ScalarNode) and kind in ("int", "float")
        if is_number and len(node.value) > MOST_DIGITS:
            digits = len(node.value)
            raise refusal(node, f"a number of {digits} digits, at most {MOST_DIGITS} are read")
        try:
            return super().construct_object(node, deep)
        except YAMLError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError):
            raise refusal(node, f"{told(node.value)} is no {kind}") from None


def refusal(node: Node, message: str) -> ConstructorError:
    return ConstructorError(None, None, message, node.start_mark)


Constructor.add_constructor("tag:yaml.org,2002:timestamp", Constructor.construct_yaml_str)


def reader_and_writer() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    yaml.Composer = BoundedComposer
    yaml.default_flow_style = False
    yaml.representer.sort_base_mapping_type_on_output = False
    return yaml


def load(text: str) -> Any:  # noqa: ANN401  (whatever it holds)
    """Returns what ``text`` holds.

    >>> load("{switch: off, rate: 1e-3, again: yes, day: 2026-11-30}")
    {'switch': 'off', 'rate': 0.001, 'again': 'yes', 'day': '2026-11-30'}

    Raises:
        YAMLError: If it is not YAML, is too long or too deep, holds anything but plain values, or
            a key is given twice.
    """
    if len(text) > MOST_CHARACTERS:
        raise YAMLError(f"it has {len(text)} characters, at most {MOST_CHARACTERS} are read")
    try:
        return reader_and_writer().load(text)
    except YAMLError:
        raise
    except Exception as error:  # the library takes some texts apart without looking
        raise YAMLError(f"it cannot be read ({type(error).__name__})") from None


def reason_of(error: YAMLError) -> str:
    """Returns what is wrong and where, in one line, without the text around it.

    >>> try:
    ...     load("a: 1\\na: 2")
    ... except YAMLError as error:
    ...     print(reason_of(error))
    key 'a' is given twice, in line 2
    """
    if not isinstance(error, MarkedYAMLError):
        return shown_line(str(error))
    mark = error.problem_mark or error.context_mark
    what = " ".join(filter(None, (error.context, error.problem)))
    return shown_line(what) + (f", in line {mark.line + 1}" if mark else "")


def shown_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def dump(data: Any) -> str:  # noqa: ANN401
    """Returns ``data`` as YAML, keys in their order; it reads back as the same.

    >>> dump({"switch": "off", "name": "1e3"})
    "switch: off\\nname: '1e3'\\n"
    """
    written = StringIO()
    reader_and_writer().dump(data, written)
    text = written.getvalue()
    # JSON is YAML too, and says of every text that it is one.
    return text if reads_back(text, data) else json.dumps(data, indent=1) + "\n"


def reads_back(text: str, data: object) -> bool:
    try:
        return bool(load(text) == data)
    except YAMLError:
        return False
