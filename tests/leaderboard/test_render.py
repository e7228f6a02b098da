import csv
import io
import re

import numpy as np
import pytest
from made_results import IBIMS1, NUSCENES, made_result
from rich.console import Console

from depthvlm_bench.leaderboard.render import csv_text, latex, markdown, notes, rich_table
from depthvlm_bench.leaderboard.table import Selection, build
from depthvlm_bench.scoring.paired import ImageScores

DDAD = "d" * 64
SUBSET = {"images": 6, "asked": 600}
SMALL = (
    made_result("a", 0.7, **SUBSET),
    made_result("a", 0.3, "nuscenes", exposure="yes"),
    made_result("a", 0.5, "ddad@train", set_kind="overlap", manifest_hash=DDAD),
    made_result("b", 0.7, options={"far_m": 2}, **SUBSET),
    made_result("b", 0.25, "nuscenes", options={"far_m": 2}),
    made_result("c", 0.9, missing=2, **SUBSET),
)

MARKDOWN = r"""| # | model | ibims1\* | nuscenes | ddad@train‡ | mean |
| ---: | --- | ---: | ---: | ---: | ---: |
| 1 | a | **0.700** | **0.300**† | 0.500 | **0.500** |
| 2 | b (far_m=2) | **0.700** | <u>0.250</u> | - | <u>0.475</u> |
| - | c | 0.900° | - | - | - |

- δ1 under dvbench-1, sparse, input canonical, camera known
- mean over ibims1, nuscenes
- \* ibims1: 6 of the full set's 100 images
- ‡ ddad@train: made from a training split, unranked
- † the model was trained or fitted on this dataset's training split
- ° partial: predictions are missing, unranked
"""

LATEX = r"""% needs \usepackage{booktabs}
\begin{tabular}{rlrrrr}
\toprule
\# & model & ibims1$^{*}$ & nuscenes & ddad@train$^\ddagger$ & mean \\
\midrule
1 & a & \textbf{0.700} & \textbf{0.300}$^\dagger$ & 0.500 & \textbf{0.500} \\
2 & b (far\_m=2) & \textbf{0.700} & \underline{0.250} & - & \underline{0.475} \\
- & c & 0.900$^\circ$ & - & - & - \\
\bottomrule
\end{tabular}

\smallskip
{\footnotesize\noindent
$\delta$1 under dvbench-1, sparse, input canonical, camera known \\
mean over ibims1, nuscenes \\
$^{*}$ ibims1: 6 of the full set's 100 images \\
$^\ddagger$ ddad@train: made from a training split, unranked \\
$^\dagger$ the model was trained or fitted on this dataset's training split \\
$^\circ$ partial: predictions are missing, unranked\par}
"""

CSV = f"""\
rank,tie_group,model,set,manifest,images,ranked,complete,exposure,delta1,low,high,tied,asked,answered,hits,\
protocol,mode,input,track,where,run
1,,a,ibims1,{IBIMS1},6,True,True,no,0.7,0.6499999999999999,0.75,,600,590,420,\
dvbench-1,sparse,canonical,known,,run of a
1,,a,nuscenes,{NUSCENES},1000,True,True,yes,0.3,0.25,0.35,,1000,990,300,\
dvbench-1,sparse,canonical,known,,run of a
1,,a,ddad@train,{DDAD},100,False,True,no,0.5,0.45,0.55,,1000,990,500,\
dvbench-1,sparse,canonical,known,,run of a
2,,b (far_m=2),ibims1,{IBIMS1},6,True,True,no,0.7,0.6499999999999999,0.75,,600,590,420,\
dvbench-1,sparse,canonical,known,,run of b
2,,b (far_m=2),nuscenes,{NUSCENES},1000,True,True,no,0.25,0.2,0.3,,1000,990,250,\
dvbench-1,sparse,canonical,known,,run of b
,,c,ibims1,{IBIMS1},4,False,False,no,0.9,0.85,0.9500000000000001,,600,590,540,\
dvbench-1,sparse,canonical,known,,run of c
"""


def table(*results, **selection):
    return build(results, Selection("dvbench-1", **selection))


def one(label_model, value=0.5, **known):
    return table(made_result(label_model, value, **known))


