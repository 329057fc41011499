"""A module for Matrix Synapse: imquota decides on accounts, rooms and memberships.

`homeserver.yaml` names `imquota_synapse.Module`. What counts for what: README.md beside this.
"""

from .module import Module

__all__ = ["Module"]
