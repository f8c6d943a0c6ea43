"""Print the versions of the peers that are installed as one JSON object."""
import importlib.metadata
import json

found = {}
for name in ("torch", "numpy", "flwr", "ray", "onnxruntime"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
