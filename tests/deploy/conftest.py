"""What the tests of deployment share with those from outside: the real sidecar."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "outside"))
