"""From `arhivar demo` in an empty directory to everything on portal and drive, in seconds.

The floor beside it, in the same run: one client downloads the same zips from
the same simulator, straight, and does nothing with them.

    python tests/bench/bench_demo.py [--invoices N]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.demo import Demo, until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        demo = Demo(Path(directory) / "data", invoices=arguments.invoices)
        began = time.perf_counter()
        try:
            demo.start()
            answering = time.perf_counter() - began
            expected = _floor_downloads(demo, count_only=True)[0]
            until("every message filed", lambda: _filed(demo) >= expected, 300)
            filed = time.perf_counter() - began
            demo.settled(seconds=300)
            rendered = time.perf_counter() - began
            count, floor = _floor_downloads(demo)
        finally:
            demo.kill_everything()
    print(f"{'step':34}{'s':>8}")
    print(f"{'portal and drive answer':34}{answering:8.1f}")
    print(f"{f'{expected} messages filed, visible':34}{filed:8.1f}")
    print(f"{'every PDF made':34}{rendered:8.1f}")
    print(f"{f'floor: {count} zips downloaded only':34}{floor:8.1f}")
    print(f"{'ratio of filing to the floor':34}{(filed - answering) / floor:8.1f}")


def _filed(demo: Demo) -> int:
    return len(list((demo.data / "archive").glob("*/*/*/*/manifest.json")))


def _floor_downloads(demo: Demo, *, count_only: bool = False) -> tuple[int, float]:
    """List and download everything as the simplest possible client would."""
    spv = json.loads((demo.data / "simulator.json").read_text())
    count = 0
    began = time.perf_counter()
    with httpx.Client(
        base_url=f"{spv['url']}/prod/FCTEL/rest",
        headers={"Authorization": f"Bearer {spv['access_token']}"},
    ) as anaf:
        for cif in spv["cifs"]:
            listed = anaf.get("/listaMesajeFactura", params={"zile": 60, "cif": cif}).json()
            for message in listed.get("mesaje", []):
                count += 1
                if not count_only:
                    anaf.get("/descarcare", params={"id": message["id"]})
    return count, time.perf_counter() - began


if __name__ == "__main__":
    main()
