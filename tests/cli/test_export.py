import json


def test_a_set_becomes_a_list_that_comes_back_as_a_published_set(workspace, dvbench, tmp_path):
    """The list's points score as the set's own: they are the same pixels of the same depth."""
    out = tmp_path / "exported"
    done = dvbench("export", "ibims1", "--format", "depthvlm-jsonl", "--out", out)
    assert done.code == 0
    assert "ibims1 as depthvlm-jsonl: 2 images, 200 points" in done.out
    assert "warning" not in done.out
    lines = [json.loads(line) for line in (out / "ibims1.jsonl").read_text().splitlines()]
    assert [len(line["pixel_coords"]) for line in lines] == [100, 100]
    back = dvbench(
        "convert", "ibims1", "--annotations", out / "ibims1.jsonl", "--root", out, "--out", tmp_path / "data"
    )
    assert back.code == 0
    assert "ibims1@published (eval from published): 2 images" in back.out


def test_a_folder_that_misleads_the_paper_s_code_is_told(workspace, dvbench, tmp_path):
    done = dvbench("export", "ibims1", "--format", "depthvlm-jsonl", "--out", tmp_path / "for_waymo")
    assert done.code == 0
    assert "'waymo'; move the folder" in done.out


def test_an_unknown_set_is_one_line(workspace, dvbench, tmp_path):
    failed = dvbench("export", "ibims2", "--format", "depthvlm-jsonl", "--out", tmp_path / "out")
    assert failed.code in (2, 3)
    assert "ibims1" in failed.error
    assert not (tmp_path / "out").exists()
