"""Federated averaging as a bare loop in PyTorch: no framework, no files, no messages, one thread."""
import argparse
import time

from common import STARTED, Data, accuracy, build, finish, peak_mib, torch, train_epoch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("--model", default="logreg")
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--cohort", type=int, default=10)
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--rate", type=float, default=0.03)
parser.add_argument("--threads", type=int, default=1)
a = parser.parse_args()

torch.set_num_threads(a.threads)
data = Data(a.data)
model = build(a.model, data.shape, data.classes)
weights = {name: value.clone() for name, value in model.state_dict().items()}
generator = torch.Generator().manual_seed(1)
began, cpu_began, steps, first = time.time(), time.process_time(), 0, 0.0
for _ in range(a.rounds):
    mean, total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in weights.items()}, 0
    for k in torch.randperm(data.clients, generator=generator)[:a.cohort].tolist():
        model.load_state_dict(weights)
        x, y = data.client(k)
        steps += train_epoch(model, x, y, a.batch, a.rate)
        for name, value in model.state_dict().items():
            mean[name] += len(y) * value
        total += len(y)
    weights = {name: (value / total).to(weights[name].dtype) for name, value in mean.items()}
    first = first or time.time() - STARTED
seconds, cpu_seconds = time.time() - began, time.process_time() - cpu_began
model.load_state_dict(weights)
finish({"rounds": a.rounds, "steps": steps, "train_seconds": seconds, "train_cpu_seconds": cpu_seconds,
        "rounds_per_second": a.rounds / seconds, "client_steps_per_second": steps / seconds,
        "seconds_first_round": first, "own_peak_mib": peak_mib(),
        "accuracy": accuracy(model, data)})
