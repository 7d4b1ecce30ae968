"""What attempts ask a cluster for, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

# What Slurm calls parts of a GPU: hundredths for NVIDIA's MPS, and parts that nothing enforces.
PARTS_OF_GPUS = ("mps", "shard")


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """The sweep's ``executor`` section: what each of its jobs asks Slurm for; None: Slurm's default."""

    # Seconds that one attempt may take.
    time: float
    partition: str | None = None
    # As sbatch has it; empty: no GPU.
    gres: str = "gpu:1"
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    cpus: int | None = None
    memory: int | None = None  # bytes of a node's
    # Attempts that run at once; None: as many as the partition has room for.
    at_most: int | None = None
    # Those that may wait in Slurm's queue beside them; None: as many again.
    queue: int | None = None
    # Seconds for which an attempt may run on without the shared folder; after twice as long without a
    # sign of it, it is lost.
    lease: float = 120.0

    @property
    def on_gpus(self) -> bool:
        """Whether its attempts run on GPUs, or on parts of them."""
        return self.on_parts or self.gres.partition(":")[0] == "gpu"

    @property
    def on_parts(self) -> bool:
        """Whether each attempt has a part of a GPU, beside others."""
        return self.gres.partition(":")[0] in PARTS_OF_GPUS


@dataclass(frozen=True, slots=True)
class RaySettings:
    """The sweep's ``executor`` section: what each of its attempts asks Ray for; None: nothing of that."""

    # Of the head, with its port.
    address: str
    # A part of one is shared with others; 0: none.
    gpus: float = 1.0
    cpus: int | None = None
    memory: int | None = None  # bytes of a node's
    # At once, running or waiting for Ray; None: as many as the cluster has room for.
    at_most: int | None = None
    # Seconds for which an attempt may run on without Ray's head; after twice as long without a sign of
    # it, it is lost. Ray itself takes a node for dead after 60 s.
    lease: float = 30.0
    # A folder of each node's own, in which an attempt's files are while it runs.
    scratch: str = "/tmp"  # noqa: S108  # each attempt makes a folder there that nobody can foresee

    @property
    def on_gpus(self) -> bool:
        """Whether its attempts run on GPUs, or on parts of them."""
        return self.gpus > 0

    @property
    def on_parts(self) -> bool:
        """Whether each attempt has a part of a GPU, beside others."""
        return 0 < self.gpus < 1


ClusterSettings = SlurmSettings | RaySettings
