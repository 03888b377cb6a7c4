"""From what was measured to an audit, and from an audit to files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.audit.accuracy import Performance
from layerscope.audit.clarity import Clarity, clarity, clarity_panel
from layerscope.audit.described import Described, concentration
from layerscope.audit.findings import PANELS, Finding, Panel, PanelName
from layerscope.audit.focus import Looks, focus_panel, unreliable_heatmap
from layerscope.audit.inputs import label_mismatch, preprocessing_suspect
from layerscope.audit.leak_findings import leak_findings
from layerscope.audit.leakage import Leaks, leakage_panel
from layerscope.audit.memorisation import (
    Memorised,
    memorisation_finding,
    memorisation_panel,
    memorised,
)
from layerscope.audit.performance import (
    answers_of,
    low_accuracy,
    performance,
    performance_panel,
)
from layerscope.audit.result import (
    Audit,
    DataSet,
    LayerResult,
    ModelFacts,
    PreprocessChoice,
    layer_results,
)
from layerscope.document.parts import Document
from layerscope.document.report import report
from layerscope.measures.depth import regime
from layerscope.model.preparation import Preparation
from layerscope.profile import Profile, write_profile
from layerscope.render.html import write_html
from layerscope.render.notebook import DocumentDisplay
from layerscope.run.evidence import Gallery
from layerscope.run.outputs import Outputs
from layerscope.run.plan import Plan
from layerscope.store.directory import RunDirectory, open_run
from layerscope.store.manifest import replacing
from layerscope.vocabulary import Floats, Layer

REPORT, RESULT = "report.html", "audit.json"
VERDICTS = "verdicts"
_OF_VERDICTS = ["layer", "channel", "regime", "verdict", "reason", "flagged"]


@dataclass(frozen=True)
class Audited:
    """An audit with what it rests on; a notebook displays its report.

    Attributes:
        result: everything that was found; `audit.json` is made of it.
        profile: the tables of channels, layers and images; ``None`` where the clarity panel was
            not asked for.
        plan: what was done.
        prepared: how the images were prepared, and why.
        channels: the table of channels with their verdicts.
        gallery: what the report shows of each layer; ``None`` where there is nothing to show.
        looks: heatmaps of some images; ``None`` where the focus panel was not asked for.
        leaks: patterns that give classes away; ``None`` where the leakage panel was not asked for.
    """

    result: Audit
    profile: Profile | None = field(repr=False)
    plan: Plan = field(repr=False)
    prepared: Preparation | None = field(default=None, repr=False)
    channels: pd.DataFrame | None = field(default=None, repr=False)
    gallery: Gallery | None = field(default=None, repr=False)
    looks: Looks | None = field(default=None, repr=False)
    leaks: Leaks | None = field(default=None, repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings."""
        return self.result.findings

    @property
    def panels(self) -> Mapping[PanelName, Panel]:
        """The panel of each name, those that were not run included."""
        return {name: self.result.panel(name) for name in PANELS}

    @property
    def statement(self) -> str:
        """What the audit says, in a few sentences."""
        return self.result.statement

    @property
    def document(self) -> Document:
        """The report."""
        return report(self.result, self.gallery, self.looks, self.leaks)

    def save(self, path: str | Path) -> Path:
        """Write ``report.html``, ``audit.json`` and the tables into a directory of their own.

        Returns:
            The report.

        Raises:
            InputError: the directory holds something else.
            EnvironmentFailure: it cannot be written.
        """
        with open_run(path, self.plan.described, self.plan.hash) as run:
            if self.profile is not None and not run.manifest.complete:
                write_profile(self.profile, run)
            return self.write(run)

    def write(self, run: RunDirectory) -> Path:
        """Write the report, ``audit.json`` and the verdicts into a run directory that is open."""
        if self.channels is not None:
            run.write_table(VERDICTS, self.channels[_OF_VERDICTS], {"model": self.plan.model})
        with replacing(run.path / RESULT) as file:
            file.write(self.result.to_json().encode())
        write_html(self.document, run.path / REPORT)
        run.finish()
        return run.path / REPORT

    def _repr_html_(self) -> str:
        return DocumentDisplay(
            report(self.result, self.gallery, self.looks, self.leaks)
        )._repr_html_()


_NO_VECTOR = (
    "The model does not answer with one vector of classes: it has several outputs, or an output of "
    "another shape. Give a model with that output alone, such as keras.Model(inputs, one_output)."
)