def on_screen(board, width, *, intervals=True, styled=False):
    console = Console(
        width=width, file=io.StringIO(), force_terminal=styled, color_system="standard" if styled else None
    )
    console.print(rich_table(board, intervals=intervals))
    return console.file.getvalue()


def test_markdown():
    assert markdown(table(*SMALL), intervals=False) == MARKDOWN


def test_latex():
    assert latex(table(*SMALL), intervals=False) == LATEX


def test_csv():
    assert csv_text(table(*SMALL)) == CSV


def test_intervals_stand_beside_the_score_and_outside_its_emphasis():
    board = table(*SMALL)
    line = (
        "| 1 | a | **0.700** [0.650, 0.750] | **0.300**† [0.250, 0.350] | 0.500 [0.450, 0.550] | **0.500** |"
    )
    assert line in markdown(board).splitlines()
    assert r"\textbf{0.300}$^\dagger$ [0.250, 0.350]" in latex(board)


def test_a_table_without_marks_has_one_note():
    board = one("a")
    assert len(notes(board)) == 1
    assert "δ1 under dvbench-1" in notes(board)[0]


def test_the_notes_say_what_was_selected():
    board = table(
        made_result("a", mode="dense", input="native", track="unknown", where="indoor & real"),
        mode="dense",
        input="native",
        track="unknown",
        where="indoor & real",
    )
    text = "\n".join(notes(board))
    for word in ("dense", "input native", "camera unknown", "where indoor & real"):
        assert word in text


@pytest.mark.parametrize(
    ("protocol", "scenes"), [("dvbench-1", True), ("depthvlm-compat-1", False), ("depthlm-compat-1", False)]
)
def test_the_notes_say_what_the_intervals_are_over(protocol, scenes):
    text = notes(build([made_result("a", protocol=protocol)], Selection(protocol)))[0]
    assert "intervals over images" in text
    assert ("or scenes where they repeat" in text) is scenes


def test_csv_gives_scores_in_full_precision():
    board = one("a", 1 / 3)
    (row,) = csv.DictReader(io.StringIO(csv_text(board)))
    assert float(row["delta1"]) == 1 / 3
    assert float(row["low"]) == 1 / 3 - 0.05


def test_csv_survives_separators_in_names():
    board = one("a", options={"x": 'say "1, 2"\nthen'})
    (row,) = csv.DictReader(io.StringIO(csv_text(board)))
    assert row["model"] == 'a (x=say "1, 2"\nthen)'


@pytest.mark.parametrize("special", list("\\_&%#${}~^"))
def test_latex_specials_in_names_are_escaped(special):
    board = one("a", options={"k": f"1{special}2"})
    (line,) = (line for line in latex(board).splitlines() if line.startswith("1 & "))
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    assert line.split(" & ")[1].startswith(f"a (k=1{named.get(special, chr(92) + special)}2")


def test_every_latex_row_has_as_many_cells_as_the_head():
    text = latex(table(*SMALL, made_result("x_y&z%", 0.1)))
    tabular, _, _ = text.partition(r"\end{tabular}")
    rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}


