#!/usr/bin/env python3
"""Federated averaging with quantization-aware training, written a second time, in PyTorch.

It shares no code with fedq, so figures that agree are not the same mistake made twice. LeNet-5 on
Fashion-MNIST; weights of all layers quantized per tensor on the full signed grid.

    reference.py train --method mqat --rounds 200             accuracy by bit-width of a model trained here
    reference.py eval weights.npz --evaluate-bits 4,2              the same for weights trained elsewhere

An .npz for `eval` holds ten arrays in network order: weight [out, in, ...] and bias of conv1, conv2,
dense1, dense2, dense3. Needs PyTorch and numpy (Debian: python3-torch).
"""
import argparse
import gzip
import time

import numpy as np
import torch
import torch.nn.functional as F

# Steps, in standard deviations, that minimise the squared error of a normal variable on the full signed grid.
GAUSS_STEP = {2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0569, 8: 0.0308}
SHAPES = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]


def read_idx(path):
    with gzip.open(path) as file:
        data = file.read()
    axes = data[3]
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load(folder):
    parts = []
    for part in ("train", "t10k"):
        images = read_idx(f"{folder}/{part}-images-idx3-ubyte.gz").astype(np.float32) / 255
        labels = read_idx(f"{folder}/{part}-labels-idx1-ubyte.gz").astype(np.int64)
        parts.append((images, labels))
    mean, std = parts[0][0].mean(), parts[0][0].std()
    return [(torch.from_numpy((x - mean) / std)[:, None], torch.from_numpy(y)) for x, y in parts]


def split_dirichlet(labels, clients, alpha, rng):
    """Each class is dealt to the clients in proportions drawn from Dirichlet(alpha)."""
    shards = [[] for _ in range(clients)]
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = (np.cumsum(rng.dirichlet([alpha] * clients))[:-1] * len(members)).astype(int)
        for shard, piece in zip(shards, np.split(members, cuts)):
            shard.extend(piece)
    return [np.array(shard) for shard in shards]


def initial_weights(generator):
    weights, bound = [], 0.0
    for shape in SHAPES:
        if len(shape) > 1:
            bound = 1 / np.sqrt(np.prod(shape[1:]))  # the bias takes its layer's
        weights.append((torch.rand(shape, generator=generator) * 2 - 1) * bound)
    return weights


def lenet5(w, x):
    x = F.max_pool2d(F.relu(F.conv2d(x, w[0], w[1], padding=2)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w[2], w[3])), 2).flatten(1)
    x = F.relu(F.linear(x, w[4], w[5]))
    return F.linear(F.relu(F.linear(x, w[6], w[7])), w[8], w[9])


def grid(bits):
    return -2.0 ** (bits - 1), 2.0 ** (bits - 1) - 1


def step_minmax(w, bits):
    return w.abs().max() / grid(bits)[1]


def step_gauss(w, bits):
    return GAUSS_STEP[bits] * w.std()


def step_mse(w, bits):
    """The best of 100 thresholds between 0 and the largest magnitude; the first wins."""
    low, high = grid(bits)
    steps = w.abs().max() * torch.arange(1, 101) / 100 / high
    flat = w.flatten()
    errors = torch.stack([((flat - s * torch.clamp(torch.round(flat / s), low, high)) ** 2).sum() for s in steps])
    return steps[errors.argmin()]


STEP = {"minmax": step_minmax, "gauss": step_gauss, "mse": step_mse}


def quantize(w, bits, ranges):
    """w on its grid, and where it was not clipped (what the straight-through gradient passes)."""
    low, high = grid(bits)
    step = STEP[ranges](w, bits).clamp(min=1e-8)
    v = w / step
    return torch.clamp(torch.round(v), low, high) * step, (v >= low) & (v <= high)


def view(weights, bits, ranges):
    """Weights as the network sees them: matrices and filters quantized, straight-through gradient."""
    if bits >= 32:
        return weights
    seen = []
    for w in weights:
        if w.dim() > 1:
            with torch.no_grad():
                q, inside = quantize(w, bits, ranges)
            through = w * inside
            w = through + (q - through).detach()
        seen.append(w)
    return seen


