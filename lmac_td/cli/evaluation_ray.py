"""Score the shards of an evaluation on Ray, each by the command of one shard.

All machines see the repository, the data and the results under the same paths, and
each shard reads and mixes its clips by the package's own code. Needs
``pip install ".[ray]"``.
"""

import os
from argparse import Namespace
from collections.abc import Sequence

from lmac_td.benchmark.ray_tune import has_gpu, start_ray
from lmac_td.errors import SettingError, UserError
from lmac_td.evaluation.shards import Shard

RETRIES = 3  # of a shard whose worker dies


def score_on_ray(argv: Sequence[str], options: Namespace) -> None:
    """Score all shards that are not done, and wait for them.

    Arguments
    ---------
    argv : sequence of str
        The recipe and its settings.
    options : Namespace
        Of the command: the address ``ray``, ``shards`` and ``quantus``.

    Raises
    ------
    SettingError
        If Ray is not installed, there is no cluster, or a shard fails for a user's
        mistake.
    """
    start_ray(options.ray, options.shards)
    import ray

    gpu = int(has_gpu())
    resources = ray.cluster_resources()
    of = options.shards or max(1, int(resources.get("GPU" if gpu else "CPU", 1)))
    quantus = ["--quantus", *options.quantus] if options.quantus else []
    task = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=RETRIES)(_score_shard)
    shards = [Shard(index, of) for index in range(of)]
    try:
        running = {
            task.remote([*argv, *quantus, "--shard", str(shard)], os.getcwd()): shard
            for shard in shards
        }
        while running:
            (done, *_), _ = ray.wait(list(running))
            shard, mistake = running.pop(done), ray.get(done)
            if mistake:
                raise SettingError(f"shard {shard}: {mistake}")
            print(f"Shard {shard} is done, {of - len(running)} of {of}")
    finally:
        ray.shutdown()


def _score_shard(argv, folder):
    """Score one shard in a worker; return a user's mistake, or None."""
    from lmac_td.cli.evaluate import main

    os.chdir(folder)
    try:
        main(argv)
    except UserError as error:
        return str(error)
    return None
