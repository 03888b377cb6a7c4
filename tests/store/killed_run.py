"""A run in miniature, started by test_kill.py to be killed: RUN and the number of shards.

Every shard adds to the state and writes rows; both follow from the number of the shard alone.
"""

import sys

import numpy as np

from layerscope.store.directory import open_run

LAYERS = {"a/b": 300, "../c": 200}
BLOCK = 8
PLAN = {"images": "any number"}


def rows_of(shard: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(shard)
    return {
        layer: rng.random((BLOCK, channels), dtype=np.float32) for layer, channels in LAYERS.items()
    }


def next_states(states: dict, shard: int) -> dict:
    """Large enough that many kills come while the file is written."""
    fresh = {layer: {"sums": {"total": np.zeros((150_000, 2)), "shards": 0}} for layer in LAYERS}
    old = states or fresh
    amount = np.random.default_rng(shard).random()
    return {
        layer: {
            "sums": {
                "total": old[layer]["sums"]["total"] + amount,
                "shards": np.int64(old[layer]["sums"]["shards"] + 1),
            }
        }
        for layer in LAYERS
    }


def main(path: str, shards: int) -> None:
    with open_run(path, PLAN, "hash") as run:
        rows = run.rows({"mean": LAYERS}, block=BLOCK)
        saved = run.load_state()
        states = saved.states
        for shard in range(saved.next_shard, shards):
            rows.write(shard * BLOCK, {"mean": rows_of(shard)})
            states = next_states(states, shard)
            run.save_state(shard + 1, states, {"last": shard})
            print(shard, flush=True)  # noqa: T201  # tells the test that the run goes


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
