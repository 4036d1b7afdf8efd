"""`gpuseg run` and `gpuseg runs`: state, graph, what goes and what is damaged."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from gpuseg.cli import main
from gpuseg.pipeline import Run
from gpuseg.pipeline._folders import LocalFolder
from gpuseg.pipeline._reports import wait
from gpuseg.pipeline._scripts import read_script, run_script
from gpuseg.pipeline._store import open_store
from gpuseg.pipeline._upkeep import cleanup, invalidate, verify

STUDY = """
import sys
import dask.array as da
import numpy as np
from gpuseg.pipeline import Run, step

@step
def picture(seed):
    return da.from_array(np.random.default_rng(seed).integers(0, 99, (64, 64)), chunks=32)

@step(storage={"compressor": None})
def brighter(image, by):
    if by == 13:
        raise ValueError("bad luck")
    return image + by

@step
def mean(image):
    return float(image.mean().compute())

run = Run(URL)
results = [run(mean, run(brighter, run(picture, seed), by)) for seed in (0, 1) for by in BY]
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Function that writes the script, with these values of `by`, and runs commands on it."""
    monkeypatch.chdir(tmp_path)

    def write(by=(1, 2), more=""):
        text = STUDY.replace("URL", repr(str(tmp_path / "run"))).replace("BY", repr(by)) + more
        (tmp_path / "study.py").write_text(text)
        return str(tmp_path / "study.py")

    return write


def rows(capsys, target) -> dict[str, dict]:
    assert main(["runs", "status", target, "--json"]) == 0
    return {row["step"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_script_from_nothing_to_done(study, capsys, tmp_path):
    script = study()
    assert {s: r["waiting"] for s, r in rows(capsys, script).items()} == {
        "study.picture": 2, "study.brighter": 4, "study.mean": 4,
    }  # fmt: skip
    assert not (tmp_path / "run" / "study.mean").exists()
    assert main(["run", script]) == 0
    assert "10 of 10 results are there, 10 computed" in capsys.readouterr().err
    for target in (script, "run"):
        found = rows(capsys, target)
        assert {s: r["done"] for s, r in found.items()} == {
            "study.picture": 2, "study.brighter": 4, "study.mean": 4,
        }  # fmt: skip
        assert found["study.brighter"]["bytes"] > 4 * 64 * 64 * 8
    assert main(["run", script]) == 0
    assert ", 0 computed" in capsys.readouterr().err
    assert main(["runs", "wait", script]) == 0
    assert main(["runs", "status", script]) == 0
    assert "study.mean" in capsys.readouterr().out
    assert Run("run").results("mean")[0].get() > 40


def test_exit_code_is_0_only_when_every_result_exists(study, capsys):
    script = study((1, 13))
    assert main(["run", script]) == 1
    assert "ValueError: bad luck" in capsys.readouterr().err
    found = rows(capsys, script)
    assert (found["study.brighter"]["done"], found["study.brighter"]["failed"]) == (2, 2)
    assert (found["study.mean"]["done"], found["study.mean"]["waiting"]) == (2, 2)
    assert main(["run", study((1, 2))]) == 0
    assert main(["run", study((1,), "\nrun(brighter, 1, by=13).get()\n")]) == 1
    assert main(["run", study((1,), "\nraise KeyError('mine')\n")]) == 1
    assert "KeyError: 'mine'" in capsys.readouterr().err
    assert main(["run", study((1,), "\nopen('missing.txt')\n")]) == 1


def test_scripts_get_their_arguments(study, tmp_path, capsys):
    script = study((1,), "\nprint(sys.argv, results[0].get() > int(sys.argv[1]))\n")
    assert main(["run", script, "-1", "--verbose"]) == 0
    assert capsys.readouterr().out == f"[{script!r}, '-1', '--verbose'] True\n"


def test_a_script_is_read_up_to_what_is_not_there(study, capsys):
    script = study((1,), "\nif results[0].get() > 0:\n    run(mean, results[0])\n")
    found = read_script(script)
    assert "study.mean/" in found.stopped
    assert len(found.runs[0].declared) == 6
    assert main(["runs", "cleanup", script]) == 2
    assert "so what it refers to isn't known" in capsys.readouterr().err


def test_explain_says_which_ingredient_changed(study, capsys):
    assert main(["run", study((1,))]) == 0
    capsys.readouterr()
    assert main(["runs", "explain", study((1,)), "mean"]) == 0
    assert "is there" in capsys.readouterr().out
    assert main(["runs", "explain", study((7,)), "brighter"]) == 0
    shown = capsys.readouterr().out
    assert "is missing: nearest of 2 that are stored" in shown
    assert "\n  by: 1 -> 7\n" in shown
    text = Path("study.py").read_text().replace("image + by", "by + image").replace("(7,)", "(1,)")
    Path("study.py").write_text(text)
    assert main(["runs", "explain", "study.py", "study.brighter"]) == 0
    shown = capsys.readouterr().out
    assert "\n  version: " in shown
    assert "by:" not in shown
    assert main(["runs", "explain", "study.py", "mean"]) == 0
    assert "\n  image: result study.brighter/" in capsys.readouterr().out


def test_invalidate_takes_dependents_along(study, capsys):
    script = study()
    main(["run", script])
    capsys.readouterr()
    assert main(["runs", "invalidate", "run", "brighter"]) == 0
    assert len(capsys.readouterr().out.split()) == 8
    assert {s: r["done"] for s, r in rows(capsys, "run").items()} == {"study.picture": 2}
    assert main(["run", script]) == 0
    assert "8 computed" in capsys.readouterr().err
    assert main(["runs", "invalidate", "run", "dimmer"]) == 2
    assert "has no step 'dimmer'" in capsys.readouterr().err


def test_cleanup_lists_first_and_removes_when_told(study, capsys):
    main(["run", study((1, 2))])
    fewer = study((2,))
    capsys.readouterr()
    assert main(["runs", "cleanup", fewer]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 5
    assert "not referred to; --yes removes it" in shown
    assert len(Run("run").results()) == 10
    assert main(["runs", "cleanup", fewer, "--yes"]) == 0
    assert len(Run("run").results()) == 6
    assert main(["run", fewer]) == 0
    assert ", 0 computed" in capsys.readouterr().err


def test_cleanup_keeps_what_other_scripts_want(study, capsys):
    main(["run", study((1, 2))])
    shutil.copy(study((2,)), "other.py")
    text = Path("other.py").read_text().replace("run = ", "picture.name = 'study.picture'\nrun = ")
    Path("other.py").write_text(text.replace("seed in (0, 1)", "seed in (0,)"))
    capsys.readouterr()
    assert main(["runs", "cleanup", study((1,)), "--yes"]) == 0
    assert len(Run("run").results()) == 6
    main(["run", "other.py"])
    assert main(["runs", "cleanup", study((1,)), "other.py", "--yes"]) == 0
    assert len(Run("run").results()) == 6 + 2


def test_an_interrupted_cleanup_leaves_whole_results_only(study, monkeypatch):
    main(["run", study((1, 2))])
    found = read_script(study((2,))).runs[0]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            cleanup(found, found.declared.values())
    assert len(found.results()) == 9
    assert verify(found) == []
    assert list(Path("run/.gpuseg/trash").iterdir())
    cleanup(found, found.declared.values())
    assert len(found.results()) == 6
    assert not Path("run/.gpuseg/trash").exists()


def test_cleanup_leaves_what_is_being_computed(study):
    main(["run", study((1,))])
    run = Run("run")
    name = run.results("mean")[0].name
    assert run.claims.claim(name)
    cleanup(run, [])
    assert [each.name for each in run.results()] == [name]
    run.claims.release(name)


def shard(step: str, index: str = "0/c/0/1") -> Path:
    return next(Path("run", step).glob(f"*/value.ome.zarr/{index}"))


def test_verify_finds_damage_and_repair_redoes_the_chunk(study, capsys):
    script = study((1,))
    main(["run", script])
    assert main(["runs", "verify", "run"]) == 0
    shard("study.brighter").write_bytes(shard("study.brighter").read_bytes()[:-9])
    value = next(Path("run/study.mean").glob("*/result.json"))
    value.write_bytes(value.read_bytes()[:-4])
    assert main(["runs", "status", "run"]) == 1
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"result.json is damaged: `gpuseg runs verify"):
        Run("run").results("mean")
    assert main(["runs", "verify", "run"]) == 1
    shown = capsys.readouterr().out
    assert "value.ome.zarr/0/c/0/1: its index is not what was written" in shown
    assert "result.json is damaged" in shown
    assert "2 files damaged" in shown
    assert main(["runs", "verify", "run", "--repair"]) == 0
    drafts = Run("run").store.drafts()
    assert [len(list(folder.names("value.ome.zarr/0/c"))) for _, folder in drafts] == [3]
    assert "3 of 4 chunks" in "".join(_status(capsys))
    assert main(["run", script]) == 0
    assert "2 computed" in capsys.readouterr().err
    assert main(["runs", "verify", "run"]) == 0


def _status(capsys) -> list[str]:
    main(["runs", "status", "run"])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("damage", ["zarr.json", "0/zarr.json", "0/c/1/1", "result.json"])
def test_verify_finds_what_is_missing(damage, study):
    script = study((1,))
    main(["run", script])
    folder = next(Path("run/study.picture").iterdir())
    path = folder / damage if damage == "result.json" else folder / "value.ome.zarr" / damage
    path.write_text("{")
    run = Run("run")
    found = verify(run, repair=True)
    assert [damage in str(each) for each in found] == [True]
    assert len(run.results()) == 5
    assert main(["run", script]) == 0
    assert verify(run) == []


def test_graph_as_mermaid_and_as_a_picture(study, capsys):
    script = study((1, 13))
    main(["run", script])
    capsys.readouterr()
    assert main(["runs", "graph", script]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("graph TD\n")
    assert 'study.brighter<br/>2 done, 2 failed"]' in shown
    assert shown.count("-->") == 2
    assert main(["runs", "graph", "run", "--svg", "graph.svg"]) == 0
    picture = ElementTree.parse("graph.svg").getroot()
    kinds = [each.tag.rpartition("}")[2] for each in picture]
    assert (kinds.count("rect"), kinds.count("line")) == (3, 2)


def test_graph_of_what_is_left(study, capsys):
    main(["run", study((1,))])
    run = Run("run")
    for each in run.results("picture"):
        run.store.withdraw(each.name)
    capsys.readouterr()
    assert main(["runs", "graph", "run"]) == 0
    assert capsys.readouterr().out.count("-->") == 1


def test_wait_ends_when_nobody_computes(study, capsys):
    assert main(["runs", "wait", study(), "--idle", "0"]) == 1
    assert "10 results are missing, and nobody computes them" in capsys.readouterr().err


def test_wait_ends_with_the_last_result(study):
    script = study()
    run = read_script(script).runs[0]
    reasons: list[object] = []
    thread = threading.Thread(
        target=lambda: reasons.append(wait(run, list(run.declared.values()), 600, look=0.01))
    )
    thread.start()
    assert main(["run", script]) == 0
    thread.join(600)
    assert reasons == [None]


def test_wait_ends_with_a_failure(study):
    run = read_script(study((13,))).runs[0]
    run.store.begun({"claims": "locks"})
    answers = [{}]  # before it failed
    failures = run.store.failures
    run.store.failures = lambda: answers.pop() if answers else failures()
    main(["run", study((13,))])
    assert "ValueError: bad luck" in wait(run, run.declared.values(), 600)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["runs", "explain", "run"], r"explain needs the name of one STEP, got \[\]"),
        (["runs", "status", "run", "mean"], "status takes one TARGET, got 'mean' as well"),
        (["runs", "cleanup", "study.py", "run"], r"cleanup needs the script \(.py\), got 'run'"),
        (["runs", "wait", "run"], r"wait needs the script \(.py\), got 'run'"),
        (["runs", "status", "nowhere"], "'nowhere' is neither a script"),
        (["runs", "verify", "."], "'.' is not the folder of a run: there are no results in it"),
        (["runs", "status", "memory://nothing"], "'memory://nothing' is not the folder of a run"),
        (["runs", "status"], r"the following arguments are required: TARGET\n"),
        (["run"], r"the following arguments are required: SCRIPT\n"),
        (["runs", "stat", "run"], "unknown choice 'stat'; did you mean status"),
        (["runs", "explain", "study.py", "x"], "wants nothing of a step 'x'"),
        (["runs", "status", "empty.py"], "'empty.py' makes no gpuseg.pipeline.Run"),
        (["run", "empty.py"], "'empty.py' makes no gpuseg.pipeline.Run"),
        (["run", "none.py"], "there is no script 'none.py'"),
    ],
)
def test_wrong_commands_say_so(command, reason, study, capsys):
    import re

    study()
    Path("run").mkdir()
    Path("empty.py").touch()
    assert main(command) in (1, 2)
    assert re.search(reason, capsys.readouterr().err)


def test_buckets_are_kept_in_order_too(tmp_path):
    url = f"memory://{tmp_path.name}"
    path = tmp_path / "study.py"
    path.write_text(STUDY.replace("URL", repr(url)).replace("BY", "(1, 2)"))
    run = run_script(str(path)).runs[0]
    assert run.execute() == 10
    assert verify(run) == []
    brighter = run.results("brighter")[0]
    place = next(n for n in brighter.folder.names() if n.endswith("value.ome.zarr/0/c/0/1"))
    brighter.folder.write(place, b"x")
    assert [each.why for each in verify(run, repair=True)] == ["its index is not what was written"]
    assert len(run.results()) == 9
    again = run_script(str(path)).runs[0]
    assert again.execute() == 1
    assert verify(run) == []
    invalidate(run, "brighter")
    assert {each.name.step for each in run.results()} == {"study.picture"}
    cleanup(run, [])
    assert run.results() == []
    assert open_store(url, {}).drafts() == []


def test_status_of_many_chunks_counts_files_not_chunks(tmp_path):
    run = Run(tmp_path)
    run.store.begun({"claims": "locks"})
    from gpuseg.pipeline._arrays import Storage, make_plan
    from gpuseg.pipeline._reports import status
    from gpuseg.pipeline._store import Name

    draft = run.store.draft(Name("a.b", "0123456789ab"))
    plan = make_plan("value", (40, 40), np.dtype("u1"), (4, 4), Storage(levels=1))
    plan.begin(draft.folder, False)
    for index in plan.levels[0].format.grid()[:30]:
        plan.write(draft.folder, index, np.ones((4, 4), np.uint8))
    assert isinstance(draft.folder, LocalFolder)
    row = status(run)[0]
    assert (row["interrupted"], row["chunks"]) == (1, "30 of 100")
    run.claims.claim(Name("a.b", "0123456789ab"))
    assert status(run)[0]["running"] == 1


@pytest.mark.parametrize("command", [["run"], ["runs", "status"]])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import gpuseg\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("open('none.csv')\n", "No such file or directory: 'none.csv'"),
        ("def mean(:\n", "SyntaxError: invalid syntax"),
    ],
)
def test_an_error_of_the_script_begins_with_its_own_lines(command, text, last, tmp_path, capsys):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert main([*command, str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].endswith(last)
    first = next(line for line in lines if line.startswith("  File"))
    assert first.startswith(f'  File "{path}", line ')


def test_an_interrupted_run_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text(
        "from gpuseg.pipeline import Run, step\n"
        "@step\n"
        "def half(n):\n"
        "    if n == 2:\n"
        "        raise KeyboardInterrupt\n"
        "    return n / 2\n"
        "with Run('run') as run:\n"
        "    half(1), half(2), half(3)\n"
    )
    assert main(["run", "study.py"]) == 130
    said = capsys.readouterr().err
    assert said.startswith("gpuseg run: stopped. ")
    assert said.endswith(" of 3 results are there. Run the same command again to go on.\n")
