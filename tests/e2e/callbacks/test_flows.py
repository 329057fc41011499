"""Random flows of a small model IM per protocol, dealt at random over two sidecars on one Redis.

With every report delivered and every commit done the ledger equals the IM's database. With faults
each difference is of a kind that the model has written down, and after one repair they are equal.

`IMQUOTA_CALLBACK_FLOWS` sets the number of flows, `IMQUOTA_SEED` the seed.
"""

import json
import os
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import pytest

import callbacks
from app import App
from callback_models import Ledger, tight_catalog
from callbacks import CallbackSidecar
from openim import OpenIm
from openim_model import OpenImModel
from redis_proxy import Redis
from sidecar import binary, clean_environment
from tencent import TencentIm
from tencent_model import TencentModel

FLOWS = int(os.environ.get("IMQUOTA_CALLBACK_FLOWS", "10000"))
FLOWS_WITH_FAULTS = min(FLOWS, 3000)
SEED = int(os.environ.get("IMQUOTA_SEED", "20261201"))
FAULTS = 0.05
SETTLES_S = 10
TRACKED_AFTER_S = 11
HOLDS_END_S = 32
DIFFERS = 4
STORE_TIMEOUT_MS = 20_000

PROTOCOLS = {
    "openim": (callbacks.openim, OpenIm, OpenImModel),
    "tencent": (callbacks.tencent, TencentIm, TencentModel),
}


@contextmanager
def model_of(protocol: str, folder, faults: float):
    """A model IM whose callbacks go to two sidecars, and its app."""
    settings, im_of, model = PROTOCOLS[protocol]
    callback, catalog = settings(), tight_catalog(folder)
    with Redis() as redis:
        # A Redis that waits for a processor is not absent: an outage may change the order of what
        # two sidecars write.
        of_sidecar = {"catalog": str(catalog), "store_timeout_ms": STORE_TIMEOUT_MS}
        more = {"store": f"redis://127.0.0.1:{redis.port}/0", "settings": of_sidecar}
        with CallbackSidecar(callback, **more) as one, CallbackSidecar(callback, **more) as other:
            with im_of(one, callback) as first, App(one, app_id=first.app_id) as app:
                same = {} if protocol == "openim" else {"sdk_app_id": first.app_id}

                def connect() -> list:
                    return [im_of(sidecar, callback, **same) for sidecar in (one, other)]

                yield model(connect, SEED, faults), app, one


class Reconcile:
    """`imquota reconcile` of an app with the model's database."""

    def __init__(self, sidecar, app: App, folder):
        self._to = ["--app", app.id, "--address", sidecar.admin, "--output=json"]
        self._folder = folder

    def _run(self, *arguments: str, codes=(0,)) -> dict:
        done = subprocess.run([binary(), "reconcile", *arguments, *self._to], capture_output=True,
                              text=True, env=clean_environment())
        assert done.returncode in codes, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return json.loads(done.stdout)

    def differences(self, model) -> list:
        """What differs."""
        files = model.database.export(self._folder)
        return self._run(*files, codes=(0, DIFFERS))["differences"]

    def begin(self) -> None:
        """Begins to track changes."""
        self._run("begin")

    def repair(self, model) -> dict:
        """Repairs all differences, after a begin."""
        as_of = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        files = model.database.export(self._folder)
        return self._run(*files, "--apply", "--allow-empty", f"--as-of={as_of}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_every_callback_delivered_the_ledger_equals_the_database(protocol, tmp_path):
    with model_of(protocol, tmp_path, 0.0) as (model, app, sidecar):
        began = time.monotonic()
        model.run(FLOWS)
        took = time.monotonic() - began
        print(f"seed {SEED}: {FLOWS} flows in {took:.1f} s, {len(model.database.facts())} facts")
        assert model.database.over() == {}
        assert len(model.database.facts()) > min(FLOWS / 20, 300)
        reconcile = Reconcile(sidecar, app, tmp_path)
        end = time.monotonic() + SETTLES_S
        while (left := reconcile.differences(model)) and time.monotonic() < end:
            time.sleep(0.5)
        assert not left, (left, sidecar.read_log()[-3000:])
        assert Ledger(app).differences(model) == (set(), set())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_faults_every_difference_is_of_a_listed_kind_and_is_repaired(protocol, tmp_path):
    with model_of(protocol, tmp_path, FAULTS) as (model, app, sidecar):
        model.run(FLOWS_WITH_FAULTS)
        reconcile = Reconcile(sidecar, app, tmp_path)
        # A hold that ends while changes are tracked is a change, and is left alone.
        time.sleep(HOLDS_END_S if protocol == "tencent" else 0)
        reconcile.begin()
        time.sleep(TRACKED_AFTER_S)
        extra, missing = Ledger(app).differences(model)
        assert missing <= model.below.keys(), missing - model.below.keys()
        kinds = Counter(model.above[fact] for fact in extra)
        kinds.update(model.below[fact] for fact in missing)
        print(f"seed {SEED}: faults {dict(model.counts)}; differences {dict(kinds)}")
        assert extra, "no fault left a difference"
        if protocol == "openim":
            assert not missing, "the ledger is below the database of an IM that waits for answers"
            assert model.database.over() == {}
        else:
            assert missing, "no fault left a difference"
        reconcile.repair(model)
        assert reconcile.differences(model) == []
