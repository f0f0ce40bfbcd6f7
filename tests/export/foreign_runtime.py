"""Runs one case with nothing but numpy and ONNX Runtime; started by test_foreign_runtimes.

python -I -S foreign_runtime.py PACKAGES CASE OUT: the case is that of tests/web/run.mjs.
"""

import json
import sys

packages, case_path, out_path = sys.argv[1:]
sys.path.append(packages)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

with open(case_path, encoding="utf-8") as file:  # noqa: PTH123
    case = json.load(file)
DTYPES = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "string": object}
feeds = {}
for name, told in case["inputs"].items():
    data = [float("nan") if value is None else value for value in told["data"]]
    data = [int(value) for value in data] if told["type"] == "int64" else data
    feeds[name] = np.array(data, DTYPES[told["type"]]).reshape(told["dims"])
session = onnxruntime.InferenceSession(case["model"], providers=["CPUExecutionProvider"])
(found,) = session.run(["embedding"], feeds)
np.save(out_path, found)
foreign = {"torch", "onnx", "pyarrow", "pandas", "sklearn", "prefect", "pipeline"}
print(json.dumps(sorted(foreign & set(sys.modules))))
