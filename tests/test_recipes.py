"""Recipes: put into params.yaml without a trace of what was there, and queued."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stages.queueing as queueing
from stages.cli import app
from stages.common.errors import FacetError
from stages.common.params import load_params, read_yaml
from stages.patch import find_comment, format_value, list_leaves, load_nodes, patch_text
from stages.recipes import apply_recipe, compare, list_recipes, list_settings, load_recipe, quote

ROOT = Path(__file__).resolve().parent.parent
SMALL = """# Small
# and quick. A second sentence.
"""
SLOW = """# Small steps, and names that are long.
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and two recipes that differ from it and from one another."""
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    folder = tmp_path / "recipes"
    folder.mkdir()
    sections = text[text.index("prepare:") : text.index("evaluate:")]
    small = patch_text(
        sections,
        {
            ("prepare", "height_px"): "64",
            ("prepare", "width_px"): "64",
            ("prepare", "policy", "leak"): "keep",
            ("train", "n_epochs"): "7",
            ("train", "lr"): "2.5e-05",
        },
    )
    (folder / "small.yaml").write_text(SMALL + small)
    slow = patch_text(
        sections,
        {
            ("prepare", "attributes"): "[Male, 'No, that: is #1', Young]",
            ("prepare", "subset", "train"): "0.1",
            ("prepare", "height_px"): "null",
            ("prepare", "width_px"): "null",
        },
    )
    (folder / "slow.yaml").write_text(SLOW + slow)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_changes_what_it_says_and_no_comment(place: Path) -> None:
    before = (place / "params.yaml").read_text()
    changes = apply_recipe(load_recipe("small"))
    after = (place / "params.yaml").read_text()
    assert {".".join(change.keys) for change in changes} == {
        "prepare.height_px", "prepare.width_px", "prepare.policy.leak", "train.n_epochs",
        "train.lr",
    }  # fmt: skip
    assert "train.n_epochs: 3 -> 7" in [str(change) for change in changes]
    params = load_params(place / "params.yaml")
    assert (params.prepare.height_px, params.train.n_epochs, params.train.lr) == (64, 7, 2.5e-5)
    comments = [[find_comment(line, 0) for line in text.splitlines()] for text in (before, after)]
    assert comments[0] == comments[1]
    changed = [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == 5


def test_every_order_of_recipes_ends_in_the_same_file(place: Path) -> None:
    path = place / "params.yaml"
    original = path.read_text()
    apply_recipe(load_recipe("small"))
    small = path.read_text()
    apply_recipe(load_recipe("slow"))
    after_small = path.read_text()
    path.write_text(original)
    apply_recipe(load_recipe("slow"))
    assert path.read_text() == after_small
    apply_recipe(load_recipe("small"))
    assert path.read_text() == small
    assert apply_recipe(load_recipe("small")) == []
    assert path.read_text() == small


def test_other_sections_and_hand_edits_stay(place: Path) -> None:
    path = place / "params.yaml"
    text = path.read_text().replace("  title: Facet", "  title: 'Ours: # 1'  # mine")
    block = (
        "  attributes:              # or a list of attribute names\n  - Male\n  # why\n  - Young\n"
    )
    lines = [block if "attributes: all" in line else line + "\n" for line in text.splitlines()]
    path.write_text("".join(lines))
    apply_recipe(load_recipe("slow"))
    after = path.read_text()
    assert "  title: 'Ours: # 1'  # mine" in after
    assert "  # why\n" in after
    assert "- Male" not in after
    assert load_params(path).prepare.attributes == ["Male", "No, that: is #1", "Young"]


def test_recipes_are_listed_by_name_with_their_first_sentence(place: Path) -> None:
    assert [(one.name, one.about) for one in list_recipes()] == [
        ("slow", "Small steps, and names that are long"),
        ("small", "Small and quick"),
    ]
    shown = CliRunner().invoke(app, ["recipe", "--list"])
    assert "small                 Small and quick\n" in shown.output


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("n_epochs: 7", "n_epoch: 7", "n_epoch: unknown key", id="a typo"),
        pytest.param("n_epochs: 7", "n_epochs: many", "n_epochs: expected", id="no number"),
        pytest.param("  lr: 2.5e-05", "  # lr", "train.lr: expected this key", id="incomplete"),
        pytest.param("prepare:", "evaluate:", "unknown key", id="another section"),
    ],
)
def test_a_wrong_recipe_is_refused_and_changes_nothing(
    place: Path, old: str, new: str, expected: str
) -> None:
    path = place / "recipes" / "small.yaml"
    path.write_text(path.read_text().replace(old, new))
    before = (place / "params.yaml").read_text()
    with pytest.raises(FacetError, match=expected) as caught:
        apply_recipe(load_recipe("small"))
    assert "small.yaml:" in str(caught.value)
    assert (place / "params.yaml").read_text() == before


def test_an_unknown_recipe_names_those_there_are(place: Path) -> None:
    with pytest.raises(FacetError, match=r"smal\.yaml: expected a recipe; there are: slow, small"):
        load_recipe("smal")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["small", "slow"], id="two at once"),
        pytest.param(["--all"], id="all at once"),
        pytest.param(["small", "--all", "--queue"], id="some and all"),
        pytest.param(["small", "-S", "train.n_epochs=1"], id="settings without a queue"),
        pytest.param(["--queue"], id="a queue of nothing"),
    ],
)
def test_calls_that_say_nothing_clear_are_refused(place: Path, arguments: list[str]) -> None:
    before = (place / "params.yaml").read_text()
    result = CliRunner().invoke(app, ["recipe", *arguments])
    assert result.exit_code == 2
    assert re.search("expected (one recipe|names of recipes or --all)", result.output)
    assert (place / "params.yaml").read_text() == before


def test_settings_are_what_differs_in_the_grammar_of_dvc(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = list_settings(compare(load_recipe("slow").values))
    assert settings == [
        "prepare.attributes=[Male, 'No, that: is #1', Young]",
        "prepare.subset.train=0.1",
        "prepare.height_px=null",
        "prepare.width_px=null",
    ]
    called: list[list[str]] = []

    def remember(command: list[str]) -> str:
        called.append(list(command))
        return "abc"

    monkeypatch.setattr(queueing, "run_command", remember)
    result = CliRunner().invoke(app, ["recipe", "--all", "--queue", "-S", "train.n_epochs=1"])
    assert result.exit_code == 0, result.output
    queued = [command for command in called if "--queue" in command]
    assert len(queued) == 2
    assert queued[1][-4:] == ["-S", "train.n_epochs=7", "-S", "train.n_epochs=1"]
    assert "train.lr=2.5e-05" in queued[1]
    names = [command[command.index("-n") + 1] for command in queued]
    assert [name.rpartition("-")[0] for name in names] == ["slow", "small"]
    assert len({name.rpartition("-")[2] for name in names}) == 2


@pytest.fixture
def queued(place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Settings that were queued, by name; a name that is queued is known afterwards."""
    done: dict[str, list[str]] = {}
    monkeypatch.setattr(queueing, "run_command", lambda command: "0123456")
    monkeypatch.setattr(
        queueing, "queue_experiment", lambda name, settings: done.update({name: list(settings)})
    )
    monkeypatch.setattr(
        queueing, "list_queue", lambda root: [queueing.Task("1", name, "Queued") for name in done]
    )
    return done


