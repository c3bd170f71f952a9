"""
The work of one task: floating-point arithmetic whose result is the same on every machine.

A vector goes through the logistic map x → 3.99 x (1 - x) again and again. Each step is three IEEE
operations on every number, each rounded on its own, so no order of summation, thread or processor
can show in the result, and chaos makes a single wrong bit spread. The amount of work is a count of
sweeps over the vector, never a time.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH = 2048  # numbers in the vector, 16 KiB: it stays in the first cache of a core
GROWTH = 3.99  # chaotic
SWEEPS = 1000  # in one unit of work


class Plan(NamedTuple):
    """
    The whole job.

    Attributes:
        tasks: in each round.
        rounds: one after the other; a round needs all results of the one before.
        work: mean work of a task, units of 1000 sweeps.
        imbalance: 0 for equal tasks; with 0.5 they have from 0.5 to 1.5 of the mean.
        payload_kib: freight that each task is sent and sends back, KiB.
        seed: of everything drawn.
    """

    tasks: int
    rounds: int
    work: float
    imbalance: float
    payload_kib: int
    seed: int


class Order(NamedTuple):
    """What a task is sent; `feed` and `freight` come from its neighbour in the round before."""

    round: int
    task: int
    seed: int
    sweeps: int
    feed: float
    freight: Array


class Product(NamedTuple):
    """What a task sends back; the digest covers the vector and the freight."""

    value: float
    freight: Array
    digest: str


def loads(plan: Plan) -> list[int]:
    """
    Sweeps of each task, the same in every round.

    They lie evenly between the lightest and the heaviest, in an order drawn from the seed, so that
    heavy tasks are neither first nor last by rule.
    """
    place = np.random.default_rng(plan.seed).permutation(plan.tasks)
    spread = (2.0 * place - (plan.tasks - 1)) / max(plan.tasks - 1, 1)  # from -1 to 1; 0 when alone
    sweeps = np.rint(SWEEPS * plan.work * (1.0 + plan.imbalance * spread)).astype(int)
    return [max(int(count), 1) for count in sweeps]


def first_orders(plan: Plan) -> list[Order]:
    """The orders of the first round, with freight drawn from the seed."""
    count = plan.payload_kib * 1024 // 8
    orders = []
    for task, sweeps in enumerate(loads(plan)):
        freight = np.random.default_rng((plan.seed, task)).random(count)
        orders.append(Order(0, task, plan.seed, sweeps, 0.5, freight))
    return orders


def next_orders(orders: Sequence[Order], products: Sequence[Product]) -> list[Order]:
    """The orders of the next round: every task goes on with what its left neighbour sent back."""
    return [
        order._replace(
            round=order.round + 1,
            feed=products[order.task - 1].value,  # the first task's neighbour is the last one
            freight=products[order.task - 1].freight,
        )
        for order in orders
    ]


def carry_out(order: Order) -> Product:
    """Do the work of one task."""
    drawn = np.random.default_rng((order.seed, order.round, order.task)).random(WIDTH)
    vector = churn((drawn + order.feed) / 2.0, order.sweeps)
    freight = churn(order.freight, 1)
    digest = hashlib.sha256(vector.astype("<f8").tobytes() + freight.astype("<f8").tobytes())
    return Product(float(vector[0]), freight, digest.hexdigest())


def churn(vector: Array, sweeps: int) -> Array:
    """Send every number through the logistic map `sweeps` times."""
    vector, spare = vector.copy(), np.empty_like(vector)
    for _ in range(sweeps):
        np.subtract(1.0, vector, out=spare)
        np.multiply(vector, spare, out=vector)
        np.multiply(vector, GROWTH, out=vector)
    return vector


def checksum(products: Sequence[Product]) -> int:
    """48 bits of the digest over all products in the order of rounds and tasks; exact in JSON."""
    whole = hashlib.sha256("".join(product.digest for product in products).encode())
    return int(whole.hexdigest()[:12], 16)
