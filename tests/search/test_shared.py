"""The shared network: its parts are the networks themselves, and its training goes on as if it had not stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.search.spaces import DIGITS, space
from toolchain.errors import UserError
from toolchain.search.labels import Labels, demand_networks
from toolchain.search.network import Network, drawn, largest, network_at
from toolchain.search.pool import Local
from toolchain.search.predictor import Features, kendall, learn
from toolchain.search.shared import SharedWeights, noise_table
from toolchain.search.space import Space
from toolchain.search.store import Store
from toolchain.search.training import SharedTraining, Tester, task_of

ACCURACY: dict[str, Any] = {"epochs": 2, "between": 1, "networks": 24, "held_out": 8, "rounds": 2, "valid": 0.3}
TINY = space(
    stem=[8],
    head=[16],
    stage=[{"kind": "inverted", "depth": [1, 2], "channels": [8, 12], "kernel": [3, 5], "expansion": [1, 2]}],
    accuracy=ACCURACY,
)


@pytest.mark.parametrize("normalize", ["unit", "standard"])
def test_a_network_on_shared_weights_computes_what_its_run_file_builds(normalize: str) -> None:
    """Bit for bit in training mode, for random blocks and bits."""
    bits = {"weights": [2, 4, 8], "activations": [4, 8]}
    both = space(bits=bits, architecture=["streaming"], data={"name": "digits", "normalize": normalize})
    torch.manual_seed(0)
    shared, rng, x = SharedWeights(both, DIGITS).train(), np.random.default_rng(0), torch.rand(16, 1, 8, 8)
    for _ in range(3):
        network = network_at(both, drawn(both, rng))
        part = shared.network(network, (1, 8, 8), 10)
        part(x)  # sets the activations' steps
        assert torch.equal(part(x), shared.alone(network, both, (1, 8, 8), 10)(x))


def test_training_that_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    whole = SharedTraining(TINY, DIGITS, tmp_path / "a").run()

    class Stop(Exception):
        pass

    def stop(*_: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        SharedTraining(TINY, DIGITS, tmp_path / "b").run(stop)
    parts = SharedTraining(TINY, DIGITS, tmp_path / "b").run()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name

    (tmp_path / "b" / "shared.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"shared.pt is damaged; remove it: the shared network is trained again$"):
        SharedTraining(TINY, DIGITS, tmp_path / "b")


@pytest.mark.filterwarnings("error:Converting a tensor")
def test_the_loss_is_read_without_a_warning_of_torch(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: torch.set_warn_always(False))
    torch.set_warn_always(True)  # also where a test before has had the warning
    SharedTraining(TINY, DIGITS, tmp_path).run()


def test_weights_and_images_are_read_again_where_others_take_their_place(tmp_path: Path) -> None:
    """A process that searches again with ``overwrite`` may have other data; threads are those of the space."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        training, tester = SharedTraining(TINY, DIGITS, tmp_path), Tester(TINY, DIGITS, tmp_path)
        assert torch.get_num_threads() == TINY.train.threads == 1
        training._save()
        first = tester._work
        assert tester._work is first
        training.shared.tensors["fc_bias"].data += 1
        training._save()
        assert torch.equal(tester._work.shared.tensors["fc_bias"], first.shared.tensors["fc_bias"] + 1)
    finally:
        torch.set_num_threads(before)


def test_shared_weights_learn_and_more_epochs_learn_more(tmp_path: Path) -> None:
    network, found = network_at(TINY, largest(TINY)), []
    train = TINY.train.model_copy(update={"batch_size": 32})
    for epochs in (1, 4):
        longer = TINY.accuracy.model_copy(update={"epochs": epochs})
        longer = TINY.model_copy(update={"accuracy": longer, "train": train})
        folder = tmp_path / str(epochs)
        folder.mkdir()
        SharedTraining(longer, task_of(longer), folder).run()
        found.append(Tester(longer, task_of(longer), folder)(network))
    assert found[0] + 0.1 < found[1] and found[1] > 0.3  # of ten classes


def _features(tiny: Space) -> Features:
    torch.manual_seed(0)
    return Features(tiny, DIGITS, noise_table(SharedWeights(tiny, DIGITS), tiny))


def _reached(network: Network) -> float:
    """More channels and kernels are better, fewer bits worse; the least that a predictor must see."""
    size = sum(b.channels * b.kernel * b.expansion**0.5 for b in network.blocks.block)
    return 0.9 - 10 / size - sum(2.0**-bits for bits in network.bits.values()) / 20


def test_the_predictor_ranks_networks_that_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    networks = list({n.key: n for n in (network_at(TINY, drawn(TINY, rng)) for _ in range(140))}.values())
    top1 = [_reached(network) for network in networks]
    predictor = learn(_features(TINY), networks[40:], top1[40:])
    assert predictor.tau(networks[:40], top1[:40]) > 0.8
    assert (predictor.uncertainty(networks[:40]) > predictor.uncertainty(networks[40:]).mean()).mean() > 0.5


def test_kendall_of_no_order_is_zero() -> None:
    assert kendall([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0.0 and kendall([1.0, 2.0], [3.0, 4.0]) == 1.0


def test_tests_that_were_told_are_not_repeated(tmp_path: Path) -> None:
    """Killed behind ten networks, the rest follows; the networks that are held out stay the same."""
    tested: list[str] = []

    class Died(Exception):
        pass

    def test(network: Network) -> float:
        if len(tested) == 10:
            raise Died
        tested.append(network.key)
        return _reached(network)

    with pytest.raises(Died):
        Labels(TINY, Store(tmp_path, {}), Local(1), test).predictor(_features(TINY))
    rest: list[str] = []
    labels = Labels(TINY, Store(tmp_path, {}), Local(1), lambda n: rest.append(n.key) or _reached(n))
    predictor = labels.predictor(_features(TINY))
    assert len(rest) == 24 - 10 and not set(rest) & set(tested)
    assert [n.key for n in labels.networks] == tested + rest
    assert -1 <= labels.tau(predictor) <= 1


def test_a_space_of_few_networks_is_tested_once_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictor never learns from a network that is held out; with too few it cannot be judged."""
    monkeypatch.setattr("toolchain.search.labels.learn", lambda *_: None)
    few = {"stem": [8], "head": [0], "stage": [{"kind": "residual", "channels": [8, 16]}]}
    small = space(**few, bits={"weights": [4, 8]}, accuracy={"networks": 70, "held_out": 20, "rounds": 1})
    labels = Labels(small, Store(tmp_path, {}), Local(1), _reached)
    labels.predictor(_features(small))
    assert len({n.key for n in labels.networks}) == len(labels.networks) == 2**4 + 2**5
    with pytest.raises(UserError, match=r"^the space 'small' has 2 networks: accuracies of 52 are learned"):
        demand_networks(space(**few, bits={"weights": [8]}))
    demand_networks(small)


def test_the_fewest_networks_that_a_space_may_test_are_enough_for_every_round(tmp_path: Path) -> None:
    fewest = space(accuracy={"networks": 10, "held_out": 4, "rounds": 3})
    labels = Labels(fewest, Store(tmp_path, {}), Local(1), _reached)
    predictor = labels.predictor(_features(fewest))
    assert len(labels.networks) == 10 and np.isfinite(predictor.top1(labels.networks)).all()
