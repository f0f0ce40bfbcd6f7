"""Runs one case with nothing but numpy and ONNX Runtime; started by test_foreign_runtimes.

python -I -S foreign_runtime.py PACKAGES CASE OUT: the case is that of tests/web/run.mjs.
"""

import json
import sys
from pathlib import Path

FOREIGN = {"torch", "onnx", "pyarrow", "pandas", "sklearn", "prefect", "pipeline"}


def main(packages: str, case_path: str, out_path: str) -> None:
    sys.path.append(packages)
    import numpy as np
    import onnxruntime

    dtypes = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "string": object}
    case = json.loads(Path(case_path).read_text(encoding="utf-8"))
    feeds = {}
    for name, told in case["inputs"].items():
        data = [float("nan") if value is None else value for value in told["data"]]
        data = [int(value) for value in data] if told["type"] == "int64" else data
        feeds[name] = np.array(data, dtypes[told["type"]]).reshape(told["dims"])
    session = onnxruntime.InferenceSession(case["model"], providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], feeds)
    np.save(out_path, found)
    print(json.dumps(sorted(FOREIGN & set(sys.modules))))


if __name__ == "__main__":
    main(*sys.argv[1:])
