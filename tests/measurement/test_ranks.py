"""Jobs of two real processes on CPU, against one process.

This file is also the script that the processes of the job run: ``python test_ranks.py RANK FOLDER``.
"""

import os
import runpy
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

import captum_erf
from captum_erf import EffectiveReceptiveField, ERFMap
from captum_erf.measurement import ledger
from captum_erf.protocols import LUO2016

RANKS = 2
TIMEOUT = 120
DEATH = 7
PACKAGE = str(Path(captum_erf.__file__).parents[1])  # the copy under test, in the processes of the job too
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": PACKAGE}
EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed.py"


def make_erf():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1))
    return EffectiveReceptiveField(net, "2")


def batches(*sizes):
    return list(torch.randn(sum(sizes), 2, 16, 16, generator=torch.Generator().manual_seed(1)).split(sizes))


def failing(loader):
    yield from loader
    raise OSError("the disk is gone")


# What each rank does in the job; the results of all ranks come back to the tests.


def uneven(rank):
    loader = batches(3, 3, 2, 4)
    return make_erf().aggregate(loader[:3] if rank == 0 else loader[3:])


def no_batch(rank):
    return make_erf().aggregate(batches(3, 4) if rank == 1 else [])


NAMES = ("aab", "bc", "bc", "cd")


def named_images(rank):
    """Both ranks see crops of the images b and c."""
    loader = list(zip(batches(3, 2, 2, 2), NAMES, strict=True))
    return make_erf().aggregate(loader[:2] if rank == 0 else loader[2:], get_groups=lambda batch: batch[1])


def all_empty(rank):
    return make_erf().aggregate([])


def one_raises(rank):
    loader = batches(2, 2, 2)
    return make_erf().aggregate(failing(loader[:1]) if rank == 1 else loader)


def one_raises_late(rank):
    """As on a GPU, where nobody knows of the last batch before the sums are asked for."""
    loader = batches(2, 2)
    if rank == 1:
        loader[-1][0] = torch.nan
    with mock.patch.object(ledger, "comes_late", lambda tensor: True):
        return make_erf().aggregate(loader)


def target_error(rank):
    return make_erf().aggregate(batches(4, 4), target_error=0.1)


def max_samples(rank):
    return make_erf().aggregate(batches(4, 4, 4), max_samples=7)


def other_channel(rank):
    return make_erf().aggregate(batches(2, 2), channel=rank)


def other_channel_without_samples(rank):
    return make_erf().aggregate(batches(2, 2) if rank == 0 else [], channel=rank)


def other_size(rank):
    return make_erf().aggregate([torch.randn(2, 2, 16 + rank, 16)])


def rectified_erf():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    net.load_state_dict(
        {name: weight.abs() for name, weight in make_erf().forward_func.state_dict().items()}, strict=False
    )
    return EffectiveReceptiveField(net, "2")


def dead_first():
    first, second = batches(3, 4)
    return [first, -torch.ones(2, 2, 16, 16), second]


def one_in_whole(rank):
    """On its dead first batch rank 1 cannot check the window, so that it sums over the whole input."""
    loader = dead_first()
    return rectified_erf().aggregate(loader[:1] if rank == 0 else loader[1:])


def nonfinite(rank):
    loader = batches(5)
    if rank == 1:
        loader[0][2] = torch.nan
    return make_erf().aggregate(loader, nonfinite="skip")


def sweep(rank):
    erf = EffectiveReceptiveField(make_erf().forward_func, ["0", "2"])
    return erf.sweep(batches(3, 4)[rank : rank + 1], positions=("center", "corner"))


def own_loop(rank):
    accumulator = make_erf().accumulator()
    for batch in batches(3, 4)[rank : rank + 1]:
        accumulator.update(batch)
    accumulator.all_reduce()
    return accumulator.compute()


