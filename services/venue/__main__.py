"""`python -m services.venue`: run the paper venue."""

from __future__ import annotations

import sys

from services.catalog.processes import VENUE
from services.kit.process import run
from services.kit.settings import load
from services.venue.app import build
from services.venue.settings import VenueSettings

if __name__ == "__main__":
    sys.exit(run(VENUE, load(VenueSettings), build))
