"""Counts of calls: a layer that runs several times in a pass is found out, in as few passes as can show it."""

import pytest
import torch
from torch import nn

from captum_erf import EffectiveReceptiveField

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Repeats(nn.Module):
    """Runs a layer as often as a setting says."""

    def __init__(self, times):
        super().__init__()
        self.times, self.conv, self.head = times, nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, images):
        for _ in range(self.times):
            images = self.conv(images)
        return self.head(images)


def measured(model, layer="conv", **reading):
    return EffectiveReceptiveField(model, layer, **reading).aggregate([IMAGES])


def test_a_network_runs_to_its_end_once(count_calls):
    model = Repeats(1)
    ends = count_calls(model.head)
    for _ in range(2):
        measured(model)
    assert len(ends) == 1


def test_every_object_refuses_a_layer_that_is_called_twice():
    model = Repeats(2)
    for _ in range(2):
        with pytest.raises(ValueError, match="is called 2 times in one forward pass"):
            measured(model)
    assert measured(model, call=0).theoretical.size == (3, 3)
    assert measured(model, call=-1).theoretical.size == (5, 5)


def test_calls_are_counted_again_after_a_setting_has_changed():
    model = Repeats(1)
    measured(model)
    model.times = 3
    with pytest.raises(ValueError, match="is called 3 times"):
        measured(model)


def test_calls_are_counted_again_after_a_function_has_been_put_in_the_place_of_another():
    model = Repeats(1)
    measured(model)
    model.forward = lambda images: model.head(model.conv(model.conv(images)))
    with pytest.raises(ValueError, match="is called 2 times"):
        measured(model)


def test_calls_are_counted_for_each_forward_function_and_size():
    class BySize(Repeats):
        def forward(self, images):
            self.times = 1 if len(images[0, 0]) < 20 else 2
            return super().forward(images)

    model = BySize(1)
    measured(model)
    with pytest.raises(ValueError, match="is called 2 times"):
        EffectiveReceptiveField(model, "conv").aggregate([torch.randn(1, 3, 24, 24)])
    with pytest.raises(ValueError, match="is called 2 times"):
        EffectiveReceptiveField(lambda images: model(model.conv(images)), model.conv).aggregate([IMAGES])


class Recurrent(nn.Module):
    """Sees all that was, and nothing of what is to come."""

    def __init__(self):
        super().__init__()
        self.embed, self.state = nn.Conv1d(1, 8, 16, stride=16), nn.GRU(8, 8, batch_first=True)

    def forward(self, sound):
        return self.state(self.embed(sound).mT)[0].mT


@pytest.mark.parametrize(
    ("model", "size"),
    [(nn.Sequential(nn.Conv1d(1, 8, 4, stride=4), nn.GroupNorm(1, 8)), (1024,)), (Recurrent(), (528,))],
    ids=["global", "causal"],
)
def test_setting_up_for_a_sound_takes_few_passes(model, size):
    """One pass looks at the network, half a one at its axes, seven at most at its field; one measures it."""
    sound, seen = torch.randn(1, 1, 1024), []
    next(model.children()).register_forward_pre_hook(lambda _module, given: seen.append(given[0].numel()))
    erf = EffectiveReceptiveField(model, "", layout=lambda output: output)
    assert erf.aggregate([sound]).theoretical.size == size
    assert sum(seen) <= 10 * sound.numel()
