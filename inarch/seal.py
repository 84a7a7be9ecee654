"""A result says whether it was changed after it was written: it carries the SHA-256 of all its other fields.

The seal shows an accident or an edit by hand, not forgery: whoever changes a number can also compute a new seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch import files
from inarch.errors import Corrupt

SEAL = "seal"


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, and their seal in place of an older one."""
    plain = {key: value for key, value in fields.items() if key != SEAL}
    return plain | {SEAL: files.sha256(files.canonical(plain))}


def check_seal(fields: Mapping[str, Any], path: Path) -> None:
    """Raise ``Corrupt`` where the fields are not those that were sealed; results of versions without a seal pass."""
    if SEAL not in fields:
        return
    found = sealed(fields)[SEAL]
    if fields[SEAL] != found:
        raise Corrupt(f"{path} was changed after the run wrote it (sha256 {found[:12]}, sealed as {str(fields[SEAL])[:12]}); restore the "
                      "file, or train again")


def read_result(path: Path, cap: int = 64 << 20) -> dict[str, Any]:
    """The fields of a result file; raises ``Corrupt`` where it is none, or was changed after it was sealed."""
    fields = files.parse_json(files.read(path, cap=cap), path)
    check_seal(fields, path)
    return fields


__all__ = ["SEAL", "check_seal", "read_result", "sealed"]
