"""Recipes: those that ship, what they refuse, and how samples go to steps."""

import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from depthvlm_bench.depthvlm.training.recipe import (
    Recipe,
    differences,
    load_recipe,
    plan_steps,
    recipe_names,
)
from depthvlm_bench.errors import UsageError
from depthvlm_bench.hashing import canonical_json


def test_every_recipe_that_ships_is_one_and_says_where_its_figures_come_from():
    names = recipe_names()
    assert {f"{kind}-stage{stage}" for kind in ("paper", "one-24gb", "tiny") for stage in (1, 2)} <= set(
        names
    )
    for name in names:
        recipe = load_recipe(name)
        assert name.endswith(f"stage{recipe.stage}") and recipe.source


def test_the_papers_figures():
    first, second = load_recipe("paper-stage1"), load_recipe("paper-stage2")
    assert (first.learning_rate, first.warmup_ratio, first.global_batch) == (3.5e-4, 0.04, 2560)
    assert (second.learning_rate, second.warmup_ratio, second.global_batch) == (2e-5, 0.05, 640)
    assert (first.micro_batch, second.micro_batch, second.depth_loss_weight) == (32, 8, 1.0)
    for recipe in (first, second):
        assert (recipe.epochs, recipe.steps, recipe.schedule, recipe.seed) == (1.0, None, "cosine", 42)
        assert (recipe.weight_decay, recipe.max_grad_norm, recipe.head_rate_multiplier) == (0.0, 1.0, 1.0)
        assert (recipe.head_features, recipe.head_channels) == (256, (256, 512, 1024, 1024))
        assert (recipe.save_every, recipe.keep, recipe.lora_rank) == (10_000, 3, 0)


def test_eighty_processes_make_the_papers_step_at_once_and_fewer_accumulate():
    first = load_recipe("paper-stage1")
    assert plan_steps(first, 4_400_000, 80).accumulation == 1
    assert plan_steps(first, 4_400_000, 8).accumulation == 10
    assert plan_steps(first, 4_400_000, 80).steps == 1719  # 4.4 million / 2560, rounded up
    assert plan_steps(first, 4_400_000, 1).global_batch == 2560


def test_options_of_the_command_line_go_over_the_file():
    recipe = load_recipe("tiny-stage2", ["learning-rate=1e-3", "steps=7", "lora_targets=q_proj,v_proj"])
    assert (recipe.learning_rate, recipe.steps, recipe.lora_targets) == (1e-3, 7, ("q_proj", "v_proj"))


def test_a_recipe_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'source = "mine"\nstage = 1\nlearning_rate = 1e-4\nwarmup_ratio = 0\n'
        "global_batch = 8\nmicro_batch = 2\n"
    )
    assert load_recipe(str(path)).global_batch == 8


def test_an_unknown_key_says_which_was_meant(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("learning_rat = 1.0\n")
    with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
        load_recipe(str(path))
    with pytest.raises(UsageError, match="did you mean 'micro_batch'"):
        load_recipe("tiny-stage1", ["micro_bach=2"])


def test_an_unknown_recipe_says_which_was_meant():
    with pytest.raises(UsageError, match="did you mean 'paper-stage1'"):
        load_recipe("papr-stage1")


def test_a_recipe_of_the_other_stage_is_refused():
    with pytest.raises(UsageError, match="--recipe paper-stage2"):
        load_recipe("paper-stage1", stage=2)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("learning_rate=0", "learning_rate must be above 0"),
        ("micro_batch=0", "micro_batch must be above 0"),
        ("warmup_ratio=1.5", "warmup_ratio must lie between 0 and 1"),
        ("steps=0", "steps must be at least 1"),
        ("keep=0", "keep must be at least 1"),
        ("max_pixels=1000", "max_pixels must be at least 65536"),
        ("head_channels=1,2,3", "head_channels takes four widths"),
        ("lora_rank=4", "lora_rank goes with stage 2"),
        ("schedule=linear", "is not 'cosine' | 'constant'"),
    ],
)
def test_figures_that_no_run_can_have_are_refused(pair, said):
    with pytest.raises(UsageError) as caught:
        load_recipe("tiny-stage1", [pair])
    assert said in str(caught.value)


def test_adapters_need_a_scale_and_are_not_sharded():
    with pytest.raises(UsageError, match="lora_alpha must be above 0"):
        load_recipe("tiny-stage2", ["lora_rank=4"])
    with pytest.raises(UsageError, match="fsdp does not go with lora_rank"):
        load_recipe("paper-stage2", ["lora_rank=4", "lora_alpha=8"])


def test_a_batch_that_does_not_divide_names_one_that_does():
    recipe = load_recipe("paper-stage1")
    with pytest.raises(UsageError, match="-o global_batch=2592") as caught:
        plan_steps(recipe, 100, 81)
    assert "does not divide over 81 processes" in str(caught.value)
    assert plan_steps(replace(recipe, global_batch=2592), 100, 81).accumulation == 1
    with pytest.raises(UsageError, match="-o micro_batch=20"):
        plan_steps(replace(recipe, micro_batch=24), 100, 64)
    assert plan_steps(replace(recipe, micro_batch=20), 100, 64).accumulation == 2


def test_the_hash_is_of_the_figures_and_of_nothing_else():
    recipe = load_recipe("tiny-stage1")
    assert replace(recipe, source="elsewhere").hash == recipe.hash
    assert replace(recipe, seed=1).hash != recipe.hash


def test_a_resumed_run_may_change_how_it_runs_and_not_what_it_learns():
    import json

    recipe = load_recipe("tiny-stage2")
    before = json.loads(canonical_json(asdict(recipe)))
    assert differences(before, recipe) == {}
    assert differences(before, replace(recipe, micro_batch=1, workers=2, keep=9, gate="stop")) == {}
    assert differences(before, replace(recipe, seed=1, global_batch=12)) == {
        "seed": (42, 1),
        "global_batch": (6, 12),
    }


def test_reading_recipes_needs_no_torch():
    code = (
        "import sys; from depthvlm_bench.depthvlm.training.recipe import load_recipe; "
        "load_recipe('paper-stage1'); print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_recipe_is_frozen():
    with pytest.raises(AttributeError):
        load_recipe("tiny-stage1").seed = 3
    assert isinstance(load_recipe("tiny-stage1"), Recipe)
