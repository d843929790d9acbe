"""Theoretical receptive fields: the part of the input that can influence a unit, for any network.

How it works, on a network small enough to follow by hand. A convolution of width 3 with stride 2, and one of width 3
after it, make 8 units of 16 pixels. Unit 4 sees units 3, 4 and 5 of the first convolution, of which unit ``i`` sees
the pixels ``2i - 1`` to ``2i + 1``: its box is ``[5, 12)``, 7 pixels wide.

Nobody tells the search so. It fills a part of the input with NaN and looks which units are NaN then
(:mod:`~captum_erf.geometry.probing`). With NaN at the pixels below ``t``, unit 4 is reached for ``t = 6`` and not for
``t = 5``: its lower bound is 5. With NaN from ``t`` on it is reached for ``t = 11`` and not for ``t = 12``: its upper
bound is 12. Each such *test* halves, for all units of all layers at once, the *bracket* in which a bound can lie
(:mod:`~captum_erf.geometry.canvas`, :mod:`~captum_erf.geometry.bisection`).

>>> import torch
>>> from torch import nn
>>> from captum_erf.geometry.canvas import LOWER, UPPER, Bound, Canvas, Test
>>> from captum_erf.geometry.probing import Prober
>>> from captum_erf.network.batch import Batch
>>> from captum_erf.network.network import Network
>>> from captum_erf.network.readings import settle
>>> net = nn.Sequential(nn.Conv1d(1, 1, 3, stride=2, padding=1), nn.Conv1d(1, 1, 3, padding=1))
>>> network, batch = Network.of(net, ["1"]), Batch((torch.randn(1, 1, 16),))
>>> prober = Prober(settle(network, batch), batch)
>>> with prober.running():
...     own = Canvas(prober, axis=0, size=(16,))
...     own.test([Test(LOWER, 5), Test(LOWER, 6), Test(UPPER, 12), Test(UPPER, 13)], [0])
...     longer = Canvas(prober, axis=0, size=(16 + 64,))
...     longer.test([Test(LOWER, 61), Test(LOWER, 62)], [0])
>>> own.bracket(Bound(0, LOWER, unit=4)), own.bracket(Bound(0, UPPER, unit=4))
((5, 5), (12, 12))

Unit 0 sees ``[-3, 4)``, and no test on the input itself can tell where that starts: all NaN can say is "at pixel 0 or
further out". On a *canvas* that is longer by 64 pixels the grid has 32 units more, so that unit 0 has become unit 32
there: its lower bound is ``61 - 64 = -3`` (:mod:`~captum_erf.geometry.periods`, :mod:`~captum_erf.geometry.bounds`).

>>> longer.bracket(Bound(0, LOWER, unit=32))
(61, 61)

In two and three dimensions this is done axis by axis, on canvases that are thin across the axis. At the end, NaN
everywhere on the whole input but in the box proves that the unit sees nothing else
(:mod:`~captum_erf.geometry.search`, :mod:`~captum_erf.geometry.proof`).
"""
