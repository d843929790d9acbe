"""The page to explore, as a browser shows it: Debian's Chromium, driven by selenium."""

import base64
import csv
import io
import json
import re
import shutil
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap
from captum_erf.text import number
from captum_erf.visualization import write_page

UNITS = [(i, j) for i in range(3) for j in range(3)]
HOSTILE = "</script><script>window.harmed = 1</script><!--\"'&amp;\u2028"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


class Sweeps(NamedTuple):
    fields: list[ERFMap]
    alone: list[list[ERFMap]]
    image_fields: list[ERFMap]
    photographs: torch.Tensor


@pytest.fixture(scope="module")
def sweeps():
    """Fields of two layers with a grid of 3 x 3: over five photographs, and over each of the first two alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 5, 8, 2), nn.ReLU(), nn.Conv2d(6, 4, 3, 1, 1)).double()
    photographs = torch.rand(5, 3, 24, 24, dtype=torch.float64)
    erf = EffectiveReceptiveField(model, ["0", "2"])
    fields = erf.sweep([photographs], positions="grid")
    alone = [erf.sweep([photographs[place : place + 1]], positions="grid") for place in range(2)]
    return Sweeps(fields, alone, erf.sweep([photographs[:2]], positions="grid", groups=2), photographs)


@pytest.fixture(scope="module")
def page(sweeps, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    return write_page(path, sweeps.fields, sweeps.photographs[:2], image_fields=sweeps.image_fields)


@pytest.fixture(scope="module")
def several(sweeps, tmp_path_factory):
    models = {"first": sweeps.fields, "second": sweeps.fields[len(UNITS) :]}
    return write_page(tmp_path_factory.mktemp("page") / "several.html", models, sweeps.photographs[:1])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """One browser for all tests; it saves files in the folder ``chromium.downloads``."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not service:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    downloads = tmp_path_factory.mktemp("downloads")
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(service))
    browser.downloads = downloads
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium):
    """The browser, 1200 pixels wide and light; afterwards its console must be empty."""
    look(chromium, 1200)
    yield chromium
    assert chromium.get_log("browser") == []


def look(browser, width, scheme="light"):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def find(browser, name):
    return browser.find_element("id", name)


def shown(browser, name="unit"):
    """The words that stand with the unit."""
    terms, words = (browser.find_elements("css selector", f"#{name} {tag}") for tag in ("dt", "dd"))
    return {term.text: word.text for term, word in zip(terms, words, strict=True)}


def choose(browser, name, text):
    from selenium.webdriver.support.ui import Select

    Select(find(browser, name)).select_by_visible_text(text)


def options(browser, name):
    return [option.text for option in find(browser, name).find_elements("tag name", "option")]


def point(browser, down, right, name="field"):
    """Moves the pointer over the field to a place given as shares of it."""
    from selenium.webdriver import ActionChains

    field = find(browser, name)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
    width, height = field.size["width"], field.size["height"]
    ActionChains(browser).move_to_element_with_offset(
        field, round((right - 0.5) * width), round((down - 0.5) * height)
    ).perform()


def press(browser, *keys, name="field"):
    from selenium.webdriver.common.keys import Keys

    find(browser, name).send_keys(*(getattr(Keys, key) for key in keys))


def slide(browser, name, value):
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    browser.execute_script(script, find(browser, name), value)


def saved(browser, button, suffix):
    """What a button saves."""
    before = set(browser.downloads.glob(f"*{suffix}"))
    find(browser, button).click()
    for _ in range(100):
        for file in set(browser.downloads.glob(f"*{suffix}")) - before:
            return file.read_bytes()
        time.sleep(0.1)
    raise AssertionError(f"{button} saved nothing.")