def test_a_sweep_is_an_experiment_per_value_and_queued_once(
    queued: dict[str, list[str]], place: Path
) -> None:
    call = [
        "recipe",
        "small",
        "--queue",
        "-S",
        "train.lr=1e-3,1e-4",
        "-S",
        "train.augment.flip=0.0",
    ]
    first = CliRunner().invoke(app, call)
    assert first.exit_code == 0, first.output
    assert len(queued) == 2
    rates = [
        next(one for one in settings[::-1] if "train.lr=" in one) for settings in queued.values()
    ]
    assert rates == ["train.lr=0.001", "train.lr=0.0001"]
    assert all("train.augment.flip=0.0" in settings for settings in queued.values())
    again = CliRunner().invoke(app, call)
    assert again.output.count("already queued") == 2
    assert len(queued) == 2


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        pytest.param(
            "train.lr=fast", "train.lr: expected a number; got the text 'fast'", id="text"
        ),
        pytest.param("train.lr=", "train.lr: expected a number", id="nothing"),
        pytest.param("train.rate=1", "train.rate", id="a typo"),
        pytest.param("nonsense", "expected KEY=VALUE", id="no value"),
        pytest.param("train.lr=[1", "expected KEY=VALUE", id="a bracket open"),
        pytest.param("train.lr=1e-3,-1", "train.lr: expected", id="the second of a sweep"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_queued(
    queued: dict[str, list[str]], setting: str, expected: str
) -> None:
    result = CliRunner().invoke(app, ["recipe", "small", "--queue", "-S", setting])
    assert result.exit_code == 1
    assert isinstance(result.exception, FacetError)
    assert expected in str(result.exception)
    assert "\n" not in str(result.exception)
    assert queued == {}


@pytest.mark.parametrize("value", ["${x}", "???", "a#b", "/d/a(1)"])
def test_a_value_that_dvc_cannot_read_is_refused_in_a_line(
    queued: dict[str, list[str]], value: str
) -> None:
    result = CliRunner().invoke(app, ["recipe", "small", "--queue", "-S", f"train.lr={value}"])
    assert isinstance(result.exception, FacetError)
    assert "\n" not in str(result.exception)
    assert queued == {}


def test_the_refused_recipe_is_named(queued: dict[str, list[str]]) -> None:
    call = ["recipe", "--all", "--queue", "-S", "params.yaml:train.n_epochs=1,0"]
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, FacetError)
    assert str(result.exception).startswith("slow -S train.n_epochs=0: train.n_epochs: expected")
    assert queued == {}


