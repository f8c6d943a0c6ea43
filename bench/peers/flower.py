"""The same task as a simulation in Flower, with PyTorch in its clients."""
import argparse
import logging
import os
import time

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from common import STARTED, Data, accuracy, build, finish, peak_mib, torch, train_epoch  # noqa: E402
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("--model", default="logreg")
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--cohort", type=int, default=10)
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--rate", type=float, default=0.03)
a = parser.parse_args()

kept = {}  # one copy of the data for each process of the engine


def data_here():
    if "data" not in kept:
        torch.set_num_threads(1)
        kept["data"] = Data(os.path.abspath(a.data))
    return kept["data"]


client_app = ClientApp()


@client_app.train()
def train(message, context):
    data = data_here()
    model = build(a.model, data.shape, data.classes)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = data.client(int(context.node_config["partition-id"]))
    steps = train_epoch(model, x, y, a.batch, a.rate)
    return Message(content=RecordDict({"arrays": ArrayRecord(model.state_dict()),
                                       "metrics": MetricRecord({"num-examples": len(y), "steps": steps})}),
                   reply_to=message)


server_app = ServerApp()
times = {}


@server_app.main()
def serve(grid, context):
    data = data_here()
    model = build(a.model, data.shape, data.classes)

    def evaluate(round_number, arrays):
        if round_number == 0:
            times["began"] = time.time()
        if round_number == 1:
            times["first"] = time.time() - STARTED
        if round_number == a.rounds:
            times["ended"] = time.time()
            model.load_state_dict(arrays.to_torch_state_dict())
            times["accuracy"] = accuracy(model, data)

    strategy = FedAvg(fraction_train=a.cohort / data.clients, fraction_evaluate=0.0, min_train_nodes=a.cohort,
                      min_available_nodes=data.clients)
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=a.rounds,
                   train_config=ConfigRecord({}), evaluate_fn=evaluate)


logging.getLogger("flwr").setLevel(logging.ERROR)
run_simulation(server_app=server_app, client_app=client_app, num_supernodes=data_here().clients,
               backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                               "init_args": {"num_cpus": os.cpu_count(), "log_to_driver": False,
                                             "include_dashboard": False}})
seconds = times["ended"] - times["began"]
steps = a.rounds * a.cohort * -(-int(data_here().begin[1]) // a.batch)
finish({"rounds": a.rounds, "train_seconds": seconds, "rounds_per_second": a.rounds / seconds,
        "client_steps_per_second": steps / seconds, "seconds_first_round": times["first"],
        "own_peak_mib": peak_mib(), "accuracy": times["accuracy"]})
