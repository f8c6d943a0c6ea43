"""One model in float and at six bit-widths in PyTorch, one thread: weights by their extremes, forward passes."""
import argparse
import time

from common import Quantized, build, finish, made_for, torch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="lenet5")
parser.add_argument("--weights", default="8,6,5,4,3,2")
parser.add_argument("--examples", type=int, default=2000)
parser.add_argument("--seconds", type=float, default=3.0)
a = parser.parse_args()

torch.set_num_threads(1)
shape, classes = made_for(a.model)
model = build(a.model, shape, classes)
model.eval()
x, y = torch.rand(a.examples, *shape), torch.randint(classes, (a.examples,))
layers = [m for m in model.modules() if isinstance(m, Quantized)]
weights = [m.weight.detach().clone() for m in layers]


def forward():
    for i in range(0, a.examples, 256):
        (model(x[i:i + 256]).argmax(1) == y[i:i + 256]).sum().item()


def evaluate():
    for layer, w in zip(layers, weights):
        layer.weight.copy_(w)
    forward()
    for bits in map(int, a.weights.split(",")):
        for layer, w in zip(layers, weights):
            scale = float(w.abs().max()) / (2 ** (bits - 1) - 0.5)
            layer.weight.copy_(torch.fake_quantize_per_tensor_affine(w, scale, 0, -2 ** (bits - 1), 2 ** (bits - 1) - 1))
        forward()


with torch.no_grad():
    evaluate()
    taken, began = [], time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - began < a.seconds:
        start = time.perf_counter()
        evaluate()
        taken.append(1e3 * (time.perf_counter() - start))
taken.sort()
finish({"model": a.model, "examples": a.examples, "ms_per_evaluation_median": taken[len(taken) // 2]})
