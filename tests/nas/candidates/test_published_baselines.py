"""The published networks side by side, and their published figures against the fact sheets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from hardware_models.cost import Cost
from hardware_models.device_file.toml_table import HardwareError
from nas.candidates import published_baselines as module
from nas.candidates.published_baselines import COLUMNS, baselines
from nas.report.baselines import baselines_table
from search_spaces import registry
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import NetworkRow, PublishedResult, networks, published_results
from search_spaces.registry import UnknownName

FEW = ["mobilenetv3_large", "tinynet_e", "leyolo_nano", "mobiledet_edgetpu", "resnet50_v1"]
PUBLISHED_RESULTS = {name: row.results for name, row in networks().items() if row.results}
Shared = Callable[[str], Path]


class PerMac:
    """A millisecond for each million MACs, and no price for networks of ``refused`` MACs."""

    name = "per-mac"

    def __init__(self, refused: int = 0) -> None:
        self.refused = refused

    def estimate(self, graph: Graph) -> Cost:
        if graph.macs == self.refused:
            raise HardwareError("too large for this chip")
        return Cost(graph.macs / 1e6, "test")


@pytest.fixture(scope="module")
def every() -> pd.DataFrame:
    return baselines("edgetpu")


def row_of(frame: pd.DataFrame, network: str) -> dict[str, Any]:
    (row,) = frame[frame["network"] == network].to_dict("records")
    return {str(column): value for column, value in row.items()}


def printed(frame: pd.DataFrame) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(baselines_table(frame))
    return capture.get()


# Published figures


@pytest.mark.parametrize(
    ("name", "metric", "value", "where"),
    [
        ("tinynet_a", "ImageNet top-1", 76.8, "tinynet_pytorch/readme.md"),
        ("fbnet_b", "ImageNet top-1", 74.5, "mobile_cv/model_zoo/README.md"),
        ("emov2_5m", "ImageNet top-1", 79.4, "zhangzjn/EMOv2"),
        ("mobiledet_edgetpu", "COCO mAP, val 2017", 25.2, "ssdlite_mobiledet_edgetpu_320x320_coco_sync_4x4.config"),
        ("mobiledet_dsp", "COCO mAP, val 2017", 28.4, "ssdlite_mobiledet_dsp_320x320_coco_sync_4x4.config"),
        ("leyolo_large", "COCO mAP, val", 41.0, "LilianHollard/LeYOLO"),
        ("mobilenetv4_conv_small", "ImageNet top-1", 73.756, "results-imagenet.csv"),
        ("mobilenet_edgetpu", "ImageNet top-1, int8", 75.6, "official/projects/edgetpu"),
        ("ssdlite_mobilenet_edgetpu", "COCO mAP, int8", 24.3, "tf1_detection_zoo.md"),
    ],
)
def test_the_figure_to_quote_of_a_network(name: str, metric: str, value: float, where: str) -> None:
    first = published_results(name)[0]
    assert (first.metric, first.value) == (metric, value)
    assert where in first.source


def test_networks_without_a_figure_have_none_and_unknown_names_are_errors() -> None:
    assert published_results("resnet50_v1") == ()
    assert published_results("proxyless_gpu") == ()
    with pytest.raises(UnknownName, match="no network 'tinynet_f'; did you mean 'tinynet_"):
        published_results("tinynet_f")


def test_the_figures_of_every_network_are_in_order() -> None:
    assert len(PUBLISHED_RESULTS) == 41
    for name, figures in PUBLISHED_RESULTS.items():
        assert figures, name
        assert len(set(figures)) == len(figures), name
        backbones = [bool(f.backbone_of) for f in figures]
        assert backbones == sorted(backbones), f"{name}: its own figures come first"
        assert all(f.source and 10 < f.value < 100 for f in figures), name


def test_metrics_are_of_the_networks_task() -> None:
    for name, figures in PUBLISHED_RESULTS.items():
        detector = len(load_network(name).output_shapes) > 1
        for figure in figures:
            assert figure.metric.startswith("COCO mAP") == (detector or bool(figure.backbone_of)), (name, figure)


def sheet(shared: Shared, name: str) -> Any:
    return yaml.safe_load(shared(f"facts/{name}.yaml").read_text(encoding="utf-8"))


def values(name: str, metric: str, **facts: object) -> list[float]:
    return [
        f.value
        for f in published_results(name)
        if f.metric == metric and all(getattr(f, n) == v for n, v in facts.items())
    ]


def test_timms_figures_are_the_sheets(shared: Shared) -> None:
    rows = [*sheet(shared, "baselines")["imagenet_timm_csv"], *sheet(shared, "mobilenetv4")["published_timm"]]
    seen = {(r["model"], r["top1"], r["res"]) for r in rows if r["seen"] is True and r["source"] == "csv"}
    ours = {
        (f.note, f.value, f.resolution)
        for figures in PUBLISHED_RESULTS.values()
        for f in figures
        if f.source.endswith("results-imagenet.csv") and not f.note.startswith("evaluated anew")
    }
    assert ours <= seen
    assert {model.partition(".")[0] for model, *_ in seen - ours} == {  # networks that the catalogue does not have
        "spnasnet_100",
        "mobilenet_edgetpu_v2_m",
        "mobilenetv4_conv_small_050",
    }


def test_tinynets_figures_are_the_sheets(shared: Shared) -> None:
    tinynet = sheet(shared, "tinynet")
    for letter in "abcde":
        network = tinynet["architectures"][f"TinyNet-{letter.upper()}"]
        stated = {r["metric"]: r["value"] for r in network["published"] if r["seen"] is True}
        paper, anew = published_results(f"tinynet_{letter}")
        assert paper.value == stated["ImageNet top-1 (paper)"]
        assert anew.value == stated["timm re-eval top-1"]
        assert paper.resolution == network["input"][0]
    (b0,) = [r for r in tinynet["published"] if r["model"] == "EfficientNet-B0" and r["seen"] is True]
    assert b0["top1"] in values("efficientnet_b0", "ImageNet top-1")


def emo_rows(sheets: dict[str, Any]) -> Iterator[tuple[str, PublishedResult]]:
    for table in ("imagenet_emo", "imagenet_emov2"):
        for r in sheets[table]:
            name, starred = r["model"].lower().rstrip("*"), r["model"].endswith("*")
            note = "stronger training, distilled" if starred else ""
            yield name, PublishedResult("ImageNet top-1", r["top1"], r["source"], r["res"], note)
            if "top1_kd" in r:
                yield name, PublishedResult("ImageNet top-1", r["top1_kd"], r["source"], r["res"], "distilled")
    for detector in ("SSDLite", "RetinaNet"):
        for system in ("emo", "emov2"):
            for r in sheets[f"coco_{detector.lower()}_{system}"]:
                size = {None: None, 300: 320, 512: 512}[r.get("label_res")]
                name = r["model"].lower().replace("-", "_")
                yield name, PublishedResult("COCO mAP", r["mAP"], r["source"], size, backbone_of=detector)


def test_emos_figures_are_the_sheets(shared: Shared) -> None:
    def facts(name: str, figure: PublishedResult) -> tuple[object, ...]:
        note = "" if figure.backbone_of else figure.note
        system = "emov2" if "EMOv2" in figure.source or figure.source == "emov2" else "emo"
        return name, figure.metric, figure.value, system, figure.resolution, note, figure.backbone_of

    stated = {facts(name, figure) for name, figure in emo_rows(sheet(shared, "emo")["published"])}
    assert stated == {
        facts(name, f) for name, figures in PUBLISHED_RESULTS.items() if name.startswith("emo") for f in figures
    }


def test_leyolos_figures_are_the_sheets(shared: Shared) -> None:
    rows = sheet(shared, "leyolo")["published"]
    stated = {(r["model"].lower().replace("-", "_"), r["res"], r["mAP_coco_val"]) for r in rows if r["seen"] is True}
    ours = {
        (n, f.resolution, f.value)
        for n, figures in PUBLISHED_RESULTS.items()
        if n.startswith("leyolo")
        for f in figures
    }
    assert ours == stated


@pytest.mark.parametrize("target", ["CPU", "DSP", "EdgeTPU", "GPU"])
def test_mobiledets_figures_are_the_sheets(target: str, shared: Shared) -> None:
    stated = sheet(shared, "mobiledets")["architectures"][f"MobileDet-{target}"]["published"]
    name = f"mobiledet_{target.lower()}"
    assert stated["seen"] is True
    assert values(name, "COCO mAP, minival 2014") == [stated["mAP_coco14_minival"]]
    assert values(name, "COCO mAP, val 2017") == [stated["mAP_coco17_val"]]


def test_the_zoos_figures_are_the_sheets(shared: Shared) -> None:
    zoo = {r["what"]: str(r["value"]) for r in sheet(shared, "mobiledets")["published_extra"] if r["source"] == "zoo"}
    stated = " ".join(zoo.values())
    assert all(f"{value:.1f}" in stated for value in values("mobiledet_cpu", "COCO mAP"))
    for name in ("mobiledet_dsp", "mobiledet_edgetpu"):
        (float32,), (int8,) = values(name, "COCO mAP"), values(name, "COCO mAP, int8")
        assert f"{float32}/{int8}" in stated
    rows = sheet(shared, "baselines")["ssdlite_published"]
    maps = {r["model"]: r["mAP"] for r in rows if r["source"] == "zoo" and r["seen"] is True}
    for model, name, metric in (
        ("SSDLite MobileNetV3-Large", "mobilenetv3_large", "COCO mAP"),
        ("SSDLite MobileNetV3-Small", "mobilenetv3_small", "COCO mAP"),
        ("SSDLite MobileNetV2 (zoo, 300)", "mobilenetv2", "COCO mAP"),
        ("SSDLite MobileNet-EdgeTPU uint8", "ssdlite_mobilenet_edgetpu", "COCO mAP, int8"),
    ):
        assert values(name, metric) == [maps[model]]


def test_fbnets_and_the_other_edge_tpu_figures_are_the_sheets(shared: Shared) -> None:
    facts = sheet(shared, "baselines")
    for letter in "abc":
        stated = facts["architectures"][f"FBNet-{letter.upper()} (mobile-vision)"]["published"]
        assert stated["seen"] is True
        assert published_results(f"fbnet_{letter}")[0].value == stated["top1"]
    seen = {r["model"]: r["top1"] for r in facts["search_spaces"]["FBNet"]["published"] if r["seen"] is True}
    assert seen == {"FBNet-B": published_results("fbnet_b")[1].value}
    edge = {r["model"]: r["top1_int8"] for r in facts["pixel6_edgetpu_int8"] if r["seen"] is True}
    assert values("mobilenet_edgetpu", "ImageNet top-1, int8") == [edge["MobileNetEdgeTPU dm1.0"]]
    abstract = sheet(shared, "mobilenetv4")["published_abs"]
    assert any("87% ImageNet-1K" in r["what"] and r["seen"] is True for r in abstract)


# The table


def test_every_network_has_a_row_with_its_counts_and_a_price(every: pd.DataFrame) -> None:
    assert sorted(every["network"]) == sorted(networks())
    assert list(every.columns) == list(COLUMNS)
    assert set(every["hardware"]) == {"pixel4_edgetpu"}
    priced = every[every["reason"] == ""]
    assert set(FEW) <= set(priced["network"])
    latencies = list(priced["latency_ms"])
    assert latencies == sorted(latencies)
    assert min(latencies) > 0
    assert all(priced["latency_low_ms"] < priced["latency_ms"])
    assert all(priced["latency_ms"] < priced["latency_high_ms"])
    with_figure = set(every[every["published_value"].notna()]["network"])
    assert with_figure == {n for n, figures in PUBLISHED_RESULTS.items() if not figures[0].backbone_of}


def test_a_row_says_what_the_parts_say(every: pd.DataFrame) -> None:
    graph = load_network("tinynet_e")
    row = row_of(every, "tinynet_e")
    assert (row["space"], row["resolution"], row["macs"], row["params"]) == ("tinynet", 106, graph.macs, graph.params)
    assert f"{row['macs'] / 1e6:.2f}" == "24.36"  # of the fact sheet
    assert (row["published_metric"], row["published_value"]) == ("ImageNet top-1", 59.9)
    assert row["latency_source"].startswith("predicted:pixel4_edgetpu")
    assert row_of(every, "mobilenetv3_large")["fallback_ops"]
    assert row_of(every, "emo_1m")["guessed_ops"] == "norm:layer"


def test_the_figure_is_for_the_rows_resolution_where_there_is_one(every: pd.DataFrame) -> None:
    small = row_of(every, "leyolo_small")
    assert (small["resolution"], small["published_resolution"], small["published_value"]) == (640, 640, 38.2)
    nano = row_of(every, "leyolo_nano")  # published at 480 and 320, its configuration is for 640
    assert (nano["resolution"], nano["published_resolution"], nano["published_value"]) == (640, 480, 31.3)


def test_a_detectors_figure_is_not_its_backbones(every: pd.DataFrame) -> None:
    assert published_results("emov2_20m")[0].backbone_of == "SSDLite"
    assert row_of(every, "emov2_20m")["published_metric"] is None
    assert math.isnan(row_of(every, "emov2_20m")["published_value"])


def test_names_and_spaces_choose_the_rows() -> None:
    assert sorted(baselines(None, FEW)["network"]) == sorted(FEW)
    assert len(baselines(None, ["tinynet_a", "tinynet_a"])) == 1
    assert list(baselines(None, space="fbnet")["network"]) == ["fbnet_a", "fbnet_b", "fbnet_c"]  # by MACs
    assert list(baselines(None, FEW, space="tinynet")["network"]) == ["tinynet_e"]
    none = baselines(None, space="nasbench201")
    assert len(none) == 0
    assert list(none.columns) == list(COLUMNS)
    assert "Published networks" in printed(none)


def test_without_hardware_there_is_no_latency() -> None:
    frame = baselines(None, FEW)
    assert frame["latency_ms"].isna().all()
    assert list(frame["macs"]) == sorted(frame["macs"])
    assert "24.36 M" in printed(frame)


def test_the_order_is_the_devices() -> None:
    frame = baselines(PerMac(), FEW)
    assert list(frame["latency_ms"]) == [macs / 1e6 for macs in sorted(load_network(n).macs for n in FEW)]
    assert frame["latency_low_ms"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edgetpus",), "no hardware 'edgetpus'; did you mean 'edgetpu'?"),
        (("edgetpu", ["mobiledet_gpus"]), "no network 'mobiledet_gpus'; did you mean 'mobiledet_gpu'?"),
        (("edgetpu", None, "tinynets"), "no space 'tinynets'; did you mean 'tinynet'?"),
    ],
)
def test_names_that_nothing_has_are_errors(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UnknownName) as caught:
        baselines(*arguments)
    assert str(caught.value) == message


def test_what_cannot_be_built_or_priced_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {
        "no_such_module": NetworkRow("theirs.missing:space", "{}", "here"),
        "no_such_block": NetworkRow("fbnet", "k9_e9", "here"),
    }

    def entry_points(group: str) -> list[Any]:
        rows = broken if group == "nas.networks" else {}
        return [SimpleNamespace(name=n, value="theirs:row", load=lambda row=row: row) for n, row in rows.items()]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    large = load_network("resnet50_v1").macs
    frame = baselines(PerMac(refused=large), [*FEW, *broken])
    assert list(frame["network"][-3:]) == ["resnet50_v1", "no_such_block", "no_such_module"]
    refused, unreadable, missing = frame.to_dict("records")[-3:]
    assert (refused["macs"], refused["reason"]) == (large, "too large for this chip")
    assert unreadable["reason"].startswith("an FBNet has 22 blocks")
    assert (
        missing["reason"] == "no module 'theirs.missing' (in 'theirs.missing:space'); is it installed or on PYTHONPATH?"
    )
    assert pd.isna(missing["macs"])
    assert set(frame["reason"][:-3]) == {""}
    text = printed(frame)
    assert "resnet50_v1: too large for this chip" in text
    assert "no_such_module: no module 'theirs.missing'" in text


def test_a_bug_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Graph:
        raise KeyError(name)

    monkeypatch.setattr(module, "load_network", load)
    with pytest.raises(KeyError):
        baselines(None, ["tinynet_a"])


def test_the_printed_table_fits_and_cites(every: pd.DataFrame) -> None:
    text = printed(every)
    rows = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert set(networks()) <= set(rows)
    assert "31.3 COCO mAP, val at 480 [" in rows["leyolo_nano"]
    assert "38.2 COCO mAP, val [" in rows["leyolo_small"]
    assert "*" in rows["mobilenetv3_large"]
    assert "*" not in rows["tinynet_e"]
    number = rows["tinynet_e"].rstrip().rpartition("[")[2].rstrip("]")
    assert f"[{number}] huawei-noah/Efficient-AI-Backbones tinynet_pytorch/readme.md" in text


def test_the_frame_goes_to_json_and_csv(every: pd.DataFrame, tmp_path: Path) -> None:
    rows = json.loads(every.to_json(orient="records"))
    (nothing,) = [r for r in rows if r["network"] == "resnet50_v1"]
    assert nothing["published_value"] is None
    assert isinstance(nothing["macs"], int)
    every.to_csv(tmp_path / "baselines.csv", index=False)
    again = pd.read_csv(tmp_path / "baselines.csv")
    assert list(again["macs"]) == list(every["macs"])
