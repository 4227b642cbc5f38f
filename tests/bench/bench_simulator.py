"""What the simulator itself costs: a start with 200,000 messages, memory, CPU per list page and
per download. So one can subtract it from a benchmark that runs against it.

Run: python tests/bench/bench_simulator.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402

from tests.support.demo import free_port  # noqa: E402

CLIENTS, MESSAGES, DOWNLOADS = 500, 200_000, 2000
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(process: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(process: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        described = Path(directory) / "spv.json"
        port = free_port()
        started = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable, "-m", "appliance", "simulator", "--port", str(port),
                "--clients", str(CLIENTS), "--invoices", str(MESSAGES), "--no-limits",
                "--json", str(described),
            ],
            cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not described.exists() and process.poll() is None:
                time.sleep(0.01)
            print(
                f"start        {time.perf_counter() - started:8.2f} s, "
                f"{cpu(process.pid):.2f} s CPU, {resident(process.pid):.0f} MB, "
                f"{CLIENTS} clients, {MESSAGES:,} messages"
            )
            measure(process.pid, json.loads(described.read_text()))
        finally:
            process.terminate()
            process.wait()


def measure(process: int, about: dict[str, object]) -> None:
    headers = {"Authorization": f"Bearer {about['access_token']}"}
    cifs = about["cifs"]
    assert isinstance(cifs, list)
    with httpx.Client(base_url=str(about["url"]), headers=headers, timeout=60) as client:
        api = "/prod/FCTEL/rest"
        before = cpu(process)
        for _ in range(500):
            client.get("/TestOauth/jaxrs/hello")
        print(f"a bare call  {(cpu(process) - before) / 500 * 1000:8.2f} ms CPU (HTTP and token)")
        ids = []
        now = int(time.time() * 1000)
        before = cpu(process)
        for cif in cifs:
            answer = client.get(
                f"{api}/listaMesajePaginatieFactura",
                params={
                    "startTime": now - 59 * 86_400_000,
                    "endTime": now - 60_000,
                    "cif": cif,
                    "pagina": 1,
                },
            )
            ids += [entry["id"] for entry in answer.json()["mesaje"]]
        spent = (cpu(process) - before) / len(cifs) * 1000
        print(f"a list page  {spent:8.2f} ms CPU ({len(ids) // len(cifs)} entries)")
        chosen = ids[:: max(1, len(ids) // DOWNLOADS)][:DOWNLOADS]
        before, size = cpu(process), 0
        for message_id in chosen:
            size += len(client.get(f"{api}/descarcare", params={"id": message_id}).content)
        spent = (cpu(process) - before) / len(chosen) * 1000
        print(f"a download   {spent:8.2f} ms CPU ({size / len(chosen) / 1000:.1f} kB, signed anew)")
    print(f"memory after {resident(process):8.0f} MB")


if __name__ == "__main__":
    main()