def group_of_one(rank):
    groups = [dist.new_group([each]) for each in range(RANKS)]
    accumulator = make_erf().accumulator()
    accumulator.update(batches(3, 4)[rank])
    accumulator.all_reduce(groups[rank])
    return accumulator.compute()


def study(rank):
    loader = batches(2, 2, 2, 2, 2)
    return LUO2016.aggregate(make_erf, loader[:4] if rank == 0 else loader[4:], groups=5)


def one_dies(rank):
    def loader():
        yield from batches(2)
        if rank == 1:
            os._exit(DEATH)

    return make_erf().aggregate(loader())


SCENARIOS = [
    uneven,
    no_batch,
    named_images,
    all_empty,
    one_raises,
    one_raises_late,
    target_error,
    max_samples,
    other_channel,
    other_channel_without_samples,
    other_size,
    one_in_whole,
    nonfinite,
    sweep,
    own_loop,
    group_of_one,
    study,
    one_dies,
]


def run_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=TIMEOUT),
    )
    for scenario in SCENARIOS:
        try:
            found = scenario(rank)
        except Exception as error:
            (folder / f"{scenario.__name__}-{rank}.error").write_text(f"{type(error).__name__}: {error}")
        else:
            for number, field in enumerate(found if isinstance(found, list) else [found]):
                field.save(folder / f"{scenario.__name__}-{rank}-{number}.npz")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder with what every rank found in every scenario."""
    folder = tmp_path_factory.mktemp("job")
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], env=os.environ | ENVIRONMENT)
        for rank in range(RANKS)
    ]
    try:
        assert [process.wait(TIMEOUT) for process in ranks] == [0, DEATH]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return folder


def results(job, scenario, number=0):
    return [ERFMap.load(job / f"{scenario.__name__}-{rank}-{number}.npz") for rank in range(RANKS)]


def errors(job, scenario):
    return [(job / f"{scenario.__name__}-{rank}.error").read_text() for rank in range(RANKS)]


def assert_same(field, expected):
    assert (field.num_samples, field.num_dead) == (expected.num_samples, expected.num_dead)
    assert (field.layer, field.theoretical) == (expected.layer, expected.theoretical)
    assert field.groups.counts.tolist() == expected.groups.counts.tolist()
    np.testing.assert_allclose(field.values, expected.values, rtol=1e-6, atol=1e-9 * expected.values.max())
    for statistic in (ERFMap.effective_pixels, lambda field: field.values.sum()):
        assert field.estimate(statistic) == pytest.approx(expected.estimate(statistic), rel=1e-6)


@pytest.mark.parametrize(
    ("scenario", "sizes"),
    [(uneven, (3, 3, 2, 4)), (no_batch, (3, 4)), (own_loop, (3, 4))],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_every_rank_has_the_map_of_one_process(job, scenario, sizes):
    expected = make_erf().aggregate(batches(*sizes))
    for field in results(job, scenario):
        assert_same(field, expected)


def test_crops_of_an_image_share_a_group_on_whatever_rank(job):
    loader = list(zip(batches(3, 2, 2, 2), NAMES, strict=True))
    expected = make_erf().aggregate(loader, get_groups=lambda batch: batch[1])
    for field in results(job, named_images):
        assert field.recipe["num_images"] == 4
        assert_same(field, expected)


def test_sweep_adds_up_every_layer_and_position(job):
    expected = EffectiveReceptiveField(make_erf().forward_func, ["0", "2"]).sweep(
        batches(3, 4), positions=("center", "corner")
    )
    for number in range(4):
        for field in results(job, sweep, number):
            assert_same(field, expected[number])


def test_ranks_may_sum_over_different_regions(job):
    expected = rectified_erf().aggregate(dead_first(), window=False)
    first, second = (field.recipe["route"] for field in results(job, one_in_whole))
    assert first == second
    assert [route.split()[0] for route in first.split("; ")] == ["window", "whole"]
    for field in results(job, one_in_whole):
        assert field.num_dead == 2
        assert_same(field, expected)


def test_max_samples_counts_over_all_ranks(job):
    for field in results(job, max_samples):
        assert field.num_samples == 7


def test_samples_left_out_are_counted_over_all_ranks(job):
    for field in results(job, nonfinite):
        assert (field.num_samples, field.num_nonfinite) == (9, 1)


def test_process_group_adds_up_its_own_ranks(job):
    for field, batch in zip(results(job, group_of_one), batches(3, 4), strict=True):
        assert_same(field, make_erf().aggregate([batch]))


def test_study_of_networks_is_over_the_draws_of_all_ranks(job):
    expected = LUO2016.aggregate(make_erf, batches(2, 2, 2, 2, 2), groups=5)
    for field in results(job, study):
        assert field.recipe["draws"] == 5
        np.testing.assert_allclose(field.values, expected.values, rtol=1e-6)
        assert sorted(field.groups.counts) == [0, 2, 2, 2, 4]


def test_rank_that_raises_makes_every_rank_raise(job):
    assert errors(job, one_raises) == [
        "RuntimeError: Rank 1 of the job failed: OSError: the disk is gone",
        "OSError: the disk is gone",
    ]


def test_rank_that_finds_out_late_makes_every_rank_raise(job):
    first, second = errors(job, one_raises_late)
    assert first == f"RuntimeError: Rank 1 of the job failed: {second}"
    assert second.startswith("FloatingPointError: Batch 1: the gradient of layer '2' is not finite for 1 of 2 samples")


def test_rank_that_dies_does_not_leave_the_others_waiting(job):
    assert "Error: " in (job / "one_dies-0.error").read_text()


def test_target_error_is_refused(job):
    for error in errors(job, target_error):
        assert error.startswith("ValueError: target_error cannot stop a torch.distributed job")


def test_job_without_any_sample_says_so_on_every_rank(job):
    for error in errors(job, all_empty):
        assert error.startswith("ValueError: No samples were measured: the data loader gave no batch")


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (other_channel, "channel is 0 here and 1 there"),
        (other_channel_without_samples, "channel is 0 here and 1 there"),
        (other_size, "input_shape is [2, 16, 16] here and [2, 17, 16] there"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_ranks_that_measure_different_things_are_refused_on_every_rank(job, scenario, message):
    for error in errors(job, scenario):
        assert error.startswith("ValueError: The sums belong to different measurements")
        assert message in error


def write_images(folder, number):
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60)).save(folder / f"{index}.png")


def run_job(*words):
    """Runs the words under torchrun, and ends what is left of the job when its time is over."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", RANKS, *words]
    launcher = subprocess.Popen(
        list(map(str, command)),
        env=os.environ | ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, complaints = launcher.communicate(timeout=TIMEOUT)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate()
    assert launcher.returncode == 0, complaints
    return output


def test_example_gives_the_same_on_two_processes_as_on_one(tmp_path, monkeypatch, capsys):
    """7 images on 2 processes: a plain DistributedSampler would count one of them twice."""
    write_images(tmp_path / "images", 7)
    arguments = ["--data", str(tmp_path / "images"), "--size", "32", "--batch-size", "2", "--output"]
    together = run_job(EXAMPLE, *arguments, tmp_path / "together.npz")
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments, str(tmp_path / "alone.npz")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    alone = capsys.readouterr().out
    expected, field = ERFMap.load(tmp_path / "alone.npz"), ERFMap.load(tmp_path / "together.npz")
    assert field.num_samples == expected.num_samples == 7
    np.testing.assert_allclose(field.values, expected.values, rtol=1e-6, atol=1e-9 * expected.values.max())
    assert together.count("over 7 samples of 32 x 32") == alone.count("over 7 samples of 32 x 32") == 1


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
    os._exit(0)  # gloo, of which a peer has died, aborts the process now and then when it is taken down