@dataclass(frozen=True)
class Split:
    """One set of images, as far as the model's answers to them go.

    Attributes:
        outputs: what the model gave for each, the labels, and what was skipped.
        classes: names in output order.
        mismatch: why images that have classes count as unlabelled.
        unnamed: nobody named the outputs, so that ``classes`` are those of the images.
        digest: of training images, see `layerscope.images.contract.Source.digest`.
    """

    outputs: Outputs
    classes: tuple[str, ...]
    mismatch: str
    unnamed: bool = False
    digest: str = ""

    @property
    def data(self) -> DataSet:
        """Number, classes and losses; classes without names go by their numbers."""
        several = self.outputs.several
        columns = 0 if several is None else several.shape[1]
        highest = max(columns - 1, int(self.outputs.labels.max(initial=-1)))
        names = self.classes or tuple(str(number) for number in range(highest + 1))
        assumed = self.unnamed and bool(self.classes) and highest >= 0
        return DataSet(int(self.outputs.read.sum()), names, self.outputs.skipped, assumed)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class that the model predicts, per image; -1 where there is none."""
        found = np.full(len(self.outputs.read), -1, np.int64)
        predictions = self.outputs.predictions
        if predictions is not None and self.outputs.read.any():
            found[self.outputs.read] = answers_of(predictions[self.outputs.read])[0]
        return found

    @property
    def performance(self) -> Performance:
        """Accuracy and its company."""
        known = self.outputs.labels[self.outputs.read]
        labels: NDArray[Any] | None = known if (known >= 0).any() else None
        if self.outputs.several is not None:
            labels = self.outputs.several[self.outputs.read]
        predictions = self.outputs.predictions
        if predictions is None:
            nothing = np.zeros((len(known), 0), np.float32)
            return performance(nothing, None, None, _NO_VECTOR)
        reason = self.mismatch or "The images carry no labels."
        return performance(
            predictions[self.outputs.read], labels, self.classes or None, reason,
            paired=not self.unnamed and len(self.classes) == 2,
        )  # fmt: skip


def judged(
    model: ModelFacts,
    layers: Mapping[str, Layer],
    prepared: Preparation | None,
    panels: Sequence[PanelName],
    test: Split,
    train: Split | None,
    profile: Profile | None,
    plan: Plan,
    looked: Looks | None = None,
    leaks: Leaks | None = None,
    beside: Described | None = None,
) -> Audited:
    """Apply the rules of every panel that was asked for.

    Args:
        model: facts on it.
        layers: the layers that were profiled.
        prepared: how image files were prepared; ``None`` for arrays.
        panels: which to fill.
        test: the test images.
        train: the training images, if there are any.
        profile: the measurements; needed for the clarity panel.
        plan: what was done.
        looked: heatmaps; needed for the focus panel.
        leaks: what the search for leaks found; needed for the leakage panel.
        beside: training and test images side by side.
    """
    findings, filled = list(_of_inputs(prepared, test, train)), dict[PanelName, Panel]()
    clear: Clarity | None = None
    if profile is not None:
        depths = {path: regime(layer) for path, layer in layers.items()}
        clear = clarity(profile, depths)
        findings += clear.findings
    same = train is not None and train.digest == plan.data != ""
    known = _memorised(test, train, looked, beside, same) if "memorisation" in panels else None
    for name, panel, raised in _others(panels, test, known, looked, leaks):
        filled[name] = panel
        findings += raised
    rows: tuple[LayerResult, ...] = ()
    if clear is not None:
        rows = layer_results(layers.values(), clear.channels, depths, clear.learned)
    result = Audit(
        model,
        rows,
        _choice(prepared, plan),
        test.data,
        test.performance,
        filled,
        tuple(findings),
        train.data if train else None,
        train.performance if train else None,
        provenance=_provenance(plan),
        memorised=known,
    )
    if clear is not None:
        filled["clarity"] = _clarity_panel(clear, result)
    channels = clear.channels if clear else None
    return Audited(result, profile, plan, prepared, channels, looks=looked, leaks=leaks)


def _memorised(
    test: Split,
    train: Split | None,
    looked: Looks | None,
    beside: Described | None,
    same: bool,
) -> Memorised:
    learned = (train.performance, _answers(train)) if train else (None, None)
    found = memorised(learned[0], test.performance, learned[1], _answers(test), same)
    beside = replace(beside or Described(), concentration=concentration(looked))
    return replace(found, described=beside)


def _answers(split: Split) -> tuple[Floats, NDArray[np.int64]] | None:
    """Outputs and labels of the images that were read."""
    found, read = split.outputs.predictions, split.outputs.read
    return None if found is None else (found[read], split.outputs.labels[read])


def _others(
    panels: Sequence[PanelName],
    test: Split,
    known: Memorised | None,
    looked: Looks | None,
    leaks: Leaks | None,
) -> Iterator[tuple[PanelName, Panel, Sequence[Finding]]]:
    """Panels that need no profile: name, what it says, its findings."""
    if "performance" in panels:
        found = test.performance
        yield "performance", performance_panel(found), low_accuracy(found, test.data.order_assumed)
    if looked is not None:
        panel = focus_panel(looked.panel, looked.reason)
        yield "focus", panel, [*unreliable_heatmap(looked.panel), *looked.unused]
    if leaks is not None:
        yield "leakage", leakage_panel(leaks), leak_findings(leaks)
    if known is not None:
        yield "memorisation", memorisation_panel(known), memorisation_finding(known)


def _clarity_panel(clear: Clarity, result: Audit) -> Panel:
    answers = clear.learned.values()
    return clarity_panel(
        result.channels, clear.judged, result.test.images, answers, clear.open_questions
    )


def _of_inputs(prepared: Preparation | None, test: Split, train: Split | None) -> list[Finding]:
    found = [label_mismatch(test.mismatch)] if test.mismatch else []
    found += [label_mismatch(train.mismatch, "train")] if train and train.mismatch else []
    return found + (
        [preprocessing_suspect(prepared.suspect)] if prepared and prepared.suspect else []
    )


def _choice(prepared: Preparation | None, plan: Plan) -> PreprocessChoice:
    if prepared is None:
        return PreprocessChoice(plan.preprocessing or "none", "user")
    return PreprocessChoice(prepared.steps.name, prepared.chosen_by, prepared.alternatives)


def _provenance(plan: Plan) -> dict[str, object]:
    described = plan.described
    sample = described.pop("sample")
    kept = ("model", "data", "preprocessing", "resize", "nulls", "seed", "versions")
    return {name: described[name] for name in kept} | {
        "sampled_images": plan.images if sample is None else len(sample),
        "closer_images": len(plan.fine),
    }
