"""Python stubs of `proto/`, generated for each run into a temporary folder.

Importing this module generates them and puts the folder on `sys.path`, so that tables of test
cases can name messages. It is removed when the run ends. Processes that the tests spawn inherit
`sys.path` and find the same folder. The modules of the client library, which is a package of the
same name, are linked into it.
"""

import atexit
import shutil
import sys
import tempfile
from importlib import import_module, resources
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PROTO = REPOSITORY / "proto"
CLIENT = REPOSITORY / "deploy" / "clients" / "python"


def generate(proto: Path, out: str) -> None:
    """Compiles every proto file below `proto` into Python modules below `out`."""
    from grpc_tools import protoc

    files = sorted(str(path) for path in proto.rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    arguments = ["", f"-I{proto}", f"-I{well_known}", f"--python_out={out}"]
    if protoc.main([*arguments, f"--grpc_python_out={out}", *files]) != 0:
        raise RuntimeError(f"cannot compile {files}")


try:
    # A spawned process finds the stubs that its parent generated.
    import_module("imquota.v1.quota_service_pb2")
except ImportError:
    _out = tempfile.mkdtemp(prefix="imquota-stubs-")
    atexit.register(shutil.rmtree, _out, ignore_errors=True)
    generate(PROTO, _out)
    for _module in (CLIENT / "src" / "imquota").iterdir():
        if _module.name not in ("v1", "__pycache__"):
            (Path(_out) / "imquota" / _module.name).symlink_to(_module)
    sys.path.insert(0, _out)

from imquota.v1 import admin_service_pb2 as admin_pb  # noqa: E402
from imquota.v1 import admin_service_pb2_grpc as admin_grpc  # noqa: E402
from imquota.v1 import common_pb2 as common_pb  # noqa: E402
from imquota.v1 import metering_service_pb2 as metering_pb  # noqa: E402
from imquota.v1 import metering_service_pb2_grpc as metering_grpc  # noqa: E402
from imquota.v1 import quota_service_pb2 as quota_pb  # noqa: E402
from imquota.v1 import quota_service_pb2_grpc as quota_grpc  # noqa: E402

__all__ = [
    "CLIENT", "PROTO", "REPOSITORY", "admin_grpc", "admin_pb", "common_pb", "generate",
    "metering_grpc", "metering_pb", "quota_grpc", "quota_pb",
]
