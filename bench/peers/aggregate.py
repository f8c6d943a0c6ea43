"""What a server written in PyTorch does with an update: decode it, see that all of it is finite, and add it."""
import argparse
import time

from common import finish, torch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--params", type=int, default=1000000)
parser.add_argument("--bits", type=int, choices=[8, 32], default=32)
parser.add_argument("--seconds", type=float, default=2.0)
a = parser.parse_args()

torch.set_num_threads(1)
n_updates = min(64, max(4, (64 << 20) // (a.params * a.bits // 8)))
if a.bits == 32:
    updates = [torch.randn(a.params) for _ in range(n_updates)]
else:
    updates = [torch.randint(-127, 128, (a.params,), dtype=torch.int8) for _ in range(n_updates)]
total = torch.zeros(a.params)
taken, began = [], time.perf_counter()
while len(taken) < 5 or time.perf_counter() - began < a.seconds:
    start = time.perf_counter()
    for update in updates:
        x = update if a.bits == 32 else update.to(torch.float32) * 1e-4
        if not bool(torch.isfinite(x).all()):
            raise SystemExit("not finite")
        total.add_(x, alpha=100.0)
    taken.append(time.perf_counter() - start)
taken.sort()
finish({"params": a.params, "bits": a.bits, "updates": n_updates,
        "accept_gbps": 4e-9 * a.params * n_updates / taken[len(taken) // 2]})
