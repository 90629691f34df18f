"""Addresses of studies: which are taken, and what of them, and of any text, is never repeated.

A password may stand in an address. It stays in this process's memory: what is written or printed
has stars, and an address that cannot be read is not repeated at all, as nobody can say where in
it a password is.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

JOURNAL = "journal:"
SQLITE = "sqlite"
SERVERS = ("postgresql", "mysql", "mariadb")
KNOWN = "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, sqlite:///FILE, journal:PATH"
NOT_REPEATED = "a value that is not repeated here, as it may hold a password"

LOGIN = r"(://[^\s:/@]*)"  # what stands before a password
# A name that holds a secret: password, sslpassword, pass, access_token, api_key, ...
SECRET = r"(?i:[\w.-]*(?:pass|pwd|secret|token|api[_-]?key|credential)[\w.-]*)"
KEY = f"{SECRET}="
# What follows a login is a password, even where no host does: a port has digits alone.
NO_HOST = r"(:/+[^\s:/@\[]*):(?!\d*(?:[/?\s'\"]|$))[^\s@]*"
SUSPECT = re.compile(rf":.*@|{NO_HOST}|{SECRET}['\"]?\s*[=:]", re.DOTALL)
# A user at a host, and no password: what was written down, and may be said.
NO_PASSWORD = re.compile(r"[\w+.-]+://[^\s:/@;?]*@[^\s:@;?]*(?::\d+)?(?:/[^\s:@;?]*)?")
LEAST_REMEMBERED = 4  # letters of a password that is looked for in every text

_remembered: set[str] = set()


def check_address(url: str) -> None:
    """Makes sure that an address is of a known kind, and says what it seems to say.

    Raises:
        UserError: If it is not; the message lists the known ones and repeats no password.
    """
    kind = url.partition(":")[0].partition("+")[0]
    if kind not in (*SERVERS, SQLITE, JOURNAL.rstrip(":")):
        said = repr(kind) if re.fullmatch(r"[\w-]{1,40}", kind) else "what it begins with"
        raise UserError(
            f"cannot open study storage: {said} is no known kind; check that the address reads "
            f"like one of {KNOWN}"
        )
    if url in (JOURNAL, "sqlite://"):
        raise UserError(f"cannot open study storage {url}: it names no file; name one after it")
    if url.startswith(JOURNAL):
        return
    if kind in SERVERS and any(letter.isspace() for letter in url):
        raise UserError(
            "cannot open study storage: its address holds a space; check that a password writes a "
            "space as %20"
        )
    from sqlalchemy.engine import make_url  # slow, and needed for databases alone
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
        parsed.port  # noqa: B018  (a port that is no number)
    except (ArgumentError, ValueError):
        raise UserError(
            f"cannot open study storage: its address ({kind}) cannot be read and is not repeated "
            f"here; check that it reads like one of {KNOWN}"
        ) from None
    if "@" in (parsed.host or "") or (kind in SERVERS and "@" in (parsed.database or "")):
        raise UserError(
            "cannot open study storage: its address holds a second @; check that a password "
            "writes @ as %40"
        )


def remember(url: str) -> None:
    """Has the password of an address be replaced in every text from now on."""
    for found in (*re.findall(rf"{LOGIN}:(.*)@", url), *re.findall(rf"[?&;]({KEY})([^&]*)", url)):
        for secret in {found[1], unquote(found[1])}:
            if len(secret) >= LEAST_REMEMBERED:
                _remembered.add(secret)


def without_passwords(text: str) -> str:
    """Returns ``text`` with the password of every address in it replaced by stars.

    >>> without_passwords("storage: postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'storage: postgresql+psycopg://me:***@host/db?sslmode=require'
    >>> without_passwords("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    >>> without_passwords("postgresql://host/db?pass=secret&sslkey=my.key&API_KEY=t")
    'postgresql://host/db?pass=***&sslkey=my.key&API_KEY=***'
    >>> without_passwords("me:secret@host and postgresql:/me:secret@host/db;password=secret")
    'me:***@host and postgresql:/me:***@host/db;password=***'
    """
    for secret in sorted(_remembered, key=len, reverse=True):
        # One that is itself called like a key leaves keys as they are, whose values follow.
        not_a_key = r"(?![\w.-]*=)" if re.search(SECRET, secret) else ""
        text = re.sub(re.escape(secret) + not_a_key, "***", text)
    text = re.sub(rf"{LOGIN}:(?!PASSWORD@)\S*@", r"\1:***@", text)
    text = re.sub(r":(?!/|\s|PASSWORD@|\*\*\*@)\S*@", ":***@", text)
    text = re.sub(rf"{NO_HOST}(?!\S*@)", r"\1:***", text)
    return re.sub(rf"({KEY})[^\s&]*", r"\1***", text)


def argument(text: str) -> str:
    """Returns one argument of a command as it may be written down, whatever its password holds.

    >>> argument("search.storage=postgresql://me:two words@host/db")
    'search.storage=postgresql://me:***@host/db'
    """
    text = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return without_passwords(re.sub(rf"({KEY})[^&]*", r"\1***", text, flags=re.DOTALL))


def told(value: object) -> str:
    """Returns a value as a message may repeat it.

    >>> told(["a", 3]), told({"postgresql://me:secret@host": None}) == NOT_REPEATED
    ("['a', 3]", True)
    >>> told("postgresql://me@host/db")
    "'postgresql://me@host/db'"
    """
    return NOT_REPEATED if is_suspect(value) else shown(value)


def is_suspect(value: object, looked_at: int = 10_000) -> bool:
    """Whether some text in a value, however long and deep, may hold a password."""
    left = [value]
    for _ in range(looked_at):
        if not left:
            return False
        each = left.pop()
        if isinstance(each, str):
            if SUSPECT.search(each) and not NO_PASSWORD.fullmatch(each):
                return True
        elif isinstance(each, Mapping):
            if any(isinstance(key, str) and re.fullmatch(SECRET, key) for key in each):
                return True
            left += [*each, *each.values()]
        elif isinstance(each, list | tuple | set):
            left += each
    return True


def address_only(url: str) -> str:
    """Returns a database's address as it may be written to disk: without its password.

    >>> address_only("postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'postgresql+psycopg://me@host/db?sslmode=require'
    >>> address_only("postgresql://host/db?password=secret&user=me")
    'postgresql://host/db?user=me'
    >>> address_only("postgresql://host/db?sslpassword=a&client_secret=b&sslmode=require&pass=c")
    'postgresql://host/db?sslmode=require'
    >>> address_only("sqlite:///studies.db")
    'sqlite:///studies.db'
    """
    url = re.sub(r"(://[^:/@]*):.*@", r"\1@", url, flags=re.DOTALL)
    url = re.sub(rf"([?&])(?:{KEY}[^&]*&)+", r"\1", url)
    return re.sub(rf"[?&;]{KEY}[^&]*$", "", url)