def test_a_bar_in_a_name_does_not_split_a_markdown_cell():
    board = one("a", options={"k": "1|2"})
    (line,) = (line for line in markdown(board).splitlines() if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", line)) == 5


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("intervals", [True, False])
def test_on_screen_nothing_is_lost(width, intervals):
    board = table(*(result for result in SMALL if result.set_kind == "strict"))
    text = on_screen(board, width, intervals=intervals)
    assert max(len(line) for line in text.splitlines()) <= width
    for piece in ("ibims1*", "nuscenes", "mean", "(far_m=2)", "0.900°", "0.300†", "0.475"):
        assert piece in text
    assert ("[0.250, 0.350]" in text) is intervals
    assert "…" not in text


@pytest.mark.parametrize("intervals", [True, False])
def test_three_sets_fit_an_80_column_terminal(intervals):
    text = on_screen(table(*SMALL), 80, intervals=intervals)
    assert "…" not in text
    for piece in ("ibims1*", "nuscenes", "ddad@train‡", "mean", "0.700", "0.300†", "0.900°", "0.475"):
        assert piece in text


def test_on_screen_a_manifest_in_a_title_is_no_markup():
    board = table(made_result("a", 0.5), made_result("b", 0.9, manifest_hash="f" * 64))
    text = on_screen(board, 160)
    assert f"ibims1 [{IBIMS1[:6]}]" in text
    assert "ibims1 [ffffff]" in text


@pytest.mark.parametrize("label", ["[bold]", "[/]", "a[red]b", ":smile:", "[link=x]y"])
def test_on_screen_a_name_is_no_markup(label):
    assert label in on_screen(one(label), 160)


def test_on_screen_the_best_is_bold_and_the_second_underlined():
    text = on_screen(table(*SMALL), 160, styled=True)
    assert text.count("\x1b[1m0.700\x1b[0m") == 2
    assert "\x1b[1m0.300\x1b[0m†" in text
    assert "\x1b[4m0.250\x1b[0m" in text
    assert "\x1b[1m0.900" not in text


NOISE = np.random.default_rng(0).normal(0, 0.02, 1000)


def close_scores(result):
    """a and b are alike on every set, c is far behind; noise shared by none."""
    count, level = result.counts.images, {"a": 0.8, "b": 0.7999, "c": 0.5}[result.model]
    wave = np.roll(NOISE, ord(result.model) % 7)[:count]
    return ImageScores.of({f"i{n:04d}": level + wave[n] - wave.mean() for n in range(count)})


def tied_board(per_image=close_scores):
    levels = (("a", 0.8), ("b", 0.7999), ("c", 0.5))
    results = [made_result(name, level, s) for name, level in levels for s in ("ibims1", "nuscenes")]
    return build(results, Selection("dvbench-1"), per_image)


def test_ties_are_marked_and_explained():
    board = tied_board()
    lines = markdown(board, intervals=False).splitlines()
    assert lines[2:5] == [
        "| 1 | a | **0.800** | **0.800** | **0.800** |",
        "| 2 | b | <u>0.800</u>≈ | <u>0.800</u>≈ | <u>0.800</u>≈ |",
        "| 3 | c | 0.500 | 0.500 | 0.500 |",
    ]
    said = notes(board)
    assert any(note.startswith("≈ not told apart from the best of its column") for note in said)
    assert "tie groups of the mean: (1) a, b; (2) c" in said
    assert r"\underline{0.800}$\approx$" in latex(board, intervals=False)
    assert "≈" in on_screen(board, 160)


def test_the_mean_has_its_interval():
    board = tied_board()
    low, high = board.rows[0].interval
    assert f"**0.800** [{low:.3f}, {high:.3f}] |" in markdown(board).splitlines()[2]
    assert "95 % bootstrap intervals" in notes(board)[0]
    assert "95 % bootstrap intervals" not in notes(board, intervals=False)[0]


def test_csv_tells_ties_and_groups():
    rows = list(csv.DictReader(io.StringIO(csv_text(tied_board()))))
    told = [(row["model"], row["tied"], row["tie_group"]) for row in rows if row["set"] == "ibims1"]
    assert told == [("a", "True", "1"), ("b", "True", "1"), ("c", "False", "2")]


def test_what_was_not_tested_is_said():
    board = tied_board(lambda result: None if result.set_name == "nuscenes" else close_scores(result))
    assert "not tested for ties, per-image rows are missing: nuscenes" in notes(board)
    assert "| 2 | b | <u>0.800</u>≈ | <u>0.800</u> | <u>0.800</u> |" in markdown(board, intervals=False)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
def test_nine_sets_keep_the_models_name_at_any_width(width):
    sets = ("argoverse2", "waymo", "ddad", "nuscenes", "eth3d", "scannetpp", "sunrgbd", "ibims1", "nyuv2")
    board = table(*(made_result("a-model-of-some-length", 0.1 * k, name) for k, name in enumerate(sets)))
    text = on_screen(board, width)
    assert max(map(len, text.splitlines())) <= width
    for name in (*sets, "mean"):
        assert name in text
    assert "a-model-of-some-length" in text or width < 60
    assert text.count("model") >= 1


def test_a_model_that_is_told_rooms_from_streets_is_marked():
    told = {"created": "2026-01-02", "run": {"loaded": {"domain_policy": "dataset"}}}
    board = build([made_result("pair", 0.6, provenance=told), made_result("a", 0.5)], Selection("dvbench-1"))
    lines = markdown(board, intervals=False).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:4]] == ["pair§", "a"]
    assert any(note.startswith("§ weights for rooms or for streets") for note in notes(board))
    assert "$^{\\S}$" in latex(board)
