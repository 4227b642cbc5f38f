"""What the simulator itself costs: a start with 200,000 messages, memory, CPU per list page and
per download. So one can subtract it from a benchmark that runs against it.

Run: python tests/bench/bench_simulator.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import httpx

from tests.support.process import cpu, memory
from tests.support.simulator import simulator_process

CLIENTS, MESSAGES, DOWNLOADS = 500, 200_000, 2000


def main() -> None:
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as directory,
        simulator_process(Path(directory), clients=CLIENTS, invoices=MESSAGES) as simulator,
    ):
        print(
            f"start        {time.perf_counter() - started:8.2f} s, "
            f"{cpu(simulator.pid):.2f} s CPU, {memory(simulator.pid).rss:.0f} MB, "
            f"{CLIENTS} clients, {MESSAGES:,} messages"
        )
        measure(simulator.pid, simulator.about)


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
    print(f"memory after {memory(process).rss:8.0f} MB")


if __name__ == "__main__":
    main()
