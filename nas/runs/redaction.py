"""Redaction: passwords in database addresses stay out of messages, records and reports."""

import re

LOGIN = r"(://[^\s:/@]*)"  # what stands before a password
# A key of a query that holds a secret: password, sslpassword, access_token, client_secret, ...
KEY = r"(?i:[\w.-]*(?:password|passwd|pwd|token|secret)[\w.-]*)="


def without_passwords(text: str) -> str:
    """Returns ``text`` with the password of every address in it replaced by stars.

    >>> without_passwords("storage: postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'storage: postgresql+psycopg://me:***@host/db?sslmode=require'
    >>> without_passwords("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    >>> without_passwords("postgresql://host/db?sslpassword=secret&sslkey=my.key&ACCESS_TOKEN=t")
    'postgresql://host/db?sslpassword=***&sslkey=my.key&ACCESS_TOKEN=***'
    """
    text = re.sub(rf"{LOGIN}:\S*@", r"\1:***@", text)
    return re.sub(rf"([?&]{KEY})[^\s&]*", r"\1***", text)


def address_only(url: str) -> str:
    """Returns a database's address as it may be written to disk: without its password.

    >>> address_only("postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'postgresql+psycopg://me@host/db?sslmode=require'
    >>> address_only("postgresql://host/db?password=secret&user=me")
    'postgresql://host/db?user=me'
    >>> address_only("postgresql://host/db?sslpassword=a&client_secret=b&sslmode=require&token=c")
    'postgresql://host/db?sslmode=require'
    >>> address_only("sqlite:///studies.db")
    'sqlite:///studies.db'
    """
    url = re.sub(rf"{LOGIN}:.*@", r"\1@", url)
    url = re.sub(rf"([?&])(?:{KEY}[^&]*&)+", r"\1", url)
    return re.sub(rf"[?&]{KEY}[^&]*$", "", url)
