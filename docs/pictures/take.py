"""Take a picture of a page's first screen: `take.py demo/report.html docs/pictures/report.png`.

Needs Chromium and Pillow. The picture is given a palette, so that it stays small.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT = 200_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a picture of a page's first screen.")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    options = parser.parse_args()

    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    if not options.page.is_file():
        raise SystemExit(f"{options.page} is not there: `make demo` makes demo/report.html")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        take(browser, options.page, shot, options.width, options.height)
        with Image.open(shot) as image:
            small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(options.picture, optimize=True)
    size = options.picture.stat().st_size
    print(f"{options.picture}: {options.width}x{options.height}, {size / 1000:.0f} kB")
    if size > LIMIT:
        raise SystemExit(f"{options.picture} is larger than {LIMIT / 1000:.0f} kB")


def take(browser: str, page: Path, shot: Path, width: int, height: int) -> None:
    command = [
        browser, "--headless", "--hide-scrollbars", "--disable-gpu",
        f"--screenshot={shot}", f"--window-size={width},{height}", page.resolve().as_uri(),
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # which Chromium refuses to set up for root
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not shot.is_file():
        raise SystemExit(f"{browser} took no picture:\n{done.stderr}")


if __name__ == "__main__":
    main()
