"""Photograph pages with Chromium (Debian: apt-get install chromium): of the built site to be looked at, of a run for the documents.

    python scripts/screenshots.py site shots/                  make docs first; one PNG per page of the list below, light
    python scripts/screenshots.py report docs/pictures/        trains a small run on the digits and keeps the top of its report.html
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from inarch import files
from inarch.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = {  # page of the site -> how much of it, in pixels
    "index": 1500, "getting-started": 2200, "methods": 8200, "add-a-method": 2600, "add-a-backbone": 2600, "protocols": 2200,
    "performance": 2600, "api/core": 2400, "api/methods": 2400, "api/extending": 2000, "api/peft": 2000,
    "notebooks/classify-a-folder": 2600, "notebooks/few-shot-clip": 2600, "notebooks/questions-about-pictures": 2800,
    "reliability": 1600, "source/bench": 1800, "peft": 1600, "data": 1600,
}
REPORT = {"data": "digits", "backbone": "mini-vit", "method": "arc", "set": {"rank": 16}, "image_size": 16, "epochs": 3, "seed": 0,
          "threads": 1, "tensorboard": False}


def photograph(page: Path, out: Path, width: int, height: int) -> Path:
    """The upper ``height`` pixels of a local page, in a window ``width`` wide."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ConfigError(f"no browser; known: {', '.join(BROWSERS)}; on Debian: apt-get install chromium")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000")
    subprocess.run([browser, *flags, f"--window-size={width},{height}", f"--screenshot={out}", page.resolve().as_uri()], check=True,
                   capture_output=True)
    return out


def site(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for page, height in PAGES.items():
        print(photograph(SITE / f"{page}.html", out / f"{page.replace('/', '-')}.png", 1600, height))


def report(out: Path) -> None:
    """``report.png``, of few colours so that it stays small."""
    from inarch.recipe import Recipe
    from inarch.train import train

    with tempfile.TemporaryDirectory() as folder:
        run = train(Recipe.parse(REPORT | {"out": f"{folder}/digits"}))
        shot = photograph(run / "report.html", Path(folder) / "report.png", 1100, 1150)
        Image.open(shot).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(shot, optimize=True)
        files.write(out / "report.png", shot.read_bytes())
    print(out / "report.png")


def main(words: list[str]) -> None:
    if len(words) != 2 or words[0] not in ("site", "report"):
        raise SystemExit(__doc__)
    {"site": site, "report": report}[words[0]](Path(words[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
