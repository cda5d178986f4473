"""faceswap-serve: face swapping behind the Midjourney-Proxy HTTP contract, on Ray Serve."""

import os

# ONNX Runtime reads this when it is imported: without it, it writes an identity into the home directory and phones home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
