"""PyTorch's local SGD step on one thread, with the options and the results of `fedq-bench step`."""
import argparse
import time

from common import F, Widths, build, finish, made_for, torch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="lenet5")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--robustness", choices=["none", "mqat"], default="none")
parser.add_argument("--activations", action="store_true")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--seconds", type=float, default=3.0)
a = parser.parse_args()

torch.set_num_threads(a.threads)
widths = Widths([2, 3, 4, 8], 8 if a.activations else None) if a.robustness == "mqat" else None
shape, classes = made_for(a.model)
model = build(a.model, shape, classes, widths)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
examples = 8 * a.batch
x, y = torch.randn(examples, *shape), torch.randint(classes, (examples,))


def step(i):
    if i % 8 == 0:
        step.order = torch.randperm(examples)
    if widths is not None:
        widths.draw()
    picked = step.order[i % 8 * a.batch:(i % 8 + 1) * a.batch]
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(x[picked]), y[picked]).backward()
    optimizer.step()


for i in range(4):
    step(i)
wall, cpu, began, i = [], [], time.perf_counter(), 0
while len(wall) < 5 or time.perf_counter() - began < a.seconds:
    cpu_start, start = time.process_time(), time.perf_counter()
    step(i)
    wall.append(1e3 * (time.perf_counter() - start))
    cpu.append(1e3 * (time.process_time() - cpu_start))
    i += 1
wall.sort()
cpu.sort()
finish({"model": a.model, "batch": a.batch, "robustness": a.robustness, "activations": a.activations,
        "threads": a.threads, "steps": len(wall), "parameters": sum(p.numel() for p in model.parameters()),
        "ms_per_step_median": wall[len(wall) // 2], "ms_per_step_low": wall[0],
        "cpu_ms_per_step_median": cpu[len(cpu) // 2]})