def test_one_value_of_a_sweep_is_the_experiment_without_it(
    queued: dict[str, list[str]], place: Path
) -> None:
    CliRunner().invoke(app, ["recipe", "small", "--queue"])
    (alone,) = queued
    rate = load_recipe("small").values["train", "lr"]
    swept = ["recipe", "small", "--queue", "-S", f"train.lr={rate},1e-4"]
    shown = CliRunner().invoke(app, swept).output
    assert f"already queued {alone}" in shown
    assert len(queued) == 2


def test_uncommitted_inputs_make_other_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("reviews/verdicts.csv", "docs/log.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        queueing.run_command([*git, *command])
    params = load_params(ROOT / "params.yaml")
    first = queueing.name_experiment("x", params, queueing.read_state())
    (tmp_path / "docs" / "log.md").write_text("b\n")
    assert queueing.name_experiment("x", params, queueing.read_state()) == first
    (tmp_path / "reviews" / "verdicts.csv").write_text("b\n")
    assert queueing.name_experiment("x", params, queueing.read_state()) != first


def test_what_dvc_says_reaches_the_user() -> None:
    program = "import sys; sys.exit('ERROR: no such key\\n    type=dict\\n\\nHaving any troubles?')"
    with pytest.raises(FacetError, match=r"no such key$"):
        queueing.run_command([sys.executable, "-c", program])
    with pytest.raises(FacetError, match=r"the last$"):
        queueing.run_command([sys.executable, "-c", "import sys; sys.exit('first\\nthe last')"])


def test_recipes_are_looked_for_in_the_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    with pytest.raises(FacetError, match="expected a recipe; there are"):
        load_recipe("../params")
    monkeypatch.chdir(tmp_path / "recipes")
    for arguments in (["--list"], ["--all", "--queue"]):
        result = CliRunner().invoke(app, ["recipe", *arguments])
        assert "run from the repository's root" in str(result.exception)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("null", "null"),
        ("1.0e-3", "1.0e-3"),
        ("[1, 2]", "[1, 2]"),
        ("a b", "'a b'"),
        ("it's", r"'it\'s'"),
    ],
)
def test_quotes(value: str, quoted: str) -> None:
    assert quote(value) == quoted


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("a: 1   # one\n", "2", "a: 2                        # one\n"),
        ("a: 'x # y' # one\n", "2", "a: 2                        # one\n"),
        ("a: x#y\n", "z", "a: z\n"),
        ("a: [1,\n  2]\nb: 3\n", "[4]", "a: [4]\nb: 3\n"),
        ("a:\n- 1\n# said\n- 2\nb: 3\n", "[4]", "a: [4]\n# said\nb: 3\n"),
        ("'a': 1\n", "2", "'a': 2\n"),
        (f"a: 1 {' ' * 40}# far\n", "x" * 30, f"a: {'x' * 30}  # far\n"),
    ],
)
def test_values_are_replaced_and_comments_stay(text: str, value: str, expected: str) -> None:
    assert patch_text(text, {("a",): value}) == expected


