"""Which hosts do what, so that a host is not blamed for what it never does."""

from __future__ import annotations

from socket import gethostname

from redis.exceptions import RedisError

from config.queues import Queues
from config.settings import Settings
from worker.doctor.finding import Finding, warning
from worker.doctor.servers import PATIENCE
from worker.ledger.connection import connect_once
from worker.ledger.figures import read_figures
from worker.ledger.keys import Keys

#: The queues whose tasks call Cronofy: only to send mail takes no call.
CALLING = ("urgent", "intake", "looks")


def done_elsewhere(settings: Settings, *queues: str) -> bool:
    """Whether workers take from these of our queues, and none on this host; False if nobody can tell."""
    try:
        with connect_once(settings.ledger_url, PATIENCE) as redis:
            consumers = read_figures(redis, Keys(settings.key_prefix)).consumers
    except RedisError:
        return False
    names = [getattr(Queues.of(settings.key_prefix), queue) for queue in queues]
    hosts = {host for name in names for host in consumers.get(name, ())}
    return bool(hosts) and gethostname() not in hosts


def fault_here(fault: Finding, theirs: str, settings: Settings, *queues: str) -> Finding:
    """The fault; only a warning if `theirs` is what other hosts do, whose workers take from these queues."""
    if not done_elsewhere(settings, *queues):
        return fault
    what = f"{fault.what.rstrip('.')}; other hosts' workers {theirs}"
    return warning(fault.name, what, "run the doctor on the host of such a worker, too")
