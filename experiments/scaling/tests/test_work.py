"""The work is exact, counted, and depends on everything it should."""

import numpy as np
import pytest

from work import GROWTH, SWEEPS, Plan, carry_out, checksum, churn, first_orders, loads, next_orders

PLAN = Plan(tasks=5, rounds=2, work=0.02, imbalance=0.5, payload_kib=1, seed=3)


def job(plan: Plan) -> int:
    """The checksum of the whole job, done one task after the other."""
    products, orders = [], first_orders(plan)
    for _ in range(plan.rounds):
        made = [carry_out(order) for order in orders]
        products += made
        orders = next_orders(orders, made)
    return checksum(products)


def test_a_vector_gives_the_same_bits_as_one_number_at_a_time() -> None:
    start = np.random.default_rng(1).random(37)  # no multiple of a vector register
    single = []
    for number in start.tolist():
        value = number
        for _ in range(500):
            value = value * (1.0 - value) * GROWTH
        single.append(value)
    assert churn(start, 500).tolist() == single
    assert start.tolist() == np.random.default_rng(1).random(37).tolist()  # the input is left alone


def test_one_wrong_bit_spreads() -> None:
    start = np.full(4, 0.3)
    wrong = np.nextafter(start, 1.0)
    assert (abs(churn(start, 200) - churn(wrong, 200)) > 1e-3).all()


@pytest.mark.parametrize("tasks", [1, 2, 16, 101])
@pytest.mark.parametrize("imbalance", [0.0, 0.5, 1.0])
def test_imbalance_moves_work_between_tasks_and_adds_none(tasks: int, imbalance: float) -> None:
    plan = PLAN._replace(tasks=tasks, imbalance=imbalance, work=3)
    sweeps = loads(plan)
    mean = 3 * SWEEPS
    assert len(sweeps) == tasks
    assert sum(sweeps) == pytest.approx(tasks * mean, abs=tasks)
    if tasks > 1:
        assert max(sweeps) == pytest.approx((1 + imbalance) * mean, abs=1)
        assert min(sweeps) == pytest.approx(max((1 - imbalance) * mean, 1), abs=1)
    assert min(sweeps) >= 1


def test_heavy_tasks_are_not_all_at_one_end() -> None:
    sweeps = loads(PLAN._replace(tasks=100, work=3))
    assert sweeps != sorted(sweeps)
    assert sweeps != loads(PLAN._replace(tasks=100, work=3, seed=4))


def test_the_checksum_is_that_of_the_plan_and_of_no_other() -> None:
    others = {
        "tasks": 6, "rounds": 3, "work": 0.03, "imbalance": 0.4, "payload_kib": 2, "seed": 4,
    }  # fmt: skip
    sums = [job(PLAN), *(job(PLAN._replace(**{name: value})) for name, value in others.items())]
    assert len(set(sums)) == len(sums)
    assert job(PLAN) == sums[0] < 2**48


def test_freight_comes_from_the_left_neighbour_and_makes_a_ring() -> None:
    orders = first_orders(PLAN)
    products = [carry_out(order) for order in orders]
    after = next_orders(orders, products)
    assert [order.round for order in after] == [1] * 5
    for order in after:
        left = products[(order.task - 1) % 5]
        assert order.feed == left.value
        assert order.freight is left.freight
    assert {order.freight.nbytes for order in after} == {1024}


def test_the_order_of_products_counts() -> None:
    products = [carry_out(order) for order in first_orders(PLAN)]
    assert checksum(products) != checksum(products[::-1])


def test_no_freight_is_as_good_as_any() -> None:
    assert job(PLAN._replace(payload_kib=0)) != job(PLAN)