def test_several_keys_on_a_line_are_refused_by_name(place: Path) -> None:
    path = place / "params.yaml"
    text = path.read_text()
    start = text.index("  subset:")
    end = text.index("  resplit:")
    text = text[:start] + "  subset: {train: null, valid: null, test: null}\n" + text[end:]
    path.write_text(text)
    with pytest.raises(FacetError) as caught:
        apply_recipe(load_recipe("slow"))
    line = text[:start].count("\n") + 1
    assert str(caught.value).startswith(
        f"params.yaml: prepare.subset.train: expected a line of its own; line {line} holds 4 keys"
    )
    assert path.read_text() == text


def test_values_keep_the_way_they_are_written() -> None:
    text = "a: 1.0e-3\nb: 'two words'\nc: [64, 256]\nd: null\ne: 0x10\nf: true\n"
    leaves = {keys[0]: format_value(value) for keys, value in list_leaves(load_nodes(text))}
    assert leaves["a"] == "1.0e-3"
    assert leaves["c"] == "[64, 256]"
    assert leaves["d"] == "null"
    assert leaves["f"] == "true"
    assert load_nodes(f"k: {leaves['b']}")["k"] == "two words"


def test_params_yaml_is_laid_out_as_a_patch_leaves_it() -> None:
    """Otherwise the first recipe that is applied would move comments about."""
    text = (ROOT / "params.yaml").read_text()
    leaves = {keys: format_value(value) for keys, value in list_leaves(load_nodes(text))}
    chosen = {keys: value for keys, value in leaves.items() if keys[0] in ("prepare", "train")}
    assert patch_text(text, chosen) == text
    assert read_yaml(ROOT / "params.yaml")["train"]


def test_the_fast_recipe_is_what_params_yaml_ships() -> None:
    recipe = load_recipe("facet_fast", ROOT / "recipes")
    assert compare(recipe.values, ROOT / "params.yaml") == []
    text = (ROOT / "params.yaml").read_text()
    assert patch_text(text, recipe.values) == text


@pytest.mark.parametrize("first", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_of_the_house_can_follow_any_other(place: Path, first: str) -> None:
    path = place / "params.yaml"
    recipes_ = list_recipes(ROOT / "recipes")
    assert len(recipes_) >= 6
    alone = {}
    for recipe in recipes_:
        path.write_text((ROOT / "params.yaml").read_text())
        apply_recipe(recipe)
        alone[recipe.name] = path.read_text()
    for recipe in recipes_:
        path.write_text(alone[first])
        apply_recipe(recipe)
        assert path.read_text() == alone[recipe.name]