def data_of(page):
    """The data that the page carries."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))


@pytest.mark.parametrize("index", [(0, 0), (1, 2), (2, 1)], ids=str)
def test_pointing_at_a_place_shows_the_unit_whose_cell_lies_there(browser, page, sweeps, index):
    browser.get(page.as_uri())
    point(browser, (index[0] + 0.3) / 3, (index[1] + 0.7) / 3)
    field = sweeps.fields[len(UNITS) + UNITS.index(index)]
    words = shown(browser)
    assert words["unit"] == f"{index} of 3 x 3"
    assert words["centre"].startswith(f"({field.center[0]:g}, {field.center[1]:g})")
    assert words["TRF"] == f"{field.theoretical.size[0]} x {field.theoretical.size[1]} px"
    assert words["outside"] == f"{100 * field.theoretical.outside:.1f} %"
    row = field.summary()
    for percent in (50, 90):
        size = number(row[f"diameter_{percent}"], row[f"diameter_{percent}_se"])
        assert words[f"{percent} % of the map"] == f"{size} px"


def test_the_page_opens_with_the_centre_unit_of_the_last_layer(browser, page):
    browser.get(page.as_uri())
    assert find(browser, "layer").get_property("value") == "2"
    assert shown(browser)["unit"] == "(1, 1) of 3 x 3"


def test_the_select_changes_the_layer_and_keeps_the_place(browser, page, sweeps):
    browser.get(page.as_uri())
    point(browser, 0.1, 0.9)
    choose(browser, "layer", "0")
    assert shown(browser)["unit"] == "(0, 2) of 3 x 3"
    assert shown(browser)["TRF"] == "5 x 5 px"


def test_arrow_keys_move_the_unit_and_stop_at_the_border(browser, page):
    browser.get(page.as_uri())
    press(browser, "ARROW_UP", "ARROW_LEFT", "ARROW_LEFT")
    assert shown(browser)["unit"] == "(0, 0) of 3 x 3"
    press(browser, "ARROW_DOWN", "ARROW_DOWN", "ARROW_DOWN")
    assert shown(browser)["unit"] == "(2, 0) of 3 x 3"
    press(browser, "ARROW_RIGHT")
    assert shown(browser)["unit"] == "(2, 1) of 3 x 3"
    press(browser, "HOME")
    assert shown(browser)["unit"] == "(1, 1) of 3 x 3"


def test_a_click_on_a_small_map_chooses_its_unit(browser, page):
    from selenium.webdriver import ActionChains

    browser.get(page.as_uri())
    units = browser.find_element("class name", "units")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", units)
    width, height = units.size["width"], units.size["height"]
    ActionChains(browser).move_to_element_with_offset(
        units, round(-0.05 * width), round(0.4 * height)
    ).click().perform()
    assert shown(browser)["unit"] == "(2, 1) of 3 x 3"


def test_the_map_lies_where_the_unit_looks(browser, page, sweeps):
    """The field is brightest, against the photograph alone, within the theoretical field of the unit."""
    browser.get(page.as_uri())
    choose(browser, "layer", "0")
    point(browser, 0.9, 0.1)
    field = sweeps.fields[UNITS.index((2, 0))]
    colours = {}
    for opacity in (0, 100):
        slide(browser, "opacity", opacity)
        time.sleep(0.3)
        uri = browser.execute_script("return arguments[0].toDataURL()", find(browser, "field"))
        picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
        colours[opacity] = np.asarray(picture.resize((24, 24), Image.Resampling.BOX), dtype=float)
    (top, bottom), (left, right) = (
        (max(lower, 0), upper) for lower, upper in zip(field.theoretical.lower, field.theoretical.upper, strict=True)
    )
    inside = np.zeros((24, 24), dtype=bool)
    inside[top:bottom, left:right] = True
    brighter = colours[100].mean(-1) - colours[0].mean(-1)
    assert brighter[inside].mean() > 20 + brighter[~inside].mean()


def test_the_maps_are_right_to_eight_bits(page, sweeps):
    data = data_of(page)
    levels_apart = 0.5 / 255 / data["exponent"]
    for layer_number, layer in enumerate(data["models"][0]["layers"]):
        for atlas, fields in zip(layer["atlases"], [sweeps.fields, *sweeps.alone], strict=True):
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(atlas["src"].split(",")[1])))) / 255
            for place, field in zip(atlas["places"], fields[layer_number * len(UNITS) :], strict=False):
                x, y, width, height, left, top, step = place
                values = np.zeros((24, 24))
                levels = picture[y : y + height, x : x + width]
                values[top : top + height, left : left + width] = levels ** (1 / data["exponent"])
                assert step == 1
                np.testing.assert_allclose(values, field.values / field.values.max(), atol=levels_apart)


def test_the_source_can_be_one_image_alone(browser, page, sweeps):
    browser.get(page.as_uri())
    assert options(browser, "source") == [
        "mean of 5 samples, on image 1",
        "mean of 5 samples, on image 2",
        "image 1 alone",
        "image 2 alone",
    ]
    choose(browser, "source", "image 2 alone")
    field = sweeps.alone[1][len(UNITS) + UNITS.index((1, 1))]
    assert shown(browser)["50 % of the map"] == f"{field.radius_mass().diameter(0.5):.1f} px"


def test_the_sliders_are_the_opacity_and_the_share_of_the_box(browser, page, sweeps):
    browser.get(page.as_uri())
    slide(browser, "share", 90)
    assert "90 %" in find(browser, "share-value").text
    assert "box with 90 % of the map" in browser.find_element("class name", "legend").text
    side = float(re.search(r"side of ([\d.]+)", browser.find_element("tag name", "svg").get_attribute("aria-label"))[1])
    centre = sweeps.fields[len(UNITS) + UNITS.index((1, 1))]
    assert side == pytest.approx(centre.radius_mass().diameter(0.9), abs=0.06)


def test_the_table_sorts_by_each_column(browser, page):
    browser.get(page.as_uri())

    def column():
        return [row.text.split()[0] for row in browser.find_elements("css selector", "#layers tbody tr")]

    head = next(cell for cell in browser.find_elements("css selector", "#layers th") if cell.text.startswith("TRF"))
    assert column() == ["0", "2"]
    head.find_element("tag name", "button").click()
    assert (column(), head.get_attribute("aria-sort")) == (["0", "2"], "ascending")
    head.find_element("tag name", "button").click()
    assert (column(), head.get_attribute("aria-sort")) == (["2", "0"], "descending")


def test_a_layer_in_the_table_is_a_button_that_shows_it(browser, page):
    browser.get(page.as_uri())
    browser.find_element("css selector", "#layers tbody tr button").click()
    assert find(browser, "layer").get_property("value") == "0"


def test_the_saved_numbers_are_the_summary(browser, page, sweeps):
    browser.get(page.as_uri())
    rows = list(csv.DictReader(io.StringIO(saved(browser, "save-numbers", ".csv").decode("utf-8"))))
    assert len(rows) == len(sweeps.fields)
    for row, field in zip(rows, sweeps.fields, strict=True):
        for key, value in field.summary().items():
            cells = [cell for name, cell in row.items() if re.fullmatch(rf"{key}(_\d)*", name)]
            values = [value] * len(cells) if value is None else np.ravel(value).tolist()
            assert cells == ["" if one is None else str(one) for one in values], key


def test_the_saved_map_is_the_picture_on_the_page(browser, page):
    browser.get(page.as_uri())
    time.sleep(0.3)
    picture = Image.open(io.BytesIO(saved(browser, "save-map", ".png")))
    assert picture.size == tuple(find(browser, "field").get_property(side) for side in ("width", "height"))


def test_several_models_follow_one_pointer(browser, several):
    browser.get(several.as_uri())
    point(browser, 0.9, 0.1, name="field-2")
    assert shown(browser)["unit"] == shown(browser, "unit-2")["unit"] == "(2, 0) of 3 x 3"
    choose(browser, "layer", "0")
    press(browser, "ARROW_UP")
    assert shown(browser)["TRF"] == "5 x 5 px"
    assert shown(browser, "unit-2")["unit"] == "(1, 0) of 3 x 3"
    assert [cell.text for cell in browser.find_elements("css selector", "#layers tbody td:first-child")] == [
        "first",
        "first",
        "second",
    ]


def test_names_do_no_harm_and_lose_their_folders(browser, sweeps, tmp_path):
    hostile = [replace(field, layer=HOSTILE) for field in sweeps.fields[: len(UNITS)]]
    name = f"/home/somebody/{HOSTILE.replace('/', '')}"
    page = write_page(tmp_path / "page.html", {name: hostile}, {f"{name}.jpg": sweeps.photographs[0]}, title=HOSTILE)
    text = page.read_text(encoding="utf-8")
    assert "somebody" not in text
    assert text.count("</script>") == 2
    browser.get(page.as_uri())
    assert browser.execute_script("return window.harmed") is None
    assert find(browser, "title").get_property("textContent") == HOSTILE
    assert browser.execute_script("return arguments[0].options[0].textContent", find(browser, "layer")) == HOSTILE
    assert shown(browser)["unit"] == "(1, 1) of 3 x 3"


def test_nothing_is_loaded_from_anywhere(browser, page):
    browser.get(page.as_uri())
    time.sleep(0.3)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert not re.search(r"https?:|@import|url\(", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_its_window(browser, several, width):
    look(browser, width)
    browser.get(several.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    fields = [find(browser, name).rect for name in ("field", "field-2")]
    assert (fields[0]["y"] == fields[1]["y"]) == (width == 1200)


def test_light_and_dark_follow_the_system(browser, page):
    script = "return getComputedStyle(document.body).backgroundColor"
    browser.get(page.as_uri())
    light = browser.execute_script(script)
    look(browser, 1200, "dark")
    dark = browser.execute_script(script)
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150


def test_a_screen_reader_finds_a_name_for_everything(browser, page):
    browser.get(page.as_uri())
    for element in browser.find_elements("css selector", "select, input, button, canvas, svg"):
        assert element.accessible_name.strip(), element.get_attribute("outerHTML")
    assert "unit (1, 1) of 3 x 3 of layer 2" in find(browser, "field").accessible_name
    assert find(browser, "unit").get_attribute("aria-live") == "polite"


def test_a_unit_that_an_image_does_not_activate_is_said_to_be_dead(browser, sweeps, tmp_path):
    path = tmp_path / "page.html"
    activated = sweeps.image_fields[:-5]
    browser.get(write_page(path, sweeps.fields, sweeps.photographs[:2], image_fields=activated).as_uri())
    choose(browser, "source", "image 1 alone")
    assert shown(browser)["50 % of the map"] == "none: the unit is dead"
    press(browser, "ARROW_UP")
    assert shown(browser)["50 % of the map"].endswith(" px")


def test_a_page_without_photographs_shows_the_maps(browser, sweeps, tmp_path):
    browser.get(write_page(tmp_path / "page.html", sweeps.fields).as_uri())
    point(browser, 0.1, 0.1)
    assert shown(browser)["unit"] == "(0, 0) of 3 x 3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sweeps: {"fields": []}, "no field to show"),
        (lambda sweeps: {"fields": {"model": []}}, "no field to show"),
        (
            lambda sweeps: {"image_fields": [replace(field, layer="other") for field in sweeps.image_fields]},
            "not of the same units",
        ),
        (lambda sweeps: {"image_fields": {"model": sweeps.image_fields}}, "not of the same units"),
        (lambda sweeps: {"image_fields": sweeps.fields}, "groups=2"),
        (lambda sweeps: {"images": [np.zeros((2, 5, 5))] * 2}, r"got \(2, 5, 5\)"),
        (lambda sweeps: {"images": [np.full((5, 5), np.nan)] * 2}, "NaN"),
    ],
    ids=["nothing", "no layer", "other units", "other models", "wrong groups", "two channels", "not finite"],
)
def test_what_does_not_fit_together_is_refused(sweeps, tmp_path, change, message):
    given = {"fields": sweeps.fields, "images": sweeps.photographs[:2], "image_fields": sweeps.image_fields}
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path / "page.html", **given | change(sweeps))
    assert not (tmp_path / "page.html").exists()


def test_maps_of_other_kinds_are_refused(tmp_path):
    line = EffectiveReceptiveField(nn.Conv1d(1, 1, 3), "").sweep([torch.rand(2, 1, 9)])
    with pytest.raises(ValueError, match="two axes"):
        write_page(tmp_path / "page.html", line)
    signed = EffectiveReceptiveField(nn.Conv2d(1, 1, 3), "").sweep([torch.rand(2, 1, 9, 9)], magnitude="signed")
    with pytest.raises(ValueError, match="negative values"):
        write_page(tmp_path / "page.html", signed)
