"""Writes the files that are made from the contracts and `mesh/policy.yaml`, a step of `make gen`.

They are checked in; `make check` makes them again and fails on a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.ctl import policy
from services.ctl.render import backing, deployed, event_pages

ROOT = Path(__file__).resolve().parents[2]


def files() -> Mapping[str, str]:
    """Return the text of each file by its path from the root of the repository."""
    table = policy.load()
    return {**backing.files(table), **deployed.files(table), **event_pages.files(table)}


def main() -> None:
    """Write all of them."""
    for name, text in files().items():
        file = ROOT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main()
