"""Redaction: passwords in database addresses stay out of messages, records and reports."""

import re


def without_passwords(text: str) -> str:
    """Returns ``text`` with the password of every address in it replaced by stars.

    >>> without_passwords("storage: postgresql+psycopg://me:p@ss@host/db?sslmode=require")
    'storage: postgresql+psycopg://me:***@host/db?sslmode=require'
    >>> without_passwords("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    """
    text = re.sub(r"(://[^\s:/@]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|passwd|pwd)=)[^\s&]*", r"\1***", text)
