"""What the PyTorch peers share: fedq's networks written in PyTorch, its made-up data, and how results are printed."""
import json
import os
import resource
import time

STARTED = time.time()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

# Steps, in standard deviations, that minimise the squared error of a normal variable on the full signed grid.
GAUSS_STEP = {2: 0.9957, 3: 0.5860, 4: 0.3352, 8: 0.0308}


# ---- quantization-aware layers: PyTorch's own fake-quantize, whose gradient is the straight-through estimator ----
class Widths:
    """The bit-width of this step; each step draws a new one. `activations`: 8, or None for float ones."""
    def __init__(self, weights, activations):
        self.choices, self.activations, self.bits = weights, activations, weights[0]

    def draw(self):
        self.bits = self.choices[int(torch.randint(len(self.choices), ()))]


def quantize_weights(w, bits):
    with torch.no_grad():
        scale = w.std() * GAUSS_STEP[bits]
    zero = torch.zeros((), dtype=torch.int32)
    return torch.fake_quantize_per_tensor_affine(w, scale, zero, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


class Quantized:
    """Mixed into Conv2d and Linear."""
    widths = None

    def seen(self, x):
        """Weights and input as the layer sees them."""
        if self.widths is None:
            return self.weight, x
        weight = quantize_weights(self.weight, self.widths.bits)
        if self.widths.activations is not None:
            with torch.no_grad():  # running ranges, moved by a hundredth
                low, high = torch.aminmax(x)
                if not hasattr(self, "low"):
                    self.low, self.high = low.clone(), high.clone()
                self.low += 0.01 * (low - self.low)
                self.high += 0.01 * (high - self.high)
                top = (1 << self.widths.activations) - 1
                low, high = self.low.clamp(max=0), self.high.clamp(min=0)
                scale = ((high - low) / top).clamp(min=1e-8)
                zero = torch.round(-low / scale).to(torch.int32)
            x = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, top)
        return weight, x


class Conv(Quantized, nn.Conv2d):
    def forward(self, x):
        weight, x = self.seen(x)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Dense(Quantized, nn.Linear):
    def forward(self, x):
        weight, x = self.seen(x)
        return F.linear(x, weight, self.bias)


# ---- the networks of common/model/zoo.c ----
class Block(nn.Module):
    """A basic block with the parameter-free shortcut (option A of He et al. 2016)."""
    def __init__(self, norm, channels, width, stride):
        super().__init__()
        self.conv1, self.norm1 = Conv(channels, width, 3, stride, 1, bias=False), norm(width)
        self.conv2, self.norm2 = Conv(width, width, 3, 1, 1, bias=False), norm(width)
        self.stride, self.more = stride, width - channels

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.stride != 1:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(y + x)


def resnet20(norm, shape, classes):
    layers = [Conv(shape[0], 16, 3, 1, 1, bias=False), norm(16), nn.ReLU()]
    channels = 16
    for width in (16, 32, 64):
        for block in range(3):
            layers.append(Block(norm, channels, width, 2 if width > 16 and block == 0 else 1))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Dense(64, classes))


def lenet5(shape, classes):
    pad = 2 if shape[1] < 32 else 0
    side = ((shape[1] + 2 * pad - 4) // 2 - 4) // 2
    return nn.Sequential(Conv(shape[0], 6, 5, padding=pad), nn.ReLU(), nn.MaxPool2d(2), Conv(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), Dense(16 * side * side, 120), nn.ReLU(), Dense(120, 84),
                         nn.ReLU(), Dense(84, classes))


def femnist_cnn(shape, classes):
    side = (shape[1] - 4) // 2
    return nn.Sequential(Conv(shape[0], 32, 3), nn.ReLU(), Conv(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Dropout(0.25), nn.Flatten(), Dense(64 * side * side, 128), nn.ReLU(), nn.Dropout(0.5),
                         Dense(128, classes))


MODELS = {
    "logreg": lambda shape, classes: nn.Sequential(nn.Flatten(), Dense(int(np.prod(shape)), classes)),
    "lenet5": lenet5,
    "femnist_cnn": femnist_cnn,
    "resnet20_gn": lambda shape, classes: resnet20(lambda c: nn.GroupNorm(GROUPS, c), shape, classes),
    "resnet20_bn": lambda shape, classes: resnet20(nn.BatchNorm2d, shape, classes),
}
GROUPS = 8


def made_for(name):
    """Shape and classes of the made-up data for this network, as in fq_made_data_for."""
    return (3, 32, 32) if name.startswith("resnet") else (1, 28, 28), 62 if name == "femnist_cnn" else 10


def build(name, shape, classes, widths=None):
    torch.manual_seed(1)
    model = MODELS[name](shape, classes)
    for module in model.modules():
        if isinstance(module, Quantized):
            module.widths = widths
    return model


# ---- data made by `fedq-bench data` ----
class Data:
    """Bytes in mapped files, made floats in 0..1 when asked for; client k has rows begin[k] to begin[k + 1]."""
    def __init__(self, folder):
        self.x = np.load(os.path.join(folder, "features.npy"), mmap_mode="r")
        self.y = np.load(os.path.join(folder, "labels.npy")).astype(np.int64)
        users = np.load(os.path.join(folder, "users.npy"))
        self.clients = int(users[-1]) + 1
        self.begin = np.searchsorted(users, np.arange(self.clients + 1))
        self.shape = self.x.shape[1:]
        self.test_x = np.load(os.path.join(folder, "test_features.npy"), mmap_mode="r")
        self.test_y = np.load(os.path.join(folder, "test_labels.npy")).astype(np.int64)
        self.classes = int(max(self.y.max(), self.test_y.max())) + 1

    def client(self, k):
        rows = slice(self.begin[k], self.begin[k + 1])
        return floats(self.x[rows]), torch.from_numpy(self.y[rows])


def floats(raw):
    return torch.from_numpy(raw.astype(np.float32)).div_(255)


def train_epoch(model, x, y, batch, rate):
    """One epoch of plain SGD; returns the number of steps."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    order = torch.randperm(len(y))
    for i in range(0, len(y), batch):
        picked = order[i:i + batch]
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x[picked]), y[picked]).backward()
        optimizer.step()
    return -(-len(y) // batch)


def accuracy(model, data):
    """On the test part."""
    model.eval()
    right, n = 0, len(data.test_y)
    with torch.no_grad():
        for i in range(0, n, 256):
            found = model(floats(data.test_x[i:i + 256])).argmax(1)
            right += int((found == torch.from_numpy(data.test_y[i:i + 256])).sum())
    return right / n


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def finish(result):
    result["torch"] = torch.__version__
    print(json.dumps(result))
