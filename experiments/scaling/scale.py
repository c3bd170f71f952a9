"""
A job of tunable size for measuring overhead and scaling: tasks in rounds, with exact results.

By hand, on processes of this machine, on Dask, on Spark:

    python scale.py --out results
    python scale.py --out results --engine dask
    python scale.py --out results --engine spark

On a cluster the engine is found by its variables, DASK_SCHEDULER_ADDRESS or SPARK_CONF_DIR; this
folder must be on the PYTHONPATH of the workers.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import engines
from figures import draw_timeline
from timings import Span, summarize
from work import Plan, Product, checksum, first_orders, next_orders

# name, default, least and largest value, what it is
OPTIONS: tuple[tuple[str, int | float, int, int, str], ...] = (
    ("tasks", 16, 1, 100_000, "tasks in each round"),
    ("rounds", 3, 1, 1_000, "rounds; each needs all results of the one before"),
    ("work", 20.0, 0, 1_000_000, "mean work of a task, units of 1000 sweeps"),
    ("imbalance", 0.5, 0, 1, "0: equal tasks; 0.5: from half to one and a half of the mean"),
    ("payload-kib", 64, 0, 1_048_576, "freight to and from each task, KiB"),
    ("seed", 1, 0, 2**32 - 1, "of the numbers and of the order of heavy tasks"),
)


def main() -> int:
    """Run the job; 0 when it ended well, 2 with one line on stderr when a value is odd."""
    args = parse_arguments()
    plan = Plan(*(getattr(args, name) for name in Plan._fields))
    engine = args.engine or engines.detect(os.environ)
    asked = time.time()
    with engines.runner(engine) as run:
        ready = time.time() - asked
        products, spans, edges = run_rounds(run, plan)
    write_outcome(args.out, plan, products)
    summary = summarize(engine, spans, ready, edges)
    (args.out / "timings.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    draw_timeline(args.out / "figures" / "timeline.png", spans, edges, summary)
    for name in ("wall_s", "busy_share", "overhead_per_task_s"):
        print(f"{name} = {summary[name]}", flush=True)
    return 0


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; odd values end the program with status 2 and one line."""
    parser = Parser(description=str(__doc__).strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--engine", choices=["process", "dask", "spark"], help="instead of looking")
    for name, default, _, _, text in OPTIONS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    args = parser.parse_args()
    for name, _, least, most, _ in OPTIONS:
        if not least <= getattr(args, name.replace("-", "_")) <= most:
            parser.error(f"--{name}: expected {least} to {most}")
    return args


def run_rounds(run: engines.Runner, plan: Plan) -> tuple[list[Product], list[Span], list[float]]:
    """
    Run all rounds.

    Returns:
        Products and spans in the order of rounds and tasks, and the times between rounds.
    """
    products: list[Product] = []
    spans: list[Span] = []
    orders = first_orders(plan)
    edges = [time.time()]
    for number in range(plan.rounds):
        results = run(run_order, orders)
        edges.append(time.time())
        made = [product for product, _ in results]
        products += made
        spans += [span for _, span in results]
        orders = next_orders(orders, made)
        print(f"round {number + 1}/{plan.rounds}: {edges[-1] - edges[-2]:.3f} s", flush=True)
    return products, spans, edges


def run_order(order: Any) -> Any:
    """
    Carry out one order on a worker, and say where and when.

    A scheduler may unpickle this too, and only workers are sure to have this folder on their path;
    so nothing here refers to its modules before the task runs.
    """
    import os
    import socket
    import threading
    import time

    from timings import Span
    from work import carry_out

    start = time.time()
    product = carry_out(order)
    end = time.time()
    worker = f"{socket.gethostname()}:{os.getpid()}"
    thread = threading.current_thread()
    if thread is not threading.main_thread():  # a worker may have several
        worker += f":{thread.native_id}"
    return product, Span(order.round, order.task, worker, start, end)


def write_outcome(out: Path, plan: Plan, products: Sequence[Product]) -> None:
    """Write metrics.json, which holds nothing but what must be the same everywhere."""
    sent = len(products) * 2 * plan.payload_kib
    metrics = {
        "checksum": checksum(products),
        "last_value": products[-1].value,
        "tasks": len(products),
        "freight": {"value": sent, "unit": "KiB"},
    }
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
