"""Run a trial in a process of its own, on the GPU where there is one.

    python -m tests.workers.one_trial TRIAL [--share S] [--checkpoint FOLDER] [--stop-after STEP]

Prints its result as JSON, with the most memory that torch took of the GPU as `reserved_bytes`; or
nothing, where it is stopped.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from tests.workers.trials import checkpoint_at, finish, run_steps
from workers.run import prepare_process, run_trial
from workers.trial import TrialSpec


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--stop-after", type=int)
    args = parser.parse_args()
    spec = TrialSpec.from_json(args.trial.read_text())
    device = prepare_process(num_threads=1, gpu_share=args.share)
    checkpoint = checkpoint_at(args.checkpoint, spec, every_s=1e9) if args.checkpoint else None
    running = run_trial(spec, device, checkpoint)
    if args.stop_after is not None:
        run_steps(running, args.stop_after)
        running.close()
        return
    result = asdict(finish(running))
    on_gpu = device.type == "cuda"
    print(
        json.dumps(result | {"reserved_bytes": torch.cuda.max_memory_reserved() if on_gpu else 0})
    )


if __name__ == "__main__":
    main()
