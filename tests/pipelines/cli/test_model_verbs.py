"""Verbs on the model that a run registered."""

from __future__ import annotations

import json
from pathlib import Path

from mmgen.modalities import image
from tests.support.whole_run import WholeRun, mmgen


def test_pictures_are_made_from_words_and_words_from_a_picture(ran: WholeRun, tmp_path: Path) -> None:
    out = tmp_path / "heart.png"
    model = ("--model", ran.summary["model"]["path"])

    drawn = mmgen(
        "generate", "--from", "text=red heart", "--to", "image", "--out", out, "-n", "3", *model, root=ran.root
    )
    told = mmgen(
        "generate", "--from", f"image={tmp_path / 'heart-1.png'}", "--to", "text", "--json", *model, root=ran.root
    )

    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout.strip() == str(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "heart-1.png",
        "heart-2.png",
        "heart-3.png",
        "heart.png",
    ]
    assert image.read(out.read_bytes(), "grid").shape[2] == 3
    assert len(json.loads(told.stdout)["texts"]) == 1


def test_the_champion_is_asked_for_and_there_is_none(ran: WholeRun, tmp_path: Path) -> None:
    done = mmgen(
        "generate", "--from", "text=x", "--to", "image", "--out", tmp_path / "x.png", "--recipe", "emoji", root=ran.root
    )

    assert done.returncode == 10
    assert "mmgen-emoji has no champion yet" in done.stderr


def test_two_models_are_compared_by_scores_and_side_by_side(ran: WholeRun, tmp_path: Path) -> None:
    out = tmp_path / "compare.html"
    version = f"{ran.summary['model']['name']}/{ran.summary['model']['version']}"

    done = mmgen("compare", version, ran.summary["run_key"], "--json", "--out", out, root=ran.root)

    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["image.r1_seen"]["difference"]["value"] == 0
    assert metrics["image.kid"]["difference"] is None  # not a mean over prompts
    page = out.read_text()
    assert page.count("<div class=pair>") > 50  # the same prompts side by side
    assert "://" not in page


def test_any_id_of_the_run_leads_to_the_others(ran: WholeRun) -> None:
    ids = [ran.summary["run_key"], ran.summary["mlflow"]["run_id"], f"mmgen-emoji/{ran.summary['model']['version']}"]

    found = [json.loads(mmgen("lineage", wanted, "--json", root=ran.root).stdout) for wanted in ids]

    assert found[0] == found[1] == found[2]
    assert found[0]["data_version"] == ran.summary["data_version"]
    assert found[0]["kfp_run_id"]


def test_doctor_finds_this_machine_fit(ran: WholeRun) -> None:
    done = mmgen("doctor", "--json", root=ran.root, data=ran.data)

    lines = {line["what"]: line for line in json.loads(done.stdout)}
    assert lines["data emoji"]["found"] == "whole"
    assert lines["tracking"]["ok"]
    assert lines["kfp"]["ok"]


def test_the_card_of_a_data_set_is_shown_with_a_contact_sheet(ran: WholeRun) -> None:
    done = mmgen("data", "info", "emoji", "--json", data=ran.data)

    card = json.loads(done.stdout)
    assert set(card["splits"]) == {"train", "compositions", "concepts", "judge"}
    assert card["version"] == ran.summary["data_version"]
    assert Path(card["sheet"]).is_file()


def test_a_version_that_the_gate_kept_out_is_made_champion_by_hand_with_approval(ran: WholeRun, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    ran.copied(copy)
    version = ran.summary["model"]["version"]

    refused = mmgen("promote", version, "--recipe", "emoji", root=copy)
    tried = mmgen("promote", version, "--recipe", "emoji", "--approve", "--dry-run", "--json", root=copy)
    promoted = mmgen("promote", version, "--recipe", "emoji", "--approve", "--json", root=copy)
    back = mmgen("rollback", "--recipe", "emoji", root=copy)
    moves = mmgen("history", "--recipe", "emoji", "--moves", "--json", root=copy)

    assert refused.returncode == 10
    assert "repeat with --approve" in refused.stderr
    assert json.loads(tried.stdout)["aliases"] == ["challenger"]
    assert json.loads(promoted.stdout)["aliases"] == ["champion"]
    assert back.returncode == 10
    assert "no previous champion" in back.stderr
    (move,) = json.loads(moves.stdout)
    assert (move["version"], move["action"], move["run_key"]) == (version, "promote", ran.summary["run_key"])


def test_all_places_agree_where_the_model_of_a_run_comes_from(ran: WholeRun) -> None:
    done = mmgen("lineage", "--check", "--json", root=ran.root)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["disagreements"] == []
    assert {"MLflow run", "registered model", "Kubeflow artifact", "training stage"} <= set(found["compared"])


def test_a_fresh_run_leaves_no_garbage(ran: WholeRun) -> None:
    done = mmgen("gc", "--dry-run", "--json", root=ran.root)

    assert json.loads(done.stdout) == {"dry_run": True, "bytes": 0, "things": []}