def evaluate(weights, test, bits, ranges):
    with torch.no_grad():
        seen = view(weights, bits, ranges)
        right = sum((lenet5(seen, x).argmax(1) == y).sum().item()
                    for x, y in zip(test[0].split(1000), test[1].split(1000)))
    return 100 * right / len(test[1])


def train_client(weights, x, y, args, rng):
    local = [w.clone().requires_grad_() for w in weights]
    for _ in range(args.epochs):
        for batch in np.array_split(rng.permutation(len(y)), range(args.batch, len(y), args.batch)):
            bits = int(rng.choice(args.bits)) if args.method == "mqat" else args.bits[0]
            seen = local if args.method == "fedavg" else view(local, bits, args.ranges)
            gradients = torch.autograd.grad(F.cross_entropy(lenet5(seen, x[batch]), y[batch]), local)
            with torch.no_grad():
                for w, g in zip(local, gradients):
                    w -= args.rate * g
    return [w.detach() for w in local]


def train(args):
    (x, y), test = load(args.data)
    rng = np.random.default_rng(args.seed)
    shards = split_dirichlet(y.numpy(), args.clients, args.alpha, rng)
    weights = initial_weights(torch.Generator().manual_seed(args.seed))
    begin = time.time()
    for number in range(1, args.rounds + 1):
        cohort = [shards[k] for k in rng.choice(args.clients, args.cohort, replace=False) if len(shards[k]) > 0]
        total = sum(len(shard) for shard in cohort)
        mean = [torch.zeros_like(w) for w in weights]
        for shard in cohort:
            for m, w in zip(mean, train_client(weights, x[shard], y[shard], args, rng)):
                m += w * (len(shard) / total)
        weights = mean
        if number % args.every == 0 or number == args.rounds:
            print(f"round {number} seconds {time.time() - begin:.0f} {figures(weights, test, args)}", flush=True)
    if args.save:
        np.savez(args.save, *[w.numpy() for w in weights])


def figures(weights, test, args):
    line = f"float {evaluate(weights, test, 32, 'mse'):.2f}"
    for ranges in args.evaluate_ranges:
        line += f"  {ranges}" + "".join(f" {b}:{evaluate(weights, test, b, ranges):.2f}" for b in args.evaluate_bits)
    return line


def evaluate_file(args):
    arrays = np.load(args.weights)
    weights = [torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files]
    if [tuple(w.shape) for w in weights] != SHAPES:
        raise SystemExit(f"{args.weights}: shapes {[tuple(w.shape) for w in weights]}, expected {SHAPES}")
    print(figures(weights, load(args.data)[1], args))


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of the IDX gz files")
    common.add_argument("--evaluate-bits", type=numbers, default=[8, 6, 5, 4, 3, 2])
    common.add_argument("--evaluate-ranges", type=lambda text: text.split(","), default=["mse", "minmax"])
    one = commands.add_parser("train", parents=[common])
    one.add_argument("--method", choices=["fedavg", "qat", "mqat"], default="mqat")
    one.add_argument("--bits", type=numbers, default=[2, 3, 4, 8], help="trained widths; qat takes the first")
    one.add_argument("--ranges", choices=["gauss", "minmax", "mse"], default="gauss", help="while training")
    one.add_argument("--rounds", type=int, default=200)
    one.add_argument("--clients", type=int, default=100)
    one.add_argument("--cohort", type=int, default=10)
    one.add_argument("--alpha", type=float, default=0.5)
    one.add_argument("--epochs", type=int, default=1)
    one.add_argument("--batch", type=int, default=32)
    one.add_argument("--rate", type=float, default=0.05)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--every", type=int, default=20)
    one.add_argument("--save", help="write the final weights to this .npz")
    one.set_defaults(run=train)
    other = commands.add_parser("eval", parents=[common])
    other.add_argument("weights")
    other.set_defaults(run=evaluate_file)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
