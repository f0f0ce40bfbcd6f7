"""Training, resuming, opening a bundle and embedding unpickle nothing, whatever lies about."""

import json
import pickle  # noqa: TID251
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bundle import Bundle

WATCHED = """
import json, sys
from pathlib import Path

seen = []
sys.addaudithook(lambda event, told: event.startswith("pickle.") and seen.append(str(told)))

import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pipeline import embed
from pipeline.config import EmbeddingJob
from pipeline.encoder import Encoder
from pipeline.progress import Silent
from training.checkpoint import Checkpoint
from training.fit import fit, work_folder
from training.spec import TrainingConfig, TrainingJob

folder, bundle, source, evil = (Path(one) for one in sys.argv[1:])

def plant(where):
    names = "evil.pt evil.pkl state.pt checkpoint.pt weights.bin pytorch_model.bin model.joblib"
    for name in names.split():
        (where / name).write_bytes(evil.read_bytes())

class Killed(Exception):
    pass

class KillAfter(Silent):
    steps = 0
    def advance(self, amount=1, **told):
        self.steps += amount
        if "loss" in told and self.steps > 30:
            raise Killed

random = np.random.default_rng(0)
rows = {"id": np.arange(400), **{f"x{i}": random.normal(size=400) for i in range(4)}}
pq.write_table(pa.table(rows), folder / "table.parquet")
config = TrainingConfig(steps=40, checkpoint_every=10, rows_per_batch=32)
job = TrainingJob(source=str(folder / "table.parquet"), out=str(folder / "model"),
                  recipe="plain", dim=2, key=("id",), training=config)
try:
    fit(job, progress=KillAfter())
except Killed:
    plant(work_folder(job.out))
else:
    raise SystemExit("training was not stopped")
fit(job)
plant(work_folder(job.out) / "result")
Checkpoint.load(work_folder(job.out) / "result")

plant(bundle)
Encoder.open(bundle)
embed(EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(folder / "to")))
found = list(seen)

import pickle  # the hook works
pickle.loads(evil.read_bytes())
print(json.dumps({"unpickled": found, "afterwards": len(seen)}))
"""


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.mark), "a")


@pytest.mark.integration
def test_planted_pickles_are_never_read(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    copy, evil, mark = tmp_path / "bundle", tmp_path / "evil", tmp_path / "mark"
    copy.mkdir()
    for file in bundle.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    evil.write_bytes(pickle.dumps(Evil(mark)))
    script = f"{WATCHED}\nassert Path({str(mark)!r}).exists()"
    paths = [str(path) for path in (tmp_path, copy, source, evil)]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"unpickled": [], "afterwards": 1}
