"""Redaction: passwords in database addresses stay out of messages, records and reports."""

import re

LOGIN = r"(://[^\s:/@]*)"  # what stands before a password
SECRET = r"(?:password|passwd|pwd)=[^\s&'\"]*"


def without_passwords(text: str) -> str:
    """Returns ``text`` with the password of every address in it replaced by stars.

    >>> without_passwords("storage: postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'storage: postgresql+psycopg://me:***@host/db?sslmode=require'
    >>> without_passwords("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    """
    text = re.sub(rf"{LOGIN}:\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|passwd|pwd)=)[^\s&]*", r"\1***", text)


def address_only(url: str) -> str:
    """Returns a database's address as it may be written to disk: without its password.

    >>> address_only("postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'postgresql+psycopg://me@host/db?sslmode=require'
    >>> address_only("postgresql://host/db?password=secret&user=me")
    'postgresql://host/db?user=me'
    >>> address_only("sqlite:///studies.db")
    'sqlite:///studies.db'
    """
    url = re.sub(rf"{LOGIN}:.*@", r"\1@", url)
    url = re.sub(rf"([?&]){SECRET}&", r"\1", url)
    return re.sub(rf"[?&]{SECRET}$", "", url)
