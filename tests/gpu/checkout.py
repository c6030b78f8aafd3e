"""Importing this lets the scripts find edgerep in their own checkout, installed or not."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]
