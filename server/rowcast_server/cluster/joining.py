"""A gateway joins a cluster: the settings of a server become those of its replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import ServerConfig
from ..models.loading import LoadedModel
from ..models.revision import revision_in

if TYPE_CHECKING:
    from .remote import RemoteEngines


def joined(
    config: ServerConfig,
    model: LoadedModel,
    name: str,
    start_token: int | None,
    say: Callable[[str], None],
) -> RemoteEngines:
    """The engines of the cluster of these settings; ``name`` is the model as replicas load it.

    Raises RowcastError.
    """
    from .ray_cluster import Application, join

    assert config.cluster is not None
    revision = revision_in(config.placements[0].variant, model.revision).hex()
    needed = ServerConfig(  # neither tokens nor files: others may read what is deployed
        slots=config.slots,
        queue_limit=config.queue_limit,
        placements=config.placements,
        draft_window=config.draft_window,
        threads=config.threads,
        grace=config.grace,
        keep=config.keep,
        drain=config.drain,
    )
    say(f"joining the cluster ({config.cluster}) …")
    application = Application(name, start_token, revision, needed)
    return join(config.cluster, application, config.replicas, config.replica_gpus, say)
